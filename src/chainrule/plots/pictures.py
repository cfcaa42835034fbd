"""The preprocessing of an image, step by step, from a photo to 28×28, and the prediction."""

from __future__ import annotations

from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.plots import charts, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

ROUNDING = 1e-3  # computed brightness, such as that of a fitted background, can exceed 1 by its rounding errors
_MAX_PANELS_PER_ROW = 5
_MAX_GRID_SIDE = 64  # pixels of the longer side: images up to this size get a pixel grid
_MAX_DRAWN_SIDE = 500  # pixels of the longer side: larger images are reduced, since a panel is only 228 pixels wide


def stages(
    stages: Sequence[tuple[str, ArrayLike]],
    digit: int | None = None,
    probabilities: ArrayLike | None = None,
    *,
    dark: bool = False,
) -> Figure:
    """Draw the steps of an image's preprocessing; the last one, if small, gets a pixel grid.

    Low values are black and high values white in every panel, so that the step that inverts the image is visible.
    Arrays of integers, or with values above 1, range from 0 to 255; others from 0 to 1.

    Args:
        stages: (title, array) of each step in order; each array is (H, W), and sizes may differ.
        digit: the predicted digit, shown in the title.
        probabilities: (digits,) class probabilities, drawn as bars in a last panel.
        dark: use a dark background.

    Raises:
        ValueError: there are no stages, one is not an (H, W) array, or numbers are not finite.
    """
    if not stages:
        raise ValueError("stages: there are no stages; at least one (title, array) pair is needed")
    pictures = [(title, style.as_array(array)) for title, array in stages]
    for title, picture in pictures:
        if picture.ndim != 2 or not picture.size:
            raise ValueError(f"stages: {title!r} has shape {picture.shape}; expected (H, W)")
        style.check_finite("stages", **{repr(title): picture})
    if probabilities is not None:
        style.check_finite("stages", probabilities=probabilities)
    theme = style.DARK if dark else style.LIGHT
    panels = len(pictures) + (probabilities is not None)
    rows = 1 if panels <= _MAX_PANELS_PER_ROW else 2
    columns = ceil(panels / rows)
    heading = "From the picture to the network" if digit is None else f"Read as {digit}"
    width, height = 0.3 + 2.4 * columns, 0.45 + 2.9 * rows  # inches: each panel is 1.9 × 1.9
    figure = style.new_figure(max(4, width), height, heading, theme, margins=(0.3, 0.5, 0.5, 0.95))
    figure.subplots_adjust(wspace=0.5 / 1.9, hspace=1 / 1.9)
    for panel, (title, picture) in enumerate(pictures, start=1):
        axes = figure.add_subplot(rows, columns, panel, anchor="NW")
        down, across = picture.shape
        style.style_axes(axes, theme, title=fill(title, 20), x=f"{across} × {down} pixels")
        white = 255 if np.issubdtype(picture.dtype, np.integer) or picture.max() > 1 + ROUNDING else 1
        axes.imshow(_reduced(picture), cmap="gray", vmin=0, vmax=white)
        axes.set(xticks=[], yticks=[])
    if max(down, across) <= _MAX_GRID_SIDE:
        axes.vlines(np.arange(1, across) - 0.5, -0.5, down - 0.5, color=theme.frame, lw=0.5)
        axes.hlines(np.arange(1, down) - 0.5, -0.5, across - 0.5, color=theme.frame, lw=0.5)
    if probabilities is not None:
        axes = figure.add_subplot(rows, columns, panels)
        style.style_axes(axes, theme, title="probabilities", x="probability (%)", y="digit", open_frame=True)
        percent = 100 * style.as_array(probabilities)
        charts.bars(axes, [str(i) for i in range(len(percent))], percent, digit, theme)
    return figure


def _reduced(picture: NDArray[Any]) -> NDArray[Any]:
    """Downsample a large image by block means: drawing all 12 million pixels of a photo would take a second."""
    step = min(max(picture.shape) // _MAX_DRAWN_SIDE, min(picture.shape))
    if step < 2:
        return picture
    down, across = picture.shape[0] // step, picture.shape[1] // step
    blocks = picture[: down * step, : across * step].reshape(down, step, across, step)
    return np.asarray(blocks.mean(axis=(1, 3)))  # (down, across)
