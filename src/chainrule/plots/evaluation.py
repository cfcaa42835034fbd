"""How well a model reads: what it takes for what, and its worst mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_FULL_COLOR = 0.03  # the share of mistakes that has the full color, unless there is a larger one


def confusion_matrix(matrix: ArrayLike, classes: Sequence[str] | None = None, *, dark: bool = False) -> Figure:
    """Draw how often each class was read as each other.

    The diagonal, which counts what was read right, stays gray. A mistake is colored by its share of its row on a
    square-root scale, so that one mistake in a thousand still shows; the full color is the largest such share, but at
    least 3%, so that a good model looks calm. At the right stands each row's recall, the share that was read right.

    Args:
        matrix: (C, C) counts; the row is the true class, the column the predicted one.
        classes: C names; the numbers from 0 if left out.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: `matrix` is not square or not finite, or there is not one name a class.
    """
    counts = style.as_array(matrix)  # (C, C)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"confusion_matrix: the shape {counts.shape} does not fit; it must be (C, C)")
    style.check_finite("confusion_matrix", matrix=counts)
    size = len(counts)
    names = [str(i) for i in range(size)] if classes is None else list(classes)
    if len(names) != size:
        raise ValueError(f"confusion_matrix: {len(names)} class names do not fit {size} classes")
    look = style.DARK if dark else style.LIGHT

    totals = counts.sum(axis=1)  # (C,)
    shares = counts / np.maximum(totals, 1)[:, None]  # (C, C), each row sums to 1
    hits, total = int(np.trace(counts)), int(totals.sum())
    wrong = np.ma.masked_array(shares, mask=np.eye(size, dtype=bool))
    longest = max(len(name) for name in names)
    slanted = longest > 3
    left, bottom, right, top = 0.7 + 0.075 * longest, 0.75 + 0.05 * longest * slanted, 0.8, 0.8  # inches
    title = f"{hits:,} of {total:,} read right" + (f" ({hits / total:.2%})" if total else "")
    side = 0.5 * max(size, 6)  # small matrices have larger cells
    figure = style.new_figure(left + side + right, bottom + side + top, title, look, (left, bottom, right, top))
    axes = figure.add_subplot()
    style.dress(axes, look, x="predicted class\n(color: share of the row that was read so)", y="true class")
    colors = LinearSegmentedColormap.from_list("mistakes", [look.ground, look.second])
    norm = PowerNorm(0.5, vmin=0, vmax=max(_FULL_COLOR, wrong.filled(0).max()))
    axes.imshow(wrong, cmap=colors.with_extremes(bad=look.faint), norm=norm)
    for (row, column), count in np.ndenumerate(counts):
        hit = row == column
        bright = dark and not hit and norm(shares[row, column]) > 0.6  # too bright for light text
        color = look.ground if bright else look.ink if hit or count else look.quiet
        weight = "bold" if hit else "normal"
        axes.text(column, row, f"{count}", ha="center", va="center", size=style.SMALL, weight=weight, color=color)

    axes.set_xticks(range(size), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(size), names)
    axes.tick_params(length=0)
    recalls = [f"{shares[i, i]:.1%}" if totals[i] else "–" for i in range(size)]
    heights = [1 + 0.15 / side, *(1 - (np.arange(size) + 0.5) / size)]  # in parts of the side; the heading stands above
    for height, recall in zip(heights, ["recall", *recalls], strict=True):
        x = 1 + 0.1 / side
        axes.text(x, height, recall, transform=axes.transAxes, va="center", size=style.SMALL, color=look.ink)
    return figure


def mistakes(
    images: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    confidences: ArrayLike,
    count: int = 25,
    classes: Sequence[str] | None = None,
    *,
    dark: bool = False,
) -> Figure:
    """Draw a sheet of the worst mistakes: the pictures read wrongly, the most confident first.

    Give it all pictures; it finds the mistakes and sorts them. Equal confidences keep their order.

    Args:
        images: (N, H, W), high values for ink.
        labels: (N,) true classes.
        predictions: (N,) predicted classes.
        confidences: (N,) the confidence of each prediction, a fraction.
        count: how many pictures the sheet holds at most.
        classes: names for the classes; their numbers if left out.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: the arrays do not fit each other or are not finite, a prediction is negative (as where the network
            gave NaN), or `count` is less than 1.
    """
    images, labels = style.as_array(images), style.as_array(labels)
    predictions, confidences = style.as_array(predictions), style.as_array(confidences)
    if images.ndim != 3 or not images.shape[:1] == labels.shape == predictions.shape == confidences.shape:
        raise ValueError(
            f"mistakes: images {images.shape}, labels {labels.shape}, predictions {predictions.shape} and confidences "
            f"{confidences.shape} do not fit; they must be (N, H, W), (N,), (N,) and (N,)"
        )
    style.check_finite("mistakes", images=images, confidences=confidences)
    if (predictions < 0).any():
        raise ValueError(f"mistakes: {int((predictions < 0).sum()):,} predictions are negative, so they name no class")
    if count < 1:
        raise ValueError(f"mistakes: count={count} leaves nothing to show; it must be at least 1")
    wrong = np.flatnonzero(labels != predictions)
    shown = wrong[np.argsort(-confidences[wrong], kind="stable")][:count]
    look = style.DARK if dark else style.LIGHT
    if not len(wrong):
        figure = style.new_figure(5, 2, "No mistakes", look)
        figure.text(0.5, 0.4, f"All {len(labels):,} pictures were read right.", ha="center", color=look.ink)
        return figure

    def name(label: int) -> str:
        return str(label) if classes is None else classes[label]

    captions = [f"true {name(labels[i])}\nread {name(predictions[i])}, {confidences[i]:.1%}" for i in shown]
    which = f"The worst {len(shown)} of" if len(shown) < len(wrong) else "All"
    title = "The only mistake" if len(wrong) == 1 else f"{which} {len(wrong):,} mistakes"
    return style.sheet(list(images[shown]), captions, title, look)


def calibration(confidences: ArrayLike, correct: ArrayLike, bins: int = 10, *, dark: bool = False) -> Figure:
    """Draw whether a model is right as often as it says: accuracy against confidence, and how many pictures there are.

    The predictions are put into bins of equal width by their confidence. The expected calibration error in the title
    is the mean distance between confidence and accuracy, each bin weighed by its number of predictions.

    Source: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks (2017).

    Args:
        confidences: (N,) the confidence of each prediction, a fraction.
        correct: (N,) whether it was right.
        bins: how many intervals from 0 to 1.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: the arrays do not fit each other, a confidence is not from 0 to 1, or there are no bins.
    """
    sure, right = style.as_array(confidences, float), style.as_array(correct).astype(bool)
    if sure.ndim != 1 or not sure.size or sure.shape != right.shape:
        raise ValueError(f"calibration: confidences {sure.shape} and correct {right.shape} do not fit; both are (N,)")
    if bins < 1 or not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("calibration: it takes confidences from 0 to 1 and at least one bin")
    look = style.DARK if dark else style.LIGHT
    place = np.minimum((sure * bins).astype(int), bins - 1)  # (N,)
    counts = np.bincount(place, minlength=bins)  # (bins,)
    filled = counts > 0
    said, were = (np.bincount(place, weights=w, minlength=bins)[filled] / counts[filled] for w in (sure, right))
    error = float(np.abs(said - were) @ counts[filled] / sure.size)
    title = f"Confidence and truth: {error:.2%} apart on average"
    figure = style.new_figure(6.4, 6.2, title, look, margins=(0.9, 0.6, 0.3, 0.6))
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.3), "hspace": 0.3})
    style.dress(above, look, y="read right (%)", open_frame=True)
    above.plot([0, 100], [0, 100], ":", color=look.quiet, lw=1.5, label="perfect")
    above.plot(100 * said, 100 * were, "-o", color=look.first, lw=1.8, label="the model")
    above.set(xlim=(0, 100), ylim=(0, 103))
    style.legend(above, look, loc="upper left")
    style.dress(below, look, title="How many", x="confidence (%)", y="predictions", open_frame=True)
    middles = 100 * (np.arange(bins) + 0.5) / bins
    below.bar(middles, counts, 92 / bins, color=look.first)
    below.set(yscale="log", ylim=(0.7, 6 * counts.max()))
    for middle, count in zip(middles[filled], counts[filled], strict=True):
        below.text(middle, 1.15 * count, f"{count:,}", ha="center", va="bottom", size=style.SMALL, color=look.ink)
    return figure
