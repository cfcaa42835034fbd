"""Checks of the estimators' parameters. By scikit-learn's convention `fit` makes them, not the constructor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import join_names

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Rule:
    """A rule for the value of a parameter.

    Attributes:
        holds: returns whether a value is valid.
        description: what a valid value is, for the message.
    """

    holds: Callable[[Any], bool]
    description: str


def one_of(*names: str) -> Rule:
    """Return the rule that a value is one of these names."""
    description = f"one of {join_names([repr(name) for name in names])}"
    return Rule(lambda value: isinstance(value, str) and value in names, description)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) and not math.isnan(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


_FLAG = Rule(lambda value: isinstance(value, (bool, np.bool_)), "True or False")
_POSITIVE = Rule(lambda value: _is_real(value) and 0 < value < math.inf, "a number above 0")
_NOT_NEGATIVE = Rule(lambda value: _is_real(value) and 0 <= value < math.inf, "a number of at least 0")
_BELOW_1 = Rule(lambda value: _is_real(value) and 0 <= value < 1, "a number of at least 0 and below 1")
_COUNT = Rule(lambda value: _is_integer(value) and value >= 1, "an integer of at least 1")

RULES = {
    "activation": one_of("identity", "logistic", "relu", "tanh"),
    "alpha": _NOT_NEGATIVE,
    "batch_size": Rule(
        lambda value: _COUNT.holds(value) or (isinstance(value, str) and value == "auto"),
        "'auto' or an integer of at least 1",
    ),
    "beta_1": _BELOW_1,
    "beta_2": _BELOW_1,
    "early_stopping": _FLAG,
    "epsilon": _POSITIVE,
    "learning_rate": one_of("constant", "invscaling", "adaptive"),
    "learning_rate_init": _POSITIVE,
    "max_fun": _COUNT,
    "max_iter": _COUNT,
    "momentum": Rule(lambda value: _is_real(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "n_iter_no_change": Rule(
        lambda value: _COUNT.holds(value) or (_is_real(value) and value == math.inf), "an integer of at least 1, or inf"
    ),
    "nesterovs_momentum": _FLAG,
    "power_t": _NOT_NEGATIVE,
    "shuffle": _FLAG,
    "tol": _NOT_NEGATIVE,
    "validation_fraction": _BELOW_1,
    "verbose": Rule(lambda value: _is_integer(value) or isinstance(value, (bool, np.bool_)), "True, False or a level"),
    "warm_start": _FLAG,
}
"""By parameter, the rules that are the same in all estimators."""


def check_parameters(estimator: Any, **more: Rule) -> None:
    """Check an estimator's parameters.

    Args:
        estimator: has the parameters as attributes.
        **more: rules besides `RULES`, by parameter.

    Raises:
        ValueError: a parameter is invalid.
    """
    parameters = estimator.get_params(deep=False)
    for name, rule in {**RULES, **more}.items():
        if name in parameters and not rule.holds(parameters[name]):
            raise ValueError(f"{type(estimator).__name__}: {name} must be {rule.description}, not {parameters[name]!r}")
