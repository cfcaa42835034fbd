"""Small arrays as grids of cells with their numbers: attention weights, a convolution worked by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.patches import Rectangle

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    Frame = tuple[int, int, int, int]

_GAP = 0.45  # inches between two grids
_STRENGTH = 0.45  # of a color in the background, so that the number in the cell stays readable
_MAX_CELLS = 1000  # the numbers of a larger array would be too small to read


def number_grids(
    grids: Sequence[tuple[str, ArrayLike]],
    title: str = "In numbers",
    rows: tuple[str, Sequence[str]] | None = None,
    columns: tuple[str, Sequence[str]] | None = None,
    windows: Mapping[str, Frame] | None = None,
    *,
    decimals: int = 2,
    dark: bool = False,
) -> Figure:
    """Draw small arrays side by side, a cell with its number for each entry.

    The larger the number, the stronger the color, relative to the largest of its grid; negative numbers have a
    different color, and exact zeros none.

    Args:
        grids: (name, array) of each grid, from left to right; arrays are (H, W).
        title: title of the figure.
        rows: what the rows of the first grid are, such as "word", and a name for each; default: no names.
        columns: the same of its columns.
        windows: a window to frame by the grid's name: its first row and column, its height and width.
        decimals: decimals of the numbers.
        dark: use a dark background.

    Raises:
        ValueError: there are no grids, an array is not (H, W), too large or not finite, the number of names is not that
            of the rows or columns, or a window is not inside the grid that it names.
    """
    arrays = [(name, style.as_array(array, float)) for name, array in grids]
    if not arrays:
        raise ValueError("number_grids: there are no grids; at least one (name, array) pair is needed")
    for name, array in arrays:
        if array.ndim != 2 or not 0 < array.size <= _MAX_CELLS:
            raise ValueError(
                f"number_grids: {name!r} has shape {array.shape}; expected (H, W) with 1 to {_MAX_CELLS:,} cells"
            )
        style.check_finite("number_grids", **{repr(name): array})
    (row_axis, row_names), (column_axis, column_names) = rows or ("", ()), columns or ("", ())
    for axis, names, size in zip(("rows", "columns"), (row_names, column_names), arrays[0][1].shape, strict=True):
        if names and len(names) != size:
            raise ValueError(f"number_grids: {len(names)} names for {size} {axis}")
    frames = dict(windows or {})
    for name, (row, column, rows_high, columns_wide) in frames.items():
        shape = dict(arrays)[name].shape if name in dict(arrays) else (0, 0)
        if not (0 <= row < row + rows_high <= shape[0] and 0 <= column < column + columns_wide <= shape[1]):
            raise ValueError(f"number_grids: the window {frames[name]} is not inside a grid {name!r} of shape {shape}")

    theme = style.DARK if dark else style.LIGHT
    texts = [[f"{number:.{decimals}f}" for number in array.ravel()] for _, array in arrays]
    longest = max(len(text) for grid in texts for text in grid)
    cell = max(0.42, 0.09 * longest, 0.085 * max(map(len, column_names), default=0))
    widths = [max(cell * array.shape[1], 0.085 * len(name)) for name, array in arrays]
    left = 0.3 + 0.35 * bool(row_names) + 0.085 * max(map(len, row_names), default=0)
    top, bottom = 0.85, 0.25 + 0.35 * bool(column_names)
    total = max(left + sum(widths) + _GAP * (len(arrays) - 1) + 0.3, 0.115 * len(title) + 0.4)
    tallest = cell * max(array.shape[0] for _, array in arrays)
    figure = style.new_figure(total, top + tallest + bottom, title, theme, (left, bottom, 0.3, top))
    height, start = top + tallest + bottom, left
    for index, ((name, array), width, grid) in enumerate(zip(arrays, widths, texts, strict=True)):
        down, across = array.shape
        box = (start / total, (bottom + tallest - cell * down) / height, cell * across / total, cell * down / height)
        axes = figure.add_axes(box)
        style.style_axes(axes, theme)
        gap = 1 + 0.06 / (cell * down)  # the same above grids of any height
        heading: dict[str, Any] = {"size": style.TEXT, "weight": "bold", "color": theme.foreground, "parse_math": False}
        axes.set_title(name, loc="left", y=gap, **heading)
        paint = [_mixed(color, theme) for color in (theme.second, theme.first)]
        colors = LinearSegmentedColormap.from_list("signed", [paint[0], theme.background, paint[1]])
        largest = float(np.abs(array).max()) or 1.0
        axes.imshow(array, cmap=colors, vmin=-largest, vmax=largest, aspect="auto")
        for (row, column), text in zip(np.ndindex(down, across), grid, strict=True):
            axes.text(column, row, text, ha="center", va="center", size=style.SMALL, color=theme.foreground)
        axes.vlines(np.arange(1, across) - 0.5, -0.5, down - 0.5, color=theme.frame, lw=0.5)
        axes.hlines(np.arange(1, down) - 0.5, -0.5, across - 0.5, color=theme.frame, lw=0.5)
        axes.set(xticks=[], yticks=[])
        if name in frames:
            row, column, rows_high, columns_wide = frames[name]
            corner = (column - 0.5, row - 0.5)
            frame = Rectangle(corner, columns_wide, rows_high, fill=False, edgecolor=theme.foreground, lw=3)
            axes.add_patch(frame).set_clip_on(False)
        if not index and row_names:
            axes.set_yticks(range(down), row_names)
            axes.set_ylabel(row_axis)
        if not index and column_names:
            axes.set_xticks(range(across), column_names)
            axes.set_xlabel(column_axis)
        axes.tick_params(length=0)
        start += width + _GAP
    return figure


def _mixed(color: str, theme: style.Theme) -> str:
    """A color blended into the background."""
    mixed: Any = _STRENGTH * np.array(to_rgb(color)) + (1 - _STRENGTH) * np.array(to_rgb(theme.background))
    return to_hex(mixed)
