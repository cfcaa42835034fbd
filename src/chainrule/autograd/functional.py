"""Derivatives of functions: Jacobians, Hessians, and their products with vectors.

Each function takes a function and the point at which to differentiate it: a floating Tensor or a tuple of them. If the
function takes or returns a tuple, the result is a tuple with one entry for each. The point need not require gradients,
and its `.grad` does not change.

Common arguments:
    func: takes Tensors and returns a Tensor or a tuple of them.
    inputs: the point at which to differentiate.
    create_graph: make the result differentiable, back to inputs that require gradients.
    strict: raise an error if an output does not depend on an input; if False, that derivative is 0.

Each of the functions records operations even under `no_grad()`, as in PyTorch.

The products are computed without the matrix: `vjp` is one backward pass, with v as the gradient of the outputs; `hvp`
and `jvp` are two: vᵀ J is linear in v; differentiating it with respect to v, along a direction d, gives J d.
Sources: Pearlmutter, Fast Exact Multiplication by the Hessian (1994); Townsend, A new trick for calculating Jacobian
vector products (2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import numpy as np

from chainrule.autograd.mode import enable_grad
from chainrule.autograd.tape import grad, unit_gradients
from chainrule.errors import check, type_name
from chainrule.ops.operation import is_tensor
from chainrule.ops.shape import reshape, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.tensor import Tensor

    Tensors: TypeAlias = Tensor | tuple[Tensor, ...]
    Function: TypeAlias = Callable[..., Tensors]
    Single: TypeAlias = Callable[[Tensor], Tensor]
    In = TypeVar("In", bound=Tensors)
    Out = TypeVar("Out", bound=Tensors)


@enable_grad()
def vjp(
    func: Callable[..., Out], inputs: In, v: Out | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Out, In]:
    """Vector-Jacobian product vᵀ J: the gradient of the inputs for the gradient v of the outputs.

    `v` has the shapes of the outputs; it is optional for an output of one element. For the other arguments see the
    module's docstring.

    Returns:
        The outputs, and the product in the shapes of the inputs.

    Raises:
        ValueError: `v` does not fit.
        RuntimeError: see `strict`.
        TypeError: the function returns something other than Tensors.
    """
    run = _Run("vjp", func, inputs, create_graph, strict)
    product = run.vjp(run.outputs, run.vector(v, run.outputs))
    return run.unpack(run.outputs, run.single_output), run.unpack(product, run.single_input)


@enable_grad()
def jvp(
    func: Callable[..., Out], inputs: In, v: In | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Out, Out]:
    """Jacobian-vector product J v: the derivative of the outputs along the direction v.

    `v` has the shapes of the inputs; it is optional for an input of one element. For the other arguments see the
    module's docstring.

    Returns:
        The outputs, and the product in their shapes.

    Raises:
        ValueError: `v` does not fit.
        RuntimeError, TypeError: as for `vjp`.
    """
    run = _Run("jvp", func, inputs, create_graph, strict)
    direction = run.vector(v, run.inputs)
    seeds = [_zeros(out).requires_grad_() for out in run.outputs]
    products = run.vjp(run.outputs, seeds, differentiable=True)
    pairs = [(product, part) for product, part in zip(products, direction, strict=True) if product.requires_grad]
    tangents: Sequence[Tensor | None] = [None] * len(seeds)
    if pairs:
        parts, directions = zip(*pairs, strict=True)
        tangents = grad(parts, seeds, directions, create_graph=create_graph, allow_unused=True)
    product = [_zeros(out) if part is None else part for out, part in zip(run.outputs, tangents, strict=True)]
    return run.unpack(run.outputs, run.single_output), run.unpack(product, run.single_output)


@enable_grad()
def hvp(
    func: Callable[..., Tensor], inputs: In, v: In | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, In]:
    """Hessian-vector product H v for a function with a scalar output, as the gradient of (gradient · v).

    `v` has the shapes of the inputs; it is optional for an input of one element. For the other arguments see the
    module's docstring.

    Returns:
        The output, and the product in the shapes of the inputs.

    Raises:
        ValueError: `v` does not fit, or the output is not a scalar.
        RuntimeError, TypeError: as for `vjp`.
    """
    run = _Run("hvp", func, inputs, create_graph, strict, scalar=True)
    direction = run.vector(v, run.inputs)
    gradients = run.vjp(run.outputs, [None], differentiable=True)
    product = run.vjp(gradients, direction)
    return run.unpack(run.outputs, True), run.unpack(product, run.single_input)


@overload
def jacobian(func: Single, inputs: Tensor, create_graph: bool = False, strict: bool = False) -> Tensor: ...


@overload
def jacobian(func: Function, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any: ...


@enable_grad()
def jacobian(func: Function, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any:
    """The Jacobian: the derivative of each output element with respect to each input element.

    It takes one backward pass per output element.

    Returns:
        A Tensor whose shape is the output's followed by the input's; for tuples, nested tuples J[output][input].

    Raises:
        RuntimeError, TypeError: as for `vjp`.
    """
    run = _Run("jacobian", func, inputs, create_graph, strict)
    table = []
    for out in run.outputs:
        rows = [run.vjp([out], [seed]) for seed in unit_gradients(out)]
        # an output without elements gives no rows, so that there is nothing to stack
        no_rows = [_zeros(x).reshape(-1)[:0] for x in run.inputs]
        columns = [stack(column) for column in zip(*rows, strict=True)] or no_rows
        blocks = [reshape(c, shape=out.shape + x.shape) for c, x in zip(columns, run.inputs, strict=True)]
        table.append(run.unpack(blocks, run.single_input))
    return table[0] if run.single_output else tuple(table)


@overload
def hessian(func: Single, inputs: Tensor, create_graph: bool = False, strict: bool = False) -> Tensor: ...


@overload
def hessian(func: Function, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any: ...


@enable_grad()
def hessian(func: Function, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any:
    """The Hessian of a function with a scalar output, as the Jacobian of its gradient.

    Returns:
        A Tensor whose shape is the input's twice; for a tuple, nested tuples H[input][input].

    Raises:
        ValueError: the output is not a scalar.
        RuntimeError, TypeError: as for `vjp`.
    """

    def gradient(*xs: Tensor) -> Any:
        run = _Run("hessian", func, xs, True, strict, scalar=True)
        return run.unpack(run.vjp(run.outputs, [None]), not isinstance(inputs, tuple))

    return jacobian(gradient, inputs, create_graph, strict)


class _Run:
    """One recorded call of a function on new Tensors; with `scalar`, its output must have one element."""

    def __init__(
        self, name: str, func: Function, inputs: Tensors, create_graph: bool, strict: bool, scalar: bool = False
    ) -> None:
        self.name, self.create_graph, self.strict = name, create_graph, strict
        self.single_input = not isinstance(inputs, tuple)
        points = _as_list(name, "inputs", inputs)
        self.inputs = [
            reshape(x, shape=x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_()
            for x in points
        ]
        outputs = func(*self.inputs)
        self.outputs, self.single_output = _as_list(name, "outputs", outputs), not isinstance(outputs, tuple)
        fits = not scalar or (self.single_output and self.outputs[0].numel() == 1)
        check(name, fits, "the function must return one Tensor of one element")

    def vector(self, v: Tensors | None, like: Sequence[Tensor]) -> list[Tensor]:
        """Return v as a list; it must have the shapes of `like`. If v is None and `like` has one element, return 1."""
        if v is None:
            is_one_element = len(like) == 1 and like[0].numel() == 1
            check(self.name, is_one_element, f"v is optional only for a single element, not for {_shapes(like)}")
            return [like[0]._wrap(np.ones_like(like[0]._data))]
        vectors = _as_list(self.name, "v", v)
        expected, actual = _shapes(like), _shapes(vectors)
        check(self.name, expected == actual, f"v must have shape {expected}, not {actual}")
        return vectors

    def vjp(self, outputs: Sequence[Tensor], seeds: Sequence[Any], differentiable: bool = False) -> list[Tensor]:
        """Return the gradients of the inputs, 0 for unused ones; recorded if `differentiable`."""
        create_graph = differentiable or self.create_graph
        pairs = [(out, seed) for out, seed in zip(outputs, seeds, strict=True) if out.requires_grad]
        grads: Sequence[Tensor | None] = [None] * len(self.inputs)
        if pairs:
            outs, out_grads = zip(*pairs, strict=True)
            grads = grad(outs, self.inputs, out_grads, retain_graph=True, create_graph=create_graph, allow_unused=True)
        for position, part in enumerate(grads if self.strict else ()):
            unused = f"an output does not depend on input {position}, which strict=True forbids"
            check(self.name, part is not None, unused, RuntimeError)
        return [_zeros(x) if part is None else part for x, part in zip(self.inputs, grads, strict=True)]

    def unpack(self, tensors: Sequence[Tensor], single: bool) -> Any:
        """Return Tensors as the caller expects them: one or a tuple, with history only if `create_graph` is set."""
        results = tuple(tensors) if self.create_graph else tuple(t.detach() for t in tensors)
        return results[0] if single else results


def _zeros(like: Tensor) -> Tensor:
    return like._wrap(np.zeros_like(like._data))


def _as_list(name: str, what: str, tensors: Any) -> list[Tensor]:
    items = list(tensors) if isinstance(tensors, tuple) else [tensors]
    for x in items:
        check(name, is_tensor(x), f"{what} must be a Tensor or a tuple of them, not {type_name(x)}", TypeError)
    return items


def _shapes(tensors: Sequence[Tensor]) -> str:
    return " and ".join(str(tensor.shape) for tensor in tensors)
