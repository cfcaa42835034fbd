"""A folder of the user's own IDX files as a data set, with every mistake named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from chainrule.data import idx
from chainrule.data.image_data import ImageData
from chainrule.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_NAME = re.compile(r"(train|t10k|test)-(images|labels)([-.]idx[13](-ubyte)?|\.idx)?(\.gz)?")
_WANTED = {"train images": "train-images-idx3-ubyte", "train labels": "train-labels-idx1-ubyte",
           "test images": "t10k-images-idx3-ubyte", "test labels": "t10k-labels-idx1-ubyte"}  # fmt: skip
_MAX_CLASSES = 1_000


def load_folder(folder: Path) -> ImageData:
    """The data set in a folder of four IDX files, named as MNIST's are.

    The usual variations are understood: with or without `.gz`, `.idx3-ubyte` for `-idx3-ubyte`, `test-` for `t10k-`.
    Images may have any size; there are as many classes as the largest label says, named by their numbers.

    Raises:
        DataError: a file is missing, twice there, damaged, of the wrong type or shape, or does not fit the others.
    """
    files = _files(folder)
    train_images, train_labels = _part(files["train images"], files["train labels"])
    test_images, test_labels = _part(files["test images"], files["test labels"])
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"{folder}: the training images are {_size(train_images)}, but the test images are {_size(test_images)}"
        )
    classes = 1 + int(max(train_labels.max(), test_labels.max()))
    return ImageData(
        str(folder), train_images, train_labels, test_images, test_labels, classes=tuple(map(str, range(classes)))
    )


def _files(folder: Path) -> dict[str, Path]:
    """Which file plays which part."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(path.name):
            part = f"{'train' if match[1] == 'train' else 'test'} {match[2]}"
            if part in found:
                raise DataError(f"{folder} has the {part} twice, as {found[part].name} and {path.name}: keep one")
            found[part] = path
    for part, usual in _WANTED.items():
        if part not in found:
            raise DataError(f"{folder} has no {part}: there should be a file {usual} or {usual}.gz")
    return found


def _part(images_path: Path, labels_path: Path) -> tuple[NDArray[np.uint8], NDArray[np.integer[Any]]]:
    images, labels = idx.read(images_path), idx.read(labels_path)
    if images.ndim != 3 or images.dtype != "uint8":
        raise DataError(f"{images_path} holds {_kind(images)}: images are uint8 with 3 dimensions")
    if images.size == 0:
        raise DataError(f"{images_path} holds no images: its shape is {images.shape}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{labels_path} holds {_kind(labels)}: labels are integers with 1 dimension")
    if len(images) != len(labels):
        raise DataError(f"{images_path} holds {len(images):,} images, but {labels_path} {len(labels):,} labels")
    if not 0 <= labels.min() <= labels.max() < _MAX_CLASSES:
        raise DataError(
            f"{labels_path} holds labels from {labels.min()} to {labels.max()}: 0 to {_MAX_CLASSES - 1} fit"
        )
    return images, labels


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} with {array.ndim} dimension{'' if array.ndim == 1 else 's'}"


def _size(images: NDArray[Any]) -> str:
    return f"{images.shape[1]}×{images.shape[2]}"
