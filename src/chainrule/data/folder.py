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
_MAX_IMAGES = 4_000_000  # each takes some 30 bytes besides its pixels
_MAX_CONFIDENCES = 25_000_000  # one for each test image and class: 100 MB


def load_folder(folder: Path) -> ImageData:
    """The data set in a folder of four IDX files, named as MNIST's are.

    The usual variations are understood: with or without `.gz`, `.idx3-ubyte` for `-idx3-ubyte`, `test-` for `t10k-`.
    Images may have any size; there are as many classes as the largest label says, named by their numbers.

    Raises:
        DataError: a file is missing, twice there, damaged, of the wrong type or shape, or does not fit the others.
    """
    paths = _files(folder)
    sizes = [_picture_size(*pair) for pair in (paths[:2], paths[2:])]  # of all, before any is unpacked
    if sizes[0] != sizes[1]:
        train, test = ("×".join(map(str, size)) for size in sizes)
        raise DataError(f"{folder} has training images of {train}, but test images of {test}")
    train_labels, test_labels = _labels(paths[1]), _labels(paths[3])
    classes = 1 + max(int(train_labels.max()), int(test_labels.max()))
    if len(test_labels) * classes > _MAX_CONFIDENCES:
        raise DataError(
            f"{paths[3]} holds {len(test_labels):,} labels, and there are {classes:,} classes: one times the other "
            f"must be at most {_MAX_CONFIDENCES:,}"
        )
    names = tuple(map(str, range(classes)))
    return ImageData(str(folder), names, idx.read(paths[0]), train_labels, idx.read(paths[2]), test_labels)


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


def _picture_size(images: Path, labels: Path) -> tuple[int, ...]:
    """The height and width that a file of images promises, its header checked, and that of its labels."""
    dtype, shape = idx.header(images)
    if len(shape) != 3 or dtype != "uint8":
        raise DataError(f"{images} holds {dtype} in {len(shape)} dimensions: images are uint8 in 3")
    if 0 in shape:
        raise DataError(f"{images} holds no images: its shape is {shape}")
    label_dtype, label_shape = idx.header(labels)
    if len(label_shape) != 1 or label_dtype.kind not in "iu":
        raise DataError(f"{labels} holds {label_dtype} in {len(label_shape)} dimensions: labels are integers in 1")
    if shape[0] != label_shape[0]:
        raise DataError(f"{images} holds {shape[0]:,} images, but {labels} {label_shape[0]:,} labels")
    if shape[0] > _MAX_IMAGES:
        raise DataError(f"{images} holds {shape[0]:,} images: at most {_MAX_IMAGES:,} are taken")
    return shape[1:]


def _labels(path: Path) -> NDArray[np.integer[Any]]:
    """The labels in a file whose header fits, checked to be in range."""
    labels = idx.read(path)
    least, most = labels.min(), labels.max()
    if least < 0 or most >= _MAX_CLASSES:
        raise DataError(f"{path} holds labels from {least} to {most}: 0 to {_MAX_CLASSES - 1} fit")
    return labels
