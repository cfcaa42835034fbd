"""Rolling downhill: the ball's path on a curve, on a map of heights, and on the surface itself.

All three take what `first_principles.descent.descend` returns, one path or several with names, and the function that
was rolled down. A path that flies off is drawn as far as its numbers are below 1e100.
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
    Window: TypeAlias = tuple[tuple[float, float], tuple[float, float]]

_GRID = 81  # points along each side of a map
_FAR = 1e100
_MANY = 40  # steps whose marks would touch


def descent_on_curve(
    paths: Paths,
    function: Function,
    window: tuple[float, float] | None = None,
    title: str = "Rolling downhill",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the steps down a function of one variable, a panel for each path.

    Args:
        paths: one path of a single number, or several by name, such as its learning rate.
        function: f, takes (N,) and returns (N,).
        window: the lowest and the highest x shown; what the paths need if left out.
        title: one short line above.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: there is no path, one has another number of variables, or `function` returns another shape.
    """
    look = style.DARK if dark else style.LIGHT
    found = _steps("descent_on_curve", paths, ())
    columns = len(found) if len(found) < 4 else 2 + (len(found) > 4)
    rows = -(-len(found) // columns)
    size = (max(5.6, 0.5 + 3.5 * columns), 0.6 + 3.4 * rows)
    figure = style.new_figure(*size, title, look, margins=(0.85, 0.95, 0.3, 0.95))
    for place, (name, (points, values)) in enumerate(found.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        low, high = window or _widened(points.min(), points.max(), 0.25)
        x = np.linspace(low, high, 401)
        y = _heights("descent_on_curve", function, x, x.shape)
        heading = f"{name}, {len(points) - 1} steps" if name else f"{len(points) - 1} steps"
        style.dress(axes, look, title=f"{heading}\nend: x = {points[-1]:.4g}", x="x", y="f(x)", open_frame=True)
        curve = axes.plot(x, y, "-", color=look.quiet, lw=1.8, label="f")
        trail = _trail(axes, np.stack([points, values], axis=-1), (look.first, "--", "o"), "steps", look)
        axes.set_xlim(low, high)
    figure.subplots_adjust(wspace=0.35, hspace=0.62)
    beneath = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.05 / size[1])}
    style.legend(figure, look, handles=[*curve, *trail], ncols=4, **beneath)
    return figure


def descent_on_contour(
    paths: Paths,
    function: Function,
    window: Window | None = None,
    title: str = "The way down, seen from above",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the steps down a function of two variables on a map of its heights, all paths on one map.

    As `descent_on_curve`, but with paths of two numbers, a `function` that takes (..., 2) and returns (...), and the
    ends of x₁ and of x₂ for `window`, ((low, high), (low, high)).
    """
    look = style.DARK if dark else style.LIGHT
    found = _steps("descent_on_contour", paths, (2,))
    (left, right), (low, high) = ends = window or _box(found)
    x, y, heights = _map("descent_on_contour", function, ends)
    beneath, across = 0.68 + 0.24 * (len(found) + 2), 5.2  # inches: the legend and the label of x₁; the map
    ratio = (high - low) / (right - left)
    shape = min(max(ratio, 0.4), 1.6)  # equal units on both axes, unless the map were a thread
    size = (0.8 + across + 1.35, beneath + across * shape + 0.6)
    figure = style.new_figure(*size, title, look, margins=(0.8, beneath, 1.35, 0.6))
    axes = figure.add_subplot()
    style.dress(axes, look, x="x₁", y="x₂")
    levels = heights.min() + np.ptp(heights) * np.linspace(0, 1, 15) ** 2  # closer together at the bottom
    levels = np.unique(levels) if np.ptp(heights) else np.array([0.0, 1.0]) + heights.min()
    grays = LinearSegmentedColormap.from_list("heights", [look.ground, look.faint])
    ways = []
    drawn = axes.contourf(x, y, heights, levels, cmap=grays)
    axes.contour(x, y, heights, levels, colors=look.quiet, linewidths=0.6)
    for (name, (points, values)), stroke in zip(found.items(), style.strokes(len(found), look), strict=True):
        way, *ends_of_way = _trail(axes, points, stroke, _named(name, values), look)
        ways.append(way)
    axes.set(xlim=(left, right), ylim=(low, high), aspect="equal" if shape == ratio else "auto")
    style.color_bar(figure, drawn, "height f(x₁, x₂)", look, right=1.2)
    place = {"loc": "lower left", "bbox_to_anchor": (0.7 / size[0], 0.05 / size[1])}
    style.legend(figure, look, handles=[*ways, *ends_of_way], **place)
    return figure


def descent_on_surface(
    paths: Paths,
    function: Function,
    window: Window | None = None,
    title: str = "The way down",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the steps down a function of two variables on its surface; takes what `descent_on_contour` takes."""
    look = style.DARK if dark else style.LIGHT
    found = _steps("descent_on_surface", paths, (2,))
    x, y, heights = _map("descent_on_surface", function, window or _box(found))
    beneath = 0.45 + 0.24 * (len(found) + 2)
    size = (6.6, 4.9 + beneath)
    figure = style.new_figure(*size, title, look, margins=(0.2, beneath, 0.5, 0.1))
    axes: Any = figure.add_subplot(projection="3d", computed_zorder=False)  # no type stubs know this kind
    axes.set_facecolor(look.ground)
    for axis, label in zip((axes.xaxis, axes.yaxis, axes.zaxis), ("x₁", "x₂", "f(x₁, x₂)"), strict=True):
        axis.set_pane_color(look.ground)
        axis.line.set_color(look.quiet)
        axis.set_tick_params(color=look.quiet, labelcolor=look.ink, labelsize=style.SMALL)
        axis.set_label_text(label, size=style.TEXT, color=look.ink)
    axes.grid(visible=False)
    net = {"rcount": 27, "ccount": 27, "edgecolor": look.quiet, "linewidth": 0.25}
    axes.plot_surface(*np.meshgrid(x, y), heights, color=look.faint, shade=False, alpha=0.85, **net)
    ways = []
    for (name, (points, values)), stroke in zip(found.items(), style.strokes(len(found), look), strict=True):
        way, *ends_of_way = _trail(axes, np.column_stack([points, values]), stroke, _named(name, values), look)
        ways.append(way)
    axes.view_init(elev=38, azim=-60)
    place = {"loc": "lower left", "bbox_to_anchor": (0.7 / size[0], 0.05 / size[1])}
    style.legend(figure, look, handles=[*ways, *ends_of_way], **place)
    return figure


def _steps(function: str, paths: Paths, shape: tuple[int, ...]) -> dict[str, tuple[Array, Array]]:
    """The finite points (S, *shape) and heights (S,) of each path by its name."""
    found = {}
    for name, path in paths.items() if isinstance(paths, Mapping) else [("", paths)]:
        points, values = style.as_array(path.points, float), style.as_array(path.values, float)
        if points.shape[1:] != shape or values.shape != points.shape[:1]:
            wanted = f"(S{', 2' if shape else ','}) and (S,)"
            raise ValueError(
                f"{function}: points {points.shape} and values {values.shape} do not fit; they must be {wanted}"
            )
        numbers = np.column_stack([points.reshape(len(points), -1), values])
        finite = (np.abs(numbers) < _FAR).all(axis=1)  # which NaN is not, either
        if not finite.any():
            raise ValueError(f"{function}: the path has no point that is finite; there is nothing to draw")
        found[name] = (points[finite], values[finite])
    if not found:
        raise ValueError(f"{function}: there is nothing to draw; give at least one path")
    return found


def _heights(name: str, function: Function, x: Array, shape: tuple[int, ...]) -> Array:
    """f at x, which must have `shape`."""
    heights = style.as_array(function(x), float)
    if heights.shape != shape:
        raise ValueError(f"{name}: the function made {heights.shape} of x of shape {x.shape}; it must make {shape}")
    return heights


def _map(name: str, function: Function, window: Window) -> tuple[Array, Array, Array]:
    """x₁ (G,), x₂ (G,) and the heights above them, (G, G), a row for each x₂."""
    x, y = (np.linspace(*ends, _GRID) for ends in window)
    heights = _heights(name, function, np.stack(np.meshgrid(x, y), axis=-1), (_GRID, _GRID))
    if not np.isfinite(heights).all():
        bad = int((~np.isfinite(heights)).sum())
        raise ValueError(
            f"{name}: the function is not finite at {bad:,} of the map's {heights.size:,} points; give a window where "
            f"it is"
        )
    return x, y, heights


def _widened(low: float, high: float, share: float = 0.15) -> tuple[float, float]:
    """An interval with some room at both ends."""
    room = share * (high - low) or 1.0
    return float(low - room), float(high + room)


def _box(found: Mapping[str, tuple[Array, Array]]) -> Window:
    """A window around all points with room at each side, neither side less than half of the other."""
    points = np.concatenate([points for points, _ in found.values()])  # (S, 2)
    ends = np.array([_widened(*side) for side in zip(points.min(axis=0), points.max(axis=0), strict=True)])  # (2, 2)
    middle, half = ends.mean(axis=1), np.ptp(ends, axis=1) / 2
    half = np.maximum(half, half.max() / 2)
    (left, low), (right, high) = (middle - half).tolist(), (middle + half).tolist()
    return (left, right), (low, high)


def _named(name: str, values: Array) -> str:
    """What the legend says of a path."""
    return f"{name + ': ' if name else ''}{len(values) - 1} steps to f = {values[-1]:.3g}"


def _trail(axes: Axes, places: Array, stroke: tuple[str, str, str], name: str, look: style.Look) -> list[Line2D]:
    """A path (S, n) in a panel of n dimensions: its line, then the marks of its start and its end."""
    color, line, marker = stroke
    size = 4.0 if len(places) <= _MANY else 2.5
    lines = axes.plot(*places.T, line, marker=marker, color=color, lw=1.5, markersize=size, label=name, zorder=3)
    for place, fill, label in ((places[:1], look.ground, "start"), (places[-1:], look.ink, "end")):
        lines += axes.plot(*place.T, "o", color=look.ink, mfc=fill, markersize=8, label=label, zorder=4)
    return lines
