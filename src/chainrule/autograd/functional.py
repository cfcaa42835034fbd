"""Derivatives of functions, rather than of results: Jacobians, Hessians, and their products with vectors.

Each takes a function and the point at which to differentiate it: one Tensor or a tuple of them, in float. Where the
function takes or returns a tuple, so is the answer a tuple, of one entry for each. The point itself need not require
gradients, and its `.grad` is left alone.

Arguments that all share:
    func: takes Tensors, returns a Tensor or a tuple of them.
    inputs: where to differentiate.
    create_graph: make the answer differentiable itself, back to inputs that require gradients.
    strict: an output that does not depend on an input is an error; without, its derivative is 0.

All record, under `no_grad()` too, as PyTorch's do.

Products need no matrix: with v the gradient of the outputs, `vjp` is one walk backwards; `hvp` is two.
Source: Pearlmutter, Fast Exact Multiplication by the Hessian (1994).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from chainrule.autograd.mode import enable_grad
from chainrule.autograd.tape import each_alone, grad
from chainrule.errors import check
from chainrule.ops.shape import reshape, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.tensor import Tensor

    Tensors: TypeAlias = Tensor | tuple[Tensor, ...]
    Function: TypeAlias = Callable[..., Tensors]
    Single: TypeAlias = Callable[[Tensor], Tensor]


@overload
def vjp(
    func: Single, inputs: Tensor, v: Tensor | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, Tensor]: ...


@overload
def vjp(
    func: Function, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensors, Tensors]: ...


@enable_grad()
def vjp(
    func: Function, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensors, Tensors]:
    """vᵀ J: the gradient of the inputs, given that of the outputs.

    `v` is shaped as the outputs, and may be left out for a single number; the other arguments are told of above.

    Returns:
        The outputs, and the product, shaped as the inputs.

    Raises:
        ValueError: `v` does not fit.
        RuntimeError: see `strict`.
        TypeError: the function returns something else than Tensors.
    """
    run = _Run("vjp", func, inputs, create_graph, strict)
    product = run.pull(run.outputs, run.vector(v, run.outputs))
    return run.answer(run.outputs, run.out_alone), run.answer(product, run.in_alone)


@overload
def hvp(
    func: Single, inputs: Tensor, v: Tensor | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, Tensor]: ...


@overload
def hvp(
    func: Function, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensors, Tensors]: ...


@enable_grad()
def hvp(
    func: Function, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensors, Tensors]:
    """H v, where H are the second derivatives of a function whose output is one number: the gradient of (gradient · v).

    `v` is shaped as the inputs, and may be left out for a single number; the other arguments are told of above.

    Returns:
        The output, and the product, shaped as the inputs.

    Raises:
        ValueError: `v` does not fit, or the output is not one number.
        RuntimeError, TypeError: as for `vjp`.
    """
    run = _Run("hvp", func, inputs, create_graph, strict, single=True)
    along = run.vector(v, run.inputs)
    first = run.pull(run.outputs, [None], again=True)
    product = run.pull(first, along)
    return run.answer(run.outputs, True), run.answer(product, run.in_alone)


@overload
def jacobian(func: Single, inputs: Tensor, create_graph: bool = False, strict: bool = False) -> Tensor: ...


@overload
def jacobian(func: Function, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any: ...


@enable_grad()
def jacobian(func: Function, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any:
    """J: the derivative of each element of the outputs by each element of the inputs: one walk for each row.

    Returns:
        A Tensor of the output's shape followed by the input's; J[output][input], tuples, where there are several.

    Raises:
        RuntimeError, TypeError: as for `vjp`.
    """
    run = _Run("jacobian", func, inputs, create_graph, strict)
    table = []
    for out in run.outputs:
        rows = [run.pull([out], [seed]) for seed in each_alone(out)]
        none = [_zeros(x).reshape(-1)[:0] for x in run.inputs]
        columns = [stack(column) for column in zip(*rows, strict=True)] or none
        blocks = [reshape(c, shape=out.shape + x.shape) for c, x in zip(columns, run.inputs, strict=True)]
        table.append(run.answer(blocks, run.in_alone))
    return table[0] if run.out_alone else tuple(table)


@overload
def hessian(func: Single, inputs: Tensor, create_graph: bool = False, strict: bool = False) -> Tensor: ...


@overload
def hessian(func: Function, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any: ...


@enable_grad()
def hessian(func: Function, inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any:
    """H: the second derivatives of a function whose output is one number, as the Jacobian of its gradient.

    Returns:
        A Tensor of the input's shape twice; H[input][input], tuples, where there are several.

    Raises:
        ValueError: the output is not one number.
        RuntimeError, TypeError: as for `vjp`.
    """

    def gradient(*xs: Tensor) -> Tensors:
        run = _Run("hessian", func, xs, True, strict, single=True)
        return run.answer(run.pull(run.outputs, [None]), not isinstance(inputs, tuple))

    return jacobian(gradient, inputs, create_graph, strict)


class _Run:
    """A function that was run on Tensors of its own, ready to be differentiated; `single`: it must give one number."""

    def __init__(
        self, name: str, func: Function, inputs: Tensors, create_graph: bool, strict: bool, single: bool = False
    ) -> None:
        self.name, self.create_graph, self.strict = name, create_graph, strict
        self.in_alone = not isinstance(inputs, tuple)
        given = _tuple(name, "inputs", inputs)
        self.inputs = [
            reshape(x, shape=x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_()
            for x in given
        ]
        outputs = func(*self.inputs)
        self.outputs, self.out_alone = _tuple(name, "outputs", outputs), not isinstance(outputs, tuple)
        fits = not single or (self.out_alone and self.outputs[0].numel() == 1)
        check(name, fits, "the function must return one Tensor of one element")

    def vector(self, v: Tensors | None, like: Sequence[Tensor]) -> list[Tensor]:
        """What the caller gave for v, checked; ones if it was left out and is a single number."""
        if v is None:
            alone = len(like) == 1 and like[0].numel() == 1
            check(self.name, alone, f"v may only be left out for a single number, not for {_shapes(like)}")
            return [like[0]._wrap(np.ones_like(like[0]._data))]
        given = _tuple(self.name, "v", v)
        wanted, found = _shapes(like), _shapes(given)
        check(self.name, wanted == found, f"v must have shape {wanted}, not {found}")
        return given

    def pull(self, outputs: Sequence[Tensor], seeds: Sequence[Any], again: bool = False) -> list[Tensor]:
        """The gradients of the inputs, 0 where nothing depends on them; `again` if they are to be differentiated."""
        create_graph = again or self.create_graph
        pairs = [(out, seed) for out, seed in zip(outputs, seeds, strict=True) if out.requires_grad]
        found: Sequence[Tensor | None] = [None] * len(self.inputs)
        if pairs:
            outs, chosen = zip(*pairs, strict=True)
            found = grad(outs, self.inputs, chosen, retain_graph=True, create_graph=create_graph, allow_unused=True)
        for position, part in enumerate(found if self.strict else ()):
            unused = f"an output does not depend on input {position}, as strict demands"
            check(self.name, part is not None, unused, RuntimeError)
        return [_zeros(x) if part is None else part for x, part in zip(self.inputs, found, strict=True)]

    def answer(self, tensors: Sequence[Tensor], alone: bool) -> Tensors:
        """As the caller gave or wrote them: one Tensor or a tuple, without history unless that was asked for."""
        given = tuple(tensors) if self.create_graph else tuple(t.detach() for t in tensors)
        return given[0] if alone else given


def _zeros(like: Tensor) -> Tensor:
    return like._wrap(np.zeros_like(like._data))


def _tuple(name: str, what: str, tensors: Any) -> list[Tensor]:
    given = list(tensors) if isinstance(tensors, tuple) else [tensors]
    for x in given:
        kind = type(x).__name__
        check(name, hasattr(x, "requires_grad"), f"{what} must be a Tensor or a tuple of them, not {kind}", TypeError)
    return given


def _shapes(tensors: Sequence[Tensor]) -> str:
    return " and ".join(str(tensor.shape) for tensor in tensors)
