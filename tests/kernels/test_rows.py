"""Rows gathered and added, by compiled loops and in NumPy, against plain loops, for all kinds of shapes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainrule.kernels.rows import add_rows, gather_scaled

SIZES = st.tuples(st.integers(1, 6), st.integers(0, 5), st.integers(0, 9), st.integers(0, 10**6))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(6, 28, 28), (3, 5), (4,), (2, 0), (5, 2, 3, 1)], ids=str)
def test_gather_scaled_equals_index_cast_and_product(backend, threads, dtype, shape):
    random = np.random.default_rng(0)
    table = (random.random(shape) * 255).astype(dtype)
    indices = random.integers(0, len(table), 7)
    result = gather_scaled(table, indices, 1 / 255)
    assert result.dtype == np.float32
    if dtype in (np.uint8, np.float32):
        np.testing.assert_array_equal(result, table[indices].astype(np.float32) * np.float32(1 / 255))
    np.testing.assert_allclose(result, table[indices] / 255, rtol=3e-7)


def test_no_rows(backend):
    assert gather_scaled(np.ones((3, 2)), np.zeros(0, np.int64), 1).shape == (0, 2)


@pytest.mark.parametrize("indices", [[3], [0, -1]])
def test_indices_out_of_range(backend, indices):
    with pytest.raises(IndexError, match="must be 0 to 2"):
        gather_scaled(np.ones((3, 2)), np.array(indices), 1)


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64, ">i8"])
def test_indices_of_every_integer_type(backend, kind):
    table = np.random.default_rng(2).random((3, 5))
    indices = np.array([2, 0, 1, 2], kind)
    np.testing.assert_allclose(gather_scaled(table, indices, 0.5), table[[2, 0, 1, 2]] * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(
        add_rows(table[[0, 1, 2, 0]], indices, 4), [table[1], table[2], table[0] + table[0], np.zeros(5)]
    )


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=SIZES)
def test_rows_are_added_one_by_one(backend, sizes):
    count, width, rows, seed = sizes
    random = np.random.default_rng(seed)
    given_rows, indices = random.normal(size=(rows, width)), random.integers(0, count, rows)
    expected = np.zeros((count, width))
    for row, index in zip(given_rows, indices, strict=True):
        expected[index] += row
    np.testing.assert_array_equal(add_rows(given_rows, indices, count), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_index_tables_and_rows_with_gaps(backend, dtype):
    rows = np.arange(48, dtype=dtype).reshape(2, 4, 6)[:, ::2, ::-1]
    indices = np.array([[0, 2], [2, 0]])
    result = add_rows(rows, indices, 3)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, [rows[0, 0] + rows[1, 1], np.zeros(6), rows[0, 1] + rows[1, 0]])
