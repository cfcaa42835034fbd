"""Guards: their texts, their cost, and the warning about a function that is compiled too often."""

from __future__ import annotations

import itertools
import queue
import threading
import time
import types
import warnings

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.capture.guards import Guards, Names
from chainrule.errors import CaptureError
from chainrule.kernels.calling import stage_kernel
from chainrule.nn import functional as F  # noqa: N812
from chainrule.nn.module import Module

from ..threads import call_in_two_threads
from . import interpreter

pytestmark = pytest.mark.usefixtures("interpreted")


def specializations(compiled):
    return [specialization for group in compiled.specializations.values() for specialization in group]


def build_network():
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_they_can_be_read():
    net, settings = build_network(), {"rate": 0.5}
    optimizer = optim.SGD(net.parameters(), 0.1)

    @jit
    def step(x):
        optimizer.zero_grad()
        loss = net(x).sum() * settings["rate"]
        loss.backward()
        optimizer.step()
        return loss

    assert step.explain(guards=True) == "nothing is compiled before the first call"
    step(chainrule.ones(2, 3))
    lines = step.explain(guards=True).splitlines()
    for line in (
        "net.0.weight is <Parameter (4, 3)>", "net.1.p is 0.5", "net.1.training is True", "optimizer is <SGD>",
        "net.1.forward is that of its class", "Dropout.forward is Dropout.forward", "settings has the same contents",
        "net has the same parameters, buffers and submodules",
        "bool(optimizer.param_groups[0]['momentum']) is False", "optimizer.param_groups[0]['params'][0] requires gradients",
    ):  # fmt: skip
        assert line in lines
    assert len(lines) == len(set(lines))
    for epoch in range(3):
        optimizer.param_groups[0]["lr"] = epoch / 10  # a number that every call reads anew is no guard
        step(chainrule.ones(2, 3))
    assert len(specializations(step)) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda net, settings: setattr(net[1], "p", 0.25), "net.1.p is 0.25, not 0.5"),
        (lambda net, settings: net.eval(), "net.1.training is False, not True"),
        (lambda net, settings: setattr(net, "2", nn.Linear(4, 2)), "net has changed"),
        (lambda net, settings: setattr(net[0], "weight", nn.Parameter(np.ones((4, 3), "f4"))), "net.0.weight is a different <Parameter (4, 3)>"),
        (lambda net, settings: setattr(net[0], "bias", None), "net.0.bias is None, not <Parameter (4,)>"),
        (lambda net, settings: delattr(net[0], "bias"), "net.0.bias is gone"),
        (lambda net, settings: settings.update(rate=1), "settings has changed"),
        (lambda net, settings: net[0].weight.requires_grad_(False), "net.0.weight has changed"),
    ],
)  # fmt: skip
def test_they_say_what_has_changed(change, reason):
    net, settings = build_network(), {"rate": 0.5}

    @jit
    def step(x):
        return net(x).sum() * settings["rate"]

    with chainrule.no_grad():
        step(chainrule.ones(2, 3))
        (one,) = specializations(step)
        assert one.guards.hold()
        assert one.guards.first_failure() is None
        change(net, settings)
        assert not one.guards.hold()
        assert one.guards.first_failure() == reason


def test_they_hold_right_after_the_trace():
    """A guard that says no to the state that it was made in would make a program of no use."""
    net, count = build_network(), itertools.count()

    @jit
    def step(x):
        net.zero_grad()
        loss = F.mse_loss(net(x), x[:, :2] * 0)
        loss.backward()
        return loss

    for _ in range(5):
        step(chainrule.ones(2, 3) * next(count))
    (one,) = specializations(step)
    assert one.guards.hold()


def test_a_condition_that_fails_to_be_computed_does_not_hold():
    names, thing = Names(), types.SimpleNamespace(a=1)
    guards = Guards(names)
    guards.add_value(f"{names[thing]}.a", "thing.a", 1)
    guards.compile()
    assert guards.hold()
    thing.a = 1.0
    assert not guards.hold()
    del thing.a
    assert not guards.hold()
    assert guards.first_failure() == "thing.a is gone"


def test_classes_are_as_before_when_a_trace_has_ended():
    class Config:
        rate = 0.5

    class Own(nn.Module):
        def forward(self, x):
            if fail:
                raise ValueError("mine")
            return x * Config().rate

    before = [dict(vars(kind)) for kind in (Module, optim.Optimizer, Own, Config)]
    fail, net = True, Own()
    step = jit(lambda x: net(x))
    with pytest.raises(ValueError, match="mine"):
        step(chainrule.ones(2))
    fail = False
    assert step(chainrule.ones(2)).tolist() == [0.5, 0.5]
    assert [dict(vars(kind)) for kind in (Module, optim.Optimizer, Own, Config)] == before
    assert "__getattribute__" not in vars(Module)


def test_other_threads_go_on_meanwhile():
    """What another thread reads and assigns while this one traces is neither observed nor refused."""
    net, other, wrong = build_network(), build_network(), []
    begun, done = queue.SimpleQueue(), queue.SimpleQueue()

    def work():
        begun.get(timeout=30)
        other.note, other[1].p = 1, 0.0
        wrong.extend(i for i in range(50) if other(chainrule.ones(1, 3)).shape != (1, 2))
        del other.note
        done.put(True)

    thread = threading.Thread(target=work)
    thread.start()

    @jit
    def step(x):
        begun.put(True)
        assert done.get(timeout=30)
        return net(x).sum()

    with chainrule.no_grad():
        step(chainrule.ones(2, 3))
        thread.join()
        other[1].p = 0.75
        assert not wrong
        (one,) = specializations(step)
        assert one.guards.first_failure() is None


def test_another_thread_runs_a_program_that_draws_meanwhile():
    net, other = build_network(), build_network()
    run = jit(lambda x: other(x).sum())
    x = chainrule.ones(1, 3)
    run(x)

    @jit
    def step(x):
        thread = threading.Thread(target=run, args=(x_outside,))
        thread.start()
        thread.join(30)
        return net(x).sum()

    x_outside = chainrule.ones(1, 3)
    assert step(x).shape == step(x).shape == ()


def test_two_threads_trace_at_once():
    nets = [build_network() for _ in range(2)]
    steps = [jit(lambda x, net=net: net(x).sum()) for net in nets]
    barrier, results = threading.Barrier(2), {}

    def work(number):
        with chainrule.no_grad():
            for p in (0.0, 1.0, 0.0, 1.0):
                nets[number][1].p = p
                barrier.wait(30)
                value = steps[number](chainrule.ones(2, 3)).item()
                results.setdefault((number, p), set()).add(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [(0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)]
    assert all(len(values) == 1 for values in results.values())
    assert "__getattribute__" not in vars(Module)


def test_a_callback_of_the_interpreter_lives_on_when_another_thread_builds_the_same_one(monkeypatch):
    monkeypatch.setattr(interpreter, "_callbacks", {})

    def build_callback(in_the_middle):
        def build():
            in_the_middle()
            return stage_kernel("empty")

        return interpreter.address_of("loops that two threads build", build)

    first, second = call_in_two_threads(build_callback)
    assert first == second


# Compiled too often


def warned(call, times=12):
    """The warnings of some calls, and how often there was one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(times):
            call(number)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 1
    assert "compiled too often" in messages[0]
    assert caught[0].category is RuntimeWarning
    assert caught[0].filename == __file__
    return messages[0]


def test_a_number_that_changes_in_each_call():
    step = jit(lambda x, rate: x * rate)
    assert "its arguments are new: <Tensor (2,)>, 0." in warned(lambda n: step(chainrule.ones(2), n / 16))


def test_a_new_function_in_each_call():
    step = jit(lambda x, function: function(x))
    assert "<lambda>" in warned(lambda n: step(chainrule.ones(2), lambda x: x * 2))


def test_an_attribute_that_changes_in_each_call():
    net = build_network()
    step = jit(lambda x: net(x))
    with chainrule.no_grad():

        def call(number):
            net[1].p = number / 16
            step(chainrule.ones(2, 3))

        assert "because net.1.p is 0.5, not 0.4375" in warned(call)


def test_a_tensor_that_is_bound_anew_in_each_call():
    total = chainrule.zeros(2)

    @jit
    def step(x):
        nonlocal total
        total = total + x
        return total * 2

    assert "because total is a different <Tensor (2,)>" in warned(lambda n: step(chainrule.ones(2)))
    assert total.tolist() == [12, 12]


def test_a_list_that_grows_in_each_call():
    history = []

    @jit
    def step(x):
        history.append(len(history))
        return x * 2

    assert "because it changes history, a list" in warned(lambda n: step(chainrule.ones(2)))
    assert history == [*range(12)]


def test_an_optimizer_that_is_made_in_each_call():
    net = build_network()

    @jit
    def step(x):
        optimizer = optim.Adam(net.parameters())
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()

    assert "new state" in warned(lambda n: step(chainrule.ones(2, 3)))


def test_more_states_than_programs_are_kept():
    net = build_network()
    step = jit(lambda x: net(x))
    with chainrule.no_grad():

        def call(number):
            net[1].p = number % 5 / 8
            step(chainrule.ones(2, 3))

        assert "net.1.p" in warned(call, 20)


def test_now_and_then_is_no_reason_to_warn():
    """Nine shapes of arguments, each used often; a rate that changes after each epoch."""
    settings = {"rate": 1.0}
    step = jit(lambda x: x * settings["rate"])
    for epoch in range(30):
        settings["rate"] = epoch
        for _ in range(8):
            assert step(chainrule.ones(1 + epoch % 9)).tolist() == [epoch] * (1 + epoch % 9)


def test_an_array_of_numpy_needs_one_program():
    array = np.array([1.0, 2.0])
    step = jit(lambda x: x + chainrule.from_numpy(array) * 2)
    for number in range(5):
        array[0] = number
        assert step(chainrule.ones(2).double()).tolist() == [1 + 2 * number, 5]
    assert len(specializations(step)) == 1


def test_an_array_of_numpy_is_changed_in_place_through_its_tensor():
    array, source = np.zeros(3), np.ones(3)

    @jit
    def step(x):
        shared, copied = chainrule.from_numpy(array), chainrule.tensor(source)
        shared += x
        copied += x
        return (
            shared * 1,
            copied,
            chainrule.as_tensor(source, dtype=np.float32) + chainrule.from_numpy(source[:2]).sum(),
        )

    for number in range(4):
        source[:] = number
        shared, copied, cast = step(chainrule.ones(3).double())
        assert shared.tolist() == array.tolist() == [number + 1] * 3
        assert copied.tolist() == [number + 1] * 3
        assert cast.tolist() == [number * 3] * 3
        assert source.tolist() == [number] * 3
    assert len(specializations(step)) == 1


def test_arrays_made_inside_begin_anew():
    @jit
    def step(x):
        a, b = chainrule.from_numpy(np.zeros(2)), chainrule.from_numpy(np.ones((2, 2)).T)
        a += x
        b += a
        return a, b

    for number in range(3):
        a, b = step(chainrule.ones(2).double() * number)
        assert a.tolist() == [number] * 2
        assert b.tolist() == [[number + 1] * 2] * 2
    assert len(specializations(step)) == 1


def test_an_array_is_replaced():
    held = {"array": np.ones(2)}
    step = jit(lambda x: x * chainrule.from_numpy(held["array"]) + held["array"])
    for number in range(4):
        held["array"] = np.full(2, float(number))
        assert step(chainrule.ones(2).double()).tolist() == [2 * number] * 2


# What it costs


def test_checks_take_microseconds():
    """Generous, for machines with other work: 40 conditions of a small network in less than 100 µs."""
    net = build_network()
    step = jit(lambda x: net(x))
    with chainrule.no_grad():
        step(chainrule.ones(2, 3))
        (one,) = specializations(step)
        assert 20 <= len([*one.guards]) <= 60
        times = []
        for _ in range(50):
            begun = time.perf_counter()
            one.guards.hold()
            times.append(time.perf_counter() - begun)
        assert sorted(times)[5] < 1e-4


def test_a_trace_that_is_refused_leaves_all_as_it_was():
    net, history, count = build_network(), [1.0], 3
    held = types.SimpleNamespace(flag=False)

    @jit
    def step(x):
        nonlocal count
        count += 1
        net[1].p = 0.25
        net.eval()
        history.append(2.0)
        held.flag = held.new = True
        return net(x).sum().item()

    with pytest.raises(CaptureError, match=r"a Tensor's number .* depends on values"):
        step(chainrule.ones(2, 3))
    assert (net[1].p, net.training, net[0].training, history, count, vars(held)) == (
        0.5,
        True,
        True,
        [1.0],
        3,
        {"flag": False},
    )
    assert "training" not in vars(net[0])


def test_a_large_array_is_compared_only_if_numpy_may_compute_with_it():
    images = np.zeros((9, 1 << 19), np.float32)  # 18 MiB

    class Data(nn.Module):
        def __init__(self):
            super().__init__()
            self.images, self.scale = images, chainrule.ones(2)

        def forward(self, x):
            return x * self.scale

    data, x = Data(), chainrule.ones(2)
    for function in (
        lambda x: data(x) * len(list(data.parameters())),  # held by what it reads
        lambda x: x * images.shape[0],
        lambda x: x * chainrule.from_numpy(images)[0, 0],
    ):
        step = jit(function)
        for _ in range(3):
            np.testing.assert_array_equal(step(x), function(x))
        assert len(specializations(step)) == 1
    images[0, 0] = 3
    np.testing.assert_array_equal(step(x), [3, 3])  # the last one reads it anew
    assert len(specializations(step)) == 1

    step = jit(lambda x: x * float((images[0] * 2)[0]))

    def many_steps():
        for number in range(12):
            images[0, 0] = number
            np.testing.assert_array_equal(step(x), [2 * number, 2 * number])

    with pytest.warns(RuntimeWarning, match=r"in NumPy with more than 16 MiB .* from_numpy\(\), beginning with images"):
        many_steps()
    assert not specializations(step)


def test_arrays_that_are_too_large_in_total_are_not_compared():
    images, means, masks = (np.zeros(n << 18, np.float32) for n in (9, 3, 6))  # 9, 3 and 6 MiB
    x = chainrule.ones(2)
    step = jit(lambda x: x * float(images[0] + means[0] + masks[0]))

    def many_steps():
        for number in range(12):
            images[0], masks[0] = number, 2 * number
            np.testing.assert_array_equal(step(x), [3 * number, 3 * number])

    with pytest.warns(RuntimeWarning, match=r"in NumPy with more than 16 MiB .* from_numpy\(\), beginning with images"):
        many_steps()
    assert not specializations(step)

    images = images[: 7 << 18].copy()  # with the others, exactly 16 MiB
    step = jit(lambda x: x * float(images[0] + means[0] + masks[0]))
    for _ in range(3):
        step(x)
    assert len(specializations(step)) == 1
