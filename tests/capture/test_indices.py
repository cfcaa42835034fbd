"""Reading and writing at indices that are computed or passed as arguments: as in PyTorch, for several calls."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.errors import CaptureError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")


def largest(x, index):
    return (*x.max(1), *x.min(0), *x.max(-1, keepdim=True), *x.min(1, keepdim=True), *x.max(1)[0].max(0))


def equal_elements(x, index):
    y = (x > 0) * 2 + x * 0
    return (*y.max(1), *y.min(0))


def gathered(x, index):
    return x.gather(1, index[:, :3]), x.gather(0, index.clamp(0, 2))


def gathered_by_what_is_computed(x, index):
    best = x.argmax(dim=1, keepdim=True)
    return x.gather(1, best), x.gather(1, index[:, :2]) * x.max(1, keepdim=True)[0]


def taken_along(x, index):
    return x.take_along_dim(index, 1), x.take_along_dim(index[:, :1], dim=1), x.take_along_dim(index)


def selected(x, index):
    return (
        x.index_select(1, index[0]),
        x.index_select(0, index[:, 0].clamp(0, 2)),
        (x * 2).index_select(-1, index[1, 1]),
    )


def picked(x, index):
    return x[index[:, 0].clamp(0, 2)], x[:, index[0]], x[index[1].clamp(0, 2), index[0]], x[0, index[2, 0]] * x[1]


def one_number(x, index):
    y = x.sum()
    return (*y.max(0), y.reshape(1).gather(0, index[0, :1] * 0))


def written(x, index):
    y = x * 1
    y[:, index[0]] = x[:, :4] * 2
    z = x + 0
    z[index[0, :2].clamp(0, 2)] = 7.0
    u = x * 3
    u[index[:, 0].clamp(0, 2), index[0, 1]] += x[0, 0]
    return y, z, u


PROGRAMS = [
    largest, equal_elements, gathered, gathered_by_what_is_computed, taken_along, selected, picked, one_number, written,
]  # fmt: skip


def readings(lib, program, compile_it=lambda step: step, calls=4):
    """Values, and gradients of something that weighs each element differently."""
    random = np.random.default_rng(0)
    w = lib.from_numpy(random.standard_normal((3, 4))).requires_grad_()

    def step(x, index):
        w.grad = None
        results = program(w * x, index)
        loss = sum(((r + 1) * (r + 0.5)).mean() * (i + 1) for i, r in enumerate(results) if r.dtype == w.dtype)
        loss.backward()
        return [r.detach() for r in results]

    step = compile_it(step)
    for call in range(calls):
        random = np.random.default_rng(call + 1)
        x, index = random.standard_normal((3, 4)), random.integers(0, 4, (3, 4))
        yield [r.numpy() for r in step(lib.from_numpy(x), lib.from_numpy(index))] + [w.grad.numpy().copy()]


def agree(program):
    expected = list(readings(torch, program))
    for name, results in (("eager", readings(chainrule, program)), ("compiled", readings(chainrule, program, jit))):
        for call, (ours, theirs) in enumerate(zip(results, expected, strict=True)):
            for position, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                what = f"{name}, call {call}, result {position}"
                assert (one.shape, one.dtype) == (other.shape, other.dtype), what
                np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12, err_msg=what)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_as_in_pytorch(program, interpreted):
    agree(program)


@pytest.mark.parametrize("program", [largest, gathered, written], ids=lambda program: program.__name__)
def test_as_in_pytorch_with_the_real_compiler(program):
    agree(program)


def test_gradients_of_gradients(interpreted):
    random = np.random.default_rng(0)

    def second(lib, x, index):
        x = x.requires_grad_()
        y = (x.gather(1, index) ** 3).sum() + (x.index_select(1, index[0]) ** 3).sum() + (x.max(1)[0] ** 3).sum()
        (first,) = lib.autograd.grad(y, [x], create_graph=True)
        (actual,) = lib.autograd.grad((first**2).sum(), [x])
        return actual

    compiled = jit(lambda x, index: second(chainrule, x.detach(), index))
    for _ in range(3):
        x, index = random.standard_normal((3, 4)), random.integers(0, 4, (3, 2))
        expected = second(torch, torch.from_numpy(x), torch.from_numpy(index))
        actual = compiled(chainrule.from_numpy(x), chainrule.from_numpy(index))
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=1e-10)


def ring(lib):
    """The last experiences, over and over: the place is a number that is counted up outside."""
    memory, position = lib.zeros(4, 3), lib.zeros(()).long() if lib is torch else lib.zeros().long()

    def step(x, chosen):
        with lib.no_grad():
            memory[position] = x
            position.add_(1)
            position.copy_(position % 4 if lib is torch else position - (position == 4).long() * 4)
            return memory[chosen] * 1, memory.sum(0)

    return step, memory, position


def test_a_ring_of_experiences(interpreted):
    (theirs, *outside), (ours, *inside) = ring(torch), ring(chainrule)
    ours = jit(ours)
    for call in range(9):
        random = np.random.default_rng(call)
        x, chosen = random.standard_normal(3).astype("f4"), random.integers(0, 4, 5)
        expected = theirs(torch.from_numpy(x), torch.from_numpy(chosen))
        actual = ours(chainrule.from_numpy(x), chainrule.from_numpy(chosen))
        for one, other in zip([*actual, *inside], [*expected, *outside], strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_memory_outside_written_by_indices(interpreted):
    random = np.random.default_rng(0)
    start = random.standard_normal((5, 3))
    buffer, expected = chainrule.from_numpy(start.copy()), start.copy()

    @jit
    def step(index, column, x):
        before = buffer * 1
        buffer[index] = x
        buffer[index, column] += 1
        buffer[index[0]] = buffer[index[1]]
        buffer[:, column] = before[:, 0]
        return before

    for _ in range(5):
        index, column, x = random.integers(-5, 5, 2), random.integers(0, 3, ()), random.standard_normal((2, 3))
        np.testing.assert_array_equal(step(index, column, x).numpy(), expected)
        first = expected[:, 0].copy()
        expected[index] = x
        expected[index, column] += 1
        expected[index[0]] = expected[index[1]]
        expected[:, column] = first
        np.testing.assert_array_equal(buffer.numpy(), expected)


WRONG = [
    lambda x, i: x.gather(1, i),
    lambda x, i: x.take_along_dim(i, 1),
    lambda x, i: x.take_along_dim(i * 3),
    lambda x, i: x.index_select(1, i[0]),
    lambda x, i: x[:, i[0]],
    lambda x, i: x[i[:, 0]],
    lambda x, i: x.gather(1, i * 2),
    lambda x, i: nn.functional.embedding(i, x),
    lambda x, i: nn.functional.embedding(i + 0, x),
    lambda x, i: nn.functional.cross_entropy(x, i[:, 0]),
    lambda x, i: nn.functional.cross_entropy(x, i[:, 0] * 2),
    lambda x, i: nn.functional.one_hot(i, 3) * x.sum(),
]


@pytest.mark.parametrize("program", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("first", [True, False], ids=["in the first call", "later"])
def test_an_index_out_of_range_changes_nothing(program, first, interpreted):
    net = nn.Sequential(nn.Linear(3, 3, generator=np.random.default_rng(0)), nn.BatchNorm1d(3)).double()
    optimizer = optim.Adam(net.parameters(), 0.1)
    steps = chainrule.zeros(dtype=np.int64)

    def step(x, index):
        steps.add_(1)
        optimizer.zero_grad()
        loss = (program(net(x), index) * 1.5).mean()
        loss.backward()
        optimizer.step()
        return loss

    x = chainrule.from_numpy(np.random.default_rng(1).standard_normal((3, 3)))
    right, wrong = np.ones((3, 2), np.int64), np.array([[3, 4], [1, 0], [4, 1]])
    right, wrong = chainrule.from_numpy(right), chainrule.from_numpy(wrong)
    with pytest.raises(IndexError) as eager:
        program(net.eval()(x), wrong)
    net.train()
    step(x, right)  # eager, so that the optimizer has begun
    compiled = jit(step)
    if not first:
        compiled(x, right)

    def state():
        tensors = {**net.state_dict(), "steps": steps}
        saved = {f"{i}{name}": np.array(value) for i, entry in optimizer.state.items() for name, value in entry.items()}
        return {name: tensor.numpy().copy() for name, tensor in tensors.items()} | saved

    before = state()
    with pytest.raises(IndexError) as error:
        compiled(x, wrong)
    assert str(error.value) == str(eager.value)
    np.testing.assert_equal(state(), before)
    compiled(x, right)
    assert steps.item() == (2 if first else 3)


@pytest.mark.parametrize("change", [
    lambda m, i, x: m.__setitem__(i, x), lambda m, i, x: m[1].copy_(x), lambda m, i, x: m[i[0]].add_(x),
    lambda m, i, x: m.T[:, 2].mul_(x), lambda m, i, x: (m.__setitem__(0, x), m[i].sub_(1), m.T[1].zero_()),
    lambda m, i, x: m.reshape(-1)[3:6].copy_(x), lambda m, i, x: m[1:].copy_(m[:-1]),
], ids=range(7))  # fmt: skip
@pytest.mark.parametrize("read", ["before", "after", "never"])
def test_a_change_of_some_elements_touches_no_others(change, read, interpreted):
    """Where nobody reads the memory after it, it is not copied: a large memory costs no more than a small one."""
    start = np.random.default_rng(0).standard_normal((4, 3))
    ours, theirs = chainrule.from_numpy(start.copy()), chainrule.from_numpy(start.copy())
    count = chainrule.zeros()

    def step(m, i, x):
        first = m.sum(0) if read == "before" else x * 2
        change(m, i, x)
        count.add_(1)
        return first, (m * m if read == "after" else x * 3)

    compiled = jit(lambda i, x: step(ours, i, x))
    for call in range(4):
        random = np.random.default_rng(call)
        i, x = chainrule.from_numpy(random.integers(-4, 4, 2)), chainrule.from_numpy(random.standard_normal(3))
        for one, other in zip([*compiled(i, x), ours], [*step(theirs, i, x), theirs], strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-12)
    assert count.item() == 8
    assert ("a change of some elements" in compiled.explain()) == (read == "after")


def test_writing_out_of_range_changes_nothing(interpreted):
    buffer, count = chainrule.zeros(4, 3), chainrule.zeros()

    @jit
    def step(index):
        count.add_(1)
        buffer[index] = 5.0
        return buffer * 1

    assert step(chainrule.tensor([1, -4])).sum().item() == 30
    for wrong in ([4, 0], [0, -5]):
        with pytest.raises(IndexError, match="out of bounds for axis 0 with size 4"):
            step(chainrule.tensor(wrong))
    assert count.item() == 1
    assert buffer.sum().item() == 30


def test_indices_of_another_kind(interpreted):
    x = chainrule.ones(3, 4)
    for program in (
        lambda x, i: x.gather(1, i),
        lambda x, i: x.index_select(0, i[0]),
        lambda x, i: x.take_along_dim(i, 1),
    ):
        with pytest.raises(TypeError, match="index must be integers, not float32"):
            jit(program)(x, x)
    for kind in ("u1", "i4", "i8"):
        index = chainrule.from_numpy(np.array([[3, 0], [1, 1], [2, 2]], kind))
        np.testing.assert_array_equal(jit(lambda x, i: (x * 2).gather(1, i))(x, index).numpy(), 2)
    with pytest.raises(ValueError, match=r"gather: index \(2,\) does not fit"):
        jit(lambda x, i: x.gather(1, i))(x, chainrule.tensor([1, 2]))
    assert jit(lambda x, i: x.gather(1, i))(x, chainrule.zeros(0, 2).long()).shape == (0, 2)


def test_a_mask_as_an_index_is_refused(interpreted):
    buffer = chainrule.zeros(3)
    with pytest.raises(CaptureError, match="mask"):
        jit(lambda x: buffer[x > 0])(chainrule.ones(3))
