"""A training session: continues a run from its last state, to the end or to a given step, as `--resume` does.

Between two sessions, `change_run` can change settings, which the run records:

    from chainrule import data
    from chainrule.training import experiment
    from chainrule.training import run as runs
    from chainrule.training.changes import change_run
    from chainrule.training.session import train

    images = data.load("mnist")
    # 10 steps of 256 images
    config = experiment.configure("mlp", images, epochs=1, limit=2560)
    run = runs.create(config, "first-try")
    trainer = train(run, images, until=6)
    run = change_run(run, images, {"lr": 0.005})
    trainer = train(run, images)
    (trainer.epoch, run.changes[0]["settings"])  # (1, {'lr': [0.02, 0.005]})
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from chainrule.errors import RunError
from chainrule.files import folder_lock
from chainrule.training import experiment
from chainrule.training import resume as resuming
from chainrule.training.callbacks import Checkpoint
from chainrule.training.trainer import Callback, Interrupted, Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chainrule.training.run import Run
    from chainrule.training.task import Data


class StopAt(Callback):
    """Saves the state after a step and ends training there, by raising `Interrupted`.

    Args:
        step: the step, counted from the start of training.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_start(self, trainer: Trainer) -> None:
        """End training if the step has been taken already."""
        self.on_step(trainer)

    def on_step(self, trainer: Trainer) -> None:
        """End training after the step."""
        if trainer.global_step >= self.step:
            save_and_stop(trainer)


def save(trainer: Trainer) -> None:
    """Save a run's state after the current step. Callbacks may call this in `on_start` or `on_step`."""
    for callback in trainer.callbacks:
        if isinstance(callback, Checkpoint):
            callback.save(trainer)


def save_and_stop(trainer: Trainer) -> NoReturn:
    """Save a run's state after the current step, and end training. Callbacks may call this in `on_start` or `on_step`.

    Raises:
        Interrupted: always.
    """
    save(trainer)
    raise Interrupted


@contextmanager
def training_lock(run: Run) -> Iterator[None]:
    """Keep a run from being trained twice at the same time, since the states would overwrite each other.

    Raises:
        RunError: the run is being trained already, by this process or a different one.
    """
    with folder_lock(run.folder) as is_free:
        if not is_free:
            raise RunError(f"{run.folder}: this run is being trained already; stop that first, or wait for its end")
        yield


def train(run: Run, data: Data, *, until: int | None = None, callbacks: Sequence[Callback] = ()) -> Trainer:
    """Continue the training of a run from its last checkpoint, or start it if there is none.

    Args:
        run: the run; after `change_run`, the run that it has returned.
        data: the data set named in its config.
        until: stop after this step, counted from the start of training; None to train to the end. The run's files are
            then those of a run that was interrupted at this step, and a later call continues to the same result.
        callbacks: additional callbacks (see `experiment.prepare`).

    Returns:
        The trainer, with the trained network and the history.

    Raises:
        DataError: the data differ from those the run was started with.
        DivergedError: the loss is not finite.
        Interrupted: training was interrupted before step `until`, or before the end.
        RunError: the config or the checkpoint is invalid, or the run is being trained already.
    """
    stop_callbacks = () if until is None else (StopAt(until),)
    with training_lock(run):
        trainer = experiment.prepare(run, data, (*callbacks, *stop_callbacks))
        resuming.resume(run, trainer)
        epochs = run.config["training"]["epochs"]
        try:
            trainer.fit(epochs)
        except Interrupted:
            if until is None or trainer.global_step < until:
                raise
    return trainer
