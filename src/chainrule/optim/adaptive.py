"""Adaptive optimizers: each weight's step is divided by a measure of the size of its past gradients.

Adagrad sums the squared gradients; RMSprop averages them; Adadelta also multiplies by a measure of past steps. The
optimizers in `adam.py` average the gradients as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.lower.eager import update
from chainrule.optim.optimizer import Array, Optimizer, Parameters, options


class Adagrad(Optimizer):
    """w ← w - lrₜ · g / (√s + eps), with s ← s + g² and lrₜ = lr / (1 + (t - 1) lr_decay).

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        lr_decay: how fast the learning rate decays; see the formula.
        weight_decay: coefficient of w added to the gradient.
        initial_accumulator_value: initial value of s.
        eps: added to the denominator.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative option.

    Source: Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic optimization
    (2011).
    """

    not_negative = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def __init__(
        self, params: Parameters, lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0, eps: float = 1e-10, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group of parameters with its own options; their state is created at once, as in PyTorch."""
        start = len(self._parameters())
        super().add_param_group(group)
        new_group = self.param_groups[-1]
        for position, p in enumerate(new_group["params"], start):
            self.state.setdefault(position, self.start(p._data, new_group))

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count and s."""
        return {"step": 0, "sum": np.full_like(value, group["initial_accumulator_value"])}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        rate = group["lr"] / (1 + state["step"] * group["lr_decay"])
        state["step"] += 1
        update(_adagrad, [value, state["sum"]], [gradient], group["weight_decay"] or None, group["eps"], rate)


def _adagrad(weight: Any, total: Any, gradient: Any, decay: Any, eps: Any, rate: Any) -> Any:
    if decay is not None:
        gradient = gradient + decay * weight
    total = total + gradient * gradient
    return weight - rate * (gradient / (np.sqrt(total) + eps)), total


class RMSprop(Optimizer):
    """w ← w - lr · g / (√v + eps), with the moving average v ← alpha v + (1 - alpha) g².

    With momentum: b ← momentum b + g / (√v + eps);  w ← w - lr · b.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        alpha: decay factor of the moving average.
        eps: added to the denominator.
        weight_decay: coefficient of w added to the gradient.
        momentum: decay factor of b.
        centered: divide by the standard deviation of g, √(v - m²) + eps, with m the moving average of g.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative option.

    Sources: Tieleman and Hinton, Lecture 6.5 of Neural networks for machine learning (2012); centered: Graves,
    Generating sequences with recurrent neural networks (2013), equations 38 to 41.
    """

    not_negative = ("lr", "alpha", "eps", "weight_decay", "momentum")

    def __init__(
        self, params: Parameters, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0,
        momentum: float = 0.0, centered: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count and v; b with momentum, m if centered."""
        entries = {"square_avg": True, "momentum_buffer": group["momentum"], "grad_avg": group["centered"]}
        return {"step": 0, **{name: np.zeros_like(value) for name, is_used in entries.items() if is_used}}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        state["step"] += 1
        mean = state["grad_avg"] if group["centered"] else None
        buffer = state["momentum_buffer"] if group["momentum"] else None
        alpha, decay, momentum = group["alpha"], group["weight_decay"] or None, group["momentum"] or None
        numbers = decay, momentum, alpha, 1 - alpha, group["eps"], group["lr"]
        update(_rmsprop, [value, state["square_avg"], mean, buffer], [gradient], *numbers)


def _rmsprop(
    weight: Any, square: Any, mean: Any, buffer: Any, gradient: Any,
    decay: Any, momentum: Any, alpha: Any, beta: Any, eps: Any, rate: Any,
) -> Any:  # fmt: skip
    if decay is not None:
        gradient = gradient + decay * weight
    square = alpha * square + beta * gradient * gradient
    second_moment = square
    if mean is not None:
        mean = alpha * mean + beta * gradient
        second_moment = square - mean * mean
    change = gradient / (np.sqrt(second_moment) + eps)
    if buffer is not None:
        buffer = momentum * buffer + change
        change = buffer
    return weight - rate * change, square, mean, buffer


class Adadelta(Optimizer):
    """w ← w - lr Δ, with Δ = √(u + eps) / √(v + eps) · g, and moving averages v of g² and u of Δ².

    v ← rho v + (1 - rho) g² before the step, u ← rho u + (1 - rho) Δ² after it. Δ has the unit of w, so lr has no unit.

    Args:
        params: the parameters, or parameter groups.
        lr: the factor of each step.
        rho: decay factor of the two averages.
        eps: added to both averages; it also sets the size of the first steps.
        weight_decay: coefficient of w added to the gradient.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative option, or a rho above 1.

    Source: Zeiler, ADADELTA: an adaptive learning rate method (2012).
    """

    not_negative = ("lr", "rho", "eps", "weight_decay")

    def __init__(
        self, params: Parameters, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0, *,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def _validate(self, options: dict[str, Any]) -> dict[str, Any]:
        numbers = super()._validate(options)
        check(self, numbers["rho"] <= 1, f"rho must be from 0 to 1, got {numbers['rho']}")
        return numbers

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count, v and u."""
        return {"step": 0, "square_avg": np.zeros_like(value), "acc_delta": np.zeros_like(value)}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        state["step"] += 1
        numbers = group["weight_decay"] or None, group["rho"], 1 - group["rho"], group["eps"], group["lr"]
        update(_adadelta, [value, state["square_avg"], state["acc_delta"]], [gradient], *numbers)


def _adadelta(
    weight: Any, square: Any, steps: Any, gradient: Any, decay: Any, rho: Any, alpha: Any, eps: Any, rate: Any
) -> Any:
    if decay is not None:
        gradient = gradient + decay * weight
    square = rho * square + alpha * gradient * gradient
    delta = np.sqrt(steps + eps) / np.sqrt(square + eps) * gradient
    return weight - rate * delta, square, rho * steps + alpha * delta * delta
