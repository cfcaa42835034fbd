"""Drawings of the computation graph, from the leaves to a result.

`graph` returns the nodes and edges. `draw` writes them in the language of Graphviz or of Mermaid, which is used in
Markdown, or returns the SVG that Graphviz makes; both programs lay out graphs of any size.
`chainrule.plots.computation_graph` draws small graphs with matplotlib alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from chainrule.autograd.tape import Leaf, Node, history, node_of
from chainrule.files import write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from chainrule.tensor import Tensor


def draw(
    loss: Tensor, format: str = "svg", path: str | os.PathLike[str] | None = None,  # noqa: A002  # the usual name
    names: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (),
) -> str:  # fmt: skip
    """Draw the computation graph of a result: leaves, and operations with the shapes of their results.

    The same program gives the same text. Operations that were not recorded, because no input requires gradients, are
    not in the graph.

    Args:
        loss: the Tensor whose graph to draw: a loss, or any other result of recorded operations.
        format: "dot" (Graphviz), "mermaid" (for Markdown) or "svg", which needs Graphviz's program `dot`.
        path: a file to which the text is written as well.
        names: names for leaves and intermediate results, such as `model.named_parameters()`.

    Returns:
        The text of the drawing.

    Raises:
        ValueError: the format is unknown.
        RuntimeError: the result has no history, or `backward()` has freed it; or `dot` is missing or fails.
    """
    render = {"svg": _svg, "dot": _dot, "mermaid": _mermaid}.get(format)
    if render is None:
        raise ValueError(f"draw: format must be 'svg', 'dot' or 'mermaid', not {format!r}")
    boxes, edges = graph(loss, names)
    text = render(boxes, edges)
    if path is not None:
        write_text(path, text)
    return text


class Box(NamedTuple):
    """A node to draw.

    Attributes:
        label: the lines of its text: the name, if there is one, the operation and the shape.
        is_leaf: whether it is a leaf.
    """

    label: list[str]
    is_leaf: bool


def graph(
    loss: Tensor, names: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = ()
) -> tuple[list[Box], list[tuple[int, int]]]:
    """Return the nodes of a result's computation graph in execution order, and its edges as pairs of positions.

    Args:
        loss: the Tensor whose graph to draw: a loss, or any other result of recorded operations.
        names: names for leaves and intermediate results, such as `model.named_parameters()`.

    Raises:
        RuntimeError: the result has no history, or `backward()` has freed it.
    """
    names_by_node = {tensor._node: name for name, tensor in dict(names).items() if tensor._node is not None}
    nodes = _ancestors(node_of(loss, "draw"))
    position_of = {node: i for i, node in enumerate(nodes)}
    edges = [(position_of[p], position_of[n]) for n in nodes if isinstance(n, Node) for p in n.parents if p is not None]
    return [Box(_label(node, names_by_node.get(node, "")), isinstance(node, Leaf)) for node in nodes], edges


def _ancestors(root: Node | Leaf) -> list[Node | Leaf]:
    """Return a node and all nodes that it was computed from, in execution order; a leaf comes before its first use."""
    ordered: dict[Node | Leaf, None] = {}
    for node in history([root]):
        if node.saved is None:
            solution = "draw it before, or call backward(retain_graph=True)"
            raise RuntimeError(f"draw: this graph was freed by backward(); {solution}")
        ordered.update(dict.fromkeys(parent for parent in node.parents if parent is not None))
        ordered[node] = None
    return list(ordered) or [root]


def _label(node: Node | Leaf, name: str) -> list[str]:
    """Return the lines of a box's text; `name` may be empty."""
    kind = node.operation.name if isinstance(node, Node) else "leaf"
    title = [name, kind] if isinstance(node, Node) or not name else [name]
    return [line for line in (*title, str(node.shape)) if line]


def _dot(boxes: list[Box], edges: list[tuple[int, int]]) -> str:
    """Write the graph in Graphviz's language: https://graphviz.org/doc/info/lang.html."""
    lines = ["digraph {", '  node [shape=box, style=rounded, fontname="sans-serif"]']
    for i, (label, is_leaf) in enumerate(boxes):
        text = "\\n".join(line.translate({ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n"}) for line in label)
        lines.append(f'  n{i} [label="{text}"{", style=filled, fillcolor=lightblue" if is_leaf else ""}]')
    return "\n".join([*lines, *(f"  n{a} -> n{b}" for a, b in edges), "}", ""])


def _mermaid(boxes: list[Box], edges: list[tuple[int, int]]) -> str:
    """Write the graph as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html); `#35;` escapes `#`."""
    lines = ["flowchart TD"]
    for i, (label, is_leaf) in enumerate(boxes):
        text = "<br>".join(re.sub(r"[^\w .,()-]", lambda match: f"#{ord(match[0])};", line) for line in label)
        lines.append(f'  n{i}["{text}"]' if is_leaf else f'  n{i}("{text}")')
    return "\n".join([*lines, *(f"  n{a} --> n{b}" for a, b in edges), ""])


def _svg(boxes: list[Box], edges: list[tuple[int, int]]) -> str:
    """Render `_dot` as SVG with Graphviz."""
    import shutil  # slow to import, and needed only here
    import subprocess

    program = shutil.which("dot")
    if program is None:
        problem = "an SVG needs Graphviz's program `dot`, which was not found on the PATH"
        raise RuntimeError(f"draw: {problem}: install Graphviz, or use format='mermaid' or format='dot'")
    process = subprocess.run([program, "-Tsvg"], input=_dot(boxes, edges).encode(), capture_output=True, check=False)  # noqa: S603  # a fixed command
    if process.returncode:
        raise RuntimeError(f"draw: `dot` failed: {process.stderr.decode(errors='replace').strip()}")
    return process.stdout.decode()
