"""Stochastic gradient descent, optionally with momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.lower.eager import update
from chainrule.optim.optimizer import Array, Optimizer, Parameters, options


class SGD(Optimizer):
    """w ← w - lr g; with momentum, g is replaced by the velocity v ← momentum v + (1 - dampening) g.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        momentum: decay factor of the velocity.
        dampening: fraction of the gradient left out of the velocity, except in the first step.
        weight_decay: coefficient of w added to the gradient.
        nesterov: step along g + momentum v instead of v.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative lr, momentum or weight_decay, or Nesterov without momentum or with dampening.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning (2013).
    """

    not_negative = ("lr", "momentum", "weight_decay")
    lazy_entries = ("momentum_buffer",)

    def __init__(
        self, params: Parameters, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def _validate(self, options: dict[str, Any]) -> dict[str, Any]:
        numbers = super()._validate(options)
        valid = not numbers["nesterov"] or (numbers["momentum"] > 0 and numbers["dampening"] == 0)
        check(self, valid, "nesterov needs a momentum above 0 and no dampening")
        return numbers

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        momentum, gradient_factor = group["momentum"] or None, 1 - group["dampening"]
        velocity = state.get("momentum_buffer") if momentum is not None else None
        if momentum is not None and velocity is None:  # the first velocity is the whole gradient
            velocity, gradient_factor = np.zeros_like(value), 1.0
            state["momentum_buffer"] = velocity
        lookahead = momentum if group["nesterov"] else None
        numbers = group["weight_decay"] or None, momentum, gradient_factor, lookahead, group["lr"]
        update(_sgd, [value, velocity], [gradient], *numbers)


def _sgd(
    weight: Any, velocity: Any, gradient: Any,
    decay: Any, momentum: Any, gradient_factor: Any, lookahead: Any, rate: Any,
) -> Any:  # fmt: skip
    if decay is not None:
        gradient = gradient + decay * weight
    if velocity is not None:
        velocity = momentum * velocity + gradient_factor * gradient
        gradient = velocity if lookahead is None else gradient + lookahead * velocity
    return weight - rate * gradient, velocity
