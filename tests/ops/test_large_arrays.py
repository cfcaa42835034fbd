"""Activations, and others that run as compiled programs on large arrays, against PyTorch: values and gradients."""

import math
from collections import OrderedDict

import numpy as np
import pytest

import chainrule
from chainrule import ops
from chainrule.kernels import machine
from chainrule.lower import eager

SHAPE = (130, 130)
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 20.0, -20.0, 30.0, -30.0, 100.0, -100.0]
CALLS = {
    "celu": lambda f, x: f.celu(x, 1.5),
    "elu": lambda f, x: f.elu(x, 0.7),
    "gelu": lambda f, x: f.gelu(x),
    "gelu, with tanh": lambda f, x: f.gelu(x, approximate="tanh"),
    "hardsigmoid": lambda f, x: f.hardsigmoid(x),
    "hardswish": lambda f, x: f.hardswish(x),
    "hardtanh": lambda f, x: f.hardtanh(x, -0.5, 2.0),
    "leaky_relu": lambda f, x: f.leaky_relu(x, 0.2),
    "logsigmoid": lambda f, x: f.logsigmoid(x),
    "mish": lambda f, x: f.mish(x),
    "relu": lambda f, x: f.relu(x),
    "relu6": lambda f, x: f.relu6(x),
    "selu": lambda f, x: f.selu(x),
    "sigmoid": lambda f, x: f.sigmoid(x),
    "silu": lambda f, x: f.silu(x),
    "softplus": lambda f, x: f.softplus(x, 2.0, 15.0),
    "softsign": lambda f, x: f.softsign(x),
}
LAYOUTS = {
    "in order": lambda x: x,
    "transposed": lambda x: x.T,
    "every second column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "from its end": lambda x: x[::-1].copy()[::-1],
}
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
PYTORCHS_ERROR = {"hardsigmoid": 2**-24}
"""Relative errors of PyTorch in float64: its 1/6 in the derivative of hardsigmoid is a float32."""


def numbers(seed, dtype):
    x = np.random.default_rng(seed).normal(0, 4, SHAPE).astype(dtype)
    x.flat[: len(SPECIAL)] = SPECIAL
    return x


@pytest.fixture
def programs(monkeypatch):
    """The eager programs that the test makes, by their keys; None for a formula that is left to NumPy."""
    made = OrderedDict()
    monkeypatch.setattr(eager, "_programs", made)
    return made


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CALLS)
def test_an_activation_of_a_large_array_is_a_program_and_pytorchs(name, layout, dtype, programs):
    torch = pytest.importorskip("torch")
    call, x, upstream = (
        CALLS[name],
        LAYOUTS[layout](numbers(3, dtype)),
        np.random.default_rng(4).normal(size=SHAPE).astype(dtype),
    )
    ours = chainrule.from_numpy(x).requires_grad_()
    out = call(chainrule.nn.functional, ours)
    out.backward(chainrule.from_numpy(upstream))
    if machine.available():
        assert len(programs) == 2
        assert None not in programs.values()

    theirs = torch.from_numpy(np.ascontiguousarray(x).astype("f8")).requires_grad_()
    expected = call(torch.nn.functional, theirs)
    expected.backward(torch.from_numpy(upstream.astype("f8")))
    close = {"rtol": TOLERANCE[dtype] + PYTORCHS_ERROR.get(name, 0), "atol": 30 * TOLERANCE[dtype]}
    assert out.dtype == ours.grad.dtype == dtype
    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), **close)
    finite = np.isfinite(x)
    np.testing.assert_allclose(ours.grad.numpy()[finite], theirs.grad.numpy()[finite], **close)
    # PyTorch's derivatives at NaN and infinity depend on the number of elements; ours do not
    few = chainrule.from_numpy(x[~finite]).requires_grad_()
    call(chainrule.nn.functional, few).backward(chainrule.from_numpy(upstream[~finite]))
    np.testing.assert_allclose(ours.grad.numpy()[~finite], few.grad.numpy(), **close)


@pytest.mark.parametrize("dtype", [*TOLERANCE, "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", ["abs", "maximum", "minimum"])
def test_an_extremum_or_absolute_value_of_a_large_array_is_pytorchs(name, dtype, programs):
    """With ties, which share the gradient, and NaN on either side."""
    torch = pytest.importorskip("torch")
    if name == "abs" and dtype == "bool":
        pytest.skip("PyTorch does not have the absolute value of booleans")
    random = np.random.default_rng(5)
    arrays = [random.integers(-3, 4, SHAPE).astype(dtype) for _ in range(1 if name == "abs" else 2)]
    is_floating = dtype in TOLERANCE
    if is_floating:
        for array, places in zip(arrays, ([0, 1], [1, 2]), strict=False):
            array.flat[places] = np.nan
        arrays[0].flat[3:6] = np.inf, -np.inf, -0.0
    ours = [chainrule.from_numpy(x).requires_grad_(is_floating) for x in arrays]
    theirs = [torch.from_numpy(x).requires_grad_(is_floating) for x in arrays]
    out, expected = getattr(ops, name)(*ours), getattr(torch, name)(*theirs)
    np.testing.assert_array_equal(out.detach().numpy(), expected.detach().numpy())
    assert out.dtype == dtype
    if is_floating:
        upstream = random.normal(size=SHAPE).astype(dtype)
        out.backward(chainrule.from_numpy(upstream))
        expected.backward(torch.from_numpy(upstream))
        for x, t in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(x.grad.numpy(), t.grad.numpy())
    if machine.available() and is_floating:
        assert len(programs) == 2
        assert None not in programs.values()


def test_an_error_function_in_a_formula_is_recorded(programs):
    """`erf` is no ufunc: on an array that is traced, it records itself."""
    x = np.random.default_rng(6).normal(size=SHAPE)
    (result,) = (
        eager.compute(lambda x: (1 + ops.erf(x * 2),), (x,), {}) if machine.available() else (1 + ops.erf(x * 2),)
    )
    np.testing.assert_allclose(result, 1 + np.vectorize(math.erf)(2 * x), rtol=1e-13)


@pytest.mark.parametrize("exponent", [3, 3.0, -3, 2, 4])
def test_a_power_of_a_large_array_is_pytorchs(exponent):
    torch = pytest.importorskip("torch")
    x = numbers(8, "float64")
    ours, theirs = chainrule.from_numpy(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
    with np.errstate(all="ignore"):
        out = ours**exponent
        out.sum().backward()
    expected = theirs**exponent
    expected.sum().backward()
    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-14)


def test_a_cube_of_integers_keeps_their_type():
    x = np.arange(-9, 9, dtype=np.int32)
    out = chainrule.tensor(x) ** 3
    assert out.dtype == np.int32
    np.testing.assert_array_equal(out.numpy(), [int(value) ** 3 for value in x])


def test_an_error_function_of_a_scalar_in_a_formula():
    """NumPy's reductions give scalars, which are not arrays."""
    x = np.random.default_rng(6).normal(size=(3, 4))
    for value in (x.sum(), np.float64(0.3), np.array(0.3)):
        np.testing.assert_allclose(ops.erf(value), math.erf(value), rtol=1e-13)
        np.testing.assert_allclose(ops.gelu(value), value * (1 + math.erf(value / math.sqrt(2))) / 2, rtol=1e-13)
