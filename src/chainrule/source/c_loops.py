"""Each node of a graph as loops over its elements."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.source import runtime
from chainrule.source.c_tree import (
    Assign,
    Call,
    Choice,
    Declare,
    Element,
    If,
    Infix,
    Name,
    Number,
    Position,
    Prefix,
    Return,
    c_type,
    nest,
)
from chainrule.source.graph import Node, SourceError, join, part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Build = Callable[["Loops", Node, "list[Operand]"], "View"]


@dataclass(frozen=True)
class View:
    """An array in memory, or a part of one.

    Attributes:
        name: the name of the C array.
        dtype: the type of its elements.
        shape: the shape of the view.
        strides: the distance between neighbors along each dimension, in elements.
        offset: the position of the view's first element in the C array.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def is_contiguous(self) -> bool:
        """Whether the view's elements follow one another in the C array, from its start."""
        own = [stride for n, stride in zip(self.shape, self.strides, strict=True) if n != 1]
        expected = [stride for n, stride in zip(self.shape, contiguous(self.shape), strict=True) if n != 1]
        return own == expected and not self.offset

    def at(self, indices: Sequence[str]) -> Element:
        """Return the element at the last of these indices; dimensions of size 1 are broadcast."""
        indices = indices[len(indices) - len(self.shape) :]
        pairs = zip(indices, self.shape, self.strides, strict=True)
        return Element(self.name, Position(tuple((i, s) for i, n, s in pairs if n != 1), self.offset))


Operand = View | Number


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of an array without gaps, in elements."""
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


class Loops:
    """The statements and arrays of a function.

    Attributes:
        body: the statements so far.
        arrays: name, type and length of each intermediate array.
    """

    def __init__(self) -> None:
        self.body: list[Any] = []
        self.arrays: list[tuple[str, str, int]] = []

    def add(self, node: Node, operands: list[Operand]) -> View:
        """Write a node, and return a view of its value.

        Raises:
            SourceError: its function cannot be written as C.
        """
        build = BUILDERS.get(node.function)
        if build is None:
            raise SourceError(f"export: the function {node.function.__name__} cannot be written as C; export to .onnx")
        return build(self, node, operands)

    def new(self, node: Node) -> View:
        """Return a new array for a node's value."""
        name = f"v{len(self.arrays) + 1}"
        self.arrays.append((name, c_type(node.dtype), max(1, node.example.size)))
        return View(name, node.dtype, node.shape, contiguous(node.shape))

    def write(self, out: View, value: Callable[[list[str]], Any]) -> None:
        """Write each element of an array."""
        indices = _indices(len(out.shape))
        self.body += nest(indices, out.shape, [Assign(out.at(indices), value(indices))])


def _indices(count: int) -> list[str]:
    return [f"i{d}" for d in range(count)]


def _at(operand: Operand, indices: Sequence[str]) -> Any:
    return operand if isinstance(operand, Number) else operand.at(indices)


# Elementwise functions


def _math(name: str) -> Callable[..., Any]:
    """Return how to call a function of math.h, whose name ends in "f" for floats."""
    return lambda dtype, *x: Call(name + ("f" if dtype == np.float32 else ""), x)


def _infix(operator: str) -> Callable[..., Any]:
    return lambda _, x, y: Infix(operator, x, y)


def _extreme(operator: str) -> Callable[..., Any]:
    """Return how to write a maximum or minimum; if an operand is NaN, so is the result."""

    def write(dtype: np.dtype[Any], x: Any, y: Any) -> Any:
        is_y = Infix(operator, y, x)
        if dtype.kind == "f" and not isinstance(y, Number):
            is_y = Infix("||", is_y, Call("isnan", (y,)))
        return Choice(is_y, y, x)

    return write


def _one(dtype: np.dtype[Any]) -> Number:
    return Number(1, dtype)


FORMULAS: dict[Any, Callable[..., Any]] = {
    np.add: lambda dtype, x, y: Infix("||" if dtype.kind == "b" else "+", x, y),
    np.subtract: _infix("-"), np.multiply: _infix("*"), np.true_divide: _infix("/"),
    np.equal: _infix("=="), np.not_equal: _infix("!="), np.less: _infix("<"), np.less_equal: _infix("<="),
    np.greater: _infix(">"), np.greater_equal: _infix(">="), np.logical_and: _infix("&&"), np.logical_or: _infix("||"),
    np.logical_not: lambda _, x: Prefix("!", x), np.negative: lambda _, x: Prefix("-", x),
    np.square: lambda _, x: Infix("*", x, x), np.reciprocal: lambda dtype, x: Infix("/", _one(dtype), x),
    np.maximum: _extreme(">"), np.minimum: _extreme("<"), np.power: _math("pow"), np.absolute: _math("fabs"),
    np.sign: lambda _, x: Choice(Call("isnan", (x,)), x, Infix("-", Infix(">", x, 0), Infix("<", x, 0))),
    np.isnan: lambda dtype, x: Call("isnan", (x,)) if dtype.kind == "f" else Infix("*", x, 0),
    np.isfinite: lambda dtype, x: Call("isfinite", (x,)) if dtype.kind == "f" else Infix("||", x, 1),
    np.where: lambda _, test, x, y: Choice(test, x, y), runtime.erf: _math("erf"),
    **{f: _math(f.__name__) for f in (
        np.sqrt, np.exp, np.log, np.expm1, np.log1p, np.tanh, np.sin, np.cos, np.floor, np.ceil
    )},
}  # fmt: skip
"""How to write each elementwise function, from the type that it computes in and its operands."""


def _elementwise(loops: Loops, node: Node, operands: list[Operand]) -> View:
    out = loops.new(node)
    dtypes = [x.dtype for x in operands if isinstance(x, View)]
    dtype = node.dtype if node.function is np.where else np.result_type(*dtypes)
    if node.function in (np.absolute, np.sign, np.power, np.reciprocal) and dtype.kind != "f":
        raise SourceError(f"export: {node.function.__name__} of type {dtype.name} cannot be written as C")
    typed = [replace(x, dtype=dtype) if isinstance(x, Number) else x for x in operands]
    loops.write(out, lambda i: FORMULAS[node.function](dtype, *(_at(x, i) for x in typed)))
    return out


def _cast(loops: Loops, node: Node, operands: list[Operand]) -> View:
    out = loops.new(node)
    if node.dtype.kind == "b":  # C's unsigned char would hold other numbers than 0 and 1
        loops.write(out, lambda i: Infix("!=", _at(operands[0], i), 0))
    else:
        loops.write(out, lambda i: Prefix(f"({c_type(node.dtype)})", _at(operands[0], i)))
    return out


# Views


def _view(operand: Operand) -> View:
    if isinstance(operand, Number):
        raise SourceError("export: an array of one number cannot be written as C")
    return operand


def _reshape(loops: Loops, node: Node, operands: list[Operand]) -> View:
    x = _view(operands[0])
    result = x
    if not x.is_contiguous:
        result = loops.new(replace_shape(node, x.shape))
        loops.write(result, x.at)
    return View(result.name, result.dtype, node.shape, contiguous(node.shape))


def replace_shape(node: Node, shape: tuple[int, ...]) -> Node:
    """Return a copy of a node whose example has a different shape."""
    return replace(node, example=node.example.reshape(shape))


def _transpose(loops: Loops, node: Node, operands: list[Operand]) -> View:
    x, axes = _view(operands[0]), node.options["axes"]
    return replace(x, shape=node.shape, strides=tuple(x.strides[axis] for axis in axes))


def _broadcast_to(loops: Loops, node: Node, operands: list[Operand]) -> View:
    x = _view(operands[0])
    added = len(node.shape) - len(x.shape)
    strides = [0 if n == 1 else stride for n, stride in zip(x.shape, x.strides, strict=True)]
    return replace(x, shape=node.shape, strides=(0,) * added + tuple(strides))


def _part(loops: Loops, node: Node, operands: list[Operand]) -> View:
    x = _view(operands[0])
    parts = [*node.options["index"]]
    position = parts.index(...) if ... in parts else len(parts)
    missing = len(x.shape) - sum(p is not None and p is not ... for p in parts)
    parts[position : position + 1] = [slice(None)] * missing
    shape, strides, offset, d = [], [], x.offset, 0
    for p in parts:
        if p is None:
            shape.append(1)
            strides.append(0)
            continue
        if isinstance(p, slice):
            start, _, step = p.indices(x.shape[d])
            shape.append(len(range(*p.indices(x.shape[d]))))
            strides.append(step * x.strides[d])
            offset += start * x.strides[d]
        else:
            offset += p % x.shape[d] * x.strides[d]
        d += 1
    return View(x.name, x.dtype, tuple(shape), tuple(strides), offset)


def _join(loops: Loops, node: Node, operands: list[Operand]) -> View:
    out, axis, start = loops.new(node), node.options["axis"], 0
    for operand in operands:
        x = _view(operand)
        target = replace(out, shape=x.shape, offset=start * out.strides[axis])
        loops.write(target, x.at)
        start += x.shape[axis]
    return out


def _take(loops: Loops, node: Node, operands: list[Operand]) -> View:
    """Write the rows of a table, the first operand, at indices, the second; return -1 if one is out of range."""
    table, index = _view(operands[0]), _view(operands[1])
    out = loops.new(node)
    indices = _indices(len(out.shape))
    before, after = indices[: len(index.shape)], indices[len(index.shape) :]
    terms = (("row", table.strides[0]), *zip(after, table.strides[1:], strict=True))
    row = Declare("int64_t", "row", index.at(before))
    is_outside = Infix("||", Infix("<", Name("row"), 0), Infix(">=", Name("row"), table.shape[0]))
    check = If(is_outside, [Return(-1)])
    inner = nest(after, out.shape[len(before) :], [Assign(out.at(indices), Element(table.name, Position(terms)))])
    loops.body += nest(before, out.shape[: len(before)], [row, check, *inner])
    return out


# Sums


def _total(start: Any, dtype: np.dtype[Any]) -> Declare:
    return Declare(c_type(dtype), "total", Number(start, dtype))


def _matmul(loops: Loops, node: Node, operands: list[Operand]) -> View:
    x, y = map(_view, operands)
    if min(len(x.shape), len(y.shape)) < 2:
        raise SourceError("export: a product with a vector cannot be written as C; make it a matrix")
    if node.dtype.kind == "b":
        raise SourceError("export: a matrix product of booleans cannot be written as C; convert them to numbers")
    out = loops.new(node)
    *batch, row, column = _indices(len(out.shape))
    product = Infix("*", x.at([*batch, row, "k"]), y.at([*batch, "k", column]))
    loops.body += nest(
        [*batch, row, column], out.shape,
        [
            _total(0, node.dtype),
            *nest(["k"], [x.shape[-1]], [Assign("total", product, "+=")]),
            Assign(out.at([*batch, row, column]), Name("total")),
        ],
    )  # fmt: skip
    return out


def _reduction(loops: Loops, node: Node, operands: list[Operand]) -> View:
    """Write a sum, mean, maximum or minimum over some dimensions."""
    x = _view(operands[0])
    axes, function = node.options["axis"], node.function
    reduced_shape = tuple(1 if d in axes else n for d, n in enumerate(x.shape))
    out = loops.new(replace_shape(node, reduced_shape))
    count = math.prod(x.shape[d] for d in axes)
    indices = _indices(len(x.shape))
    outer = [d for d in range(len(x.shape)) if d not in axes]
    is_sum = function in (np.sum, np.mean)
    dtype = np.dtype(np.float64) if is_sum and node.dtype.kind == "f" else node.dtype
    start = 0 if is_sum else -math.inf if function is np.max else math.inf
    if not is_sum and node.dtype.kind != "f":
        raise SourceError(f"export: the {function.__name__} of integers cannot be written as C")
    element = x.at(indices)
    if is_sum:
        step = Assign("total", element, "+=")
    else:
        extreme = FORMULAS[np.maximum if function is np.max else np.minimum]
        step = Assign("total", extreme(dtype, Name("total"), element))
    total: Any = Name("total")
    total = Infix("/", total, Number(count, dtype)) if function is np.mean else total
    total = Prefix(f"({c_type(node.dtype)})", total) if dtype != node.dtype else total
    inner = nest([indices[d] for d in axes], [x.shape[d] for d in axes], [step])
    loops.body += nest(
        [indices[d] for d in outer], [x.shape[d] for d in outer],
        [_total(start, dtype), *inner, Assign(out.at(indices), total)],
    )  # fmt: skip
    return replace(out, shape=node.shape, strides=contiguous(node.shape))


# Images


def _inside(index: str, size: int) -> Any:
    """Return the condition that an index is inside an image of this size, not in its padding."""
    return Infix("&&", Infix(">=", Name(index), 0), Infix("<", Name(index), size))


def _windows(
    loops: Loops, x: View, out: View, options: dict[str, Any], inner: tuple[int, ...],
    step: Any, start: Any, finish: Any,
) -> View:  # fmt: skip
    """Write loops over windows of images (N, C, H, W).

    Args:
        loops: the statements so far, to which the loops are appended.
        x: the images.
        out: the array for the result.
        options: stride, padding and dilation.
        inner: the number of channels, rows and columns in a window, whose indices are d, p and q.
        step: the statement for each pixel of a window, at (row, column), that is inside the image.
        start: the initial value of `total`.
        finish: the expression for an element of the result, from `total`.
    """
    outer = ["n", "c", "i", "j"]
    body: list[Any] = []
    for name, axis in (("row", 0), ("column", 1)):
        moving = ((outer[2 + axis], out.shape[2 + axis]), (("p", "q")[axis], inner[1 + axis]))
        steps = options["stride"][axis], options.get("dilation", (1, 1))[axis]
        terms = tuple((index, s) for (index, n), s in zip(moving, steps, strict=True) if n != 1)
        body.append(Declare("const int", name, Position(terms, -options["padding"][axis][0])))
    if any(map(any, options["padding"])):
        step = If(Infix("&&", _inside("row", x.shape[2]), _inside("column", x.shape[3])), [step])
    window = nest(["d", "p", "q"], inner, [*body, step])
    total = _total(start, out.dtype)
    loops.body += nest(outer, out.shape, [total, *window, Assign(out.at(outer), finish)])
    return out


def _pixel(x: View, channel: str) -> Element:
    channels = ((channel, x.strides[1]),) if x.shape[1] != 1 else ()
    return Element(x.name, Position((*channels, ("row", x.strides[2]), ("column", x.strides[3])), x.offset))


def _convolution(loops: Loops, node: Node, operands: list[Operand]) -> View:
    x, weight = map(_view, operands)
    out, groups = loops.new(node), node.options["groups"]
    pixel = _pixel(x, "d")
    if groups > 1:  # each group of filters reads its own channels
        group = f"c / {weight.shape[0] // groups} * {weight.shape[1]}"
        first = Position(((f"({group})", x.strides[1]), *pixel.position.terms), pixel.position.offset)
        pixel = replace(pixel, position=first)
        if weight.shape[1] == 1:
            terms = tuple(term for term in first.terms if term[0] != "d")
            pixel = replace(pixel, position=replace(first, terms=terms))
    product = Infix("*", pixel, weight.at(["c", "d", "p", "q"]))
    step = Assign("total", product, "+=")
    return _windows(loops, x, out, node.options, weight.shape[1:], step, 0, Name("total"))


def _pool(loops: Loops, node: Node, operands: list[Operand]) -> View:
    x, kernel = _view(operands[0]), node.options["kernel"]
    out, pixel = loops.new(node), _pixel(x, "c")
    if node.function is runtime.max_pool:
        step = Assign("total", FORMULAS[np.maximum](node.dtype, Name("total"), pixel))
        return _windows(loops, x, out, node.options, (1, *kernel), step, -math.inf, Name("total"))
    mean = Infix("/", Name("total"), Number(math.prod(kernel), node.dtype))
    return _windows(loops, x, out, node.options, (1, *kernel), Assign("total", pixel, "+="), 0, mean)


BUILDERS: dict[Any, Build] = {
    **dict.fromkeys(FORMULAS, _elementwise),
    **dict.fromkeys((np.sum, np.mean, np.max, np.min), _reduction),
    np.asarray: _cast, np.reshape: _reshape, np.transpose: _transpose, np.broadcast_to: _broadcast_to, part: _part,
    join: _join, runtime.embedding: _take, np.matmul: _matmul,
    runtime.convolution: _convolution, runtime.max_pool: _pool, runtime.avg_pool: _pool,
}  # fmt: skip
"""The function that writes each NumPy function."""
