"""What the processor's registers hold: the sizes of tiles, which plans and compiled loops must agree on."""

from __future__ import annotations

import math
from contextlib import suppress

from llvmlite import binding

FEATURES: dict[str, bool] = {}
"""What it can do, by LLVM's names; nothing where LLVM cannot tell."""
with suppress(RuntimeError):
    FEATURES |= binding.get_host_cpu_features()
MANY_REGISTERS = FEATURES.get("avx512f", False) or FEATURES.get("neon", False)  # 32 vector registers, not 16

VECTOR_BYTES = 64 if FEATURES.get("avx512f", False) else 32 if FEATURES.get("avx", False) else 16
# Rows × vectors of a tile: at least the eight or ten sums that keep two multipliers busy, whose results come four or
# five clocks later; and no more than the registers hold beside the vectors of w and, since LLVM likes to load all of
# them at once, those of x. With one too many it moves sums to memory and back: 7 × 4 takes a third longer than 6 × 4.
WIDE_ROWS, WIDE_VECTORS = (6, 4) if MANY_REGISTERS else (6, 2)
PAIR_ROWS = 10 if MANY_REGISTERS else 6  # with two vectors
NARROW_ROWS = 10  # with one
SPARE_ROWS = 9  # tables and results have this many rows more than they need, so that every tile is a whole one
SLAB_ROWS = 4 * math.lcm(WIDE_ROWS, PAIR_ROWS, NARROW_ROWS)  # places at a time, whole tiles of each kind
CACHE_LINE = 64


def sizes() -> tuple[int, ...]:
    """All that compiled loops depend on here."""
    return VECTOR_BYTES, WIDE_ROWS, WIDE_VECTORS, PAIR_ROWS, NARROW_ROWS, SLAB_ROWS
