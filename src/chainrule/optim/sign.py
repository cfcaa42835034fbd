"""Optimizers that step along the sign of a gradient, whatever its size."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import check
from chainrule.lower.eager import update
from chainrule.optim.optimizer import Array, Optimizer, Parameters, options


class Rprop(Optimizer):
    """w ← w - s · sign(g): each weight's step size s grows while g keeps its sign, and shrinks when the sign changes.

    s starts as lr. After two gradients of the same sign, s is multiplied by η⁺. After two of different signs, s is
    multiplied by η⁻, and w does not change. Use it with gradients over all examples: the signs of gradients over small
    batches change by chance.

    Args:
        params: the parameters, or parameter groups.
        lr: the first step size.
        etas: η⁻ and η⁺.
        step_sizes: the smallest and the largest step size.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative lr, etas that are not 0 < η⁻ < 1 < η⁺, or step sizes that are negative or in the wrong
            order.

    Source: Riedmiller and Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm
    (1993); without backtracking: Igel and Hüsken, Improving the Rprop learning algorithm (2000), iRprop⁻.
    """

    not_negative = ("lr",)

    def __init__(
        self, params: Parameters, lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def _validate(self, options: dict[str, Any]) -> dict[str, Any]:
        numbers = super()._validate(options)
        numbers |= {option: self._pair(option, numbers[option]) for option in ("etas", "step_sizes")}
        (low, high), (smallest, largest) = numbers["etas"], numbers["step_sizes"]
        check(self, 0 < low < 1 < high, f"etas must be one between 0 and 1 and one above 1, not {(low, high)}")
        ordered = 0 <= smallest <= largest
        check(self, ordered, f"step_sizes must be the smallest and the largest, not {(smallest, largest)}")
        return numbers

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the step count, the previous gradient and s."""
        return {"step": 0, "prev": np.zeros_like(value), "step_size": np.full_like(value, group["lr"])}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        state["step"] += 1
        arrays = [value, state["prev"], state["step_size"]]
        update(_rprop, arrays, [gradient], *group["etas"], *group["step_sizes"])


def _rprop(
    weight: Any, previous: Any, size: Any, gradient: Any, shrink: Any, grow: Any, smallest: Any, largest: Any
) -> Any:
    agreement = np.sign(gradient * previous)
    size = np.where(agreement > 0, grow * size, np.where(agreement < 0, shrink * size, size))
    size = np.minimum(np.maximum(size, smallest), largest)
    gradient = np.where(agreement < 0, 0 * gradient, gradient)
    return weight - np.sign(gradient) * size, gradient, size


class Lion(Optimizer):
    """w ← (1 - lr · weight_decay) w - lr · sign(β₁ m + (1 - β₁) g); then m ← β₂ m + (1 - β₂) g.

    All steps have the same size, so a good learning rate is about a tenth of Adam's, and a good weight decay ten times
    as large. PyTorch does not have Lion; the arguments are those of the authors' program.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate.
        betas: β₁, the weight of m in a step, and β₂, the decay factor of m.
        weight_decay: coefficient of w in each step.
        maximize: step along the gradient instead of against it.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).

    Source: Chen et al., Symbolic discovery of optimization algorithms (2023), algorithm 2.
    """

    not_negative = ("lr", "weight_decay")
    decay_factors = ("betas",)

    def __init__(
        self, params: Parameters, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return m."""
        return {"exp_avg": np.zeros_like(value)}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        (beta1, beta2), rate, decay = group["betas"], group["lr"], group["weight_decay"] or None
        shrink = None if decay is None else 1 - rate * decay
        update(_lion, [value, state["exp_avg"]], [gradient], shrink, beta1, 1 - beta1, beta2, 1 - beta2, rate)


def _lion(
    weight: Any, mean: Any, gradient: Any, shrink: Any, beta1: Any, alpha1: Any, beta2: Any, alpha2: Any, rate: Any
) -> Any:
    if shrink is not None:
        weight = shrink * weight
    return weight - rate * np.sign(beta1 * mean + alpha1 * gradient), beta2 * mean + alpha2 * gradient
