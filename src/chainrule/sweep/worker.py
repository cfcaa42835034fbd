"""A worker process of a sweep: `python -m chainrule.sweep.worker`, started by `trials`.

It reads and writes lines of JSON. It receives the folder of a run, {"train": "sweeps/a/trial-0001"}, and trains the
run, from its checkpoint if there is one. After each epoch it sends {"epoch": {...}}, the epoch's record, and waits for
the answer, {"prune": false}. At the end it sends how the trial ended, and why: {"done": ""}, or "pruned", "diverged",
"failed" or "stopped". {"stop": true} stops it after the current step, with a checkpoint. When its input ends, because
the sweep's process was killed, it ends at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from chainrule.errors import UserError, printable
from chainrule.training import experiment
from chainrule.training import run as runs
from chainrule.training.resume import resume
from chainrule.training.session import training_lock
from chainrule.training.trainer import Callback, DivergedError, Interrupted

if TYPE_CHECKING:
    from typing import TextIO

    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer


class Channel:
    """The lines to and from the sweep's process.

    Args:
        inputs: the lines from the sweep's process.
        outputs: the lines to the sweep's process.
    """

    def __init__(self, inputs: TextIO, outputs: TextIO) -> None:
        self._inputs, self._outputs = inputs, outputs
        self._received: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.trainer: Trainer | None = None
        self.stopped = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._inputs:
            message = json.loads(line)
            if "stop" not in message:
                self._received.put(message)
                continue
            self.stopped = True
            if self.trainer is not None:
                self.trainer.interrupt = True
        os._exit(0)

    def send(self, **message: Any) -> None:
        """Write a message."""
        self._outputs.write(json.dumps(message) + "\n")
        self._outputs.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for a message."""
        return self._received.get()


class Reports(Callback):
    """Reports each epoch, and stops the trainer if the trial is pruned.

    It is called after `Checkpoint`, so that a pruned run can be resumed as if it had been interrupted.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel, self.is_pruned = channel, False

    def on_start(self, trainer: Trainer) -> None:
        """Report the epochs of a run that is resumed; some may have been reported before."""
        for record in trainer.history:
            self.on_epoch(trainer, record)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Report an epoch."""
        self._channel.send(epoch=record)
        answer = self._channel.receive()
        if answer.get("prune"):
            self.is_pruned = trainer.stop = True


def train(run: Run, data: Any, channel: Channel) -> tuple[str, str]:
    """Train a run to its end, and return how it ended and why."""
    if "threads" in run.config:  # in shards: `experiment.prepare` uses the number that the run was created with
        os.environ.pop("CHAINRULE_THREADS", None)
    try:
        with training_lock(run):
            trainer = experiment.prepare(run, data, replayable=False)  # many runs: no more files than needed
            reports = Reports(channel)
            trainer.callbacks.append(reports)
            resume(run, trainer)
            channel.trainer = trainer
            trainer.interrupt |= channel.stopped
            trainer.fit(run.config["training"]["epochs"])
            channel.trainer = None
            if reports.is_pruned:
                return "pruned", ""
            experiment.finish(run, data, sum(record["seconds"] for record in trainer.history))
            _draw(run)
    except Interrupted:
        return "stopped", ""
    except DivergedError as error:
        return "diverged", str(error)
    except (UserError, OSError) as error:
        return "failed", str(error)
    except MemoryError as error:
        return "failed", f"not enough memory ({error})"
    finally:
        channel.trainer = None
    return "done", ""


def _draw(run: Run) -> None:
    """Draw the learning curves."""
    from chainrule.plots import style, training  # imports matplotlib

    style.save(training.curves(run.history, title=printable(run.folder.name)), run.folder / "curves.png")


def main() -> None:
    """Train what is asked for, until the input ends."""
    for name in ("SIGINT", "SIGHUP"):  # a terminal also sends these to the sweep's process, which then says "stop"
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    outputs = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # anything else that is printed must not be taken for a message
    channel = Channel(sys.stdin, outputs)
    loaded: tuple[str, Any] | None = None
    while True:
        run = runs.Run(channel.receive()["train"])
        key = json.dumps([run.config["data"], run.config["seed"]])
        if loaded is None or loaded[0] != key:  # the trials of a sweep train on the same data
            loaded = key, run.task.load(run)
        end, why = train(run, loaded[1], channel)
        channel.send(**{end: why})


if __name__ == "__main__":
    main()
