"""Transformations of functions, with the names and arguments of `torch.func`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.autograd import functional
from chainrule.errors import check

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["jvp"]


def jvp(
    func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False
) -> tuple[Any, Any]:
    """Jacobian-vector product: how the outputs change as the inputs move along the tangents.

    Two backward passes compute it, as the gradient of vᵀ J with respect to v (see `autograd.functional.jvp`). If a
    primal or a tangent requires gradients, the results do as well.

    Args:
        func: takes Tensors and returns a Tensor or a tuple of them.
        primals: the inputs, a tuple of floating Tensors.
        tangents: for each primal, a Tensor of the same shape.
        strict: whether it is an error if the outputs do not depend on an input.

    Returns:
        The outputs, and their derivative along the tangents.

    Raises:
        TypeError: `primals` or `tangents` is not a tuple of Tensors.
        ValueError: the shapes differ.
        RuntimeError: with `strict`, an output does not depend on the inputs.

        import chainrule
        from chainrule.func import jvp

        x = chainrule.tensor([1.0, 2.0])
        jvp(lambda x: x**3, (x,), (chainrule.tensor([1.0, 0.5]),))[1]  # tensor([3., 6.], shape=(2,))
    """
    for name, value in (("primals", primals), ("tangents", tangents)):
        check(
            "jvp", isinstance(value, tuple), f"{name} must be a tuple of Tensors, not {type(value).__name__}", TypeError
        )
    create_graph = any(getattr(x, "requires_grad", False) for x in (*primals, *tangents))
    return functional.jvp(func, primals, tangents, create_graph=create_graph, strict=strict)
