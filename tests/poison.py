"""Fill memory with poison before results are written into it, so that a result that no kernel wrote cannot pass a test.

A program keeps its memory from one run to the next, and NumPy reuses freed memory. Where a kernel fails to write, the
right answer of the previous call may still be there. The fixture `poisoned`, under which every test runs, prevents
that:

- the arena and the results of a compiled program are filled with poison before each run;
- the arrays that the library gets from `np.empty` and `np.empty_like` are filled with poison.

Poison is NaN in floating-point arrays, bytes 0xFF in arrays of uint8, and bytes 0xAB in all others. Arrays of uint8 may
be raw memory, whose elements will have another type. Bytes 0xFF are NaN both as float32 and as float64. Bytes 0xAB
would be -1e-12 as float32, so small that it could pass for 0, or not be noticed in a sum.
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
"""Packages that need other libraries; poisoned only in `make test-bridges`, which installs these libraries."""


def poison(array: np.ndarray) -> np.ndarray:
    """Fill an array with values that no computation gives, and return it."""
    if array.dtype.kind in "fc":
        array[...] = np.nan
    elif array.dtype.kind in "biu" and array.flags.writeable:
        raw = np.full(array.itemsize, 0xFF if array.dtype == np.uint8 else 0xAB, np.uint8)
        array[...] = raw.view(array.dtype)
    return array


class PoisonedNumPy:
    """NumPy, except that `empty` and `empty_like` return poisoned memory."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(*arguments: Any, **options: Any) -> Any:
        return poison(np.empty(*arguments, **options))

    @staticmethod
    def empty_like(*arguments: Any, **options: Any) -> Any:
        out = np.empty_like(*arguments, **options)
        return poison(out) if type(out) is np.ndarray else out  # Tensors and tracers have an `empty_like` of their own


@functools.cache
def allocating_modules() -> tuple[Any, ...]:
    """The modules of the library that call `np.empty` or `np.empty_like`."""
    excluded = () if os.environ.get("CHAINRULE_BRIDGES") == "1" else BRIDGES
    names = [
        ".".join(("chainrule", *path.relative_to(SOURCES).with_suffix("").parts))
        for path in sorted(SOURCES.rglob("*.py"))
        if path.relative_to(SOURCES).parts[0] not in excluded
        and re.search(r"\bnp\.empty", path.read_text(encoding="utf-8"))
    ]
    return tuple(importlib.import_module(name) for name in names)


def results(program: Any) -> list[np.ndarray]:
    """The arrays outside the arena that each run of a program must write: outputs and gradients."""
    from chainrule.lower import graph

    return [
        program.arrays[id(value)]
        for value in program.bases
        if graph.is_internal(value) and value.kind != "view" and id(value) in program.arrays
    ]


@contextlib.contextmanager
def poisoned_run(program: Any) -> Iterator[None]:
    """Poison a program's memory before a run, and restore its results if the run does not complete."""
    from chainrule.kernels.driver import PROGRESS

    complete = program.table_view[PROGRESS] + program.progress_per_run
    saved = [(array, array.copy()) for array in results(program)]
    poison(program.memory)
    for array, _ in saved:
        poison(array)
    try:
        yield
    except BaseException:
        if program.table_view[PROGRESS] != complete:  # an interrupt may arrive after the run is complete
            for array, before in saved:
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
    poisoned_numpy = PoisonedNumPy()
    for module in allocating_modules():
        monkeypatch.setattr(module, "np", poisoned_numpy)
