"""The processor's features and vector registers, and the tile sizes derived from them.

Kernels and the code that writes their descriptors use the same sizes: packed rows are padded to whole vectors, index
tables to whole tiles. LLVM, which knows the processor, is loaded by the first call, not by the import.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

CACHE_LINE = 64  # bytes
SPARE_ROWS = 9  # extra rows in index tables and results, so that a tile of up to ten rows may begin at the last row


@dataclass(frozen=True)
class Registers:
    """Vector register size, and tile sizes in rows × vectors.

    A tile (see `tile`) needs at least eight to ten accumulators to keep two multiply-add (FMA) units busy: each has a
    latency of four to five cycles. LLVM tends to load all vectors of both factors before it uses them, so each of these
    vectors needs a register; the other registers can be accumulators. If there are too many accumulators, LLVM spills
    them to memory: with AVX-512, a tile of 7 × 4 takes a third longer than a tile of 6 × 4.

    Attributes:
        vector_bytes: the size of a register.
        wide_vectors: the number of vectors in a row of the widest tile, which computes most columns.
        wide_rows: the number of rows of the widest tile.
        pair_rows: the number of rows of a tile that is two vectors wide.
        narrow_rows: the number of rows of a tile that is one vector wide.
    """

    vector_bytes: int
    wide_vectors: int
    wide_rows: int
    pair_rows: int
    narrow_rows: int = 10

    @property
    def slab_rows(self) -> int:
        """The number of positions in a slab (see `convolution_loops`): a multiple of the rows of every tile."""
        return 4 * math.lcm(self.wide_rows, self.pair_rows, self.narrow_rows)

    @property
    def has_32_registers(self) -> bool:
        """Whether there are 32 vector registers rather than 16."""
        return self.wide_vectors == 4


AVX512 = Registers(vector_bytes=64, wide_vectors=4, wide_rows=6, pair_rows=10)
AVX = Registers(vector_bytes=32, wide_vectors=2, wide_rows=6, pair_rows=6)
NEON = Registers(vector_bytes=16, wide_vectors=4, wide_rows=6, pair_rows=10)
BASELINE = Registers(vector_bytes=16, wide_vectors=2, wide_rows=6, pair_rows=6)  # SSE2, and any other processor


class CannotCompileError(Exception):
    """Kernels cannot be compiled: LLVM is missing or broken, or rejects a kernel, or BLAS lacks a function."""


class KernelRejectedError(CannotCompileError):
    """LLVM rejects one kernel; other kernels may compile."""


@cache
def llvm_binding() -> Any:
    """llvmlite's binding of LLVM.

    Raises:
        CannotCompileError: LLVM cannot be loaded.
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
    if features().get("avx512f", False):
        return AVX512
    if features().get("avx", False):  # which has the registers of AVX2
        return AVX
    return NEON if features().get("neon", False) else BASELINE


def whole_vectors(count: int, dtype: np.dtype[Any]) -> int:
    """The count, rounded up to a multiple of the numbers in a vector register."""
    lanes = registers().vector_bytes // dtype.itemsize
    return -(-count // lanes) * lanes
