"""A graph as a Python file that needs NumPy alone: the weights as text, and one line for each node."""

from __future__ import annotations

import base64
import inspect
import textwrap
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.source import runtime
from chainrule.source.graph import Node, SourceError, join, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.source.graph import Graph

INFIX = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.matmul: "@", np.power: "**",
    np.equal: "==", np.not_equal: "!=", np.less: "<", np.less_equal: "<=", np.greater: ">", np.greater_equal: ">=",
}  # fmt: skip
"""Functions that are written as operators."""


class Batch(int):
    """A size that is this number times the size of the batch."""


def write_numpy(small: Graph, large: Graph, title: str, classes: Sequence[str] = (), inputs: Sequence[str] = ()) -> str:
    """Return the text of a Python file with a function `predict`.

    Args:
        small: the network recorded with a batch of 2.
        large: the network recorded with a batch of 3; sizes in which the two graphs differ depend on the batch.
        title: the first line of the file's docstring.
        classes: what each output means; may be empty.
        inputs: what each number of an example means; may be empty.

    Raises:
        SourceError: the graphs differ in more than sizes, or in a size that is not a multiple of the batch's.
    """
    nodes, shapes = _with_batch_sizes(small, large)
    constants = [node for node in nodes if node.is_constant]
    names = {id(small.input): "x"}
    names |= {id(node): f"weights[{node.name!r}]" for node in constants}
    lines, used = [], set[Any]()
    steps = [node for node in nodes if not node.is_constant]
    for number, node in enumerate(steps, 1):
        names[id(node)] = f"v{number}"
        lines.append(f"{names[id(node)]} = {_expression(node, names)}  # {shapes[id(node)]}")
        used |= {node.function} & runtime.NEEDS.keys()
    functions = [f for f in (*runtime.NEEDS, runtime.sliding_windows) if f in used or any(
        f in runtime.NEEDS[g] for g in used
    )]  # fmt: skip
    return "\n".join(
        [
            f'"""{title}',
            "",
            "Needs NumPy alone. `predict(x)` maps",
            f"    x: {_describe(small.input)}",
            f"    to {_describe(small.output)}",
            '"""',
            "",
            "import base64",
            *(["import math"] if runtime.erf in used else []),
            "import zlib",
            "",
            "import numpy as np",
            "",
            *([f"INPUTS = {list(inputs)!r}", ""] if inputs else []),
            *([f"CLASSES = {list(classes)!r}", ""] if classes else []),
            "",
            "def predict(x):",
            f'    """Map {_describe(small.input)} to {_describe(small.output)}."""',
            f"    x = np.asarray(x, np.{small.input.dtype.name})",
            *_check(small.input),
            *(f"    {line}" for line in lines),
            f"    return {names[id(small.output)]}",
            "",
            *(line for function in functions for line in ["", *_source(function), ""]),
            *_unpack(constants),
            "",
        ]
    )


def _shape_text(small: Sequence[int], large: Sequence[int]) -> str:
    """Return a shape for a comment, from those with batches of 2 and 3: sizes that differ are multiples of N."""
    sizes = []
    for small_size, large_size in zip(small, large, strict=True):
        multiple = large_size - small_size
        sizes.append(f"{multiple} N" if multiple > 1 else "N" if multiple else str(small_size))
    return f"({', '.join(sizes)})"


def _describe(node: Node) -> str:
    return f"{node.dtype.name} ({', '.join(['N', *map(str, node.shape[1:])])})"


def _check(node: Node) -> list[str]:
    shape = node.shape[1:]
    return [
        f"    if x.shape[1:] != {shape!r}:",
        f'        raise ValueError(f"x must have shape (N, {", ".join(map(str, shape))}), not {{x.shape}}")',
    ]


def _source(function: Any) -> list[str]:
    return inspect.getsource(function).splitlines()


def _with_batch_sizes(small: Graph, large: Graph) -> tuple[list[Node], dict[int, str]]:
    """Return the nodes of the small graph, with `Batch` in place of sizes that depend on the batch.

    Also returns the shape of each node's value as text, by the node's id.
    """
    nodes, others = small.used(), large.used()
    if len(nodes) != len(others):
        raise _refusal()
    counterparts = {id(small.input): id(large.input)} | {id(a): id(b) for a, b in zip(nodes, others, strict=True)}
    for node, other in zip(nodes, others, strict=True):
        if node.function is not other.function or len(node.inputs) != len(other.inputs):
            raise _refusal()
        if len(node.shape) != len(other.shape):
            raise _refusal()
        for x, y in zip(node.inputs, other.inputs, strict=True):
            is_same = counterparts.get(id(x)) == id(y) if isinstance(x, Node) else x == y
            if not is_same:
                raise _refusal()
        if node.is_constant and not np.array_equal(node.example, other.example, equal_nan=node.dtype.kind == "f"):
            raise _refusal()
        for name, value in node.options.items():
            if value != other.options[name]:
                node.options[name] = tuple(map(_batch_size, value, other.options[name]))
    shapes = {id(node): _shape_text(node.shape, other.shape) for node, other in zip(nodes, others, strict=True)}
    return nodes, shapes


def _batch_size(small: int, large: int) -> int:
    if small == large:
        return small
    if small % 2 or small // 2 * 3 != large:
        raise _refusal()
    return Batch(small // 2)


def _refusal() -> SourceError:
    return SourceError(
        "export: what the network computes depends on the size of the batch; take sizes from the shape of a tensor, as "
        "in x.reshape(x.shape[0], -1)"
    )


def _literal(x: Any) -> str:
    """Return a Python value as text."""
    if isinstance(x, Batch):
        return "len(x)" if x == 1 else f"{int(x)} * len(x)"
    if isinstance(x, tuple):
        return f"({', '.join(map(_literal, x))}{',' if len(x) == 1 else ''})"
    if isinstance(x, np.dtype):
        return "bool" if x.kind == "b" else f"np.{x.name}"
    if isinstance(x, float) and not np.isfinite(x):
        return "np.nan" if x != x else "np.inf" if x > 0 else "-np.inf"
    return repr(x)


def _slice(x: Any) -> str:
    """Return an element of an index as text."""
    if isinstance(x, slice):
        start, stop = ("" if n is None else str(n) for n in (x.start, x.stop))
        return f"{start}:{stop}" + ("" if x.step is None else f":{x.step}")
    return "..." if x is ... else "None" if x is None else str(x)


def _expression(node: Node, names: dict[int, str]) -> str:
    """Return the call of a node's function as text."""
    texts = [names[id(x)] if isinstance(x, Node) else _literal(x) for x in node.inputs]
    options = {name: _literal(value) for name, value in node.options.items() if name != "index"}
    function = node.function
    if function is np.power and texts[0].startswith("-"):
        texts[0] = f"({texts[0]})"  # in Python, ** binds more tightly than a minus sign before it
    if function in INFIX:
        return f"{texts[0]} {INFIX[function]} {texts[1]}"
    if function is np.transpose:
        is_reversal = node.options["axes"] == tuple(range(node.example.ndim))[::-1]
        return f"{texts[0]}.T" if is_reversal else f"{texts[0]}.transpose{options['axes']}"
    if function is np.reshape:
        return f"{texts[0]}.reshape({options['shape'].strip('()').rstrip(',')})"
    if function is np.asarray:
        return f"{texts[0]}.astype({options['dtype']})"
    if function is part:
        return f"{texts[0]}[{', '.join(map(_slice, node.options['index']))}]"
    if function is join:
        return f"np.concatenate(({', '.join(texts)}), {options['axis']})"
    if function in runtime.NEEDS:
        return f"{function.__name__}({', '.join([*texts, *options.values()])})"
    return f"np.{function.__name__}({', '.join([*texts, *(f'{name}={text}' for name, text in options.items())])})"


def _unpack(constants: Sequence[Node]) -> list[str]:
    """Return the lines that hold the weights and unpack them."""
    arrays = [np.ascontiguousarray(node.example, node.dtype.newbyteorder("<")) for node in constants]
    packed = base64.b85encode(zlib.compress(b"".join(array.tobytes() for array in arrays), 9)).decode()
    table = [
        f"    ({node.name!r}, {array.dtype.str!r}, {_literal(array.shape)}),"
        for node, array in zip(constants, arrays, strict=True)
    ]
    return [
        "",
        "def unpack(text):",
        '    """Return the weights by name: little-endian arrays one after the other, compressed, in base 85."""',
        "    data, arrays, start = zlib.decompress(base64.b85decode(text.replace(chr(10), ''))), {}, 0",
        "    for name, dtype, shape in SHAPES:",
        "        count = int(np.prod(shape))",
        "        array = np.frombuffer(data, dtype, count, start).reshape(shape)",
        "        arrays[name] = array.astype(array.dtype.newbyteorder('='))",
        "        start += array.nbytes",
        "    return arrays",
        "",
        "",
        "SHAPES = [",
        *table,
        "]",
        'weights = unpack("""',
        *textwrap.wrap(packed, 120, break_on_hyphens=False),
        '""")',
    ]
