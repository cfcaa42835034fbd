"""Sums in NumPy with full precision: every dimension, layout and type, against float64."""

import math

import numpy as np
import pytest

from chainrule.kernels import sums

REPEATED = (0.1, 1.7, 1.3400001, 1.9999999)  # numbers whose sums round in one direction again and again
LOST = 0.999 * 2.0**-24  # added to 1 in float32, it is rounded away
SHAPES = [
    (65,),
    (129, 2),
    (1000, 3),
    (97, 130),
    (2, 500),
    (500, 2, 3),
    (3, 500, 2),
    (2, 3, 500),
    (40, 30, 20),
    (1, 700, 1),
    (2051, 1),
]


def layouts(x):
    """The same array in different memory layouts."""
    yield x
    yield np.ascontiguousarray(x.T).T  # the first dimension's neighbors side by side
    yield np.repeat(x, 2, axis=-1)[..., ::2]  # gaps between neighbors
    yield np.pad(x, [(1, 1)] * x.ndim, constant_values=np.nan)[(slice(1, -1),) * x.ndim]  # gaps between rows
    yield x[(slice(None, None, -1),) * x.ndim][(slice(None, None, -1),) * x.ndim]
    yield np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)  # not aligned
    yield x.astype(x.dtype.newbyteorder())


def all_axes(ndim):
    for number in range(1, 2**ndim):
        axes = tuple(d for d in range(ndim) if number >> d & 1)
        yield axes
        yield tuple(d - ndim for d in reversed(axes))
        if len(axes) == 1:
            yield axes[0]
            yield np.int64(axes[0])
    yield None


def check(x, axis, keepdims, close=1e-6):
    result = sums.total(x, axis, keepdims)
    expected = np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float64)
    largest = np.sum(np.abs(x), axis=axis, keepdims=keepdims, dtype=np.float64)
    expected_kinds = np.sum(x, axis=axis, keepdims=keepdims)
    assert type(result) is type(expected_kinds)
    assert result.dtype == expected_kinds.dtype
    assert result.shape == expected_kinds.shape
    close = close if x.dtype.itemsize == 4 else 6e-4
    assert (np.abs(result - expected) <= close * largest).all(), (x.shape, x.strides, axis)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_over_all_dimensions(shape):
    random = np.random.default_rng(len(shape))
    for value in REPEATED:
        for x in (np.full(shape, value, np.float32), random.uniform(-1, value, shape).astype(np.float32)):
            for axis in all_axes(len(shape)):
                check(x, axis, keepdims=False)
                check(x, axis, keepdims=True)


def worst_rows(number):
    """Columns of numbers whose sums lose as much as they can, in whatever blocks the rows are added."""
    columns = []
    for step in range(1, min(number, 66)):
        for first in (0, step):
            column = np.zeros(number, np.float32)
            column[::step] = column[:first] = LOST
            column[0] = 1
            columns.append(column)
    return np.stack(columns, 1)


@pytest.mark.parametrize("number", [50, 64, 65, 96, 127, 512, 544, 1000, 1023, 1024, 2051, 100_000])
def test_the_worst_case_over_one_dimension(number):
    x = worst_rows(number)
    for y in (x, x[:, :1].copy(), np.repeat(x, 2, axis=1)[:, ::2], np.asfortranarray(x)):
        check(y, 0, keepdims=False, close=4e-6)
    if number == 64:  # one by one, 63 additions
        assert sums.total(x, 0).min() == 1
        assert np.sum(x, axis=0, dtype=np.float64).max() > 1 + 3.7e-6


@pytest.mark.parametrize("neighbors", [2, 8, 127, 128, 1024, 16_384])
def test_the_worst_case_over_several_dimensions(neighbors):
    x = np.zeros((64, 1, neighbors), np.float32)
    x[:, :, 0] = x[0, :, ::128] = x[0, :, :128:8] = x[0, :, :8] = LOST
    x[0, :, 0] = 1
    check(np.repeat(x, 2, axis=1) if neighbors < 16_384 else x, (0, 2), keepdims=False, close=6e-6)


@pytest.mark.parametrize("shape", [(65, 3), (300, 4), (7, 200, 3)], ids=str)
def test_any_memory_layout(shape):
    x = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    for y in layouts(x):
        np.testing.assert_array_equal(y, x)
        for axis in all_axes(len(shape)):
            check(y, axis, keepdims=False)


def test_broadcast_numbers_are_multiplied():
    x = np.broadcast_to(np.array([[0.1], [0.7]], np.float32), (3, 2, 5000))
    for axis in all_axes(3):
        check(x, axis, keepdims=False)
    assert sums.total(np.broadcast_to(np.float32(1), (30_000_000,))) == 30_000_000


def test_half_precision_is_summed_in_single():
    for shape, axis in (((5000, 3), 0), ((3, 5000), 1), ((5000,), None)):
        check(np.full(shape, 1, np.float16), axis, keepdims=False)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.bool_, np.complex64])
def test_other_types_equal_numpys(dtype):
    x = np.ones((300, 4), dtype)
    np.testing.assert_array_equal(sums.total(x, 0), np.sum(x, axis=0))
    assert sums.total(x, 0).dtype == np.sum(x, axis=0).dtype


@pytest.mark.parametrize(("value", "number"), [(1, 20_000_000), (0.1, 10_000_000)])
def test_many_rows(value, number):
    x = np.full((number, 1), value, np.float32)
    for y in (x, x.reshape(-1, 2), x.reshape(4, -1).T, x.reshape(-1, 1000)):
        result = sums.total(y, 0) / len(y)
        np.testing.assert_allclose(result, np.float32(value), rtol=1e-6)


def test_infinities_and_nan():
    x = np.ones((300, 4), np.float32)
    x[7, 0], x[8, 1], x[9, 2], x[200, 2] = np.inf, np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(sums.total(x, 0), [np.inf, np.nan, np.nan, 300])


def test_errors_equal_numpys():
    x = np.ones((300, 4), np.float32)
    for axis in (2, -3, (0, 0), (0, -2), (0, 5)):
        with pytest.raises(ValueError, match=r"axis|out of bounds") as expected:
            np.sum(x, axis=axis)
        with pytest.raises(type(expected.value)):
            sums.total(x, axis)


def test_means():
    x = np.full((100_000, 3), 0.1, np.float32)
    np.testing.assert_allclose(sums.mean(x, 0), np.float32(0.1), rtol=1e-6)
    assert sums.mean(x, (0, 1), keepdims=True).shape == (1, 1)
    assert math.isnan(sums.mean(np.zeros((0, 3), np.float32)))
