"""Line and bar charts: losses, gradient norms, dead neurons, finite-difference errors, word probabilities."""

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

_MAX_MARKERS = 30  # markers of more points would overlap


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
    """Draw one or more curves over the same x values.

    Skips values that are not finite, and values of 0 or less on a logarithmic axis; the line connects their neighbors.
    A curve with no values left is labeled "no values". If all x are integers, so are the ticks.

    Args:
        curves: the values, (N,), of each curve by name.
        x: (N,) the x values; default 1, 2, 3, ...
        title: title of the figure.
        x_label: label of the x axis, with its unit.
        y_label: label of the y axis, with its unit.
        log: which axes are logarithmic.
        dark: use a dark background.

    Raises:
        ValueError: there are no curves, or the lengths of a curve and x differ.
    """
    columns = {name: style.as_array(values, float) for name, values in curves.items()}
    if not columns:
        raise ValueError("lines: there are no curves; at least one is needed")
    length = len(next(iter(columns.values()))) if next(iter(columns.values())).ndim else 0
    x_values = np.arange(1.0, length + 1) if x is None else style.as_array(x, float)
    for name, values in columns.items():
        if values.ndim != 1 or not values.size or values.shape != x_values.shape:
            raise ValueError(f"lines: {name!r} has shape {values.shape}, but x has shape {x_values.shape}")
    theme = style.DARK if dark else style.LIGHT
    several = len(columns) > 1
    drawable = [
        np.isfinite(y) & ((y > 0) | ("y" not in log)) & ((x_values > 0) | ("x" not in log)) for y in columns.values()
    ]
    labels = [
        f"{name} (no values)" if several and not valid.any() else name
        for name, valid in zip(columns, drawable, strict=True)
    ]
    right = style.legend_width(labels) if several else 0.3
    figure = style.new_figure(6 + right, 4, title, theme, margins=(0.85, 0.6, right, 0.6))
    axes = figure.add_subplot()
    style.style_axes(axes, theme, x=x_label, y=y_label, open_frame=True)
    axes.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    if "x" not in log and (x_values == np.round(x_values)).all():
        style.integer_ticks(axes)
    strokes = style.strokes(len(columns), theme)
    for values, valid, label, (color, line, marker) in zip(columns.values(), drawable, labels, strokes, strict=True):
        dots = marker if valid.sum() <= _MAX_MARKERS else ""
        axes.plot(x_values[valid], values[valid], line + dots, color=color, label=label, lw=1.8, markersize=5)
    if not any(valid.any() for valid in drawable):
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=theme.foreground)
    if several:
        style.legend(axes, theme)
    return figure


def functions(
    pairs: Mapping[str, tuple[Callable[[Column], ArrayLike], Callable[[Column], ArrayLike]]],
    low: float = -5.0,
    high: float = 5.0,
    title: str = "Activations and their derivatives",
    *,
    dark: bool = False,
) -> Figure:
    """Draw functions of one variable and their derivatives, one panel per function, all with the same scale.

    Args:
        pairs: f and f′ by name; both take (N,) and return (N,).
        low: lowest x.
        high: highest x.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: there are no functions, or one returns the wrong shape.
    """
    if not pairs:
        raise ValueError("functions: there are no functions; at least one name with its f and f′ is needed")
    theme = style.DARK if dark else style.LIGHT
    x = np.linspace(low, high, 401)
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    figure = style.new_figure(max(5, 0.4 + 4.3 * columns), 0.5 + 3.2 * rows, title, theme, margins=(0.8, 0.6, 0.3, 0.9))
    spacing = {"wspace": 0.25, "hspace": 0.45}
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=spacing).flat)
    for unused in panels[len(pairs) :]:
        unused.remove()
    for axes, (name, pair) in zip(panels, pairs.items(), strict=False):
        style.style_axes(axes, theme, title=name, x="x", y="value", open_frame=True)
        axes.tick_params(labelbottom=True, labelleft=True)
        for function, label, color, line in zip(
            pair, ("f(x)", "f′(x)"), (theme.first, theme.second), ("-", "--"), strict=True
        ):
            y = style.as_array(function(x), float)
            if y.shape != x.shape:
                raise ValueError(f"functions: {name} {label} returned shape {y.shape} for x of shape {x.shape}")
            axes.plot(x, y, line, color=color, label=label, lw=1.8)
        style.legend(axes, theme, loc="upper left")
    return figure


def gradients_by_layer(
    norms: Mapping[str, ArrayLike], title: str = "Gradient norm by layer", *, dark: bool = False
) -> Figure:
    """Draw the gradient norm of each layer on a logarithmic axis, one line per network.

    Args:
        norms: the gradient norms, (L,), of each network by name, from the first layer to the last.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: there are no networks, or their numbers of layers differ.
    """
    labels = {"x_label": "layer (1 is next to the input)", "y_label": "gradient norm"}
    return lines(norms, title=title, log="y", dark=dark, **labels)


def gradients_by_step(
    norms: ArrayLike,
    steps: ArrayLike | None = None,
    layers: Sequence[str] | None = None,
    title: str = "Gradient norms during training",
    *,
    dark: bool = False,
) -> Figure:
    """Draw gradient norms against the training step on a logarithmic axis, one line per layer.

    Args:
        norms: (S, L) gradient norms, one row per step, from the first layer to the last.
        steps: (S,) the number of each step; default 1, 2, 3, ...
        layers: L names; default "layer 1", "layer 2", ...
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not match.
    """
    table = style.as_array(norms, float)  # (S, L)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"gradients_by_step: norms have shape {table.shape}; expected (S, L)")
    names = [f"layer {i}" for i in range(1, table.shape[1] + 1)] if layers is None else list(layers)
    if len(names) != table.shape[1]:
        raise ValueError(f"gradients_by_step: {len(names)} names for {table.shape[1]} layers")
    curves = dict(zip(names, table.T, strict=True))
    return lines(curves, steps, title=title, x_label="step", y_label="gradient norm", log="y", dark=dark)


def dead_neurons(
    shares: Mapping[str, ArrayLike],
    epochs: ArrayLike | None = None,
    title: str = "Dead neurons",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the fraction of dead neurons against the epoch, one line per layer or network.

    Args:
        shares: the fractions of dead neurons, (E,), each from 0 to 1, by name.
        epochs: (E,) the number of each epoch; default 1, 2, 3, ...
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: a fraction is outside 0 to 1, or the shapes do not match.
    """
    percent = {name: 100 * style.as_array(values, float) for name, values in shares.items()}
    for name, values in percent.items():
        if not ((values >= 0) & (values <= 100)).all():
            raise ValueError(f"dead_neurons: {name!r} has fractions outside 0 to 1; divide by the number of neurons")
    figure = lines(percent, epochs, title=title, x_label="epoch", y_label="dead neurons (%)", dark=dark)
    figure.axes[0].set_ylim(-3, 103)
    return figure


def step_errors(
    steps: ArrayLike,
    errors: Mapping[str, ArrayLike],
    title: str = "A smaller step is better only up to a point",
    *,
    dark: bool = False,
) -> Figure:
    """Draw the error of finite differences against the step size on log-log axes, and mark the minimum with a star.

    Args:
        steps: (S,) values of h.
        errors: the errors, (S,), of each method by name, as from `first_principles.finite_difference.error_curve`.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: there are no methods, the numbers of errors and steps differ, or no error is finite and positive.
    """
    h, labeled_errors, lowest = style.as_array(steps, float), {}, []
    for name, values in errors.items():
        y = style.as_array(values, float)
        if y.shape != h.shape or not y.size:
            raise ValueError(f"step_errors: {name!r} has shape {y.shape}, but steps has shape {h.shape}")
        if not (np.isfinite(y) & (y > 0)).any():
            raise ValueError(f"step_errors: {name!r} has no error that is finite and above 0")
        best = int(np.argmin(np.where(y > 0, y, np.inf)))
        labeled_errors[f"{name}\nlowest {y[best]:.0e}\nat h = {h[best]:.0e}"] = y
        lowest.append((h[best], y[best]))
    figure = lines(
        labeled_errors, h, title=title, x_label="step h", y_label="error of the derivative", log="xy", dark=dark
    )
    theme, axes = style.DARK if dark else style.LIGHT, figure.axes[0]
    axes.plot(*zip(*lowest, strict=True), "*", color=theme.foreground, markersize=12, clip_on=False)
    return figure


def word_probabilities(
    words: Sequence[tuple[str, float]], text: str = "", title: str = "The next word", *, dark: bool = False
) -> Figure:
    """Draw the probabilities of the next word as bars.

    Args:
        words: pairs of a word and its probability, as from `first_principles.language.NextWord.likeliest`.
        text: the preceding text, shown above the bars.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: there are no words, or a probability is outside 0 to 1.
    """
    if not words or not all(0 <= probability <= 1 for _, probability in words):
        raise ValueError(
            f"word_probabilities: needs at least one word and probabilities from 0 to 1, got {len(words)} words"
        )
    theme = style.DARK if dark else style.LIGHT
    names, percent = [word for word, _ in words], 100 * np.array([probability for _, probability in words])
    left = 0.75 + 0.09 * max(map(len, names))
    heading = f"{text} …" if text else ""
    size = (max(left + 4.6, 0.6 + 0.095 * len(heading)), 1.6 + 0.3 * len(names))
    figure = style.new_figure(*size, title, theme, margins=(left, 0.6, 0.3, 0.9))
    axes = figure.add_subplot()
    style.style_axes(axes, theme, x="probability (%)", y="next word", open_frame=True)
    bars(axes, names, percent, int(np.argmax(percent)), theme)
    axes.set_xlim(0, 1.25 * (percent.max() or 1))  # keeps small values comparable
    axes.xaxis.set_major_locator(MaxNLocator(5))
    figure.text(0.3 / size[0], 1 - 0.72 / size[1], heading, size=style.TEXT, color=theme.foreground, parse_math=False)
    return figure


def bars(axes: Axes, names: Sequence[str], percent: Column, highlighted: int | None, theme: style.Theme) -> None:
    """Draw one horizontal bar per name, the first at the top; highlight one of them in color and bold."""
    positions = range(len(percent))
    axes.barh(positions, percent, color=[theme.second if i == highlighted else theme.first for i in positions])
    for i in positions:
        weight = "bold" if i == highlighted else "normal"
        label = axes.annotate(f"{percent[i]:.1f}", (percent[i], i), (4, 0), textcoords="offset points", va="center")
        label.set(size=style.SMALL, weight=weight, color=theme.foreground)
    axes.set(xlim=(0, 125), xticks=[0, 50, 100], ylim=(len(percent) - 0.5, -0.5), yticks=positions)
    axes.set_yticklabels(names, parse_math=False)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
