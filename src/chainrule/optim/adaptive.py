"""A step of its own for each weight: by its gradient over the typical size of its gradients.

Adagrad sums the squares of all gradients, RMSprop forgets the old ones, Adam also averages the gradients themselves.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from chainrule.optim.optimizer import Array, Optimizer, Parameters, options


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
        super().__init__(params, options(locals()))

    def add_param_group(self, group: dict[str, Any]) -> None:
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
        super().__init__(params, options(locals()))

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """The number of steps, v, and b and m where they are used."""
        used = {"square_avg": True, "momentum_buffer": group["momentum"], "grad_avg": group["centered"]}
        return {"step": 0, **{name: np.zeros_like(value) for name, wanted in used.items() if wanted}}

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
        super().__init__(params, options(locals()))

    def _checked(self, given: dict[str, Any]) -> dict[str, Any]:
        plain = super()._checked(given)
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
        work *= (1 - beta2 ** state["step"]) ** -0.5
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
