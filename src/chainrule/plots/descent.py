"""Gradient descent paths on a curve, a contour plot, and a surface.

All three functions take the result of `first_principles.descent.descend`, one path or several by name, and the
minimized function. Points with coordinates or values of 1e100 or more, as in a diverging path, are omitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from chainrule.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike, NDArray

    from chainrule.first_principles.descent import Path

    Array = NDArray[np.float64]
    Paths: TypeAlias = Path | Mapping[str, Path]
    Function: TypeAlias = Callable[[Array], ArrayLike]
    Bounds: TypeAlias = tuple[tuple[float, float], tuple[float, float]]  # (low, high) of x₁ and of x₂
    PathPoints: TypeAlias = Mapping[str, tuple[Array, Array]]  # by name: points (S, ...) and values (S,)

_GRID = 81  # grid points along each axis
_LIMIT = 1e100  # larger coordinates and values are omitted
_MANY_STEPS = 40  # paths with more steps get smaller markers


def descent_on_curve(
    paths: Paths,
    function: Function,
    window: tuple[float, float] | None = None,
    title: str = "Rolling downhill",
    *,
    dark: bool = False,
) -> Figure:
    """Draw gradient descent on a function of one variable, one panel per path.

    Args:
        paths: one path of a single variable, or several by name, such as the learning rate.
        function: f, takes (N,) and returns (N,).
        window: the lowest and the highest x shown; default: the range of the paths.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: there are no paths, a path has the wrong number of variables, or `function` returns the wrong shape.
    """
    theme = style.DARK if dark else style.LIGHT
    points_by_name = _finite_points("descent_on_curve", paths, ())
    count = len(points_by_name)
    columns = count if count < 4 else 2 + (count > 4)  # four paths are drawn in two rows of two
    rows = -(-count // columns)
    size = (max(5.6, 0.5 + 3.5 * columns), 0.6 + 3.4 * rows)
    figure = style.new_figure(*size, title, theme, margins=(0.85, 0.95, 0.3, 0.95))
    for panel, (name, (points, values)) in enumerate(points_by_name.items(), start=1):
        axes = figure.add_subplot(rows, columns, panel)
        low, high = window or _widen(points.min(), points.max(), 0.25)
        x = np.linspace(low, high, 401)
        y = _heights("descent_on_curve", function, x, x.shape)
        heading = f"{name}, {len(points) - 1} steps" if name else f"{len(points) - 1} steps"
        style.style_axes(axes, theme, title=f"{heading}\nend: x = {points[-1]:.4g}", x="x", y="f(x)", open_frame=True)
        curve = axes.plot(x, y, "-", color=theme.frame, lw=1.8, label="f")
        trail = _trail(axes, np.stack([points, values], axis=-1), (theme.first, "--", "o"), "steps", theme)
        axes.set_xlim(low, high)
    figure.subplots_adjust(wspace=0.35, hspace=0.62)
    legend_position = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.05 / size[1])}
    style.legend(figure, theme, handles=[*curve, *trail], ncols=4, **legend_position)
    return figure


def descent_on_contour(
    paths: Paths,
    function: Function,
    window: Bounds | None = None,
    title: str = "Gradient descent, seen from above",
    *,
    dark: bool = False,
) -> Figure:
    """Draw gradient descent on a contour plot of a function of two variables, all paths in one plot.

    Like `descent_on_curve`, but paths have two variables, `function` takes (..., 2) and returns (...), and `window`
    holds the ranges of x₁ and x₂, ((low, high), (low, high)).
    """
    theme = style.DARK if dark else style.LIGHT
    points_by_name = _finite_points("descent_on_contour", paths, (2,))
    (left, right), (low, high) = bounds = window or _bounds(points_by_name)
    x, y, heights = _height_map("descent_on_contour", function, bounds)
    bottom, map_width = 0.68 + 0.24 * (len(points_by_name) + 2), 5.2  # inches: the legend and the label of x₁; the map
    ratio = (high - low) / (right - left)
    map_ratio = min(max(ratio, 0.4), 1.6)  # equal units on both axes, unless the map would be very long
    size = (0.8 + map_width + 1.35, bottom + map_width * map_ratio + 0.6)
    figure = style.new_figure(*size, title, theme, margins=(0.8, bottom, 1.35, 0.6))
    axes = figure.add_subplot()
    style.style_axes(axes, theme, x="x₁", y="x₂")
    levels = heights.min() + np.ptp(heights) * np.linspace(0, 1, 15) ** 2  # closer together at the bottom
    levels = np.unique(levels) if np.ptp(heights) else np.array([0.0, 1.0]) + heights.min()
    grays = LinearSegmentedColormap.from_list("heights", [theme.background, theme.grid])
    trails = []
    filled_contours = axes.contourf(x, y, heights, levels, cmap=grays)
    axes.contour(x, y, heights, levels, colors=theme.frame, linewidths=0.6)
    for (name, (points, values)), stroke in zip(
        points_by_name.items(), style.strokes(len(points_by_name), theme), strict=True
    ):
        trail, *ends = _trail(axes, points, stroke, _path_label(name, values), theme)
        trails.append(trail)
    axes.set(xlim=(left, right), ylim=(low, high), aspect="equal" if map_ratio == ratio else "auto")
    style.color_bar(figure, filled_contours, "height f(x₁, x₂)", theme, right=1.2)
    position = {"loc": "lower left", "bbox_to_anchor": (0.7 / size[0], 0.05 / size[1])}
    style.legend(figure, theme, handles=[*trails, *ends], **position)
    return figure


def descent_on_surface(
    paths: Paths,
    function: Function,
    window: Bounds | None = None,
    title: str = "Gradient descent on the surface",
    *,
    dark: bool = False,
) -> Figure:
    """Draw gradient descent on the surface of a function of two variables; same arguments as `descent_on_contour`."""
    theme = style.DARK if dark else style.LIGHT
    points_by_name = _finite_points("descent_on_surface", paths, (2,))
    x, y, heights = _height_map("descent_on_surface", function, window or _bounds(points_by_name))
    bottom = 0.45 + 0.24 * (len(points_by_name) + 2)
    size = (6.6, 4.9 + bottom)
    figure = style.new_figure(*size, title, theme, margins=(0.2, bottom, 0.5, 0.1))
    axes: Any = figure.add_subplot(projection="3d", computed_zorder=False)  # 3D axes have no type stubs
    axes.set_facecolor(theme.background)
    for axis, label in zip((axes.xaxis, axes.yaxis, axes.zaxis), ("x₁", "x₂", "f(x₁, x₂)"), strict=True):
        axis.set_pane_color(theme.background)
        axis.line.set_color(theme.frame)
        axis.set_tick_params(color=theme.frame, labelcolor=theme.foreground, labelsize=style.SMALL)
        axis.set_label_text(label, size=style.TEXT, color=theme.foreground)
    axes.grid(visible=False)
    net = {"rcount": 27, "ccount": 27, "edgecolor": theme.frame, "linewidth": 0.25}
    axes.plot_surface(*np.meshgrid(x, y), heights, color=theme.grid, shade=False, alpha=0.85, **net)
    trails = []
    for (name, (points, values)), stroke in zip(
        points_by_name.items(), style.strokes(len(points_by_name), theme), strict=True
    ):
        trail, *ends = _trail(axes, np.column_stack([points, values]), stroke, _path_label(name, values), theme)
        trails.append(trail)
    axes.view_init(elev=38, azim=-60)
    position = {"loc": "lower left", "bbox_to_anchor": (0.7 / size[0], 0.05 / size[1])}
    style.legend(figure, theme, handles=[*trails, *ends], **position)
    return figure


def _finite_points(function: str, paths: Paths, shape: tuple[int, ...]) -> PathPoints:
    """The finite points (S, *shape) and values (S,) of each path by name."""
    points_by_name = {}
    for name, path in paths.items() if isinstance(paths, Mapping) else [("", paths)]:
        points, values = style.as_array(path.points, float), style.as_array(path.values, float)
        if points.shape[1:] != shape or values.shape != points.shape[:1]:
            expected = f"(S{', 2' if shape else ','}) and (S,)"
            raise ValueError(
                f"{function}: points and values have shapes {points.shape} and {values.shape}; expected {expected}"
            )
        numbers = np.column_stack([points.reshape(len(points), -1), values])
        finite = (np.abs(numbers) < _LIMIT).all(axis=1)  # False for NaN, too
        if not finite.any():
            raise ValueError(f"{function}: the path has no finite point")
        points_by_name[name] = (points[finite], values[finite])
    if not points_by_name:
        raise ValueError(f"{function}: there are no paths; at least one is needed")
    return points_by_name


def _heights(name: str, function: Function, x: Array, shape: tuple[int, ...]) -> Array:
    """Evaluate f at x; the result must have shape `shape`."""
    heights = style.as_array(function(x), float)
    if heights.shape != shape:
        raise ValueError(
            f"{name}: the function returned shape {heights.shape} for x of shape {x.shape}; expected {shape}"
        )
    return heights


def _height_map(name: str, function: Function, bounds: Bounds) -> tuple[Array, Array, Array]:
    """x₁ (G,), x₂ (G,) and the heights (G, G), one row per x₂."""
    x, y = (np.linspace(*ends, _GRID) for ends in bounds)
    heights = _heights(name, function, np.stack(np.meshgrid(x, y), axis=-1), (_GRID, _GRID))
    if not np.isfinite(heights).all():
        bad = int((~np.isfinite(heights)).sum())
        raise ValueError(
            f"{name}: the function is not finite at {bad:,} of the plot's {heights.size:,} points; choose another "
            "window"
        )
    return x, y, heights


def _widen(low: float, high: float, fraction: float = 0.15) -> tuple[float, float]:
    """An interval widened by `fraction` of its length at both ends."""
    margin = fraction * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _bounds(points_by_name: PathPoints) -> Bounds:
    """The ranges of x₁ and x₂ around all points, with a margin; neither is shorter than half of the other."""
    points = np.concatenate([points for points, _ in points_by_name.values()])  # (S, 2)
    ends = np.array([_widen(*side) for side in zip(points.min(axis=0), points.max(axis=0), strict=True)])  # (2, 2)
    middle, half = ends.mean(axis=1), np.ptp(ends, axis=1) / 2
    half = np.maximum(half, half.max() / 2)
    (left, low), (right, high) = (middle - half).tolist(), (middle + half).tolist()
    return (left, right), (low, high)


def _path_label(name: str, values: Array) -> str:
    """The legend entry of a path."""
    return f"{name + ': ' if name else ''}{len(values) - 1} steps to f = {values[-1]:.3g}"


def _trail(axes: Axes, points: Array, stroke: tuple[str, str, str], name: str, theme: style.Theme) -> list[Line2D]:
    """Draw a path (S, n) in a panel of n dimensions; returns its line and the markers of its start and its end."""
    color, line, marker = stroke
    size = 4.0 if len(points) <= _MANY_STEPS else 2.5
    lines = axes.plot(*points.T, line, marker=marker, color=color, lw=1.5, markersize=size, label=name, zorder=3)
    for point, fill, label in ((points[:1], theme.background, "start"), (points[-1:], theme.foreground, "end")):
        lines += axes.plot(*point.T, "o", color=theme.foreground, mfc=fill, markersize=8, label=label, zorder=4)
    return lines
