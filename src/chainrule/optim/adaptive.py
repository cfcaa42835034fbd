"""Adaptive optimizers: each weight's step is divided by a measure of the size of its past gradients.

Adagrad sums all squared gradients, RMSprop takes a moving average of them, Adam averages the gradients as well.
"""

from __future__ import annotations

from numbers import Real
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
        """Add parameters with their own options. Their state is created at once, as in PyTorch."""
        start = len(self._parameters())
        super().add_param_group(group)
        new_group = self.param_groups[-1]
        for position, p in enumerate(new_group["params"], start):
            self.state[position] = self.start(p._data, new_group)

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
        """Return the step count, v, and, if used, b and m."""
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


class Adam(Optimizer):
    """w ← w - lr · m̂ / (√v̂ + eps), with moving averages m of the gradient and v of its square.

    m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;  m̂ = m / (1 - β₁ᵗ);  v̂ = v / (1 - β₂ᵗ).

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        betas: decay factors of the two averages.
        eps: added to the denominator.
        weight_decay: coefficient of w added to the gradient.
        amsgrad: divide by the largest v so far (Reddi et al., On the convergence of Adam and beyond, 2018).
        maximize: step along the gradient instead of against it.
        decoupled_weight_decay: multiply w by 1 - lr · weight_decay instead, as AdamW does.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
        TypeError: an option that is not a number.

    Source: Kingma and Ba, Adam: a method for stochastic optimization (2015).
    """

    not_negative = ("lr", "eps", "weight_decay")

    def __init__(
        self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def _validate(self, options: dict[str, Any]) -> dict[str, Any]:
        numbers = super()._validate(options)
        betas = numbers["betas"]
        are_numbers = isinstance(betas, (tuple, list)) and [isinstance(beta, Real) for beta in betas] == [True, True]
        check(self, are_numbers, f"betas must be two numbers, not {betas}", TypeError)
        for beta in betas:
            check(self, 0 <= beta < 1, f"betas must be at least 0 and below 1, got {beta}")
        return {**numbers, "betas": tuple(betas)}

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count, m and v, and the largest v for amsgrad."""
        state = {"step": 0, "exp_avg": np.zeros_like(value), "exp_avg_sq": np.zeros_like(value)}
        return {**state, "max_exp_avg_sq": np.zeros_like(value)} if group["amsgrad"] else state

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        (beta1, beta2), rate, decay = group["betas"], group["lr"], group["weight_decay"] or None
        decoupled = decay is not None and group["decoupled_weight_decay"]
        state["step"] += 1
        largest = state["max_exp_avg_sq"] if group["amsgrad"] else None
        update(
            _adam, [value, state["exp_avg"], state["exp_avg_sq"], largest], [gradient],
            None if decoupled else decay, 1 - rate * decay if decoupled else None, beta1, 1 - beta1, beta2, 1 - beta2,
            (1 - beta2 ** state["step"]) ** -0.5, group["eps"], rate / (1 - beta1 ** state["step"]),
        )  # fmt: skip


def _adam(
    weight: Any, mean: Any, square: Any, largest: Any, gradient: Any,
    decay: Any, shrink: Any, beta1: Any, alpha1: Any, beta2: Any, alpha2: Any, correction: Any, eps: Any, rate: Any,
) -> Any:  # fmt: skip
    # The bias corrections are scalars: that of m is folded into `rate`, that of √v is `correction`
    if decay is not None:
        gradient = gradient + decay * weight
    if shrink is not None:
        weight = shrink * weight
    mean = beta1 * mean + alpha1 * gradient
    square = beta2 * square + alpha2 * gradient * gradient
    second_moment = square
    if largest is not None:
        largest = np.maximum(largest, square)
        second_moment = largest
    return weight - rate * (mean / (correction * np.sqrt(second_moment) + eps)), mean, square, largest


class AdamW(Adam):
    """Adam with decoupled weight decay: w ← (1 - lr · weight_decay) w before each step.

    Arguments and errors are those of Adam; only the default of weight_decay differs.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization (2019).
    """

    def __init__(
        self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
