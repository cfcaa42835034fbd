"""Small data sets in the plane, to watch a network learn: classes to tell apart, and values to predict.

    import numpy as np

    from chainrule.data import toys

    points, labels = toys.spirals(200, noise=0.05, generator=np.random.default_rng(0))
    points.shape, labels.shape  # ((200, 2), (200,))

Without noise, all points lie in the square from -1 to 1. Each function returns the points, (N, 2) float32, and either
their classes, (N,) int64, in turn 0, 1, ..., 0, 1, ..., or values between -1 and 1, (N,) float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from chainrule.errors import check, check_integer, check_not_negative, type_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Classified: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]
    Valued: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]

__all__ = ["blobs", "circles", "hills", "moons", "plane", "spirals", "xor"]

TURNS = 1.25
"""Number of turns of each arm of `spirals`."""
PEAKS = ((-0.5, 0.5, 1.0), (0.5, 0.5, -1.0), (0.5, -0.5, 1.0), (-0.5, -0.5, -1.0))
"""The hills and valleys of `hills`: x₁, x₂, height."""
PEAK_WIDTH = 0.3
"""Standard deviation of each hill."""


def circles(count: int, classes: int = 2, noise: float = 0.0, *, generator: np.random.Generator) -> Classified:
    """Concentric rings; the first class is the disk in the middle. Points are uniform in radius and angle.

    Args:
        count: number of points.
        classes: number of rings, with the disk.
        noise: standard deviation of the normal noise added to each coordinate.
        generator: source of the random numbers.

    Raises:
        TypeError: `count` or `classes` is not an integer, or `generator` is not a numpy.random.Generator.
        ValueError: fewer than 1 point or 2 classes, or a negative noise.
    """
    labels = _labels("circles", count, classes, noise, generator)
    width = 0.9 / (classes - 0.25)  # a quarter of the width of the disk and of each ring stays free
    radius = width * (labels + generator.uniform(0, 0.75, count))
    angle = generator.uniform(0, 2 * np.pi, count)
    return _with_noise(_polar(radius, angle), noise, generator), labels


def spirals(count: int, classes: int = 2, noise: float = 0.0, *, generator: np.random.Generator) -> Classified:
    """Arms that wind outward from the center, with `TURNS` turns each. Arguments as in `circles`."""
    labels = _labels("spirals", count, classes, noise, generator)
    points_per_arm = -(-count // classes)  # rounded up
    along = (np.arange(count) // classes + 1) / points_per_arm
    angle = 2 * np.pi * (TURNS * along + labels / classes)
    return _with_noise(_polar(0.95 * along, angle), noise, generator), labels


def blobs(count: int, classes: int = 2, noise: float = 0.0, *, generator: np.random.Generator) -> Classified:
    """Normal clouds of standard deviation 0.12 around centers that are equally spaced on a circle.

    Offsets are limited to ±0.4. Arguments as in `circles`; the noise is added to that of the clouds.
    """
    labels = _labels("blobs", count, classes, noise, generator)
    angle = 2 * np.pi * labels / classes + np.pi / 4
    offset = np.clip(generator.normal(0, 0.12, (count, 2)), -0.4, 0.4)
    return _with_noise(_polar(np.full(count, 0.6), angle) + offset, noise, generator), labels


def moons(count: int, noise: float = 0.0, *, generator: np.random.Generator) -> Classified:
    """Two half circles, each with one end inside the other. Arguments as in `circles`."""
    labels = _labels("moons", count, 2, noise, generator)
    points_per_moon = -(-count // 2)  # rounded up
    angle = np.pi * (np.arange(count) // 2 + 0.5) / points_per_moon
    side = 1 - 2 * labels
    points = np.stack([0.6 * np.cos(angle) * side - 0.3 * side, 0.7 * np.sin(angle) * side - 0.2 * side], axis=1)
    return _with_noise(points, noise, generator), labels


def xor(count: int, noise: float = 0.0, *, generator: np.random.Generator) -> Classified:
    """Four squares; class 1 where exactly one of x₁ and x₂ is positive. Arguments as in `circles`."""
    labels = _labels("xor", count, 2, noise, generator)
    size = generator.uniform(0.08, 0.9, (count, 2))
    first = generator.choice([-1.0, 1.0], count)
    second = np.where(labels == 1, -first, first)
    return _with_noise(size * np.stack([first, second], axis=1), noise, generator), labels


def plane(count: int, noise: float = 0.0, *, generator: np.random.Generator) -> Valued:
    """Values that rise along the diagonal, (x₁ + x₂) / 2; here the noise is added to the values.

    The other arguments are as in `circles`.
    """
    points = _uniform("plane", count, noise, generator)
    return points, _noisy_values(points.mean(axis=1), noise, generator)


def hills(count: int, noise: float = 0.0, *, generator: np.random.Generator) -> Valued:
    """Two hills and two valleys, `PEAKS`: sums of height · exp(-distance² / (2 · PEAK_WIDTH²)).

    Arguments as in `plane`.
    """
    points = _uniform("hills", count, noise, generator)
    values = np.zeros(count)
    for x1, x2, height in PEAKS:
        distance = np.hypot(points[:, 0] - x1, points[:, 1] - x2)
        values += height * np.exp(-(distance**2) / (2 * PEAK_WIDTH**2))
    return points, _noisy_values(values, noise, generator)


def _labels(name: str, count: int, classes: int, noise: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Check the arguments, and return the class of each point."""
    _check(name, count, noise, generator)
    check_integer(name, "the number of classes", classes, minimum=2)
    return np.arange(count, dtype=np.int64) % classes


def _check(name: str, count: int, noise: float, generator: np.random.Generator) -> None:
    check_integer(name, "the number of points", count, minimum=1)
    check_not_negative(name, noise=noise)
    check(name, np.isfinite(noise), f"noise must be finite, got {noise}")
    is_generator = isinstance(generator, np.random.Generator)
    message = f"the generator must be a numpy.random.Generator, not {type_name(generator)}"
    check(name, is_generator, message, TypeError)


def _polar(radius: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _with_noise(points: NDArray[np.float64], noise: float, generator: np.random.Generator) -> NDArray[np.float32]:
    return (points + noise * generator.standard_normal(points.shape)).astype(np.float32)


def _uniform(name: str, count: int, noise: float, generator: np.random.Generator) -> NDArray[np.float32]:
    _check(name, count, noise, generator)
    return generator.uniform(-1, 1, (count, 2)).astype(np.float32)


def _noisy_values(values: NDArray[np.floating], noise: float, generator: np.random.Generator) -> NDArray[np.float32]:
    return (values + noise * generator.standard_normal(len(values))).astype(np.float32)
