"""An optimizer's options and state in compiled steps: which computations work, and which are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule
from chainrule import optim
from chainrule.capture import jit
from chainrule.errors import CaptureError

pytestmark = pytest.mark.usefixtures("interpreted")

OPTIONS = {"lr": 0.1, "k": 3, "flag": True, "name": "a", "betas": (0.5, 0.25), "levels": [0.5, 2.0], "none": None}


def optimizer_of(body):
    """An optimizer whose `update` is a text."""
    source = "def update(self, value, gradient, state, group):\n    " + body.replace("\n", "\n    ")
    space = {"np": np, "math": math}
    exec(compile(source, __file__, "exec"), space)  # noqa: S102  # the table's own lines

    class Own(optim.Optimizer):
        def start(self, value, group):
            return {"step": 0, "m": np.zeros_like(value), "total": 0.0}

    Own.update = space["update"]
    return Own


STEP = "state['step'] += 1\n"
DOWN = "value -= group['lr'] * gradient"

# What an update says, and how many programs its decisions need at most
WORKS = [
    (STEP + "value -= group['lr'] * (state['step'] // 2 + 7 // state['step']) * gradient", 1),
    (STEP + f"if state['step'] % 2 == 0:\n    {DOWN}", 2),
    (STEP + "value -= (state['step'] % 5 + 5 % state['step']) * gradient / 8", 1),
    (STEP + "q, r = divmod(state['step'], group['k'])\nvalue -= (q + 2 * r) / 9 * gradient", 1),
    (STEP + "q, r = divmod(7, state['step'])\nvalue -= (q - 3 * r) / 9 * gradient", 1),
    (STEP + "value -= 2 ** -state['step'] * abs(-group['lr']) * +group['lr'] * gradient", 1),
    (STEP + "value -= round(group['lr'] * state['step'], 1) * gradient + round(group['lr'] * 17)", 1),
    (STEP + "value -= group['lr'] / np.sqrt(state['step']) * gradient", 1),
    (STEP + "value -= np.maximum(group['lr'], 1 / state['step']) * np.cos(np.pi * state['step'] / 9) * gradient", 1),
    (STEP + "value -= np.float64(0.5) * group['lr'] * np.float32(0.25) * gradient", 1),
    (STEP + "value -= min(1.0, state['step'] / 3) * max(0.2, group['lr'] * state['step']) * gradient", 5),
    (STEP + f"if 1 < state['step'] < 4:\n    {DOWN}", 3),
    (STEP + f"if state['step'] > 1 and not state['step'] == 3:\n    {DOWN}", 3),
    (STEP + f"if state['step'] in (1, 4):\n    {DOWN}", 3),
    (STEP + f"if state['step'] & 1 or (state['step'] << 1 | 4) ^ 4 == ~-9:\n    {DOWN}", 3),
    (STEP + "value -= (math.floor(state['step'] / 2) + math.ceil(state['step'] / 2)) / 8 * gradient", 1),
    (STEP + "value -= np.where(gradient > group['lr'], gradient, state['step'])", 1),
    (STEP + "value -= sum([group['lr'], state['step']]) / 9 * gradient", 1),
    ("value -= np.clip(gradient, -group['lr'], group['lr'])", 1),
    ("value -= group['levels'][1] * (group['betas'][0] - group['betas'][1]) / len(group['levels']) * gradient", 1),
    ("b1, b2 = group['betas']\nvalue -= (group['lr'] if group['name'] == 'a' else b1 / b2) * gradient", 1),
    ("assert isinstance(group['lr'], float) and not isinstance(group['k'], float)\n" + DOWN, 1),
    ("state['m'] = 0.9 * state['m'] + 0.1 * gradient\nvalue -= group['lr'] * state['m']", 1),
    ("old = state['m']\nstate['m'] = 0.9 * old + gradient\nvalue -= group['lr'] * (3 * old - state['m'])", 1),
    ("value -= group['lr'] * (gradient - state['m'])\nstate['m'] = gradient", 1),
    ("value -= group['lr'] * (gradient - state['m'])\nstate['m'] = gradient.copy()\nstate['m'] *= 2", 1),
    ("m = gradient * 2\nstate['m'] = m\nm += 1\nvalue -= group['lr'] * state['m']", 1),
    ("state['m'] = np.zeros_like(value)\nstate['m'] += gradient\nvalue -= group['lr'] * state['m']", 1),
    ("state['total'] = state['total'] + group['lr']\nvalue -= state['total'] * gradient", 1),
    ("value -= (state['total'] + 1) * group['lr'] * gradient\nstate['total'] = 2.5", 1),
    ("state.update(step=state['step'] + 1, total=state['total'] + 0.5)\nvalue -= state['total'] / 9 * gradient", 1),
    ("if 'm' in state and 'q' not in state and len(state) == 3:\n    " + DOWN, 1),
    ("value -= group['lr'] * state.get('gain', 2.0) * gradient", 1),
    ("m = state.setdefault('m', None)\nm *= 0.9\nm += gradient\nvalue -= group['lr'] * m", 1),
    ("m = state.setdefault('new', np.zeros_like(value))\nm *= 0.9\nm += gradient\nvalue -= group['lr'] * m", 1),
    ("if 'v' not in state:\n    state['v'] = 0 * value\nstate['v'] += gradient\nvalue -= group['lr'] * state['v']", 1),
    (STEP + "value -= sum(v for k, v in state.items() if k in ('step', 'total')) / 9 * gradient", 1),
    (STEP + "a, b, c = state.values()\nvalue -= group['lr'] * a * (gradient + b)", 1),
    ("state['step'] += len([k for k in state if k != 'm'])\nvalue -= state['step'] / 9 * gradient", 1),
    ("d = dict(state)\nstate['step'] += 1\nvalue -= {**group}['lr'] * (1 + d['step']) * gradient", 1),
    ("group['lr'] *= 0.9\nvalue -= group['lr'] * gradient", 1),
    ("group['flag'] = not group['flag']\nvalue -= (group['lr'] if group['flag'] else 0.5) * gradient", 2),
    ("group['lr'] = 0.3 if group['lr'] == 0.1 else 0.1\nvalue -= group['lr'] * gradient", 3),
]


@pytest.mark.parametrize(("body", "programs"), WORKS, ids=[body for body, _ in WORKS])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_numbers_are_computed_with(body, programs, kind):
    """Beside the same lines run by NumPy alone, with a gradient worked out by hand."""
    start = np.array([1, -2, 3], kind)
    w = chainrule.from_numpy(start.copy()).requires_grad_()
    optimizer = optimizer_of(body)([w], OPTIONS)
    value, state, group = start.copy(), optimizer.start(start, None), dict(OPTIONS)

    @jit
    def step(x):
        optimizer.zero_grad()
        loss = ((w * x) ** 2).sum() / 2
        loss.backward()
        optimizer.step()
        return loss

    for i in range(7):
        x = np.array([i / 10, 0.2, -0.3], kind)
        loss, expected = step(chainrule.from_numpy(x)).item(), ((value * x) ** 2).sum() / 2
        assert loss == pytest.approx(expected, rel=1e-5, abs=1e-12)
        optimizer.update(value, value * x * x, state, group)
        np.testing.assert_allclose(w.detach().numpy(), value, rtol=1e-5)
        assert [*optimizer.state[0]] == [*state]
        for key, expected in state.items():
            assert type(optimizer.state[0][key]) is type(expected)
            np.testing.assert_allclose(optimizer.state[0][key], expected, rtol=1e-5)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(group["lr"])
        if i == 3:
            optimizer.param_groups[0]["lr"] = group["lr"] = 0.05
    assert 1 <= sum(map(len, step.specializations.values())) <= programs


REFUSED = [
    ("value -= float(group['lr']) * gradient", "float()"),
    (STEP + "value -= int(state['step']) * gradient", "int()"),
    (STEP + "value -= group['lr'] / math.sqrt(state['step']) * gradient", "float()"),
    (STEP + f"for _ in range(state['step']):\n    {DOWN}", "range()"),
    (STEP + "value -= [0.1, 0.2, 0.3][state['step']] * gradient", "index"),
    (STEP + "value -= {1: 0.1}.get(state['step'], 0.3) * gradient", "key"),
    ("text = f\"{state['step']}\"\n" + DOWN, "text"),
    ("text = f\"{group['lr']:.3f}\"\n" + DOWN, "text"),
    ("text = str(group['lr'])\n" + DOWN, "text"),
    ("print(group)\n" + DOWN, "text"),
    ("value -= np.float32(group['lr']) * gradient", "array"),
    ("value -= np.clip(group['lr'], 0, 1) * gradient", "array"),
    ("value -= group['lr'].is_integer() * gradient", ".is_integer"),
    ("value -= np.modf(group['lr'])[0] * gradient", "np.modf"),
    ("try:\n    rate = float(group['lr'])\nexcept Exception:\n    rate = 5.0\nvalue -= rate * gradient", "float()"),
    ("state.pop('m')\n" + DOWN, "removing optimizer.state[0]['m']"),
    ("del state['m']\n" + DOWN, "removing optimizer.state[0]['m']"),
    ("state['m'] = np.zeros(3)\n" + DOWN, "is set to a NumPy array"),
    ("state['m'] = value\n" + DOWN, "is also used elsewhere"),
    ("state['m'] = gradient[:2]\n" + DOWN, "an array of shape (2,)"),
    ("state['m'] = (gradient > 0) * 1\n" + DOWN, "int64"),
    ("state['total'] = gradient\n" + DOWN, "state[0]['total'] (0.0) is set to an array"),
    ("group['lr'] = {}\n" + DOWN, "a dict"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED, ids=[body for body, _ in REFUSED])
def test_what_needs_the_number_itself_is_refused_with_its_line(body, reason):
    line = 3 if body.startswith((STEP, "try")) else 2
    w = chainrule.ones(3, requires_grad=True)
    optimizer = optimizer_of(body)([w], OPTIONS)

    @jit
    def step(x):
        optimizer.zero_grad()
        ((w * x) ** 2).sum().backward()
        optimizer.step()

    with pytest.raises(CaptureError) as caught:
        step(chainrule.ones(3))
    message = str(caught.value)
    assert reason in message
    assert message.startswith("jit: ")

    assert f"({__file__}:{line})" in message
    assert w.tolist() == [1, 1, 1]
    assert optimizer.state == {}
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_an_entry_that_comes_later_is_noticed():
    w = chainrule.ones(2, requires_grad=True)
    optimizer = optimizer_of("value -= state.get('gain', 1.0) * gradient")([w], OPTIONS)

    @jit
    def step():
        optimizer.zero_grad()
        (w * 1).sum().backward()
        optimizer.step()

    step()
    assert w.tolist() == [0, 0]
    optimizer.state[0]["gain"] = 3.0
    step()
    assert w.tolist() == [-3, -3]
    del optimizer.state[0]["gain"]
    step()
    assert w.tolist() == [-4, -4]


def test_a_list_of_options_gets_longer():
    w = chainrule.ones(2, requires_grad=True)
    optimizer = optimizer_of("value -= sum(group['levels']) * gradient")([w], OPTIONS)
    optimizer.param_groups[0]["levels"] = levels = [1.0]

    @jit
    def step():
        optimizer.zero_grad()
        (w * 1).sum().backward()
        optimizer.step()

    for change in (lambda: None, lambda: levels.append(2.0), lambda: levels.__setitem__(0, 5.0)):
        change()
        before = w.tolist()[0]
        step()
        assert w.tolist() == [before - sum(levels)] * 2


def test_whole_numbers_and_others_give_other_types():
    """Beside whole-number arrays it matters whether an option is an int or a float."""
    w = chainrule.from_numpy(np.ones(2)).requires_grad_()
    body = "value -= (np.where(gradient > 0, 7, 0) * group['k'] + 0.5) * gradient"
    optimizer = optimizer_of(body)([w], OPTIONS)

    @jit
    def step():
        optimizer.zero_grad()
        (w * 1).sum().backward()
        optimizer.step()

    for k in (3, 2.5, 3, 0.5):
        optimizer.param_groups[0]["k"] = k
        before = w.tolist()[0]
        step()
        assert w.tolist() == [before - (7 * k + 0.5)] * 2
