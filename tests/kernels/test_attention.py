"""Fused attention and its gradients, by compiled loops and in NumPy, against a loop over queries in double precision."""

import math
import tracemalloc

import numpy as np
import pytest

from chainrule.kernels import attention as setup
from chainrule.kernels import attention_blocks, attention_loops, processor, team, tile
from chainrule.kernels.attention import attention, attention_gradients
from chainrule.kernels.attention_blocks import KEYS, QUERIES

# queries, keys, width, width of values
SIZES = [
    (1, 1, 1, 1),
    (3, 5, 4, 2),
    (1, 300, 8, 8),  # generation: one query
    (QUERIES, KEYS, 16, 16),
    (QUERIES + 1, KEYS + 1, 3, 17),
    (2 * QUERIES + 5, 40, 33, 5),  # more queries than keys
    (70, 2 * KEYS + 1, 5, 64),  # more keys than queries
    (190, 190, 32, 32),
]


def numbers(seed, *shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def by_loops(query, key, value, is_causal, scale, grad):
    """The result, the log sums and the three gradients of one head, query by query."""
    query, key, value, grad = (x.astype(np.float64) for x in (query, key, value, grad))
    out, logsumexp = np.zeros((len(query), value.shape[1])), np.zeros(len(query))
    gradients = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
    for i, (q, g) in enumerate(zip(query, grad, strict=True)):
        seen = min(i + 1, len(key)) if is_causal else len(key)
        scores = scale * (key[:seen] @ q)
        logsumexp[i] = np.logaddexp.reduce(scores)
        weights = np.exp(scores - logsumexp[i])
        out[i] = weights @ value[:seen]
        slopes = scale * weights * (value[:seen] @ g - out[i] @ g)
        gradients[0][i] = slopes @ key[:seen]
        gradients[1][:seen] += np.outer(slopes, q)
        gradients[2][:seen] += np.outer(weights, g)
    return out, logsumexp, *gradients


def check(query, key, value, grad, is_causal, scale, tolerance):
    """Results in the type and shape of the arrays, close to the loop over queries."""
    out, logsumexp = attention(query, key, value, is_causal, scale)
    results = out, logsumexp, *attention_gradients(grad, query, key, value, out, logsumexp, is_causal, scale)
    for head in np.ndindex(query.shape[:-2]):
        wanted = by_loops(query[head], key[head], value[head], is_causal, scale, grad[head])
        for name, result, right in zip(("out", "logsumexp", "dq", "dk", "dv"), results, wanted, strict=True):
            assert result.dtype == query.dtype.newbyteorder("=")
            size = max(1.0, np.abs(right).max())
            np.testing.assert_allclose(result[head], right, rtol=0, atol=tolerance * size, err_msg=f"{name} {head}")
    return results


@pytest.mark.parametrize("is_causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-6), (np.float64, 1e-14)], ids=["f4", "f8"])
def test_equals_a_loop_over_queries(backend, threads, dtype, tolerance, sizes, is_causal):
    queries, keys, width, value_width = sizes
    query, key, value, grad = (
        numbers(seed, 2, rows, columns, dtype=dtype)
        for seed, (rows, columns) in enumerate(
            [(queries, width), (keys, width), (keys, value_width), (queries, value_width)]
        )
    )
    check(query, key, value, grad, is_causal, 0.7 / math.sqrt(width), tolerance)


@pytest.fixture(params=["AVX", "BASELINE", "NEON"])
def _other_registers(request, monkeypatch):
    """Kernels for vector registers of other sizes, which this processor can run too."""
    for module in (processor, tile, attention_blocks):
        monkeypatch.setattr(module, "registers", lambda: getattr(processor, request.param))
    jobs = setup.forward_job, setup.gradient_job
    caches = attention_loops.forward, attention_loops.gradient, tile.product, tile._tiles, *jobs
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("_other_registers")
@pytest.mark.parametrize("widths", [(33, 17), (8, 64)], ids=str)
def test_registers_of_any_size(widths):
    width, value_width = widths
    shapes = (130, width), (257, width), (257, value_width), (130, value_width)
    query, key, value, grad = (numbers(seed, 1, *shape, dtype=np.float32) for seed, shape in enumerate(shapes))
    check(query, key, value, grad, True, 0.3, 5e-6)


def parts_of_a_projection(dtype):
    """Heads of queries, keys and values, as a GPT cuts them from one array."""
    array = numbers(5, 2, 70, 3, 4, 16, dtype=dtype)
    query, key, value = (array[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
    return query, key, value, numbers(6, 2, 4, 70, 16, dtype=dtype)


LAYOUTS = {
    "parts of a projection": lambda *arrays: arrays,
    "columns apart": lambda *arrays: [np.repeat(x, 2, -1)[..., ::2] for x in arrays],
    "backwards": lambda *arrays: [x[..., ::-1, :] for x in arrays],
    "columns first": lambda *arrays: [np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2) for x in arrays],
    "one head for all": lambda q, k, v, g: [q, *(np.broadcast_to(x[:1, :1], x.shape) for x in (k, v)), g],
    "one row for all": lambda q, k, v, g: [q, k, v, np.broadcast_to(g[..., :1, :1], g.shape)],
    "other byte order": lambda *arrays: [x.astype(x.dtype.newbyteorder()) for x in arrays],
    "not aligned": lambda *arrays: [
        np.frombuffer(b"x" + np.ascontiguousarray(x).tobytes(), x.dtype, offset=1).reshape(x.shape) for x in arrays
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_order(backend, threads, layout):
    arrays = LAYOUTS[layout](*parts_of_a_projection(np.float32))
    before = [x.copy() for x in arrays]
    check(*arrays, True, 0.25, 5e-6)
    for x, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(x, old)


def test_results_are_in_the_memory_order_of_what_they_belong_to():
    query, key, value, grad = parts_of_a_projection(np.float32)
    out, logsumexp = attention(query, key, value, True, 1.0)
    for x in (out, *attention_gradients(grad, query, key, value, out, logsumexp, True, 1.0)):
        assert x.transpose(0, 2, 1, 3).flags.c_contiguous


def test_the_same_bits_with_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(team, "ITERATIONS_PER_THREAD", 1)
    arrays = [numbers(seed, 3, 200, 24, dtype=np.float32) for seed in range(4)]
    results = []
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr(team, "_threads", threads)
        out, logsumexp = attention(*arrays[:3], True, 0.2)
        results.append((out, logsumexp, *attention_gradients(arrays[3], *arrays[:3], out, logsumexp, True, 0.2)))
    for others in results[1:]:
        for result, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(result, other)


@pytest.mark.parametrize("size", [1e3, 1e-30], ids=["large", "tiny"])
def test_scores_of_any_size(backend, size):
    """The largest score is subtracted: weights neither overflow nor vanish, and float32 results stay accurate."""
    query, key, value, grad = (numbers(seed, 1, 150, 8, dtype=np.float32) for seed in range(4))
    query *= np.float32(size)
    out, logsumexp = attention(query, key, value, True, 0.5)
    gradients = attention_gradients(grad, query, key, value, out, logsumexp, True, 0.5)
    wanted = by_loops(query[0], key[0], value[0], True, 0.5, grad[0])
    # a score's own rounding error, some 1e-7 of it, is a relative error of its weight
    tolerance = 3e-7 * max(10.0, np.abs(wanted[1]).max())
    for result, right in zip((out, logsumexp, *gradients), wanted, strict=True):
        np.testing.assert_allclose(result[0], right, rtol=0, atol=tolerance * max(np.abs(right).max(), 1e-30))


def test_a_weight_of_almost_nothing_is_0(backend):
    """e⁻⁹⁰ of the largest weight, which is below the smallest normal number, and less."""
    key = np.array([[[0.0], [-90.0], [-1000.0], [-np.inf]]], np.float32)
    value = np.array([[[3.0], [1e30], [7.0], [5.0]]], np.float32)
    out, logsumexp = attention(np.ones((1, 1, 1), np.float32), key, value, False, 1.0)
    np.testing.assert_allclose(out, [[[3.0]]], rtol=1e-6)
    np.testing.assert_array_equal(logsumexp, [[0.0]])


def test_nan_stays_in_its_own_row(backend):
    query, key, value, grad = (numbers(seed, 1, 130, 6, dtype=np.float32) for seed in range(4))
    query[0, 65, 2] = np.nan
    out, logsumexp = attention(query, key, value, True, 1.0)
    gradient = attention_gradients(grad, query, key, value, out, logsumexp, True, 1.0)[0]
    for result in (out[0], logsumexp[0][:, None], gradient[0]):
        np.testing.assert_array_equal(np.isnan(result).any(1), np.arange(130) == 65)


def test_an_infinite_score_gives_nan_as_softmax_does(backend):
    query = np.full((1, 2, 1), 1e30, np.float32)
    key = np.array([[[1e30], [1.0]]], np.float32)
    with np.errstate(all="ignore"):
        out, _ = attention(query, key, np.ones((1, 2, 1), np.float32), False, 1.0)
    assert np.isnan(out).all()


def test_keys_that_no_query_sees_have_no_gradient(backend):
    query, grad = numbers(0, 1, 10, 4), numbers(1, 1, 10, 4)
    key, value = numbers(2, 1, 3 * KEYS, 4), numbers(3, 1, 3 * KEYS, 4)
    out, logsumexp = attention(query, key, value, True, 1.0)
    _, key_grad, value_grad = attention_gradients(grad, query, key, value, out, logsumexp, True, 1.0)
    assert not key_grad[:, 10:].any()
    assert not value_grad[:, 10:].any()
    assert key_grad[:, 1:10].all()
    assert value_grad[:, :10].all()


def test_no_matrix_of_scores_in_memory():
    length, width = 1500, 8
    arrays = [numbers(seed, 1, length, width, dtype=np.float32) for seed in range(4)]
    tracemalloc.start()
    try:
        out, logsumexp = attention(*arrays[:3], True, 1.0)
        attention_gradients(arrays[3], *arrays[:3], out, logsumexp, True, 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < length * length * 4 / 5  # a fifth of the matrix
