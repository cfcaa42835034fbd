"""Image operations in NumPy: resizing, sliding-window filters, closing, connected components, Otsu's threshold.

Pillow resamples. SciPy is not used, because importing it would slow down the reading of a single digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Gray = NDArray[np.floating]
    """Brightness or ink, from 0 to 1."""
    Values = NDArray[np.floating | np.uint8]
    """Brightness or ink as floats from 0 to 1, or as uint8 from 0 to 255."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


def resize(values: Values, shape: tuple[int, int], method: Literal["BOX", "BILINEAR", "BICUBIC"] = "BOX") -> Gray:
    """Resample to `shape` (height, width); with "BOX", downsampling averages pixels.

    uint8 values become floats from 0 to 255. Pillow converts them, to avoid a float copy of a large photo in NumPy.
    """
    from PIL import Image  # imported on first use

    height, width = shape
    is_uint8 = values.dtype == np.uint8
    picture = Image.fromarray(values).convert("F") if is_uint8 else Image.fromarray(np.asarray(values, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling[method]))


def shrink(values: Values, longest: int) -> Gray:
    """Downsample so that the longer side is at most `longest` pixels; smaller images keep their size.

    As in `resize`, uint8 values become floats from 0 to 255.
    """
    scale = longest / max(values.shape)
    if scale < 1:
        height, width = (max(1, round(scale * side)) for side in values.shape)
        return resize(values, (height, width))
    return values.astype(np.float32) if values.dtype == np.uint8 else np.asarray(values)


def sliding_reduce(
    values: NDArray[_Scalar], width: int, combine: np.ufunc, mode: Literal["edge", "symmetric"] = "edge"
) -> NDArray[_Scalar]:
    """Reduce each pixel's `width` × `width` neighborhood with `np.maximum`, `np.minimum` or `np.add`.

    A window of 2, 4, 8, ... pixels is combined from two windows of half that size, so the cost grows only with
    log(width). If `width` is not a power of two, the last two windows overlap, which `np.add` does not allow.

    Args:
        values: gray values, or a mask, for which `np.maximum` is "any" and `np.minimum` is "all"; `(height, width)`.
        width: the side of the window, in pixels.
        combine: combines the values of two windows.
        mode: how the picture is padded, as in `np.pad`: by repeating its outermost pixels, or by its mirror image.
    """
    for _ in range(2):  # along the rows, and, after the transposition, along the columns
        values = np.pad(values, ((0, 0), (width // 2, (width - 1) // 2)), mode)
        size = 1
        while size < width:
            step = min(size, width - size)
            values = combine(values[:, :-step], values[:, step:])
            size += step
        values = values.T
    return values


def box_mean(values: Gray, width: int) -> Gray:
    """Return the mean of each pixel's `width` × `width` neighborhood; `width` must be a power of two."""
    return sliding_reduce(values, width, np.add) / width**2


def closing(values: Gray, width: int) -> Gray:
    """Morphological closing: fill dark details narrower than `width`, and keep the edges of wider areas.

    The image is padded by its mirror image.
    """
    width |= 1  # an odd window is centered, so that closing does not shift edges
    margin = min(width, *values.shape)
    if margin == width:
        # Dilation commutes with mirroring, so each of the two steps can pad by itself
        return sliding_reduce(sliding_reduce(values, width, np.maximum, "symmetric"), width, np.minimum, "symmetric")
    # The window is wider than the image: pad once for both steps
    mirrored = np.pad(values, margin, mode="symmetric")
    closed = sliding_reduce(sliding_reduce(mirrored, width, np.maximum), width, np.minimum)
    return closed[margin:-margin, margin:-margin]


def connected_parts(mask: NDArray[np.bool_], *, diagonals: bool = True) -> NDArray[np.intp]:
    """Label the connected components of a mask with 1, 2, ...; the label is 0 where the mask is false.

    Args:
        mask: `(height, width)`.
        diagonals: whether diagonal neighbors are connected (8-connectivity) or not (4-connectivity).
    """
    # A run is a maximal sequence of pixels in a row. Runs, not pixels, are joined, since there are far fewer of them
    stride, reach = mask.shape[1] + 2, int(diagonals)
    padded = np.pad(mask, ((0, 0), (1, 1))).ravel()
    starts, ends = 1 + np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2).T
    # The runs of the next row that touch each run: from `first` up to, but not including, `stop`
    first = np.searchsorted(ends, starts + stride - reach, side="right")
    stop = np.searchsorted(starts, ends + stride + reach, side="left")
    n_touching = np.maximum(stop - first, 0)
    upper = np.repeat(np.arange(starts.size), n_touching)
    offsets = np.arange(upper.size) - np.repeat(np.cumsum(n_touching) - n_touching, n_touching)
    pairs = np.stack([upper, first[upper] + offsets])  # (2, pairs): the upper and the lower of two runs that touch
    root = np.arange(starts.size)  # union-find: each run starts as its own component
    while pairs.size:
        np.minimum.at(root, pairs.max(axis=0), pairs.min(axis=0))  # the lower index becomes the root
        while not np.array_equal(root, root[root]):
            root = root[root]
        pairs = root[pairs]
        pairs = pairs[:, pairs[0] != pairs[1]]
    labels = np.zeros(mask.shape, np.intp)
    labels[mask] = np.repeat(np.unique(root, return_inverse=True)[1] + 1, ends - starts)
    return labels


def otsu_threshold(values: Gray) -> float:
    """Return the threshold that maximizes the variance between the values below and above it (Otsu 1979).

    Candidates are the inner edges of a histogram with 256 bins.
    """
    counts, edges = np.histogram(values, bins=256)
    moments = counts * (edges[:-1] + edges[1:]) / 2
    n_below, total = np.cumsum(counts)[:-1], counts.sum()
    difference = np.cumsum(moments)[:-1] - n_below / total * moments.sum()
    return float(edges[1 + np.argmax(difference**2 / (n_below * (total - n_below)))])
