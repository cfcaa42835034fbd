"""MNIST, the handwritten digits, shipped inside the package as `mnist.xz`: the four original files, one after another.

Copyright Yann LeCun and Corinna Cortes, a derivative of NIST's Special Databases 1 and 3, under CC BY-SA 3.0 (see
NOTICE). `scripts/pack_mnist.py` makes the packed file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.data import cache
from chainrule.data.image_data import ImageData
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKED = Path(__file__).with_name("mnist.xz")

SIZES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def mnist() -> ImageData:
    """MNIST: 60,000 training and 10,000 test images of the digits 0 to 9, uint8 (N, 28, 28).

    The first call unpacks 55 MB into the cache folder, in about a second; later ones map those files into memory.

    Raises:
        DataError: the packed file in the package is damaged.
    """
    arrays = cache.load("mnist", SHA256, _unpack, patience=60)
    return ImageData("mnist", *arrays, classes=tuple("0123456789"))


def _unpack(wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    if not wanted:
        return
    import lzma  # not every Python has it, and most starts do not need it

    try:
        files = lzma.decompress(PACKED.read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as fault:
        raise DataError(f"{PACKED} is damaged ({fault}): install chainrule again") from fault
    start = 0
    for file, size in SIZES.items():
        data = files[start : start + size]
        start += size
        if hashlib.sha256(data).hexdigest() != SHA256[file]:
            raise DataError(f"{PACKED} is damaged (the SHA-256 of {file} is wrong): install chainrule again")
        if file in wanted:
            yield file, data
