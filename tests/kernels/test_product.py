"""Products of few rows against the plainest loop, for all kinds of shapes; what lies beside the result stays."""

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule.kernels.loops.memory import pointer
from chainrule.kernels.loops.product import dots
from chainrule.kernels.loops.program import f4, f8


@numba.njit
def singles(n, m, k, x, x_row, y, y_row, out, out_row):
    dots(f4, 4, n, m, k, pointer(x, f4), x_row, pointer(y, f4), y_row, pointer(out, f4), out_row)


@numba.njit
def doubles(n, m, k, x, x_row, y, y_row, out, out_row):
    dots(f8, 8, n, m, k, pointer(x, f8), x_row, pointer(y, f8), y_row, pointer(out, f8), out_row)


def by_loops(x, y):
    out = np.zeros((len(x), len(y)))
    for i in range(len(x)):
        for j in range(len(y)):
            for t in range(x.shape[1]):
                out[i, j] += float(x[i, t]) * float(y[j, t])
    return out


@pytest.mark.parametrize(("dtype", "kernel", "close"), [(np.float32, singles, 1e-5), (np.float64, doubles, 1e-13)])
@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 11), st.integers(1, 40), st.integers(0, 3), st.integers(0, 10**6))
@example(10, 30, 784, 0, 0)  # the layer of a small network
@example(1, 128, 784, 0, 0)  # one image
@example(24, 10, 128, 0, 0)
def test_products_are_sums_of_products(dtype, kernel, close, n, m, k, gap, seed):
    random = np.random.default_rng(seed)
    x, y, out = (random.normal(size=(rows, columns + gap)).astype(dtype) for rows, columns in ((n, k), (m, k), (n, m)))
    beside = out[:, m:].copy()
    kernel(n, m, k, x.ctypes.data, k + gap, y.ctypes.data, k + gap, out.ctypes.data, m + gap)
    expected = by_loops(x[:, :k], y[:, :k])
    np.testing.assert_allclose(out[:, :m], expected, rtol=close, atol=close * np.sqrt(k))
    np.testing.assert_array_equal(out[:, m:], beside)
