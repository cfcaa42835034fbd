"""The shared theme of all figures, light or dark, and saving figures to files.

The first two data colors follow Okabe and Ito's palette for color-blind readers (https://jfly.uni-koeln.de/color/). All
colors differ in lightness, and lines and markers also in shape, so that a gray print is readable. Colors and sizes are
passed to matplotlib as arguments, not by its global settings, so a figure looks the same everywhere. Margins are given
in inches, because matplotlib's automatic layouts draw everything twice.
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
SIGNED = "cividis"  # the colormap of signed numbers: dark blue, gray for 0, yellow; lighter always means larger
FORMATS: dict[str, dict[str, str | None]] = {  # by file extension, with metadata that would differ between saves
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


@dataclass(frozen=True)
class Theme:
    """The colors of a figure."""

    background: str
    grid: str  # grid lines and areas behind the data
    frame: str  # frames, ticks and marks beside the data
    foreground: str  # text
    first: str  # colors of data
    second: str
    third: str
    grays: str  # the name of the gray colormap from the background (low values) to the foreground (high values)
    viridis_range: tuple[float, float]
    """The part of viridis that contrasts with `background`; it starts with the color closest to `foreground`."""

    # The former names
    ground = property(lambda self: self.background)
    faint = property(lambda self: self.grid)
    quiet = property(lambda self: self.frame)
    ink = property(lambda self: self.foreground)
    paper = property(lambda self: self.grays)


Look = Theme  # its former name

LIGHT = Theme("#ffffff", "#e0e0e0", "#7a7a7a", "#222222", "#0072b2", "#d55e00", "#5b2a86", "gray_r", (0, 0.6))
DARK = Theme("#15181d", "#343a42", "#8a9099", "#e8e8e8", "#8fd0f5", "#e69f00", "#b377a8", "gray", (1, 0.45))


def as_array(values: Any, dtype: Any = None) -> NDArray[Any]:
    """Convert numbers or Tensors to an array, without recording gradients."""
    with no_grad():
        return np.asarray(values, dtype)


def check_finite(function: str, **arrays: Any) -> None:
    """Check that arrays contain only finite numbers.

    Raises:
        ValueError: an array contains NaN or infinities; the message names the function and the array.
    """
    for name, values in arrays.items():
        array = as_array(values)
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise ValueError(
                f"{function}: {bad:,} of the {array.size:,} numbers of {name} are not finite (NaN or infinite); if "
                f"training diverged, try a smaller learning rate"
            )


def strokes(count: int, theme: Theme) -> list[tuple[str, str, str]]:
    """`count` combinations of color, line style and marker, with distinct colors.

    Up to four colors are very different. More are taken from the viridis colormap, which suits ordered data such as
    layers.
    """
    colors = [theme.first, theme.second, theme.foreground, theme.third]
    if count > len(colors):
        colors = [to_hex(color) for color in colormaps["viridis"](np.linspace(*theme.viridis_range, count))]
    return [(colors[i], LINES[i % 4], MARKERS[i % 4]) for i in range(count)]


def new_figure(
    width: float, height: float, title: str, theme: Theme, margins: tuple[float, float, float, float] = (0, 0, 0, 0.5)
) -> Figure:
    """Create an empty figure with a title; sizes are in inches, and `margins` are left, bottom, right and top."""
    left, bottom, right, top = margins
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.background)
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
    figure.suptitle(title, y=1 - 0.13 / height, va="top", weight="bold", color=theme.foreground, parse_math=False)
    retitle(figure, title)
    return figure


def retitle(figure: Figure, title: str) -> None:
    """Change the title of a figure created by `new_figure`; a long title gets a smaller font, down to `SMALL`."""
    fitting = 105 * figure.get_figwidth() / max(len(title), 1)
    figure.texts[0].set(text=title, size=min(TITLE, max(SMALL, fitting)))


def style_axes(
    axes: Axes, theme: Theme, *, title: str = "", x: str = "", y: str = "", open_frame: bool = False
) -> None:
    """Set a panel's colors, title and axis labels; an open frame has two sides and a grid."""
    axes.set_facecolor(theme.background)
    axes.set_title(title, loc="left", y=1.02, size=TEXT, weight="bold", color=theme.foreground, parse_math=False)
    axes.set_xlabel(x, size=TEXT, color=theme.foreground)
    axes.set_ylabel(y, size=TEXT, color=theme.foreground)
    axes.tick_params(which="both", color=theme.frame, labelcolor=theme.foreground, labelsize=SMALL)
    axes.spines[:].set_color(theme.frame)
    if open_frame:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=theme.grid, linewidth=0.8)
        axes.set_axisbelow(True)


dress = style_axes  # its former name


def integer_ticks(axes: Axes) -> None:
    """Use integer ticks on the horizontal axis, for counts such as epochs."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def legend(owner: Axes | Figure, theme: Theme, **options: Any) -> None:
    """Add a legend to the right of the panel; `options` holds more arguments for matplotlib, and `loc` moves it."""
    default_position = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "borderpad": 0, "borderaxespad": 0}
    box = owner.legend(
        **(options if "loc" in options else default_position | options),
        fontsize=SMALL,
        labelcolor=theme.foreground,
        frameon=False,
        labelspacing=0.7,
    )
    for text in box.get_texts():
        text.set_parse_math(False)


def legend_width(names: Sequence[str]) -> float:
    """The width in inches of a legend with these names, to the right of a panel."""
    return 0.75 + 0.075 * max(len(line) for name in names for line in name.splitlines() or [""])


def color_bar(figure: Figure, mappable: ScalarMappable, label: str, theme: Theme, right: float = 1.2) -> None:
    """Add a color bar for `mappable` in the right margin, which is `right` inches wide."""
    width, margins = figure.get_size_inches()[0], figure.subplotpars
    axes = figure.add_axes((1 - (right - 0.15) / width, margins.bottom, 0.15 / width, margins.top - margins.bottom))
    bar = figure.colorbar(mappable, cax=axes)
    bar.set_label(label, size=TEXT, color=theme.foreground)
    bar.outline.set_edgecolor(theme.frame)
    axes.tick_params(color=theme.frame, labelcolor=theme.foreground, labelsize=SMALL)


def sheet(
    pictures: Sequence[NDArray[Any]],
    captions: Sequence[str],
    title: str,
    theme: Theme,
    *,
    columns: int | None = None,
    colors: str | None = None,
    limits: tuple[float, float] | None = None,
    bar: str = "",
    side: float = 1.0,
) -> Figure:
    """Draw images in rows, each with a caption below, all with the same color scale.

    Args:
        pictures: (H, W) each, or (H, W, 3) of type uint8.
        captions: one per image; may be empty or have several lines.
        title: title of the figure.
        theme: the colors of the figure.
        columns: images per row; default: about as many as rows.
        colors: name of a colormap; default: the theme's gray scale.
        limits: the values with the first and the last color; default: the minimum and the maximum.
        bar: label of a color bar; default: no color bar.
        side: length of an image's longer side, in inches.
    """
    columns = columns or ceil(sqrt(len(pictures)))
    rows = ceil(len(pictures) / columns)
    lines = [line for caption in captions for line in caption.splitlines()]
    caption_height = 0.15 + 0.225 * max((len(caption.splitlines()) for caption in captions), default=0)
    width = max(1.15 * side + 0.15 * bool(lines), 0.075 * max(map(len, lines), default=0))  # of a cell, in inches
    height = side + caption_height  # in inches, which are the units of the axes
    right = 1.2 if bar else 0.0
    total = max(4.5 + 0.5 * bool(bar), columns * width + right, 0.115 * len(title))
    margins = (0.0, 0.15 if bar else 0.0, right, 0.5)
    figure = new_figure(total, margins[1] + 0.5 + rows * height, title, theme, margins)
    axes = figure.add_subplot()  # a single one for all images, because many are slow
    axes.set_axis_off()
    low, high = limits or (min(map(np.min, pictures)), max(map(np.max, pictures)))
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        middle, top = (index % columns + 0.5) * width, index // columns * height
        down, across = (side * size / max(picture.shape[:2]) for size in picture.shape[:2])
        box = (middle - across / 2, middle + across / 2, top + down, top)
        axes.imshow(picture, cmap=colors or theme.grays, vmin=low, vmax=high, extent=box)
        caption_position = (middle, top + down + 0.05)
        axes.text(
            *caption_position, caption, ha="center", va="top", size=SMALL, color=theme.foreground, parse_math=False
        )
    axes.set(xlim=(0, columns * width), ylim=(rows * height, 0))  # imshow sets them for a single image
    if bar:
        color_bar(figure, axes.images[0], bar, theme, right)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure atomically as PNG, SVG or PDF, depending on the file extension.

    The file contains no date: saving the same figure with the same version of matplotlib gives the same bytes.

    Raises:
        UserError: the file extension is not supported, the folder is missing, or the file cannot be written.
    """
    check_destination(path, "figure", FORMATS)
    ending = Path(path).suffix.lower()
    try:
        # A fixed salt makes SVG ids reproducible; a user's savefig.bbox="tight" would draw the figure twice.
        with atomic_write(path) as file, rc_context({"svg.hashsalt": "chainrule", "savefig.bbox": None}):
            figure.savefig(file, format=ending[1:], dpi=DPI, facecolor=figure.get_facecolor(), metadata=FORMATS[ending])
    except OSError as error:
        raise UserError(f"{path}: the figure cannot be written ({error.strerror or error})") from error
