"""Disks that are full or read-only, or fail at the n-th operation. Training must end with one sentence or ignore the
failure, and resume to a bitwise identical result on a disk that works."""

from __future__ import annotations

import errno
import os
import resource
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .attack import Case, Step
from .kills import finished, train_or_resume

if TYPE_CHECKING:
    import numpy as np

name = "disks"
_folder = Path()
FAULTS = [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EACCES]
EVENTS = ["open", "os.rename", "os.mkdir", "os.remove", "fsync", "size"]


def prepare(folder: Path) -> None:
    """Find the folder with the expected outcome of training."""
    global _folder
    _folder = folder.parent / "base"


def draw(random: np.random.Generator, folder: Path) -> Case:
    """Training in which one disk operation fails, or all from some point on; then it resumes without failures."""
    event = EVENTS[int(random.integers(len(EVENTS)))]
    # the size limit also applies to standard error, which needs space for a sentence
    count = int(10 ** random.uniform(2.5, 6)) if event == "size" else int(random.integers(1, 25))
    fault = FAULTS[int(random.integers(len(FAULTS)))]
    lasting = bool(random.random() < 0.7)
    step = Step(
        f"trained, {event} number {count} fails",
        partial(train_on_failing_disk, _folder, folder / "run", event, count, fault, lasting),
        codes=(0, 2),
    )
    about = f"{event} {count}: {errno.errorcode[fault]}{', and all that follow' if lasting else ''}"
    return Case(about, [step, *finished(_folder, folder / "run")])


def train_on_failing_disk(folder: Path, run: Path, event: str, count: int, fault: int, lasting: bool) -> None:
    """Train while the n-th disk operation (if `lasting`, all from it on) fails or, for "size", while files are limited."""
    if event == "size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
    else:
        fail(run, event, count, fault, lasting)
    train_or_resume(folder, run)


def fail(run: Path, event: str, count: int, fault: int, lasting: bool) -> None:
    """Make the n-th operation of a kind below the run's folder fail (`fsync`: anywhere); cannot be undone."""
    seen = 0

    def refuse() -> None:
        nonlocal seen
        seen += 1
        if seen == count or (lasting and seen > count):
            raise OSError(fault, os.strerror(fault))

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if name != event or not str(arguments[0]).startswith(str(run)):
            return
        if name == "open" and isinstance(arguments[2], int) and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        refuse()

    if event == "fsync":
        sync = os.fsync

        def fsync(handle: int) -> None:
            refuse()
            sync(handle)

        os.fsync = fsync  # type: ignore[assignment]
    else:
        sys.addaudithook(hook)
