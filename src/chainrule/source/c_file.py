"""A graph as a C99 header: weights, and one function for one example."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.source import runtime
from chainrule.source.c_loops import Loops, View, contiguous
from chainrule.source.c_tree import Assign, Block, Number, c_type, nest
from chainrule.source.graph import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.source.c_loops import Operand
    from chainrule.source.graph import Graph


def write_c(graph: Graph, title: str, name: str, classes: Sequence[str] = (), inputs: Sequence[str] = ()) -> str:
    """Return the text of a header with a function `<name>_predict(input, output)`.

    If the network looks up rows of a table, as an embedding does, the function returns 0, or -1 if an index is out of
    range; otherwise, it returns nothing.

    Args:
        graph: the network recorded with a batch of 1.
        title: the first line of the comment at the top.
        name: the prefix of every name in the header; characters that C does not allow become "_".
        classes: what each output means; may be empty.
        inputs: what each number of an example means; may be empty.

    Raises:
        SourceError: a function cannot be written as C; the message names it.
    """
    name = c_name(name)
    nodes = graph.used()
    views: dict[int, Operand] = {id(graph.input): _whole(graph.input, "x")}
    weights = [node for node in nodes if node.is_constant]
    for number, node in enumerate(weights):
        views[id(node)] = _whole(node, f"{name}_w{number}")
    loops = Loops()
    for node in nodes:
        if not node.is_constant:
            operands = [views[id(x)] if isinstance(x, Node) else Number(x, np.dtype(type(x))) for x in node.inputs]
            views[id(node)] = loops.add(node, operands)
            if loops.body and not isinstance(loops.body[-1], Block):  # views add no statements
                start = next(i for i, part in enumerate(loops.body) if not isinstance(part, Block))
                sizes = " × ".join(map(str, node.shape[1:]))
                loops.body[start:] = [Block(f"{node.function.__name__}: {sizes}", loops.body[start:])]
    result = views[id(graph.output)]
    indices = [f"i{d}" for d in range(len(graph.output.shape))]
    copy = Assign(_whole(graph.output, "y").at(indices), result.at(indices))  # type: ignore[union-attr]  # no number
    loops.body.append(Block("the result", nest(indices, graph.output.shape, [copy])))
    has_lookups = any(node.function is runtime.embedding for node in nodes)
    guard = f"{name.upper()}_H"
    memory = sum(length * np.dtype(_BYTES.get(kind, kind)).itemsize for _, kind, length in loops.arrays)
    return "\n".join(
        [
            f"/* {_comment(title)}",
            "",
            f"   {name}_predict(x, y) maps one example to its output:",
            f"   x: {_describe(graph.input)}; y: {_describe(graph.output)}.",
            *(f"   {line}" for line in textwrap.wrap(_comment(f"Inputs: {', '.join(inputs)}."), 110) if inputs),
            *(f"   {line}" for line in textwrap.wrap(_comment(f"Outputs: {', '.join(classes)}."), 110) if classes),
            *(
                ["   It returns 0; if an index is out of range, it returns -1 and leaves y as it is."]
                if has_lookups
                else []
            ),
            f"   C99, with math.h (link with -lm). Intermediate results, {memory:,} bytes, are in static memory:",
            "   one thread at a time may call it. */",
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <math.h>",
            "#include <stdint.h>",
            "",
            f"#define {name.upper()}_INPUTS {graph.input.example.size}",
            f"#define {name.upper()}_OUTPUTS {graph.output.example.size}",
            "",
            *(line for number, node in enumerate(weights) for line in _array(f"{name}_w{number}", node)),
            f"static inline {'int' if has_lookups else 'void'} {name}_predict("
            f"const {c_type(graph.input.dtype)} *x, {c_type(graph.output.dtype)} *y)",
            "{",
            *(f"    static {kind} {array}[{length}];" for array, kind, length in loops.arrays),
            *(f"    {line}" for statement in loops.body for line in statement.lines()),
            *(["    return 0;"] if has_lookups else []),
            "}",
            "",
            "#endif",
            "",
        ]
    )


_BYTES = {"float": "float32", "double": "float64", "unsigned char": "uint8"} | {
    f"{kind}{bits}_t": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}


def c_name(text: str) -> str:
    """Return a text as a prefix for names in C."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text) or "model"
    return name if name[0].isalpha() else f"model_{name}"


def _comment(text: str) -> str:
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ")


def _whole(node: Node, name: str) -> View:
    return View(name, node.dtype, node.shape, contiguous(node.shape))


def _describe(node: Node) -> str:
    return f"{c_type(node.dtype)}[{node.example.size}], {' × '.join(map(str, node.shape[1:]))}"


def _array(name: str, node: Node) -> list[str]:
    """Return the lines that define a constant array in C."""
    array: Any = np.ravel(node.example)
    text = ", ".join(str(Number(value, node.dtype)) for value in array)
    lines = textwrap.wrap(text, 120, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return [
        f"/* {_comment(node.name)}: {' × '.join(map(str, node.shape))} */",
        f"static const {c_type(node.dtype)} {name}[{max(1, array.size)}] = {{",
        *lines,
        "};",
        "",
    ]
