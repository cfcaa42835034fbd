"""Adam: a step for each weight by the mean of its gradients over their typical size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.optim.optimizer import Optimizer, check

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chainrule.optim.optimizer import Array
    from chainrule.tensor import Tensor


class Adam(Optimizer):
    """w ← w - lr · m̂ / (√v̂ + eps), by running means m of the gradient and v of its square.

    m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;  m̂ = m / (1 - β₁ᵗ);  v̂ = v / (1 - β₂ᵗ).

    Args:
        params: the parameters, or groups of them.
        lr: the learning rate.
        betas: how much of the two means stays from step to step.
        eps: keeps the quotient finite.
        weight_decay: adds weight_decay · w to the gradient (AdamW: shrinks w itself).

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).

    Source: Kingma and Ba, Adam: a method for stochastic optimization (2015).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        check(type(self).__name__, {"lr": lr, "eps": eps, "weight_decay": weight_decay}, tuple(betas))
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter."""
        if group["weight_decay"]:
            gradient = gradient + group["weight_decay"] * value
        self._adam(value, gradient, state, group)

    def _adam(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(value), exp_avg_sq=np.zeros_like(value))
        step = state["step"] = int(state["step"]) + 1
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        work = np.multiply(
            gradient, 1 - beta1, out=np.empty_like(value)
        )  # with `out` it is an array also without dimensions
        mean *= beta1
        mean += work
        np.multiply(gradient, gradient, out=work)
        work *= 1 - beta2
        square *= beta2
        square += work
        # m̂ / (√v̂ + eps), both corrections taken to the front so that each array is passed over once
        np.sqrt(square, out=work)
        work /= math.sqrt(1 - beta2**step)
        work += group["eps"]
        np.divide(mean, work, out=work)
        work *= group["lr"] / (1 - beta1**step)
        value -= work


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves, w ← (1 - lr · weight_decay) w, before each step.

    Args and errors are Adam's, but for weight_decay's default.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization (2019).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter."""
        value *= 1 - group["lr"] * group["weight_decay"]
        self._adam(value, gradient, state, group)
