"""Training curves: loss and accuracy, perplexity or error, by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Column = NDArray[np.float64]

_MAX_MARKERS = 30  # markers of more points would overlap


class _Panel(NamedTuple):
    """What the right panel shows: a metric of the history, and how it is named."""

    key: str
    title: str
    label: str
    example: str  # what the loss is the mean over


_PANELS = (
    _Panel("validation_accuracy", "Accuracy", "accuracy (%)", "example"),
    _Panel("perplexity", "Perplexity", "perplexity", "token"),
    _Panel("validation_rmse", "Error", "root mean squared error", "example"),
)


def curves(
    history: Sequence[Mapping[str, float | None]],
    title: str = "Training",
    *,
    best_by_loss: bool = False,
    dark: bool = False,
) -> Figure:
    """Draw loss and accuracy, perplexity or error against the epoch, and mark the best epoch.

    The best epoch is the first with the highest validation accuracy or, if there are no accuracies, with the lowest
    validation loss; without validation none is marked. Values that are missing, None or not finite are skipped, and
    the line connects their neighbors.

    Args:
        history: one mapping per epoch with `epoch` and optionally `train_loss`, `validation_loss`, and
            `train_accuracy` and `validation_accuracy` (fractions), for a language model `perplexity` or, for a
            regression, `validation_rmse`; other entries are ignored.
        title: title of the figure.
        best_by_loss: mark the epoch with the lowest validation loss even if there are accuracies.
        dark: use a dark background.

    Raises:
        ValueError: `history` is empty.
    """
    if not history:
        raise ValueError("curves: history is empty; at least one epoch is needed")
    theme = style.DARK if dark else style.LIGHT
    epochs = _column(history, "epoch")
    train, validation = _column(history, "train_loss"), _column(history, "validation_loss")
    train_accuracy = 100 * _column(history, "train_accuracy")
    accuracy = 100 * _column(history, "validation_accuracy")
    has_accuracy = bool(np.isfinite(accuracy).any())
    measure, values = _PANELS[0], accuracy
    for panel in () if has_accuracy else _PANELS[1:]:
        column = _column(history, panel.key)
        if np.isfinite(column).any():
            measure, values = panel, column

    figure = style.new_figure(11.2, 4.2, title, theme, margins=(0.8, 0.55, 0.25, 0.8))
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.22})
    style.style_axes(left, theme, title="Loss", x="epoch", y=f"loss (mean per {measure.example})", open_frame=True)
    style.style_axes(right, theme, title=measure.title, x="epoch", y=measure.label, open_frame=True)
    _line(left, epochs, train, "training", theme.first, "-", "o")
    _line(left, epochs, validation, "validation", theme.second, "--", "s")
    _line(right, epochs, train_accuracy, "training", theme.first, "-", "o")
    _line(right, epochs, values, "validation", theme.second, "--", "s")

    if has_accuracy and not best_by_loss:
        _mark_best(right, left, epochs, accuracy, int(np.nanargmax(accuracy)), "%", theme)
    elif np.isfinite(validation).any():
        _mark_best(left, right, epochs, validation, int(np.nanargmin(validation)), "", theme)

    for axes in (left, right):
        axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)  # centers a single epoch
        style.integer_ticks(axes)
        axes.yaxis.set_major_formatter("{x:g}")
        if axes.get_legend_handles_labels()[0]:
            position = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 3}  # above the panel
            spacing = {"borderpad": 0, "handlelength": 1.6, "handletextpad": 0.4, "columnspacing": 1}
            axes.legend(**position, **spacing, fontsize=style.SMALL, labelcolor=theme.foreground, frameon=False)
        else:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=theme.foreground)
    return figure


def _column(history: Sequence[Mapping[str, float | None]], key: str) -> Column:
    """One number per epoch, NaN if missing or not finite."""
    column = np.array([row.get(key) for row in history], dtype=np.float64)  # NumPy converts None to NaN
    return np.where(np.isfinite(column), column, np.nan)


def _line(axes: Axes, epochs: Column, values: Column, label: str, color: str, line: str, marker: str) -> None:
    """Draw a line through the finite values, if any."""
    finite = np.isfinite(values)
    if finite.any():
        marker = marker if finite.sum() <= _MAX_MARKERS else ""
        axes.plot(epochs[finite], values[finite], line + marker, color=color, label=label, lw=1.8, markersize=5)


def _mark_best(
    axes: Axes, other: Axes, epochs: Column, values: Column, best: int, unit: str, theme: style.Theme
) -> None:
    """Mark the best value with a star, and its epoch with a dotted line through both panels."""
    for panel in (axes, other):
        panel.axvline(epochs[best], color=theme.frame, linestyle=":", lw=1.2)
    label = f"best: {values[best]:.4g}{unit} in epoch {epochs[best]:.0f}"
    axes.plot(epochs[best], values[best], "*", color=theme.foreground, markersize=11, label=label, clip_on=False)


def learning_rates(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float, *, dark: bool = False
) -> Figure:
    """Draw the loss against the learning rate of a search (see `training.lr_finder`), and mark the suggestion.

    Args:
        rates: the learning rates, rising.
        losses: the loss at each.
        smoothed: their moving average.
        suggestion: the suggested rate.
        dark: use a dark background.

    Raises:
        ValueError: there are no rates, or the numbers of rates and losses differ.
    """
    if not len(rates) == len(losses) == len(smoothed) > 0:
        counts = f"{len(rates)} rates, {len(losses)} losses and {len(smoothed)} smoothed losses"
        raise ValueError(f"learning_rates: needs as many rates as losses, at least one, not {counts}")
    theme = style.DARK if dark else style.LIGHT
    figure = style.new_figure(6.4, 4.2, "Learning rate", theme, margins=(0.8, 0.55, 0.25, 0.8))
    axes = figure.subplots()
    style.style_axes(axes, theme, x="learning rate", y="loss (mean per example)", open_frame=True)
    axes.set_xscale("log")
    axes.plot(rates, losses, color=theme.second, linewidth=0.8, label="loss")
    axes.plot(rates, smoothed, color=theme.first, label="smoothed")
    axes.axvline(suggestion, color=theme.foreground, linestyle=":", label=f"suggestion: {suggestion:.2g}")
    axes.set_ylim(top=max(2 * losses[0], max(smoothed[: len(smoothed) // 2 + 1])))
    axes.legend(loc="upper left")
    return figure
