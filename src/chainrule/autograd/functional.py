"""Derivatives of functions: Jacobians, Hessians, and their products with vectors.

Each function here takes the function to differentiate and the point at which to differentiate it: a floating Tensor, or
a tuple of Tensors if that function has several arguments. Where `inputs` or the outputs are a tuple, the result is a
tuple with an entry for each Tensor. The point need not require gradients, and its `.grad` does not change.

Common arguments:
    func: takes Tensors and returns a Tensor or a tuple of them.
    inputs: the point at which to differentiate.
    create_graph: make the result differentiable, back to inputs that require gradients.
    strict: raise an error instead of returning a derivative that is 0 because nothing connects input and output. As in
        PyTorch, each output must require gradients, and each input must affect an output; `jacobian` requires that each
        input affects each output. With `create_graph`, and always in `hvp` and `hessian`, the first derivatives must
        depend on the inputs, too.

All functions here record operations even under `no_grad()`, as in PyTorch.

The products are computed without the matrix. `vjp` takes one backward pass, with v as the gradient of the outputs.
`hvp` and `jvp` take two passes. `hvp` differentiates gradient · v. `jvp` uses the fact that uᵀ J is linear in u: the
derivative of uᵀ J v with respect to u is J v.

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

    `v` has the shapes of the outputs; it is optional for a single output of one element. For the other arguments, see
    the module's docstring.

    Returns:
        The outputs, and the product in the shapes of the inputs.

    Raises:
        ValueError: the shapes of `v` do not fit.
        RuntimeError: see `strict`.
        TypeError: `inputs`, `v` or the outputs are not a Tensor or a tuple of them, or an input is not floating.
    """
    run = _Run("vjp", func, inputs, create_graph, strict)
    product = run.vjp(run.outputs, run.vector(v, run.outputs))
    return run.unpack(run.outputs, run.single_output), run.unpack(product, run.single_input)


@enable_grad()
def jvp(
    func: Callable[..., Out], inputs: In, v: In | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Out, Out]:
    """Jacobian-vector product J v: the derivative of the outputs along the direction v.

    `v` has the shapes of the inputs; it is optional for a single input of one element. For the other arguments, see the
    module's docstring.

    Returns:
        The outputs, and the product in their shapes.

    Raises:
        ValueError: the shapes of `v` do not fit.
        RuntimeError, TypeError: as for `vjp`.
    """
    run = _Run("jvp", func, inputs, create_graph, strict)
    direction = run.vector(v, run.inputs)
    # u may have any value, because uᵀ J is linear in u
    u = [_zeros(out).requires_grad_() for out in run.outputs]
    products = run.vjp(run.outputs, u, differentiable=True)
    tangents = _gradients(products, u, direction, create_graph)
    for position, tangent in enumerate(tangents):
        run.check_strict(tangent, create_graph, f"output {position}", "the inputs")
    product = _without_none(tangents, run.outputs)
    return run.unpack(run.outputs, run.single_output), run.unpack(product, run.single_output)


@enable_grad()
def hvp(
    func: Callable[..., Tensor], inputs: In, v: In | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, In]:
    """Hessian-vector product H v for a function whose output has one element, as the gradient of (gradient · v).

    `v` has the shapes of the inputs; it is optional for a single input of one element. For the other arguments, see the
    module's docstring.

    Returns:
        The output, and the product in the shapes of the inputs.

    Raises:
        ValueError: the shapes of `v` do not fit, or the function does not return one Tensor of one element.
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

    It takes one backward pass per output element. For the arguments, see the module's docstring.

    Returns:
        A Tensor whose shape is the output's followed by the input's; for tuples, nested tuples J[output][input].

    Raises:
        RuntimeError, TypeError: as for `vjp`.
    """
    run = _Run("jacobian", func, inputs, create_graph, strict)
    table = []
    for out in run.outputs:
        rows = [run.vjp([out], [seed]) for seed in unit_gradients(out)]
        no_rows = [_zeros(x).reshape(-1)[:0] for x in run.inputs]  # for an output without elements
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
    """The Hessian of a function whose output has one element, as the Jacobian of its gradient.

    For the arguments, see the module's docstring.

    Returns:
        A Tensor whose shape is the input's followed by itself; for a tuple, nested tuples H[input][input].

    Raises:
        ValueError: the function does not return one Tensor of one element.
        RuntimeError, TypeError: as for `vjp`.
    """

    def gradient(*xs: Tensor) -> Any:
        run = _Run("hessian", func, xs, True, strict, scalar=True)
        return run.unpack(run.vjp(run.outputs, [None]), not isinstance(inputs, tuple))

    return jacobian(gradient, inputs, create_graph, strict)


class _Run:
    """A recorded call of a function on new Tensors; with `scalar`, it must return one Tensor of one element."""

    def __init__(
        self, name: str, func: Function, inputs: Tensors, create_graph: bool, strict: bool, scalar: bool = False
    ) -> None:
        self.name, self.create_graph, self.strict = name, create_graph, strict
        self.single_input = not isinstance(inputs, tuple)
        points = _as_list(name, "inputs", inputs)
        # Each input is a new Tensor; with `create_graph`, a view with a node of its own, whose history leads back to x
        self.inputs = [
            reshape(x, shape=x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_()
            for x in points
        ]
        outputs = func(*self.inputs)
        self.outputs, self.single_output = _as_list(name, "outputs", outputs), not isinstance(outputs, tuple)
        fits = not scalar or (self.single_output and self.outputs[0].numel() == 1)
        check(name, fits, "the function must return one Tensor of one element")
        for position, out in enumerate(self.outputs):
            self.check_strict(out, True, f"output {position}", "the inputs")

    def vector(self, v: Tensors | None, like: Sequence[Tensor]) -> list[Tensor]:
        """Return v as a list, after checking that it has the shapes of `like`.

        If v is None and `like` is a single Tensor of one element, return 1.
        """
        if v is None:
            is_one_element = len(like) == 1 and like[0].numel() == 1
            check(self.name, is_one_element, f"v is optional only for a single element, not for {_shapes(like)}")
            return [like[0]._wrap(np.ones_like(like[0]._data))]
        vectors = _as_list(self.name, "v", v)
        expected, actual = _shapes(like), _shapes(vectors)
        check(self.name, expected == actual, f"v must have shape {expected}, not {actual}")
        return vectors

    def vjp(self, outputs: Sequence[Tensor], seeds: Sequence[Any], differentiable: bool = False) -> list[Tensor]:
        """Return the gradients of the inputs, recorded if `differentiable`; 0 for inputs that no output depends on."""
        create_graph = differentiable or self.create_graph
        grads = _gradients(outputs, self.inputs, seeds, create_graph)
        for position, part in enumerate(grads):
            self.check_strict(part, False, "an output", f"input {position}")
            self.check_strict(part, create_graph, f"the derivative with respect to input {position}", "the inputs")
        return _without_none(grads, self.inputs)

    def check_strict(self, result: Tensor | None, must_require_grad: bool, dependent: str, source: str) -> None:
        """With `strict`, raise an error if `dependent` does not depend on `source`.

        That is the case if there is no result, or if the result should require gradients and does not.
        """
        depends = result is not None and (result.requires_grad or not must_require_grad)
        problem = f"{dependent} does not depend on {source}, which strict=True forbids"
        check(self.name, depends or not self.strict, problem, RuntimeError)

    def unpack(self, tensors: Sequence[Tensor], single: bool) -> Any:
        """Return Tensors as the caller expects them: one or a tuple, with history only if `create_graph` is set."""
        results = tuple(tensors) if self.create_graph else tuple(t.detach() for t in tensors)
        return results[0] if single else results


def _gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], seeds: Sequence[Any], create_graph: bool
) -> Sequence[Tensor | None]:
    """Return the gradients of the inputs, None for those that no output depends on; keep the graph."""
    pairs = [(out, seed) for out, seed in zip(outputs, seeds, strict=True) if out.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    outs, out_grads = zip(*pairs, strict=True)
    return grad(outs, inputs, out_grads, retain_graph=True, create_graph=create_graph, allow_unused=True)


def _without_none(tensors: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    """Replace None by zeros in the shape of the corresponding Tensor of `like`."""
    return [_zeros(x) if tensor is None else tensor for tensor, x in zip(tensors, like, strict=True)]


def _zeros(like: Tensor) -> Tensor:
    return like._wrap(np.zeros_like(like._data))


def _as_list(name: str, what: str, tensors: Any) -> list[Tensor]:
    items = list(tensors) if isinstance(tensors, tuple) else [tensors]
    for x in items:
        check(name, is_tensor(x), f"{what} must be a Tensor or a tuple of them, not {type_name(x)}", TypeError)
    return items


def _shapes(tensors: Sequence[Tensor]) -> str:
    return " and ".join(str(tensor.shape) for tensor in tensors)
