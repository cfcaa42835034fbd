"""What is ink on a photographed page: how dark each pixel is, beside the paper that it is on.

Light falls unevenly, paper is white, grey or ruled, and there may be a desk around it. All of that is the background:
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

    from chainrule.images.raster import Grey

COARSE = 160  # pixels of the shorter side of the picture on which the light is estimated
WIDEST_STROKE = 0.09  # of the shorter side: a dark detail wider than this is a shadow, a hand or the desk
SMOOTHING = 0.7  # pixels: takes half of the camera's noise away, and little of a stroke
LEAST_INK = 0.08  # of the paper's brightness: what differs less is none
LEAST_CLARITY = 5.0  # standard deviations of the noise: likewise
DARKEST_PAPER = 0.4  # of the bright paper's brightness: a shadow leaves more, a dark desk less
STEEP = 1.6  # times as bright, within five pixels of the small copy: an edge, not the slow end of a shadow
RULE = 0.25  # of the picture's side: what goes straight on for this long is printed, not written
RULE_SLOPES = np.linspace(-0.12, 0.12, 25)  # pixels down for each across


def find_ink(grey: Grey) -> tuple[Grey, NDArray[np.bool_]]:
    """How much of the paper's light each pixel swallows; light, shadow and the paper's rules are taken away.

    Args:
        grey: `(height, width)`, brightness from 0 to 1.

    Returns:
        `ink`, from 0 to 1, where that is more than the camera's noise can make, and 0 elsewhere; and `sheet`, where
        there is paper and not the desk. Both `(height, width)`.
    """
    paper, sheet = _paper(grey)
    ink = 1 - ndimage.gaussian_filter(grey, SMOOTHING) / np.maximum(paper, 0.02)  # (height, width)
    level, noise = _level_and_noise(ink)
    ink = np.clip(ink - level, 0, 1)
    for turned in (ink, ink.T):  # rules across, then rules down
        _take_rules(turned)
    ink[~sheet | (ink < np.maximum(LEAST_INK, LEAST_CLARITY * noise))] = 0
    return ink, sheet


def _paper(grey: Grey) -> tuple[Grey, NDArray[np.bool_]]:
    """The brightness of the paper at every pixel, also under the ink, and where there is paper, not desk.

    On a small copy every dark detail narrower than a window is filled with the brightness beside it (a closing), which
    leaves the edges of shadows and of the sheet where they are.
    """
    step = max(1, min(grey.shape) // COARSE)
    coarse = _blocks(grey, step)
    window = max(3, round(WIDEST_STROKE * min(coarse.shape))) | 1
    light = ndimage.grey_closing(ndimage.median_filter(coarse, 3), (window, window))
    light = ndimage.median_filter(light, 5)
    size = (coarse.shape[0] * step, coarse.shape[1] * step)
    here = np.s_[: grey.shape[0], : grey.shape[1]]
    paper = _enlarge(ndimage.gaussian_filter(light, 0.7), size)[here]
    return paper, _enlarge(_sheet(light).astype(np.float32), size)[here] > 0.5


def _sheet(light: Grey) -> NDArray[np.bool_]:
    """Where there is paper: what is dark is the desk if it begins at an edge, and a shadow if it comes on slowly."""
    dark = light < DARKEST_PAPER * np.percentile(light, 90)
    steep = ndimage.maximum_filter(light, 5) > STEEP * ndimage.minimum_filter(light, 5)
    parts, count = ndimage.label(dark)
    rims = parts * (dark & ~ndimage.binary_erosion(dark, border_value=1))  # each part's outermost pixels
    all_rim, steep_rim = (np.bincount(rims[where], minlength=count + 1)[1:] for where in (rims > 0, (rims > 0) & steep))
    desk = 1 + np.flatnonzero(steep_rim > 0.5 * all_rim)
    sheet = ~ndimage.binary_dilation(np.isin(parts, desk), iterations=3)
    sheets, count = ndimage.label(sheet)
    sizes = np.bincount(sheets.ravel(), minlength=2)[1:]
    return np.isin(sheets, 1 + np.flatnonzero(sizes > 0.1 * sizes.max()))


def _blocks(values: Grey, step: int) -> Grey:
    """The means of blocks of `step` × `step` pixels; those at the far borders take what there is."""
    down, across = (-(-side // step) for side in values.shape)
    padded = np.pad(values, ((0, down * step - values.shape[0]), (0, across * step - values.shape[1])), mode="edge")
    return np.asarray(padded.reshape(down, step, across, step).mean(axis=(1, 3), dtype=np.float32))


def _enlarge(coarse: Grey, shape: tuple[int, int]) -> Grey:
    """A small picture as one of `shape` (height, width), with straight lines from pixel to pixel."""
    return resize(coarse, shape, "BILINEAR")


def _take_rules(ink: Grey) -> None:
    """Make the paper's long, straight, thin lines paper, in place; of a stroke that crosses one, the stroke stays.

    A row of blocks beside one another is looked along, in every direction within a few degrees of level. A rule is
    what most of the blocks have in common: the median of theirs. Strokes come and go along the row, and so are not.
    """
    height, width = ink.shape
    block = max(1, width // 125)
    columns = width // block
    means = ink[:, : columns * block].reshape(height, columns, block).mean(axis=2)  # (height, columns)
    reach = max(1, round(RULE * columns / 2))
    places = np.unique(np.linspace(-reach, reach, 9).round().astype(int))
    rule = np.zeros_like(means)
    for slope in RULE_SLOPES:
        along = [_moved(means, round(slope * place * block), place) for place in places]
        np.maximum(rule, np.median(along, axis=0), out=rule)
    if not (rule > 0.03).any():
        return
    rule = ndimage.maximum_filter1d(rule, 3, axis=0)
    ink_of_rule = np.repeat(rule, block, axis=1)
    ink_of_rule = np.pad(ink_of_rule, ((0, 0), (0, width - columns * block)), mode="edge")
    ink[:] = np.clip(1 - (1 - ink) / (1 - np.minimum(ink_of_rule, 0.9)), 0, 1)


def _moved(values: Grey, down: int, across: int) -> Grey:
    """The values as many rows further down and columns further across; beyond the border, those at the border."""
    rows = np.clip(np.arange(values.shape[0]) + down, 0, values.shape[0] - 1)
    columns = np.clip(np.arange(values.shape[1]) + across, 0, values.shape[1] - 1)
    return values[rows[:, None], columns]


def _level_and_noise(ink: Grey) -> tuple[Grey, Grey]:
    """The mean and the standard deviation of what is not ink, as told by medians, which a few strokes cannot move."""
    tile = max(8, min(ink.shape) // 12)
    down, across = (max(1, side // tile) for side in ink.shape)
    tiles = ink[: down * tile, : across * tile].reshape(down, tile, across, tile).swapaxes(1, 2)[:, :, ::2, ::2]
    values = tiles.reshape(down, across, -1)  # (tiles down, tiles across, pixels)
    level = np.median(values, axis=2)
    noise = 1.4826 * np.median(np.abs(values - level[..., None]), axis=2)
    level, noise = (ndimage.median_filter(found, 3, mode="nearest") for found in (level, noise))
    return tuple(_enlarge(found, ink.shape) for found in (level, noise))  # type: ignore[return-value]
