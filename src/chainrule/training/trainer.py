"""Trainer: the training loop, with callbacks and a complete state for exact resume."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from chainrule.capture import jit
from chainrule.data.loader import DataLoader
from chainrule.distributed.sharded import DEFAULT_SHARDS, ShardedStep, check_ranks, network_generators
from chainrule.distributed.watch import Phase, RankFailedError
from chainrule.distributed.world import world
from chainrule.errors import UserError, check_integer, type_name
from chainrule.random import default_generator
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chainrule.data.loader import BatchIterator
    from chainrule.nn import Module
    from chainrule.optim import Optimizer
    from chainrule.optim.lr_scheduler import LRScheduler
    from chainrule.tensor import Tensor


class Interrupted(KeyboardInterrupt):
    """Training was interrupted, and stopped after the current step; any `Checkpoint` callback has saved the state."""


class DivergedError(UserError, ArithmeticError):
    """The loss of training or validation is not finite."""


class Callback:
    """Base of callbacks, whose methods a Trainer calls; subclasses override those they need.

    Attributes:
        every_rank: whether several ranks (see `distributed`) all call it, or rank 0 alone. One that writes or prints
            must not set it.
    """

    every_rank: ClassVar[bool] = False

    def on_start(self, trainer: Trainer) -> None:
        """Called when `fit` starts, also to resume."""

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        """Called with the loss before the update; for a compiled step, after it, with `inputs=None`.

        With shards, it is called before the update, with `inputs=None`.
        """

    def on_step(self, trainer: Trainer) -> None:
        """Called after each step."""

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Called after each epoch with its record, which is the last of `trainer.history`."""

    def on_end(self, trainer: Trainer) -> None:
        """Called when `fit` ends: complete, stopped by a callback, interrupted, or after an error."""

    def on_failure(self, trainer: Trainer) -> None:
        """Called on rank 0 when another rank has failed; the trainer is in the state after its last complete step."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed for an exact resume: numbers, strings, lists and dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state."""


class Trainer:
    """Trains a network.

    Each module is trained in its current mode: a batch normalization frozen by `network[2].eval()` stays frozen.
    `validate` may change modes; they are restored.

    Args:
        network: the network. New modules are in training mode; `fit` warns if it is in eval mode.
        loss: maps the network's outputs and the targets to a scalar.
        optimizer: updates the parameters.
        loader: yields batches (inputs, targets).
        scheduler: stepped after each training step.
        validate: called after each epoch; returns metrics for the history, e.g. {"validation_accuracy": 0.97}.
        count_correct: counts the right answers of a batch from the network's outputs and the targets, which are arrays,
            or Tensors in shards: `lambda outputs, targets: (outputs.argmax(1) == targets).sum()`. Their fraction over
            an epoch is `train_accuracy` in the history: it costs next to nothing, because the outputs are those of
            the training steps, each before its update and with augmentation and dropout.
        callbacks: called in this order.
        compiled: whether `jit` compiles the step.
        shards: cut each batch into this number of shards, so that several ranks (see `distributed`) can train together;
            the result has the same bits for any number of ranks. 0 for no shards. By default 8 under an MPI launcher,
            else 0.
        accumulate: compute each batch's gradients in this number of parts, one after another, and add them before the
            update: a step then needs the memory of one part only, and equals a step with the whole batch up to rounding
            (except for batch normalization, whose statistics are those of each part). A power of two, at most the batch
            size. It is implemented as `shards` on one rank; a run with it, too, can be resumed exactly at any step.

    Raises:
        ValueError: `accumulate` is below 1 or comes with `shards`, or on several ranks.
        TypeError: the loader is not a DataLoader, or the loss not callable.
        ShardError: the number of shards does not fit the batch size or the number of ranks.

    Attributes:
        epoch: number of completed epochs.
        epochs: total number of epochs to train.
        step: number of completed steps in the current epoch.
        history: a dict of metrics per completed epoch.
        stop: set to True to stop after this epoch.
        interrupt: set to True, e.g. in a signal handler, to save and stop after this step.
    """

    def __init__(
        self,
        network: Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Optimizer,
        loader: DataLoader,
        *,
        scheduler: LRScheduler | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
        count_correct: Callable[[Any, Any], Any] | None = None,
        callbacks: Sequence[Callback] = (),
        compiled: bool = False,
        shards: int | None = None,
        accumulate: int = 1,
    ) -> None:
        if not isinstance(loader, DataLoader):
            raise TypeError(f"Trainer: the loader must be a DataLoader, not {type_name(loader)}")
        if not callable(loss):
            raise TypeError(f"Trainer: the loss must be a function of outputs and targets, not {type_name(loss)}")
        self.compiled, self._compiled_step = compiled, jit(self._forward_and_update)
        self.network, self.loss, self.optimizer, self.loader = network, loss, optimizer, loader
        self.scheduler, self.validate, self.count_correct = scheduler, validate, count_correct
        self._world = world()
        self.callbacks = [callback for callback in callbacks if callback.every_rank or self._world.rank == 0]
        check_integer("Trainer", "accumulate", accumulate, minimum=1)
        if accumulate > 1 and (shards or self._world.size > 1):
            where = f"{shards} shards" if shards else f"{self._world.size} ranks"
            raise ValueError(f"Trainer: accumulate={accumulate} does not go with {where}, which accumulate already")
        default = DEFAULT_SHARDS if self._world.is_launched else 0
        self.shards = accumulate if accumulate > 1 else default if shards is None else shards
        check_ranks(self.shards, self._world.size)
        set_by_trainer = getattr(loader.rows, "__func__", None) is ShardedStep.own_rows  # by an earlier Trainer
        if self.shards and loader.rows is not None and not set_by_trainer:
            raise ValueError("Trainer: each batch is divided into shards, so the loader's `rows` must be None")
        self._sharded = (
            ShardedStep(
                network,
                loss,
                optimizer,
                batch_size=loader.batch_size,
                shards=self.shards,
                compiled=compiled,
                update=self._apply_gradients,
                count_correct=count_correct,
            )
            if self.shards
            else None
        )
        self.epoch = self.epochs = 0
        self.step = 0  # in the current epoch
        self.history: list[dict[str, Any]] = []
        self.stop = self.interrupt = False
        self._batches: BatchIterator | None = None  # of the current epoch; the loader may have others
        # In the current epoch so far: the sum of the examples' losses, their number, and the time
        self._loss_sum, self._examples, self._seconds = 0.0, 0, 0.0
        self._correct: int | None = 0  # examples answered correctly; None in an epoch that began without counting

    @property
    def mean_loss(self) -> float:
        """The mean loss over this epoch's examples so far."""
        return self._loss_sum / self._examples if self._examples else float("nan")

    @property
    def mean_accuracy(self) -> float:
        """The fraction of this epoch's examples so far that were answered correctly; NaN if not counted."""
        is_counted = self.count_correct is not None and self._correct is not None and self._examples
        return (self._correct or 0) / self._examples if is_counted else float("nan")

    @property
    def total_steps(self) -> int:
        """The number of steps so far, assuming the current loader's number of batches for all epochs."""
        return self.epoch * len(self.loader) + self.step

    def fit(self, epochs: int) -> list[dict[str, Any]]:
        """Train until `epochs` epochs are complete, counting earlier calls and a loaded state, and return the history.

        Several ranks start from rank 0's state. Warns if the optimizer has none of the network's parameters.

        Raises:
            TypeError: the number of epochs is not an integer.
            Interrupted: `interrupt` was set, on any rank.
            DivergedError: a callback found a loss that is not finite.
            RankFailedError: another rank was killed or no longer answers.
        """
        check_integer("fit", "the number of epochs", epochs, minimum=0)
        parameter_ids = {id(parameter) for parameter in self.network.parameters()}
        if parameter_ids.isdisjoint(id(p) for group in self.optimizer.param_groups for p in group["params"]):
            warnings.warn(
                "Trainer: the optimizer has none of the network's parameters, so the network learns nothing; pass "
                "it network.parameters()",
                stacklevel=2,
            )
        self.epochs = epochs
        try:
            if self._world.size > 1:
                self._synchronize()
            self._call("on_start")
            while self.epoch < epochs and not self.stop:
                self._run_epoch()
        except RankFailedError:
            self._call("on_failure")
            raise
        finally:
            self._call("on_end")
        return self.history

    def _synchronize(self) -> None:
        """Give all ranks the state of rank 0."""
        state: dict[str, Any] = {}
        if self._world.rank == 0:
            state = self.state_dict()
            state["network"] = {name: tensor.numpy() for name, tensor in state["network"].items()}
            state["callbacks"] = [c.state_dict() for c in self.stateful_callbacks() if c.every_rank]
        state = self._world.broadcast(state)
        if self._world.rank:
            self.load_state_dict(state)
        self._share_generators()

    def _share_generators(self) -> None:
        """Copy the generator states and `stop` of rank 0 to all ranks: it alone validates and calls most callbacks."""
        generators = [*network_generators(self.network), self.loader.generator, default_generator()]
        states = [None if generator is None else generator.bit_generator.state for generator in generators]
        states, self.stop = self._world.broadcast((states, self.stop))
        for generator, state in zip(generators, states, strict=True):
            if generator is not None:
                generator.bit_generator.state = state

    def _run_epoch(self) -> None:
        start = time.perf_counter() - self._seconds
        if not self.network.training:
            warnings.warn(
                "Trainer: the network is trained in evaluation mode, so its dropout does nothing and its running "
                "statistics stay as they are; call network.train() before fit() unless that is what you want",
                stacklevel=3,
            )
        if self._batches is not None:  # continue the pass with the first batch that was not trained on
            self._batches.position = self.step
        for is_interrupted in self._steps():
            self._seconds = time.perf_counter() - start
            self._call("on_step")
            if is_interrupted:
                self.interrupt = False
                raise Interrupted
        self._world.enter(Phase.BUSY)
        if self._sharded is not None:
            self._sharded.check_agreement()
        record = {"epoch": self.epoch + 1, "train_loss": self.mean_loss}
        if not math.isnan(self.mean_accuracy):
            record["train_accuracy"] = self.mean_accuracy
        if self.validate is not None and self._world.rank == 0:
            with restore_modes(self.network):
                record |= {name: float(value) for name, value in self.validate().items()}
        record |= {"seconds": time.perf_counter() - start, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        record = self._world.broadcast(record)
        self.history.append(record)
        self.epoch, self.step, self._batches = self.epoch + 1, 0, None
        self._loss_sum, self._examples, self._seconds, self._correct = 0.0, 0, 0.0, 0
        self._call("on_epoch", record)
        if self._world.size > 1:
            self._share_generators()

    def _steps(self) -> Iterator[bool]:
        """Take the remaining steps of the epoch, and yield after each whether training is interrupted.

        An interrupt while the callbacks run takes effect after the next step, so that `Checkpoint` saves first.
        """
        if self._sharded is None:
            for inputs, targets in self._current_pass():
                self._take_step(inputs, targets)
                self.step += 1
                yield self.interrupt
            return
        if self._world.size > 1:
            self.loader.rows = self._sharded.own_rows
        for inputs, targets in self._current_pass():
            self._sharded.interrupt = self.interrupt
            count = min(self.loader.batch_size, self.loader.examples - self.step * self.loader.batch_size)
            value = self._sharded.gradients(inputs, targets, count)
            self._call("on_loss", None, value)
            self._sharded.update()
            self._finish_step(value, count, self._sharded.correct)
            self.step += 1
            self.interrupt |= self._sharded.stop
            yield self._sharded.stop
            self._world.enter(Phase.STEP)

    def _current_pass(self) -> BatchIterator:
        """Return the batches of the current epoch, after starting a pass over the loader if there is none."""
        if self._batches is None or (self._batches.loader is not self.loader and not self.step):
            self._batches = iter(self.loader)
        return self._batches

    def _take_step(self, inputs: Tensor, targets: Tensor) -> None:
        """Take one step: forward, backward, update. A smaller last batch is not worth compiling for."""
        if self.compiled and len(targets) == self.loader.batch_size:
            loss, outputs = self._compiled_step(inputs, targets)
            value = float(loss)
            self._call("on_loss", None, value)
        else:
            loss, outputs = self._forward(inputs, targets)
            value = float(loss)
            self._call("on_loss", inputs, value)
            self._update(loss)
        correct = 0
        if self.count_correct is not None and outputs is not None:  # outside the compiled step: argmax would split it
            correct = int(self.count_correct(outputs.numpy(), targets.numpy()))
        self._finish_step(value, len(targets), correct)

    def _finish_step(self, loss: float, count: int, correct: int) -> None:
        """Advance the schedule, and add a batch's loss and right answers to the sums of the epoch."""
        if self.scheduler is not None:
            self.scheduler.step()
        self._loss_sum += loss * count
        self._examples += count
        if self._correct is not None:
            self._correct += correct

    def _forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """The loss of a batch, and the network's outputs if the right answers are counted."""
        self.optimizer.zero_grad()
        outputs = self.network(inputs)
        return self.loss(outputs, targets), None if self.count_correct is None else outputs.detach()

    def _update(self, loss: Tensor) -> None:
        loss.backward()
        self._apply_gradients()

    def _forward_and_update(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        loss, outputs = self._forward(inputs, targets)
        self._update(loss)
        return loss, outputs

    def _apply_gradients(self) -> None:
        self.optimizer.step()

    def _call(self, method: str, *arguments: Any) -> None:
        """Call a method of each callback."""
        for callback in self.callbacks:
            getattr(callback, method)(self, *arguments)

    # State for an exact resume

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state, including generators in the network; weights share memory with the network."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "loader": {**self._current_pass().state_dict(), "position": self.step},
            "generators": [generator.bit_generator.state for generator in network_generators(self.network)],
            "callbacks": [callback.state_dict() for callback in self.stateful_callbacks()],
            "progress": {
                "epoch": self.epoch,
                "step": self.step,
                "history": list(self.history),
                "stop": self.stop,
                "total": self._loss_sum,
                "seen": self._examples,
                "correct": self._correct,
                "seconds": self._seconds,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state: `fit` then continues as if it had never stopped.

        Callbacks without a state, such as a progress bar, may differ.

        Raises:
            KeyError, TypeError, ValueError: the state does not fit.
        """
        if (self.scheduler is None) != (state["scheduler"] is None):
            raise ValueError("Trainer: the state and the trainer must both have a scheduler, or neither")
        generators, callbacks = network_generators(self.network), self.stateful_callbacks()
        for name, expected in (("generators", generators), ("callbacks", callbacks)):
            if len(expected) != len(state[name]):
                raise ValueError(
                    f"Trainer: the state has {len(state[name])} {name}, but the trainer has {len(expected)}"
                )
        progress = state["progress"]
        epoch, step, epochs = progress["epoch"], progress["step"], [record["epoch"] for record in progress["history"]]
        if epochs != list(range(1, epoch + 1)) or step != state["loader"]["position"]:
            raise ValueError(f"Trainer: epoch {epoch} and step {step} of the state do not fit its history and loader")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.loader.load_state_dict(state["loader"])
        self._batches = iter(self.loader)  # now, so that no other iteration gets the resumed pass
        for generator, saved in zip(generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        for callback, saved in zip(callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        self.epoch, self.step, self.stop = epoch, step, progress["stop"]
        self.history = list(progress["history"])
        self._loss_sum, self._examples, self._seconds = progress["total"], progress["seen"], progress["seconds"]
        self._correct = progress.get("correct") if step else 0  # earlier versions did not count

    def stateful_callbacks(self) -> list[Callback]:
        """Return the callbacks that have a state, which is part of the trainer's."""
        return [callback for callback in self.callbacks if callback.state_dict()]
