"""The process of a training: the ordinary trainer, with a callback that obeys the studio.

The studio sends small messages (see `wire`): {"do": …}. `process.TrainingProcess` is its end of the pipe. When the pipe
is closed, because the studio ended or was killed, training stops after the current step and is saved.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import UserError
from chainrule.studio.frames import SECONDS_PER_FRAME, FrameMaker
from chainrule.studio.wire import pack, unpack
from chainrule.training import divergence, experiment
from chainrule.training.changes import change_run
from chainrule.training.replay import CanceledError
from chainrule.training.run import Run
from chainrule.training.session import save, save_and_stop, train, training_lock
from chainrule.training.trainer import Callback, DivergedError, Interrupted, Trainer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from chainrule.tensor import Tensor
    from chainrule.training.task import Data

WATCHED = 1.0
"""Seconds for which frames are sent after a request: a request for each frame would wake a thread each time."""
NICENESS = 10
"""Added to the process's niceness: on few cores, the page stays responsive at the cost of training."""
PAUSED = 0
"""`until` of a paused training: the step at which it pauses has always been reached."""
_STOPPED_EARLY = "stopped while its data were read, before it took a step: go on whenever you like"


def main(folder: str, connection: Connection, until: int | None) -> None:
    """Train a run until the studio says stop; the target of the process.

    Args:
        folder: the run's folder.
        connection: the pipe to the studio.
        until: pause after this step; 0 to wait before the first, None to train to the end.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    desk = Desk(connection, until)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: desk.stop())
    threading.Thread(target=desk.listen, daemon=True).start()
    try:
        _work(Path(folder), desk)
    except UserError as error:
        desk.tell("failed", step=desk.global_step, sentence=str(error))
    except OSError as error:
        desk.tell("failed", step=desk.global_step, sentence=_explain(error, Path(folder), desk.global_step))
    except Exception as error:
        traceback.print_exc()
        desk.tell("failed", step=desk.global_step, sentence=f"a mistake of chainrule: {type(error).__name__}: {error}")
        sys.exit(1)


def _explain(error: OSError, folder: Path, step: int) -> str:
    """Return the sentence for a file that cannot be written."""
    if not (folder / "config.json").exists():
        stopped = f"{folder.name}: its folder was deleted while it trained, so training has ended at step {step:,}"
        return f"{stopped}; start it again with the same settings: they give the same bits"
    stopped = f"{error.filename}: cannot be written ({error.strerror}), so training has stopped at step {step:,}"
    return f"{stopped}; what was saved before is whole: mend that, and go on"


class Desk:
    """The studio's requests: the listening thread writes them, the training reads them. Also sends to the studio.

    Args:
        connection: the pipe to the studio.
        until: see `main`.
    """

    def __init__(self, connection: Connection, until: int | None) -> None:
        self.connection, self.until = connection, until
        self.changed = threading.Condition()
        self.version = 0  # counts what has been received
        self.stopping = False
        self.has_loaded = False
        self.change: dict[str, Any] | None = None  # arguments of `change_run`
        self.watched_until = 0.0  # on the clock of `perf_counter`
        self.saves = True  # whether a pause saves; not after a single step, so that one can go back to before it
        self.picture: np.ndarray[Any, np.dtype[np.uint8]] | None = None
        self.global_step = 0

    def listen(self) -> None:
        """Receive messages until the pipe is closed."""
        with suppress(EOFError, OSError):
            while True:
                content, buffers = unpack(self.connection.recv_bytes())
                with self.changed:
                    self._receive(content, buffers)
                    self._wake()
        self.stop()

    def _receive(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        match content:
            case {"do": "go", "until": until}:
                self.until, self.saves = until, True
            case {"do": "step"}:
                self.until, self.saves = self.global_step + 1, False
            case {"do": "change", "arguments": dict(arguments)}:
                self.change = arguments
            case {"do": "look", "shape": list(shape)}:
                self.picture = np.frombuffer(buffers[0], np.uint8).reshape(shape)
            case {"do": "look"}:
                self.picture = None
            case {"do": "frame"}:
                self.watched_until = perf_counter() + WATCHED
            case {"do": "stop"}:
                self._stop()

    def stop(self) -> None:
        """Stop after the current step; if the data are still being read, end the process at once."""
        with self.changed:
            self._stop()
            self._wake()

    def _stop(self) -> None:
        self.stopping = True
        if not self.has_loaded:  # there is nothing to save, and reading cannot be interrupted
            self.tell("stopped", sentence=_STOPPED_EARLY)
            os._exit(0)

    def loaded(self) -> None:
        """Note that the data are loaded: from now on, stopping saves the state."""
        with self.changed:
            self.has_loaded = True

    def _wake(self) -> None:
        self.version += 1
        self.changed.notify_all()

    def wait(self, version: int) -> None:
        """Wait until a message has arrived since `version`."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != version)

    def tell(self, state: str, **content: Any) -> None:
        """Send the studio the training's new state."""
        self._send(pack({"tell": "state", "state": state, **content}))

    def show(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        """Send a frame."""
        self._send(pack({"tell": "frame", **content}, buffers))

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # the studio has ended: the listening thread stops the training
            self.connection.send_bytes(message)


def _work(folder: Path, desk: Desk) -> None:
    """Train, and make the changes that the studio requests, until it says stop."""
    desk.tell("loading")
    run = Run(folder)
    data = run.task.load(run)
    desk.loaded()
    watch = Watch(desk, run)
    while not desk.stopping:
        _train(run, data, watch)
        arguments, desk.change = desk.change, None
        if arguments is not None:
            try:
                run = watch.run = change_run(run, data, **arguments)
            except UserError as error:
                watch.refused = str(error)
            else:
                watch.refused = None
    desk.tell("stopped", step=desk.global_step)


def _train(run: Run, data: Data, watch: Watch) -> None:
    """Train until the studio requests a change or a stop; if training ends before, report it, and wait."""
    desk = watch.desk
    try:
        trainer = train(run, data, callbacks=[watch])
    except Interrupted:
        return
    except DivergedError as error:
        watch.show()
        desk.tell("searching", sentence=str(error))
        try:
            with training_lock(run):  # `locate` writes the state to go back to
                origin = divergence.locate(run, data, lambda: desk.stopping)
        except CanceledError:
            return
        where = asdict(origin) if origin else {}
        desk.tell("diverged", sentence=str(error), lr=run.config["training"]["lr"], **where)
    else:
        with training_lock(run):
            result = experiment.finish(run, data, sum(record["seconds"] for record in trainer.history))
        desk.tell("finished", step=trainer.global_step, result=result)
    watch.wait()


class Watch(Callback):
    """Sends frames to the studio, and pauses, stops or changes the training on request.

    If no page is open, it only compares a few attributes after each step.

    Args:
        desk: the studio's requests.
        run: the run.
    """

    def __init__(self, desk: Desk, run: Run) -> None:
        self.desk, self.run = desk, run
        self.frames = FrameMaker(run.model)
        self.refused: str | None = None  # why the last change was not made
        self._due = 0.0
        self._trainer: Trainer | None = None

    def on_start(self, trainer: Trainer) -> None:
        """Wait if the training begins paused."""
        self._trainer = trainer
        self.desk.global_step = trainer.global_step
        self.frames.curve.cut(trainer.global_step)
        self.desk.tell("running", **self._settings())
        self._attend(trainer)

    def on_loss(self, trainer: Trainer, inputs: Tensor | None, loss: float) -> None:
        """Note the loss of a step."""
        self.frames.add(trainer.global_step + 1, loss)

    def on_step(self, trainer: Trainer) -> None:
        """Send a frame if one is due, and do what the studio requests."""
        desk = self.desk
        desk.global_step = trainer.global_step
        if self._due <= perf_counter() < desk.watched_until:
            self._show(trainer)
        if desk.until is not None or desk.stopping or desk.change is not None:
            self._attend(trainer)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Check, before other callbacks write, that there is a folder to write to."""
        self._check_folder()

    def on_end(self, trainer: Trainer) -> None:
        """Show the trained network."""
        if trainer.epoch == trainer.epochs:
            self._show(trainer, now=True)

    def show(self) -> None:
        """Show the network as it is now."""
        if self._trainer is not None:
            self._show(self._trainer, now=True)

    def wait(self) -> None:
        """Show the network for new pictures until the studio requests a change or a stop."""
        version = self.desk.version
        while not (self.desk.stopping or self.desk.change is not None):
            self._wait(version)
            version = self.desk.version

    def _settings(self) -> dict[str, Any]:
        settings = {"changes": self.run.changes, "lr": self.run.config["training"]["lr"]}
        return {"step": self.desk.global_step, **settings, **({"refused": self.refused} if self.refused else {})}

    def _attend(self, trainer: Trainer) -> None:
        """Pause, stop or change, if the studio requests it."""
        desk, is_paused = self.desk, False
        while True:
            version, until = desk.version, desk.until
            if desk.stopping or desk.change is not None:
                self._check(trainer)
                save_and_stop(trainer)
            if until is None or trainer.global_step < until:
                break
            if not is_paused:
                self._check(trainer)
                if desk.saves:
                    save(trainer)
                self._show(trainer, now=True)
                desk.tell("paused", **self._settings())
                is_paused = True
            self._wait(version)
        if is_paused:
            desk.tell("running", **self._settings())

    def _wait(self, version: int) -> None:
        """Wait for a message after `version`; show the network again if the picture has changed."""
        self.desk.wait(version)
        if self.desk.picture is not self.frames.picture:
            self.show()

    def _show(self, trainer: Trainer, now: bool = False) -> None:
        self._due = perf_counter() + SECONDS_PER_FRAME
        self._check_folder()
        self.frames.picture = self.desk.picture
        self.desk.show(*self.frames.make(trainer, now))

    def _check(self, trainer: Trainer) -> None:
        """Check that the state can be saved: there is a folder, and all weights are finite.

        Raises:
            DivergedError: the last update made the weights invalid.
            FileNotFoundError: the folder was deleted.
        """
        self._check_folder()
        for name, parameter in trainer.network.named_parameters():
            if not np.isfinite(parameter.numpy()).all():
                raise DivergedError(
                    f"training diverged in epoch {trainer.epoch + 1}, at step {trainer.step_in_epoch}: {name} is not "
                    "finite"
                )

    def _check_folder(self) -> None:
        if not self.run.config_file.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.run.config_file))
