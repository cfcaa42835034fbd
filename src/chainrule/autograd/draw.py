"""A picture of the computation graph: what the tape recorded, from the leaves down to a result.

`graph` says what there is to draw. `draw` writes it as text, for Graphviz and Markdown, which lay out graphs of any
size; `chainrule.plots.computation_graph` draws small ones by matplotlib alone.
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
    loss: Tensor, format: str = "svg", path: str | os.PathLike[str] | None = None,  # noqa: A002  # what all call it
    names: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (),
) -> str:  # fmt: skip
    """The computation graph of a result, drawn: operations with the shapes of their results, and leaves.

    The same program gives the same text. What asked for no gradient was not recorded, and is not in the graph.

    Args:
        loss: the result.
        format: "dot" (Graphviz's text), "mermaid" (the text that Markdown pages draw) or "svg", for which Graphviz's
            program `dot` must be installed.
        path: where to write it too.
        names: of leaves and of results in between, such as `model.named_parameters()`.

    Returns:
        The text of the drawing.

    Raises:
        ValueError: an unknown format.
        RuntimeError: the result has no history, or it was freed by `backward()`; or `dot` is missing or fails.
    """
    drawn = {"svg": _svg, "dot": _dot, "mermaid": _mermaid}.get(format)
    if drawn is None:
        raise ValueError(f"draw: format must be 'svg', 'dot' or 'mermaid', not {format!r}")
    boxes, edges = graph(loss, names)
    text = drawn(boxes, edges)
    if path is not None:
        write_text(path, text)
    return text


class Box(NamedTuple):
    """A node to draw.

    Attributes:
        label: lines of text: its name, its operation, its shape.
        leaf: whether it is a leaf.
    """

    label: list[str]
    leaf: bool


def graph(
    loss: Tensor, names: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = ()
) -> tuple[list[Box], list[tuple[int, int]]]:
    """The computation graph of a result: its nodes in the order of computing, and its edges as pairs of positions.

    Args:
        loss: the result.
        names: of leaves and intermediate results, such as `model.named_parameters()`.

    Raises:
        RuntimeError: the result has no history, or it was freed by `backward()`.
    """
    named = {tensor._node: name for name, tensor in dict(names).items() if tensor._node is not None}
    nodes = _behind(node_of(loss, "draw"))
    number = {node: i for i, node in enumerate(nodes)}
    edges = [(number[p], number[n]) for n in nodes if isinstance(n, Node) for p in n.parents if p is not None]
    return [Box(_label(node, named.get(node, "")), isinstance(node, Leaf)) for node in nodes], edges


def _behind(root: Node | Leaf) -> list[Node | Leaf]:
    """All that a result was computed from, in the order of computing; a leaf stands before its first use."""
    ordered: dict[Node | Leaf, None] = {}
    for node in history([root]):
        if node.saved is None:
            instead = "draw it before, or call backward(retain_graph=True)"
            raise RuntimeError(f"draw: this graph was freed by backward(); {instead}")
        ordered.update(dict.fromkeys(parent for parent in node.parents if parent is not None))
        ordered[node] = None
    return list(ordered) or [root]


def _label(node: Node | Leaf, name: str) -> list[str]:
    """What to write into a box, line by line."""
    what = node.operation.name if isinstance(node, Node) else "" if name else "leaf"
    return [line for line in (name, what, str(node.shape)) if line]


def _dot(boxes: list[Box], edges: list[tuple[int, int]]) -> str:
    """Graphviz's language: https://graphviz.org/doc/info/lang.html."""
    lines = ["digraph {", '  node [shape=box, style=rounded, fontname="sans-serif"]']
    for i, (label, leaf) in enumerate(boxes):
        words = "\\n".join(line.translate({ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n"}) for line in label)
        lines.append(f'  n{i} [label="{words}"{", style=filled, fillcolor=lightblue" if leaf else ""}]')
    return "\n".join([*lines, *(f"  n{a} -> n{b}" for a, b in edges), "}", ""])


def _mermaid(boxes: list[Box], edges: list[tuple[int, int]]) -> str:
    """Mermaid's flowchart: https://mermaid.js.org/syntax/flowchart.html; other characters than plain ones as `#35;`."""
    lines = ["flowchart TD"]
    for i, (label, leaf) in enumerate(boxes):
        words = "<br>".join(re.sub(r"[^\w .,()-]", lambda found: f"#{ord(found[0])};", line) for line in label)
        lines.append(f'  n{i}["{words}"]' if leaf else f'  n{i}("{words}")')
    return "\n".join([*lines, *(f"  n{a} --> n{b}" for a, b in edges), ""])


def _svg(boxes: list[Box], edges: list[tuple[int, int]]) -> str:
    """What Graphviz makes of `_dot`."""
    import shutil  # slow to import, and only needed here
    import subprocess

    program = shutil.which("dot")
    if program is None:
        missing = "an SVG needs Graphviz's program `dot`, which was not found on the PATH"
        raise RuntimeError(f"draw: {missing}: install Graphviz, or ask for format='mermaid' or format='dot'")
    done = subprocess.run([program, "-Tsvg"], input=_dot(boxes, edges).encode(), capture_output=True, check=False)  # noqa: S603  # no user's words
    if done.returncode:
        raise RuntimeError(f"draw: `dot` failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()
