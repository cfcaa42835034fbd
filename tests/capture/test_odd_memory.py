"""External memory that compiled code cannot access in place (read-only, unaligned, overlapping): as eager, or refused."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.errors import CaptureError

SHAPE = (3, 4)


def whole(kind):
    return np.zeros(SHAPE, kind), lambda base: base


def fortran(kind):
    return np.zeros(SHAPE[::-1], kind), lambda base: base.T


def with_gaps(kind):
    return np.zeros((6, 9), kind), lambda base: base[::2, 1::2]


def reversed_(kind):
    return np.zeros(SHAPE, kind), lambda base: base[::-1, ::-1]


def columns_reversed(kind):
    return np.zeros((4, 6), kind), lambda base: base[:, ::-2].T


def field_of_packed_records(kind):
    return np.zeros(SHAPE, [("tag", "u1"), ("x", kind)]), lambda base: base["x"]


def field_of_records_of_three(kind):
    return np.zeros(SHAPE[::-1], [("x", kind), ("r", "u1"), ("g", "u1"), ("b", "u1")]), lambda base: base["x"].T


def unaligned(kind):
    size = np.dtype(kind).itemsize * 12
    return np.zeros(size + 1, "u1"), lambda base: base[1:].view(kind).reshape(SHAPE)


def unaligned_with_gaps(kind):
    size = np.dtype(kind).itemsize * 24
    return np.zeros(size + 1, "u1"), lambda base: base[1:].view(kind).reshape(3, 8)[:, ::2]


WRITABLE = [
    whole, fortran, with_gaps, reversed_, columns_reversed, field_of_packed_records, field_of_records_of_three, unaligned,
    unaligned_with_gaps,
]  # fmt: skip


def read_only(kind):
    base, view = with_gaps(kind)
    base.flags.writeable = False
    return base, view


def repeated(kind):
    return np.zeros((1, 4), kind), lambda base: np.broadcast_to(base, SHAPE)


def read_only_field(kind):
    base, view = field_of_packed_records(kind)
    base.flags.writeable = False
    return base, view


READ_ONLY = [read_only, repeated, read_only_field]


def adds(memory, x):
    with chainrule.no_grad():
        before = memory * 2
        memory.add_(x)
    return before + memory


def takes_over(memory, x):
    with chainrule.no_grad():
        memory.copy_(x)
        memory *= memory
    return memory.T @ memory


def changes_elements(memory, x):
    with chainrule.no_grad():
        memory[1] = x[0]
        memory[:, 1].add_(x[:, 2])
        memory.T[2].copy_(memory[0, :3])
    return memory + 0, memory.sum(0)


def only_reads(memory, x):
    return memory * x, memory.T @ x, memory[1:].sum(), memory.reshape(-1) + 1, memory.flip(1) * 1, memory.amax(1)


CHANGES = [adds, takes_over, changes_elements]


def numbers(base, view, seed):
    """Fill memory with numbers, and what lies between with others."""
    random = np.random.default_rng(seed)
    raw = np.frombuffer(random.bytes(base.nbytes), base.dtype).reshape(base.shape)
    writable, base.flags.writeable = base.flags.writeable, True
    base[...] = raw
    seen = view(base)
    if seen.flags.writeable:
        seen[...] = random.standard_normal(SHAPE)
    else:
        base[...] = random.standard_normal(base.shape)
    base.flags.writeable = writable
    return seen if writable else view(base)


def readings(form, kind, program, calls=3):
    """The same, eager and compiled: results of each call or its error, and all memory afterwards."""
    for compile_it in (lambda f: f, jit):
        base, view = form(kind)
        memory = chainrule.from_numpy(numbers(base, view, 0))
        assert memory.shape == SHAPE
        step = compile_it(lambda x, memory=memory: program(memory, x))
        records = []
        for call in range(calls):
            x = chainrule.from_numpy(np.random.default_rng(call).standard_normal(SHAPE).astype(kind))
            try:
                results = step(x)
            except ValueError as error:
                results = str(error)
            else:
                results = [t.numpy().copy() for t in (results if isinstance(results, tuple) else (results,))]
            records.append((results, base.tobytes()))
        yield records, base


def agree(form, kind, program):
    (eager, _), (compiled, base) = readings(form, kind, program)
    for call, (ours, theirs) in enumerate(zip(compiled, eager, strict=True)):
        if isinstance(theirs[0], str):
            assert ours[0] == theirs[0]
        else:
            for one, other in zip(ours[0], theirs[0], strict=True):
                assert (one.shape, one.dtype) == (other.shape, other.dtype)
                np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=f"call {call}")
        one, other = (np.frombuffer(side[1], base.dtype) for side in (ours, theirs))
        if base.dtype.names:
            for name in base.dtype.names:
                np.testing.assert_allclose(one[name], other[name], rtol=1e-5, err_msg=f"call {call}: {name}")
        elif base.dtype == "u1":
            np.testing.assert_allclose(one[1:].view(kind), other[1:].view(kind), rtol=1e-5, err_msg=f"call {call}")
            assert one[0] == other[0]
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=f"call {call}")


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # random bytes between the numbers
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("program", [*CHANGES, only_reads], ids=lambda program: program.__name__)
@pytest.mark.parametrize("form", [*WRITABLE, *READ_ONLY], ids=lambda form: form.__name__)
def test_as_eager(form, program, kind, interpreted):
    agree(form, kind, program)


@pytest.mark.parametrize(
    "form", [with_gaps, reversed_, field_of_packed_records, unaligned], ids=lambda form: form.__name__
)
def test_as_eager_with_the_real_compiler(form):
    agree(form, "f4", changes_elements)


@pytest.mark.parametrize("form", READ_ONLY, ids=lambda form: form.__name__)
@pytest.mark.parametrize("program", CHANGES, ids=lambda program: program.__name__)
def test_read_only_memory_is_the_eager_error(form, program, interpreted):
    (eager, _), (compiled, _) = readings(form, "f4", program)
    for side in (eager, compiled):
        assert all(isinstance(results, str) and "read-only" in results for results, _ in side)
        assert len({memory for _, memory in side}) == 1


@pytest.mark.parametrize(
    "form", [field_of_packed_records, unaligned, reversed_, read_only], ids=lambda form: form.__name__
)
@pytest.mark.parametrize("size", [10, 3000])
def test_gradients_and_weights_of_an_eager_step(form, size):
    """Large arrays are stepped by compiled loops, which must not be given what they cannot read or write."""
    tile = (size, 1, 1)
    for odd_weight in (False, True):
        base, view = form("f4")
        array = np.array(numbers(base, view, 0))
        if form is field_of_packed_records:
            odd = np.zeros((size, *SHAPE), base.dtype)["x"]
        elif form is unaligned:
            odd = np.zeros(size * array.nbytes + 1, "u1")[1:].view("f4").reshape(size, *SHAPE)
        else:
            odd = np.zeros((size, *SHAPE), "f4")[::-1]
        odd[...] = np.tile(array, tile)
        odd.flags.writeable = form is not read_only
        plain = np.random.default_rng(1).standard_normal(odd.shape).astype("f4")
        weight, gradient = (odd, plain) if odd_weight else (plain, odd)
        expected = weight - np.float32(0.5) * gradient
        w = chainrule.from_numpy(weight).requires_grad_()
        w.grad = chainrule.from_numpy(gradient)
        optimizer = optim.SGD([w], 0.5)
        if odd_weight and form is read_only:
            with pytest.raises(ValueError, match="read-only"):
                optimizer.step()
            continue
        optimizer.step()
        np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("form", WRITABLE, ids=lambda form: form.__name__)
@pytest.mark.parametrize("compiler", ["interpreted", "compiled"])
def test_arguments_in_any_memory(form, compiler, request):
    if compiler == "interpreted":
        request.getfixturevalue("interpreted")
    outside = chainrule.zeros(*SHAPE)

    def step(x):
        y = only_reads(x, outside)
        outside.add_(x)
        return y

    compiled = jit(step)
    total = np.zeros(SHAPE, "f4")
    for call in range(3):
        base, view = form("f4")
        array = numbers(base, view, call)
        expected = only_reads(chainrule.from_numpy(array.copy()), chainrule.from_numpy(total))
        total = total + array
        for one, other in zip(compiled(chainrule.from_numpy(array)), expected, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5)
        np.testing.assert_allclose(outside.numpy(), total, rtol=1e-6)
    assert len(compiled.specializations) == 1


def test_the_memory_order_of_an_argument_decides_what_is_a_view(interpreted):
    def add_to_a_view_or_a_copy(x):
        x.detach().reshape(-1).add_(1)

    step = jit(add_to_a_view_or_a_copy)
    x = chainrule.from_numpy(np.arange(6.0).reshape(3, 2).T)
    step(x)  # `reshape` copies
    assert x.tolist() == [[0, 2, 4], [1, 3, 5]]
    with pytest.raises(CaptureError, match="a change in place of an argument"):
        step(chainrule.from_numpy(np.arange(6.0).reshape(2, 3)))  # a view


@pytest.mark.parametrize("rows", [4, 1000])
@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
@pytest.mark.parametrize("compile_it", [lambda f: f, jit], ids=["eager", "compiled"])
def test_a_memory_mapped_weight(rows, optimizer, compile_it, tmp_path):
    """It is read, and not written: writing would end the process."""
    np.save(tmp_path / "w.npy", np.full((rows, 8), 0.5, "f4"))
    net = nn.Linear(8, rows)
    net.weight = nn.Parameter(chainrule.from_numpy(np.load(tmp_path / "w.npy", mmap_mode="r")))
    bias = net.bias.numpy().copy()
    stepped = optimizer(net.parameters(), 0.1)

    def step(x):
        stepped.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        stepped.step()
        return loss

    step = compile_it(step)
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            step(chainrule.ones(2, 8))
    np.testing.assert_array_equal(np.load(tmp_path / "w.npy"), 0.5)
    if compile_it is jit:
        np.testing.assert_array_equal(net.bias.numpy(), bias)
        assert stepped.state == {}
        with chainrule.no_grad():
            x = chainrule.from_numpy(np.random.default_rng(0).standard_normal((3, 8)).astype("f4"))
            np.testing.assert_allclose(jit(net)(x).numpy(), 0.5 * x.numpy().sum(1, keepdims=True) + bias, rtol=1e-5)


@pytest.mark.parametrize("compiler", ["interpreted", "compiled"])
def test_memory_that_is_frozen_between_calls(compiler, request):
    if compiler == "interpreted":
        request.getfixturevalue("interpreted")
    array, other = np.zeros(3, "f4"), np.zeros(3, "f4")
    first, second = chainrule.from_numpy(array), chainrule.from_numpy(other)

    @jit
    def step(x):
        second.sub_(x)
        first.add_(x)
        return first * 1

    x = chainrule.from_numpy(np.arange(3, dtype="f4"))
    step(x)
    array.flags.writeable = False
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            step(x)
    assert (array.tolist(), other.tolist()) == ([0, 1, 2], [0, -1, -2])
    array.flags.writeable = True
    assert step(x * 2).tolist() == [0, 3, 6]
    assert len(step.specializations) == 1


def test_where_flags_are_not_found_python_looks(monkeypatch, interpreted):
    monkeypatch.setattr("chainrule.lower.program.ARRAY_STRUCT_IS_KNOWN", False)
    test_memory_that_is_frozen_between_calls("compiled", None)


def test_elements_that_share_memory(interpreted):
    """NumPy lets one write into a broadcast array, and the result depends on the order of its loop."""
    base = np.ones(1, "f4")
    ones = np.lib.stride_tricks.as_strided(base, (8,), (0,))
    overlapping = chainrule.from_numpy(ones)
    with pytest.raises(CaptureError, match=r"elements overlap.*test_odd_memory.py:\d+"):
        jit(lambda: overlapping.add_(1))()
    assert base.tolist() == [1]
    windows = chainrule.from_numpy(np.lib.stride_tricks.as_strided(np.arange(5.0), (3, 3), (8, 8)))
    with pytest.raises(CaptureError, match="elements overlap"):
        jit(lambda: windows.add_(1))()
    np.testing.assert_array_equal(jit(lambda x: windows * x)(chainrule.ones(3, 3)).numpy(), windows.numpy())


def test_an_expanded_tensor(interpreted):
    one = chainrule.ones(1)

    def step():
        one.expand(8).add_(1)

    for run in (step, jit(step)):
        with pytest.raises(
            ValueError, match=r"a tensor of shape \(8,\) cannot be changed in place: its memory is read-only"
        ):
            run()
        assert one.tolist() == [1]


def test_bytes_in_another_order(interpreted):
    array = np.arange(6.0).reshape(2, 3)
    swapped = array.astype(">f8")
    compiled = jit(lambda x: (x * swapped, x @ swapped.T, swapped[0] + x[1]))
    for call in range(3):
        x = np.random.default_rng(call).standard_normal((2, 3))
        swapped += call
        expected = x * (array := array + call), x @ array.T, array[0] + x[1]
        for one, other in zip(compiled(x), expected, strict=True):
            np.testing.assert_allclose(one.numpy(), other, rtol=1e-12)


def test_half_precision_outside(interpreted):
    half, single = chainrule.ones(3, dtype=np.float16), chainrule.zeros(3)

    @jit
    def step(x):
        single.copy_(half)
        half.copy_(x)
        half[0] = 2
        return half.float() + single

    assert step(chainrule.ones(3) * 3).tolist() == [3, 4, 4]
    assert step(chainrule.ones(3) * 5).tolist() == [4, 8, 8]
    assert (half.tolist(), single.tolist()) == ([2, 5, 5], [2, 3, 3])


@pytest.mark.parametrize("by", ["reshape", "flatten"])
def test_the_memory_order_of_an_argument_decides_whether_a_result_is_changed(by, interpreted):
    def change_in_place(x):
        y = x * 2
        (y.reshape(-1) if by == "reshape" else y.flatten()).add_(1)
        return y

    step = jit(change_in_place)
    in_order = np.arange(6.0).reshape(2, 3)
    for array in (in_order, np.asfortranarray(in_order), in_order + 1, np.asfortranarray(in_order) - 1):
        for _ in range(2):
            np.testing.assert_array_equal(step(array).numpy(), change_in_place(chainrule.from_numpy(array)).numpy())
    assert len(step.specializations) == 1
    assert sum(map(len, step.specializations.values())) == 2
