"""Data sets by name: what there is, and one function that loads any of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from chainrule.data import cache
from chainrule.data.folder import load_folder
from chainrule.data.image_data import ImageData
from chainrule.data.mnist import SHA256, mnist
from chainrule.data.published import FASHION_MNIST, KMNIST
from chainrule.errors import DataError

_PUBLISHED = {data.name: data for data in (FASHION_MNIST, KMNIST)}


class Entry(NamedTuple):
    """One line of the catalogue: a data set's name, what it is, whether it is in the cache and its bytes there."""

    name: str
    about: str
    cached: bool
    bytes: int


def load(name: str | os.PathLike[str]) -> ImageData:
    """Load a data set by its name (`available` lists them), or from a folder of IDX files.

    A name comes before a folder of the same name; `./mnist` is always the folder.

    Raises:
        DataError: there is no such data set or folder, or it is missing something, damaged or cannot be downloaded.
    """
    if name == "mnist":
        return mnist()
    if name in _PUBLISHED:
        return _PUBLISHED[str(name)].load()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return load_folder(folder)
    names = ", ".join(["mnist", *_PUBLISHED])
    if folder.exists():
        raise DataError(f"{folder} is a file: give the folder that holds the four IDX files, or one of {names}")
    raise DataError(f"there is no data set and no folder {str(name)!r}: the data sets are {names}")


def available() -> list[Entry]:
    """The data sets that `load` knows by name."""
    about = "handwritten digits, 60,000 + 10,000 of 28×28, from LeCun and Cortes (CC BY-SA 3.0), shipped with chainrule"
    sets = [("mnist", about, SHA256)] + [(data.name, data.about, data.sha256) for data in _PUBLISHED.values()]
    return [Entry(name, about, cache.is_ready(name, sums), cache.size(name)) for name, about, sums in sets]
