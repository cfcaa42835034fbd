"""What cannot be compiled raises an error that names the line and the reason, and nothing has changed."""

from __future__ import annotations

import contextlib
import copy
import inspect

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.errors import CaptureError
from chainrule.nn import functional as F  # noqa: N812
from chainrule.optim import lr_scheduler

pytestmark = pytest.mark.usefixtures("interpreted")

held = []
outside = chainrule.ones(3)
mask = chainrule.tensor([True, False, True])


def branch(loss, net, x):
    if loss > 3:  # HERE
        pass


def loop(loss, net, x):
    for _ in range(int(x.sum())):  # HERE
        pass


def swallowed(loss, net, x):
    with contextlib.suppress(Exception):
        loss.item()  # HERE


def shows(expression):
    """A function whose marked line is an expression in loss, net and x."""
    space = {"chainrule": chainrule, "np": np, "held": held, "outside": outside, "mask": mask, "copy": copy, "nn": nn}
    code = compile(f"def f(loss, net, x):\n    return {expression}", __file__, "exec")
    exec(code, space)  # noqa: S102  # the table's own lines
    return space["f"]


EXPRESSIONS = [
    "loss.item()", "float(loss)", "int(loss)", "bool(loss)", "print(loss)", "f'{loss}'", "f'{loss:.3f}'", "str(loss)",
    "repr(loss)", "np.asarray(loss)", "loss.numpy()", "loss.tolist()", "loss.data", "3 in x", "x[x > 0]", "x[mask[:2]]",
    "net[0].weight.tolist()", "np.asarray(net[0].weight)", "outside.sum().item()", "outside.tolist()", "bool(outside[0])",
    "print(net[0].weight)", "float(outside[1])", "outside.numpy()", "net[0].weight.data", "copy.deepcopy(net)",
    "chainrule.tensor(loss)", "loss.long().__index__()", "x.argmax().item()", "nn.functional.one_hot(x.long())",
    "sorted(x.sum(1))", "max(loss, 3)", "x.mul_(2)", "net[0].weight.requires_grad_(False)",
    "setattr(net[0].weight, 'data', outside)", "outside.numpy() * 2",
]  # fmt: skip


def setting():
    random = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Linear(3, 4, generator=random),
        nn.BatchNorm1d(4),
        nn.Dropout(0.5, generator=random),
        nn.Linear(4, 2, generator=random),
    )
    return net, optim.Adam(net.parameters(), 0.1), random


def whole(net, optimizer, random):
    return copy.deepcopy((
        {k: v.numpy() for k, v in net.state_dict().items()}, optimizer.state_dict(), optimizer.state,
        random.bit_generator.state, [p.grad for p in net.parameters()], [p.requires_grad for p in net.parameters()],
    ))  # fmt: skip


def unchanged(before, after):
    np.testing.assert_equal(before[:4], after[:4])
    for one, other in zip(before[4], after[4], strict=True):
        assert (one is None and other is None) or np.array_equal(one.numpy(), other.numpy())
    assert before[5] == after[5]


def refused(question, error=CaptureError, steps=0):
    """The message about a step with the question in its midst."""
    net, optimizer, random = setting()
    asked = [False]

    def step(x):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), chainrule.tensor([0, 1]))
        loss.backward()
        optimizer.step()
        if asked[0]:
            question(loss, net, x)
        return loss

    x = chainrule.ones(2, 3) / 3 + chainrule.arange(3)
    for _ in range(steps):
        step(x)
    if not steps:
        net(x).sum().backward()
    asked[0] = True
    before = whole(net, optimizer, random)
    with pytest.raises(error) as caught:
        jit(step)(x)
    unchanged(before, whole(net, optimizer, random))
    return str(caught.value)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("steps", [0, 1])
def test_questions_about_values(expression, steps):
    message = refused(shows(expression), steps=steps)
    assert message.startswith("jit: ")
    assert f"({__file__}:2)" in message


@pytest.mark.parametrize("question", [branch, loop, swallowed])
def test_the_line_is_named(question):
    source, first = inspect.getsourcelines(question)
    line = first + next(i for i, text in enumerate(source) if "HERE" in text)
    assert f"({__file__}:{line})" in refused(question)


def test_messages_tell_the_reason():
    assert "depends on values, which change from call to call" in refused(branch)
    assert "mask" in refused(shows("x[x > 0]"))
    assert "argument" in refused(shows("x.mul_(2)"))


def test_the_users_own_error_passes():
    class OwnError(Exception):
        pass

    def fail(loss, net, x):
        raise OwnError("mine")

    assert refused(fail, OwnError) == "mine"
    assert refused(fail, OwnError, steps=2) == "mine"
    assert "linear" in refused(shows("net(x.T)"), ValueError)
    net, optimizer, random = setting()
    before = whole(net, optimizer, random)

    @jit
    def step(x):
        net(x).sum().backward()
        optimizer.step()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step(chainrule.ones(2, 3))
    unchanged(before, whole(net, optimizer, random))


SCHEDULES = {
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 1),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=8),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.StepLR(optimizer, 1), lr_scheduler.ExponentialLR(optimizer, 0.5)], [1]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("what", ["the step of", "loading the state of", "making"])
def test_a_schedules_step_belongs_outside(name, what):
    """Nothing has been changed when it is refused: not the rates, and not the schedule's own count either."""
    net, optimizer, _ = setting()
    schedule = SCHEDULES[name](optimizer)
    measures = (0.5,) if name == "ReduceLROnPlateau" else ()
    for _ in range(2):
        schedule.step(*measures)
    saved = schedule.state_dict()
    schedule.step(*measures)
    change = {
        "the step of": lambda: schedule.step(*measures),
        "loading the state of": lambda: schedule.load_state_dict(saved),
        "making": lambda: SCHEDULES[name](optimizer),
    }[what]

    @jit
    def step(x):
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()
        change()

    before = copy.deepcopy((schedule.state_dict(), optimizer.state_dict(), optimizer.state))
    pattern = rf"{what} a .*LR.* inside a compiled function would happen only once.*test_refusals.py:\d+"
    with pytest.raises(CaptureError, match=pattern):
        step(chainrule.ones(2, 3))
    assert (schedule.state_dict(), optimizer.state_dict(), optimizer.state) == before


def test_tensors_that_got_out_say_so():
    leaked = []

    @jit
    def step(x):
        y = x * 2
        leaked.append(y)
        return y.sum()

    assert step(chainrule.ones(3)).item() == 6
    (lost,) = leaked
    for use in (
        lambda: lost + 1, lambda: 1 * lost, lambda: lost.sum(), lambda: lost[0], lambda: repr(lost),
        lambda: lost.numpy(), lambda: lost.clone(), lambda: lost @ lost, lambda: step(lost), lambda: lost.add_(1),
        lambda: jit(lambda x: x + lost)(chainrule.ones(3)), lambda: chainrule.tensor(lost),
    ):  # fmt: skip
        with pytest.raises(CaptureError, match="no values outside"):
            use()
    assert lost.shape == (3,)


def test_histories_do_not_pass_the_border():
    w = chainrule.ones(3, requires_grad=True)
    result = w * 2
    with pytest.raises(CaptureError, match="graph from outside"):
        jit(lambda x: (result * x).sum())(chainrule.ones(3))
    assert jit(lambda x: (result.detach() * x).sum())(chainrule.ones(3)).item() == 6
    with pytest.raises(CaptureError, match=rf"argument of shape \(3,\) requires gradients.*\({__file__}:\d+\)"):
        jit(lambda x: x * 2)(w)
    with chainrule.no_grad():
        assert jit(lambda x: x * 2)(result).tolist() == [4, 4, 4]


def test_a_total_outside_would_keep_its_history():
    w, total = chainrule.ones(3, requires_grad=True), chainrule.zeros()

    def step(x):
        nonlocal total
        loss = (w * x).sum()
        total += loss
        return loss

    with pytest.raises(CaptureError, match="recording an in-place change of an existing tensor"):
        jit(step)(chainrule.ones(3))
    assert total.item() == 0
    assert not total.requires_grad


def test_requiring_gradients_of_an_existing_tensor():
    weight = chainrule.ones(3)

    def step(x):
        weight.requires_grad_()
        return (weight * x).sum()

    message = r"jit: requires_grad_\(\) of an existing tensor inside a compiled function would happen only once"
    with pytest.raises(CaptureError, match=message):
        jit(step)(chainrule.ones(3))
    assert not weight.requires_grad


def test_memory_that_two_tensors_share():
    base = chainrule.zeros(2, 3)
    row = base[0]

    def change(x):
        row.add_(x)
        return base.sum()

    with pytest.raises(CaptureError, match="two tensors share"):
        jit(change)(chainrule.ones(3))
    assert base.sum().item() == 0

    def columns(x):
        left.add_(x)
        right.mul_(left)

    left, right = (chainrule.from_numpy(base.numpy()[:, i : i + 1]) for i in (0, 2))  # apart, though not in bounds
    right.fill_(3)
    jit(columns)(chainrule.ones(2, 1) * 2)
    assert base.tolist() == [[2, 0, 6], [2, 0, 6]]


def test_arguments_that_cannot_be_told_apart():
    with pytest.raises(CaptureError, match=rf"type set is not hashable.* a tuple.*\({__file__}:\d+\)"):
        jit(lambda x, options: x)(chainrule.ones(1), {1, 2})


def test_arrays_are_not_returned():
    with pytest.raises(CaptureError, match=rf"<lambda>: an array is returned.*\({__file__}:\d+\)"):
        jit(lambda x: np.ones(3))(chainrule.ones(1))


def test_refusals_do_not_spoil_what_comes_after():
    asked = [True]

    @jit
    def step(x):
        if asked[0]:
            x.item()
        return x + 1

    with pytest.raises(CaptureError, match="a Tensor's number .* depends on values"):
        step(chainrule.ones(1))
    asked[0] = False
    assert step(chainrule.ones(1)).item() == 2
    assert outside.tolist() == [1, 1, 1]


def test_a_refused_call_leaves_no_view_behind():
    total, index, weight = chainrule.zeros(3), chainrule.tensor(1), chainrule.tensor(2.0, requires_grad=True)

    def add():
        total[index].add_(weight)

    with pytest.raises(CaptureError, match="in-place change") as refusal:
        jit(add)()
    add()  # while the exception, with the tensors of the trace, still exists
    assert refusal.value.__traceback__ is not None
    assert total.tolist() == [0, 2, 0]


def test_what_is_no_function():
    for nothing in (3, None, "step"):
        with pytest.raises(TypeError, match=f"jit: takes a function, not {type(nothing).__name__}"):
            jit(nothing)
