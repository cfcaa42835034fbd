"""A folder of the user's own IDX files as a data set, with every mistake named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from chainrule.data import idx
from chainrule.data.image_data import FILES, ImageData
from chainrule.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_NAME = re.compile(r"(train|t10k|test)-(images|labels)([-.]idx[13](-ubyte)?|\.idx)?(\.gz)?")
_PARTS = ("training images", "training labels", "test images", "test labels")  # in the order of FILES
_MAX_CLASSES = 1_000


def load_folder(folder: Path) -> ImageData:
    """The data set in a folder of four IDX files, named as MNIST's are.

    The usual variations are understood: with or without `.gz`, `.idx3-ubyte` for `-idx3-ubyte`, `test-` for `t10k-`.
    Images may have any size; there are as many classes as the largest label says, named by their numbers.

    Raises:
        DataError: a file is missing, twice there, damaged, of the wrong type or shape, or does not fit the others.
    """
    paths = _files(folder)
    train_images, train_labels = _pair(paths[0], paths[1])
    test_images, test_labels = _pair(paths[2], paths[3])
    if train_images.shape[1:] != test_images.shape[1:]:
        sizes = ["×".join(map(str, images.shape[1:])) for images in (train_images, test_images)]
        raise DataError(f"{folder} has training images of {sizes[0]}, but test images of {sizes[1]}")
    classes = tuple(map(str, range(1 + max(int(train_labels.max()), int(test_labels.max())))))
    return ImageData(str(folder), classes, train_images, train_labels, test_images, test_labels)


def _files(folder: Path) -> list[Path]:
    """The four files, in the order of FILES."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as fault:
        raise DataError(f"{folder} cannot be read: {fault.strerror}") from fault
    found: dict[str, Path] = {}
    for path in paths:
        if match := _NAME.fullmatch(path.name):
            part = f"{'training' if match[1] == 'train' else 'test'} {match[2]}"
            if part in found:
                raise DataError(f"{folder} has the {part} twice, as {found[part].name} and {path.name}: keep one")
            found[part] = path
    for part, file in zip(_PARTS, FILES, strict=True):
        if part not in found:
            raise DataError(f"{folder} has no {part}: there should be a file {file} or {file}.gz")
    return [found[part] for part in _PARTS]


def _pair(images_path: Path, labels_path: Path) -> tuple[NDArray[np.uint8], NDArray[np.integer[Any]]]:
    """The images and their labels, checked to belong together."""
    images, labels = idx.read(images_path), idx.read(labels_path)
    if images.ndim != 3 or images.dtype != "uint8":
        raise DataError(f"{images_path} holds {images.dtype} in {images.ndim} dimensions: images are uint8 in 3")
    if images.size == 0:
        raise DataError(f"{images_path} holds no images: its shape is {images.shape}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{labels_path} holds {labels.dtype} in {labels.ndim} dimensions: labels are integers in 1")
    if len(images) != len(labels):
        raise DataError(f"{images_path} holds {len(images):,} images, but {labels_path} {len(labels):,} labels")
    least, most = labels.min(), labels.max()
    if least < 0 or most >= _MAX_CLASSES:
        raise DataError(f"{labels_path} holds labels from {least} to {most}: 0 to {_MAX_CLASSES - 1} fit")
    return images, labels
