"""SIGKILL at any moment of training, once or repeatedly; the resumed run must end like an uninterrupted one."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import base
from .attack import Case, Step, check
from .child import Signal

if TYPE_CHECKING:
    import numpy as np

name = "kills"
base_folder = Path()
facts: dict[str, Any] = {}


def prepare(folder: Path) -> None:
    """Read the expected outcome and the duration of training; `interrupts` uses them, too."""
    global base_folder
    base_folder = folder.parent / "base"
    facts.update(base.facts(base_folder))


def draw(random: np.random.Generator, folder: Path) -> Case:
    """One to three kills at random moments."""
    moments = [float(random.uniform(0, 1.1 * facts["seconds"])) for _ in range(int(random.integers(1, 4)))]
    steps = [
        Step(
            "trained and killed",
            partial(train_or_resume, base_folder, folder / "run"),
            (0,),
            (Signal(at, signal.SIGKILL),),
        )
        for at in moments
    ]
    steps += finished(base_folder, folder / "run")
    return Case("after " + ", ".join(f"{at:.3f} s" for at in moments), steps)


def finished(folder: Path, run: Path) -> list[Step]:
    """The steps that finish the training and check its outcome."""
    return [
        Step("to the end", partial(train_or_resume, folder, run)),
        check("the same end", partial(base.same_outcome, run, base.facts(folder)["outcome"])),
    ]


def train_or_resume(folder: Path, run: Path) -> None:
    """Start the training, or resume it if there is a run to resume."""
    from chainrule.cli import main

    if (run / "config.json").exists():
        main(["train", "--quiet", "--resume", str(run)])
    main(base.train("--data", str(folder / "data"), "--out", str(run)))
