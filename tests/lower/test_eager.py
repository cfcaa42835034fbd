"""Eager operations on large arrays: that they run as programs, and their results, against float64."""

import numpy as np
import pytest

import chainrule
from chainrule import optim
from chainrule.kernels import machine
from chainrule.lower import eager
from chainrule.lower.program import Program

F = chainrule.nn.functional


@pytest.mark.skipif(not machine.available(), reason="nothing is compiled here")
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_backward_of_a_normalization_is_a_program(channels_last):
    """Also for a derivative that returns one gradient unchanged: it once fell back to NumPy."""
    random = np.random.default_rng(5)
    x, upstream = random.normal(size=(2, 8, 16, 35, 33)).astype("f4")
    weight, bias = random.normal(size=(2, 16)).astype("f4")
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    leaves = [chainrule.from_numpy(array).requires_grad_() for array in (x, weight, bias)]
    before = set(eager._programs)
    out = F.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True)
    out.backward(chainrule.from_numpy(upstream))
    new_programs = {key: program for key, program in eager._programs.items() if key not in before}
    assert len(new_programs) >= 2, "neither forward nor backward"
    assert None not in new_programs.values()

    wide, dim = x.astype("f8"), (0, 2, 3)
    deviation = np.sqrt(wide.var(dim, keepdims=True) + 1e-5)
    y = (wide - wide.mean(dim, keepdims=True)) / deviation
    slope = upstream * weight[:, None, None].astype("f8")
    expected = (slope - slope.mean(dim, keepdims=True) - y * (slope * y).mean(dim, keepdims=True)) / deviation
    np.testing.assert_allclose(out.detach().numpy(), y * weight[:, None, None] + bias[:, None, None], atol=2e-5)
    np.testing.assert_allclose(leaves[0].grad.numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(leaves[1].grad.numpy(), (upstream * y).sum(dim), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(leaves[2].grad.numpy(), upstream.sum(dim, dtype="f8"), rtol=1e-5, atol=1e-4)


LARGE = eager.LARGE + 123
TYPES = [np.dtype(kind) for kind in "?bBhHiIlLefd"]
CONSTANTS = [True, -1, 3, 300, 2**40, 2**63, 0.5]
TWO = [
    np.add, np.subtract, np.multiply, np.true_divide, np.maximum, np.minimum, np.power,
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
]  # fmt: skip
ONE = [np.negative, np.square, np.absolute, np.sign, np.sqrt, np.exp, np.isnan, np.isfinite, np.logical_not]
REDUCTIONS = [np.sum, np.max, np.min, np.mean]


def numbers(dtype: np.dtype) -> np.ndarray:
    """Random numbers of a type, with its extremes."""
    random = np.random.default_rng(7)
    if dtype.kind == "b":
        return random.random(LARGE) < 0.5
    if dtype.kind == "f":
        x = random.normal(0, 3, LARGE).astype(dtype)
        x[:5] = 0, -0.0, np.inf, -np.inf, np.nan
        return x
    limits = np.iinfo(dtype)
    x = random.integers(limits.min, limits.max, LARGE, dtype, endpoint=True)
    x[:4] = limits.min, limits.max, 0, 1
    return x


def beside_numpy(formulas, x):
    """{name: (result of a program, result of NumPy)} for those formulas that neither refuses, on a large array.

    The formulas that NumPy accepts become one program, because compilation takes long; if it is refused, one program each.
    """
    expected = {}
    with np.errstate(all="ignore"):
        for name, formula in formulas.items():
            try:
                expected[name] = formula(x)
            except (OverflowError, TypeError, ValueError):
                continue
    results = eager.compute(lambda x: tuple(formulas[name](x) for name in expected), (x,), {})
    if results is NotImplemented:
        results = [eager.compute(formulas[name], (x,), {}) for name in expected]
    pairs = zip(expected, results, strict=True)
    return {name: (result, expected[name]) for name, result in pairs if result is not NotImplemented}


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_ufuncs_and_reductions_of_all_types_equal_numpys(dtype):
    x = numbers(dtype)
    pairs = beside_numpy({f.__name__: lambda x, f=f: f(x) for f in ONE}, x)
    if dtype.kind == "f":
        x = x[5:]  # sums of infinities are not informative
    for f in TWO:
        pairs |= beside_numpy({f"{f.__name__} {c}": lambda x, f=f, c=c: f(x, c) for c in CONSTANTS}, x)
    for f in (np.subtract, np.power, np.less):
        pairs |= beside_numpy({f"{c} {f.__name__}": lambda x, f=f, c=c: f(c, x) for c in CONSTANTS}, x)
    pairs |= beside_numpy({f"{f.__name__} of 2": lambda x, f=f: f(x.reshape(2, -1), axis=1) for f in REDUCTIONS}, x)
    for name, (results, expected) in pairs.items():
        if name.startswith("sum") and dtype.kind in "biu":
            expected = expected.astype(np.int64)  # the type of sums of integers
        assert results.dtype == expected.dtype, name
        close = {"rtol": 0, "atol": 0}
        if expected.dtype.kind == "f":
            limits = np.finfo(expected.dtype)
            summed = {"sum": LARGE, "mean": 1}.get(name.partition(" ")[0], 0)  # of numbers of about 3, with both signs
            close = {"rtol": 4 * limits.eps, "atol": summed * 4 * limits.eps + 4 * float(limits.smallest_subnormal)}
        np.testing.assert_allclose(results, expected, **close, err_msg=name)
    if machine.available() and dtype != np.float16:
        assert len(pairs) > 50


@pytest.mark.parametrize(
    ("formula", "is_compiled"),
    [
        (lambda x, y: np.zeros_like(x), False),
        (lambda x, y: (x * 2, np.ones_like(x)), False),
        (lambda x, y: (x + y, x + y), False),
        (lambda x, y: x.copy(), False),
        (lambda x, y: (x.copy(), x * y), False),
        (lambda x, y: (x, x * y, x), True),
        (lambda x, y: (x * y).reshape(3, -1).T, True),
        (lambda x, y: (x.reshape(3, -1), x * y), False),
        (lambda x, y: (np.exp(x), np.exp(x)[::2]), False),
    ],
)
def test_results_are_new_and_alias_only_what_numpys_do(formula, is_compiled):
    """A formula that is not compiled runs in NumPy itself."""
    for seed in range(3):
        x, y = np.random.default_rng(seed).random((2, 3 * LARGE), np.float32)
        results = eager.compute(formula, (x, y), {})
        if machine.available():
            assert (results is not NotImplemented) == is_compiled
        if results is NotImplemented:
            continue
        expected = formula(x, y)
        assert isinstance(results, tuple) == isinstance(expected, tuple)
        results, expected = (r if isinstance(r, tuple) else (r,) for r in (results, expected))
        for a, b in zip(results, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
            assert (a is x) == (b is x)
            assert b is x or np.shares_memory(a, x) <= np.shares_memory(b, x)
        for i, a in enumerate(results):
            assert not any(np.shares_memory(a, b) for b in results[:i] if b is not x)


@pytest.mark.parametrize("same", [True, False])
def test_a_computation_that_interrupts_a_program_runs_in_numpy(monkeypatch, same):
    x, y = np.random.default_rng(0).normal(size=(2, 3, LARGE)).astype("f4")
    of_y = chainrule.from_numpy(y)
    results = []
    run = Program.run

    def interrupted(program, arrays):
        run(program, arrays)
        if not results:
            results.append(None)
            results[0] = F.softmax(of_y, 1) if same else of_y.exp()

    F.softmax(chainrule.from_numpy(x), 1)
    monkeypatch.setattr(Program, "run", interrupted)
    outer = F.softmax(chainrule.from_numpy(x), 1).numpy()
    wide = np.exp(x.astype("f8"))
    np.testing.assert_allclose(outer, wide / wide.sum(1, keepdims=True), rtol=1e-5)
    wide = np.exp(y.astype("f8"))
    np.testing.assert_allclose(results[0].numpy(), wide / wide.sum(1, keepdims=True) if same else wide, rtol=1e-5)


def test_subnormals_are_kept():
    x = np.full((4, LARGE), 1e-40, np.float32)
    expected = x.astype("f8").sum(1)
    for run in (lambda t: t.sum(1), chainrule.jit(lambda t: t.sum(1))):
        np.testing.assert_allclose(run(chainrule.from_numpy(x)).numpy(), expected, rtol=1e-5)
    np.testing.assert_array_equal((chainrule.from_numpy(x) * 1).numpy(), x)


@pytest.mark.parametrize("order", ["=", "S"])
def test_an_update_with_swapped_byte_order_equals_numpys(order):
    x = np.random.default_rng(0).random(3 * LARGE).astype(np.dtype("f4").newbyteorder(order))
    expected = x + np.float32(1)
    eager.update(lambda x: (x + 1,), [x], [])
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("size", [10, 200])
@pytest.mark.parametrize(
    "part", [lambda x: x.T, lambda x: x[::-1], lambda x: x], ids=["transposed", "reversed", "itself"]
)
def test_an_update_by_a_part_of_what_it_changes_equals_numpys(size, part):
    x = np.random.default_rng(size).random((size, size))
    expected = x - 0.5 * part(x)
    weight = chainrule.tensor(x, requires_grad=True)
    weight.grad = chainrule.from_numpy(part(weight._data))
    optim.SGD([weight], 0.5).step()
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [10, 5000])
def test_an_update_by_the_elements_before_equals_numpys(size):
    memory = np.random.default_rng(size).random(size + 1)
    expected = memory[1:] - 0.5 * memory[:-1]
    eager.update(lambda x, y, rate: (x - rate * y,), [memory[1:]], [memory[:-1]], 0.5)
    np.testing.assert_allclose(memory[1:], expected, rtol=1e-12)
