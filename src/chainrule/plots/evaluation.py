"""How well a model reads: what it takes for what, and its worst mistakes."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_FULL_COLOUR = 0.03  # the share of mistakes that has the full colour, unless there is a larger one


def confusion_matrix(matrix: ArrayLike, classes: Sequence[str] | None = None, *, dark: bool = False) -> Figure:
    """Draw how often each class was read as each other.

    The diagonal, which counts what was read right, stays grey. A mistake is coloured by its share of its row on a
    square-root scale, so that one mistake in a thousand still shows; the full colour is the largest such share, but at
    least 3%, so that a good model looks calm. At the right stands each row's recall, the share that was read right.

    Args:
        matrix: (C, C) counts; the row is the true class, the column the predicted one.
        classes: C names; the numbers from 0 if left out.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: `matrix` is not square, or there is not one name a class.
    """
    counts = np.asarray(matrix)  # (C, C)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"confusion_matrix: the shape {counts.shape} does not fit; it must be (C, C)")
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
    style.dress(axes, look, x="predicted class\n(colour: share of the row that was read so)", y="true class")
    colours = LinearSegmentedColormap.from_list("mistakes", [look.ground, look.second])
    norm = PowerNorm(0.5, vmin=0, vmax=max(_FULL_COLOUR, wrong.filled(0).max()))
    axes.imshow(wrong, cmap=colours.with_extremes(bad=look.faint), norm=norm)
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
        ValueError: the arrays do not fit each other, or `count` is less than 1.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    predictions, confidences = np.asarray(predictions), np.asarray(confidences)
    if images.ndim != 3 or not images.shape[:1] == labels.shape == predictions.shape == confidences.shape:
        raise ValueError(
            f"mistakes: images {images.shape}, labels {labels.shape}, predictions {predictions.shape} and confidences "
            f"{confidences.shape} do not fit; they must be (N, H, W), (N,), (N,) and (N,)"
        )
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
    columns = ceil(sqrt(len(shown)))
    rows = ceil(len(shown) / columns)
    widest = max(len(line) for caption in captions for line in caption.splitlines())
    width, height = max(1.3, 0.075 * widest), 1.6  # of a cell, in inches, and so in the units of the axes

    which = f"The worst {len(shown)} of" if len(shown) < len(wrong) else "All"
    title = "The only mistake" if len(wrong) == 1 else f"{which} {len(wrong):,} mistakes"
    figure = style.new_figure(max(4.5, columns * width), 0.5 + rows * height, title, look)
    axes = figure.add_subplot()  # one for all pictures: one each would be slow
    axes.set_axis_off()
    low, high = images[shown].min(), images[shown].max()
    for place, (picture, caption) in enumerate(zip(images[shown], captions, strict=True)):
        middle, top = (place % columns + 0.5) * width, place // columns * height
        axes.imshow(picture, cmap=look.paper, vmin=low, vmax=high, extent=(middle - 0.5, middle + 0.5, top + 1, top))
        axes.text(middle, top + 1.05, caption, ha="center", va="top", size=style.SMALL, color=look.ink)
    axes.set(xlim=(0, columns * width), ylim=(rows * height, 0))  # each imshow had set them for its own picture
    return figure
