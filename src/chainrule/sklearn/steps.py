"""A network, its loss and its optimizer as one compiled step; steps of perceptrons are kept for the next fit.

Tracing a step takes some 20 ms, as long as hundreds of steps on a small data set. A grid search fits the same layers
many times, so a step returns to a store when a fit is complete, and the next fit overwrites its weights.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.capture import jit
from chainrule.errors import check

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from numpy.typing import NDArray

    from chainrule.nn import Module
    from chainrule.optim import Optimizer
    from chainrule.sklearn.outputs import Output
    from chainrule.tensor import Tensor

MAX_KEYS = 16
"""Number of keys for which steps are kept."""
MAX_PARAMETERS = 1_000_000
"""Limit on the parameters of a step that is kept."""


@dataclass
class OptimizerState:
    """An optimizer's state of each parameter, and its learning rate; kept between calls of `partial_fit`.

    Attributes:
        solver: the optimizer's name.
        learning_rate: the current learning rate.
        entries: for each parameter, arrays and numbers by name; empty at first.
    """

    solver: str
    learning_rate: float
    entries: list[dict[str, Any]] = field(default_factory=list)


class Step:
    """A training step: loss, gradients and update.

    Args:
        network: computes scores (N, outputs) from examples.
        output: the loss of the scores.
        optimizer: holds the network's trainable parameters.
        penalized: the parameters whose squares are penalized.
    """

    def __init__(self, network: Module, output: Output, optimizer: Optimizer, penalized: Sequence[Tensor]) -> None:
        self.network, self.output, self.optimizer, self.penalized = network, output, optimizer, tuple(penalized)
        (self.options,) = optimizer.param_groups
        self.parameters: list[Tensor] = self.options["params"]
        for position, parameter in enumerate(self.parameters):  # created here, so that even the first step is compiled
            optimizer.state[position] = optimizer.start(parameter._data, self.options)
        self.train = jit(self._train)
        self.gradients = jit(self._gradients)

    def _losses(self, x: Tensor, y: Tensor, weight: Tensor | None, decay: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss to minimize and the loss to report."""
        scores = self.network(x)
        losses = self.output.losses(scores, y)
        loss = losses.mean() if weight is None else (losses * weight).sum()
        penalty: Any = 0.0
        for parameter in self.penalized:
            penalty = penalty + (parameter * parameter).sum()
        penalty = 0.5 * decay * penalty
        return loss + penalty, (loss / scores.shape[1] if self.output.is_averaged else loss) + penalty

    def _train(self, x: Tensor, y: Tensor, weight: Tensor | None, decay: Tensor) -> Tensor:
        """Take one step.

        Args:
            x: the examples of a batch.
            y: their targets.
            weight: their weights (N,), which sum to 1, or None.
            decay: the coefficient of half the sum of squares of the penalized parameters.

        Returns:
            The loss before the step.
        """
        self.optimizer.zero_grad()
        loss, reported = self._losses(x, y, weight, decay)
        loss.backward()
        self.optimizer.step()
        return reported.detach()

    def _gradients(self, x: Tensor, y: Tensor, weight: Tensor | None, decay: Tensor) -> list[Tensor]:
        """Return the loss to minimize, the loss to report, and the gradient of each parameter."""
        self.optimizer.zero_grad()
        loss, reported = self._losses(x, y, weight, decay)
        loss.backward()
        gradients = [parameter.grad for parameter in self.parameters]
        self.optimizer.zero_grad()
        return [loss.detach(), reported.detach(), *gradients]  # type: ignore[list-item]

    def start(self, options: dict[str, Any], state: OptimizerState) -> None:
        """Set the optimizer's options and its state; an empty state is set to 0."""
        self.options.update(options, lr=state.learning_rate)
        for position, own in self.optimizer.state.items():
            new = state.entries[position] if state.entries else None
            for name, value in own.items():
                if isinstance(value, np.ndarray):
                    value[...] = 0 if new is None else new[name]
                else:
                    own[name] = 0 if new is None else new[name]

    def state(self) -> list[dict[str, Any]]:
        """Return a copy of the optimizer's state for `OptimizerState.entries`."""
        return [
            {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in own.items()}
            for own in self.optimizer.state.values()
        ]

    def arrays(self) -> list[NDArray[Any]]:
        """Return the arrays of the parameters and buffers, not copies."""
        return [tensor._data for tensor in (*self.parameters, *self.network.buffers())]

    def write(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Overwrite the parameters and buffers."""
        for own, new in zip(self.arrays(), arrays, strict=True):
            check("fit", own.shape == np.shape(new), f"weights of shape {np.shape(new)} do not fit {own.shape}")
            own[...] = new


_idle: OrderedDict[Hashable, list[Step]] = OrderedDict()


@contextmanager
def borrow(key: Hashable, build: Callable[[], Step]) -> Iterator[Step]:
    """Lend a step from the store, or build it; a small one returns to the store if the block ends without an error."""
    try:
        step = _idle[key].pop()
    except (KeyError, IndexError):
        step = build()
    yield step
    if sum(parameter.numel() for parameter in step.parameters) > MAX_PARAMETERS:
        return
    _idle.setdefault(key, []).append(step)
    if len(_idle) > MAX_KEYS:
        _idle.pop(next(iter(_idle)), None)
