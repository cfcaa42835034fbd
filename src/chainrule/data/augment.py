"""Augmentation: every time a picture is learned from, it looks a little different, as if written anew.

    augment = Augment(shift=2, rotation=10, elastic=1)
    for images, labels in DataLoader(dataset, 128, shuffle=True, augment=augment): ...

A moved, turned or slightly bent 7 is still a 7. A network that is shown such pictures learns what all of them have in
common, and reads pictures it has never seen the better for it. The idea, and the elastic distortion, are from Simard,
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


@dataclass(frozen=True)
class Augment:
    """Moves, turns, stretches, slants and bends pictures at random, each one differently; all at once, in one reading.

    Each number says how far it may go, either way, all values up to there being equally likely; 0 leaves it out. What
    comes in from beyond a picture's borders is 0, the background.

    Args:
        shift: in pixels, down and across on their own.
        rotation: in degrees, about the middle.
        scale: as a fraction: 0.1 is from 1/1.1 to 1.1 times the size, height and width on their own.
        shear: in degrees, by which upright strokes slant.
        elastic: bends strokes as an unsteady hand does: every pixel is displaced by a random field, so many pixels as
            a root mean square, down and across on their own. The paper's 34, with a smoothing of 4, is about 1.4 here.
        smoothing: how evenly: the standard deviation, in pixels, of the Gaussian weights by which the field, at first
            independent numbers for each pixel, is averaged. Large values displace whole pictures, small ones tear.

    Raises:
        ValueError: a negative number, one that is not finite, a shear of 90° or more, a smoothing of 0.
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

    def __call__(self, images: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        """Pictures to learn from in place of these.

        Args:
            images: (N, H, W), uint8 or floats.
            generator: decides everything: the same state gives the same pictures.

        Returns:
            The same shape and type.

        Raises:
            ValueError: the pictures have another number of dimensions.
            TypeError: they are neither bytes nor floats.
        """
        images = np.asarray(images)
        if images.ndim != 3:
            raise ValueError(f"Augment: images of shape {images.shape} do not fit: they must be (N, H, W)")
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise TypeError(f"Augment: images must be uint8 or floats, got {images.dtype}")
        result = warp(images, self._maps(images.shape, generator), self._field(images.shape, generator))
        return np.rint(result).astype(np.uint8) if images.dtype == np.uint8 else result.astype(images.dtype, copy=False)

    def _maps(self, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
        """Where each picture is read: (N, 2, 3), rows for y and x, of (i, j, 1) counted from the upper left pixel."""
        count, height, width = shape
        down, across, turn, tall, wide, slant = generator.uniform(-1, 1, (6, count))
        angle, lean = np.radians(self.rotation) * turn, np.tan(np.radians(self.shear) * slant)
        cos, sin = np.cos(angle), np.sin(angle)
        rows, columns = (1 + self.scale) ** tall, (1 + self.scale) ** wide
        # Read from right to left as a picture is made: size, slant, turn, each about the middle
        linear = np.array([[rows * cos, rows * sin], [columns * (lean * cos - sin), columns * (lean * sin + cos)]])
        middle = np.array([(height - 1) / 2, (width - 1) / 2])
        moved = middle[:, None] + self.shift * np.array([down, across])  # (2, N)
        offset = moved - np.einsum("ijn,j->in", linear, middle)
        return np.concatenate([linear, offset[:, None]], axis=1).transpose(2, 0, 1)

    def _field(self, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float32]:
        """How far each pixel is displaced, down and across: (N, 2, H, W)."""
        count, height, width = shape
        if not self.elastic:
            return np.zeros((count, 2, height, width), np.float32)
        noise = generator.random((count, 2, height, width), np.float32)
        noise -= np.float32(0.5)
        noise *= np.float32(self.elastic * math.sqrt(12))  # the variance of numbers between 0 and 1 is 1/12
        smooth: NDArray[np.float32] = _gaussian(height, self.smoothing) @ (noise @ _gaussian(width, self.smoothing).T)
        return smooth


@lru_cache(maxsize=16)
def _gaussian(size: int, deviation: float) -> NDArray[np.float32]:
    """(size, size): row i has Gaussian weights around i, their squares summing to 1, so that variances stay 1."""
    away = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (away / deviation) ** 2)
    unit: NDArray[np.float32] = (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
    return unit
