"""Adam and its variants: steps along an average of the gradients, divided by a measure of their size."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.lower.eager import update
from chainrule.optim.optimizer import Array, Optimizer, Parameters, options


class Adam(Optimizer):
    """w ← w - lr · m̂ / (√v̂ + eps), with moving averages m of the gradient and v of its square.

    m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;  m̂ = m / (1 - β₁ᵗ);  v̂ = v / (1 - β₂ᵗ).

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        betas: β₁ and β₂, the decay factors of m and v.
        eps: added to the denominator.
        weight_decay: coefficient of w added to the gradient.
        amsgrad: use the largest v so far in place of v (Reddi et al., On the convergence of Adam and beyond, 2018).
        maximize: step along the gradient instead of against it.
        decoupled_weight_decay: multiply w by 1 - lr · weight_decay instead, as AdamW does.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
        TypeError: an option that is not a number.

    Source: Kingma and Ba, Adam: a method for stochastic optimization (2015).
    """

    not_negative = ("lr", "eps", "weight_decay")
    decay_factors = ("betas",)

    def __init__(
        self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count, m and v, and the largest v for amsgrad."""
        state = {"step": 0, "exp_avg": np.zeros_like(value), "exp_avg_sq": np.zeros_like(value)}
        return {**state, "max_exp_avg_sq": np.zeros_like(value)} if group["amsgrad"] else state

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        (beta1, beta2), rate = group["betas"], group["lr"]
        state["step"] += 1
        largest = state["max_exp_avg_sq"] if group["amsgrad"] else None
        update(
            _adam, [value, state["exp_avg"], state["exp_avg_sq"], largest], [gradient],
            *_decay(group), beta1, 1 - beta1, beta2, 1 - beta2,
            (1 - beta2 ** state["step"]) ** -0.5, group["eps"], rate / (1 - beta1 ** state["step"]),
        )  # fmt: skip


def _adam(
    weight: Any, mean: Any, square: Any, largest: Any, gradient: Any,
    decay: Any, shrink: Any, beta1: Any, alpha1: Any, beta2: Any, alpha2: Any, correction: Any, eps: Any, rate: Any,
) -> Any:  # fmt: skip
    # `rate` includes the bias correction of m; `correction` is that of √v
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


class Adamax(Optimizer):
    """w ← w - lr · m̂ / u, with m̂ as in Adam, and u ← max(β₂ u, |g| + eps) in place of √v̂.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        betas: decay factors of m and u.
        eps: added to |g|.
        weight_decay: coefficient of w added to the gradient.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).

    Source: Kingma and Ba, Adam: a method for stochastic optimization (2015), section 7.1.
    """

    not_negative = ("lr", "eps", "weight_decay")
    decay_factors = ("betas",)

    def __init__(
        self, params: Parameters, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count, m and u."""
        return {"step": 0, "exp_avg": np.zeros_like(value), "exp_inf": np.zeros_like(value)}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        beta1, beta2 = group["betas"]
        state["step"] += 1
        rate = group["lr"] / (1 - beta1 ** state["step"])
        numbers = group["weight_decay"] or None, beta1, 1 - beta1, beta2, group["eps"], rate
        update(_adamax, [value, state["exp_avg"], state["exp_inf"]], [gradient], *numbers)


def _adamax(
    weight: Any, mean: Any, largest: Any, gradient: Any,
    decay: Any, beta1: Any, alpha1: Any, beta2: Any, eps: Any, rate: Any,
) -> Any:  # fmt: skip
    if decay is not None:
        gradient = gradient + decay * weight
    mean = beta1 * mean + alpha1 * gradient
    largest = np.maximum(beta2 * largest, np.absolute(gradient) + eps)
    return weight - rate * (mean / largest), mean, largest


class NAdam(Optimizer):
    """Adam with Nesterov momentum: each step uses the momentum coefficient of the next step.

    w ← w - lr · ((1 - μₜ) g / (1 - Πₜ) + μₜ₊₁ m / (1 - Πₜ₊₁)) / (√v̂ + eps), with m and v̂ as in Adam, the momentum
    μₜ = β₁ (1 - 0.96^(t · momentum_decay) / 2), and Πₜ = μ₁ · ... · μₜ.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        betas: decay factors of m and v; μ approaches the first.
        eps: added to the denominator.
        weight_decay: coefficient of w added to the gradient.
        momentum_decay: how fast μ grows from β₁ / 2 to β₁.
        decoupled_weight_decay: multiply w by 1 - lr · weight_decay instead, as AdamW does.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).

    Source: Dozat, Incorporating Nesterov momentum into Adam (2016).
    """

    not_negative = ("lr", "eps", "weight_decay", "momentum_decay")
    decay_factors = ("betas",)

    def __init__(
        self, params: Parameters, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count, Π, m and v."""
        return {"step": 0, "mu_product": 1.0, "exp_avg": np.zeros_like(value), "exp_avg_sq": np.zeros_like(value)}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        (beta1, beta2), rate, momentum_decay = group["betas"], group["lr"], group["momentum_decay"]
        step = state["step"] = state["step"] + 1
        momentum = beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
        next_momentum = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
        product = state["mu_product"] = state["mu_product"] * momentum
        gradient_rate = rate * (1 - momentum) / (1 - product)
        mean_rate = rate * next_momentum / (1 - product * next_momentum)
        update(
            _nadam, [value, state["exp_avg"], state["exp_avg_sq"]], [gradient], *_decay(group), beta1, 1 - beta1,
            beta2, 1 - beta2, (1 - beta2**step) ** -0.5, group["eps"], gradient_rate, mean_rate,
        )  # fmt: skip


def _nadam(
    weight: Any, mean: Any, square: Any, gradient: Any, decay: Any, shrink: Any, beta1: Any, alpha1: Any, beta2: Any,
    alpha2: Any, correction: Any, eps: Any, gradient_rate: Any, mean_rate: Any,
) -> Any:  # fmt: skip
    if decay is not None:
        gradient = gradient + decay * weight
    if shrink is not None:
        weight = shrink * weight
    mean = beta1 * mean + alpha1 * gradient
    square = beta2 * square + alpha2 * gradient * gradient
    step = (gradient_rate * gradient + mean_rate * mean) / (correction * np.sqrt(square) + eps)
    return weight - step, mean, square


class RAdam(Optimizer):
    """Adam whose first steps are not divided by √v: an average of so few squares is unreliable.

    With ρ = 2 / (1 - β₂) - 1 and ρₜ = ρ - 2 t β₂ᵗ / (1 - β₂ᵗ), the effective length of the average v at step t:
    w ← w - lr · m̂ while ρₜ ≤ 5; then w ← w - lr · r · m̂ · √(1 - β₂ᵗ) / (√v + eps), with the rectification
    r = √((ρₜ - 4) (ρₜ - 2) ρ / ((ρ - 4) (ρ - 2) ρₜ)).

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        betas: decay factors of m and v.
        eps: added to the denominator.
        weight_decay: coefficient of w added to the gradient.
        decoupled_weight_decay: multiply w by 1 - lr · weight_decay instead, as AdamW does.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).

    Source: Liu et al., On the variance of the adaptive learning rate and beyond (2020).
    """

    not_negative = ("lr", "eps", "weight_decay")
    decay_factors = ("betas",)

    def __init__(
        self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, decoupled_weight_decay: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count, m and v."""
        return {"step": 0, "exp_avg": np.zeros_like(value), "exp_avg_sq": np.zeros_like(value)}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        beta1, beta2 = group["betas"]
        step = state["step"] = state["step"] + 1
        rate, eps = group["lr"] / (1 - beta1**step), None
        bias2 = 1 - beta2**step
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * step * beta2**step / bias2
        if length > 5:
            rectification = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
            rate, eps = rate * (rectification * bias2) ** 0.5, group["eps"]
        numbers = *_decay(group), beta1, 1 - beta1, beta2, 1 - beta2, eps, rate
        update(_radam, [value, state["exp_avg"], state["exp_avg_sq"]], [gradient], *numbers)


def _radam(
    weight: Any, mean: Any, square: Any, gradient: Any,
    decay: Any, shrink: Any, beta1: Any, alpha1: Any, beta2: Any, alpha2: Any, eps: Any, rate: Any,
) -> Any:  # fmt: skip
    if decay is not None:
        gradient = gradient + decay * weight
    if shrink is not None:
        weight = shrink * weight
    mean = beta1 * mean + alpha1 * gradient
    square = beta2 * square + alpha2 * gradient * gradient
    return weight - rate * (mean if eps is None else mean / (np.sqrt(square) + eps)), mean, square


def _decay(group: dict[str, Any]) -> tuple[Any, Any]:
    """Return the coefficient of w to add to the gradient, and the factor to multiply w by; None for no change."""
    decay = group["weight_decay"] or None
    decoupled = decay is not None and group["decoupled_weight_decay"]
    return None if decoupled else decay, 1 - group["lr"] * decay if decoupled else None
