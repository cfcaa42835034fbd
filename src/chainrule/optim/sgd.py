"""Stochastic gradient descent: a step downhill, with momentum if wanted."""

from __future__ import annotations

from typing import Any

import numpy as np

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

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, options(locals()))

    def _checked(self, given: dict[str, Any]) -> dict[str, Any]:
        plain = super()._checked(given)
        if plain["nesterov"] and (plain["momentum"] <= 0 or plain["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and no dampening")
        return plain

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter."""
        if group["weight_decay"]:
            gradient = gradient + group["weight_decay"] * value
        if group["momentum"]:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = np.copy(gradient)  # an array also without dimensions
            else:
                velocity *= group["momentum"]
                velocity += (1 - group["dampening"]) * gradient
            gradient = gradient + group["momentum"] * velocity if group["nesterov"] else velocity
        value -= group["lr"] * gradient
