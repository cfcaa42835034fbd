"""Ink detection on a photographed page: how dark each pixel is relative to the paper.

Lighting is uneven, paper may be white, gray or ruled, and a desk may surround it. The brightness of this background is
estimated at every pixel, including under the ink, and divided out. The result is ink, from 0 to 1, plus camera noise;
the noise level sets the threshold for ink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.images.raster import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

COARSE = 300  # shorter side, in pixels, of the small copy on which lighting is estimated
WIDEST_STROKE = 0.09  # fraction of the shorter side: wider dark areas are shadows, a hand or the desk
SMOOTHING = 0.7  # pixels: removes half of the camera noise, and little of a stroke
MIN_INK = 0.08  # minimum contrast of ink, as a fraction of the paper's brightness
MIN_CLARITY = 5.0  # minimum contrast of ink, in standard deviations of the noise
DARKEST_PAPER = 0.4  # of the bright paper's brightness: paper in shadow is brighter, a dark desk is darker
STEEP_RATIO = 1.6  # minimum brightness ratio of a sharp edge, within seven pixels of the small copy
MIN_RULE_LENGTH = 0.35  # fraction of the image's side: longer straight lines are printed rules, not handwriting
MIN_RULE_INK, MAX_RULE_THICKNESS = 0.03, 0.005  # minimum ink of a rule; its maximum thickness, of the longer side
COLUMNS = 60  # number of blocks per row in which rules are detected
SLOPES = np.linspace(-0.16, 0.16, 33)  # candidate slopes of the page's rules, in pixels down per pixel across
NEAR_SLOPES = np.linspace(-0.08, 0.08, 15)  # and of single rules relative to the page's, due to perspective


def find_ink(gray: Gray, widest: float = WIDEST_STROKE) -> tuple[Gray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Compute the ink of each pixel: the fraction of the paper's light that it absorbs. Ruled lines are removed.

    Args:
        gray: `(height, width)`, brightness from 0 to 1.
        widest: the widest stroke, as a fraction of the shorter side.

    Returns:
        `ink`, from 0 to 1, and 0 wherever it could be camera noise; `sheet`, a mask of the paper without the desk; and
        `edge`, a mask of pixels close to a long edge (of a sheet on a bright desk, or of a shadow). All
        `(height, width)`.
    """
    paper, uncertainty, sheet, edge = _paper(gray, widest)
    ink = 1 - ndimage.gaussian_filter(gray, SMOOTHING) / np.maximum(paper, 0.02)  # (height, width)
    level, noise = _level_and_noise(ink, widest)
    ink = np.where(sheet, np.clip(ink - level, 0, 1), 0)
    rules = _rules(ink), _rules(ink.T).T  # detect both directions before removing either, or crossings leave gaps
    for rule in rules:
        ink = np.clip(1 - (1 - ink) / (1 - np.minimum(rule, 0.9)), 0, 1)
    ink[ink < np.maximum(np.maximum(MIN_INK, uncertainty), MIN_CLARITY * noise)] = 0
    return ink, sheet, edge


def _paper(gray: Gray, widest: float) -> tuple[Gray, Gray, NDArray[np.bool_], NDArray[np.bool_]]:
    """The brightness of the paper, also under the ink; its relative uncertainty; masks of the paper and of long edges.

    On a small copy, a morphological closing fills every dark detail narrower than a window with the brightness beside
    it. This preserves the edges of shadows and of the sheet.
    """
    block = max(1, min(gray.shape) // COARSE)
    coarse = _block_means(gray, block)
    window = max(3, round(widest * min(coarse.shape))) | 1
    light = ndimage.grey_closing(ndimage.median_filter(coarse, 3), (window, window))
    light = ndimage.median_filter(light, 5)
    size = (coarse.shape[0] * block, coarse.shape[1] * block)
    crop = np.s_[: gray.shape[0], : gray.shape[1]]
    paper, uncertainty = (
        _enlarge(values, size)[crop] for values in (ndimage.gaussian_filter(light, 0.7), _drop(light, 3))
    )
    sheet, edge = (_enlarge(mask.astype(np.float32), size)[crop] > 0.5 for mask in (_sheet(light), _edge(light)))
    return paper, uncertainty, sheet, edge


def _drop(light: Gray, window: int) -> Gray:
    """The relative drop of the light within a window."""
    brightest = np.maximum(ndimage.maximum_filter(light, window), 1e-6)
    return np.asarray(1 - ndimage.minimum_filter(light, window) / brightest)


def _edge(light: Gray) -> NDArray[np.bool_]:
    """A mask of long edges, where the light drops abruptly."""
    parts, _ = ndimage.label(_drop(light, 5) > MIN_INK, np.ones((3, 3)))
    min_length = MIN_RULE_LENGTH * min(light.shape)
    boxes = enumerate(ndimage.find_objects(parts), 1)
    return np.isin(parts, [n for n, box in boxes if max(side.stop - side.start for side in box) > min_length])


def _sheet(light: Gray) -> NDArray[np.bool_]:
    """A mask of the paper: a dark area with a sharp edge is the desk, one with a gradual edge is a shadow."""
    dark = light < DARKEST_PAPER * np.percentile(light, 90)
    steep = ndimage.maximum_filter(light, 7) > STEEP_RATIO * ndimage.minimum_filter(light, 7)
    parts, count = ndimage.label(dark)
    rims = parts * (dark & ~ndimage.binary_erosion(dark, border_value=1))  # the border pixels of each part
    all_rim, steep_rim = (np.bincount(rims[mask], minlength=count + 1)[1:] for mask in (rims > 0, (rims > 0) & steep))
    desk = 1 + np.flatnonzero(steep_rim > 0.5 * all_rim)
    sheet = ~ndimage.binary_dilation(np.isin(parts, desk), iterations=6)
    sheets, count = ndimage.label(sheet)
    sizes = np.bincount(sheets.ravel(), minlength=2)[1:]
    return np.isin(sheets, 1 + np.flatnonzero(sizes > 0.1 * sizes.max()))


def _block_means(values: Gray, block: int) -> Gray:
    """The means of blocks of `block` × `block` pixels; the image is padded with its edge values."""
    down, across = (-(-side // block) for side in values.shape)
    padded = np.pad(values, ((0, down * block - values.shape[0]), (0, across * block - values.shape[1])), mode="edge")
    return np.asarray(padded.reshape(down, block, across, block).mean(axis=(1, 3), dtype=np.float32))


def _enlarge(coarse: Gray, shape: tuple[int, int]) -> Gray:
    """Resize to `shape` (height, width) by linear interpolation."""
    return resize(coarse, shape, "BILINEAR")


def _rules(ink: Gray) -> Gray:
    """The ink of ruled lines (long, straight, thin) across the paper, without the strokes that cross them; 0 elsewhere.

    The image is sheared so that the page's rules are level. Rows of blocks are then compared along slopes close to
    level, since perspective tilts single rules. A rule is the ink shared by nearly all blocks along a row: a low
    quantile of each block's minimum. Strokes come and go along a row, so they are not part of it. Thick or short lines
    are not rules.
    """
    height, width = ink.shape
    block = max(1, width // COLUMNS)
    columns = width // block
    slope = _direction(ink, block)
    across = np.arange(width)
    shifts = np.rint(slope * (across - width / 2)).astype(int)  # the vertical shift of each column
    rows = np.arange(height)[:, None]
    sheared = ndimage.maximum_filter1d(ink[(rows + shifts).clip(0, height - 1), across], 3, axis=0)
    minima = sheared[:, : columns * block].reshape(height, columns, block).min(axis=2)  # (height, columns)
    rule = _shared_ink(minima, block)
    thickest = 4 + round(MAX_RULE_THICKNESS * max(ink.shape))  # allows for blur and for the maximum filter above
    rule -= ndimage.grey_opening(rule, (thickest, 1))
    labels, _ = ndimage.label(rule > MIN_RULE_INK, np.ones((3, 3)))
    rule_labels = [
        n
        for n, box in enumerate(ndimage.find_objects(labels), 1)
        if box[1].stop - box[1].start > MIN_RULE_LENGTH * columns
    ]
    if not rule_labels:
        return np.zeros_like(ink)
    rule = ndimage.maximum_filter(np.where(np.isin(labels, rule_labels), rule, 0), (3, 3))
    return np.asarray(rule[(rows - shifts).clip(0, height - 1), (across // block).clip(0, columns - 1)])


def _direction(ink: Gray, block: int) -> float:
    """The slope, in pixels down per pixel across, along which rows differ most from each other."""
    height, columns = ink.shape[0], ink.shape[1] // block
    means = ink[:, : columns * block].reshape(height, columns, block).mean(axis=2)
    column = np.arange(columns)
    contrast = []
    for slope in SLOPES:
        rows = np.arange(height)[:, None] + np.rint(slope * block * (column - columns / 2)).astype(int)
        profile = means[rows.clip(0, height - 1), column].mean(axis=1)  # (height,)
        contrast.append(np.sum(np.diff(profile) ** 2))
    return float(SLOPES[np.argmax(contrast)])


def _shared_ink(minima: Gray, block: int) -> Gray:
    """The ink that each block shares with most blocks in line with it; `block` is the width of a block in pixels."""
    reach = max(1, round(MIN_RULE_LENGTH * minima.shape[1] / 2))
    offsets = np.unique(np.linspace(-reach, reach, 9).round().astype(int))
    common = np.zeros_like(minima)
    for slope in NEAR_SLOPES:
        steps = [(round(slope * offset * block), offset) for offset in offsets]
        # the third smallest of up to nine blocks: a low quantile
        shared = np.partition(np.stack([_shift(minima, *step) for step in steps]), 2, axis=0)[2]
        for down, across in steps:  # extend to the rule's ends, where half of the blocks are outside it
            np.maximum(common, _shift(shared, -down, -across), out=common)
    return np.minimum(common, minima)


def _shift(values: Gray, down: int, across: int) -> Gray:
    """For each pixel, the value `down` rows below and `across` columns to the right, padded with edge values."""
    height, width = values.shape
    padded = np.pad(values, ((max(-down, 0), max(down, 0)), (max(-across, 0), max(across, 0))), mode="edge")
    return padded[max(down, 0) : max(down, 0) + height, max(across, 0) : max(across, 0) + width]


def _level_and_noise(ink: Gray, widest: float) -> tuple[Gray, Gray]:
    """The level and the standard deviation of the paper's noise, by medians, which are robust against strokes."""
    # 1/12 of the shorter side for the default `widest`: wider than most strokes
    tile = min(max(8, int(widest / 1.08 * min(ink.shape))), *ink.shape)
    down, across = (max(1, side // tile) for side in ink.shape)
    # Every second pixel in both directions suffices for a median
    tiles = ink[: down * tile, : across * tile].reshape(down, tile, across, tile).swapaxes(1, 2)[:, :, ::2, ::2]
    values = tiles.reshape(down, across, -1)  # (tiles down, tiles across, pixels)
    level = np.median(values, axis=2)
    noise = 1.4826 * np.median(np.abs(values - level[..., None]), axis=2)
    level, noise = (ndimage.median_filter(estimate, 3, mode="nearest") for estimate in (level, noise))
    height, width = ink.shape
    return _enlarge(level, (height, width)), _enlarge(noise, (height, width))
