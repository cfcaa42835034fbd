"""The computation graph as a figure, from the leaves down to the result, without Graphviz."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.plots import style
from chainrule.plots.graph_text import graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matplotlib.figure import Figure

    from chainrule.tensor import Tensor

_COLUMN_WIDTH, _ROW_HEIGHT = 1.9, 0.62  # inches from box to box


def computation_graph(
    loss: Tensor,
    names: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (),
    title: str = "Computation graph",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the computation graph of a result: a box for each leaf (filled) and each operation, with its shape.

    `chainrule.draw` renders the same graph as text, or as SVG by Graphviz, which handles large graphs better.

    Args:
        loss: the result, before `backward()` frees its graph.
        names: names of leaves and intermediate results, such as `model.named_parameters()`.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        RuntimeError: the result has no graph, or the graph was freed.
    """
    boxes, arrows = graph(loss, names)
    positions = _layout([box.is_leaf for box in boxes], arrows)
    theme = style.DARK if dark else style.LIGHT
    columns, rows = (max(position[axis] for position in positions) for axis in (0, 1))
    width, height = _COLUMN_WIDTH * (columns + 1), _ROW_HEIGHT * (rows + 1)
    total = max(width, 0.115 * len(title) + 0.3)
    side = (total - width) / 2
    figure = style.new_figure(total, height + 0.6, title, theme, margins=(side, 0.1, side, 0.5))
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(-0.5, columns + 0.5), ylim=(rows + 0.5, -0.5))
    frames = []
    for (label, is_leaf), position in zip(boxes, positions, strict=True):
        box = {
            "boxstyle": "round,pad=0.4",
            "facecolor": theme.grid if is_leaf else theme.background,
            "edgecolor": theme.foreground,
        }
        text = axes.text(
            *position, "  ".join(label), bbox=box, color=theme.foreground, size=style.SMALL, parse_math=False
        )
        text.set(horizontalalignment="center", verticalalignment="center")
        frames.append(text.get_bbox_patch())
    for start, end in arrows:
        line = {"arrowstyle": "-|>", "color": theme.frame, "patchA": frames[start], "patchB": frames[end]}
        axes.annotate("", positions[end], positions[start], arrowprops=line, zorder=4)  # needs the sizes of the boxes
    return figure


def _layout(leaves: list[bool], arrows: list[tuple[int, int]]) -> list[tuple[float, int]]:
    """Column and row of each box; boxes are numbered in execution order.

    An operation is one row below the lowest of its inputs, and a leaf directly above its first use. From the last row
    up, each box is placed above its users, or to the right of that if the position is occupied.
    """
    rows = [0] * len(leaves)
    for number in range(len(leaves)):
        input_rows = [rows[start] for start, end in arrows if end == number and not leaves[start]]
        rows[number] = max(input_rows, default=0) + 1
    for number, leaf in enumerate(leaves):
        if leaf:
            rows[number] = min((rows[end] for start, end in arrows if start == number), default=1) - 1
    columns = [0.0] * len(leaves)
    for row in sorted(set(rows), reverse=True):
        preferred = []
        for number in (n for n, box_row in enumerate(rows) if box_row == row):
            user_columns = [columns[end] for start, end in arrows if start == number]
            preferred.append((sum(user_columns) / len(user_columns) if user_columns else 0.0, leaves[number], number))
        first_free = 0.0
        for column, _, number in sorted(preferred):
            columns[number] = max(column, first_free)
            first_free = columns[number] + 1
    lowest = min(rows)
    return [(column, row - lowest) for column, row in zip(columns, rows, strict=True)]
