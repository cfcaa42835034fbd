"""SIGINT, SIGTERM and SIGHUP, once or twice, at any moment of a command. Nothing may be lost, no traceback printed."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

from . import kills
from .attack import Case, Step, chainrule
from .child import Signal
from .kills import finished, train_or_resume

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

name = "interrupts"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
prepare = kills.prepare


def draw(random: np.random.Generator, folder: Path) -> Case:
    """Usually training, which is then resumed, sometimes another command."""
    signals = []
    at = float(random.uniform(0, 1.1 * kills.facts["seconds"]))
    for _ in range(int(random.integers(1, 3))):
        signals.append(Signal(at, SIGNALS[int(random.integers(len(SIGNALS)))]))
        at += float(10 ** random.uniform(-4, -0.5))
    codes = (0, *(128 + number for number in SIGNALS))
    about = ", ".join(f"{signal.Signals(s.number).name} after {s.after:.3f} s" for s in signals)
    if random.random() < 0.8:
        step = Step(
            "trained and interrupted",
            partial(train_or_resume, kills.base_folder, folder / "run"),
            codes,
            tuple(signals),
        )
        return Case(f"train: {about}", [step, *finished(kills.base_folder, folder / "run")])
    arguments: list[object] = [
        ["evaluate", kills.base_folder / "done"],
        ["runs", kills.base_folder],
        ["evaluate", kills.base_folder / "done", "--mistakes", folder / "mistakes.png"],
        ["data"],
    ][int(random.integers(4))]  # type: ignore[assignment]
    return Case(f"{arguments[0]}: {about}", [chainrule(*arguments, codes=codes, signals=signals)])
