"""MNIST as included in the package: `mnist.xz`, the four original files concatenated and compressed.

Copyright Yann LeCun and Corinna Cortes, a derivative of NIST's Special Databases 1 and 3, under CC BY-SA 3.0 (see
NOTICE). `scripts/pack_mnist.py` creates the file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKED = Path(__file__).with_name("mnist.xz")
SAMPLE = Path(__file__).with_name("mnist_sample.npz")
"""The first tenth of the training and of the test images, which chainrule has in a browser instead of `PACKED`."""
# By file name: size in bytes and SHA-256; in the order of concatenation
ORIGINALS = {
    "train-images-idx3-ubyte": (47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": (60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}


def unpack(names: Sequence[str], packed: Path = PACKED) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each requested file, checked against its SHA-256.

    Raises:
        DataError: the packed file is missing or damaged, or this Python lacks the module lzma.
    """
    if not names:
        return
    try:
        import lzma  # imported here because the files are usually unpacked already
    except ImportError:
        raise DataError(f"this Python was built without the module lzma, which unpacks {packed}: use another") from None
    try:
        files = lzma.decompress(packed.read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as fault:
        raise DataError(f"{packed} is missing or damaged ({fault}): install chainrule again") from fault
    start = 0
    for file, (size, sha256) in ORIGINALS.items():
        data = files[start : start + size]
        start += size
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataError(f"{packed} is damaged (the SHA-256 of {file} is wrong): install chainrule again")
        if file in names:
            yield file, data
