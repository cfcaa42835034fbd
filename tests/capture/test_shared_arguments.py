"""Arguments that share memory with what a compiled function changes, and arguments that require gradients."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.autograd import grad
from chainrule.capture import jit
from chainrule.errors import CaptureError

SHARED = (
    r"jit: an argument of shape \(.*\) shares memory with a tensor of shape \(.*\), which the function changes: pass"
)


@pytest.fixture(params=["interpreted", "compiled"])
def either(request):
    if request.param == "interpreted":
        request.getfixturevalue("interpreted")


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def refused(step, *arguments, unchanged=()):
    before = [t.numpy().copy() for t in unchanged]
    with pytest.raises(CaptureError, match=SHARED):
        step(*arguments)
    for tensor, array in zip(unchanged, before, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_an_argument_is_what_the_function_changes(either):
    buffer = chainrule.from_numpy(random_array(6))

    def step(x):
        buffer.add_(1)
        y = x * 2
        buffer.add_(1)
        return y

    compiled = jit(step)
    for call in range(4):  # taking turns
        x = random_array(6, seed=call)
        np.testing.assert_allclose(compiled(chainrule.from_numpy(x)).numpy(), x * 2, rtol=1e-6)
        refused(compiled, buffer, unchanged=[buffer])
        refused(compiled, buffer.detach(), unchanged=[buffer])
        refused(compiled, buffer.numpy(), unchanged=[buffer])
        refused(compiled, buffer.numpy()[::-1], unchanged=[buffer])
        np.testing.assert_allclose(compiled(buffer.clone()).numpy(), (buffer.numpy() - 2) * 2, rtol=1e-5)
    assert len(compiled.specializations) == 1


def test_a_part_of_it(either):
    buffer = chainrule.from_numpy(random_array(4, 6))

    @jit
    def step(x):
        y = x + buffer[0, 0]
        buffer.mul_(2)
        return y

    for part in (buffer[1], buffer[:, 1], buffer[2, ::2], buffer[3, 5:], buffer[3, 5], buffer[::-1, 1:], buffer.T,
                 buffer.reshape(-1)[3:17], buffer.unsqueeze(0), buffer[:0]):  # fmt: skip
        apart = part.numpy().copy()
        actual, first = step(chainrule.from_numpy(apart)), buffer[0, 0].item() / 2
        np.testing.assert_allclose(actual.numpy(), apart + first, rtol=1e-5)
        if part.numel():
            refused(step, part, unchanged=[buffer])
        else:
            assert step(part).shape == part.shape


def test_memory_between_is_not_shared(either):
    """Rows of one array that take turns, columns side by side: near each other, and apart."""
    base = random_array(6, 4)
    buffer = chainrule.from_numpy(base[::2])

    @jit
    def step(x):
        buffer.add_(x)
        return x * 3

    for argument in (base[1], base[3], base[1::2], base[1, :1]):
        x, before = argument.copy(), base[::2].copy()
        np.testing.assert_allclose(step(chainrule.from_numpy(argument)).numpy(), x * 3, rtol=1e-6)
        np.testing.assert_allclose(base[::2], before + x, rtol=1e-6)
    refused(step, base[2], unchanged=[buffer])


def test_only_what_is_changed_counts(either):
    weight, bias = chainrule.from_numpy(random_array(3, 3)), chainrule.from_numpy(random_array(3))

    @jit
    def step(x, y):
        bias.add_(1)
        return x @ weight + y, x.shape[0]

    for _ in range(3):
        refused(step, weight, bias, unchanged=[weight, bias])
        expected = weight.numpy() @ weight.numpy() + 5
        np.testing.assert_allclose(step(weight, chainrule.ones(3) * 5)[0].numpy(), expected, rtol=1e-5)
        both = chainrule.from_numpy(random_array(3, 3, seed=2))
        np.testing.assert_allclose(step(both, both[0])[0].numpy(), both.numpy() @ weight.numpy() + both.numpy()[0], rtol=1e-5)  # fmt: skip


def test_memory_that_an_optimizer_changes(either):
    net = nn.Linear(3, 3).float()
    optimizer = optim.Adam(net.parameters(), 0.1)

    @jit
    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = chainrule.from_numpy(random_array(3, 3))
    step(x)
    step(x)
    moments = chainrule.from_numpy(optimizer.state[0]["exp_avg"])
    for shared in (net.weight.detach(), net.weight.detach().T, moments):
        refused(step, shared, unchanged=[net.weight, net.bias, moments])
    assert optimizer.state[0]["step"] == 2
    step(net.weight.detach().clone())
    assert optimizer.state[0]["step"] == 3


def test_with_calls_of_python_in_the_program(either):
    buffer = chainrule.from_numpy(random_array(6))

    @jit
    def step(x):
        order = x.argmax()
        buffer.add_(1)
        return x.cumsum(0), order

    x = chainrule.from_numpy(random_array(6, seed=1))
    np.testing.assert_allclose(step(x)[0].numpy(), x.numpy().cumsum(), rtol=1e-5)
    refused(step, buffer, unchanged=[buffer])


def test_in_nests_and_by_name(either):
    state = chainrule.from_numpy(random_array(4))

    @jit
    def step(batch, *, scale):
        new = batch["x"][0] * scale
        state.copy_(new)
        return state + batch["x"][1]

    x, y, scale = (chainrule.from_numpy(random_array(4, seed=i)) for i in range(1, 4))
    np.testing.assert_allclose(
        step({"x": [x, y]}, scale=scale).numpy(), x.numpy() * scale.numpy() + y.numpy(), rtol=1e-6
    )
    for arguments, named in (([state, y], scale), ([x, state], scale), ([x, y], state)):
        with pytest.raises(CaptureError, match=SHARED):
            step({"x": arguments}, scale=named)


def test_memory_of_a_freed_argument_is_not_taken_for_it(interpreted):
    buffer = chainrule.zeros(1000)

    @jit
    def step(x):
        buffer.add_(x)
        return buffer.sum()

    for call in range(1, 20):
        assert step(np.full(1000, call, "f4")).item() == sum(range(call + 1)) * 1000
        gc.collect(0)


def test_unaligned_arguments_beside_memory_that_changes(either):
    raw = np.zeros(64, "u1")
    buffer = chainrule.from_numpy(raw[:16].view("f4"))

    @jit
    def step(x):
        buffer.add_(x)
        return x * 2

    for start in (17, 21, 33):  # aligned to nothing
        raw[start : start + 16] = np.arange(4, dtype="f4").view("u1")
        assert step(chainrule.from_numpy(raw[start : start + 16].view("f4"))).tolist() == [0, 2, 4, 6]
    assert buffer.tolist() == [0, 3, 6, 9]
    refused(step, chainrule.from_numpy(raw[15:31].view("f4")), unchanged=[buffer])


# Arguments that are learned


def test_a_parameter_as_an_argument(either):
    net = nn.Linear(3, 2)
    compiled = jit(lambda w, x: x @ w.T)
    with chainrule.no_grad():
        for call in range(4):
            net.weight.copy_(chainrule.from_numpy(random_array(2, 3, seed=call)))
            x = random_array(5, 3, seed=call + 9)
            expected = x @ net.weight.numpy().T
            np.testing.assert_allclose(compiled(net.weight, chainrule.from_numpy(x)).numpy(), expected, rtol=1e-5)
            np.testing.assert_allclose(compiled(w=net.weight, x=x).numpy(), expected, rtol=1e-5)
        other = nn.Parameter(chainrule.ones(2, 3))
        np.testing.assert_allclose(compiled(other, chainrule.ones(1, 3)).tolist(), [[3, 3]])
    with pytest.raises(
        CaptureError, match=r"argument of shape \(2, 3\) requires gradients: pass a detached tensor \(detach\(\)\)"
    ):
        compiled(net.weight, chainrule.ones(1, 3))
    with pytest.raises(
        CaptureError, match=r"argument of shape \(2, 3\) requires gradients: pass a detached tensor \(detach\(\)\)"
    ):
        compiled([net.weight], chainrule.ones(1, 3))
    frozen = nn.Parameter(chainrule.ones(2, 3), requires_grad=False)
    assert compiled(frozen, chainrule.ones(1, 3)).tolist() == [[3, 3]]


def test_modules_take_parameters_as_arguments(interpreted):
    class Tied(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(3, 3, bias=False)

        def forward(self, weight, x):
            return self.inner(x) @ weight.T

    net = Tied()
    compiled = jit(net)
    with chainrule.no_grad():
        x = chainrule.from_numpy(random_array(2, 3))
        w = net.inner.weight.numpy()
        np.testing.assert_allclose(compiled(net.inner.weight, x).numpy(), x.numpy() @ w.T @ w.T, rtol=1e-5)


def test_gradients_of_arguments_inside_no_grad(interpreted):
    """Asked for by name they are results like others; what would be hung on the caller's Tensor is refused."""
    w, other = chainrule.ones(3, requires_grad=True), chainrule.ones(3, requires_grad=True)

    def by_name(x):
        with chainrule.enable_grad():
            (actual,) = grad((x * x * other.detach()).sum(), [x])
        return actual, x.requires_grad

    def by_backward(x):
        other.grad = None
        with chainrule.enable_grad():
            ((x + other) * 2).sum().backward()

    def reads(x):
        return x * 2 if x.grad is None else x.grad * 2

    def forgets(x):
        x.grad = None
        return x * 1

    def hooks(x):
        x.register_hook(lambda grad: grad * 2)
        return x * 1

    def begins(x):
        x.requires_grad_()
        return x * 1

    def replaces(x):
        with chainrule.enable_grad():
            x += other * 2
        return x * 1

    with chainrule.no_grad():
        actual, requires_grad = jit(by_name)(w)
        assert (actual.tolist(), requires_grad) == ([2, 2, 2], True)
        for function in (by_backward, reads, forgets, hooks):
            with pytest.raises(CaptureError, match="gradient of an argument of shape"):
                jit(function)(w)
            assert w.grad is None
        assert jit(forgets)(w.detach()).tolist() == [1, 1, 1]
        plain = chainrule.ones(3)
        for function in (begins, replaces):
            with pytest.raises(CaptureError, match="argument"):
                jit(function)(plain)
            assert not plain.requires_grad
            assert plain.tolist() == [1, 1, 1]
