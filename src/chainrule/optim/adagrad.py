"""Adagrad: a step for each weight by its gradient over the size of all its gradients so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.optim.optimizer import Array, Parameters


class Adagrad(Optimizer):
    """w ← w - lrₜ · g / (√s + eps), by the sum s ← s + g² of all squares; lrₜ = lr / (1 + (t - 1) lr_decay).

    Args:
        params: the parameters, or groups of them.
        lr: the learning rate.
        lr_decay: how fast it falls.
        weight_decay: adds weight_decay · w to the gradient.
        initial_accumulator_value: what s starts from.
        eps: keeps the quotient finite.
        maximize: go up instead of down.

    Raises:
        ValueError: a negative option.

    Source: Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic optimization
    (2011).
    """

    not_negative = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own; their sums are there from the beginning, as PyTorch's are."""
        first = len(self._parameters())
        super().add_param_group(group)
        added = self.param_groups[-1]
        for position, p in enumerate(added["params"], first):
            self.state[position] = self.start(p._data, added)

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """The number of steps, and s."""
        return {"step": 0, "sum": np.full_like(value, group["initial_accumulator_value"])}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter."""
        if group["weight_decay"]:
            gradient = gradient + group["weight_decay"] * value
        rate = group["lr"] / (1 + state["step"] * group["lr_decay"])
        state["step"] += 1
        state["sum"] += gradient * gradient
        value -= rate * (gradient / (np.sqrt(state["sum"]) + group["eps"]))
