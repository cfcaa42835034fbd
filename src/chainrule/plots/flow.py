"""Boxes and arrows: numbers that flow forward through a computation, and slopes that flow back.

    from chainrule.plots.flow import Arrow, Node, flow_diagram

    nodes = {"x": Node(0, 0, "2"), "u": Node(1, 0, "6")}
    figure = flow_diagram(nodes, [Arrow("x", "u", "times 3")])

`animate_flow` shows several such drawings one after the other.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from chainrule.plots import style
from chainrule.plots.animation import Animation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_LINE, _LETTER = 0.185, 0.082  # inches: the height of a line of text, and the width of a letter
_FRAME_MILLISECONDS = 1500


class Node(NamedTuple):
    """A box.

    Attributes:
        x: its column; may be a fraction.
        y: its row, from the top; may be a fraction.
        value: printed below its name, for instance the number it holds.
        slope: printed below that, in bold.
        lit: whether it is filled.
    """

    x: float
    y: float
    value: str = ""
    slope: str = ""
    lit: bool = False


class Arrow(NamedTuple):
    """An arrow between two boxes.

    Attributes:
        start: the name of the box on the side of the inputs.
        end: the name of the box on the side of the result.
        label: printed on it.
        back: whether it points from `end` to `start`, in the color of the way back.
        at: where the label is, from 0 at `start` to 1 at `end`.
        bend: how far it curves, for two arrows between the same boxes; 0 for a straight arrow.
        faint: whether it is drawn in gray.
    """

    start: str
    end: str
    label: str = ""
    back: bool = False
    at: float = 0.5
    bend: float = 0.0
    faint: bool = False


class Frame(NamedTuple):
    """One drawing of an animation: its title, boxes and arrows."""

    title: str
    nodes: Mapping[str, Node]
    arrows: Sequence[Arrow]


def flow_diagram(
    nodes: Mapping[str, Node],
    arrows: Sequence[Arrow],
    title: str = "Numbers flow forward, slopes flow back",
    *,
    gaps: tuple[float, float] = (1.9, 0.95),
    dark: bool = False,
) -> Figure:
    """Draw boxes in columns and rows, with arrows between them.

    Args:
        nodes: the boxes by name; the name is printed in bold.
        arrows: the arrows, between boxes named in `nodes`.
        title: title of the figure.
        gaps: inches from column to column and from row to row.
        dark: use a dark background.

    Raises:
        ValueError: there are no boxes, a position is not finite, or an arrow names a box that does not exist.
    """
    return _animate("flow_diagram", [Frame(title, nodes, arrows)], gaps, dark).figure


def animate_flow(frames: Sequence[Frame], *, gaps: tuple[float, float] = (1.9, 0.95), dark: bool = False) -> Animation:
    """Animate a computation: one drawing after the other, each as in `flow_diagram`.

    Args:
        frames: the drawings; boxes of the same name should be in the same place.
        gaps: inches from column to column and from row to row.
        dark: use a dark background.

    Raises:
        ValueError: there are no frames or no boxes, a position is not finite, or an arrow names a box that does not
            exist.
    """
    return _animate("animate_flow", frames, gaps, dark)


def network_frame(
    title: str,
    weights: Sequence[ArrayLike],
    values: Sequence[ArrayLike | None],
    names: Sequence[Sequence[str]],
    *,
    slopes: Sequence[ArrayLike | None] = (),
    wires: Sequence[ArrayLike | None] | None = None,
    back: Sequence[bool] = (),
    lit: Sequence[int] = (),
    decimals: int = 3,
) -> Frame:
    """A drawing of a small network of dense layers, for `animate_flow` or `flow_diagram(frame.nodes, frame.arrows)`.

    Args:
        title: its title.
        weights: (outputs, inputs) of each layer.
        values: the number in each neuron, by layer, starting with the inputs: (inputs,), (neurons,), ...; None for a
            layer without numbers.
        names: the name of each neuron, by layer.
        slopes: a second number in each neuron, by layer; None for a layer without slopes.
        wires: the numbers printed on the arrows of each layer, (outputs, inputs); None for a layer in gray without
            numbers. Default: the weights.
        back: for each layer of arrows, whether they point back; default: forward.
        lit: the layers whose boxes are filled, by position; the inputs are layer 0.
        decimals: decimals of the printed numbers in boxes; numbers on arrows have three significant digits.

    Raises:
        ValueError: the shapes or the names do not fit, or numbers are not finite.
    """
    sizes = [len(group) for group in names]
    shapes = [np.shape(matrix) for matrix in weights]
    if shapes != [(after, before) for before, after in pairwise(sizes)]:
        raise ValueError(f"network_frame: weights have shapes {shapes}, which do not fit layers of sizes {sizes}")
    for layer, (column, size) in enumerate(zip(values, sizes, strict=True)):
        if column is not None and np.size(column) != size:
            raise ValueError(f"network_frame: {np.size(column)} values for layer {layer} of {size} neurons")
    for kind, parts in (("weights", weights), ("values", values)):
        style.check_finite(
            "network_frame", **{f"{kind}[{i}]": part for i, part in enumerate(parts) if part is not None}
        )
    tallest, nodes, arrows = max(sizes), {}, []
    all_slopes = [*slopes, *[None] * (len(sizes) - len(slopes))]
    for layer, (column, second) in enumerate(zip(values, all_slopes, strict=True)):
        numbers, more = (None if part is None else style.as_array(part, float).ravel() for part in (column, second))
        for i, name in enumerate(names[layer]):
            nodes[name] = Node(
                layer,
                i + (tallest - len(names[layer])) / 2,
                "" if numbers is None else f"{numbers[i]:.{decimals}f}",
                "" if more is None else f"δ {more[i]:.{decimals}f}",
                layer in lit,
            )
    for layer, matrix in enumerate(weights if wires is None else wires):
        backward = matrix is not None and layer < len(back) and back[layer]
        at = 0.3 if backward else 0.25  # where labels of neighboring wires do not meet, outside the arrowheads
        for o, i in np.ndindex(*shapes[layer]):
            label = "" if matrix is None else f"{style.as_array(matrix, float)[o, i]:.3g}"
            ends = names[layer][i], names[layer + 1][o]
            arrows.append(Arrow(*ends, label, backward, at, faint=matrix is None))
    return Frame(title, nodes, arrows)


def _animate(function: str, frames: Sequence[Frame], gaps: tuple[float, float], dark: bool) -> Animation:
    """Draw all frames into one figure and show one at a time; `function` is named in error messages."""
    everything = [(name, node) for frame in frames for name, node in frame.nodes.items()]
    if not everything:
        raise ValueError(f"{function}: there are no boxes; at least one is needed")
    for frame in frames:
        missing = [name for arrow in frame.arrows for name in arrow[:2] if name not in frame.nodes]
        if missing:
            raise ValueError(f"{function}: an arrow names {missing[0]!r}, which is not one of {', '.join(frame.nodes)}")
    style.check_finite(function, positions=[node[:2] for _, node in everything])
    theme = style.DARK if dark else style.LIGHT
    rows = [[name, *filter(None, (node.value, node.slope))] for name, node in everything]
    box_width = max(0.6, 0.16 + _LETTER * max(len(row) for lines in rows for row in lines))
    box_height = 0.14 + _LINE * max(map(len, rows))
    columns, lines = (np.array([node[axis] for _, node in everything]) * gaps[axis] for axis in (0, 1))
    left, right = columns.min() - box_width / 2 - 0.15, columns.max() + box_width / 2 + 0.15
    half = max(box_height / 2, *(_sag(frame, arrow, gaps) + 0.15 for frame in frames for arrow in frame.arrows), 0)
    top, bottom = lines.min() - half - 0.05, lines.max() + half + 0.15
    width, longest = right - left, max((frame.title for frame in frames), key=len)
    total = max(width, 4.0, 0.085 * len(longest) + 0.3)
    side = (total - width) / 2
    figure = style.new_figure(total, bottom - top + 0.5, longest, theme, margins=(side, 0, side, 0.5))
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(left, right), ylim=(bottom, top))
    artists = [_draw(axes, frame, gaps, (box_width, box_height), theme) for frame in frames]

    def show(number: int) -> None:
        for i, group in enumerate(artists):
            for artist in group:
                artist.set_visible(i == number)
        style.retitle(figure, frames[number].title)

    show(len(frames) - 1)
    return Animation(figure, show, len(frames), len(frames), _FRAME_MILLISECONDS)


def _draw(
    axes: Axes, frame: Frame, gaps: tuple[float, float], size: tuple[float, float], theme: style.Theme
) -> list[Artist]:
    """Draw the boxes and arrows of a frame; positions are in inches."""
    artists: list[Artist] = []
    centers = {name: (node.x * gaps[0], node.y * gaps[1]) for name, node in frame.nodes.items()}
    for name, node in frame.nodes.items():
        x, y = centers[name]
        corner = (x - size[0] / 2, y - size[1] / 2)
        fill = theme.grid if node.lit else theme.background
        box = FancyBboxPatch(corner, *size, "round,pad=0,rounding_size=0.1", fc=fill, ec=theme.foreground, zorder=3)
        artists.append(axes.add_patch(box))
        lines = [line for line in ((name, "bold"), (node.value, "normal"), (node.slope, "bold")) if line[0]]
        for i, (text, weight) in enumerate(lines):
            height = y + _LINE * (i - (len(lines) - 1) / 2)
            options: dict[str, Any] = {"size": style.SMALL, "color": theme.foreground, "weight": weight, "zorder": 4}
            artists.append(axes.text(x, height, text, ha="center", va="center", parse_math=False, **options))
    for arrow in frame.arrows:
        artists += _draw_arrow(axes, arrow, *_ends(centers[arrow.start], centers[arrow.end], size), theme)
    return artists


def _sag(frame: Frame, arrow: Arrow, gaps: tuple[float, float]) -> float:
    """How far the middle of a bent arrow is from the line between its boxes, in inches."""
    start, end = (np.array(frame.nodes[name][:2]) * gaps for name in arrow[:2])
    return abs(arrow.bend) / 2 * float(np.hypot(*(end - start)))


def _ends(
    start: tuple[float, float], end: tuple[float, float], size: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow leaves one box and arrives at the other: at the sides, or at top and bottom in the same column."""
    if abs(end[0] - start[0]) > size[0] / 2:
        half = size[0] / 2 * (1 if end[0] > start[0] else -1)
        return (start[0] + half, start[1]), (end[0] - half, end[1])
    half = size[1] / 2 * (1 if end[1] > start[1] else -1)
    return (start[0], start[1] + half), (end[0], end[1] - half)


def _draw_arrow(
    axes: Axes, arrow: Arrow, start: tuple[float, float], end: tuple[float, float], theme: style.Theme
) -> list[Artist]:
    """Draw an arrow, and its label on a patch of background."""
    color = theme.frame if arrow.faint else theme.second if arrow.back else theme.first
    kind: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "lw": 0.8 if arrow.faint else 1.5}
    kind |= {"connectionstyle": f"arc3,rad={-arrow.bend if arrow.back else arrow.bend}", "shrinkA": 0, "shrinkB": 1}
    ends = (end, start) if arrow.back else (start, end)
    line = FancyArrowPatch(*ends, color=color, zorder=2, **kind)
    artists: list[Artist] = [axes.add_patch(line)]
    if arrow.label:
        across, down = end[0] - start[0], end[1] - start[1]
        sag = 2 * arrow.at * (1 - arrow.at) * arrow.bend  # of a quadratic curve whose middle is pulled `bend` aside
        x, y = start[0] + arrow.at * across - sag * down, start[1] + arrow.at * down + sag * across
        beside = abs(across) < 1e-9 and not arrow.bend  # on a short vertical arrow the label would cover all of it
        side: dict[str, Any] = {"ha": "left" if beside else "center", "va": "center"}
        text = axes.text(x + 0.08 * beside, y, arrow.label, size=style.SMALL, zorder=5, parse_math=False, **side)
        text.set_color(theme.foreground)
        text.set_bbox({"boxstyle": "square,pad=0.12", "facecolor": theme.background, "edgecolor": "none"})
        artists.append(text)
    return artists
