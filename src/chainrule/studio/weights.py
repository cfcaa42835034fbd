"""The first weights of a network as one picture for the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.nn import Module

MAX_TILES = 32
"""The most neurons or filters that are shown."""
COLUMNS = 8
"""The number of neurons or filters in a row of the picture."""
MAX_SIDE = 64
"""The most rows and columns of a matrix that are shown."""
MAX_INT8 = 127


@dataclass(frozen=True)
class Sheet:
    """A picture of weights.

    Attributes:
        name: the name of the parameter.
        kind: "neurons", "filters" or "matrix".
        shown: how many neurons, filters or rows are shown.
        total: how many neurons, filters or rows the parameter has.
        limit: the weight that the value 127 stands for.
        values: (rows, columns), int8.
    """

    name: str
    kind: str
    shown: int
    total: int
    limit: float
    values: NDArray[np.int8]

    def describe(self) -> dict[str, Any]:
        """Return everything but the values, for the page."""
        shape = list(self.values.shape)
        limit = self.limit if math.isfinite(self.limit) else None
        return {
            "name": self.name,
            "kind": self.kind,
            "shown": self.shown,
            "total": self.total,
            "limit": limit,
            "shape": shape,
        }


def weights_sheet(network: Module, image_shape: Sequence[int] | None) -> Sheet:
    """Return a picture of a network's first weights.

    Filters of a convolution, or the weights of each neuron that sees the whole image, side by side; otherwise a part
    of the first matrix. Channels, such as colors, are averaged.

    Args:
        network: the network.
        image_shape: the shape of the images that the network reads; None if it reads no images.
    """
    pixels = math.prod(image_shape) if image_shape else -1
    matrices = [(name, p.numpy()) for name, p in network.named_parameters() if p.ndim >= 2]
    for name, weights in matrices:
        if weights.ndim == 4:
            return _tiles(name, "filters", weights.mean(axis=1))
        if image_shape is not None and weights.ndim == 2 and weights.shape[1] == pixels:
            images = weights.reshape(-1, *image_shape)
            return _tiles(name, "neurons", images if images.ndim == 3 else images.mean(axis=1))
    if not matrices:
        return Sheet("", "matrix", 0, 0, 0.0, np.zeros((1, 1), np.int8))
    name, weights = matrices[0]
    part = weights.reshape(len(weights), -1)[:MAX_SIDE, :MAX_SIDE]
    return Sheet(name, "matrix", len(part), len(weights), *_quantized(part))


def _tiles(name: str, kind: str, tiles: NDArray[np.floating]) -> Sheet:
    """Arrange pictures (N, height, width) in rows, with a pixel between neighbors."""
    shown = tiles[:MAX_TILES]
    count, height, width = shown.shape
    limit, values = _quantized(shown)
    rows = math.ceil(count / COLUMNS)
    columns = min(count, COLUMNS)
    sheet = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1), np.int8)
    for i, tile in enumerate(values):
        top, left = i // COLUMNS * (height + 1), i % COLUMNS * (width + 1)
        sheet[top : top + height, left : left + width] = tile
    return Sheet(name, kind, count, len(tiles), limit, sheet)


def _quantized(values: NDArray[np.floating]) -> tuple[float, NDArray[np.int8]]:
    """Return the largest magnitude, and the values scaled to -127..127."""
    limit = float(np.abs(values).max(initial=0.0))
    if not 0 < limit < math.inf:
        return limit, np.zeros(values.shape, np.int8)
    return limit, np.rint(values / limit * MAX_INT8).astype(np.int8)
