"""Separate the ink of one digit from its paper: lighting, shadows, noise, specks and neighbors are removed.

The brightness of the paper is estimated at every pixel and divided out; pixels that differ enough from the paper are
ink. The threshold has hysteresis: faint pixels are kept where they are connected to strokes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from chainrule.images.frames import find_frame
from chainrule.images.raster import box_mean, closing, connected_parts, otsu_threshold, shrink, sliding_reduce
from chainrule.images.ruled_lines import remove_ruled_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

PLANE_SIDE = 64  # pixels of the longer side of the reduced copy to which a plane is fitted
CLOSING_WINDOWS = (0.35, 0.15, 0.8)
"""Widths of the window of the closing that estimates the paper, relative to the mean of the picture's sides. The first
is wider than a stroke and narrower than a shadow; the others are fallbacks."""
MIN_CONTRAST = 0.06  # minimum contrast of ink, relative to the paper's brightness
MIN_CLARITY = 3.5  # minimum contrast of ink, in standard deviations of the paper's noise
STROKE_INK = 0.3  # relative to full ink: the threshold for pixels of a stroke
FAINT_INK = (0.05, 0.1, 0.15, 0.2)  # relative to full ink: thresholds for faint pixels that are connected to a stroke
MIN_DETAIL_SIDE = 64  # pixels: in smaller pictures, the soft edges of strokes are as wide as the gaps between them
RESIDUE_WINDOW = 0.2  # relative to the longer side: gradual changes of the lighting are wider
FAINT_STROKE = 0.5  # relative to full ink: a stroke with less mean ink is faint
EVEN_INK = 0.8  # relative to full ink: the mean ink to which faint strokes are raised
MIN_PART_LENGTH = 0.2  # relative to the longer side: a part this long is not dust

_Scalar = TypeVar("_Scalar", bound=np.generic)


class BlankError(Exception):
    """The image contains no ink."""


class Foreground(NamedTuple):
    """The ink of a picture; each array is (height, width)."""

    paper: Gray  # the brightness of the background
    ink: Gray  # the difference from the background, relative to the background
    clean: Gray  # the ink of the digit alone, scaled to 0..1
    is_truncated: bool  # whether the digit reaches the edge of the part of the picture that is searched


def ink_is_dark(gray: Gray) -> bool:
    """Whether the ink is darker than the paper.

    Ink covers less area than paper, so the few pixels far from their local mean are ink. The third moment of the
    differences from the local mean has the sign of the rarer, larger ones. At the edge of a shadow, the differences
    are equally large on both sides, and cancel. Narrow windows get more weight: a stroke is narrower than a white sheet
    on a dark desk.
    """
    widest = round(math.log2(max(8, max(gray.shape) / 2)))  # window widths are powers of two
    skewness = 0.0
    for width in (2**widest, 2 ** (widest - 1), 2 ** (widest - 2)):
        local_mean = box_mean(gray, width)
        skewness += float(np.mean((gray - local_mean) ** 3)) / width
    return skewness < 0


def find_foreground(gray: Gray, mask: NDArray[np.bool_]) -> Foreground:
    """Find the dark ink of a digit.

    The paper is estimated by a closing (see `_paper`). With a window wide enough for any stroke, a narrow shadow at the
    border can be mistaken for a stroke, and a digit that fills the picture can be wider than the window. If the ink
    reaches the border, the other windows are tried, and the ink whose outline coincides best with edges in the picture
    is used.

    Args:
        gray: brightness `(height, width)`.
        mask: the part of the picture to search, `(height, width)`.

    Raises:
        BlankError: there is no ink.
    """
    results: list[tuple[float, Foreground]] = []
    edge = mask & ~sliding_reduce(np.pad(mask, 1), 3, np.minimum)[1:-1, 1:-1]
    for window in CLOSING_WINDOWS:
        if window == max(CLOSING_WINDOWS) and not results:
            break  # with so wide a window, changes of the lighting would be mistaken for ink
        paper = _paper(gray, window)
        ink = np.where(mask, 1 - gray / np.maximum(paper, 0.05), 0)
        try:
            clean = _drop_specks(_stretch(remove_ruled_lines(ink), mask))
        except BlankError:
            continue
        is_truncated = bool((clean > 0)[edge].any())
        foreground = Foreground(np.clip(paper, 0, 1), ink, clean, is_truncated)
        if not is_truncated and not results:
            return foreground
        results.append((_edge_contrast(gray, clean), foreground))
    if not results:
        raise BlankError
    return max(results, key=lambda result: result[0])[1]


def border(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return the values along the four sides of a picture."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _edge_contrast(gray: Gray, clean: Gray) -> float:
    """Return a score that is high if the outline of much ink coincides with sharp edges in the picture.

    It is the mean drop in brightness across the outline, relative to the range of the brightness, times the square root
    of the ink's area.
    """
    stroke = clean > 0.5
    drops = []
    for values, inside in ((gray, stroke), (gray.T, stroke.T)):
        # Between rows i and i + 1: 1 where the ink begins, -1 where it ends; and the drop from row i - 1 to row i + 2
        change = inside[2:-2].astype(np.int8)[1:] - inside[2:-2].astype(np.int8)[:-1]
        drop = values[1:-4] - values[4:-1] if len(values) > 5 else values[:0]
        drops.append((drop * change)[change != 0])
    outline_drops = np.concatenate(drops)
    if not outline_drops.size or stroke.all() or not stroke.any():
        return 0.0
    return float(outline_drops.mean() / max(np.ptp(gray), 1e-6)) * math.sqrt(stroke.sum())


def _paper(gray: Gray, window: float) -> Gray:
    """Estimate the brightness of the paper at every pixel, also under the dark ink.

    A plane is fitted to the lighting of the whole image. A closing of the difference from the plane fills every dark
    detail narrower than the window with the brightness beside it, and preserves the edges of shadows.
    """
    plane = _fitted_plane(gray)
    return plane + closing(gray - plane, max(3, round(window * sum(gray.shape) / 2)))


def _fitted_plane(gray: Gray) -> Gray:
    """Fit a plane to the half of the pixels closest to it (least trimmed squares, by repeated fits)."""
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
    """Return 1, x and y at the center of each pixel, (pixels, 3); x and y run from -1 to 1 across the image."""
    y, x = ((2 * np.arange(side) + 1) / side - 1 for side in shape)
    return np.stack(np.broadcast_arrays(1.0, x, y[:, None]), axis=-1).reshape(-1, 3)


def _stretch(ink: Gray, mask: NDArray[np.bool_]) -> Gray:
    """Scale the ink so that paper, with its noise, is 0 and full ink is 1.

    Raises:
        BlankError: the contrast is too low for ink, or hardly exceeds the noise.
    """
    if np.ptp(ink[mask]) < MIN_CONTRAST:
        raise BlankError
    ink = _without_residue(ink)
    values = ink[mask]
    if np.ptp(values) < MIN_CONTRAST:
        raise BlankError
    threshold = otsu_threshold(values)
    full_ink, paper_values = float(np.median(values[values > threshold])), values[values <= threshold]
    paper_ink = float(np.median(paper_values))
    # The standard deviation, estimated from the median absolute deviation
    noise = 1.4826 * float(np.median(np.abs(paper_values - paper_ink)))
    if full_ink - paper_ink < max(MIN_CONTRAST, MIN_CLARITY * noise):
        raise BlankError
    zero_ink = min(paper_ink + 3 * noise, full_ink / 2)
    stretched: Gray = np.clip((ink - zero_ink) / (full_ink - zero_ink), 0, 1)
    return stretched


def _without_residue(ink: Gray) -> Gray:
    """Subtract the local mean of `ink` over pixels of paper: gradual changes of the lighting, which are not noise."""
    if max(ink.shape) < MIN_DETAIL_SIDE:
        return ink
    width = 2 ** round(math.log2(RESIDUE_WINDOW * max(ink.shape)))
    stroke = ink > otsu_threshold(ink)
    is_paper = (~sliding_reduce(stroke, 5, np.maximum)).astype(np.float32)
    paper_share = box_mean(is_paper, width)
    residue = box_mean(ink * is_paper, width) / np.maximum(paper_share, 1e-3)
    return np.asarray(ink - np.where(paper_share > 0.1, residue, 0))


def _drop_specks(ink: Gray) -> Gray:
    """Keep only the ink of the digit; remove dust, frames, and objects that touch the image's border."""
    labels = connected_parts(ink > STROKE_INK)  # (height, width); label 0 is the paper
    mass = np.bincount(labels.ravel(), ink.ravel())  # (parts,)
    mass[0] = 0
    y, x = np.nonzero(labels)
    pixel_labels = labels[y, x]
    bounds = np.full((4, mass.size), np.inf)  # top, left, -bottom and -right of each part
    for bound, coordinate in zip(bounds, (y, x, -y, -x), strict=True):
        # Same dtype as `bound`: `minimum.at` is ten times slower when it casts
        np.minimum.at(bound, pixel_labels, coordinate.astype(np.float64))
    frame = find_frame(labels, bounds)
    if frame is not None:  # ignore everything that is not inside the frame
        mass = np.where((bounds > bounds[:, [frame]]).all(axis=0), mass, 0)
    touches_border = np.isin(np.arange(mass.size), border(labels))
    lengths = -np.minimum(bounds[2] + bounds[0], bounds[3] + bounds[1])
    is_inner = ~touches_border & (mass > 0.02 * mass.max())
    if (lengths[is_inner] > MIN_PART_LENGTH * max(ink.shape)).any():  # else the digit itself touches the border
        mass = np.where(is_inner, mass, 0)
    is_digit = mass >= 0.15 * mass.max()
    # Keep smaller parts only if they are in the bounding box of the large ones, extended by a tenth of its longer side
    digit_bounds = bounds[:, is_digit].min(axis=1)
    digit_bounds -= 0.1 * max(-digit_bounds[2] - digit_bounds[0], -digit_bounds[3] - digit_bounds[1])
    is_digit |= (bounds >= digit_bounds[:, None]).all(axis=0) & (mass > 0.01 * mass.max())
    is_excluded = touches_border & ~is_digit
    is_excluded[0] = False
    if frame is not None:
        is_excluded[frame] = True
    return _with_faint_parts(ink, is_digit[labels], is_excluded[labels])


def _with_faint_parts(ink: Gray, digit: NDArray[np.bool_], excluded: NDArray[np.bool_]) -> Gray:
    """Return the ink of the digit, with the faint ink connected to it; faint strokes are made as dark as the others.

    The lowest threshold for faint ink is used at which the ink does not extend to the border or to an excluded part,
    such as a frame, and the added ink is about as wide as a stroke.

    Args:
        ink: (height, width), from 0 to 1.
        digit: which pixels are strokes of the digit.
        excluded: which pixels belong to parts that are not the digit's.
    """
    if max(ink.shape) < MIN_DETAIL_SIDE:
        return ink * sliding_reduce(digit, 3, np.maximum)
    smooth = box_mean(ink, 2)
    for threshold in FAINT_INK:
        labels = connected_parts(digit | (smooth > threshold))
        is_connected = np.zeros(labels.max() + 1, bool)
        is_connected[labels[digit]] = True
        grown = is_connected[labels]
        if (grown & excluded).any() or (border(grown) & ~border(digit)).any():
            continue
        added = grown & ~sliding_reduce(digit, 5, np.maximum)
        # A stain would be wider, and a halo of JPEG artifacts narrower
        if not added.any() or 0.3 <= stroke_width(added) / stroke_width(digit) <= 1.6:
            break
    else:
        grown = digit
    width = 2 ** max(1, round(math.log2(stroke_width(grown))))
    darkness = box_mean(np.where(grown, ink, 0), width) / np.maximum(box_mean(grown.astype(np.float32), width), 1e-3)
    faintness = np.clip((FAINT_STROKE - darkness) / 0.2, 0, 1)  # 0 for strokes of usual darkness: they do not change
    even_ink = np.clip(ink * (1 + faintness * (EVEN_INK / np.maximum(darkness, 0.03) - 1)), 0, 1)
    digit = digit | (grown & (even_ink > STROKE_INK))
    return np.asarray(even_ink * sliding_reduce(digit, 3, np.maximum))  # includes the soft edge


def stroke_width(mask: NDArray[np.bool_]) -> float:
    """Return the mean width of the strokes of a mask, in pixels."""
    mask = np.pad(mask, 1)
    outline = np.sum(mask[1:] != mask[:-1]) + np.sum(mask[:, 1:] != mask[:, :-1])
    return float(2 * np.sum(mask) / (math.pi / 4 * outline))  # a pixelated outline is 4/π times as long as a smooth one
