"""An `.npz` file of images and labels, as `numpy.savez` writes it, as a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.image_data import ImageData
from chainrule.data.splitting import copies_note, digests, leak_note, shuffle, split
from chainrule.errors import DataError, join_names

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SPLIT_NAMES = ("x_train", "y_train", "x_test", "y_test")
"""The names of the arrays in a file with separate training and test images."""
WHOLE_NAMES = ("x", "y")
"""The names of the arrays in a file whose images are still to be split."""


def load_npz(file: Path, seed: int | None = 0) -> ImageData:
    """Load images and labels from an `.npz` file with arrays x_train, y_train, x_test, y_test; or x and y.

    Images are uint8: (N, H, W), (N, H, W, 1), (N, H, W, 3) or (N, 3, H, W). Labels are integers or strings, (N,) or
    (N, 1); the classes are those that occur, sorted. A sixth of each class of x and y is chosen for the test by the
    seed, which also decides the order of the training images, whose end is for validation. If the seed is None, x_train
    stays in its order, and x and y are split as with the seed 0.

    Raises:
        DataError: the file is damaged, an array is missing, or has another type or shape.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            array_names = list(archive.files)
            names = SPLIT_NAMES if set(SPLIT_NAMES) <= set(array_names) else WHOLE_NAMES
            arrays = [np.asarray(archive[name]) for name in names if name in array_names]
    except FileNotFoundError:
        raise DataError(f"there is no file {file}") from None
    except MemoryError:  # also if a damaged header declares a huge shape
        raise DataError(f"{file} is damaged, or its arrays do not fit into memory") from None
    except Exception:  # damaged bytes make NumPy, zipfile and zlib raise many kinds; a .npy file is no context manager
        raise DataError(f"{file} is not an .npz file of plain arrays, or it is damaged") from None
    if len(arrays) < len(names):
        expected = f"{join_names(SPLIT_NAMES)}, or {join_names(WHOLE_NAMES)}"
        raise DataError(f"{file} holds {join_names(array_names) or 'nothing'}: there should be {expected}")
    images = [_images(file, name, array) for name, array in zip(names[::2], arrays[::2], strict=True)]
    labels = [_labels(file, name, array) for name, array in zip(names[1::2], arrays[1::2], strict=True)]
    for x, y, name in zip(images, labels, names[::2], strict=True):
        if len(x) != len(y) or not len(x):
            raise DataError(f"{file} holds {len(x):,} images in {name}, but {len(y):,} labels")
    if images[0].shape[1:] != images[-1].shape[1:]:
        raise DataError(
            f"{file} has training images of {images[0].shape[1:]}, but test images of {images[-1].shape[1:]}"
        )
    classes, indices = np.unique(np.concatenate(labels), return_inverse=True)
    if not 2 <= len(classes) <= 1000:
        raise DataError(f"{file} has {len(classes):,} classes: there must be 2 to 1,000")
    class_names = tuple(map(str, classes.tolist()))
    if len(images) == 2:
        train, test = np.split(indices, [len(labels[0])])
        contents = digests(images[0])
        order, duplicates = (slice(None), 0) if seed is None else shuffle(contents, seed)
        return ImageData(
            str(file), class_names, images[0][order], train[order], images[1], test, photos=images[0].ndim == 4,
            notes=(*copies_note(duplicates), *leak_note(contents, digests(images[1]))),
        )  # fmt: skip
    train_rows, test_rows, duplicates = split(digests(images[0]), indices.tolist(), seed or 0)
    if not len(test_rows):
        raise DataError(f"{file} has no images left for the test: at least 3 different ones of a class are needed")
    return ImageData(
        str(file), class_names, images[0][train_rows], indices[train_rows],
        images[0][test_rows], indices[test_rows], photos=images[0].ndim == 4, notes=copies_note(duplicates),
    )  # fmt: skip


def _images(file: Path, name: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return images as (N, H, W) or (N, 3, H, W)."""
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(f"{file}: {name} holds {array.dtype} of shape {array.shape}: images must be uint8, (N, H, W)")
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    elif array.ndim == 4 and array.shape[3] == 3:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim == 4 and array.shape[1] != 3:
        raise DataError(f"{file}: {name} has shape {array.shape}: colored images must be (N, H, W, 3) or (N, 3, H, W)")
    return np.ascontiguousarray(array)


def _labels(file: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return labels as (N,)."""
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise DataError(
            f"{file}: {name} holds {array.dtype} of shape {array.shape}: labels must be integers or text, (N,)"
        )
    if array.dtype == np.uint64:  # joined with labels of a signed type, it would become floats
        if (array > np.iinfo(np.int64).max).any():
            raise DataError(f"{file}: {name} holds {array.max()}: labels must be below 2⁶³")
        return array.astype(np.int64)
    return array
