"""Run `chainrule` with an event during training: `driver.py EVENT train ...`.

EVENT is one of
    slow           each step takes 10 ms, so that a test has time to act
    slow saving    the same, and a checkpoint is saved after each step, as in the following events
    step N         killed after step N and its checkpoint
    saving N       killed during the N-th save, when the new file is written but not yet renamed
    best           killed after the best weights of the first epoch are saved, before the history
    history        killed after the history of the first epoch is saved, before the checkpoint
    hang           prints a message and hangs while saving after an interrupt

"Killed" means SIGKILL, without cleanup.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from chainrule.cli import main
from chainrule.training import callbacks, experiment

EVENT = sys.argv.pop(1)
seen: dict[str, int] = {}


def reached(event: str) -> None:
    """Count an event, and kill this process if it is `EVENT`."""
    seen[event] = seen.get(event, 0) + 1
    if EVENT in (event, f"{event} {seen[event]}"):
        os.kill(os.getpid(), signal.SIGKILL)


class Checkpoint(callbacks.Checkpoint):
    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **({} if EVENT == "slow" else {"seconds": 0.0}), **options)

    def on_step(self, trainer: Any) -> None:
        time.sleep(0.01 if EVENT.startswith("slow") else 0)
        if trainer.interrupt and EVENT == "hang":
            print("hanging", file=sys.stderr, flush=True)
            while True:
                time.sleep(0.01)
        super().on_step(trainer)
        reached("step")


class BestModel(callbacks.BestModel):
    def on_epoch(self, trainer: Any, record: dict[str, Any]) -> None:
        super().on_epoch(trainer, record)
        reached("best")


class History(callbacks.History):
    def on_epoch(self, trainer: Any, record: dict[str, Any]) -> None:
        super().on_epoch(trainer, record)
        reached("history")


def patched_replace(self: Path, target: Path) -> Path:
    if target.name == "state.safetensors":
        reached("saving")
    os.replace(self, target)  # noqa: PTH105  # replaces Path.replace
    return target


Path.replace = patched_replace  # type: ignore[method-assign,assignment]
experiment.Checkpoint, experiment.BestModel, experiment.History = Checkpoint, BestModel, History  # type: ignore[misc]
main()
