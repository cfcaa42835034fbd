"""Integers of all types: a difference is exact or refused, and never wraps around."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import ops
from chainrule.nn import functional

INTEGER_DTYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
TOLERANCES = [(0, 3), (0, 0.5), (1, 1), (2, 0), (0, 300), (0, 0), (1e-5, 1e-8)]


def extremes(dtype: str) -> np.ndarray:
    """Small numbers, and the smallest and largest numbers of an integer type."""
    if dtype == "bool":
        return np.array([False, True])
    info = np.iinfo(dtype)
    return np.array(sorted({info.min, info.min + 1, 0, 1, 3, 5, info.max // 2, info.max - 1, info.max}), dtype)


def is_close(x: int, y: int, rtol: float, atol: float) -> bool:
    """Whether two integers are close: Python's difference is exact, and only then rounded to float64."""
    return x == y or float(abs(x - y)) <= atol + rtol * abs(float(y))


@pytest.mark.parametrize(("rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize("dtype", [*INTEGER_DTYPES, "bool"])
def test_closeness_of_integers(dtype, rtol, atol):
    values = extremes(dtype)
    wanted = [[is_close(int(x), int(y), rtol, atol) for y in values] for x in values]
    column, row = chainrule.tensor(values[:, None]), chainrule.tensor(values)
    assert ops.isclose(column, row, rtol, atol).tolist() == wanted
    assert ops.isclose(values[:, None], values, rtol, atol).tolist() == wanted
    assert chainrule.jit(lambda x, y: ops.isclose(x, y, rtol, atol))(column, row).tolist() == wanted
    assert ops.isclose(column[0, 0], row[-1], rtol, atol).item() == wanted[0][-1]
    assert [[ops.allclose(x, y, rtol, atol) for y in row] for x in row] == wanted
    if dtype not in ("int64", "uint64"):  # NumPy rounds these to float64 before it subtracts
        assert np.isclose(values[:, None], values, rtol, atol).tolist() == wanted


def test_closeness_of_mixed_types_and_numbers_is_refused():
    x = chainrule.tensor(np.array([3], np.uint8))
    with pytest.raises(TypeError, match=r"^isclose: both must have the same type, not uint8 and int16$"):
        ops.isclose(x, chainrule.tensor(np.array([3], np.int16)))
    with pytest.raises(TypeError, match=r"^isclose: takes tensors or arrays, not int$"):
        ops.isclose(x, 3)


@pytest.mark.parametrize("dtype", [*INTEGER_DTYPES, "bool"])
@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_regression_losses_refuse_integers(loss, dtype):
    x = chainrule.tensor(extremes(dtype))
    for reduction in ("none", "sum", "mean"):
        with pytest.raises(TypeError, match=rf"^{loss}: takes floats, not {dtype}: convert it with .float\(\)$"):
            getattr(functional, loss)(x, x, reduction=reduction)
    call = getattr(functional, loss)
    number, floats = chainrule.tensor(np.array([3], dtype)), chainrule.tensor([5.0])
    wanted = call(number.float(), floats).item()
    assert call(number, floats).item() == call(floats, number).item() == wanted


@pytest.mark.parametrize("dtype", [*INTEGER_DTYPES, "bool"])
def test_functions_of_floats_refuse_integers(dtype):
    x = chainrule.tensor(extremes(dtype)[:2])
    calls = {
        "lerp": lambda: ops.lerp(x, x, 0.5),
        "kl_div": lambda: ops.kl_div(x, x, log_target=True),
        "norm": lambda: ops.vector_norm(x, p=2.0),
        "avg_pool": lambda: ops.avg_pool1d(x.reshape(1, 1, 2), 2),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=rf"^{name}: takes floats, not {dtype}: convert it with .float\(\)$"):
            call()


@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
def test_softmin_converts_before_it_negates(dtype):
    x = np.array([0, 1, 3], dtype)
    exponentials = np.exp(-x.astype(np.float64))
    out = ops.softmin(chainrule.tensor(x), 0, dtype=np.float64)
    np.testing.assert_allclose(out.numpy(), exponentials / exponentials.sum(), rtol=1e-12)
