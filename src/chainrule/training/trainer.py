"""Trainer: the training loop, with callbacks and a complete state for an exact resume."""

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
    """Training was interrupted by a callback, or because `Trainer.interrupt` was set.

    In the second case, the current step was completed first, and any `callbacks.Checkpoint` has saved the state.
    """


class DivergedError(UserError, ArithmeticError):
    """The training or validation loss is not finite."""


class Callback:
    """Base class of callbacks. A Trainer calls their methods; subclasses override those they need.

    Attributes:
        every_rank: if training runs on several ranks (see `distributed`): whether all ranks call the callback, or only
            rank 0. A callback that writes or prints must leave it False.
    """

    every_rank: ClassVar[bool] = False

    def on_start(self, trainer: Trainer) -> None:
        """Called when `fit` starts, also when it continues earlier training."""

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        """Called with the loss of each batch.

        An eager step calls it before the update, with the batch's inputs; a compiled step after the update, with
        `inputs=None`; a step in shards, eager or compiled, before the update, with `inputs=None`.
        """

    def on_step(self, trainer: Trainer) -> None:
        """Called after each step."""

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Called after each epoch with its record, which is the last of `trainer.history`."""

    def on_end(self, trainer: Trainer) -> None:
        """Called when `fit` ends for any reason: completed, stopped by a callback, interrupted, or failed."""

    def on_failure(self, trainer: Trainer) -> None:
        """Called when another rank has failed; the trainer is in the state after its last complete step."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed for an exact resume, as values that JSON can hold; {} if there is none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state."""


class Trainer:
    """Trains a network.

    Each module is trained in its current mode: a batch normalization frozen by `network[2].eval()` stays frozen.
    `validate` may change modes, since they are restored afterwards.

    Args:
        network: the network, usually in training mode, as new modules are; `fit` warns if it is in eval mode.
        loss: maps the network's outputs and the targets to a scalar.
        optimizer: updates the parameters.
        loader: yields batches (inputs, targets).
        scheduler: stepped after each training step.
        validate: called after each epoch; returns metrics for the history, e.g. {"validation_accuracy": 0.97}.
        count_correct: counts the correct answers in a batch, given the network's outputs and the targets, such as
            `lambda outputs, targets: (outputs.argmax(1) == targets).sum()`. Both are arrays; with shards, Tensors. The
            fraction of correct answers in an epoch is `train_accuracy` in the history. It costs next to nothing, since
            it is computed from the outputs of the training steps: before each update, with augmentation and dropout.
        callbacks: called in this order.
        compiled: whether `jit` compiles the step.
        shards: the number of shards to divide each batch into, so that several ranks (see `distributed`) can train
            together: the result is bitwise identical for any number of ranks. 0 for no shards; None for 8 under an MPI
            launcher, else 0.
        accumulate: gradient accumulation: divide each batch into this number of parts, compute their gradients one
            after another, and update the parameters with the sum. A step then needs only the memory of one part. It
            equals a step with the whole batch up to rounding, except that batch normalization uses the statistics of
            each part. A power of two, at most the batch size; implemented as `shards` on one rank.

    Raises:
        ValueError: `accumulate` is below 1, or is combined with `shards` or several ranks; or each batch is divided
            into shards, but the loader already selects a part of it (`rows`).
        TypeError: the loader is not a DataLoader, the loss is not callable, or `accumulate` is not an integer.
        ShardError: the number of shards does not fit the batch size or the number of ranks.

    Attributes:
        epoch: number of completed epochs.
        epochs: the number of epochs to train in total, as passed to `fit`.
        step_in_epoch: number of completed steps in the current epoch; `global_step` counts from the start of training.
        step: the former name of `step_in_epoch`.
        history: a list with a dict of metrics for each completed epoch.
        stop: set to True to end training after the current epoch.
        interrupt: set to True, e.g. in a signal handler, to save the state and end training after the current step.
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
            parts = f"{shards} shards" if shards else f"{self._world.size} ranks"
            raise ValueError(f"Trainer: accumulate={accumulate} cannot be combined with {parts}, which also accumulate")
        if accumulate > 1:
            self.shards = accumulate
        elif shards is not None:
            self.shards = shards
        else:
            self.shards = DEFAULT_SHARDS if self._world.is_launched else 0
        check_ranks(self.shards, self._world.size)
        # An earlier Trainer may have set `rows`, to select its rank's examples, on the same loader
        is_set_by_trainer = getattr(loader.rows, "__func__", None) is ShardedStep.own_rows
        if self.shards and loader.rows is not None and not is_set_by_trainer:
            raise ValueError(
                "Trainer: each batch is divided into shards, so the loader must not select a part of it: its `rows` "
                "must be None"
            )
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
        self.step_in_epoch = 0
        self.history: list[dict[str, Any]] = []
        self.stop = self.interrupt = False
        self._batches: BatchIterator | None = None  # of the current epoch; the loader may have other iterators
        # Totals of the current epoch so far
        self._loss_sum = 0.0  # over the examples
        self._n_examples = 0
        self._seconds = 0.0
        # None during an epoch that was begun with an earlier version of chainrule, which did not count correct answers
        self._n_correct: int | None = 0

    @property
    def mean_loss(self) -> float:
        """The mean loss over this epoch's examples so far."""
        return self._loss_sum / self._n_examples if self._n_examples else float("nan")

    @property
    def mean_accuracy(self) -> float:
        """The fraction of this epoch's examples so far that were answered correctly; NaN if it was not counted."""
        if self.count_correct is None or self._n_correct is None or not self._n_examples:
            return float("nan")
        return self._n_correct / self._n_examples

    @property
    def global_step(self) -> int:
        """The number of steps since the start of training, if all epochs had as many batches as the loader now has."""
        return self.epoch * len(self.loader) + self.step_in_epoch

    @property
    def total_steps(self) -> int:
        """The former name of `global_step`."""
        return self.global_step

    @property
    def step(self) -> int:
        """The former name of `step_in_epoch`."""
        return self.step_in_epoch

    @step.setter
    def step(self, value: int) -> None:
        self.step_in_epoch = value

    def fit(self, epochs: int) -> list[dict[str, Any]]:
        """Train until `epochs` epochs are complete in total, and return the history.

        Epochs of earlier calls and of a loaded state count. Several ranks start from rank 0's state. Warns if the
        optimizer has none of the network's parameters.

        Raises:
            TypeError: the number of epochs is not an integer.
            Interrupted: `interrupt` was set, on any rank, or a callback ended training.
            DivergedError: a `callbacks.StopOnNaN` callback found a loss that is not finite.
            RankFailedError: another rank was killed or no longer answers.
        """
        check_integer("fit", "the number of epochs", epochs, minimum=0)
        parameter_ids = {id(parameter) for parameter in self.network.parameters()}
        if parameter_ids.isdisjoint(id(p) for group in self.optimizer.param_groups for p in group["params"]):
            warnings.warn(
                "Trainer: the optimizer has none of the network's parameters, so the network learns nothing; pass "
                "network.parameters() to the optimizer",
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
            # The other ranks have no other callbacks
            state["callbacks"] = [c.state_dict() for c in self.stateful_callbacks() if c.every_rank]
        state = self._world.broadcast(state)
        if self._world.rank:
            self.load_state_dict(state)
        self._share_generators()

    def _share_generators(self) -> None:
        """Copy the generator states and `stop` of rank 0 to all ranks.

        They may differ after an epoch, since only rank 0 validates and calls most callbacks.
        """
        generators = [*network_generators(self.network), self.loader.generator, default_generator()]
        states = [None if generator is None else generator.bit_generator.state for generator in generators]
        states, self.stop = self._world.broadcast((states, self.stop))
        for generator, state in zip(generators, states, strict=True):
            if generator is not None:
                generator.bit_generator.state = state

    def _run_epoch(self) -> None:
        """Take the steps of the current epoch that have not been taken yet, validate, and complete the epoch.

        Raises:
            Interrupted: `interrupt` was set.
        """
        start_time = time.perf_counter() - self._seconds  # as if the epoch had not been interrupted
        if not self.network.training:
            warnings.warn(
                "Trainer: the network is trained in eval mode, so its dropout does nothing and its running statistics "
                "do not change; call network.train() before fit() unless that is intended",
                stacklevel=3,
            )
        if self._batches is not None:  # after an interrupt, continue with the first batch that was not trained on
            self._batches.position = self.step_in_epoch
        for is_interrupted in self._steps():
            self._seconds = time.perf_counter() - start_time
            self._call("on_step")
            if is_interrupted:
                self.interrupt = False
                raise Interrupted
        self._world.enter(Phase.BUSY)  # validation and callbacks may take longer than a step
        if self._sharded is not None:
            self._sharded.check_agreement()
        record = {"epoch": self.epoch + 1, "train_loss": self.mean_loss}
        if not math.isnan(self.mean_accuracy):
            record["train_accuracy"] = self.mean_accuracy
        if self.validate is not None and self._world.rank == 0:
            with restore_modes(self.network):
                record |= {name: float(value) for name, value in self.validate().items()}
        record |= {"seconds": time.perf_counter() - start_time, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        record = self._world.broadcast(record)
        self.history.append(record)
        self.epoch, self.step_in_epoch, self._batches = self.epoch + 1, 0, None
        self._loss_sum, self._n_examples, self._seconds, self._n_correct = 0.0, 0, 0.0, 0
        self._call("on_epoch", record)
        if self._world.size > 1:
            self._share_generators()

    def _steps(self) -> Iterator[bool]:
        """Take the remaining steps of the epoch; after each, yield whether training was interrupted.

        An interrupt that arrives during the callbacks of a step takes effect after the next step, so that the
        `on_step` of `callbacks.Checkpoint` sees it.
        """
        if self._sharded is None:
            for inputs, targets in self._current_pass():
                self._take_step(inputs, targets)
                self.step_in_epoch += 1
                yield self.interrupt
            return
        if self._world.size > 1:
            self.loader.rows = self._sharded.own_rows
        for inputs, targets in self._current_pass():
            self._sharded.interrupt = self.interrupt
            # The examples of all ranks, while `targets` has only those of this rank
            n_examples = min(self.loader.batch_size, self.loader.examples - self.step_in_epoch * self.loader.batch_size)
            loss = self._sharded.gradients(inputs, targets, n_examples)
            self._call("on_loss", None, loss)
            self._sharded.update()
            self._finish_step(loss, n_examples, self._sharded.correct)
            self.step_in_epoch += 1
            self.interrupt |= self._sharded.should_stop
            yield self._sharded.should_stop
            self._world.enter(Phase.STEP)

    def _current_pass(self) -> BatchIterator:
        """Return the iterator over the current epoch's batches; create it at the start of an epoch."""
        # `state_dict` may have created it before the first step, and the caller may then have set a new `loader`
        if self._batches is None or (self._batches.loader is not self.loader and not self.step_in_epoch):
            self._batches = iter(self.loader)
        return self._batches

    def _take_step(self, inputs: Tensor, targets: Tensor) -> None:
        """Take one step: forward, backward, update. A smaller last batch is not worth compiling for."""
        if self.compiled and len(targets) == self.loader.batch_size:
            loss, outputs = self._compiled_step(inputs, targets)
            loss_value = float(loss)
            self._call("on_loss", None, loss_value)
        else:
            loss, outputs = self._forward(inputs, targets)
            loss_value = float(loss)
            self._call("on_loss", inputs, loss_value)
            self._update(loss)
        n_correct = 0
        # Outside the compiled step: argmax is not compiled, and would interrupt the program with a Python call
        if self.count_correct is not None and outputs is not None:
            n_correct = int(self.count_correct(outputs.numpy(), targets.numpy()))
        self._finish_step(loss_value, len(targets), n_correct)

    def _finish_step(self, loss: float, n_examples: int, n_correct: int) -> None:
        """Step the scheduler, and add a batch's loss and correct answers to the epoch's totals."""
        if self.scheduler is not None:
            self.scheduler.step()
        self._loss_sum += loss * n_examples
        self._n_examples += n_examples
        if self._n_correct is not None:
            self._n_correct += n_correct

    def _forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of a batch, and the network's outputs if correct answers are counted."""
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
        """Return the complete state, including the network's generators; the weights share memory with the network."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "loader": {**self._current_pass().state_dict(), "position": self.step_in_epoch},
            "generators": [generator.bit_generator.state for generator in network_generators(self.network)],
            "callbacks": [callback.state_dict() for callback in self.stateful_callbacks()],
            "progress": {
                "epoch": self.epoch,
                "step": self.step_in_epoch,
                "history": list(self.history),
                "stop": self.stop,
                "total": self._loss_sum,
                "seen": self._n_examples,
                "correct": self._n_correct,
                "seconds": self._seconds,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state: `fit` then continues as if it had never stopped.

        The trainer needs the same callbacks as the one that saved the state, except for callbacks without a state, such
        as a progress bar.

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
        epoch, step_in_epoch = progress["epoch"], progress["step"]
        recorded_epochs = [record["epoch"] for record in progress["history"]]
        if recorded_epochs != list(range(1, epoch + 1)) or step_in_epoch != state["loader"]["position"]:
            raise ValueError(
                f"Trainer: epoch {epoch} and step {step_in_epoch} of the state do not fit its history and loader"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.loader.load_state_dict(state["loader"])
        self._batches = iter(self.loader)  # at once: the loader continues the saved pass in its next iterator only
        for generator, saved in zip(generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        for callback, saved in zip(callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        self.epoch, self.step_in_epoch, self.stop = epoch, step_in_epoch, progress["stop"]
        self.history = list(progress["history"])
        self._loss_sum, self._n_examples, self._seconds = progress["total"], progress["seen"], progress["seconds"]
        # Earlier versions of chainrule did not count correct answers: their states lack "correct"
        self._n_correct = progress.get("correct") if step_in_epoch else 0

    def stateful_callbacks(self) -> list[Callback]:
        """Return the callbacks that have a state, in order: the trainer's state includes theirs."""
        return [callback for callback in self.callbacks if callback.state_dict()]
