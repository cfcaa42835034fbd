"""What is ink on a photographed page: how dark each pixel is, beside the paper that it is on.

Light falls unevenly, paper is white, gray or ruled, and there may be a desk around it. All of that is the background:
its brightness is estimated everywhere, also under the ink, and divided out. What is left is ink, from 0 to 1, and the
noise of the camera, whose strength decides from where on something can be ink at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.images.raster import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

COARSE = 300  # pixels of the shorter side of the picture on which the light is estimated
WIDEST_STROKE = 0.09  # of the shorter side: a dark detail wider than this is a shadow, a hand or the desk
SMOOTHING = 0.7  # pixels: takes half of the camera's noise away, and little of a stroke
LEAST_INK = 0.08  # of the paper's brightness: what differs less is none
LEAST_CLARITY = 5.0  # standard deviations of the noise: likewise
DARKEST_PAPER = 0.4  # of the bright paper's brightness: a shadow leaves more, a dark desk less
STEEP = 1.6  # times as bright, within seven pixels of the small copy: an edge, not the slow end of a shadow
RULE = 0.35  # of the picture's side: what goes straight on for this long is printed, not written
LEAST_RULE, THICKEST_RULE = 0.03, 0.005  # its ink; its thickness, of the longer side
COLUMNS = 60  # blocks beside one another in which rules are looked for
SLOPES = np.linspace(-0.16, 0.16, 33)  # pixels down for each across: of the page,
NEAR_SLOPES = np.linspace(-0.08, 0.08, 15)  # and of its single rules beside that, as it is seen from aside


def find_ink(gray: Gray, widest: float = WIDEST_STROKE) -> tuple[Gray, NDArray[np.bool_], NDArray[np.bool_]]:
    """How much of the paper's light each pixel swallows; light, shadow and the paper's rules are taken away.

    Args:
        gray: `(height, width)`, brightness from 0 to 1.
        widest: the widest stroke, of the shorter side.

    Returns:
        `ink`, from 0 to 1, where that is more than the camera's noise can make, and 0 elsewhere; `sheet`, where there
        is paper and not the desk; and `edge`, what is close to a long edge: of a sheet on a bright desk, or of a
        shadow. All `(height, width)`.
    """
    paper, unsure, sheet, edge = _paper(gray, widest)
    ink = 1 - ndimage.gaussian_filter(gray, SMOOTHING) / np.maximum(paper, 0.02)  # (height, width)
    level, noise = _level_and_noise(ink, widest)
    ink = np.where(sheet, np.clip(ink - level, 0, 1), 0)
    rules = _rules(ink), _rules(ink.T).T  # across and down; both are looked for in all of the ink, or where they cross
    for rule in rules:  # the one that was taken away first would leave gaps in the other
        ink = np.clip(1 - (1 - ink) / (1 - np.minimum(rule, 0.9)), 0, 1)
    ink[ink < np.maximum(np.maximum(LEAST_INK, unsure), LEAST_CLARITY * noise)] = 0
    return ink, sheet, edge


def _paper(gray: Gray, widest: float) -> tuple[Gray, Gray, NDArray[np.bool_], NDArray[np.bool_]]:
    """The brightness of the paper, also under the ink; by what part that may be wrong; where there is paper, and edges.

    On a small copy every dark detail narrower than a window is filled with the brightness beside it (a closing), which
    leaves the edges of shadows and of the sheet where they are.
    """
    step = max(1, min(gray.shape) // COARSE)
    coarse = _blocks(gray, step)
    window = max(3, round(widest * min(coarse.shape))) | 1
    light = ndimage.grey_closing(ndimage.median_filter(coarse, 3), (window, window))
    light = ndimage.median_filter(light, 5)
    size = (coarse.shape[0] * step, coarse.shape[1] * step)
    here = np.s_[: gray.shape[0], : gray.shape[1]]
    paper, unsure = (_enlarge(values, size)[here] for values in (ndimage.gaussian_filter(light, 0.7), _step(light, 3)))
    sheet, edge = (_enlarge(where.astype(np.float32), size)[here] > 0.5 for where in (_sheet(light), _edge(light)))
    return paper, unsure, sheet, edge


def _step(light: Gray, window: int) -> Gray:
    """By what part the light falls within a window."""
    brightest = np.maximum(ndimage.maximum_filter(light, window), 1e-6)
    return np.asarray(1 - ndimage.minimum_filter(light, window) / brightest)


def _edge(light: Gray) -> NDArray[np.bool_]:
    """Where the light falls at once, along a line that is long."""
    parts, _ = ndimage.label(_step(light, 5) > LEAST_INK, np.ones((3, 3)))
    long = RULE * min(light.shape)
    boxes = enumerate(ndimage.find_objects(parts), 1)
    return np.isin(parts, [n for n, box in boxes if max(at.stop - at.start for at in box) > long])


def _sheet(light: Gray) -> NDArray[np.bool_]:
    """Where there is paper: what is dark is the desk if it begins at an edge, and a shadow if it comes on slowly."""
    dark = light < DARKEST_PAPER * np.percentile(light, 90)
    steep = ndimage.maximum_filter(light, 7) > STEEP * ndimage.minimum_filter(light, 7)
    parts, count = ndimage.label(dark)
    rims = parts * (dark & ~ndimage.binary_erosion(dark, border_value=1))  # each part's outermost pixels
    all_rim, steep_rim = (np.bincount(rims[where], minlength=count + 1)[1:] for where in (rims > 0, (rims > 0) & steep))
    desk = 1 + np.flatnonzero(steep_rim > 0.5 * all_rim)
    sheet = ~ndimage.binary_dilation(np.isin(parts, desk), iterations=6)
    sheets, count = ndimage.label(sheet)
    sizes = np.bincount(sheets.ravel(), minlength=2)[1:]
    return np.isin(sheets, 1 + np.flatnonzero(sizes > 0.1 * sizes.max()))


def _blocks(values: Gray, step: int) -> Gray:
    """The means of blocks of `step` × `step` pixels; those at the far borders take what there is."""
    down, across = (-(-side // step) for side in values.shape)
    padded = np.pad(values, ((0, down * step - values.shape[0]), (0, across * step - values.shape[1])), mode="edge")
    return np.asarray(padded.reshape(down, step, across, step).mean(axis=(1, 3), dtype=np.float32))


def _enlarge(coarse: Gray, shape: tuple[int, int]) -> Gray:
    """A small picture as one of `shape` (height, width), with straight lines from pixel to pixel."""
    return resize(coarse, shape, "BILINEAR")


def _rules(ink: Gray) -> Gray:
    """The ink of the long, straight, thin lines across the paper; 0 beside them. Strokes that cross one are not in it.

    The picture is sheared so that the lines of the whole page are level. There, a row of blocks beside one another is
    looked along, level and a little up or down, as one sees single lines from aside. A rule is what nearly all of the
    blocks have in common: a low quantile of the least ink in each. Strokes come and go along the row, and so are not;
    and what is thick, or ends before it is long, is no rule either.
    """
    height, width = ink.shape
    block = max(1, width // COLUMNS)
    columns = width // block
    slope = _direction(ink, block)
    across = np.arange(width)
    drop = np.rint(slope * (across - width / 2)).astype(int)  # of every column
    rows = np.arange(height)[:, None]
    level = ndimage.maximum_filter1d(ink[(rows + drop).clip(0, height - 1), across], 3, axis=0)
    least = level[:, : columns * block].reshape(height, columns, block).min(axis=2)  # (height, columns)
    rule = _common(least, block)
    thickest = 4 + round(THICKEST_RULE * max(ink.shape))  # blurred, and widened above
    rule -= ndimage.grey_opening(rule, (thickest, 1))
    labels, _ = ndimage.label(rule > LEAST_RULE, np.ones((3, 3)))
    long = [n for n, at in enumerate(ndimage.find_objects(labels), 1) if at[1].stop - at[1].start > RULE * columns]
    if not long:
        return np.zeros_like(ink)
    rule = ndimage.maximum_filter(np.where(np.isin(labels, long), rule, 0), (3, 3))
    return np.asarray(rule[(rows - drop).clip(0, height - 1), (across // block).clip(0, columns - 1)])


def _direction(ink: Gray, block: int) -> float:
    """The slope, down for each pixel across, along which the rows differ most from one another."""
    height, columns = ink.shape[0], ink.shape[1] // block
    means = ink[:, : columns * block].reshape(height, columns, block).mean(axis=2)
    places = np.arange(columns)
    contrast = []
    for slope in SLOPES:
        rows = np.arange(height)[:, None] + np.rint(slope * block * (places - columns / 2)).astype(int)
        profile = means[rows.clip(0, height - 1), places].mean(axis=1)  # (height,)
        contrast.append(np.sum(np.diff(profile) ** 2))
    return float(SLOPES[np.argmax(contrast)])


def _common(least: Gray, block: int) -> Gray:
    """The ink that a block has in common with most of those in line with it; `block` is their width in pixels."""
    reach = max(1, round(RULE * least.shape[1] / 2))
    places = np.unique(np.linspace(-reach, reach, 9).round().astype(int))
    common = np.zeros_like(least)
    for slope in NEAR_SLOPES:
        steps = [(round(slope * place * block), place) for place in places]
        here = np.partition(np.stack([_moved(least, *step) for step in steps]), 2, axis=0)[2]
        for down, across in steps:  # out to the rule's ends, where half of the blocks are beyond it
            np.maximum(common, _moved(here, -down, -across), out=common)
    return np.minimum(common, least)


def _moved(values: Gray, down: int, across: int) -> Gray:
    """Every value that is so many rows further down and columns further across; beyond the border, the border's."""
    height, width = values.shape
    padded = np.pad(values, ((max(-down, 0), max(down, 0)), (max(-across, 0), max(across, 0))), mode="edge")
    return padded[max(down, 0) : max(down, 0) + height, max(across, 0) : max(across, 0) + width]


def _level_and_noise(ink: Gray, widest: float) -> tuple[Gray, Gray]:
    """The mean and the standard deviation of what is not ink, as told by medians, which a few strokes cannot move."""
    tile = min(max(8, int(widest / 1.08 * min(ink.shape))), *ink.shape)  # more than a stroke fills
    down, across = (max(1, side // tile) for side in ink.shape)
    tiles = ink[: down * tile, : across * tile].reshape(down, tile, across, tile).swapaxes(1, 2)[:, :, ::2, ::2]
    values = tiles.reshape(down, across, -1)  # (tiles down, tiles across, pixels)
    level = np.median(values, axis=2)
    noise = 1.4826 * np.median(np.abs(values - level[..., None]), axis=2)
    level, noise = (ndimage.median_filter(found, 3, mode="nearest") for found in (level, noise))
    height, width = ink.shape
    return _enlarge(level, (height, width)), _enlarge(noise, (height, width))
