"""Files that many attacks start from: a data set, a finished run, a stopped run, a run on text, the expected outcome."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from .child import WrongError, run

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 28  # MNIST's size, so that `predict` accepts the run
TRAIN, TEST, EPOCHS, BATCH = 90, 30, 3, 15
OPTIONS = ["--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--seed", "5"]
FACTS = "facts.json"
TEXT = "the cat and the dog. a hat on the mat!\n" * 30
TRAIN_TEXT = [
    "train", "--quiet", "--eager", "--model", "gpt", "--size", "tiny", "--block-size", "8", "--steps-per-epoch", "20",
    "--epochs", "1", "--batch-size", "4", "--lr", "0.02",
]  # fmt: skip
"""The arguments of a short training on text, without data and folder."""


def make(folder: Path, idle: float) -> None:
    """Create the files in child processes, and record the duration and the outcome of training."""
    folder.mkdir(parents=True)
    for action in (_data, _done, _stopped, _text):
        start = time.monotonic()
        ended = run(lambda act=action: act(folder), folder, idle)
        if ended.code:
            raise RuntimeError(f"the fixtures could not be created: {ended.err}")
        if action is _done:
            seconds = time.monotonic() - start
    facts = {"seconds": seconds, "outcome": outcome(folder / "done")}
    (folder / FACTS).write_text(json.dumps(facts))


def facts(folder: Path) -> dict[str, Any]:
    """The recorded duration and outcome of training."""
    recorded: dict[str, Any] = json.loads((folder / FACTS).read_text())
    return recorded


def train(*more: str) -> list[str]:
    """The arguments of the training command, without the folder."""
    return ["train", "--quiet", *OPTIONS, *more]


def outcome(run_folder: Path) -> dict[str, Any]:
    """The reproducible parts of a run: weights, history and result, without times."""
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    history = [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]
    result = json.loads((run_folder / "result.json").read_text())
    return {
        "weights": hashlib.sha256((run_folder / "model.safetensors").read_bytes()).hexdigest(),
        "history": history,
        "result": {key: value for key, value in result.items() if key != "seconds"},
    }


def same_outcome(run_folder: Path, expected: dict[str, Any]) -> None:
    """Check that a run has the expected outcome, and that no temporary files are left.

    Raises:
        WrongError: it has not, or there are some.
    """
    actual = outcome(run_folder)
    for key, value in expected.items():
        if actual[key] != value:
            raise WrongError(f"the run's {key} differs from that of an uninterrupted run: {actual[key]}, not {value}")
    left = [path.name for path in run_folder.rglob(".*.tmp")]
    if left:
        raise WrongError(f"temporary files are left: {left}")


def _data(folder: Path) -> None:
    from chainrule.data import idx
    from chainrule.data.image_data import FILES

    random = np.random.default_rng(1)
    shapes = random.random((10, SIDE, SIDE)) < 0.3
    (folder / "data").mkdir()
    for count, names in ((TRAIN, FILES[:2]), (TEST, FILES[2:])):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = (200 * shapes[labels] + random.normal(0, 60, (count, SIDE, SIDE))).clip(0, 255).astype(np.uint8)
        idx.write(folder / "data" / names[0], images)
        idx.write(folder / "data" / names[1], labels)


def _done(folder: Path) -> None:
    from chainrule.cli import main

    main(train("--data", str(folder / "data"), "--out", str(folder / "done")))


def _stopped(folder: Path) -> None:
    """Create the same run, stopped in its second epoch."""
    from chainrule import data as datasets
    from chainrule.training import Callback, Interrupted, experiment
    from chainrule.training import run as runs

    class Stop(Callback):
        def on_step(self, trainer: Any) -> None:
            trainer.interrupt = trainer.epoch == 1 and trainer.step_in_epoch == 2

    data = datasets.load(folder / "data")
    config = experiment.configure("mlp", data, seed=5, epochs=EPOCHS, batch_size=BATCH)
    run = runs.create(config, folder / "stopped")
    try:
        experiment.prepare(run, data, [Stop()]).fit(EPOCHS)
    except Interrupted:
        return
    raise RuntimeError("the run was not stopped")


def _text(folder: Path) -> None:
    """Create a run on a text, of a few steps."""
    from chainrule.cli import main

    (folder / "text.txt").write_text(TEXT)
    main([*TRAIN_TEXT, "--data", str(folder / "text.txt"), "--out", str(folder / "text")])


def environment(folder: Path) -> None:
    """Set the environment of all child processes."""
    os.environ.update(
        OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", CHAINRULE_THREADS="1", MPLBACKEND="agg", COLUMNS="100"
    )
    os.environ.setdefault("CHAINRULE_CACHE", str(folder / "cache"))
