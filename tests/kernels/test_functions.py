"""Scalar functions against the C library in long double precision: errors in units in the last place."""

import math

import numpy as np
import pytest

import chainrule
from chainrule.kernels import functions, machine
from chainrule.kernels.tree import ADDRESS, F4, F8, I8, Kernel
from chainrule.ops import operation

REFERENCE = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "expm1": np.expm1, "log1p": np.log1p,
    "erf": np.vectorize(math.erf, otypes=[np.longdouble]),
}  # fmt: skip
SPECIAL = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-40,
    -1e-40,
    3e-45,
    88.7,
    89.5,
    -87.5,
    -103.9,
    -104.5,
    1e30,
    -1e30,
    1.0,
    -1.0,
]


def over_an_array(name, kind):
    """A function as a kernel (x, out, count), wrapped for arrays."""
    kernel = Kernel(f"{name}_of_{kind}", {"x": ADDRESS, "out": ADDRESS, "count": I8, "a": I8, "b": I8, "c": I8})
    x, out = kernel.array("x", kind, "x"), kernel.array("out", kind, "out")
    with kernel.loop(0, kernel["count"]) as i:
        out[i] = getattr(functions, name)(x[i])
    call = machine.function(machine.address_of(f"test {name} {kind}", lambda: kernel))

    def run(x):
        out = np.full_like(x, np.nan)
        call(x.ctypes.data, out.ctypes.data, x.size, 0, 0, 0)
        return out

    return run


@pytest.mark.parametrize(("kind", "most"), [(F4, 3.0), (F8, 2.0)], ids=str)
@pytest.mark.parametrize("name", REFERENCE)
def test_errors_of_a_few_units_in_the_last_place(name, kind, most):
    random = np.random.default_rng(len(name))
    samples = [random.normal(0, scale, 20_000) for scale in (1e-6, 1e-2, 1, 5, 30)]
    x = np.concatenate([*samples, SPECIAL]).astype(kind.dtype)
    computed = over_an_array(name, kind)(x)
    with np.errstate(all="ignore"):
        exact = REFERENCE[name](x.astype(np.longdouble))
        expected = exact.astype(kind.dtype)
    np.testing.assert_array_equal(np.isnan(computed), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(computed), np.isinf(expected))
    finite = np.isfinite(expected)
    off = np.abs(computed[finite] - exact[finite]) / np.spacing(np.abs(expected[finite]))
    assert off.max() <= most
    zeros = expected == 0
    np.testing.assert_array_equal(np.signbit(computed[zeros & (x == 0)]), np.signbit(expected[zeros & (x == 0)]))


def test_a_polynomial_begins_with_the_highest_power():
    kernel = Kernel("polynomial", {"x": ADDRESS, "out": ADDRESS, "a": I8, "b": I8, "c": I8, "d": I8})
    x, out = kernel.array("x", F8), kernel.array("out", F8)
    out[0] = functions.polynomial(x[0], (2.0, -3.0, 5.0))
    arguments, result = np.array([7.0]), np.array([np.nan])
    machine.function(machine.address_of("test polynomial", lambda: kernel))(
        arguments.ctypes.data, result.ctypes.data, 0, 0, 0, 0
    )
    assert result[0] == 2 * 49 - 3 * 7 + 5


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_logaddexp_equals_numpys(kind):
    """In a compiled function, for all pairs of ordinary and special numbers."""
    numbers = np.array([*SPECIAL, *np.random.default_rng(5).normal(0, 20, 50)], kind)
    x, y = (np.ascontiguousarray(a) for a in np.broadcast_arrays(numbers[:, None], numbers))
    add = operation(numpy_logaddexp)
    compiled = chainrule.jit(lambda x, y: add(x, y))
    for shift in (0, 1):
        a, b = x + np.array(shift, kind), y
        with np.errstate(all="ignore"):
            exact = np.logaddexp(a.astype(np.longdouble), b.astype(np.longdouble)).astype(kind)
            result = compiled(chainrule.from_numpy(a), chainrule.from_numpy(b)).numpy()
            off = np.abs(result - exact)
            scale = np.maximum(1, np.maximum(np.abs(a), np.abs(b)))
        finite = np.isfinite(exact)
        np.testing.assert_array_equal(result[~finite], exact[~finite])
        assert (off[finite] <= 4 * np.finfo(kind).eps * scale[finite]).all()
    ((specialization,),) = compiled.specializations.values()
    assert specialization.program.is_single_segment  # no Python call


def numpy_logaddexp(x, y):
    return np.logaddexp(x, y)
