"""Pictures read at other places than their pixels', between which they are taken to change evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.compile import run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def warp(images: NDArray[Any], maps: NDArray[np.float64], field: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each place (i, j) of the result, what the picture shows at (y, x) = maps · (i, j, 1) + field there.

    Between four pixels the weights are bilinear: with the fractions d = y - ⌊y⌋ and r = x - ⌊x⌋, the pixel above and to
    the left counts (1 - d) (1 - r), and so on. Beyond its borders a picture is 0.

    Args:
        images: (N, H, W).
        maps: (N, 2, 3), for each picture the rows for y and x.
        field: (N, 2, H, W), pixels added to y and x.

    Returns:
        (N, H, W) float32.
    """
    out = np.empty(images.shape, np.float32)
    if out.size:
        run("shares", "warp", *map(np.ascontiguousarray, (images, maps, field)), out)
    return out
