"""Memory that holds nothing useful before results are written into it, so that a result nobody wrote cannot pass.

A program keeps its memory from one run to the next, and NumPy hands freed memory out again: where a kernel does not
write, the right answer of the call before may still lie there. `poisoned`, which every test runs under, prevents that:

- each run of a compiled program begins with its arena and its results filled with poison;
- what the library gets from `np.empty` and `np.empty_like` is filled with poison.

Poison is NaN for floating-point numbers and bytes 0xAB for all others. Raw memory, whose types are not known yet, is
filled with bytes 0xFF, which are NaN in float32 and float64 alike: 0xAB bytes are -1e-12 in float32, small enough to
pass for 0 or to be added to a sum unnoticed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import chainrule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

SOURCES = Path(chainrule.__file__).parent
BRIDGES = ("onnx", "sklearn")
"""Rooms that cannot be imported without their libraries, which `make test-bridges` installs; it poisons them, too."""


def poison(array: np.ndarray) -> np.ndarray:
    """Fill an array with what no computation gives."""
    if array.dtype.kind in "fc":
        array[...] = np.nan
    elif array.dtype.kind in "biu" and array.flags.writeable:
        raw = np.full(array.itemsize, 0xFF if array.dtype == np.uint8 else 0xAB, np.uint8)
        array[...] = raw.view(array.dtype)
    return array


class PoisonedNumPy:
    """NumPy, except that fresh memory is poisoned."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(*arguments: Any, **options: Any) -> Any:
        return poison(np.empty(*arguments, **options))

    @staticmethod
    def empty_like(*arguments: Any, **options: Any) -> Any:
        out = np.empty_like(*arguments, **options)
        return poison(out) if type(out) is np.ndarray else out  # a Tensor's or a tracer's own answer


@functools.cache
def allocating_modules() -> tuple[Any, ...]:
    """The modules of the library that ask NumPy for memory without content."""
    left_out = () if os.environ.get("CHAINRULE_BRIDGES") == "1" else BRIDGES
    names = [
        ".".join(("chainrule", *path.relative_to(SOURCES).with_suffix("").parts))
        for path in sorted(SOURCES.rglob("*.py"))
        if path.relative_to(SOURCES).parts[0] not in left_out
        and re.search(r"\bnp\.empty", path.read_text(encoding="utf-8"))
    ]
    return tuple(importlib.import_module(name) for name in names)


def results(program: Any) -> list[np.ndarray]:
    """The arrays in memory of their own that each run of a program must write: outputs and gradients."""
    from chainrule.lower import graph

    return [
        program.arrays[id(value)]
        for value in program.bases
        if graph.is_internal(value) and value.kind != "view" and id(value) in program.arrays
    ]


@contextlib.contextmanager
def poisoned_run(program: Any) -> Iterator[None]:
    """Poison a program's memory before a run. A run that is refused leaves the results of the last one."""
    from chainrule.kernels.driver import PROGRESS

    complete = program.table_view[PROGRESS] + program.progress_per_run
    kept = [(array, array.copy()) for array in results(program)]
    poison(program.memory)
    for array, _ in kept:
        poison(array)
    try:
        yield
    except BaseException:
        if program.table_view[PROGRESS] != complete:  # an interrupt may come when all is done
            for array, before in kept:
                array[...] = before
        raise


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poison memory until the patches are undone."""
    from chainrule.lower.program import Program

    run = Program.run

    def poisoned(program: Any, *arguments: Any) -> None:
        with poisoned_run(program):
            run(program, *arguments)

    monkeypatch.setattr(Program, "run", poisoned)
    fresh = PoisonedNumPy()
    for module in allocating_modules():
        monkeypatch.setattr(module, "np", fresh)
