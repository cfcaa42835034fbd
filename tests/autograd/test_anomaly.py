"""detect_anomaly: a NaN in a derivative is an error that points at the line of the forward pass."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, nn, no_grad
from chainrule.autograd import detect_anomaly, set_detect_anomaly
from chainrule.ops import operation


def leaf(*values: float) -> Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


def suspect(x: Tensor) -> Tensor:
    return (x * 0).sqrt()  # its slope at 0 is infinite, and 0 · ∞ is NaN


LINE = "return (x * 0).sqrt()  # its slope at 0 is infinite, and 0 · ∞ is NaN"


def test_in_a_decorated_generator():
    @detect_anomaly()
    def losses():
        x = leaf(4.0, 9.0)
        yield x
        suspect(x).sum().backward()

    generator = losses()
    assert (next(generator) * 2).grad_fn is not None
    with pytest.raises(RuntimeError, match="gave NaN; it was recorded here"):
        next(generator)
    out = suspect(leaf(4.0)).sum()
    out.backward()  # without anomaly detection


def test_names_the_operation_and_points_at_the_line():
    x = leaf(4.0, 9.0)
    with detect_anomaly():
        out = suspect(x).sum()
        with pytest.raises(RuntimeError) as caught:
            out.backward()
    message = str(caught.value)
    assert message.startswith(
        "backward: the derivative of mul (its result has shape (2,)) gave NaN; it was recorded here:\n  File "
    )
    lines = message.split("\n")
    assert len(lines) <= 1 + 2 * 5
    assert lines[-1].strip() == LINE
    assert lines[-2].strip().startswith(f'File "{__file__}", line ')
    assert lines[-2].endswith(", in suspect")
    assert lines[-3].strip() == "out = suspect(x).sum()"
    assert x.grad is None


def test_skips_the_librarys_own_frames():
    network = nn.Sequential(nn.Sequential(nn.Linear(1, 1), nn.ReLU()))
    with detect_anomaly():
        frames = network(chainrule.ones(1, 1)).grad_fn.recorded_at
    assert [frame.name for frame in frames][-1] == "test_skips_the_librarys_own_frames"
    house = str(Path(chainrule.__file__).parent)
    assert not [frame for frame in frames if frame.filename.startswith(house)]


def test_off_it_gives_nan_and_remembers_nothing():
    x = leaf(4.0)
    out = suspect(x)
    assert not hasattr(out.grad_fn, "recorded_at")
    out.backward()
    assert np.isnan(x.grad.item())


def test_without_a_place_it_names_the_operation_alone():
    """What was recorded before has no frames to report."""
    out = suspect(leaf(4.0))
    with detect_anomaly(), pytest.raises(RuntimeError, match=r"derivative of mul .* gave NaN$"):
        out.backward()


def test_nan_may_be_allowed():
    x = leaf(4.0)
    with detect_anomaly(check_nan=False):
        suspect(x).backward()
    assert np.isnan(x.grad.item())


def test_infinity_is_no_anomaly_and_nan_forward_is_none_by_itself():
    x = leaf(0.0)
    with detect_anomaly():
        x.sqrt().backward()
        assert np.isinf(x.grad.item())
        (leaf(-1.0).sqrt().detach() * 1 + x).backward()


def test_other_errors_point_at_the_line_too():
    with detect_anomaly():
        x = leaf(1.0, 2.0)
        out = x.exp()
        total = out.sum()
        with no_grad():
            out.zero_()
        with pytest.raises(
            RuntimeError,
            match=r"the result of exp [^\n]* was changed in place[^\n]*; it was recorded here:\n(.*\n)*.*out = x\.exp\(\)$",
        ):
            total.backward()
        out = x.exp().sum()
        out.backward()
        with pytest.raises(
            RuntimeError, match=r"retain_graph=True; it was recorded here:\n(.*\n)*.*out = x\.exp\(\)\.sum\(\)$"
        ):
            out.backward()


@operation
def double(input):
    return input * 2


@double.derivative
def _(grad, input):
    kind = input.flat[0]
    if kind == 1:
        raise ValueError("the rule failed")
    if kind == 2:
        return grad, grad
    if kind == 3:
        return "2"

    def compute():
        raise ZeroDivisionError("later")

    return compute if kind == 4 else np.zeros(7)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (1, ValueError, "the rule failed"),
        (2, TypeError, "double: its derivative returns 2 gradients for 1 inputs"),
        (3, TypeError, "double: its derivative returns a str where an array should be"),
        (4, ZeroDivisionError, "later"),
        (5, ValueError, "double: its derivative returns a gradient of shape (7,) for an input of shape (2,)"),
    ],
)
def test_errors_of_a_rule_show_the_line_in_a_note(kind, error, message):
    x = leaf(kind, 0.0)
    with detect_anomaly():
        out = double(x).sum()
        with pytest.raises(error) as caught:
            out.backward()
    assert str(caught.value).startswith(message)
    (note,) = caught.value.__notes__
    start = (
        "backward: this is an error of the derivative of double (its result has shape (2,)); it was recorded here:\n"
    )
    assert note.startswith(start)
    assert note.endswith("out = double(x).sum()")
    with pytest.raises(error) as caught:  # not recorded under anomaly detection: no lines are known
        double(x).sum().backward()
    assert not hasattr(caught.value, "__notes__")


def test_second_derivatives_point_at_the_line_of_the_first_pass():
    x = leaf(0.0)
    with detect_anomaly():
        y = x**1.5  # its second derivative is 0.75 / √0
        (g,) = chainrule.grad(y, x, create_graph=True)
        with pytest.raises(RuntimeError, match=r"gave NaN; it was recorded here:\n(.*\n)*.*y = x\*\*1\.5"):
            chainrule.grad(g * 0, x)
        after = x * 2
    assert after.grad_fn.recorded_at[-1].line == "after = x * 2"


def test_inside_and_outside():
    x = leaf(1.0)
    with pytest.raises(KeyError), detect_anomaly():  # noqa: PT012  # the block is what is tested
        with no_grad():
            assert not (x * 2).requires_grad
            with chainrule.enable_grad():
                assert hasattr((x * 2).grad_fn, "recorded_at")
        raise KeyError
    assert not hasattr((x * 2).grad_fn, "recorded_at")
    with no_grad(), detect_anomaly():
        assert not (x * 2).requires_grad
    with detect_anomaly(), set_detect_anomaly(False):
        assert not hasattr((x * 2).grad_fn, "recorded_at")

    @detect_anomaly()
    def look():
        return hasattr((x * 2).grad_fn, "recorded_at")

    assert [look(), look(), hasattr((x * 2).grad_fn, "recorded_at")] == [True, True, False]


def test_set_detect_anomaly_takes_effect_at_once():
    set_detect_anomaly(True)
    try:
        with pytest.raises(RuntimeError, match="gave NaN"):
            suspect(leaf(4.0)).backward()
    finally:
        set_detect_anomaly(False)
    suspect(leaf(4.0)).backward()


def test_each_thread_has_its_own():
    seen = []
    with detect_anomaly():
        thread = threading.Thread(target=lambda: seen.append(hasattr((leaf(1.0) * 2).grad_fn, "recorded_at")))
        thread.start()
        thread.join()
        assert hasattr((leaf(1.0) * 2).grad_fn, "recorded_at")
    assert seen == [False]
