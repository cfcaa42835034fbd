"""Fused loops give NumPy's results for random computations, shapes, types and views."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import operator
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule.capture import jit
from chainrule.lower import loops
from chainrule.ops import operation

UNARY = [
    operator.neg, chainrule.exp, chainrule.tanh, chainrule.sigmoid, chainrule.relu, chainrule.square, chainrule.abs,
    chainrule.sin, lambda x: chainrule.log(x * x + 1), lambda x: chainrule.sqrt(x * x + 0.5), lambda x: x**3,
    lambda x: 1 / (x * x + 1), lambda x: chainrule.log1p(x * x), chainrule.expm1, chainrule.floor, chainrule.sign,
    lambda x: x.clamp(-0.5, 0.5), lambda x: x - 2.5, lambda x: x.detach() * x, lambda x: (x > 0).double(),
]  # fmt: skip
BINARY = [
    operator.add, operator.sub, operator.mul, lambda x, y: x / (y * y + 1), chainrule.maximum, chainrule.minimum,
    lambda x, y: chainrule.where(x > y, x, y * 2), lambda x, y: chainrule.where((x > 0) & ~(y > x), x, 1.5),
]  # fmt: skip


@st.composite
def shaping(draw, shape):
    """A function that moves elements, for an array of this shape."""
    ndim = len(shape)
    kinds = ["flat", "new"] + ["permute", "index", "slice", "step", "squeeze", "expand"] * (ndim > 0)
    match draw(st.sampled_from(kinds)):
        case "flat":
            return lambda x: x.reshape(-1)
        case "new":
            position = draw(st.integers(0, ndim))
            return lambda x: x.unsqueeze(position)
        case "permute":
            order = draw(st.permutations(range(ndim)))
            return lambda x: x.permute(*order)
        case "index" if shape[0]:
            position = draw(st.integers(-shape[0], shape[0] - 1))
            return lambda x: x[position]
        case "slice":
            start = draw(st.integers(0, shape[-1]))
            return lambda x: x[..., start:]
        case "step":
            return lambda x: x[::2]
        case "expand":
            times = draw(st.integers(1, 3))
            return lambda x: x.unsqueeze(0).expand(times, *x.shape)
        case _:
            return lambda x: x.flip(0) * 1
    raise AssertionError


@st.composite
def reducing(draw, shape):
    ndim = len(shape)
    dims = draw(st.lists(st.integers(0, max(ndim - 1, 0)), unique=True, max_size=ndim))
    keepdim = draw(st.booleans())
    name = draw(st.sampled_from(["sum", "mean", "amax", "amin", "softmax", "logsumexp"]))
    nonempty = math.prod(shape) > 0
    if not nonempty or not dims:
        return lambda x: x.sum(tuple(dims) or None, keepdim=keepdim)
    if name == "softmax":
        return lambda x: x.softmax(dims[0])
    return lambda x: getattr(chainrule, name)(x, dim=tuple(dims), keepdim=keepdim)


@st.composite
def graphs(draw):
    """Shapes of arguments, and steps: a function and the numbers of those before that it takes."""
    size = st.sampled_from([0, 1, 2, 3, 3, 4])
    shapes = [tuple(draw(st.lists(size, max_size=3))) for _ in range(draw(st.integers(1, 2)))]
    arrays = [chainrule.from_numpy(np.full(shape, 0.5)) for shape in shapes]
    steps = []
    for _ in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(["unary", "binary", "binary", "shape", "reduce", "matmul"]))
        first = draw(st.integers(0, len(arrays) - 1))
        inputs, x = [first], arrays[first]
        if kind == "unary":
            function = draw(st.sampled_from(UNARY))
        elif kind == "shape":
            function = draw(shaping(x.shape))
        elif kind == "reduce":
            function = draw(reducing(x.shape))
        else:
            second = draw(st.integers(0, len(arrays) - 1))
            inputs.append(second)
            function = operator.matmul if kind == "matmul" else draw(st.sampled_from(BINARY))
        try:
            with np.errstate(all="ignore"):
                out = function(*(arrays[i] for i in inputs))
        except (ValueError, IndexError, RuntimeError):
            continue  # these shapes do not meet
        if out.numel() < 200:
            arrays.append(out)
            steps.append((function, inputs))
    wanted = draw(st.lists(st.integers(0, len(arrays) - 1), min_size=1, max_size=3, unique=True))
    return shapes, steps, wanted


def run(steps, wanted, parameters):
    def function(*arguments):
        for p in parameters:
            p.grad = None
        arrays = [x * p for x, p in zip(arguments, parameters, strict=True)]
        for step, inputs in steps:
            arrays.append(step(*(arrays[i] for i in inputs)))
        outputs = [arrays[i] for i in wanted]
        loss = functools.reduce(operator.add, [(out * out).sum() for out in outputs])
        if loss.requires_grad:
            loss.backward()
        return outputs

    return function


@given(graphs())
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_graph(interpreted, graph):
    shapes, steps, wanted = graph
    random = np.random.default_rng(0)
    both = [[chainrule.zeros(*shape, dtype=np.float64, requires_grad=True) for shape in shapes] for _ in range(2)]
    eager, compiled = run(steps, wanted, both[0]), jit(run(steps, wanted, both[1]))
    for _ in range(2):
        arguments = [chainrule.from_numpy(random.standard_normal(shape)) for shape in shapes]
        for parameters in zip(*both, strict=True):
            values = chainrule.from_numpy(random.standard_normal(parameters[0].shape))
            for p in parameters:
                p.detach().copy_(values)
        for out, actual in zip(eager(*arguments), compiled(*arguments), strict=True):
            assert (actual.shape, actual.dtype) == (out.shape, out.dtype)
            np.testing.assert_allclose(actual.numpy(), out.detach().numpy(), rtol=1e-9, atol=1e-9)
        for p, q in zip(*both, strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                grad = p.grad.numpy()
                largest = max(1, np.abs(grad).max(initial=0))
                np.testing.assert_allclose(q.grad.numpy(), grad, rtol=1e-8, atol=1e-8 * largest)


def everything(x, y, b):
    """One function with all that the emitted code can say, so that it is compiled once for each type."""
    a = x.exp() + y
    yield a.sum((0, 2)), a.amax((0, 2), keepdim=True), a.amin(1), a.mean()
    yield (
        x.log1p(),
        (x + 1).log(),
        x.expm1(),
        x.tanh(),
        x.sin(),
        x.cos(),
        x.floor(),
        x.ceil(),
        x.round(),
        x.sign(),
        x.trunc(),
    )
    yield (x**2.5), x**3, x**-1, 2**x, x.reciprocal(), (-x).abs(), x.sqrt(), x.rsqrt(), chainrule.log2(x + 1)
    yield chainrule.sinh(x), chainrule.cosh(x), chainrule.atan(x), chainrule.tan(x)
    yield (
        chainrule.where(b, x, 0),
        (x > y),
        (x > y) & b,
        ~b,
        b.sum(),
        b.long() + 2,
        (b | (x == y)),
        b.any(),
        x.isfinite(),
    )
    yield x[1:, :, ::2].permute(2, 0, 1).reshape(-1) * 2, x[:, 1].T, x[0, 0, 0], x.unsqueeze(1).expand(2, 4, 3, 5)
    yield x @ x.transpose(-1, -2), x[0] @ y[0].T, x[0, 0] @ x[1, 1], (x[0].T @ x[0]).softmax(0)
    yield x[:0].sum(0), x[:, :0].sum(), x[:0] * 2, (x * math.inf - x * math.inf).isfinite(), x.to(np.float32) * 2


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("backend", ["compiled", "interpreted"])
def test_everything_at_once(dtype, backend, request):
    if backend == "interpreted":
        request.getfixturevalue("interpreted")
    random = np.random.default_rng(0)

    def flat(x, y, b):
        return [out for part in everything(x, y, b) for out in part]

    compiled, rtol = jit(flat), 1e-12 if dtype == "f8" else 3e-6
    for _ in range(2):
        x, y = (chainrule.from_numpy(random.random((2, 3, 5)).astype(dtype) * 3) for _ in range(2))
        inputs = x, y, x > y
        for position, (actual, expected) in enumerate(zip(compiled(*inputs), flat(*inputs), strict=True)):
            assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), position
            np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=rtol, atol=rtol, err_msg=str(position))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_functions_of_odd_numbers(dtype):
    """Infinities, NaN, zeros of both signs, the largest and the smallest."""
    info = np.finfo(dtype)
    odd = np.array(
        [0, -0.0, 1, -1, math.inf, -math.inf, math.nan, info.max, info.min, info.tiny, 90, -90, 1e-4, 710], dtype
    )

    def functions(x):
        yield from (
            x.exp(),
            x.tanh(),
            x.expm1(),
            x.log(),
            x.log1p(),
            x.sqrt(),
            x.sigmoid(),
            x.relu(),
            x.abs(),
            x.sign(),
        )
        yield from (np.maximum(x, 0.5), np.minimum(0.5, x), x.isfinite(), x.square(), 1 / x, x.amax(), x.sum())
        yield from (x == x, x != x, x > 0, chainrule.where(x > 0, x, -1.0), x.clamp(-1, 1))

    def listed(x):
        return list(functions(x))

    compiled = jit(listed)
    for array in (odd, odd[::-1].copy()):
        x = chainrule.from_numpy(array)
        for position, (actual, expected) in enumerate(zip(compiled(x), listed(x), strict=True)):
            np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=3e-6, atol=1e-30, err_msg=str(position))


@pytest.mark.parametrize("kind", ["b1", "u1", "i1", "i2", "i4", "i8", "f2", "u2", "u4"])
def test_types(kind, interpreted):
    def function(x, half):
        return (
            x + half, x * 2, x + x, x.sum(), x.sum(0), x.double().mean(1), x / 2, x == 1, x.float(), x.long(), x.amax(), x > half,
            x.T, x.reshape(3, 2) * 1.5, -half * x,
        )  # fmt: skip

    compiled = jit(function)
    for array, other in (([[0, 1, 1], [1, 0, 3]], [0.5, 1.5, 2.5]), ([[1, 0, 7], [0, 0, 1]], [-1.5, 0.25, 4])):
        x, half = chainrule.from_numpy(np.array(array).astype(kind)), chainrule.from_numpy(np.array(other, "f4"))
        for actual, expected in zip(compiled(x, half), function(x, half), strict=True):
            assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_array_equal(actual.numpy(), expected.numpy())


def test_picking_by_integers(interpreted):
    x, indices = chainrule.from_numpy(np.arange(12.0).reshape(4, 3)), chainrule.tensor([2, 0, 2])
    w = chainrule.ones(4, 3, dtype=np.float64, requires_grad=True)
    table = np.array([1, 1, 3])

    def function(x, indices):
        w.grad = None
        out = (x * w)[indices] * 2
        out.sum().backward()
        return out, x[table], x[indices, table - 1], x[indices][:, 1], x.sum(1)[..., None]

    compiled = jit(function)
    for p in ([2, 0, 2], [1, 1, 1]):
        indices = chainrule.tensor(p)
        x.add_(100)
        actual, grad = compiled(x, indices), w.grad
        for one, expected in zip(actual, function(x, indices), strict=True):
            np.testing.assert_array_equal(one.numpy(), expected.detach().numpy())
        np.testing.assert_array_equal(grad.numpy(), w.grad.numpy())
    table[0] = 2
    assert compiled(x, indices)[1][0].tolist() == [206, 207, 208]


def test_a_loop_that_reads_what_a_call_of_python_gives_comes_after_it(interpreted):
    """Also where it reads what a loop before the call has made, and could share its loop."""

    def step(x):
        y = x * 2
        largest, index = y.max(0)
        return y + largest, y - largest, (y + index) * x

    compiled = jit(step)
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal(5)
        y, index = x * 2, int(np.argmax(x))
        for result, expected in zip(compiled(x), (y + y.max(), y - y.max(), (y + index) * x), strict=True):
            np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12)


def test_nothing_to_do(interpreted):
    assert jit(lambda: None)() is None
    same, nested = jit(lambda x: x), jit(lambda x, scale: {"a": [x * scale], "b": scale})
    w = chainrule.ones(2, requires_grad=True)
    outside = jit(lambda: w)
    for number in (1, 4, 9):
        x = chainrule.full((2,), float(number))
        assert same(x).tolist() == [number, number]
        assert same(x) is not x
        out = nested(x, 3)
        assert (out["a"][0].tolist(), out["b"]) == ([3 * number, 3 * number], 3)
        w.detach().fill_(number)
        returned = outside()
        assert returned is not w
        assert returned.tolist() == [number, number]


@pytest.mark.parametrize("compiler", ["interpreted", "compiled"])
def test_an_empty_result_is_not_written(compiler, request):
    """It has no memory: where it would lie, another array may begin."""
    if compiler == "interpreted":
        request.getfixturevalue("interpreted")
    w = chainrule.ones(0, 1, dtype=np.float64, requires_grad=True)
    v = chainrule.ones(2, dtype=np.float64, requires_grad=True)

    @jit
    def step(x):
        w.grad = v.grad = None
        low = chainrule.minimum(w, v * x)  # (0, 2)
        (low.sum() + (v * v).sum()).backward()
        return low.sum(1), low.sum(0), low.sum(1, keepdim=True), (low + 1).amax(1), low.sum()

    x = chainrule.from_numpy(np.array([2.0, 3.0]))
    step(x)
    ((specialization,),) = step.specializations.values()
    program = specialization.program
    canary = np.full(8, 7.25)
    for value in program.bases:
        if not value.size:
            program.table[program.entries[id(value)]] = canary.ctypes.data
    for _ in range(2):
        program.run([x.numpy()])
        assert canary.tolist() == [7.25] * 8
    empty, total, column, largest, number = step(x)
    assert [t.shape for t in (empty, column, largest)] == [(0,), (0, 1), (0,)]
    assert (total.tolist(), number.item()) == ([0, 0], 0)
    assert (v.grad.tolist(), w.grad.shape) == ([2, 2], (0, 1))


def test_arguments_of_other_kinds_make_other_programs(interpreted):
    compiled = jit(lambda x, scale, flag=False: x * scale if flag else x + scale)
    for number in (1, 5, 6):
        x = chainrule.full((1,), float(number))
        assert compiled(x, 2).item() == number + 2
        assert compiled(x, 3, flag=True).item() == number * 3
        assert compiled(x, 2.0).item() == number + 2
        whole = compiled(x.long(), 2)
        assert (whole.item(), whole.dtype) == (number + 2, np.int64)
    assert len(compiled.specializations) == 4
    assert compiled.programs is compiled.specializations  # its former name


@pytest.mark.filterwarnings("ignore:jit. <lambda> is compiled too often")
def test_the_oldest_shapes_are_forgotten_where_they_take_much_memory(monkeypatch):
    compiled = jit(lambda x: ((x @ x.T).exp() @ x).sum(0))  # which has memory for (rows, rows)

    def call(rows):
        x = np.random.default_rng(rows).normal(size=(rows, 3)) / 9
        np.testing.assert_allclose(compiled(chainrule.tensor(x)).numpy(), (np.exp(x @ x.T) @ x).sum(0), atol=1e-12)

    def used_bytes():
        return sum(specialization.nbytes for (specialization,) in compiled.specializations.values())

    for count in range(100, 110):
        call(count)
    assert len(compiled.specializations) == 10
    before, limit = list(compiled.specializations), used_bytes()
    monkeypatch.setattr("chainrule.capture.compiled.MAX_PROGRAM_BYTES", limit)
    call(110)
    assert list(compiled.specializations)[:-1] == before[2:]  # one is not enough: the new one is larger
    assert used_bytes() <= limit
    call(100)  # which was forgotten
    assert list(compiled.specializations)[-1] == before[0]
    monkeypatch.setattr("chainrule.capture.compiled.MAX_PROGRAM_BYTES", 1)
    call(120)
    last = list(compiled.specializations)
    assert len(last) == 4
    for count in (109, 110, 100, 120):
        call(count)
    assert list(compiled.specializations) == last


def freed_bytes(compiled):
    """How many bytes are freed when the programs of a compiled function are dropped."""
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    compiled.specializations.clear()
    gc.collect()
    return before - tracemalloc.get_traced_memory()[0]


def outer_product(x):
    return x[:, None] * x


def large_gradient(x):
    weight.grad = None
    loss = (weight * x.sum()).sum()
    loss.backward()
    return loss


def python_call(x):
    return chainrule.cumsum(x[:, None] * chainrule.ones(1, 500), 1).sum()


def constant(x):
    return (x.sum() * chainrule.ones(500, 500)).sum(0)


weight = chainrule.ones(500, 500, requires_grad=True)


@pytest.mark.parametrize("function", [outer_product, large_gradient, python_call, constant])
def test_the_memory_of_a_program_includes_what_it_returns(function):
    tracemalloc.start()
    try:
        compiled = jit(function)
        compiled(chainrule.ones(500))
        weight.grad = None
        (specialization,) = next(iter(compiled.specializations.values()))
        nbytes = specialization.nbytes
        del specialization
        assert freed_bytes(compiled) == pytest.approx(nbytes, abs=400_000)
        assert nbytes >= 1_000_000  # 500 × 500 float32
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:jit. outer_product is compiled too often")
def test_large_outputs_count_as_memory(monkeypatch, interpreted):
    compiled = jit(outer_product)
    monkeypatch.setattr("chainrule.capture.compiled.MAX_PROGRAM_BYTES", 500_000)
    for count in range(120, 130):
        x = chainrule.arange(count).float()
        np.testing.assert_array_equal(compiled(x).numpy(), np.outer(np.arange(count), np.arange(count)))
    kept = [signature[0][0] for signature in compiled.specializations]
    assert kept == [
        (count,) for count in range(123, 130)
    ]  # each output has 60,516 to 66,564 bytes; eight exceed 500,000


def test_a_shape_in_use_is_not_forgotten(monkeypatch, interpreted):
    compiled = jit(lambda x: x * 2)
    monkeypatch.setattr("chainrule.capture.compiled.MAX_PROGRAM_BYTES", 1)
    compiled(chainrule.ones(50))
    (program,) = next(iter(compiled.specializations.values()))
    for count in range(1, 8):
        compiled(chainrule.ones(50))  # a full batch, and then another size
        np.testing.assert_array_equal(compiled(chainrule.full((count,), count)).numpy(), np.full(count, 2 * count))
    assert len(compiled.specializations) == 4
    assert any(program in group for group in compiled.specializations.values())


def test_a_functions_memory_is_freed_with_it():
    compiled = jit(lambda x: (x @ x.T).exp().sum(0))
    compiled(chainrule.ones(50, 3))
    ((specialization,),) = compiled.specializations.values()
    memory = weakref.ref(specialization.program.memory)
    del compiled, specialization
    gc.collect()
    assert memory() is None


def test_one_compiled_function_inside_another(interpreted):
    inner = jit(lambda x: x * 2)
    outer = jit(lambda x: inner(x) + 1)
    assert [outer(chainrule.full((1,), number)).item() for number in (1.0, 2.0, 5.0)] == [3, 5, 11]
    assert not inner.specializations


def by_itself(ufunc):
    """An operation that is one function of NumPy's."""
    if ufunc.nin == 1:

        def formula(x):
            return ufunc(x)
    else:

        def formula(x, y):
            return ufunc(x, y)

    formula.__name__ = ufunc.__name__
    result = operation(formula)
    result.wanted = ufunc.nin
    return result


def formulas(dtype):
    """The functions of NumPy that a loop computes by a formula of its own, for numbers of a type: those that NumPy has."""
    for ufunc in loops.FORMULAS:
        if isinstance(ufunc, np.ufunc) and (dtype[0] == "f" or ufunc not in loops.FLOATS_ONLY):
            with contextlib.suppress(TypeError), np.errstate(all="ignore"):
                ufunc(*[np.ones(1, dtype)] * ufunc.nin)
                yield ufunc


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "b1"])
@pytest.mark.parametrize("backend", ["compiled", "interpreted"])
def test_every_formula(dtype, backend, request):
    """Beside NumPy's own function, of numbers that it has a result for."""
    if backend == "interpreted":
        request.getfixturevalue("interpreted")
    chosen = list(formulas(dtype))
    operations = [by_itself(ufunc) for ufunc in chosen]
    compiled = jit(lambda x, y: [f(*(x, y)[: f.wanted]) for f in operations])
    random = np.random.default_rng(0)
    for _ in range(2):
        scale = 1 if dtype[0] == "f" else 3
        x, y = (scale * random.uniform(0.4, 1.4, shape) for shape in ((3, 5), (5,)))
        x, y = x.astype(dtype), y.astype(dtype)
        with np.errstate(all="ignore"):  # the arcsine of a number above 1 is NaN in both
            results = compiled(chainrule.from_numpy(x), chainrule.from_numpy(y))
        for ufunc, actual in zip(chosen, results, strict=True):
            with np.errstate(all="ignore"):
                expected = ufunc(*(x, y)[: ufunc.nin])
            assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), ufunc
            tolerance = {"f2": 1e-3, "f4": 3e-6, "f8": 1e-13}.get(expected.dtype.str[1:], 0)
            np.testing.assert_allclose(actual.numpy(), expected, rtol=tolerance, atol=tolerance, err_msg=ufunc.__name__)
    if dtype != "b1":  # of whose square root, say, NumPy makes float16, which no loop computes with
        assert "Python" not in compiled.explain()
