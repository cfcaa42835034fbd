"""A playground's run: a small network that learns to classify points in the plane, or their values, step by step.

    from chainrule.studio.playground.run import PlaygroundRun
    from chainrule.studio.playground.setup import Setup

    run = PlaygroundRun(Setup(data="moons", noise=0.1))
    run.train(100)
    run.steps, run.evaluate().train_accuracy  # (100, 0.88125)

The same settings give bitwise identical results, however the steps are divided into calls.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import chainrule
from chainrule import nn, optim
from chainrule.studio.playground.faults import find_fault
from chainrule.studio.playground.setup import ACTIVATIONS, DATA, MAX_STEPS, OPTIMIZERS, Setup

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.studio.playground.faults import Fault
    from chainrule.studio.playground.stop import Stop
    from chainrule.tensor import Tensor


@dataclass(frozen=True)
class Evaluation:
    """The loss and the accuracy of a network on the points for training and on those for validation.

    Attributes:
        train_loss: the mean loss on the training points.
        validation_loss: the mean loss on the validation points; NaN if there are none.
        train_accuracy: the share of training points that are classified correctly; NaN if the targets are values.
        validation_accuracy: the same of the validation points; NaN if there are none.
    """

    train_loss: float
    validation_loss: float
    train_accuracy: float
    validation_accuracy: float


class PlaygroundRun:
    """A network, its data and its optimizer.

    Args:
        setup: the settings.

    Attributes:
        points: (N, 2).
        targets: (N,): classes or values.
        train_indices: the indices of the points for training.
        validation_indices: the indices of the points for validation.
        model: the network.
        linears: the linear layers, the output layer last.
        activations: the activation after each linear layer.
        steps: the number of steps taken.
        history: at the start and after each epoch: the epoch, the training loss and the validation loss.
        fault: the first number that was not finite, or None; the run stays at the step before.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.points, self.targets, self.train_indices, self.validation_indices = setup.points()
        self._inputs = chainrule.from_numpy(setup.inputs(self.points))
        self._targets = chainrule.from_numpy(self.targets if setup.outputs > 1 else _column(self.targets))
        self._generator = np.random.default_rng(setup.start)
        widths = [len(setup.features), *setup.layers, setup.outputs]
        self.linears = [
            nn.Linear(fan_in, fan_out, generator=self._generator) for fan_in, fan_out in itertools.pairwise(widths)
        ]
        make_activation = getattr(nn, ACTIVATIONS[setup.activation])
        self.activations = [*(make_activation() for _ in setup.layers), nn.Identity()]
        modules = [module for pair in zip(self.linears, self.activations, strict=True) for module in pair]
        self.model = nn.Sequential(*modules[:-1])
        name, options = OPTIMIZERS[setup.optimizer]
        self.optimizer: optim.Optimizer = getattr(optim, name)(
            self.model.parameters(), lr=setup.rate, weight_decay=setup.decay, **options
        )
        if not DATA[setup.data].has_classes:
            self.loss_function: nn.Module = nn.MSELoss()
        else:
            self.loss_function = nn.CrossEntropyLoss() if setup.outputs > 1 else nn.BCEWithLogitsLoss()
        self._compiled_step = chainrule.jit(self._step)
        self._order: NDArray[np.int64] = self.train_indices
        self.steps = 0
        self.history: list[tuple[int, float, float]] = []
        self.fault: Fault | None = None
        self._record()

    @property
    def batch(self) -> int:
        """Number of points in a batch."""
        return min(self.setup.batch or len(self.train_indices), len(self.train_indices))

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in which each training point is seen once."""
        return -(-len(self.train_indices) // self.batch)

    def _step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss: Tensor = self.loss_function(self.model(inputs), targets)
        loss.backward()
        self.optimizer.step()
        return loss

    def step(self) -> float:
        """Take one step, and return the loss of its batch before the update."""
        position = self.steps % self.steps_per_epoch
        if position == 0:
            self._order = self._generator.permutation(self.train_indices)
        indices = self._order[position * self.batch : (position + 1) * self.batch]
        loss = self._compiled_step(self._inputs[indices], self._targets[indices])
        self.steps += 1
        if self.steps % self.steps_per_epoch == 0:
            self._record()
        return float(loss)

    def train(self, steps: int, *, seconds: float = math.inf, stop: Stop | None = None) -> str | None:
        """Take steps up to a total, until time is up, a condition holds after an epoch, or a number is not finite.

        Args:
            steps: the total to reach.
            seconds: the time after which no further step begins.
            stop: the condition.

        Returns:
            The sentence of the condition if it holds, else None. (For numbers that are not finite, see `fault`.)
        """
        deadline = time.monotonic() + seconds
        before = self._state()
        while self.steps < min(steps, MAX_STEPS) and not self.fault:
            reason = stop.reason(self) if stop and self.steps % self.steps_per_epoch == 0 else None
            if reason or time.monotonic() > deadline:
                return reason
            loss = self.step()
            is_end_of_epoch = self.steps % self.steps_per_epoch == 0
            if not math.isfinite(loss) or (is_end_of_epoch and not self._is_finite()):
                self._find_fault(before)
                return None
        if not self.fault and not self._is_finite():
            self._find_fault(before)
            return None
        return stop.reason(self) if stop and self.steps % self.steps_per_epoch == 0 else None

    def _find_fault(self, before: dict[str, Any]) -> None:
        """Repeat the steps since `before` to find the first fault, and stay at the step before it."""
        last = self.steps
        self._restore(before)
        while self.steps < last:
            before = self._state()
            loss = self.step()
            self.fault = find_fault(self, loss)
            if self.fault:
                break
        self._restore(before)

    def _is_finite(self) -> bool:
        """Whether the weights and the last losses are finite."""
        weights = all(bool(np.isfinite(parameter.numpy()).all()) for parameter in self.model.parameters())
        losses = self.history[-1][1:] if len(self.validation_indices) else self.history[-1][1:2]
        return weights and all(map(math.isfinite, losses))

    def _state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "epochs": len(self.history),
            "order": self._order,
            "generator": self._generator.bit_generator.state,
            "model": {name: value.numpy().copy() for name, value in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.steps, self._order = state["steps"], state["order"]
        del self.history[state["epochs"] :]
        self._generator.bit_generator.state = state["generator"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def outputs(self, points: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the outputs of each layer for points (N, 2): an array (N, width) per layer, the output layer last."""
        values: Any = chainrule.from_numpy(self.setup.inputs(points))
        answers = []
        with chainrule.no_grad():
            for linear, activation in zip(self.linears, self.activations, strict=True):
                values = activation(linear(values))
                answers.append(values.numpy())
        return answers

    def evaluate(self) -> Evaluation:
        """Return the loss and the accuracy of the network."""
        (train_loss, train_accuracy), (validation_loss, validation_accuracy) = (
            self._evaluate(indices) for indices in (self.train_indices, self.validation_indices)
        )
        return Evaluation(train_loss, validation_loss, train_accuracy, validation_accuracy)

    def _evaluate(self, indices: NDArray[np.int64]) -> tuple[float, float]:
        if not len(indices):
            return math.nan, math.nan
        with chainrule.no_grad():
            targets = self._targets[indices]
            answers = self.model(self._inputs[indices])
            loss = float(self.loss_function(answers, targets))
        if not DATA[self.setup.data].has_classes:
            return loss, math.nan
        answer = answers.numpy()
        guesses = answer.argmax(axis=1) if self.setup.outputs > 1 else answer[:, 0] > 0
        return loss, float(np.mean(guesses == self.targets[indices]))

    def _record(self) -> None:
        losses = [self._evaluate(indices)[0] for indices in (self.train_indices, self.validation_indices)]
        self.history.append((self.steps // self.steps_per_epoch, losses[0], losses[1]))


def _column(targets: NDArray[Any]) -> NDArray[np.float32]:
    return targets.astype(np.float32)[:, None]
