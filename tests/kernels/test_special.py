import math

import numpy as np
import pytest

from chainrule.kernels.special import erf

VALUES = np.concatenate([np.linspace(-6, 6, 301), np.logspace(-30, 0, 40), [0, -0.0, np.inf, -np.inf]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_is_right_to_a_few_units_in_the_last_place(backend, threads, dtype):
    x = VALUES.astype(dtype)
    expected = np.array([math.erf(value) for value in x.tolist()])
    np.testing.assert_allclose(erf(x), expected, rtol=4 * np.finfo(dtype).eps, atol=0)
    assert erf(x).dtype == dtype


def test_erf_of_nan_is_nan(backend):
    assert np.isnan(erf(np.array([np.nan]))).all()


@pytest.mark.parametrize("x", [
    np.array(0.5), np.zeros((0, 3)), np.ones((2, 3, 4, 5)).transpose(0, 3, 1, 2),
    np.arange(24.0).reshape(4, 6)[::2, ::-1], np.broadcast_to(0.25, (3, 2)),
], ids=["no dimension", "empty", "channels last", "gaps", "repeated"])  # fmt: skip
def test_erf_of_any_shape_and_memory_order(backend, x):
    result = erf(x)
    assert result.shape == x.shape
    np.testing.assert_allclose(result, np.vectorize(math.erf, otypes=[float])(x), rtol=1e-15)


def test_erf_keeps_channels_last(backend):
    assert erf(np.ones((2, 3, 4, 5)).transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1).flags.c_contiguous
