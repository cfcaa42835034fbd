"""What every data set of pictures looks like once it is loaded: four arrays and the names of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The files in which MNIST, and after it many others, were published; the order is that of the arrays below.
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class Part(NamedTuple):
    """Some pictures, uint8 (N, H, W), 0 for background and 255 for ink; and the class of each, integers (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.integer[Any]]


class Split(NamedTuple):
    """A data set in the three parts that learning needs: to learn from, to choose by, to be judged by."""

    train: Part
    validation: Part
    test: Part


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """A data set of gray pictures in classes, with its authors' division into training and test pictures.

    Attributes:
        name: how it was asked for: the name of a data set, or a folder.
        classes: what each label means.
        train_images: uint8 (N, H, W), read-only, as are all four arrays.
        train_labels: integers (N,), each an index into `classes`.
        test_images: uint8 (M, H, W).
        test_labels: integers (M,).
    """

    name: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.integer[Any]]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.integer[Any]]

    def __post_init__(self) -> None:
        for field in ("train_images", "train_labels", "test_images", "test_labels"):
            view = getattr(self, field).view()
            view.flags.writeable = False
            object.__setattr__(self, field, view)

    def __repr__(self) -> str:
        train, test, (height, width) = len(self.train_images), len(self.test_images), self.train_images.shape[1:]
        return f"ImageData({self.name}: {train:,} + {test:,} images of {height}×{width}, {len(self.classes)} classes)"

    def split(self, validation: int | None = None) -> Split:
        """Set the last `validation` training pictures aside for validation; all parts are views, not copies.

        Left out, it is 10,000 as is usual for MNIST, and never more than a sixth of the training pictures.

        Raises:
            DataError: `validation` is negative or leaves nothing to learn from.
        """
        total = len(self.train_images)
        if validation is None:
            validation = min(10_000, total // 6)
        if not 0 <= validation < total:
            raise DataError(
                f"{self.name} has {total:,} training images: {validation:,} cannot be set aside for validation, "
                f"0 to {total - 1:,} can"
            )
        rest = total - validation
        return Split(
            train=Part(self.train_images[:rest], self.train_labels[:rest]),
            validation=Part(self.train_images[rest:], self.train_labels[rest:]),
            test=Part(self.test_images, self.test_labels),
        )
