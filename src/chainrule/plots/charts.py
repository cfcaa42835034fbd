"""Lines and bars: losses, gradients layer by layer, neurons that die, errors against step sizes, words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Column = NDArray[np.float64]

_MOST_MARKERS = 30  # of more points than this the markers would touch


def lines(
    curves: Mapping[str, ArrayLike],
    x: ArrayLike | None = None,
    *,
    title: str,
    x_label: str,
    y_label: str,
    log: Literal["", "x", "y", "xy"] = "",
    dark: bool = False,
) -> Figure:
    """Draw one line a curve, over the same x, for a loss against the epoch or whatever else changes with something.

    A value that is not finite is left out, and the line joins its neighbors; so is one of 0 or less where the axis is
    logarithmic. A curve of which nothing is left says "no values". Where x are whole numbers, its axis is numbered with
    whole numbers.

    Args:
        curves: a name and its values, (N,), for each line.
        x: (N,) where the values stand; 1, 2, 3, ... if left out.
        title: one short line above.
        x_label: what x is, with its unit.
        y_label: what the values are, with their unit.
        log: the axes that are logarithmic.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: there is no curve, or one is not as long as x.
    """
    columns = {name: style.as_array(values, float) for name, values in curves.items()}
    if not columns:
        raise ValueError("lines: there is nothing to draw; give at least one curve")
    length = len(next(iter(columns.values()))) if next(iter(columns.values())).ndim else 0
    across = np.arange(1.0, length + 1) if x is None else style.as_array(x, float)
    for name, values in columns.items():
        if values.ndim != 1 or not values.size or values.shape != across.shape:
            raise ValueError(f"lines: {name!r} of shape {values.shape} does not fit x of shape {across.shape}")
    look = style.DARK if dark else style.LIGHT
    named = len(columns) > 1
    drawable = [
        np.isfinite(y) & ((y > 0) | ("y" not in log)) & ((across > 0) | ("x" not in log)) for y in columns.values()
    ]
    labels = [
        f"{name} (no values)" if named and not known.any() else name
        for name, known in zip(columns, drawable, strict=True)
    ]
    right = style.legend_width(labels) if named else 0.3
    figure = style.new_figure(6 + right, 4, title, look, margins=(0.85, 0.6, right, 0.6))
    axes = figure.add_subplot()
    style.dress(axes, look, x=x_label, y=y_label, open_frame=True)
    axes.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    if "x" not in log and (across == np.round(across)).all():
        style.whole_ticks(axes)
    strokes = style.strokes(len(columns), look)
    for values, known, label, (color, line, marker) in zip(columns.values(), drawable, labels, strokes, strict=True):
        dots = marker if known.sum() <= _MOST_MARKERS else ""
        axes.plot(across[known], values[known], line + dots, color=color, label=label, lw=1.8, markersize=5)
    if not any(known.any() for known in drawable):
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=look.ink)
    if named:
        style.legend(axes, look)
    return figure


def functions(
    pairs: Mapping[str, tuple[Callable[[Column], ArrayLike], Callable[[Column], ArrayLike]]],
    low: float = -5.0,
    high: float = 5.0,
    title: str = "Activations and their derivatives",
    *,
    dark: bool = False,
) -> Figure:
    """Draw functions of one variable with their derivatives, a panel each, all on one scale.

    Args:
        pairs: a name, f and f′ for each; both take (N,) and return (N,).
        low: where x begins.
        high: where it ends.
        title: one short line above.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: there is no function, or one returns another shape.
    """
    if not pairs:
        raise ValueError("functions: there is nothing to draw; give at least one name with its f and f′")
    look = style.DARK if dark else style.LIGHT
    x = np.linspace(low, high, 401)
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    figure = style.new_figure(max(5, 0.4 + 4.3 * columns), 0.5 + 3.2 * rows, title, look, margins=(0.8, 0.6, 0.3, 0.9))
    apart = {"wspace": 0.25, "hspace": 0.45}
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=apart).flat)
    for spare in panels[len(pairs) :]:
        spare.remove()
    for axes, (name, pair) in zip(panels, pairs.items(), strict=False):
        style.dress(axes, look, title=name, x="x", y="value", open_frame=True)
        axes.tick_params(labelbottom=True, labelleft=True)
        for function, label, color, line in zip(
            pair, ("f(x)", "f′(x)"), (look.first, look.second), ("-", "--"), strict=True
        ):
            y = style.as_array(function(x), float)
            if y.shape != x.shape:
                raise ValueError(f"functions: {name} {label} made {y.shape} of x of shape {x.shape}; it must keep it")
            axes.plot(x, y, line, color=color, label=label, lw=1.8)
        style.legend(axes, look, loc="upper left")
    return figure


def gradients_by_layer(
    norms: Mapping[str, ArrayLike], title: str = "How much gradient reaches each layer", *, dark: bool = False
) -> Figure:
    """Draw the size of the gradient against the layer, a line a network, on a logarithmic axis.

    Args:
        norms: a network's name and its gradient norms, (L,), the layer next to the input first.
        title: one short line above.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: there is no network, or two have different numbers of layers.
    """
    labels = {"x_label": "layer (1 is next to the input)", "y_label": "norm of the gradient"}
    return lines(norms, title=title, log="y", dark=dark, **labels)


def gradients_by_step(
    norms: ArrayLike,
    steps: ArrayLike | None = None,
    layers: Sequence[str] | None = None,
    title: str = "The gradients of the layers while it learns",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the size of the gradient against the step, a line a layer, on a logarithmic axis.

    Args:
        norms: (S, L) gradient norms, a row a step, the layer next to the input first.
        steps: (S,) the number of each step; 1, 2, 3, ... if left out.
        layers: L names; "layer 1" and so on if left out.
        title: one short line above.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    table = style.as_array(norms, float)  # (S, L)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"gradients_by_step: norms of shape {table.shape} do not fit; they must be (S, L)")
    names = [f"layer {i}" for i in range(1, table.shape[1] + 1)] if layers is None else list(layers)
    if len(names) != table.shape[1]:
        raise ValueError(f"gradients_by_step: {len(names)} names do not fit {table.shape[1]} layers")
    curves = dict(zip(names, table.T, strict=True))
    return lines(curves, steps, title=title, x_label="step", y_label="norm of the gradient", log="y", dark=dark)


def dead_neurons(
    shares: Mapping[str, ArrayLike],
    epochs: ArrayLike | None = None,
    title: str = "Dead neurons",
    *,
    dark: bool = False,
) -> Figure:
    """Draw which share of its neurons each layer, or each network, has lost, against the epoch.

    Args:
        shares: a name and the shares that are dead, (E,), each from 0 to 1.
        epochs: (E,) the number of each epoch; 1, 2, 3, ... if left out.
        title: one short line above.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: a share is not from 0 to 1, or the shapes do not fit each other.
    """
    percent = {name: 100 * style.as_array(values, float) for name, values in shares.items()}
    for name, values in percent.items():
        if not ((values >= 0) & (values <= 100)).all():
            raise ValueError(f"dead_neurons: a share of {name!r} is not from 0 to 1; divide by the number of neurons")
    figure = lines(percent, epochs, title=title, x_label="epoch", y_label="neurons that are dead (%)", dark=dark)
    figure.axes[0].set_ylim(-3, 103)
    return figure


def step_errors(
    steps: ArrayLike,
    errors: Mapping[str, ArrayLike],
    title: str = "A smaller step is better only up to a point",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the error of finite differences against the step, both logarithmic: a V, with a star where it is lowest.

    Args:
        steps: (S,) values of h.
        errors: a method's name and its errors, (S,), such as `first_principles.finite_difference.error_curve` gives.
        title: one short line above.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: there is no method, its errors are not as many as the steps, or none of them can be drawn.
    """
    h, named, lowest = style.as_array(steps, float), {}, []
    for name, values in errors.items():
        y = style.as_array(values, float)
        if y.shape != h.shape or not y.size:
            raise ValueError(f"step_errors: {name!r} of shape {y.shape} does not fit steps of shape {h.shape}")
        if not (np.isfinite(y) & (y > 0)).any():
            raise ValueError(f"step_errors: {name!r} has no error that is finite and above 0, so none is the lowest")
        best = int(np.argmin(np.where(y > 0, y, np.inf)))
        named[f"{name}\nlowest {y[best]:.0e}\nat h = {h[best]:.0e}"] = y
        lowest.append((h[best], y[best]))
    figure = lines(named, h, title=title, x_label="step h", y_label="error of the derivative", log="xy", dark=dark)
    look, axes = style.DARK if dark else style.LIGHT, figure.axes[0]
    axes.plot(*zip(*lowest, strict=True), "*", color=look.ink, markersize=12, clip_on=False)
    return figure


def word_probabilities(
    words: Sequence[tuple[str, float]], text: str = "", title: str = "The next word", *, dark: bool = False
) -> Figure:
    """Draw how likely each word is to come next, as bars.

    Args:
        words: pairs of a word and its probability, as `first_principles.language.NextWord.likeliest` gives them.
        text: what was said before; named above the bars.
        title: one short line above.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: there is no word, or a probability is not from 0 to 1.
    """
    if not words or not all(0 <= chance <= 1 for _, chance in words):
        raise ValueError(f"word_probabilities: {len(words)} words; it takes at least one, each from 0 to 1")
    look = style.DARK if dark else style.LIGHT
    names, percent = [word for word, _ in words], 100 * np.array([chance for _, chance in words])
    left = 0.75 + 0.09 * max(map(len, names))
    heading = f"{text} …" if text else ""
    size = (max(left + 4.6, 0.6 + 0.095 * len(heading)), 1.6 + 0.3 * len(names))
    figure = style.new_figure(*size, title, look, margins=(left, 0.6, 0.3, 0.9))
    axes = figure.add_subplot()
    style.dress(axes, look, x="probability (%)", y="next word", open_frame=True)
    bars(axes, names, percent, int(np.argmax(percent)), look)
    axes.set_xlim(0, 1.25 * (percent.max() or 1))  # so that small ones can be compared
    axes.xaxis.set_major_locator(MaxNLocator(5))
    figure.text(0.3 / size[0], 1 - 0.72 / size[1], heading, size=style.TEXT, color=look.ink, parse_math=False)
    return figure


def bars(axes: Axes, names: Sequence[str], percent: Column, chosen: int | None, look: style.Look) -> None:
    """One horizontal bar a name, the first at the top; the chosen one stands out in color and in bold."""
    places = range(len(percent))
    axes.barh(places, percent, color=[look.second if i == chosen else look.first for i in places])
    for i in places:
        weight = "bold" if i == chosen else "normal"
        beside = axes.annotate(f"{percent[i]:.1f}", (percent[i], i), (4, 0), textcoords="offset points", va="center")
        beside.set(size=style.SMALL, weight=weight, color=look.ink)
    axes.set(xlim=(0, 125), xticks=[0, 50, 100], ylim=(len(percent) - 0.5, -0.5), yticks=places)
    axes.set_yticklabels(names, parse_math=False)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
