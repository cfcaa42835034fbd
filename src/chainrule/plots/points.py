"""Points in the plane: decision boundaries, and hidden activations projected to two dimensions."""

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

_GRID = 481  # grid points along each axis where the classifier is evaluated


def decision_boundary(
    classify: Callable[[NDArray[np.float64]], ArrayLike],
    points: ArrayLike,
    labels: ArrayLike,
    line: tuple[ArrayLike, float] | None = None,
    classes: Sequence[str] | None = None,
    title: str = "Decision boundary",
    axes_labels: tuple[str, str] = ("x₁", "x₂"),
    *,
    dark: bool = False,
) -> Figure:
    """Draw the decision regions of a classifier in the plane, with labeled points.

    Args:
        classify: takes points (M, 2) and returns their class indices, (M,).
        points: (N, 2).
        labels: (N,) the true class indices.
        line: weights (2,) and bias of a neuron, to draw the line w · x + b = 0.
        classes: class names; default "class 0", "class 1", ...
        title: title of the figure.
        axes_labels: labels of the two axes, with their units.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not match, numbers are not finite, or both weights are 0.
    """
    x, truth = style.as_array(points, float), style.as_array(labels).astype(int)
    if x.ndim != 2 or x.shape[1:] != (2,) or not x.size or truth.shape != x.shape[:1]:
        raise ValueError(
            f"decision_boundary: points and labels have shapes {x.shape} and {truth.shape}; expected (N, 2) and (N,)"
        )
    style.check_finite("decision_boundary", points=x)
    theme = style.DARK if dark else style.LIGHT
    low, high = x.min(axis=0), x.max(axis=0)
    padding = np.maximum(0.2 * (high - low), 0.1 * (high - low).max()) + 0.1 * ((high - low).max() == 0)
    (left, bottom), (right, top) = (low - padding).tolist(), (high + padding).tolist()
    grid_points = grid_positions(left, right, bottom, top, _GRID)
    across, up = np.linspace(left, right, _GRID), np.linspace(bottom, top, _GRID)
    regions, predicted = (style.as_array(classify(positions)) for positions in (grid_points, x))
    if regions.shape != grid_points.shape[:1] or predicted.shape != truth.shape:
        raise ValueError(
            f"decision_boundary: the classifier returned shape {predicted.shape} for points {x.shape}; expected (N,)"
        )
    style.check_finite("decision_boundary", classes=regions, **{"classes of the points": predicted})
    count = int(max(regions.max(), truth.max())) + 1
    names = [f"class {i}" for i in range(count)] if classes is None else list(classes)
    if len(names) < count:
        raise ValueError(f"decision_boundary: {len(names)} class names for {count} classes")
    wrong = predicted.astype(int) != truth
    ratio = (top - bottom) / (right - left)
    margin = style.legend_width([*names, "misclassified", "w · x + b = 0"])
    size = (0.85 + 4.4 + margin, 0.6 + 0.9 + 4.4 * min(max(ratio, 0.5), 1.5))
    figure = style.new_figure(*size, title, theme, margins=(0.85, 0.6, margin, 0.9))
    axes = figure.add_subplot()
    correct = int((~wrong).sum())
    heading = f"{correct} of {len(x)} points correct"
    style.style_axes(axes, theme, title=heading, x=axes_labels[0], y=axes_labels[1])
    strokes = style.strokes(count, theme)
    tints = ListedColormap([_tint(color, theme, i) for i, (color, _, _) in enumerate(strokes)])
    extent = (left, right, bottom, top)
    plane = regions.astype(int).reshape(_GRID, _GRID)
    axes.imshow(plane, cmap=tints, vmin=-0.5, vmax=count - 0.5, extent=extent, origin="lower", aspect="auto")
    borders = np.arange(plane.min(), plane.max()) + 0.5
    if borders.size and line is None:
        axes.contour(across, up, plane, borders, colors=theme.frame, linewidths=1)
    for i, (color, _, marker) in enumerate(strokes):
        members = x[truth == i]
        axes.plot(*members.T, marker, color=color, mec=theme.background, mew=0.8, markersize=9, label=names[i])
    if wrong.any():
        axes.plot(*x[wrong].T, "x", color=theme.foreground, markersize=12, mew=2, label="misclassified")
    if line is not None:
        weights, bias = style.as_array(line[0], float), float(line[1])
        if weights.shape != (2,) or not weights.any() or not np.isfinite([*weights, bias]).all():
            raise ValueError(
                f"decision_boundary: line needs two finite weights, not both 0, and a finite bias, got "
                f"{weights.tolist()} and {bias}"
            )
        nearest = -bias * weights / (weights @ weights)  # the point of the line nearest to the origin
        beyond = nearest + np.array([-weights[1], weights[0]])
        axes.axline(
            tuple(nearest), tuple(beyond), color=theme.foreground, lw=1.8, ls="--", zorder=1.8, label="w · x + b = 0"
        )
    axes.set(xlim=(left, right), ylim=(bottom, top))
    style.legend(axes, theme)
    return figure


def grid_positions(left: float, right: float, bottom: float, top: float, count: int) -> NDArray[np.float64]:
    """A grid of `count` × `count` points, row by row from the bottom: (count², 2)."""
    across, up = np.linspace(left, right, count), np.linspace(bottom, top, count)
    return np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)


def hidden_map(
    hidden: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str] | None = None,
    title: str = "Hidden activations, projected to two dimensions",
    max_points: int = 2000,
    *,
    dark: bool = False,
) -> Figure:
    """Draw examples by the first two principal components of their hidden activations.

    Each example is drawn as the number of its class, readable without colors; large numbers mark the class means.

    Args:
        hidden: (N, H) activations.
        labels: (N,) true class indices.
        classes: class names for the legend; default: no legend.
        title: title of the figure.
        max_points: draw only the first `max_points` examples; all are used to compute the components.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not match, activations are not finite, or H is less than 2.
    """
    rows, truth = style.as_array(hidden, float), style.as_array(labels).astype(int)
    if rows.ndim != 2 or truth.shape != rows.shape[:1]:
        raise ValueError(
            f"hidden_map: activations and labels have shapes {rows.shape} and {truth.shape}; expected (N, H) and (N,)"
        )
    style.check_finite("hidden_map", activations=rows)
    projected, shares = principal_components(rows)  # (N, 2) and (2,)
    count = int(truth.max()) + 1
    if classes is not None and len(classes) < count:
        raise ValueError(f"hidden_map: {len(classes)} class names for {count} classes")
    theme = style.DARK if dark else style.LIGHT
    right = 0.3 if classes is None else style.legend_width(classes)
    figure = style.new_figure(0.85 + 5.6 + right, 6.2, title, theme, margins=(0.85, 0.6, right, 0.6))
    axes = figure.add_subplot()
    component_names = [
        f"{ordinal} principal component ({share:.0%} of the variance)"
        for ordinal, share in zip(("first", "second"), shares, strict=True)
    ]
    style.style_axes(axes, theme, x=component_names[0], y=component_names[1], open_frame=True)
    colors = [color for color, _, _ in style.strokes(count, theme)]
    for i in np.unique(truth):
        members = projected[:max_points][truth[:max_points] == i]
        axes.plot(*members.T, ls="", marker=f"${i}$", color=colors[i], mew=0.2, markersize=5.5, alpha=0.8, label=f"{i}")
    for i in np.unique(truth):
        across, up = projected[truth == i].mean(axis=0).tolist()
        frame = {"boxstyle": "circle,pad=0.25", "facecolor": theme.background, "edgecolor": theme.foreground}
        number = axes.text(across, up, str(i), ha="center", va="center", size=style.TITLE, weight="bold", bbox=frame)
        number.set_color(theme.foreground)
    if classes is not None:
        keys = [
            Line2D([], [], ls="", marker=f"${i}$", color=theme.foreground, label=name) for i, name in enumerate(classes)
        ]
        style.legend(axes, theme, handles=keys)
    return figure


def principal_components(rows: ArrayLike, count: int = 2) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project rows onto their first principal components, by the singular value decomposition.

    Source: Pearson, On lines and planes of closest fit to systems of points in space (1901).

    Args:
        rows: (N, H).
        count: number of components.

    Returns:
        The coordinates (N, count), and the fraction of the variance that each component explains, (count,).

    Raises:
        ValueError: there are fewer rows or columns than components, or numbers are not finite.
    """
    table = style.as_array(rows, float)
    if table.ndim != 2 or min(table.shape) < count:
        raise ValueError(f"principal_components: rows of shape {table.shape} do not have {count} components")
    style.check_finite("principal_components", rows=table)
    centered = table - table.mean(axis=0)
    left, sizes, right = np.linalg.svd(centered, full_matrices=False)  # (N, K), (K,) and (K, H)
    largest = np.abs(right[:count]).argmax(axis=1)
    signs = np.sign(right[np.arange(count), largest])  # fixes the arbitrary sign of each component
    variance = sizes**2
    return signs * left[:, :count] * sizes[:count], variance[:count] / (variance.sum() or 1.0)


def _tint(color: str, theme: style.Theme, class_index: int) -> str:
    """A region's color: the class's color blended into the background, alternating in strength for gray prints."""
    share: float = 0.38 if class_index % 2 else 0.16
    mixed: Any = share * np.array(to_rgb(color)) + (1 - share) * np.array(to_rgb(theme.background))
    return to_hex(mixed)
