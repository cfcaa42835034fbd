"""A folder of class folders with pictures, as a data set: `photos/cat/1.jpg`, `photos/dog/a.png`.

The central square of each picture is resized to the size of the data set's images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.image_data import ImageData
from chainrule.data.splitting import copies_note, split
from chainrule.errors import DataError, PictureError, join_names

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE_SIZE = 32
"""The default height and width, in pixels."""
MAX_SIZE = 512
"""The largest height and width, in pixels."""
MAX_BYTES = 4 << 30
"""Limit on the bytes of all pictures together, which are kept in memory."""


def is_picture_folder(folder: Path) -> bool:
    """Return whether a folder has subfolders, and no file whose name is that of an IDX or `.npy` file."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return False
    has_arrays = any(path.suffix in (".npy", ".gz") or "ubyte" in path.name for path in paths if path.is_file())
    return not has_arrays and any(path.is_dir() for path in paths)


def load_pictures(folder: Path, image_size: int | None = None, seed: int = 0) -> ImageData:
    """Read all pictures of a folder of class folders; the classes are the names of these folders, sorted.

    The pictures are in color, (N, 3, size, size), unless all of them are gray: (N, size, size). A sixth of each class
    is chosen for the test by the seed; copies of a picture are all on one side of the split.

    Args:
        folder: the folder; hidden files and folders in it are left out.
        image_size: height and width in pixels, from 4 to 512; 32 if None.
        seed: of the split.

    Raises:
        DataError: there are fewer than two classes or fewer than three pictures of a class, a file is not a readable
            picture, a picture is in two classes, or the pictures do not fit into memory.
    """
    size = IMAGE_SIZE if image_size is None else image_size
    if not 4 <= size <= MAX_SIZE:
        raise DataError(f"the image size must be from 4 to {MAX_SIZE} pixels, not {size}")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{folder} has only one class folder, {classes[0]}: at least two are needed")
    files, labels = [], []
    for label, name in enumerate(classes):
        paths = sorted(p for p in (folder / name).rglob("*") if p.is_file() and not p.name.startswith("."))
        if len(paths) < 3:
            raise DataError(f"{folder / name} has {len(paths)} pictures: at least 3 are needed in each class")
        files += paths
        labels += [label] * len(paths)
    if len(files) * 3 * size**2 > MAX_BYTES:
        raise DataError(f"{folder} has {len(files):,} pictures, which at {size}×{size} do not fit into memory")
    images, faults = [], []
    for file in files:
        try:
            images.append(read_square(file, size))
        except PictureError as error:
            faults.append(str(error))
    if faults:
        more = f" (and {len(faults) - 1} more files)" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}: remove files that are not pictures from {folder}")
    pixels = np.stack(images)  # (N, 3, size, size)
    if (pixels[:, 1:] == pixels[:, :1]).all():
        pixels = pixels[:, 0]
    contents = [image.tobytes() for image in pixels]
    ambiguous = _in_several_classes(contents, labels, classes)
    if ambiguous:
        raise DataError(f"{folder} has the same picture in the classes {join_names(ambiguous)}: keep one")
    train, test, duplicates = split(contents, labels, seed)
    if not len(test):
        raise DataError(f"{folder} has no picture left for the test: at least 3 different ones of a class are needed")
    targets = np.array(labels)
    return ImageData(
        str(folder), tuple(classes), pixels[train], targets[train], pixels[test], targets[test],
        photos=True, notes=copies_note(duplicates),
    )  # fmt: skip


def _in_several_classes(contents: list[bytes], labels: list[int], classes: list[str]) -> list[str]:
    """Return the classes of the first picture that is in more than one."""
    first_labels: dict[bytes, int] = {}
    for content, label in zip(contents, labels, strict=True):
        first_label = first_labels.setdefault(content, label)
        if first_label != label:
            return [classes[first_label], classes[label]]
    return []


def read_square(file: str | os.PathLike[str], size: int, name: str | None = None) -> NDArray[np.uint8]:
    """Read a picture as (3, size, size), 0 to 255: its largest centered square, resized.

    Args:
        file: the picture.
        size: height and width of the result in pixels.
        name: the picture's name in error messages; by default, the file's path.

    Raises:
        PictureError: the picture cannot be read.
    """
    from PIL import Image  # loaded with the first picture

    from chainrule.images import open_photo

    image = open_photo(file, name).image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    square = image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    pixels: NDArray[np.uint8] = np.ascontiguousarray(np.asarray(square, np.uint8).transpose(2, 0, 1))
    return pixels
