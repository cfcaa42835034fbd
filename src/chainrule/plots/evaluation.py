"""Figures for the evaluation of a classifier: confusion matrix, worst mistakes, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_FULL_COLOR = 0.03  # the fraction of a row that gets the full color, unless a larger fraction occurs


def confusion_matrix(matrix: ArrayLike, classes: Sequence[str] | None = None, *, dark: bool = False) -> Figure:
    """Draw a confusion matrix.

    The diagonal (correct predictions) is gray. A mistake is colored by its fraction of the row on a square-root scale,
    so that one in a thousand is still visible. The full color is the largest such fraction, but at least 3%, so that
    the matrix of a good model stays pale. Each row's recall is printed to its right.

    Args:
        matrix: (C, C) counts; rows are true classes, columns are predicted classes.
        classes: C names; default "0", "1", ...
        dark: use a dark background.

    Raises:
        ValueError: `matrix` is not square or not finite, or the number of names is not C.
    """
    counts = style.as_array(matrix)  # (C, C)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"confusion_matrix: matrix has shape {counts.shape}; expected (C, C)")
    style.check_finite("confusion_matrix", matrix=counts)
    size = len(counts)
    names = [str(i) for i in range(size)] if classes is None else list(classes)
    if len(names) != size:
        raise ValueError(f"confusion_matrix: {len(names)} class names for {size} classes")
    theme = style.DARK if dark else style.LIGHT

    totals = counts.sum(axis=1)  # (C,)
    fractions = counts / np.maximum(totals, 1)[:, None]  # (C, C), each row sums to 1
    hits, total = int(np.trace(counts)), int(totals.sum())
    off_diagonal = np.ma.masked_array(fractions, mask=np.eye(size, dtype=bool))
    longest = max(len(name) for name in names)
    slanted = longest > 3
    left, bottom, right, top = 0.7 + 0.075 * longest, 0.75 + 0.05 * longest * slanted, 0.8, 0.8  # inches
    title = f"{hits:,} of {total:,} correct" + (f" ({hits / total:.2%})" if total else "")
    side = 0.5 * max(size, 6)  # small matrices get larger cells
    figure = style.new_figure(left + side + right, bottom + side + top, title, theme, (left, bottom, right, top))
    axes = figure.add_subplot()
    style.style_axes(axes, theme, x="predicted class\n(color: fraction of the row)", y="true class")
    colors = LinearSegmentedColormap.from_list("mistakes", [theme.background, theme.second])
    norm = PowerNorm(0.5, vmin=0, vmax=max(_FULL_COLOR, off_diagonal.filled(0).max()))
    axes.imshow(off_diagonal, cmap=colors.with_extremes(bad=theme.grid), norm=norm)
    for (row, column), count in np.ndenumerate(counts):
        hit = row == column
        bright = dark and not hit and norm(fractions[row, column]) > 0.6  # too bright for light text
        color = theme.background if bright else theme.foreground if hit or count else theme.frame
        weight = "bold" if hit else "normal"
        axes.text(column, row, f"{count}", ha="center", va="center", size=style.SMALL, weight=weight, color=color)

    axes.set_xticks(range(size), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(size), names)
    axes.tick_params(length=0)
    recalls = [f"{fractions[i, i]:.1%}" if totals[i] else "–" for i in range(size)]
    heights = [1 + 0.15 / side, *(1 - (np.arange(size) + 0.5) / size)]  # as fractions of the side; the heading is above
    for height, recall in zip(heights, ["recall", *recalls], strict=True):
        x = 1 + 0.1 / side
        axes.text(x, height, recall, transform=axes.transAxes, va="center", size=style.SMALL, color=theme.foreground)
    return figure


def mistakes(
    images: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    probabilities: ArrayLike,
    count: int = 25,
    classes: Sequence[str] | None = None,
    *,
    dark: bool = False,
) -> Figure:
    """Draw a sheet of misclassified images, the most confident first.

    Takes all images and selects the mistakes. Mistakes with equal probabilities keep their order.

    Args:
        images: (N, H, W), high values for ink.
        labels: (N,) true classes.
        predictions: (N,) predicted classes.
        probabilities: (N,) the probability of each predicted class.
        count: maximum number of images.
        classes: class names; default: their numbers.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not match, numbers are not finite, a prediction is negative (as for a NaN output), or
            `count` is less than 1.
    """
    images, labels = style.as_array(images), style.as_array(labels)
    predictions, probabilities = style.as_array(predictions), style.as_array(probabilities)
    if images.ndim != 3 or not images.shape[:1] == labels.shape == predictions.shape == probabilities.shape:
        raise ValueError(
            f"mistakes: images, labels, predictions and probabilities have shapes {images.shape}, {labels.shape}, "
            f"{predictions.shape} and {probabilities.shape}; expected (N, H, W), (N,), (N,) and (N,)"
        )
    style.check_finite("mistakes", images=images, probabilities=probabilities)
    if (predictions < 0).any():
        raise ValueError(f"mistakes: {int((predictions < 0).sum()):,} predictions are negative, so they name no class")
    if count < 1:
        raise ValueError(f"mistakes: count must be at least 1, got {count}")
    wrong = np.flatnonzero(labels != predictions)
    shown = wrong[np.argsort(-probabilities[wrong], kind="stable")][:count]
    theme = style.DARK if dark else style.LIGHT
    if not len(wrong):
        figure = style.new_figure(5, 2, "No mistakes", theme)
        figure.text(
            0.5, 0.4, f"All {len(labels):,} images are classified correctly.", ha="center", color=theme.foreground
        )
        return figure

    def name(label: int) -> str:
        return str(label) if classes is None else classes[label]

    captions = [f"true {name(labels[i])}\nread {name(predictions[i])}, {probabilities[i]:.1%}" for i in shown]
    scope = f"The worst {len(shown)} of" if len(shown) < len(wrong) else "All"
    title = "The only mistake" if len(wrong) == 1 else f"{scope} {len(wrong):,} mistakes"
    return style.sheet(list(images[shown]), captions, title, theme)


def predictions(
    images: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    classes: Sequence[str] | None = None,
    *,
    dark: bool = False,
) -> Figure:
    """Draw a sheet of images with their predicted classes, and with the true class where they differ.

    Args:
        images: (N, H, W), high values for ink, or (N, 3, H, W).
        labels: (N,) true classes.
        predictions: (N,) predicted classes.
        classes: class names; default: their numbers.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not match, there are no images, or numbers are not finite.
    """
    images, labels, predictions = (style.as_array(values) for values in (images, labels, predictions))
    fits = images.ndim == 3 or (images.ndim == 4 and images.shape[1] == 3)
    if not fits or not len(images) or not images.shape[:1] == labels.shape == predictions.shape:
        raise ValueError(
            f"predictions: images, labels and predictions have shapes {images.shape}, {labels.shape} and "
            f"{predictions.shape}; expected (N, H, W) or (N, 3, H, W), (N,) and (N,), with N of at least 1"
        )
    style.check_finite("predictions", images=images)

    def name(label: int) -> str:
        return str(label) if classes is None else classes[label]

    captions = [
        name(label) if label == prediction else f"true {name(label)}\nread {name(prediction)}"
        for label, prediction in zip(labels, predictions, strict=True)
    ]
    correct = int((labels == predictions).sum())
    pictures = list(images if images.ndim == 3 else images.transpose(0, 2, 3, 1))
    title = f"{correct} of the first {len(labels)} are right"
    return style.sheet(pictures, captions, title, style.DARK if dark else style.LIGHT)


def calibration(probabilities: ArrayLike, correct: ArrayLike, bins: int = 10, *, dark: bool = False) -> Figure:
    """Draw a reliability diagram: accuracy against confidence, and the number of predictions per bin.

    Predictions are grouped into bins of equal width by confidence, the probability of the predicted class. The title
    shows the expected calibration error: the mean of |confidence - accuracy|, weighted by predictions per bin.

    Source: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks (2017).

    Args:
        probabilities: (N,) the probability of each predicted class.
        correct: (N,) whether the prediction is correct.
        bins: number of bins from 0 to 1.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not match, a probability is outside 0 to 1, or `bins` is less than 1.
    """
    scores, hits = style.as_array(probabilities, float), style.as_array(correct).astype(bool)
    if scores.ndim != 1 or not scores.size or scores.shape != hits.shape:
        raise ValueError(
            f"calibration: probabilities and correct have shapes {scores.shape} and {hits.shape}; "
            "expected (N,) for both"
        )
    if bins < 1 or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("calibration: needs probabilities from 0 to 1 and at least one bin")
    theme = style.DARK if dark else style.LIGHT
    bin_index = np.minimum((scores * bins).astype(int), bins - 1)  # (N,)
    counts = np.bincount(bin_index, minlength=bins)  # (bins,)
    filled = counts > 0
    confidence, accuracy = (
        np.bincount(bin_index, weights=w, minlength=bins)[filled] / counts[filled] for w in (scores, hits)
    )
    error = float(np.abs(confidence - accuracy) @ counts[filled] / scores.size)
    title = f"Expected calibration error: {error:.2%}"
    figure = style.new_figure(6.4, 6.2, title, theme, margins=(0.9, 0.6, 0.3, 0.6))
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.3), "hspace": 0.3})
    style.style_axes(above, theme, y="accuracy (%)", open_frame=True)
    above.plot([0, 100], [0, 100], ":", color=theme.frame, lw=1.5, label="perfect")
    above.plot(100 * confidence, 100 * accuracy, "-o", color=theme.first, lw=1.8, label="the model")
    above.set(xlim=(0, 100), ylim=(0, 103))
    style.legend(above, theme, loc="upper left")
    style.style_axes(below, theme, title="Count", x="confidence (%)", y="predictions", open_frame=True)
    middles = 100 * (np.arange(bins) + 0.5) / bins
    below.bar(middles, counts, 92 / bins, color=theme.first)
    below.set(yscale="log", ylim=(0.7, 6 * counts.max()))
    for middle, count in zip(middles[filled], counts[filled], strict=True):
        below.text(
            middle, 1.15 * count, f"{count:,}", ha="center", va="bottom", size=style.SMALL, color=theme.foreground
        )
    return figure
