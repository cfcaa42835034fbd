"""Array tools for the picture steps: shrinking, running windows, and the connected parts of a drawing.

Small and in plain NumPy (with Pillow to resample), so that reading one digit need not wait for SciPy to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Gray = NDArray[np.floating]  # brightness, or ink, from 0 to 1
    Values = NDArray[np.floating | np.uint8]  # the same, or brightness from 0 to 255

NEIGHBORS = (  # a pixel and the one to its right, below it, and on either diagonal
    (np.s_[:, :-1], np.s_[:, 1:]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:-1, :-1], np.s_[1:, 1:]),
    (np.s_[:-1, 1:], np.s_[1:, :-1]),
)


def resize(values: Values, shape: tuple[int, int], how: Literal["BOX", "BILINEAR", "BICUBIC"] = "BOX") -> Gray:
    """Resample to `shape` (height, width); making smaller averages all the pixels that fall into a new one.

    Numbers from 0 to 255 in uint8 come out as floats of that range: a large photo is never copied as floats in NumPy.
    """
    from PIL import Image  # Pillow loads when a picture is first needed

    height, width = shape
    bytes_only = values.dtype == np.uint8
    picture = Image.fromarray(values).convert("F") if bytes_only else Image.fromarray(np.asarray(values, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling[how]))


def shrink(values: Values, longest: int) -> Gray:
    """Make the longer side at most `longest` pixels, keeping the proportions; smaller pictures stay as they are."""
    scale = longest / max(values.shape)
    height, width = (max(1, round(scale * side)) for side in values.shape)
    if scale < 1:
        return resize(values, (height, width))
    return values.astype(np.float32) if values.dtype == np.uint8 else np.asarray(values)


def running(values: Gray, width: int, combine: np.ufunc) -> Gray:
    """Combine every pixel with its neighbors in a `width` × `width` window: `np.maximum`, `np.minimum` or `np.add`.

    Windows of 1, 2, 4, ... pixels are put together from two of half the size, so a wide window costs little more than
    a narrow one. For `np.add`, `width` must be a power of two.
    """
    for _ in range(2):  # along the rows, then, turned round, along the columns
        values = np.pad(values, ((0, 0), (width // 2, (width - 1) // 2)), mode="edge")
        size = 1
        while size < width:
            step = min(size, width - size)
            values = combine(values[:, :-step], values[:, step:])
            size += step
        values = values.T
    return values


def closing(values: Gray, width: int) -> Gray:
    """Fill every dark detail narrower than `width`, and leave the edges of wider areas where they are.

    Beyond its border the picture goes on as its mirror image.
    """
    width |= 1  # an odd window has a middle, so that shrinking takes back exactly what growing did
    room = min(width, *values.shape)
    mirrored = np.pad(values, room, mode="symmetric")
    return running(running(mirrored, width, np.maximum), width, np.minimum)[room:-room, room:-room]


def connected_parts(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number the parts of a drawing: 0 where `mask` is false, 1, 2, ... for pixels that touch, corners included."""
    root = np.arange(mask.size)  # every pixel begins as a part of its own
    index = root.reshape(mask.shape)
    pairs = []
    for here, there in NEIGHBORS:
        both = mask[here] & mask[there]
        pairs.append(np.stack([index[here][both], index[there][both]]))
    ends = np.concatenate(pairs, axis=1)  # (2, touching pairs)
    while ends.size:
        np.minimum.at(root, ends.max(axis=0), ends.min(axis=0))  # of two parts that touch, the lower number stays
        while not np.array_equal(root, root[root]):
            root = root[root]
        ends = root[ends]
        ends = ends[:, ends[0] != ends[1]]
    parts = np.zeros(mask.shape, np.intp)
    parts[mask] = np.unique(root[mask.ravel()], return_inverse=True)[1] + 1
    return parts
