"""Matrix products against plain loops, for all kinds of shapes; memory beside the result is unchanged."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule.kernels import blas, machine, product
from chainrule.kernels.tree import type_of

SHARES = [product.BY_MATRIX, product.BY_ROWS, product.BY_COLUMNS]


def by_loops(x, y):
    out = np.zeros((len(x), len(y)))
    for i in range(len(x)):
        for j in range(len(y)):
            for t in range(x.shape[1]):
                out[i, j] += float(x[i, t]) * float(y[j, t])
    return out


def run(template, x, y, out, sizes, rows_apart, by, shares):
    """out = x @ y.T by a kernel; each share of the work is a call of its own."""
    n, m, k = sizes
    none = np.zeros(1, np.int64)
    descriptor = template.descriptor_layout.encode(
        rows=n, columns=m, terms=k, x_row=rows_apart[0], y_row=rows_apart[1], out_row=rows_apart[2], x_transposed=0,
        y_transposed=1, split=by, gemm=0, x_offsets=none, y_offsets=none, out_offsets=none,
    )  # fmt: skip
    descriptor = template.descriptor_layout.bind(descriptor, [(1, 0), (2, 0), (3, 0)])
    gemm = blas.gemm_addresses()[x.dtype == np.float64]
    table = np.array([gemm, *(a.ctypes.data for a in (x, y, out))], np.int64)
    call = machine.function(template.address(type_of(x.dtype)))
    count = {product.BY_MATRIX: 1, product.BY_ROWS: n, product.BY_COLUMNS: m}[by]
    for share in range(shares):
        first, last = share * count // shares, (share + 1) * count // shares
        call(table.ctypes.data, descriptor.ctypes.data, 0, first, last, 1)


@pytest.mark.parametrize("template", [product.FEW_ROWS, product.BLAS_PRODUCT], ids=["few rows", "BLAS"])
@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-5), (np.float64, 1e-13)])
@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 12), st.integers(1, 11), st.integers(1, 70), st.integers(0, 3), st.sampled_from(SHARES),
    st.integers(1, 3), st.integers(0, 10**6),
)  # fmt: skip
@example(10, 30, 784, 0, product.BY_ROWS, 2, 0)  # the layer of a small network
@example(1, 128, 784, 0, product.BY_COLUMNS, 2, 0)  # one image
@example(1, 10, 32, 0, product.BY_ROWS, 1, 0)
@example(24, 10, 128, 0, product.BY_ROWS, 1, 0)
def test_products_are_sums_of_products(template, dtype, close, n, m, k, gap, by, shares, seed):
    random = np.random.default_rng(seed)
    x, y, out = (random.normal(size=(rows, columns + gap)).astype(dtype) for rows, columns in ((n, k), (m, k), (n, m)))
    beside = out[:, m:].copy()
    out[:, :m] = np.nan
    run(template, x, y, out, (n, m, k), (k + gap, k + gap, m + gap), by, shares)
    expected = by_loops(x[:, :k], y[:, :k])
    np.testing.assert_allclose(out[:, :m], expected, rtol=close, atol=close * np.sqrt(k))
    np.testing.assert_array_equal(out[:, m:], beside)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_row_of_every_width(dtype):
    """With other numbers each time: nothing of the previous result may remain."""
    for k in range(1, 71):
        y = np.ones((10, k), dtype)
        for number in (1, 2, 3):
            out = np.full((1, 10), np.nan, dtype)
            run(product.FEW_ROWS, np.full((1, k), number, dtype), y, out, (1, 10, k), (k, k, 10), product.BY_ROWS, 1)
            np.testing.assert_array_equal(out, number * k)
