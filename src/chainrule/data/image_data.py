"""ImageData: a loaded image data set, four arrays and the names of the classes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.data.mapping import chunks
from chainrule.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The files of MNIST, whose names many other data sets use; in the order of the arrays below.
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class Part(NamedTuple):
    """Images and their labels.

    Attributes:
        images: uint8 (N, H, W), or (N, 3, H, W) in color; 0 is background and 255 ink, or in photos, black and white.
        labels: integers (N,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.integer[Any]]


class Split(NamedTuple):
    """A data set in three parts: training, validation, test."""

    train: Part
    validation: Part
    test: Part


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """A data set of images in classes, split into training and test images.

    The arrays may be memory-mapped files that are larger than the memory: nothing here copies them.

    Attributes:
        name: the name or the path that it was loaded by.
        classes: what each label means.
        train_images: uint8 (N, H, W), or (N, 3, H, W) in color; read-only, as are all four arrays.
        train_labels: integers (N,), each an index into `classes`.
        test_images: uint8 (M, H, W), or (M, 3, H, W).
        test_labels: integers (M,).
        photos: whether a pixel is a brightness, from black to white, and not an amount of ink.
        validation: the number of training images, the last ones, that `split` sets aside for validation, unless its
            argument is a different number; None for the default of `split`. The images are `split().validation`.
        notes: remarks about the data for the user, one phrase each.
    """

    name: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.integer[Any]]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.integer[Any]]
    photos: bool = field(default=False, kw_only=True)
    validation: int | None = field(default=None, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __repr__(self) -> str:
        *channels, height, width = self.train_images.shape[1:]
        kind = f"{'color ' if channels else ''}images of {height}×{width}"
        counts = f"{len(self.train_images):,} + {len(self.test_images):,}"
        return f"ImageData({self.name}: {counts} {kind}, {len(self.classes)} classes)"

    @cached_property
    def train_crc32(self) -> int:
        """The checksum of the training images and labels; every page of a mapped file is read once."""
        return _crc32(self.train_images, self.train_labels)

    @cached_property
    def test_crc32(self) -> int:
        """The checksum of the test images and labels."""
        return _crc32(self.test_images, self.test_labels)

    def split(self, validation: int | None = None) -> Split:
        """Split off the last `validation` training images for validation; all parts are views, not copies.

        `validation` defaults to the data set's own; if that is None, to 10,000, as is usual for MNIST, or to a sixth of
        the training images if that is less.

        Raises:
            DataError: `validation` is negative or leaves no training images.
        """
        total = len(self.train_images)
        if validation is None:
            validation = min(10_000, total // 6) if self.validation is None else self.validation
        if not 0 <= validation < total:
            raise DataError(
                f"{self.name} has {total:,} training images: {validation:,} cannot be split off for validation, "
                f"only 0 to {total - 1:,}"
            )
        count = total - validation
        return Split(
            train=Part(self.train_images[:count], self.train_labels[:count]),
            validation=Part(self.train_images[count:], self.train_labels[count:]),
            test=Part(self.test_images, self.test_labels),
        )


def _crc32(*arrays: NDArray[Any]) -> int:
    """Return the CRC-32 of the bytes of arrays in native byte order, one after the other."""
    checksum = 0
    for array in arrays:
        for piece in chunks(array):
            checksum = zlib.crc32(piece.data, checksum)
    return checksum
