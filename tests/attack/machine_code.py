"""The cache of machine code: damaged, swapped, truncated or foreign files. The results must stay the same."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import base
from .attack import Case, Step, check
from .child import run
from .kills import train_or_resume
from .mutate import apply, edits

if TYPE_CHECKING:
    import numpy as np

name = "machine code"
_folder, _cache = Path(), Path()


def prepare(folder: Path) -> None:
    """Fill a cache with the code that training needs."""
    global _folder, _cache
    _folder, _cache = folder.parent / "base", folder / "cache"
    ended = run(partial(train_with_cache, _cache, folder / "run"), folder, 0.0)
    if ended.code:
        raise RuntimeError(f"the attack on the cache cannot be prepared: {ended.err}")


def draw(random: np.random.Generator, folder: Path) -> Case:
    """A copy of the cache with some of its files changed."""
    cache = Path(shutil.copytree(_cache, folder / "cache"))
    files = sorted(path for path in cache.rglob("*") if path.is_file() and path.name != ".lock")
    about = []
    for _ in range(int(random.integers(1, 4))):
        file, other = (files[int(i)] for i in random.integers(len(files), size=2))
        match random.integers(6):
            case 0:
                content, more = file.read_bytes(), other.read_bytes()
                file.write_bytes(more)
                other.write_bytes(content)
                about.append("two exchanged")
            case 1:
                file.write_bytes(b"")
                about.append("emptied")
            case 2:
                file.unlink(missing_ok=True)
                file.mkdir()
                about.append("a folder in its place")
            case 3 if os.geteuid() == 0:
                os.chown(file, 54321, 54321)
                about.append("somebody else's")
            case 4:  # as a power cut leaves it
                content = file.read_bytes()
                code = max(0, content.find(b"\x7fELF"))  # after the header, which is text
                start = int(random.integers(code, len(content) + 1))
                file.write_bytes(content[:start] + bytes(len(content) - start))
                about.append("zeros from somewhere in the code on")
            case _:
                content = file.read_bytes()
                file.write_bytes(apply(content, edits(random, content)))
                about.append("damaged")
        files = [file for file in files if file.is_file()]
    steps = [
        Step("trained", partial(train_with_cache, cache, folder / "run")),
        check("the same end", partial(base.same_outcome, folder / "run", base.facts(_folder)["outcome"])),
    ]
    return Case(", ".join(about), steps)


def train_with_cache(cache: Path, run_folder: Path) -> None:
    """Train with a separate cache."""
    os.environ["CHAINRULE_CACHE"] = str(cache)
    train_or_resume(_folder, run_folder)
