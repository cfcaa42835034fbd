"""Stochastic gradient descent: a step downhill, with momentum if wanted."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.lower.eager import update
from chainrule.optim.optimizer import Array, Optimizer, Parameters, options


class SGD(Optimizer):
    """w ← w - lr g; with momentum, g is replaced by the velocity v ← momentum v + (1 - dampening) g.

    Args:
        params: the parameters, or groups of them.
        lr: the learning rate.
        momentum: how much of the velocity stays from step to step.
        dampening: how much of the gradient is left out of the velocity (never of the first).
        weight_decay: adds weight_decay · w to the gradient.
        nesterov: look ahead: step along g + momentum v.
        maximize: go up instead of down.

    Raises:
        ValueError: a negative option, or Nesterov without momentum or with dampening.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning (2013).
    """

    not_negative = ("lr", "momentum", "weight_decay")
    lazy_entries = ("momentum_buffer",)

    def __init__(
        self, params: Parameters, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def _checked(self, given: dict[str, Any]) -> dict[str, Any]:
        plain = super()._checked(given)
        possible = not plain["nesterov"] or (plain["momentum"] > 0 and plain["dampening"] == 0)
        check(self, possible, "nesterov needs a momentum above 0 and no dampening")
        return plain

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter."""
        momentum, rest = group["momentum"] or None, 1 - group["dampening"]
        velocity = state.get("momentum_buffer") if momentum is not None else None
        if momentum is not None and velocity is None:  # the first velocity is the whole gradient
            velocity, rest = np.zeros_like(value), 1.0
            state["momentum_buffer"] = velocity
        ahead = momentum if group["nesterov"] else None
        update(_sgd, [value, velocity], [gradient], group["weight_decay"] or None, momentum, rest, ahead, group["lr"])


def _sgd(weight: Any, velocity: Any, gradient: Any, decay: Any, momentum: Any, rest: Any, ahead: Any, rate: Any) -> Any:
    if decay is not None:
        gradient = gradient + decay * weight
    if velocity is not None:
        velocity = momentum * velocity + rest * gradient
        gradient = velocity if ahead is None else gradient + ahead * velocity
    return weight - rate * gradient, velocity
