"""Gradient clipping, for use between `loss.backward()` and `optimizer.step()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule import ops
from chainrule.autograd import no_grad
from chainrule.creation import zeros
from chainrule.errors import check_not_negative
from chainrule.ops.operation import check_tensors
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients by one factor, so that their joint norm is at most `max_norm`.

    Args:
        parameters: the parameters whose gradients are scaled in place; parameters without a gradient are skipped.
        max_norm: the limit of the norm.
        norm_type: p in the norm (Σ |g|ᵖ)^(1/p); "inf" for the largest |g|.
        error_if_nonfinite: whether an infinite or NaN norm is an error; otherwise the gradients are scaled by it.

    Returns:
        The norm before clipping, a 0-d Tensor.

    Raises:
        ValueError: a negative max_norm.
        RuntimeError: the norm is not finite and `error_if_nonfinite` is set; the gradients are unchanged.

    Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks (2013).
    """
    check_not_negative("clip_grad_norm_", max_norm=max_norm)
    gradients = _gradients("clip_grad_norm_", parameters)
    order = float(norm_type)
    with no_grad():
        norms = [ops.norm(g, p=order) for g in gradients if g.numel()]
        total = ops.norm(ops.stack(norms), p=order) if norms else zeros()
        if error_if_nonfinite and not ops.isfinite(total):
            problem = f"the norm of the gradients is {total.item()}, so they cannot be clipped"
            raise RuntimeError(f"clip_grad_norm_: {problem}")
        factor = ops.clamp(max_norm / (total + 1e-6), max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamp each element of each gradient to ±`clip_value`, in place.

    Raises:
        ValueError: a negative clip_value.
    """
    check_not_negative("clip_grad_value_", clip_value=clip_value)
    for gradient in _gradients("clip_grad_value_", parameters):
        gradient.copy_(ops.clamp(gradient, -clip_value, clip_value))


def _gradients(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients that are not None, detached: in-place changes of them must not be recorded."""
    is_iterable = hasattr(parameters, "__iter__") and not isinstance(parameters, Tensor)
    tensors: Any = list(parameters) if is_iterable else [parameters]
    check_tensors(name, *tensors)
    return [p.grad.detach() for p in tensors if p.grad is not None]
