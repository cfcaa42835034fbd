"""Gradients kept within bounds, between `loss.backward()` and `optimizer.step()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule import ops
from chainrule.autograd import no_grad
from chainrule.creation import zeros
from chainrule.errors import check_not_negative
from chainrule.ops.operation import only_tensors
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Shrink all gradients by one factor, so that the norm of all together is at most `max_norm`.

    Args:
        parameters: whose gradients to shrink in place; those without one are passed over.
        max_norm: the norm to allow.
        norm_type: p of the norm (Σ |g|ᵖ)^(1/p); "inf" for the largest |g|.
        error_if_nonfinite: refuse a norm that is infinite or NaN, which the gradients would otherwise become.

    Returns:
        The norm before, a Tensor without dimensions.

    Raises:
        ValueError: a negative max_norm.
        RuntimeError: the norm is not finite, and that is to be refused; the gradients stay as they are.

    Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks (2013).
    """
    check_not_negative("clip_grad_norm_", max_norm=max_norm)
    gradients, order = _gradients(parameters), float(norm_type)
    with no_grad():
        norms = [ops.norm(g, p=order) for g in gradients if g.numel()]
        total = ops.norm(ops.stack(norms), p=order) if norms else zeros()
        if error_if_nonfinite and not ops.isfinite(total):
            what = f"the norm of the gradients is {total.item()}"
            raise RuntimeError(f"clip_grad_norm_: {what}, so they cannot be clipped")
        factor = ops.clamp(max_norm / (total + 1e-6), max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring each element of each gradient to within ±`clip_value`, in place.

    Raises:
        ValueError: a negative clip_value.
    """
    check_not_negative("clip_grad_value_", clip_value=clip_value)
    for gradient in _gradients(parameters):
        gradient.copy_(ops.clamp(gradient, -clip_value, clip_value))


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The gradients there are, without their history: a change in place is no operation to differentiate."""
    several = hasattr(parameters, "__iter__") and not isinstance(parameters, Tensor)
    given: Any = list(parameters) if several else [parameters]
    only_tensors("clip_grad", *given)
    return [p.grad.detach() for p in given if p.grad is not None]
