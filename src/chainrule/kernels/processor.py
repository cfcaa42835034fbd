"""LLVM, and what it tells of the processor: the sizes of tiles, which setups and kernels must agree on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

CACHE_LINE = 64
SPARE_ROWS = 9  # tables and results have this many rows more than they need, so that every tile is a whole one


@dataclass(frozen=True)
class Registers:
    """Sizes of vector registers and of tiles, rows × vectors.

    A tile has at least the eight or ten sums that keep two multipliers busy, whose results come four or five clocks
    later; and no more than the registers hold beside the vectors of w and, since LLVM likes to load all of them at
    once, those of x. With one too many it moves sums to memory and back: 7 × 4 takes a third longer than 6 × 4.

    Attributes:
        vector_bytes: of a register.
        wide_vectors: of a tile for many columns.
        wide_rows: of that tile.
        pair_rows: of a tile with two vectors.
        narrow_rows: of a tile with one.
    """

    vector_bytes: int
    wide_vectors: int
    wide_rows: int
    pair_rows: int
    narrow_rows: int = 10

    @property
    def slab_rows(self) -> int:
        """Positions at a time: whole tiles of each kind."""
        return 4 * math.lcm(self.wide_rows, self.pair_rows, self.narrow_rows)

    @property
    def many(self) -> bool:
        """Whether there are 32 vector registers, not 16."""
        return self.wide_vectors == 4


AVX512, AVX2, SMALL = Registers(64, 4, 6, 10), Registers(32, 2, 6, 6), Registers(16, 2, 6, 6)
NEON = Registers(16, 4, 6, 10)


class CannotCompileError(Exception):
    """LLVM is missing, broken, or does not take a kernel."""


class KernelRefusedError(CannotCompileError):
    """LLVM does not take one kernel; it may well take all others."""


@cache
def llvm() -> Any:
    """LLVM, by llvmlite's binding.

    Raises:
        CannotCompileError: it cannot be loaded.
    """
    try:
        from llvmlite import binding  # 80 ms, so only where something is compiled or linked
    except (ImportError, OSError) as error:
        raise CannotCompileError(str(error)) from error
    return binding


@cache
def features() -> dict[str, bool]:
    """What the processor can do, by LLVM's names; nothing where LLVM cannot tell."""
    try:
        return dict(llvm().get_host_cpu_features())
    except RuntimeError:
        return {}


@cache
def registers() -> Registers:
    """Those of this processor."""
    known = features()
    if known.get("avx512f", False):
        return AVX512
    if known.get("avx", False):
        return AVX2
    return NEON if known.get("neon", False) else SMALL
