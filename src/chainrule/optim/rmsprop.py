"""RMSprop: a step for each weight by its gradient over the gradients' typical size of late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from chainrule.optim.optimizer import Array, Parameters


class RMSprop(Optimizer):
    """w ← w - lr · g / (√v + eps), by the running mean v ← alpha v + (1 - alpha) g² of the gradient's square.

    With momentum, the quotient q is gathered first: b ← momentum b + q;  w ← w - lr b.

    Args:
        params: the parameters, or groups of them.
        lr: the learning rate.
        alpha: how much of the running mean stays from step to step.
        eps: keeps the quotient finite.
        weight_decay: adds weight_decay · w to the gradient.
        momentum: how much of b stays from step to step.
        centered: divide by √(v - m²) + eps, m the running mean of the gradient: its spread, not its size.
        maximize: go up instead of down.

    Raises:
        ValueError: a negative option.

    Sources: Tieleman and Hinton, Lecture 6.5 of Neural networks for machine learning (2012); centered: Graves,
    Generating sequences with recurrent neural networks (2013), equations 38 to 41.
    """

    not_negative = ("lr", "alpha", "eps", "weight_decay", "momentum")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """The number of steps, v, and b and m where they are used."""
        state = {"step": 0, "square_avg": np.zeros_like(value)}
        if group["momentum"]:
            state["momentum_buffer"] = np.zeros_like(value)
        if group["centered"]:
            state["grad_avg"] = np.zeros_like(value)
        return state

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter."""
        if group["weight_decay"]:
            gradient = gradient + group["weight_decay"] * value
        alpha, square = group["alpha"], state["square_avg"]
        state["step"] += 1
        square *= alpha
        square += (1 - alpha) * gradient * gradient
        size = square
        if group["centered"]:
            mean = state["grad_avg"]
            mean *= alpha
            mean += (1 - alpha) * gradient
            size = square - mean * mean
        change = gradient / (np.sqrt(size) + group["eps"])
        if group["momentum"]:
            buffer = state["momentum_buffer"]
            buffer *= group["momentum"]
            buffer += change
            change = buffer
        value -= group["lr"] * change
