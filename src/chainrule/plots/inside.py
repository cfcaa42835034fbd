"""Figures of what is inside a network: diagram, activations, weights and filters as images, feature maps."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]

_WIDEST = 6.0  # points: the line width of the largest weight in a small network
_DASHES = (0, (2, 1))
_MAX_COLUMN = 16  # a layer with more neurons than this is drawn as a square, not as a column


def network_diagram(
    weights: Sequence[ArrayLike],
    values: Sequence[ArrayLike] | None = None,
    layers: Sequence[str] | None = None,
    title: str = "The network",
    max_neurons: int = 12,
    *,
    decimals: int = 2,
    label_wires: bool = False,
    dark: bool = False,
) -> Figure:
    """Draw a network of dense layers, with a circle for each neuron and a line for each weight.

    The line width is proportional to the absolute weight, relative to the largest of its layer. Positive weights are
    solid; negative ones are dashed in another color. Of a layer with more than `max_neurons` neurons, only the first
    and the last are drawn, with dots in between.

    Args:
        weights: (outputs, inputs) of each layer, such as `layer.weight` or `network.weights`.
        values: a number for each neuron, (inputs,), (neurons,), ..., printed in the circles; optional.
        layers: names of the columns, starting with the inputs.
        title: title of the figure.
        max_neurons: maximum number of neurons drawn per layer.
        decimals: decimals of the printed values, if below 10.
        label_wires: print each weight on its line; for small networks.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not match, numbers are not finite, or `max_neurons` is less than 2.
    """
    matrices = [style.as_array(matrix, float) for matrix in weights]
    sizes = _sizes(matrices)
    if max_neurons < 2:
        raise ValueError(f"network_diagram: max_neurons must be at least 2, got {max_neurons}")
    columns = [style.as_array(column, float).ravel() for column in values or []]
    if values is not None and [column.size for column in columns] != sizes:
        raise ValueError(f"network_diagram: values have sizes {[c.size for c in columns]}; expected {sizes}")
    style.check_finite("network_diagram", **{f"weights[{i}]": matrix for i, matrix in enumerate(matrices)})
    style.check_finite("network_diagram", **{f"values[{i}]": column for i, column in enumerate(columns)})
    names = _layer_names(len(sizes)) if layers is None else list(layers)
    if len(names) != len(sizes):
        raise ValueError(f"network_diagram: {len(names)} names for {len(sizes)} layers, including the inputs")

    theme = style.DARK if dark else style.LIGHT
    shown = [_first_and_last(size, max_neurons) for size in sizes]
    tallest = max(len(indices) + (len(indices) < size) for indices, size in zip(shown, sizes, strict=True))
    column_gap, height = max(2.2, 0.09 * max(map(len, names)) + 0.7), max(0.55 * tallest, 1.6)  # inches, as in the axes
    width = column_gap * (len(sizes) - 1) + 1.6
    total = max(width, 5.2)
    side_margin = (total - width) / 2
    figure = style.new_figure(total, height + 1.95, title, theme, margins=(side_margin, 0.7, side_margin, 0.6))
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(-0.8, width - 0.8), ylim=(height, -0.65), aspect="equal")
    heights = [
        _neuron_heights(len(indices), len(indices) < size, height) for indices, size in zip(shown, sizes, strict=True)
    ]
    shown_weights = [m[np.ix_(outputs, inputs)] for m, (inputs, outputs) in zip(matrices, pairwise(shown), strict=True)]
    largest = [float(np.abs(matrix).max()) for matrix in shown_weights]
    widest = min(_WIDEST, 36 / tallest)
    for i, matrix in enumerate(shown_weights):
        wires = matrix * widest / (largest[i] or 1)
        ends = (column_gap * i, heights[i]), (column_gap * (i + 1), heights[i + 1])
        _wires(axes, wires, *ends, theme)
        if label_wires:
            _wire_labels(axes, matrix, *ends, theme)
    for i, (indices, size, name) in enumerate(zip(shown, sizes, names, strict=True)):
        axes.text(
            column_gap * i,
            -0.45,
            f"{name} ({size:,})",
            ha="center",
            size=style.TEXT,
            weight="bold",
            color=theme.foreground,
        )
        if len(indices) < size:
            axes.text(
                column_gap * i, height / 2, "⋮", ha="center", va="center", size=style.TITLE, color=theme.foreground
            )
        _neurons(axes, column_gap * i, heights[i], columns[i][indices] if columns else None, decimals, theme)
    suffix = " of each layer" if len(largest) > 1 else ""
    keys = [
        Line2D([], [], color=theme.first, lw=3, label="positive weight"),
        Line2D([], [], color=theme.second, lw=3, ls=_DASHES, label="negative weight"),
        Line2D(
            [], [], color=theme.frame, lw=widest, label=f"widest{suffix}: " + ", ".join(f"{w:.3g}" for w in largest)
        ),
    ]
    legend_position = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1 / (height + 0.65)), "ncols": 3}
    style.legend(axes, theme, handles=keys, handlelength=2, columnspacing=1.2, **legend_position)
    return figure


def activations(
    layers: Sequence[tuple[str, ArrayLike]], title: str = "Activations for one image", *, dark: bool = False
) -> Figure:
    """Draw the activations of each layer for one image, side by side.

    Args:
        layers: (name, array) for each layer in order: an image (H, W), feature maps (C, H, W), or neurons (N,).
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: there are no layers, or an array has more than three dimensions or is not finite.
    """
    if not layers:
        raise ValueError("activations: there are no layers; at least one (name, array) pair is needed")
    theme = style.DARK if dark else style.LIGHT
    arrays = [(name, style.as_array(array, float)) for name, array in layers]
    for name, array in arrays:
        if array.ndim not in (1, 2, 3) or not array.size:
            raise ValueError(f"activations: {name!r} has shape {array.shape}; expected (H, W), (C, H, W) or (N,)")
        style.check_finite("activations", **{repr(name): array})
    wide = max(2.4, 0.085 * max(len(name) for name, _ in arrays) + 0.5)
    size = (max(4.5, 0.5 + wide * len(arrays)), 3.9)
    figure = style.new_figure(*size, title, theme, margins=(0.4, 0.85, 0.3, 0.95))
    figure.subplots_adjust(wspace=0.45)
    for panel, (name, array) in enumerate(arrays, start=1):
        axes = figure.add_subplot(1, len(arrays), panel, anchor="N")
        shape = " × ".join(f"{n:,}" for n in array.shape)
        kind = "neurons" if array.ndim == 1 else "values"
        low, high = array.min(), array.max()
        style.style_axes(axes, theme, title=name, x=f"{shape} {kind}\nfrom {low:.3g} to {high:.3g}")
        axes.imshow(_tiled(array), cmap=theme.grays, vmin=min(low, 0), vmax=high if high > min(low, 0) else 1)
        axes.set(xticks=[], yticks=[])
        if array.ndim == 1 and array.size <= _MAX_COLUMN:
            axes.set_yticks(range(array.size), [str(i) for i in range(array.size)])
            axes.tick_params(length=0)
    return figure


def weight_images(
    weights: ArrayLike,
    shape: tuple[int, int] = (28, 28),
    captions: Sequence[str] | None = None,
    title: str = "What each neuron looks for",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the weights of each neuron as an image: light for positive weights, dark for negative ones.

    Args:
        weights: (N, H · W), one row per neuron, or (N, H, W).
        shape: H and W, for flat weights.
        captions: N short lines; default "neuron 0", "neuron 1", ...
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: the weights do not have that shape or are not finite, or the number of captions is not N.
    """
    table = style.as_array(weights, float)
    if table.ndim == 2 and table.shape[1] == shape[0] * shape[1]:
        table = table.reshape(-1, *shape)
    if table.ndim != 3 or not table.size:
        raise ValueError(f"weight_images: weights of shape {table.shape} are not images of {shape[0]} × {shape[1]}")
    style.check_finite("weight_images", weights=table)
    names = [f"neuron {i}" for i in range(len(table))] if captions is None else list(captions)
    if len(names) != len(table):
        raise ValueError(f"weight_images: {len(names)} captions for {len(table)} neurons")
    return _signed(list(table), names, title, style.DARK if dark else style.LIGHT)


def filters(weights: ArrayLike, title: str = "The filters", max_channels: int = 16, *, dark: bool = False) -> Figure:
    """Draw the filters of a convolution: one row per output channel and one column per input channel.

    Filters with a single input channel are arranged in a square.

    Args:
        weights: (outputs, inputs, height, width), such as `layer.weight`.
        title: title of the figure.
        max_channels: maximum number of input and of output channels; with a single input channel all filters are drawn.
        dark: use a dark background.

    Raises:
        ValueError: the weights do not have four dimensions, or are not finite.
    """
    kernels = style.as_array(weights, float)  # (O, I, H, W)
    if kernels.ndim != 4 or not kernels.size:
        raise ValueError(f"filters: weights have shape {kernels.shape}; expected (O, I, H, W)")
    style.check_finite("filters", weights=kernels)
    theme = style.DARK if dark else style.LIGHT
    outputs, inputs = kernels.shape[:2]
    if inputs == 1:
        return _signed(list(kernels[:, 0]), [f"{i}" for i in range(outputs)], title, theme, side=0.7)
    kernels = kernels[:max_channels, :max_channels]
    captions = [f"{o} ← {i}" for o, i in np.ndindex(*kernels.shape[:2])]
    note = (
        f"{title}: {min(outputs, max_channels)} of {outputs} outputs ← {min(inputs, max_channels)} of {inputs} inputs"
    )
    return _signed(list(kernels.reshape(-1, *kernels.shape[2:])), captions, note, theme, kernels.shape[1], side=0.5)


def feature_maps(maps: ArrayLike, title: str = "The feature maps", *, dark: bool = False) -> Figure:
    """Draw the feature maps of a convolution for one image, all with the same color scale.

    Args:
        maps: (C, H, W).
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: the maps do not have three dimensions, or are not finite.
    """
    channels = style.as_array(maps, float)
    if channels.ndim != 3 or not channels.size:
        raise ValueError(f"feature_maps: maps have shape {channels.shape}; expected (C, H, W)")
    style.check_finite("feature_maps", maps=channels)
    theme = style.DARK if dark else style.LIGHT
    limits = (min(0.0, float(channels.min())), float(channels.max()))
    names = [f"channel {i}" for i in range(len(channels))]
    return style.sheet(list(channels), names, title, theme, limits=limits, bar="activation")


def _signed(
    pictures: Sequence[Array],
    captions: Sequence[str],
    title: str,
    theme: style.Theme,
    columns: int | None = None,
    side: float = 1.0,
) -> Figure:
    """A sheet of images of signed numbers, with 0 in the middle of the color scale."""
    largest = max(float(np.abs(picture).max()) for picture in pictures) or 1.0
    limits = (-largest, largest)
    return style.sheet(
        pictures, captions, title, theme, columns=columns, colors=style.SIGNED, limits=limits, bar="weight", side=side
    )


def _sizes(matrices: Sequence[Array]) -> list[int]:
    """The number of neurons of each layer, starting with the inputs."""
    dense = bool(matrices) and all(matrix.ndim == 2 and matrix.size for matrix in matrices)
    if not dense or any(after.shape[1] != before.shape[0] for before, after in pairwise(matrices)):
        shapes = ", ".join(str(matrix.shape) for matrix in matrices)
        raise ValueError(f"network_diagram: weights have shapes [{shapes}]; expected (outputs, inputs) of each layer")
    return [matrices[0].shape[1], *(len(matrix) for matrix in matrices)]


def _layer_names(count: int) -> list[str]:
    hidden = ["hidden"] if count == 3 else [f"hidden {i}" for i in range(1, count - 1)]
    return ["inputs", *hidden, "outputs"]


def _first_and_last(size: int, max_neurons: int) -> list[int]:
    """The indices of the neurons of a layer that are drawn."""
    return (
        list(range(size))
        if size <= max_neurons
        else [*range(ceil(max_neurons / 2)), *range(size - max_neurons // 2, size)]
    )


def _neuron_heights(count: int, gap: bool, height: float) -> NDArray[np.float64]:
    """The vertical positions of a column's neurons, (count,); with a gap, the middle is left free for the dots."""
    slots = np.arange(count + gap, dtype=float)
    if gap:
        slots = np.delete(slots, ceil(count / 2))
    middle = ceil(count / 2) if gap else (count - 1) / 2
    return np.array(height / 2 + 0.55 * (slots - middle))


def _wires(axes: Axes, matrix: Array, start: tuple[float, Array], end: tuple[float, Array], theme: style.Theme) -> None:
    """Draw a line for each weight; `matrix` (outputs, inputs) holds signed widths in points, the widest on top."""
    (x, sources), (to_x, targets) = start, end
    for positive, color, dashes in ((True, theme.first, "solid"), (False, theme.second, _DASHES)):
        outputs, inputs = np.nonzero(matrix > 0 if positive else matrix < 0)
        order = np.argsort(np.abs(matrix[outputs, inputs]), kind="stable")
        outputs, inputs = outputs[order], inputs[order]
        ends = [((x, sources[i]), (to_x, targets[o])) for o, i in zip(outputs, inputs, strict=True)]
        sizes = np.abs(matrix[outputs, inputs])
        axes.add_collection(LineCollection(ends, linewidths=sizes, colors=color, linestyles=[dashes], zorder=2))


def _wire_labels(
    axes: Axes, matrix: Array, start: tuple[float, Array], end: tuple[float, Array], theme: style.Theme
) -> None:
    """Print each weight (outputs, inputs) on its line, near the outputs; near the inputs if there is one output."""
    (x, sources), (to_x, targets) = start, end
    label_box = {"boxstyle": "square,pad=0.1", "facecolor": theme.background, "edgecolor": "none"}
    nearest = 0.48 if len(targets) > 1 else 0.2  # clear of the circles at both ends
    for (output, i), weight in np.ndenumerate(matrix):
        part = nearest + 0.2 * i / max(len(sources) - 1, 1)  # of the line's length, different for each input
        x_label, y_label = x + part * (to_x - x), sources[i] + part * (targets[output] - sources[i])
        label = axes.text(x_label, y_label, f"{weight:.3g}", ha="center", va="center", size=style.SMALL, zorder=5)
        label.set_color(theme.foreground)
        label.set_bbox(label_box)


def _neurons(axes: Axes, x: float, heights: Array, values: Array | None, decimals: int, theme: style.Theme) -> None:
    """Draw a circle for each neuron of a column above the lines, with its value inside if given."""
    axes.scatter([x] * len(heights), heights, 1300, facecolor=theme.background, edgecolor=theme.foreground, zorder=3)
    for y, value in zip(heights, () if values is None else values, strict=values is not None):
        text = f"{value:.{decimals}f}" if abs(value) < 10 else f"{value:.3g}"
        axes.text(x, y, text, ha="center", va="center", size=style.SMALL, color=theme.foreground, zorder=4)


def _tiled(array: Array) -> Array:
    """A layer as one image: feature maps in a grid with gaps, neurons in a column or, if many, in a square."""
    if array.ndim == 2:
        return array
    if array.ndim == 1:
        columns = 1 if array.size <= _MAX_COLUMN else ceil(sqrt(array.size))
        cells = np.full(-(-array.size // columns) * columns, np.nan)
        cells[: array.size] = array
        return cells.reshape(-1, columns)
    count, down, across = array.shape
    columns = ceil(sqrt(count))
    rows = -(-count // columns)
    gap = max(1, across // 10)
    tiles = np.full((rows * (down + gap) - gap, columns * (across + gap) - gap), np.nan)
    for i, picture in enumerate(array):
        top, left = i // columns * (down + gap), i % columns * (across + gap)
        tiles[top : top + down, left : left + across] = picture
    return tiles
