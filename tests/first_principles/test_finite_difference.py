"""Finite differences: cost, the step with the smallest error, and agreement with the engine."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.first_principles.finite_difference import (
    CENTRAL_STEP,
    EPSILON,
    FORWARD_STEP,
    CallCounter,
    central_difference,
    error_curve,
    forward_difference,
    race,
)

POINT = np.random.default_rng(0).normal(size=(3, 4))


def hills(x: np.ndarray) -> float:
    return float((np.sin(x) * x).sum() + np.prod(np.cos(x[0])))


@pytest.mark.parametrize(("difference", "tolerance"), [(forward_difference, 1e-6), (central_difference, 1e-9)])
def test_agrees_with_the_engine(difference: object, tolerance: float) -> None:
    x = chainrule.tensor(POINT, requires_grad=True)
    ((chainrule.sin(x) * x).sum() + chainrule.cos(x[0]).prod()).backward()
    estimate = difference(hills, POINT)
    assert estimate.shape == POINT.shape
    np.testing.assert_allclose(estimate, np.asarray(x.grad), rtol=0, atol=tolerance)


def test_a_single_number() -> None:
    assert central_difference(lambda x: float(x**3), 2.0) == pytest.approx(12)
    assert forward_difference(lambda x: float(x**3), 2.0).shape == ()


def test_what_they_cost() -> None:
    counted = CallCounter(hills)
    forward_difference(counted, POINT)
    assert counted.calls == POINT.size + 1
    central_difference(counted, POINT)
    assert counted.calls == POINT.size + 1 + 2 * POINT.size


@pytest.mark.parametrize("central", [False, True])
def test_the_error_is_a_v(central: bool) -> None:
    """The minimum is near h/2 |f″| = 2ε|f|/h (forward), h²/6 |f‴| = ε|f|/h (central); all derivatives are eˣ here."""
    steps = np.logspace(-13, -1, 49)
    errors = error_curve(np.exp, np.exp, np.linspace(0.5, 1.5, 401), steps, central=central)
    best = steps[errors.argmin()]
    theory = (3 * EPSILON) ** (1 / 3) if central else 2 * EPSILON**0.5
    assert theory / 5 < best < theory * 5
    assert errors.min() < (1e-9 if central else 1e-7)
    truncation = steps > 30 * theory
    power = np.polyfit(np.log(steps[truncation]), np.log(errors[truncation]), 1)[0]
    assert power == pytest.approx(2 if central else 1, abs=0.05)
    rounding = steps < theory / 30
    power = np.polyfit(np.log(steps[rounding]), np.log(errors[rounding]), 1)[0]
    assert power == pytest.approx(-1, abs=0.1)
    assert (CENTRAL_STEP if central else FORWARD_STEP) == pytest.approx(theory, rel=0.6)


def test_the_race() -> None:
    rows = race([2, 100])
    assert [(numbers, calls) for numbers, calls, *_ in rows] == [(48, 49), (2302, 2303)]
    assert all(slow > 5 * fast for _, _, slow, fast in rows[1:])


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="step other than 0"):
        forward_difference(hills, POINT, 0.0)
