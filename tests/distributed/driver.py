"""Run `chainrule` on a rank, with an event: `driver.py EVENT train ...`.

EVENT is one of
    none                nothing happens
    slow                each step takes 30 ms, and a checkpoint is saved after each, as in the following events
    hang N R            rank R hangs in the step that follows N steps
    error N R           rank R raises an error in that step
    user N R            rank R raises a user error in that step
    option NAME VALUE   rank 1 has this additional option
    version             rank 1 has a different version of NumPy
    data                rank 1 has different images
    missing data        rank 1 has no images
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import data as datasets
from chainrule.cli import main
from chainrule.distributed import sharded
from chainrule.errors import DataError
from chainrule.training import callbacks, experiment

EVENT, *PARAMETERS = sys.argv.pop(1).split()
RANK = int(os.environ["PMI_RANK"])
Path(f"rank-{RANK}.pid").write_text(str(os.getpid()))


class Checkpoint(callbacks.Checkpoint):
    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **{**options, "seconds": 0.0})


gradients = sharded.ShardedStep.gradients
taken = 0


def slow_gradients(self: Any, *arguments: Any) -> float:
    global taken
    time.sleep(0.03)
    if EVENT in ("hang", "error", "user") and [taken, RANK] == list(map(int, PARAMETERS)):
        while EVENT == "hang":
            time.sleep(0.1)
        if EVENT == "user":
            raise DataError("a file has become shorter")
        raise RuntimeError("this rank has an error")
    taken += 1
    return gradients(self, *arguments)


if EVENT in ("slow", "hang", "error", "user"):
    experiment.Checkpoint = Checkpoint  # type: ignore[misc]
    sharded.ShardedStep.gradients = slow_gradients  # type: ignore[method-assign]
if RANK == 1 and EVENT == "option":
    sys.argv += PARAMETERS
if RANK == 1 and EVENT == "version":
    versions = experiment.versions()
    experiment.versions = lambda: {**versions, "numpy": "1.0"}  # type: ignore[assignment]
if RANK == 1 and EVENT in ("data", "missing"):
    load = datasets.load

    def load_other(name: Any, **reading: Any) -> Any:
        if EVENT == "missing":
            raise DataError("there are no such images")
        loaded = load(name, **reading)
        return replace(loaded, train_images=255 - np.asarray(loaded.train_images))

    datasets.load = load_other  # type: ignore[assignment]
main()
