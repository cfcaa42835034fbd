"""Adam: a step for each weight by the mean of its gradients over their typical size."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.optim.optimizer import Array, Parameters


class Adam(Optimizer):
    """w ← w - lr · m̂ / (√v̂ + eps), by running means m of the gradient and v of its square.

    m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;  m̂ = m / (1 - β₁ᵗ);  v̂ = v / (1 - β₂ᵗ).

    Args:
        params: the parameters, or groups of them.
        lr: the learning rate.
        betas: how much of the two means stays from step to step.
        eps: keeps the quotient finite.
        weight_decay: adds weight_decay · w to the gradient.
        amsgrad: divide by the largest v so far, so that steps never grow again (Reddi et al., On the convergence of
            Adam and beyond, 2018).
        maximize: go up instead of down.
        decoupled_weight_decay: shrink w itself by the weight decay, as AdamW does.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
        TypeError: an option that is no number.

    Source: Kingma and Ba, Adam: a method for stochastic optimization (2015).
    """

    not_negative = ("lr", "eps", "weight_decay")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, options)

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        plain = super()._checked(options)
        betas = plain["betas"]
        if not (isinstance(betas, (tuple, list)) and [isinstance(beta, Real) for beta in betas] == [True, True]):
            raise TypeError(f"{type(self).__name__}: betas must be two numbers, not {betas}")
        for beta in betas:
            if not 0 <= beta < 1:
                raise ValueError(f"{type(self).__name__}: betas must be at least 0 and below 1, got {beta}")
        return {**plain, "betas": tuple(betas)}

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """The number of steps, m and v, and the largest v for amsgrad."""
        state = {"step": 0, "exp_avg": np.zeros_like(value), "exp_avg_sq": np.zeros_like(value)}
        return {**state, "max_exp_avg_sq": np.zeros_like(value)} if group["amsgrad"] else state

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter."""
        if group["decoupled_weight_decay"]:
            value *= 1 - group["lr"] * group["weight_decay"]
        elif group["weight_decay"]:
            gradient = gradient + group["weight_decay"] * value
        beta1, beta2 = group["betas"]
        state["step"] += 1
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        work = np.empty_like(value)  # with `out` results are arrays also without dimensions
        mean *= beta1
        mean += np.multiply(gradient, 1 - beta1, out=work)
        square *= beta2
        np.multiply(gradient, gradient, out=work)
        work *= 1 - beta2
        square += work
        if group["amsgrad"]:
            square = np.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
        # m̂ / (√v̂ + eps), both corrections taken to the front so that each array is passed over once
        np.sqrt(square, out=work)
        work /= math.sqrt(1 - beta2 ** state["step"])
        work += group["eps"]
        np.divide(mean, work, out=work)
        work *= group["lr"] / (1 - beta1 ** state["step"])
        value -= work


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves, w ← (1 - lr · weight_decay) w, before each step.

    Args and errors are Adam's, but for weight_decay's default.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization (2019).
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
