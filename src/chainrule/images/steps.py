"""From grey values to MNIST's own form, one step after the other, every stage kept for whoever wants to look.

MNIST's authors had clean black and white scans: they scaled each digit to fit a box of 20×20 with its proportions kept,
which left soft grey edges, and laid it into 28×28 with its centre of mass in the middle (LeCun, Bottou, Bengio and
Haffner, "Gradient-based learning applied to document recognition", 1998, section III.A). A photo has to become such a
scan first: the paper's brightness is estimated and divided out, which takes shadows away, and what differs enough from
the paper is ink.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from chainrule.errors import PictureError
from chainrule.images.files import open_picture
from chainrule.images.raster import closing, connected_parts, fit, resize, running, shrink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from chainrule.images.raster import Grey

WORKING_SIDE = 256  # pixels of the longer side: enough for 20×20, few enough to average noise away
PAPER_SIDE = 128  # light and shadow need less
PAPER_WINDOW = 0.35  # of the shorter side: strokes are narrower, shadows are wider
INK_LEVEL = 0.3  # of full ink: where a stroke begins
FAINTEST = 0.04  # of the paper's brightness: less contrast is no ink
NOISIEST = 3.5  # ink stands out by this many standard deviations of the paper's noise
MIX = 0.5
WINDOWS = (0.35, 0.15)
INNER = 0.2
THINNEST = 1.8  # pixels of the 20×20: thinner strokes than MNIST's own vanish there
BOX, FIELD = 20, 28


@dataclass(frozen=True, eq=False)
class Stages:
    """A picture on its way to MNIST's form; iterating gives `(title, array)` for each stage, in order.

    `grey` and `paper` are brightness (0 black, 1 white); from `ink` on, 0 is paper and 1 is full ink.
    """

    grey: Grey  # (height, width), as opened
    paper: Grey  # (height, width), the estimated brightness without the digit
    ink: Grey  # (height, width), paper removed, and turned round if the ink was darker than it
    clean: Grey  # (height, width), stretched from 0 to 1, noise and specks gone
    cropped: Grey  # the digit alone
    scaled: Grey  # the longer side 20
    result: NDArray[np.uint8]  # (28, 28), the digit bright on black, as in MNIST

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.float32] | NDArray[np.uint8]]]:
        yield "as opened", self.grey
        yield "background", self.paper
        yield "background removed", self.ink
        yield "noise removed", self.clean
        yield "cropped", self.cropped
        yield "scaled to 20×20", self.scaled
        yield "centred in 28×28", self.result


def prepare(picture: str | os.PathLike[str] | NDArray[np.floating | np.uint8]) -> Stages:
    """Bring a picture of one digit to MNIST's form, and keep the stages.

    Args:
        picture: the path of a picture file, or grey values `(height, width)`: floats from 0 (black) to 1 (white), or
            uint8 from 0 to 255.

    Raises:
        PictureError: the file cannot be read, the array has another form, or there is no digit to be seen.
    """
    if isinstance(picture, np.ndarray):
        name, grey = "picture", _checked(picture)
    else:
        name, grey = str(picture), open_picture(picture)
    try:
        return _stages(shrink(grey, WORKING_SIDE))
    except _Blank as error:
        raise PictureError(f"{name}: no digit found, the picture is blank") from error


def to_mnist(grey: NDArray[np.floating | np.uint8]) -> NDArray[np.uint8]:
    """The `(28, 28)` picture of `prepare` without the stages before it."""
    return prepare(grey).result


class _Blank(Exception):
    """There is no ink in the picture."""


def _checked(values: NDArray[np.floating | np.uint8]) -> Grey:
    if values.ndim != 2 or not values.size:
        raise PictureError(f"picture: an array of shape {values.shape} is not grey values of shape (height, width)")
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255)
    if not (np.issubdtype(values.dtype, np.floating) and values.min() >= 0 and values.max() <= 1):
        raise PictureError("picture: grey values must be floats from 0 (black) to 1 (white), or uint8")
    return values.astype(np.float32)


def _stages(grey: Grey) -> Stages:
    if np.ptp(grey) < FAINTEST:
        raise _Blank
    bright = grey if _ink_is_dark(shrink(grey, PAPER_SIDE)) else 1 - grey  # from here on the ink is dark
    found = []
    for window in WINDOWS:
        paper = _paper(bright, window)
        ink = 1 - bright / np.maximum(paper, 0.05)
        try:
            clean = _drop_specks(_stretch(ink))
        except _Blank:
            continue
        found.append((paper, ink, clean))
        if not _touches_border(clean):
            break
    else:
        if not found:
            raise _Blank
        paper, ink, clean = found[0]
    cropped = _crop(clean)
    scaled = _scale(_thicken(cropped))
    shown = paper if bright is grey else 1 - paper
    return Stages(grey, shown, ink, clean, cropped, scaled, _centre(scaled))


def _ink_is_dark(grey: Grey) -> bool:
    """Ink covers less than paper does: around any place, the few pixels far from the mean are ink.

    The third moment of the difference to the local mean has the sign of the rarer and stronger side, and a shadow's
    edge, which is as far above the mean on one side as below it on the other, adds nothing to it.
    """
    widest = round(math.log2(max(8, max(grey.shape) / 2)))
    skew = 0.0
    for width in (2**widest, 2 ** (widest - 1), 2 ** (widest - 2)):
        local_mean = running(grey, width, np.add) / width**2
        skew += float(np.mean((grey - local_mean) ** 3)) / width  # a stroke is narrower than a sheet on a dark desk
    return skew < 0


def _touches_border(ink: Grey) -> bool:
    return bool(ink[0].any() or ink[-1].any() or ink[:, 0].any() or ink[:, -1].any())


def _paper(bright: Grey, PAPER_WINDOW: float) -> Grey:
    """The brightness the paper has at every pixel, also under the dark ink. (height, width)

    A smooth surface follows the light across the whole picture; on what is left, every dark detail narrower than a
    window is filled with the brightness beside it, which keeps the edge of a shadow where it is.
    """
    small = shrink(bright, PAPER_SIDE)
    surface = _surface(small)
    window = max(3, round(PAPER_WINDOW * (min(small.shape) + MIX * (max(small.shape) - min(small.shape)))))
    return resize(surface + closing(small - surface, window), cast(tuple[int, int], bright.shape), "BILINEAR")


def _surface(values: Grey, rounds: int = 6) -> Grey:
    """A quadratic surface fitted to the half of the pixels nearest to it, found by repeated fits (trimmed squares)."""
    height, width = values.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].reshape(2, -1)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)  # (pixels, 6)
    wanted = values.ravel().astype(np.float64)
    kept = np.ones(wanted.size, bool)
    for _ in range(rounds):
        fitted = terms @ np.linalg.lstsq(terms[kept], wanted[kept], rcond=None)[0]
        error = np.abs(wanted - fitted)
        kept = error <= np.median(error)
    return fitted.reshape(values.shape).astype(np.float32)


def _stretch(ink: Grey) -> Grey:
    """Stretch the ink so that the paper with its noise is 0 and full ink is 1."""
    full = float(np.median(ink[ink > _threshold(ink)]))
    paper = ink[ink < full / 2]
    level = float(np.median(paper))
    noise = 1.4826 * float(np.median(np.abs(paper - level)))  # the standard deviation, told from the median
    if full - level < max(FAINTEST, NOISIEST * noise):
        raise _Blank
    start = min(level + 3 * noise, full / 2)
    return np.clip((ink - start) / (full - start), 0, 1)


def _threshold(values: Grey) -> float:
    """The level that parts dark from bright best: the greatest variance between the two (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()  # below: pixels up to each level
    sums, all_of_them = np.cumsum(counts * centres)[:-1], np.sum(counts * centres)
    spread = (all_of_them * below / total - sums) ** 2 / (below * (total - below))
    return float(edges[1 + np.argmax(spread)])


def _drop_specks(ink: Grey) -> Grey:
    """Keep the parts of the digit; dust, and what reaches in over the picture's border, becomes paper."""
    parts = connected_parts(ink > INK_LEVEL)
    mass = np.bincount(parts.ravel(), ink.ravel())
    mass[0] = 0
    cut = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    rows, columns = np.nonzero(parts)
    number = parts[rows, columns]
    corners = np.full((4, mass.size), np.inf)  # top, left, -bottom, -right of each part
    for line, place in zip(corners, (rows, columns, -rows, -columns), strict=True):
        np.minimum.at(line, number, place)
    length = -np.minimum(corners[2] + corners[0], corners[3] + corners[1])
    inner = np.where(np.isin(np.arange(mass.size), cut), 0, mass)
    if (length[inner > 0.02 * mass.max()] > INNER * max(ink.shape)).any():  # else the digit itself touches the border
        mass = inner
    kept = mass >= 0.15 * mass.max()
    around = corners[:, kept].min(axis=1)
    around -= 0.1 * max(-around[2] - around[0], -around[3] - around[1])  # a little room
    kept |= (corners >= around[:, None]).all(axis=0) & (mass >= 0.01 * mass.max())
    kept[0] = False
    return ink * running(kept[parts].astype(np.float32), 3, np.maximum)  # with the soft edge of one pixel


def _crop(ink: Grey) -> Grey:
    """The digit's bounding box, its edges sharpened as far as the scaling will soften them again."""
    mask = ink > INK_LEVEL
    size = max(np.ptp(np.flatnonzero(mask.any(axis=side))) + 1 for side in (0, 1))
    gain = np.clip(size / BOX, 1, 3)
    sharp = np.clip(0.5 + gain * (ink - 0.5), 0, 1)
    rows, columns = (np.flatnonzero((sharp > 0.1).any(axis=side)) for side in (1, 0))
    return sharp[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thicken(ink: Grey) -> Grey:
    """Widen strokes that would be thinner than any of MNIST's once the digit is scaled."""
    mask = np.pad(ink > 0.5, 1)
    outline = np.sum(mask[1:] != mask[:-1]) + np.sum(mask[:, 1:] != mask[:, :-1])
    width = 2 * np.sum(mask) / (math.pi / 4 * max(outline, 1))  # an outline in steps is 4/π as long as a smooth one
    more = round(THINNEST * max(ink.shape) / BOX - width)
    return running(np.pad(ink, more), more + 1, np.maximum) if more > 0 else ink


def _scale(ink: Grey) -> Grey:
    """Fit the longer side to 20 pixels, the proportions kept, the brightest ink 1."""
    scale = BOX / max(ink.shape)
    height, width = (fit(side, scale) for side in ink.shape)
    scaled = np.clip(resize(ink, (height, width), "BOX" if scale < 1 else "BICUBIC"), 0, 1)
    return scaled / scaled.max()


def _centre(ink: Grey) -> NDArray[np.uint8]:
    """Lay the digit into 28×28 with its centre of mass in the middle, moved by whole pixels as in MNIST."""
    field = np.zeros((FIELD, FIELD), np.uint8)
    height, width = ink.shape
    top = round(FIELD / 2 - float(ink.sum(axis=1) @ np.arange(height) / ink.sum()))
    left = round(FIELD / 2 - float(ink.sum(axis=0) @ np.arange(width) / ink.sum()))
    top, left = min(max(top, 0), FIELD - height), min(max(left, 0), FIELD - width)
    field[top : top + height, left : left + width] = np.rint(255 * ink)
    return field
