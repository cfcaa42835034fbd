"""Loads a folder of IDX or `.npy` files as a data set.

Files are memory-mapped, so a data set may be larger than the memory. Files whose bytes have to be converted first are
read instead: gzips, and labels of more than one byte in IDX files, which are big-endian.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from chainrule.data import idx, npy
from chainrule.data.image_data import FILES, ImageData
from chainrule.data.splitting import digests, leak_note
from chainrule.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_NAME = re.compile(r"(train|t10k|test)-(images|labels)(([-.]idx[13](-ubyte)?|\.idx)?(\.gz)?|\.npy)")
_PARTS = ("training images", "training labels", "test images", "test labels")  # in the order of FILES
_MAX_CLASSES = 1_000
_MAX_IMAGES = 4_000_000  # in a gzip: each takes about 30 bytes besides its pixels
_MAX_MAPPED_IMAGES = 1_000_000_000  # each takes 4 bytes, its position in the shuffled order
_MAX_COMPARED_BYTES = 100_000_000  # images of up to this size are searched for copies, which takes half a second
_MAX_PROBABILITIES = 25_000_000  # one per test image and class: 100 MB


def load_folder(folder: Path) -> ImageData:
    """Load a data set from a folder of four files: IDX files named like MNIST's, or `train-images.npy` and so on.

    Common variations are accepted: with or without `.gz`, `.idx3-ubyte` for `-idx3-ubyte`, `test-` for `t10k-`.
    Images may have any size. The number of classes is the largest label plus 1; each is named by its number.

    Raises:
        DataError: a file is missing, duplicate, damaged, of the wrong type or shape, or inconsistent with the others.
    """
    paths = _files(folder)
    sizes = [_check_headers(*pair) for pair in (paths[:2], paths[2:])]  # check all headers before unpacking any file
    if sizes[0] != sizes[1]:
        train, test = ("×".join(map(str, size)) for size in sizes)
        raise DataError(f"{folder} has training images of {train}, but test images of {test}")
    train_labels, test_labels = _labels(paths[1]), _labels(paths[3])
    classes = 1 + max(int(train_labels.max()), int(test_labels.max()))
    if len(test_labels) * classes > _MAX_PROBABILITIES:
        raise DataError(
            f"{paths[3]} holds {len(test_labels):,} labels, and there are {classes:,} classes: their product "
            f"must be at most {_MAX_PROBABILITIES:,}"
        )
    names = tuple(map(str, range(classes)))
    train_images, test_images = _array(paths[0]), _array(paths[2])
    notes: tuple[str, ...] = ()
    if train_images.nbytes + test_images.nbytes <= _MAX_COMPARED_BYTES:
        notes = leak_note(digests(train_images), digests(test_images))
    return ImageData(str(folder), names, train_images, train_labels, test_images, test_labels, notes=notes)


def _files(folder: Path) -> list[Path]:
    """Return the four files, in the order of FILES."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as fault:
        raise DataError(f"{folder} cannot be read: {fault.strerror}") from fault
    files: dict[str, Path] = {}
    for path in paths:
        if match := _NAME.fullmatch(path.name):
            part = f"{'training' if match[1] == 'train' else 'test'} {match[2]}"
            if part in files:
                raise DataError(f"{folder} has the {part} twice, as {files[part].name} and {path.name}: keep one")
            files[part] = path
    for part, file in zip(_PARTS, FILES, strict=True):
        if part not in files:
            raise DataError(f"{folder} has no {part}: there should be a file {file} or {file}.gz, or {_npy_name(file)}")
    return [files[part] for part in _PARTS]


def _npy_name(file: str) -> str:
    """Return the name of the `.npy` file for the same array as one of FILES, such as train-images.npy."""
    return "-".join(file.split("-")[:2]).replace("t10k", "test") + ".npy"


def _is_gzipped(path: Path) -> bool:
    return path.suffix != ".npy" and idx.is_gzipped(path)


def _header(path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return dtype and shape. Only a gzip's size is limited: other files must be as large as their headers declare."""
    if path.suffix == ".npy":
        return npy.header(path)
    return idx.header(path, max_bytes=None if _is_gzipped(path) else sys.maxsize)


def _array(path: Path) -> NDArray[Any]:
    """Map a file whose header was checked, or read it if its bytes cannot be used as they are."""
    if path.suffix == ".npy":
        return npy.memory_map(path)
    return idx.read(path) if _is_gzipped(path) or _header(path)[0].itemsize > 1 else idx.memory_map(path)


def _check_headers(images: Path, labels: Path) -> tuple[int, ...]:
    """Check the headers of an image file and its label file, and return height and width."""
    dtype, shape = _header(images)
    if len(shape) != 3 or dtype != "uint8":
        raise DataError(f"{images} holds {dtype} in {len(shape)} dimensions: images must be uint8 in 3")
    if 0 in shape:
        raise DataError(f"{images} holds no images: its shape is {shape}")
    label_dtype, label_shape = _header(labels)
    if len(label_shape) != 1 or label_dtype.kind not in "iu":
        raise DataError(f"{labels} holds {label_dtype} in {len(label_shape)} dimensions: labels must be integers in 1")
    if shape[0] != label_shape[0]:
        raise DataError(f"{images} holds {shape[0]:,} images, but {labels} {label_shape[0]:,} labels")
    limit = _MAX_IMAGES if _is_gzipped(images) or _is_gzipped(labels) else _MAX_MAPPED_IMAGES
    if shape[0] > limit:
        raise DataError(f"{images} holds {shape[0]:,} images: at most {limit:,} are allowed")
    return shape[1:]


def _labels(path: Path) -> NDArray[np.integer[Any]]:
    """Map or read the labels of a file whose header was checked, and check their range."""
    labels = _array(path)
    low, high = labels.min(), labels.max()
    if low < 0 or high >= _MAX_CLASSES:
        raise DataError(f"{path} holds labels from {low} to {high}: they must be from 0 to {_MAX_CLASSES - 1}")
    return labels
