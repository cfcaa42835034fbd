"""Attention and its gradient in one pass over blocks of keys: the (L, S) matrix of weights is never in memory.

    queries │           keys, KEYS at a time →
          ↓ │  ┌───────────┬───────────┬───────────┐
            │  │ ■ ■ ■ ■ ■ │           │           │   ■ scores (QUERIES, KEYS) that are computed, one block at a
    QUERIES │  │ ■ ■ ■ ■ ■ │           │           │     time, in a buffer that stays in the L1 and L2 caches
    at a    │  ├───────────┼───────────┼───────────┤
    time    │  │ ■ ■ ■ ■ ■ │ ■ ■       │           │   Causal: blocks above the diagonal are skipped; a block on
            │  │ ■ ■ ■ ■ ■ │ ■ ■       │           │     the diagonal is computed up to the last key that one
            │  ├───────────┼───────────┼───────────┤     of its queries sees, in whole vectors
            │  │ ■ ■ ■ ■ ■ │ ■ ■ ■ ■ ■ │ ■         │

**Forward**, for each block of queries, for each block of keys: compute the scores; row by row, update their running
maximum m and the running sum of exp(score - m); rescale the sums of values where m has grown, and add exp(score - m)
times the values. At the end the sums of values are divided by the running sum, and the logarithm of the running sum
plus m is stored for the gradient (`logsumexp`).

**Gradient**, for each block of keys, for each block of queries: compute the weights P = exp(score - logsumexp) again.
There are five products: scores, dP = G Vᵀ, and additions to dV, dK and dQ (see `attention`). dK and dV of the block of
keys stay in the cache; dQ of a head, with the packed Q and G, takes about L (2 E + F) numbers for each thread.

All products are those of `tile`, whose tables hold the multiples of a row's length and of 1: so its left factor is a
block of a matrix or, for Pᵀ and dSᵀ, its transpose. The right factors are packed with zeros up to whole vectors, or
transposed.

Threads divide heads and, forward, blocks of queries. One thread computes each block, so the result does not depend on
the number of threads. Arithmetic is the limit, not memory: on one core with AVX-512, causal attention with 48 heads of
1,024 queries and keys, 32 wide, runs at 125 GFLOP/s forward and 170 backward; a third of the time is spent on exp and
the other parts of the softmax.

Sources: Milakov and Gimelshein, Online normalizer calculation for softmax (2018); Dao et al., FlashAttention (2022).
"""

from __future__ import annotations

import math
from functools import cache

from chainrule.kernels import functions
from chainrule.kernels.attention_blocks import KEYS, QUERIES, TABLES, Blocks
from chainrule.kernels.calling import DescriptorLayout, stage_kernel
from chainrule.kernels.job import KernelTemplate
from chainrule.kernels.processor import SPARE_ROWS
from chainrule.kernels.tree import F8, I8, Kernel, Type

_SHAPE = "queries keys width value_width packed_width packed_value_width causal scale"
FORWARD_FIELDS = DescriptorLayout(
    "query key value out logsumexp scratch",
    f"{_SHAPE} blocks query_row key_row value_row out_row query_heads key_heads value_heads out_heads "
    f"packed_query keys_transposed packed_value scores sums {TABLES}",
)
"""`queries`, `keys`: L and S; `width`, `value_width`: E and F; `packed_width`, `packed_value_width`: the same, rounded
up to whole vectors; `causal`: 1 or 0; `scale`: the bits of a double; `blocks`: the number of blocks of queries in a
head. Then for each array the distance between its rows (`…_row`) and the offset of each head (`…_heads`); the offset of
each buffer in `scratch`; and the lookup tables TABLES.
"""
GRADIENT_FIELDS = DescriptorLayout(
    "grad query key value out logsumexp query_grad key_grad value_grad scratch",
    f"{_SHAPE} grad_row query_row key_row value_row out_row query_grad_row key_grad_row value_grad_row "
    "grad_heads query_heads key_heads value_heads out_heads query_grad_heads key_grad_heads value_grad_heads "
    "packed_query packed_grad query_sums dots keys_transposed values_transposed packed_key scores score_grads key_sums "
    f"value_sums {TABLES}",
)
"""As above, with the fields of this kernel's arrays and buffers, and without `blocks`."""


@cache
def forward(type: Type) -> Kernel:
    """Attention for blocks of queries first … last - 1, counted over all heads."""
    kernel = stage_kernel(f"attention_{type}")
    d = FORWARD_FIELDS.read(kernel)
    b = Blocks(kernel, d, type)
    query, key, value, out = map(b.head_array, ("query", "key", "value", "out"))
    logsumexp, one = d.array("logsumexp", type), kernel.lift(1.0, type)
    packed_query, keys_transposed, packed_value = map(b.buffer, ("packed_query", "keys_transposed", "packed_value"))
    scores, sums = b.buffer("scores"), b.buffer("sums")
    maxima, totals = kernel.stack_array(type, QUERIES), kernel.stack_array(F8, QUERIES)
    first, last, blocks = kernel["first"], kernel["last"], d.blocks
    width, value_width = d.packed_width, d.packed_value_width

    with kernel.loop(first // blocks, (last + (blocks - 1)) // blocks, as_written=True) as head:
        begin, end = kernel.maximum(first - head * blocks, 0), kernel.minimum(last - head * blocks, blocks)
        with kernel.loop(0, d.keys, KEYS, as_written=True) as first_key:
            n_keys = kernel.minimum(d.keys - first_key, KEYS)
            keys = keys_transposed.at(first_key * d.width)
            b.transpose(key.from_row(head, first_key), key.row_stride, n_keys, d.width, keys)
        b.pack(value.from_row(head, 0), value.row_stride, d.keys, d.value_width, packed_value, value_width, one)

        with kernel.loop(begin, end, as_written=True) as step:
            # in the order first, last, second, …: causal blocks differ in length, and threads may share a head
            block = kernel.select((step % 2).equals(0), step // 2, blocks - 1 - step // 2)
            first_query = block * QUERIES
            n_rows = kernel.minimum(d.queries - first_query, QUERIES)
            b.pack(query.from_row(head, first_query), query.row_stride, n_rows, d.width, packed_query, width, b.scale)
            with kernel.loop(0, n_rows) as i:
                maxima[i] = -math.inf
            n_visible = b.visible_keys(first_query + n_rows - 1, kernel.lift(0, I8), d.keys)
            with kernel.loop(0, n_visible, KEYS, as_written=True) as first_key:
                n_keys = kernel.minimum(n_visible - first_key, KEYS)
                columns = b.whole_vectors(n_keys)
                keys, values = keys_transposed.at(first_key * d.width), packed_value.at(first_key * value_width)
                b.multiply(packed_query, b.by_width, n_rows, b.by_one, d.width, keys, scores, columns, KEYS, 1)
                with kernel.loop(0, n_rows, as_written=True) as i:
                    line, previous_maximum = scores.at(i * KEYS), maxima[i]
                    row_end = b.hide(line, b.visible_keys(first_query + i, first_key, n_keys))
                    maxima[i] = b.row_maximum(line, row_end, previous_maximum)
                    total = b.exponentials(line, row_end, maxima[i]).to(F8)
                    b.clear(line, row_end, columns)
                    with kernel.when(first_key.equals(0)):
                        totals[i] = total
                    with kernel.otherwise():  # the earlier sums belong to the previous maximum
                        factor = functions.exp_of_negative(previous_maximum - maxima[i])
                        totals[i] = totals[i] * factor.to(F8) + total
                        with kernel.loop(i * value_width, (i + 1) * value_width, b.lanes, as_written=True) as c:
                            sums[c] = sums.vector(c, b.lanes) * kernel.broadcast(factor, b.lanes)
                is_first = first_key.equals(0).to(I8)
                b.multiply(scores, b.by_key, n_rows, b.by_one, n_keys, values, sums, value_width, value_width, is_first)
            with kernel.loop(0, n_rows, as_written=True) as i:
                line, total = out.from_row(head, first_query + i), totals[i].to(type)
                with kernel.loop(0, d.value_width) as c:
                    line[c] = sums[i * value_width + c] / total
                logsumexp[head * d.queries + first_query + i] = maxima[i] + functions.log(total)
    return kernel


@cache
def gradient(type: Type) -> Kernel:
    """The gradients of query, key and value, for heads first … last - 1."""
    kernel = stage_kernel(f"attention_gradient_{type}")
    d = GRADIENT_FIELDS.read(kernel)
    b = Blocks(kernel, d, type)
    grad, query, key, value, out = map(b.head_array, ("grad", "query", "key", "value", "out"))
    query_grad, key_grad, value_grad = map(b.head_array, ("query_grad", "key_grad", "value_grad"))
    logsumexp, one = d.array("logsumexp", type), kernel.lift(1.0, type)
    packed_query, packed_grad, query_sums, dots = map(b.buffer, ("packed_query", "packed_grad", "query_sums", "dots"))
    keys_transposed, values_transposed = b.buffer("keys_transposed"), b.buffer("values_transposed")
    packed_key, key_sums, value_sums = map(b.buffer, ("packed_key", "key_sums", "value_sums"))
    scores, score_grads = b.buffer("scores"), b.buffer("score_grads")
    width, value_width = d.packed_width, d.packed_value_width

    with kernel.loop(kernel["first"], kernel["last"], as_written=True) as head:
        b.pack(query.from_row(head, 0), query.row_stride, d.queries, d.width, packed_query, width, b.scale)
        b.pack(grad.from_row(head, 0), grad.row_stride, d.queries, d.value_width, packed_grad, value_width, one)
        query_sums.fill_zero((d.queries + SPARE_ROWS) * width)
        with kernel.loop(0, d.queries, as_written=True) as i:
            upstream, result, dot = grad.from_row(head, i), out.from_row(head, i), kernel.variable(type, 0.0)
            with kernel.loop(0, d.value_width) as c:
                dot.accumulate(upstream[c] * result[c])
            dots[i] = dot.value

        with kernel.loop(0, d.keys, KEYS, as_written=True) as first_key:
            n_keys = kernel.minimum(d.keys - first_key, KEYS)
            b.transpose(key.from_row(head, first_key), key.row_stride, n_keys, d.width, keys_transposed)
            b.transpose(value.from_row(head, first_key), value.row_stride, n_keys, d.value_width, values_transposed)
            b.pack(key.from_row(head, first_key), key.row_stride, n_keys, d.width, packed_key, width, one)
            key_sums.fill_zero(n_keys * width)
            value_sums.fill_zero(n_keys * value_width)
            first_block = kernel.select(d.causal.equals(0), 0, first_key // QUERIES)
            with kernel.loop(first_block * QUERIES, d.queries, QUERIES, as_written=True) as first_query:
                n_rows = kernel.minimum(d.queries - first_query, QUERIES)
                n_visible = b.visible_keys(first_query + n_rows - 1, first_key, n_keys)
                columns = b.whole_vectors(n_visible)
                # the tiles of dV and dK extend up to SPARE_ROWS keys beyond the visible keys, and add these columns to
                # the sums of later keys: so the columns must be 0 as well
                spare_end = kernel.minimum(b.whole_vectors(n_visible + SPARE_ROWS), KEYS)
                clear_end = kernel.select(n_visible < n_keys, spare_end, columns)
                queries, grads = packed_query.at(first_query * width), packed_grad.at(first_query * value_width)
                b.multiply(queries, b.by_width, n_rows, b.by_one, d.width, keys_transposed, scores, columns, KEYS, 1)
                b.multiply(
                    grads, b.by_value_width, n_rows, b.by_one, d.value_width, values_transposed, score_grads,
                    columns, KEYS, 1,
                )  # fmt: skip
                with kernel.loop(0, n_rows, as_written=True) as i:
                    line, grad_line, row = scores.at(i * KEYS), score_grads.at(i * KEYS), first_query + i
                    row_end = b.hide(line, b.visible_keys(row, first_key, n_visible))
                    b.weights_and_grads(line, grad_line, row_end, logsumexp[head * d.queries + row], dots[row])
                    b.clear(line, row_end, clear_end)
                    b.clear(grad_line, row_end, clear_end)
                b.multiply(
                    scores, b.by_one, n_visible, b.by_key, n_rows, grads, value_sums, value_width, value_width, 0
                )
                b.multiply(score_grads, b.by_one, n_visible, b.by_key, n_rows, queries, key_sums, width, width, 0)
                sums = query_sums.at(first_query * width)
                b.multiply(score_grads, b.by_key, n_rows, b.by_one, n_visible, packed_key, sums, width, width, 0)
            key_result, value_result = key_grad.from_row(head, first_key), value_grad.from_row(head, first_key)
            b.unpack(key_sums, width, n_keys, d.width, key_result, key_grad.row_stride, one)
            b.unpack(value_sums, value_width, n_keys, d.value_width, value_result, value_grad.row_stride, one)
        b.unpack(query_sums, width, d.queries, d.width, query_grad.from_row(head, 0), query_grad.row_stride, b.scale)
    return kernel


FORWARD = KernelTemplate(FORWARD_FIELDS, forward)
GRADIENT = KernelTemplate(GRADIENT_FIELDS, gradient)
