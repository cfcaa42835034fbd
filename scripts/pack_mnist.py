"""Pack the four files of MNIST into src/chainrule/data/mnist.xz, losslessly.

    python scripts/pack_mnist.py FOLDER

FOLDER holds the IDX files, gzipped or not. Packing takes one or two minutes, at xz's highest setting. The same files
give the same bytes with the same version of xz; another version may give other bytes, which unpack to the same files.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import lzma
import sys
import time
from pathlib import Path

from chainrule.data.packed_mnist import ORIGINALS, PACKED
from chainrule.files import atomic_write

MOST = 9_500_000  # bytes
# Pixels have no period of 2 or 4 bytes (pb=0), and the four highest bits of a pixel predict the next pixel best (lc=4).
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26, "lc": 4, "pb": 0}]


def original(folder: Path, name: str) -> bytes:
    """The uncompressed bytes of one file, whose SHA-256 must be MNIST's."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(zipped.read_bytes())
    if hashlib.sha256(data).hexdigest() != ORIGINALS[name][1]:
        sys.exit(f"{plain} is not MNIST's: its SHA-256 is wrong")
    return data


def main() -> None:
    """Pack, check that unpacking gives the same files, and print the size and the time of unpacking."""
    parser = argparse.ArgumentParser(description="Packs MNIST into the package.")
    parser.add_argument("folder", type=Path, help="the folder of the four IDX files, gzipped or not")
    folder = parser.parse_args().folder
    try:
        files = b"".join(original(folder, name) for name in ORIGINALS)
    except OSError as error:
        sys.exit(f"{folder}: {error}")
    packed = lzma.compress(files, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=FILTERS)
    if len(packed) > MOST:
        sys.exit(f"{len(packed):,} bytes are more than the {MOST:,} allowed")
    start = time.perf_counter()
    same = lzma.decompress(packed) == files
    seconds = time.perf_counter() - start
    if not same:
        sys.exit("unpacking does not give the same files")
    with atomic_write(PACKED) as target:
        target.write(packed)
    sha256 = hashlib.sha256(packed).hexdigest()
    print(f"{PACKED}: {len(packed):,} bytes for {len(files):,}, unpacked in {seconds:.2f} s, SHA-256 {sha256}")


if __name__ == "__main__":
    main()
