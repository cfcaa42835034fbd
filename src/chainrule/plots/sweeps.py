"""The trials of a search for settings: the best value so far, and the value against each setting."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from chainrule.errors import shorten
from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

_PANELS_PER_ROW = 3
_MAX_SETTINGS = 8
_JITTER = 0.12  # of the distance between choices, so that trials with the same choice do not hide each other
_MAX_NAMES = 6  # the names of more choices would overlap
_N_LETTERS = 26  # the letters that fit below a panel


def sweep(
    values: ArrayLike,
    settings: Mapping[str, Sequence[Any]],
    complete: Sequence[bool],
    *,
    label: str,
    maximize: bool = True,
    choices: Mapping[str, Sequence[Any]] | None = None,
    log: Sequence[str] = (),
    title: str = "Sweep",
    dark: bool = False,
) -> Figure:
    """Draw the value of each trial in order, with the best so far, and in a panel per setting the value against it.

    Filled dots are complete trials, hollow ones were stopped early; a star marks the best complete trial. A value that
    is not finite is skipped, and so is a setting that a trial does not have (None). Of more than eight settings, the
    first eight are drawn.

    Args:
        values: (N,) the value of each trial; NaN for none.
        settings: by name, N numbers or choices; None where a trial has none.
        complete: whether each trial is complete.
        label: what the values are, with their unit.
        maximize: whether the largest value is the best.
        choices: for settings that are not numbers, the choices by the setting's name.
        log: the names of the settings with a logarithmic axis.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: there are no trials, or the numbers of values and settings differ.
    """
    y = style.as_array(values, float)
    lengths = {name: len(column) for name, column in {**settings, "complete": complete}.items()}
    if y.ndim != 1 or not y.size or set(lengths.values()) != {y.size}:
        raise ValueError(f"sweep: values have shape {y.shape}, and the settings {lengths}; expected (N,), N at least 1")
    theme = style.DARK if dark else style.LIGHT
    names = list(settings)[:_MAX_SETTINGS]
    panels = 1 + len(names)
    columns = min(panels, _PANELS_PER_ROW)
    rows = ceil(panels / columns)
    figure = style.new_figure(max(0.8 + 3.9 * columns, 5.5), 0.8 + 3.1 * rows, title, theme, (0.85, 0.65, 0.3, 0.95))
    spacing = {"wspace": 0.35, "hspace": 0.4}
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=True, gridspec_kw=spacing).flat)
    for unused in axes[panels:]:
        unused.remove()
    done = np.asarray(complete, bool) & np.isfinite(y)
    worst = -np.inf if maximize else np.inf
    so_far = (np.maximum if maximize else np.minimum).accumulate(np.where(done, y, worst))
    best = int(np.flatnonzero(done & (y == so_far[-1]))[0]) if done.any() else None
    order = np.arange(y.size, dtype=float)
    for panel, name in zip(axes, [None, *names], strict=False):
        style.style_axes(panel, theme, x=shorten(name or "trial", 40), y=label, open_frame=True)
        panel.tick_params(labelleft=True)
        if name is None:
            style.integer_ticks(panel)
            finite = np.isfinite(so_far)
            panel.step(order[finite], so_far[finite], where="post", color=theme.frame, lw=1.2, label="best so far")
            _dots(panel, order, y, done, best, theme)
        elif name in (choices or {}):
            _dots(panel, _side_by_side(panel, settings[name], (choices or {})[name]), y, done, best, theme)
        else:
            x = np.array([np.nan if value is None else value for value in settings[name]], float)
            if name in log:
                _logarithmic(panel, x)
            _dots(panel, x, y, done, best, theme)
    handles, labels = axes[0].get_legend_handles_labels()
    position = {"loc": "upper center", "bbox_to_anchor": (0.5, 1 - 0.4 / figure.get_figheight()), "ncols": 4}
    gaps = {"handlelength": 1.4, "handletextpad": 0.5, "columnspacing": 1.4}
    style.legend(figure, theme, handles=handles, labels=labels, **position, **gaps)
    return figure


def _side_by_side(axes: Axes, column: Sequence[Any], choices: Sequence[Any]) -> NDArray[np.float64]:
    """Place choices side by side, and return where each trial is."""
    if len(choices) <= _MAX_NAMES:
        length = max(3, _N_LETTERS // len(choices) - 1)
        axes.set_xticks(range(len(choices)), [shorten(str(name), length) for name in choices], parse_math=False)
    else:
        style.integer_ticks(axes)
        axes.set_xlabel(f"{axes.get_xlabel()} (number of the choice, from 0)")
    axes.set_xlim(-0.5, len(choices) - 0.5)
    positions = [np.nan if value is None else float(list(choices).index(value)) for value in column]
    return np.asarray(positions + _JITTER * (np.arange(len(column)) % 3 - 1), np.float64)


def _logarithmic(axes: Axes, x: NDArray[np.float64]) -> None:
    """Make the horizontal axis logarithmic, with few round numbers."""
    axes.set_xscale("log")
    positive = x[x > 0]
    decades = np.ptp(np.log10(positive)) if positive.size else 0.0
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if decades < 2 else (1.0,), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _dots(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], done: NDArray[np.bool_], best: int | None, theme: style.Theme
) -> None:
    stopped = ~done & np.isfinite(y)
    if done.any():
        axes.plot(x[done], y[done], "o", color=theme.first, markersize=5, label="complete")
    if stopped.any():
        axes.plot(x[stopped], y[stopped], "o", color=theme.first, fillstyle="none", markersize=5, label="stopped early")
    if best is not None:
        axes.plot(x[best], y[best], "*", color=theme.second, markersize=12, label="best")
