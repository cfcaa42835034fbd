"""What the processor offers: vector registers, and tile sizes derived from them. Loads LLVM on first use.

`convolution_setup` and the hand-written kernels must agree on these sizes: descriptors are padded to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

CACHE_LINE = 64
SPARE_ROWS = 9  # extra rows in tables and results, so that a tile of up to ten rows may begin at the last one


@dataclass(frozen=True)
class Registers:
    """Vector register size, and tile sizes in rows × vectors.

    A tile (see `tile`) needs eight to ten accumulators to keep two multipliers busy, whose latency is four to five
    cycles. LLVM tends to load all vectors of both factors before it uses them, so each needs a register of its own; the
    other registers can be accumulators. With one accumulator too many, LLVM spills: a tile of 7 × 4 takes a third
    longer than one of 6 × 4.

    Attributes:
        vector_bytes: size of a register.
        wide_vectors: vectors in a row of a tile for many columns.
        wide_rows: rows of that tile.
        pair_rows: rows of a tile with two vectors.
        narrow_rows: rows of a tile with one.
    """

    vector_bytes: int
    wide_vectors: int
    wide_rows: int
    pair_rows: int
    narrow_rows: int = 10

    @property
    def slab_rows(self) -> int:
        """Positions processed at a time: a multiple of the rows of every tile."""
        return 4 * math.lcm(self.wide_rows, self.pair_rows, self.narrow_rows)

    @property
    def has_32_registers(self) -> bool:
        """Whether there are 32 vector registers rather than 16."""
        return self.wide_vectors == 4


AVX512, AVX2, SMALL = Registers(64, 4, 6, 10), Registers(32, 2, 6, 6), Registers(16, 2, 6, 6)
NEON = Registers(16, 4, 6, 10)


class CannotCompileError(Exception):
    """LLVM is missing or broken, or rejects a kernel."""


class KernelRejectedError(CannotCompileError):
    """LLVM rejects one kernel; others may compile."""


@cache
def llvm_binding() -> Any:
    """llvmlite's binding of LLVM.

    Raises:
        CannotCompileError: it cannot be loaded.
    """
    try:
        from llvmlite import binding  # takes 80 ms: imported only to compile or link
    except (ImportError, OSError) as error:
        raise CannotCompileError(str(error)) from error
    return binding


@cache
def features() -> dict[str, bool]:
    """The processor's features, by LLVM's names; empty where LLVM cannot detect them."""
    try:
        return dict(llvm_binding().get_host_cpu_features())
    except RuntimeError:
        return {}


@cache
def registers() -> Registers:
    """The registers of this processor."""
    flags = features()
    if flags.get("avx512f", False):
        return AVX512
    if flags.get("avx", False):
        return AVX2
    return NEON if flags.get("neon", False) else SMALL
