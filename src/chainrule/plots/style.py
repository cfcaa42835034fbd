"""The one look of every figure, light or dark, and the way a figure becomes a file.

The two data colours are from Okabe and Ito's palette for colour-blind readers (https://jfly.uni-koeln.de/color/); line
styles and markers differ as well, so that a grey print still reads. Colours and sizes go to matplotlib as arguments,
never into its global settings: a figure looks the same wherever and whenever it is shown. Margins are given in
inches, because matplotlib's automatic layouts draw everything twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

from chainrule.errors import UserError
from chainrule.files import atomic_write

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes

DPI = 120  # dots per inch: a figure 8 inches wide is 960 pixels wide
TITLE, TEXT, SMALL = 13, 10, 9  # font sizes in points
_UNDATED: dict[str, dict[str, str | None]] = {  # what each format would otherwise note about its making
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


@dataclass(frozen=True)
class Look:
    """The colours of a figure."""

    ground: str
    faint: str  # areas and lines behind the data
    quiet: str  # frames and marks beside the data
    ink: str  # text
    first: str  # two that stand for data
    second: str
    paper: str  # matplotlib's name for the greys that run from the ground (low values) to the ink (high values)


LIGHT = Look("#ffffff", "#e0e0e0", "#7a7a7a", "#222222", first="#0072b2", second="#d55e00", paper="gray_r")
DARK = Look("#15181d", "#343a42", "#8a9099", "#e8e8e8", first="#56b4e9", second="#e69f00", paper="gray")


def new_figure(
    width: float, height: float, title: str, look: Look, margins: tuple[float, float, float, float] = (0, 0, 0, 0.5)
) -> Figure:
    """An empty figure with its title; all sizes in inches, `margins` being left, bottom, right and top."""
    left, bottom, right, top = margins
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=look.ground)
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
    figure.suptitle(title, y=1 - 0.13 / height, va="top", size=TITLE, weight="bold", color=look.ink, parse_math=False)
    return figure


def dress(axes: Axes, look: Look, *, title: str = "", x: str = "", y: str = "", open_frame: bool = False) -> None:
    """Give a panel its colours, its title and the labels of its axes; an open frame has two sides and a grid."""
    axes.set_facecolor(look.ground)
    axes.set_title(title, loc="left", y=1.02, size=TEXT, weight="bold", color=look.ink, parse_math=False)
    axes.set_xlabel(x, size=TEXT, color=look.ink)
    axes.set_ylabel(y, size=TEXT, color=look.ink)
    axes.tick_params(color=look.quiet, labelcolor=look.ink, labelsize=SMALL)
    axes.spines[:].set_color(look.quiet)
    if open_frame:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=look.faint, linewidth=0.8)
        axes.set_axisbelow(True)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, SVG or PDF, as the ending of `path` says, whole or not at all.

    Nothing in the file tells when it was made: the same figure, drawn again by the same matplotlib, has the same bytes.

    Raises:
        UserError: the ending is another one, the folder is missing, or the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _UNDATED:
        raise UserError(f"{path}: the ending '{path.suffix}' is no figure's; use .png, .svg or .pdf")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it first or choose another")
    try:
        # Without a salt SVG names its parts at random; a reader's own wish to trim figures would draw them twice.
        with atomic_write(path) as file, rc_context({"svg.hashsalt": "chainrule", "savefig.bbox": None}):
            figure.savefig(file, format=kind, dpi=DPI, facecolor=figure.get_facecolor(), metadata=_UNDATED[kind])
    except OSError as error:
        raise UserError(f"{path}: the figure cannot be written ({error.strerror or error})") from error
