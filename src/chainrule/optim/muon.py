"""Muon: steps whose singular values are all about 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import check, require_numbers
from chainrule.lower.eager import update
from chainrule.optim.optimizer import Array, Optimizer, Parameters, options

_RATE_FACTORS: dict[str | None, Any] = {
    None: lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}
"""For each value of `adjust_lr_fn`, the factor of the learning rate for a matrix of so many rows and columns."""


class Muon(Optimizer):
    """W ← (1 - lr · weight_decay) W - lr · f · O, with O ≈ U Vᵀ for the momentum's singular value decomposition U S Vᵀ.

    The momentum is B, with B ← momentum B + (1 - momentum) G; with `nesterov`, it is momentum B + (1 - momentum) G for
    the new B. O is computed by Newton-Schulz steps X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X, which bring all singular values
    near 1.

    Use it for the weights of hidden layers, which are matrices; biases and embeddings need a different optimizer, such
    as AdamW. PyTorch computes O in bfloat16; here it has the type of the weights, or float32 for float16.

    Args:
        params: the parameters, or parameter groups; all parameters must be matrices.
        lr: the learning rate.
        weight_decay: coefficient of W in each step.
        momentum: decay factor of B.
        nesterov: see the formula.
        ns_coefficients: a, b and c.
        eps: lower limit of the norm by which the momentum is divided before the first Newton-Schulz step.
        ns_steps: the number of Newton-Schulz steps, below 100.
        adjust_lr_fn: the factor f for a matrix of M rows and N columns: "original" (the default), √max(1, M / N); or
            "match_rms_adamw", 0.2 √max(M, N), which makes the steps as large as AdamW's.

    Raises:
        ValueError: a parameter that is not a matrix, or an invalid option.

    Sources: Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); "match_rms_adamw": Liu et
    al., Muon is scalable for LLM training (2025).
    """

    not_negative = ("lr", "weight_decay", "momentum", "eps", "ns_steps")

    def __init__(
        self, params: Parameters, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
        nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, options(locals()))

    def _validate(self, options: dict[str, Any]) -> dict[str, Any]:
        numbers = super()._validate(options)
        coefficients, choice = numbers["ns_coefficients"], numbers["adjust_lr_fn"]
        is_triple = isinstance(coefficients, (tuple, list)) and len(coefficients) == 3
        check(self, is_triple, f"ns_coefficients must be three numbers, not {coefficients}")
        require_numbers(self, **{f"ns_coefficients[{i}]": number for i, number in enumerate(coefficients)})
        check(self, numbers["ns_steps"] < 100, f"ns_steps must be below 100, got {numbers['ns_steps']}")
        is_choice = choice is None or choice in _RATE_FACTORS
        check(self, is_choice, f'adjust_lr_fn must be "original" or "match_rms_adamw", not {choice!r}')
        return {**numbers, "ns_coefficients": tuple(coefficients)}

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group of matrices with their own options."""
        super().add_param_group(group)
        other_shapes = [p.shape for p in self.param_groups[-1]["params"] if p.ndim != 2]
        if other_shapes:
            del self.param_groups[-1]
            hint = "give the others to another optimizer, such as AdamW"
            check(self, False, f"takes matrices, and a parameter has shape {other_shapes[0]}: {hint}")

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return B."""
        return {"momentum_buffer": np.zeros_like(value)}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"] or None
        buffer = state["momentum_buffer"]
        update(_average, [buffer], [gradient], momentum, 1 - momentum)
        direction = momentum * buffer + (1 - momentum) * gradient if group["nesterov"] else buffer
        step = _orthogonalize(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
        factor = _RATE_FACTORS[group["adjust_lr_fn"]](*value.shape)
        update(_step, [value], [step], None if decay is None else 1 - rate * decay, rate * factor)


def _average(buffer: Any, gradient: Any, momentum: Any, alpha: Any) -> Any:
    return (momentum * buffer + alpha * gradient,)


def _step(weight: Any, step: Any, shrink: Any, rate: Any) -> Any:
    if shrink is not None:
        weight = shrink * weight
    return (weight - rate * step,)


def _orthogonalize(matrix: Array, coefficients: tuple[Any, Any, Any], steps: Any, eps: Any) -> Array:
    """Return approximately U Vᵀ for a matrix U S Vᵀ, with its shape and type."""
    a, b, c = coefficients
    x = matrix.astype(np.promote_types(matrix.dtype, np.float32))
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x  # so that x xᵀ is the smaller product
    x = x / np.maximum(np.sqrt((x * x).sum()), eps)
    count = 0
    while count < steps:  # not range(): in a compiled step the number is guarded, and range() needs a constant
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
        count += 1
    step: Array = (x.T if is_tall else x).astype(matrix.dtype)
    return step
