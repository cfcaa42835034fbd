"""The one look of every figure, light or dark, and the way a figure becomes a file.

The first two data colors follow Okabe and Ito's palette for color-blind readers (https://jfly.uni-koeln.de/color/).
All of them differ in lightness, and lines and markers in their form as well, so that a gray print still reads. Colors
and sizes go to matplotlib as arguments, never into its global settings: a figure looks the same wherever and whenever
it is shown. Margins are given in inches, because matplotlib's automatic layouts draw everything twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from chainrule.autograd import no_grad
from chainrule.errors import UserError, check_destination
from chainrule.files import atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from numpy.typing import NDArray

DPI = 120  # dots per inch: a figure 8 inches wide is 960 pixels wide
TITLE, TEXT, SMALL = 13, 10, 9  # font sizes in points
LINES, MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D")
SIGNED = "cividis"  # the colors of numbers of both signs: dark blue, gray for 0, yellow; lighter means larger, always
FORMATS: dict[str, dict[str, str | None]] = {  # by ending, and what each would otherwise note about its making
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


@dataclass(frozen=True)
class Look:
    """The colors of a figure."""

    ground: str
    faint: str  # areas and lines behind the data
    quiet: str  # frames and marks beside the data
    ink: str  # text
    first: str  # these stand for data
    second: str
    third: str
    paper: str  # matplotlib's name for the grays that run from the ground (low values) to the ink (high values)
    many: tuple[float, float]  # the part of the viridis map that stands out from the ground, from the ink's side


LIGHT = Look("#ffffff", "#e0e0e0", "#7a7a7a", "#222222", "#0072b2", "#d55e00", "#5b2a86", "gray_r", (0, 0.6))
DARK = Look("#15181d", "#343a42", "#8a9099", "#e8e8e8", "#8fd0f5", "#e69f00", "#b377a8", "gray", (1, 0.45))


def as_array(values: Any, dtype: Any = None) -> NDArray[Any]:
    """Convert numbers to draw, Tensors too, to an array; no gradients are recorded."""
    with no_grad():
        return np.asarray(values, dtype)


def check_finite(function: str, **arrays: Any) -> None:
    """Refuse numbers that nothing true can be drawn of, instead of drawing something else.

    Raises:
        ValueError: an array holds NaN or infinities; the message names the function and the array.
    """
    for name, values in arrays.items():
        array = as_array(values)
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise ValueError(
                f"{function}: {bad:,} of the {array.size:,} numbers of {name} are not finite (NaN or infinite); a "
                f"training that diverged leaves such: try a smaller learning rate"
            )


def strokes(count: int, look: Look) -> list[tuple[str, str, str]]:
    """A color, a line style and a marker for each of `count` things, no two alike in color.

    Up to four have colors that are far apart. More run through the viridis map, from the ink's lightness towards the
    ground's, which suits what has an order, such as layers.
    """
    colors = [look.first, look.second, look.ink, look.third]
    if count > len(colors):
        colors = [to_hex(color) for color in colormaps["viridis"](np.linspace(*look.many, count))]
    return [(colors[i], LINES[i % 4], MARKERS[i % 4]) for i in range(count)]


def new_figure(
    width: float, height: float, title: str, look: Look, margins: tuple[float, float, float, float] = (0, 0, 0, 0.5)
) -> Figure:
    """An empty figure with its title; all sizes in inches, `margins` being left, bottom, right and top."""
    left, bottom, right, top = margins
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=look.ground)
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
    figure.suptitle(title, y=1 - 0.13 / height, va="top", weight="bold", color=look.ink, parse_math=False)
    retitle(figure, title)
    return figure


def retitle(figure: Figure, title: str) -> None:
    """Change the title of a figure that `new_figure` made; a long one is set in smaller letters, down to `SMALL`."""
    fitting = 105 * figure.get_figwidth() / max(len(title), 1)
    figure.texts[0].set(text=title, size=min(TITLE, max(SMALL, fitting)))


def dress(axes: Axes, look: Look, *, title: str = "", x: str = "", y: str = "", open_frame: bool = False) -> None:
    """Give a panel its colors, its title and the labels of its axes; an open frame has two sides and a grid."""
    axes.set_facecolor(look.ground)
    axes.set_title(title, loc="left", y=1.02, size=TEXT, weight="bold", color=look.ink, parse_math=False)
    axes.set_xlabel(x, size=TEXT, color=look.ink)
    axes.set_ylabel(y, size=TEXT, color=look.ink)
    axes.tick_params(which="both", color=look.quiet, labelcolor=look.ink, labelsize=SMALL)
    axes.spines[:].set_color(look.quiet)
    if open_frame:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=look.faint, linewidth=0.8)
        axes.set_axisbelow(True)


def whole_ticks(axes: Axes) -> None:
    """Number the horizontal axis in whole steps, for what is counted: there is no epoch 2.5."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def legend(owner: Axes | Figure, look: Look, **where: Any) -> None:
    """Name what is drawn, to the right of the panel unless `where` says otherwise in matplotlib's words."""
    beside = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "borderpad": 0, "borderaxespad": 0}
    found = owner.legend(
        **(where if "loc" in where else beside | where),
        fontsize=SMALL,
        labelcolor=look.ink,
        frameon=False,
        labelspacing=0.7,
    )
    for text in found.get_texts():
        text.set_parse_math(False)


def legend_width(names: Sequence[str]) -> float:
    """The inches that a legend of these names takes at the right of a panel."""
    return 0.75 + 0.075 * max(len(line) for name in names for line in name.splitlines() or [""])


def color_bar(figure: Figure, drawn: ScalarMappable, label: str, look: Look, right: float = 1.2) -> None:
    """Show what the colors of `drawn` mean in the right margin, which is `right` inches wide."""
    width, place = figure.get_size_inches()[0], figure.subplotpars
    axes = figure.add_axes((1 - (right - 0.15) / width, place.bottom, 0.15 / width, place.top - place.bottom))
    bar = figure.colorbar(drawn, cax=axes)
    bar.set_label(label, size=TEXT, color=look.ink)
    bar.outline.set_edgecolor(look.quiet)
    axes.tick_params(color=look.quiet, labelcolor=look.ink, labelsize=SMALL)


def sheet(
    pictures: Sequence[NDArray[Any]],
    captions: Sequence[str],
    title: str,
    look: Look,
    *,
    columns: int | None = None,
    colors: str | None = None,
    limits: tuple[float, float] | None = None,
    bar: str = "",
    side: float = 1.0,
) -> Figure:
    """Pictures in rows, each with its caption beneath it, all on one scale of colors.

    Args:
        pictures: (H, W) each.
        captions: one each, of one line or more, or empty.
        title: one short line above all.
        look: the colors of the figure.
        columns: how many stand in a row; about a square of them if left out.
        colors: a color map's name; the grays of the look if left out.
        limits: the values with the first and the last color; the lowest and the highest if left out.
        bar: what the colors stand for; a bar at the right explains them if it is given.
        side: inches that the longer side of a picture takes.
    """
    columns = columns or ceil(sqrt(len(pictures)))
    rows = ceil(len(pictures) / columns)
    lines = [line for caption in captions for line in caption.splitlines()]
    beneath = 0.15 + 0.225 * max((len(caption.splitlines()) for caption in captions), default=0)
    width = max(1.15 * side + 0.15 * bool(lines), 0.075 * max(map(len, lines), default=0))  # of a cell, in inches
    height = side + beneath  # and so in the units of the axes
    right = 1.2 if bar else 0.0
    total = max(4.5 + 0.5 * bool(bar), columns * width + right, 0.115 * len(title))
    margins = (0.0, 0.15 if bar else 0.0, right, 0.5)
    figure = new_figure(total, margins[1] + 0.5 + rows * height, title, look, margins)
    axes = figure.add_subplot()  # one for all pictures: one each would be slow
    axes.set_axis_off()
    low, high = limits or (min(map(np.min, pictures)), max(map(np.max, pictures)))
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        middle, top = (place % columns + 0.5) * width, place // columns * height
        down, across = (side * size / max(picture.shape) for size in picture.shape)
        box = (middle - across / 2, middle + across / 2, top + down, top)
        axes.imshow(picture, cmap=colors or look.paper, vmin=low, vmax=high, extent=box)
        caption_at = (middle, top + down + 0.05)
        axes.text(*caption_at, caption, ha="center", va="top", size=SMALL, color=look.ink, parse_math=False)
    axes.set(xlim=(0, columns * width), ylim=(rows * height, 0))  # each imshow had set them for its own picture
    if bar:
        color_bar(figure, axes.images[0], bar, look, right)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, SVG or PDF, as the ending of `path` says, whole or not at all.

    Nothing in the file tells when it was made: the same figure, drawn again by the same matplotlib, has the same bytes.

    Raises:
        UserError: the ending is another one, the folder is missing, or the file cannot be written.
    """
    check_destination(path, "figure", FORMATS)
    ending = Path(path).suffix.lower()
    try:
        # Without a salt SVG names its parts at random; a reader's own wish to trim figures would draw them twice.
        with atomic_write(path) as file, rc_context({"svg.hashsalt": "chainrule", "savefig.bbox": None}):
            figure.savefig(file, format=ending[1:], dpi=DPI, facecolor=figure.get_facecolor(), metadata=FORMATS[ending])
    except OSError as error:
        raise UserError(f"{path}: the figure cannot be written ({error.strerror or error})") from error
