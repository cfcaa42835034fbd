"""Augmentation: random shifts, rotations, scaling, shear and elastic distortion of training images.

    augment = Augment(shift=2, rotation=10, elastic=1)
    for images, labels in DataLoader(dataset, 128, shuffle=True, augment=augment): ...

A shifted, rotated or slightly bent 7 is still a 7: a network trained on such images generalizes better. Source: Simard,
Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document analysis" (2003).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.warp import warp

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALL = slice(None)


@dataclass(frozen=True)
class Augment:
    """Transforms each image at random; all transforms are combined into one resampling.

    The amount of each transform is random, in either direction, up to the given maximum; 0 disables the transform.
    `elastic` is not a maximum, but a root mean square.
    Pixels from outside the image are 0, the background.

    Args:
        shift: in pixels, vertically and horizontally independent.
        rotation: in degrees, about the center.
        scale: a fraction: 0.1 is a factor from 1/1.1 to 1.1, for height and width independently.
        shear: in degrees, the slant of vertical strokes.
        elastic: root mean square, in pixels, of a random displacement field, vertically and horizontally independent.
            The paper's α = 34 with σ = 4 corresponds to about 1.4.
        smoothing: standard deviation, in pixels, of the Gaussian filter that smooths the displacement field. Large
            values shift whole images, small ones tear strokes.

    Raises:
        ValueError: a negative or non-finite option, a shear of 90° or more, a smoothing of 0.
    """

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    smoothing: float = 4.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise ValueError(f"Augment: {field.name} must be a number of at least 0, got {value}")
        if self.shear >= 90:
            raise ValueError(f"Augment: shear must be below 90 degrees, got {self.shear}")
        if not self.smoothing:
            raise ValueError("Augment: smoothing must be above 0 pixels, got 0")

    def __call__(
        self,
        images: NDArray[Any],
        generator: np.random.Generator,
        *,
        rows: slice | NDArray[np.integer[Any]] | None = None,
        batch_size: int | None = None,
    ) -> NDArray[Any]:
        """Return a transformed copy of the images.

        Args:
            images: (N, H, W), or (N, C, H, W) with several channels; uint8 or floats.
            generator: the only source of randomness: the same state gives the same images.
            rows: which rows of a batch the images are, if they are only a part of it: each image is then transformed as
                in the whole batch. Needs `batch_size`.
            batch_size: the number of images in the whole batch.

        Returns:
            Images of the same shape and dtype.

        Raises:
            ValueError: the images are neither 3-d nor 4-d, or their number is not that of the rows.
            TypeError: the images are neither uint8 nor floats.
        """
        images = np.asarray(images)
        if images.ndim not in (3, 4):
            raise ValueError(f"Augment: images must be (N, H, W) or (N, C, H, W), got shape {images.shape}")
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise TypeError(f"Augment: images must be uint8 or floats, got {images.dtype}")
        if rows is None or batch_size is None:
            rows, batch_size = _ALL, len(images)
        size = images.shape[-2:]
        maps = self._maps((batch_size, *size), generator)[rows]
        if len(maps) != len(images):
            raise ValueError(
                f"Augment: there are {len(images)} images, but {len(maps)} rows of a batch of {batch_size}"
            )
        field = self._field((batch_size, *size), generator, rows)
        if images.ndim == 3:
            result = warp(images, maps, field)
        else:  # all channels of an image are transformed alike
            channels = [np.ascontiguousarray(images[:, c]) for c in range(images.shape[1])]
            result = np.stack([warp(channel, maps, field) for channel in channels], 1)
        return np.rint(result).astype(np.uint8) if images.dtype == np.uint8 else result.astype(images.dtype, copy=False)

    def _maps(self, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
        """Draw an affine map per image, (N, 2, 3): from (i, j, 1) of an output pixel to y and x in the input."""
        count, height, width = shape
        down, across, turn, vertical, horizontal, slant = generator.uniform(-1, 1, (6, count))
        angle, lean = np.radians(self.rotation) * turn, np.tan(np.radians(self.shear) * slant)
        cos, sin = np.cos(angle), np.sin(angle)
        row_scale, column_scale = (1 + self.scale) ** vertical, (1 + self.scale) ** horizontal
        # The matrix product scale · shear · rotation; from output to input, the rotation comes first
        linear = np.array(
            [
                [row_scale * cos, row_scale * sin],
                [column_scale * (lean * cos - sin), column_scale * (lean * sin + cos)],
            ]
        )
        center = np.array([(height - 1) / 2, (width - 1) / 2])
        target = center[:, None] + self.shift * np.array([down, across])  # (2, N)
        offset = target - np.einsum("ijn,j->in", linear, center)
        return np.concatenate([linear, offset[:, None]], axis=1).transpose(2, 0, 1)

    def _field(
        self, shape: tuple[int, ...], generator: np.random.Generator, rows: slice | NDArray[np.integer[Any]] = _ALL
    ) -> NDArray[np.float32]:
        """Draw the elastic displacement of each pixel, vertical and horizontal, and return some rows: (N, 2, H, W)."""
        count, height, width = shape
        if not self.elastic:
            return np.zeros((count, 2, height, width), np.float32)[rows]
        noise = generator.random((count, 2, height, width), np.float32)[rows]
        noise -= np.float32(0.5)
        noise *= np.float32(self.elastic * math.sqrt(12))  # uniform on [0, 1) has variance 1/12
        smooth: NDArray[np.float32] = _gaussian(height, self.smoothing) @ (noise @ _gaussian(width, self.smoothing).T)
        return smooth


@lru_cache(maxsize=16)
def _gaussian(size: int, std: float) -> NDArray[np.float32]:
    """Return a (size, size) matrix: row i holds Gaussian weights around i.

    The squares of a row sum to 1, so that filtering independent noise does not change its variance.
    """
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (distance / std) ** 2)
    normalized: NDArray[np.float32] = (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
    return normalized
