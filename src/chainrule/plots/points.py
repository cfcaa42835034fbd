"""Points in the plane: where a classifier draws its border, and how a hidden layer sees the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.lines import Line2D

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

_GRID = 481  # points along each side where the classifier is asked


def decision_boundary(
    classify: Callable[[NDArray[np.float64]], ArrayLike],
    points: ArrayLike,
    labels: ArrayLike,
    line: tuple[ArrayLike, float] | None = None,
    classes: Sequence[str] | None = None,
    title: str = "Who is on which side",
    axes_labels: tuple[str, str] = ("x₁", "x₂"),
    *,
    dark: bool = False,
) -> Figure:
    """Draw what a classifier says everywhere in the plane, and the points that it should get right.

    Args:
        classify: takes (M, 2) and returns the class of each, (M,), as numbers from 0.
        points: (N, 2).
        labels: (N,) the true classes, numbers from 0.
        line: weights (2,) and bias of a neuron, to draw w · x + b = 0 as well.
        classes: names for the classes; "class 0" and so on if left out.
        title: one short line above.
        axes_labels: what the two numbers of a point are, with their units.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: the shapes do not fit each other, numbers are not finite, or the weights are both 0.
    """
    x, truth = style.as_array(points, float), style.as_array(labels).astype(int)
    if x.ndim != 2 or x.shape[1:] != (2,) or not x.size or truth.shape != x.shape[:1]:
        raise ValueError(
            f"decision_boundary: points {x.shape} and labels {truth.shape} do not fit; they must be (N, 2) and (N,)"
        )
    style.check_finite("decision_boundary", points=x)
    look = style.DARK if dark else style.LIGHT
    low, high = x.min(axis=0), x.max(axis=0)
    room = np.maximum(0.2 * (high - low), 0.1 * (high - low).max()) + 0.1 * ((high - low).max() == 0)
    (left, bottom), (right, top) = (low - room).tolist(), (high + room).tolist()
    across, up = np.linspace(left, right, _GRID), np.linspace(bottom, top, _GRID)
    everywhere = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    regions, said = (style.as_array(classify(where)) for where in (everywhere, x))
    if regions.shape != everywhere.shape[:1] or said.shape != truth.shape:
        raise ValueError(f"decision_boundary: the classifier made {said.shape} of points {x.shape}; it must make (N,)")
    style.check_finite("decision_boundary", classes=regions, **{"classes of the points": said})
    count = int(max(regions.max(), truth.max())) + 1
    names = [f"class {i}" for i in range(count)] if classes is None else list(classes)
    if len(names) < count:
        raise ValueError(f"decision_boundary: {len(names)} class names do not fit {count} classes")
    wrong = said.astype(int) != truth
    ratio = (top - bottom) / (right - left)
    margin = style.legend_width([*names, "read wrongly", "w · x + b = 0"])
    size = (0.85 + 4.4 + margin, 0.6 + 0.9 + 4.4 * min(max(ratio, 0.5), 1.5))
    figure = style.new_figure(*size, title, look, margins=(0.85, 0.6, margin, 0.9))
    axes = figure.add_subplot()
    right_ones = int((~wrong).sum())
    heading = f"{right_ones} of {len(x)} points on their side"
    style.dress(axes, look, title=heading, x=axes_labels[0], y=axes_labels[1])
    strokes = style.strokes(count, look)
    tints = ListedColormap([_tint(color, look, i) for i, (color, _, _) in enumerate(strokes)])
    extent = (left, right, bottom, top)
    plane = regions.astype(int).reshape(_GRID, _GRID)
    axes.imshow(plane, cmap=tints, vmin=-0.5, vmax=count - 0.5, extent=extent, origin="lower", aspect="auto")
    borders = np.arange(plane.min(), plane.max()) + 0.5
    if borders.size and line is None:
        axes.contour(across, up, plane, borders, colors=look.quiet, linewidths=1)
    for i, (color, _, marker) in enumerate(strokes):
        own = x[truth == i]
        axes.plot(*own.T, marker, color=color, mec=look.ground, mew=0.8, markersize=9, label=names[i])
    if wrong.any():
        axes.plot(*x[wrong].T, "x", color=look.ink, markersize=12, mew=2, label="read wrongly")
    if line is not None:
        weights, bias = style.as_array(line[0], float), float(line[1])
        if weights.shape != (2,) or not weights.any() or not np.isfinite([*weights, bias]).all():
            raise ValueError(
                f"decision_boundary: the line needs two weights that are not both 0, and finite numbers, got "
                f"{weights.tolist()} and bias {bias}"
            )
        nearest = -bias * weights / (weights @ weights)  # the line's point nearest to the origin
        beyond = nearest + np.array([-weights[1], weights[0]])
        axes.axline(tuple(nearest), tuple(beyond), color=look.ink, lw=1.8, ls="--", zorder=1.8, label="w · x + b = 0")
    axes.set(xlim=(left, right), ylim=(bottom, top))
    style.legend(axes, look)
    return figure


def hidden_map(
    hidden: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str] | None = None,
    title: str = "How the hidden layer sees them",
    most: int = 2000,
    *,
    dark: bool = False,
) -> Figure:
    """Draw examples by their hidden activations, in the two directions in which these differ most.

    Each example is the number of its class, so that it reads without colors; the large numbers stand where the
    classes have their middles.

    Args:
        hidden: (N, H) activations.
        labels: (N,) true classes, numbers from 0.
        classes: names for the classes; none are listed if left out.
        title: one short line above.
        most: how many examples are drawn at most, the first ones; all count for the directions.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: the shapes do not fit each other, activations are not finite, or there are fewer than two numbers
            an example.
    """
    rows, truth = style.as_array(hidden, float), style.as_array(labels).astype(int)
    if rows.ndim != 2 or truth.shape != rows.shape[:1]:
        raise ValueError(
            f"hidden_map: activations {rows.shape} and labels {truth.shape} do not fit; they must be (N, H) and (N,)"
        )
    style.check_finite("hidden_map", activations=rows)
    flat, shares = principal_components(rows)  # (N, 2) and (2,)
    count = int(truth.max()) + 1
    if classes is not None and len(classes) < count:
        raise ValueError(f"hidden_map: {len(classes)} class names do not fit {count} classes")
    look = style.DARK if dark else style.LIGHT
    right = 0.3 if classes is None else style.legend_width(classes)
    figure = style.new_figure(0.85 + 5.6 + right, 6.2, title, look, margins=(0.85, 0.6, right, 0.6))
    axes = figure.add_subplot()
    x, y = (f"principal component ({share:.0%} of the variance)" for share in shares)
    style.dress(axes, look, x=f"first {x}", y=f"second {y}", open_frame=True)
    colors = [color for color, _, _ in style.strokes(count, look)]
    for i in np.unique(truth):
        own = flat[:most][truth[:most] == i]
        axes.plot(*own.T, ls="", marker=f"${i}$", color=colors[i], mew=0.2, markersize=5.5, alpha=0.8, label=f"{i}")
    for i in np.unique(truth):
        across, up = flat[truth == i].mean(axis=0).tolist()
        frame = {"boxstyle": "circle,pad=0.25", "facecolor": look.ground, "edgecolor": look.ink}
        number = axes.text(across, up, str(i), ha="center", va="center", size=style.TITLE, weight="bold", bbox=frame)
        number.set_color(look.ink)
    if classes is not None:
        keys = [Line2D([], [], ls="", marker=f"${i}$", color=look.ink, label=name) for i, name in enumerate(classes)]
        style.legend(axes, look, handles=keys)
    return figure


def principal_components(rows: ArrayLike, count: int = 2) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The coordinates of each row in the directions in which the rows differ most, by the singular value decomposition.

    Source: Pearson, On lines and planes of closest fit to systems of points in space (1901).

    Args:
        rows: (N, H).
        count: how many directions.

    Returns:
        The coordinates (N, count), and the share of the variance that each direction holds, (count,).

    Raises:
        ValueError: there are fewer rows or columns than directions, or numbers that are not finite.
    """
    table = style.as_array(rows, float)
    if table.ndim != 2 or min(table.shape) < count:
        raise ValueError(f"principal_components: rows of shape {table.shape} do not have {count} directions")
    style.check_finite("principal_components", rows=table)
    centered = table - table.mean(axis=0)
    left, sizes, right = np.linalg.svd(centered, full_matrices=False)  # (N, K), (K,) and (K, H)
    largest = np.abs(right[:count]).argmax(axis=1)
    signs = np.sign(right[np.arange(count), largest])  # a direction could as well point the other way: settle it
    variance = sizes**2
    return signs * left[:, :count] * sizes[:count], variance[:count] / (variance.sum() or 1.0)


def _tint(color: str, look: style.Look, place: int) -> str:
    """A region's color: the class's own, thinned with the ground, every other one more: gray tells them apart."""
    share: float = 0.38 if place % 2 else 0.16
    mixed: Any = share * np.array(to_rgb(color)) + (1 - share) * np.array(to_rgb(look.ground))
    return to_hex(mixed)
