"""Operations of the attention kernels on blocks: pack, transpose, multiply, mask, and the parts of a softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.kernels import functions
from chainrule.kernels.processor import SPARE_ROWS, registers
from chainrule.kernels.tile import product, transpose_square
from chainrule.kernels.tree import F4, F8, Kernel, Type

if TYPE_CHECKING:
    from chainrule.kernels.calling import DescriptorReader
    from chainrule.kernels.tree import Array, Expr

QUERIES = 30  # rows of a block of scores: a multiple of the rows of every tile (see `processor.Registers`)
KEYS = 128  # columns of a block of scores: whole vectors
TABLES = "by_one by_width by_value_width by_key"
"""Fields: lookup tables of the multiples of 1, of both packed widths, and of KEYS."""


class HeadArray:
    """An array (heads, rows, columns), possibly with gaps between rows and heads.

    Args:
        d: the descriptor.
        name: the array's name in the descriptor.
        type: the type of its elements.
    """

    def __init__(self, d: DescriptorReader, name: str, type: Type) -> None:
        self.array, self.offsets = d.array(name, type), d.lookup_table(f"{name}_heads")
        self.row_stride: Expr = getattr(d, f"{name}_row")

    def from_row(self, head: Expr, row: Expr | int) -> Array:
        """The array, starting at a row of a head; the next row begins `row_stride` elements later."""
        return self.array.at(self.offsets[head] + self.row_stride * row)


class Blocks:
    """Operations on blocks, for both kernels.

    Args:
        kernel: the kernel.
        d: its descriptor.
        type: the type of all numbers.
    """

    def __init__(self, kernel: Kernel, d: DescriptorReader, type: Type) -> None:
        self.kernel, self.d, self.type = kernel, d, type
        self.lanes = registers().vector_bytes // type.bytes
        self.exp_lanes = self.lanes if type == F4 else 1  # exp of doubles calls the C library for each number
        self.scale = d.scale.bits_as(F8).to(type)
        self.scratch = d.array("scratch", type)
        self.by_one, self.by_width, self.by_value_width, self.by_key = map(d.lookup_table, TABLES.split())

    def head_array(self, name: str) -> HeadArray:
        """An array of the kernel, with heads."""
        return HeadArray(self.d, name, self.type)

    def buffer(self, name: str) -> Array:
        """A part of `scratch`."""
        return self.scratch.at(getattr(self.d, name))

    def pack(
        self, source: Array, row_stride: Expr, row_count: Expr, width: Expr, out: Array, out_width: Expr, scale: Expr
    ) -> None:
        """Copy `row_count` rows, scaled; each row is padded with zeros, and SPARE_ROWS rows of zeros follow."""
        kernel = self.kernel
        with kernel.loop(0, row_count, as_written=True) as i:
            line, packed = source.at(i * row_stride), out.at(i * out_width)
            with kernel.loop(0, width) as c:
                packed[c] = line[c] * scale
            with kernel.loop(width, out_width) as c:
                packed[c] = 0.0
        out.at(row_count * out_width).fill_zero(out_width * SPARE_ROWS)

    def unpack(
        self, packed: Array, packed_width: Expr, row_count: Expr, width: Expr, out: Array, row_stride: Expr, scale: Expr
    ) -> None:
        """Copy `row_count` packed rows to the result, scaled and without the padding."""
        with self.kernel.loop(0, row_count, as_written=True) as i:
            line, source = out.at(i * row_stride), packed.at(i * packed_width)
            with self.kernel.loop(0, width) as c:
                line[c] = source[c] * scale

    def transpose(self, source: Array, row_stride: Expr, row_count: Expr, width: Expr, out: Array) -> None:
        """Transpose `row_count` rows, which become columns of `out` (width, KEYS), with zeros after them."""
        kernel, lanes = self.kernel, self.lanes
        whole_rows, whole_columns = row_count // lanes * lanes, width // lanes * lanes
        with (
            kernel.loop(0, whole_columns, lanes, as_written=True) as c,
            kernel.loop(0, whole_rows, lanes, as_written=True) as j,
        ):
            transpose_square(kernel, source.at(j * row_stride + c), row_stride, out.at(j), self.by_one.at(c), KEYS)
        with kernel.loop(0, width, as_written=True) as c:
            line = out.at(c * KEYS)
            with kernel.loop(kernel.select(c < whole_columns, whole_rows, 0), row_count, as_written=True) as j:
                line[j] = source[j * row_stride + c]
            line.at(row_count).fill_zero(self.whole_vectors(row_count) - row_count)

    def whole_vectors(self, count: Expr) -> Expr:
        """The count, rounded up to a multiple of a vector's lanes."""
        return (count + (self.lanes - 1)) // self.lanes * self.lanes

    def multiply(
        self, x: Array, starts: Array, row_count: Expr, terms: Array, term_count: Expr, w: Array, out: Array,
        columns: Expr, stride: Expr | int, overwrite: Expr | int,
    ) -> None:  # fmt: skip
        """`tile.product`. `starts` and `terms` are two of the tables of TABLES, with which x is a matrix."""
        self.kernel.call(
            product(self.type), x.address, starts.address, row_count, terms.address, term_count, w.address,
            out.address, columns, stride, overwrite,
        )  # fmt: skip

    def visible_keys(self, query: Expr, first_key: Expr, count: Expr) -> Expr:
        """How many of `count` keys, from `first_key` on, a query sees."""
        kernel = self.kernel
        causal_count = kernel.maximum(kernel.minimum(query + 1 - first_key, count), 0)
        return kernel.select(self.d.causal.equals(0), count, causal_count)

    def hide(self, line: Array, visible: Expr) -> Expr:
        """Replace the scores after the last visible one by -inf, up to the end of its vector; return that end."""
        end = self.whole_vectors(visible)
        with self.kernel.loop(visible, end) as j:
            line[j] = -math.inf
        return end

    def clear(self, line: Array, begin: Expr, end: Expr) -> None:
        """Set whole vectors of a row to 0: the weights of hidden keys."""
        zero = self.kernel.lift(0.0, self.type.vector(self.lanes))
        with self.kernel.loop(begin, end, self.lanes, as_written=True) as j:
            line[j] = zero

    def row_maximum(self, line: Array, columns: Expr, initial: Expr) -> Expr:
        """The largest of `initial` and the numbers of a row, ignoring NaN."""
        kernel, lanes = self.kernel, self.lanes
        largest = kernel.variable(self.type.vector(lanes), kernel.broadcast(initial, lanes))
        with kernel.loop(0, columns, lanes, as_written=True) as j:
            x = line.vector(j, lanes)
            largest.set(kernel.select(x > largest.value, x, largest.value))
        result = largest.value
        distance = lanes
        while distance > 1:  # compare the first half of the lanes with the second half, then the quarters, …
            distance //= 2
            rotated = kernel.shuffle(result, result, [(n + distance) % lanes for n in range(lanes)])
            result = kernel.select(rotated > result, rotated, result)
        return self.first_lane(result)

    def exponentials(self, line: Array, columns: Expr, maximum: Expr) -> Expr:
        """Replace a row of scores by exp(score - maximum), and return their sum."""
        kernel, lanes = self.kernel, self.exp_lanes
        vector = self.type.vector(lanes)
        total = kernel.variable(vector, kernel.lift(0.0, vector))
        with kernel.loop(0, columns, lanes, as_written=True) as j:
            powers = functions.exp_of_negative(line.vector(j, lanes) - kernel.broadcast(maximum, lanes))
            line[j] = powers
            total.set(total.value + powers)
        return kernel.add_lanes(total.value)

    def weights_and_grads(self, scores: Array, score_grads: Array, columns: Expr, logsumexp: Expr, dot: Expr) -> None:
        """Replace a row of scores by weights P = exp(score - logsumexp), and a row of dP by P (dP - dot)."""
        kernel, lanes = self.kernel, self.exp_lanes
        logsumexp, dot = kernel.broadcast(logsumexp, lanes), kernel.broadcast(dot, lanes)
        with kernel.loop(0, columns, lanes, as_written=True) as j:
            weights = functions.exp_of_negative(scores.vector(j, lanes) - logsumexp)
            scores[j] = weights
            score_grads[j] = weights * (score_grads.vector(j, lanes) - dot)

    def first_lane(self, x: Expr) -> Expr:
        """The first number of a vector."""
        memory = self.kernel.stack_array(self.type, self.lanes)
        memory[0] = x
        return memory[0]
