"""Separate the ink of one digit from its paper: lighting, shadows, noise, specks and neighbors are removed.

The brightness of the paper is estimated at every pixel and divided out; pixels that differ enough from the paper are
ink. Ink is kept down to the noise where it is connected to sure ink, so the faint parts of a stroke are not lost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from chainrule.images.frames import find_frame
from chainrule.images.raster import box_mean, closing, connected_parts, otsu_threshold, shrink, sliding_reduce
from chainrule.images.rules import remove_rules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

PLANE_SIDE = 64  # pixels of the longer side of the copy to which a plane is fitted
WINDOWS = (0.35, 0.15, 0.8)  # of a side: the first is wider than a stroke and narrower than a shadow; then fallbacks
MIN_CONTRAST = 0.06  # minimum contrast of ink, as a fraction of the paper's brightness
MIN_CLARITY = 3.5  # minimum contrast of ink, in standard deviations of the paper's noise
STROKE_INK = 0.3  # of full ink: the threshold for pixels of a stroke
FAINT_INK = (0.05, 0.1, 0.15, 0.2)  # of full ink: thresholds for faint ink that is connected to a stroke
MIN_DETAIL_SIDE = 64  # pixels: in smaller pictures, the soft edges of strokes are as wide as the gaps between them
RESIDUE = 0.2  # of the longer side: the light's slow changes are wider
FAINT_STROKE, EVEN_INK = 0.5, 0.8  # of full ink: a stroke with less mean ink is faint, and is raised to this mean
MIN_PART_LENGTH = 0.2  # of the longer side: a part this long is not dust


_Scalar = TypeVar("_Scalar", bound=np.generic)


class BlankError(Exception):
    """The image contains no ink."""


class Foreground(NamedTuple):
    """The ink of a picture, each array (height, width)."""

    paper: Gray  # the brightness of the background
    ink: Gray  # the difference from the background
    clean: Gray  # the ink of the digit alone, scaled to 0..1
    is_cut: bool  # whether the digit touches the border


def ink_is_dark(gray: Gray) -> bool:
    """Whether the ink is darker than the paper.

    Ink covers less area than paper, so the few pixels far from their local mean are ink. The third moment of this
    difference has the sign of the rarer, larger deviations. The edge of a shadow deviates equally on both sides and
    contributes nothing. Narrow windows get more weight: a stroke is narrower than a white sheet on a dark desk.
    """
    widest = round(math.log2(max(8, max(gray.shape) / 2)))
    skewness = 0.0
    for width in (2**widest, 2 ** (widest - 1), 2 ** (widest - 2)):
        local_mean = box_mean(gray, width)
        skewness += float(np.mean((gray - local_mean) ** 3)) / width
    return skewness < 0


def find_foreground(gray: Gray, mask: NDArray[np.bool_]) -> Foreground:
    """Find the dark ink of a digit.

    A window wide enough for any stroke can mistake a narrow shadow at the border for a stroke, and a digit that fills
    the picture can be wider than the window. If ink reaches the border, the other windows are tried, and the ink whose
    outline lies best on the edges of the picture is used.

    Args:
        gray: brightness `(height, width)`.
        mask: where the paper is, `(height, width)`.

    Raises:
        BlankError: there is no ink.
    """
    results: list[tuple[float, Foreground]] = []
    edge = mask & ~sliding_reduce(np.pad(mask, 1), 3, np.minimum)[1:-1, 1:-1]
    for window in WINDOWS:
        if window == max(WINDOWS) and not results:
            break  # so wide a window would take changes of the light for ink
        paper = _paper(gray, window)
        ink = np.where(mask, 1 - gray / np.maximum(paper, 0.05), 0)
        try:
            clean = _drop_specks(_stretch(remove_rules(ink), mask))
        except BlankError:
            continue
        is_cut = bool((clean > 0)[edge].any())
        foreground = Foreground(np.clip(paper, 0, 1), ink, clean, is_cut)
        if not is_cut and not results:
            return foreground
        results.append((_edge_contrast(gray, clean), foreground))
    if not results:
        raise BlankError
    return max(results, key=lambda result: result[0])[1]


def border(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """The values along the four sides."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _edge_contrast(gray: Gray, clean: Gray) -> float:
    """How sharply the brightness drops across the outline of the ink, relative to the contrast of the ink."""
    stroke = clean > 0.5
    drops = []
    for values, inside in ((gray, stroke), (gray.T, stroke.T)):
        change = inside[2:-2].astype(np.int8)[1:] - inside[2:-2].astype(np.int8)[:-1]  # across rows 2..n-2
        drop = values[1:-4] - values[4:-1] if len(values) > 5 else values[:0]
        drops.append((drop * change)[change != 0])
    steps = np.concatenate(drops)
    if not steps.size or stroke.all() or not stroke.any():
        return 0.0
    return float(steps.mean() / max(np.ptp(gray), 1e-6)) * math.sqrt(stroke.sum())


def _paper(gray: Gray, window: float) -> Gray:
    """The brightness of the paper at every pixel, including under the dark ink.

    A plane is fitted to the lighting of the whole image. A closing of the remainder fills every dark detail narrower
    than the window with the brightness beside it, and preserves the edges of shadows.
    """
    plane = _fitted_plane(gray)
    return plane + closing(gray - plane, max(3, round(window * sum(gray.shape) / 2)))


def _fitted_plane(gray: Gray) -> Gray:
    """A plane fitted to the half of the pixels closest to it (trimmed least squares, by repeated fits)."""
    small = shrink(gray, PLANE_SIDE)
    values, terms = small.ravel(), _plane_terms(small.shape)
    nearest = np.ones(values.size, bool)
    for _ in range(6):
        chosen = terms[nearest]
        slopes = np.linalg.lstsq(chosen.T @ chosen, chosen.T @ values[nearest], rcond=None)[0]
        error = np.abs(values - terms @ slopes)
        nearest = error <= np.median(error)
    plane: Gray = (_plane_terms(gray.shape) @ slopes).reshape(gray.shape)
    return plane


def _plane_terms(shape: tuple[int, ...]) -> Gray:
    """1, x and y at the center of each pixel, (pixels, 3); x and y are from -1 to 1 across the image."""
    y, x = ((2 * np.arange(side) + 1) / side - 1 for side in shape)
    return np.stack(np.broadcast_arrays(1.0, x, y[:, None]), axis=-1).reshape(-1, 3)


def _stretch(ink: Gray, mask: NDArray[np.bool_]) -> Gray:
    """Scale the ink so that paper, with its noise, is 0 and full ink is 1."""
    if np.ptp(ink[mask]) < MIN_CONTRAST:
        raise BlankError
    ink = _without_residue(ink)
    values = ink[mask]
    if np.ptp(values) < MIN_CONTRAST:
        raise BlankError
    threshold = otsu_threshold(values)
    full, paper = float(np.median(values[values > threshold])), values[values <= threshold]
    level = float(np.median(paper))
    noise = 1.4826 * float(np.median(np.abs(paper - level)))  # standard deviation from the median absolute deviation
    if full - level < max(MIN_CONTRAST, MIN_CLARITY * noise):
        raise BlankError
    start = min(level + 3 * noise, full / 2)
    stretched: Gray = np.clip((ink - start) / (full - start), 0, 1)
    return stretched


def _without_residue(ink: Gray) -> Gray:
    """The ink without what slow changes of the light leave between the strokes, which is not noise."""
    if max(ink.shape) < MIN_DETAIL_SIDE:
        return ink
    width = 2 ** round(math.log2(RESIDUE * max(ink.shape)))
    stroke = ink > otsu_threshold(ink)
    paper = (~sliding_reduce(stroke, 5, np.maximum)).astype(np.float32)
    share = box_mean(paper, width)
    residue = box_mean(ink * paper, width) / np.maximum(share, 1e-3)
    return np.asarray(ink - np.where(share > 0.1, residue, 0))


def _drop_specks(ink: Gray) -> Gray:
    """Keep only the parts of the digit; remove dust, frames, and objects that touch the image's border."""
    parts = connected_parts(ink > STROKE_INK)  # (height, width)
    mass = np.bincount(parts.ravel(), ink.ravel())  # (parts,); part 0 is the paper
    mass[0] = 0
    y, x = np.nonzero(parts)
    numbers = parts[y, x]
    sides = np.full((4, mass.size), np.inf)  # top, left, -bottom, -right of each part
    for side, coordinate in zip(sides, (y, x, -y, -x), strict=True):
        np.minimum.at(side, numbers, coordinate.astype(np.float64))  # as `side`: to cast each takes ten times as long
    frame = find_frame(parts, sides)
    if frame is not None:  # only what is inside counts
        mass = np.where((sides > sides[:, [frame]]).all(axis=0), mass, 0)
    length = -np.minimum(sides[2] + sides[0], sides[3] + sides[1])
    inside = ~np.isin(np.arange(mass.size), border(parts)) & (mass > 0.02 * mass.max())
    if (length[inside] > MIN_PART_LENGTH * max(ink.shape)).any():  # else the digit itself touches the border
        mass = np.where(inside, mass, 0)
    is_digit = mass >= 0.15 * mass.max()
    bounds = sides[:, is_digit].min(axis=1)
    bounds -= 0.1 * max(-bounds[2] - bounds[0], -bounds[3] - bounds[1])  # keep small parts only if they are near
    is_digit |= (sides >= bounds[:, None]).all(axis=0) & (mass > 0.01 * mass.max())
    excluded = np.isin(np.arange(mass.size), border(parts)) & ~is_digit
    excluded[0] = False
    if frame is not None:
        excluded[frame] = True
    return _with_faint_parts(ink, is_digit[parts], excluded[parts])


def _with_faint_parts(ink: Gray, digit: NDArray[np.bool_], excluded: NDArray[np.bool_]) -> Gray:
    """The ink of the digit, with the faint ink connected to it, which is made as dark as the rest.

    Faint ink that leads to the border or to an excluded part, such as a ruled line or a frame, is left out.
    """
    if max(ink.shape) < MIN_DETAIL_SIDE:
        return ink * sliding_reduce(digit, 3, np.maximum)
    smooth = box_mean(ink, 2)
    for threshold in FAINT_INK:
        faint = connected_parts(digit | (smooth > threshold))
        is_connected = np.zeros(faint.max() + 1, bool)
        is_connected[faint[digit]] = True
        grown = is_connected[faint]
        if (grown & excluded).any() or (border(grown) & ~border(digit)).any():
            continue
        added = grown & ~sliding_reduce(digit, 5, np.maximum)
        if (
            not added.any() or 0.3 <= stroke_width(added) / stroke_width(digit) <= 1.6
        ):  # no stain, no halo of JPEG's noise
            break
    else:
        grown = digit
    width = 2 ** max(1, round(math.log2(stroke_width(grown))))
    darkness = box_mean(np.where(grown, ink, 0), width) / np.maximum(box_mean(grown.astype(np.float32), width), 1e-3)
    faintness = np.clip(
        (FAINT_STROKE - darkness) / 0.2, 0, 1
    )  # 0 for strokes of usual darkness, which stay as they are
    even = np.clip(ink * (1 + faintness * (EVEN_INK / np.maximum(darkness, 0.03) - 1)), 0, 1)
    digit = digit | (grown & (even > STROKE_INK))
    return np.asarray(even * sliding_reduce(digit, 3, np.maximum))  # includes the soft edge


def stroke_width(mask: NDArray[np.bool_]) -> float:
    """The mean width of the strokes of a mask, in pixels."""
    mask = np.pad(mask, 1)
    outline = np.sum(mask[1:] != mask[:-1]) + np.sum(mask[:, 1:] != mask[:, :-1])
    return float(2 * np.sum(mask) / (math.pi / 4 * outline))  # a pixelated outline is 4/π times as long as a smooth one
