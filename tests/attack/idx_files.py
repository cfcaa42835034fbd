"""IDX files: forged headers, damaged bytes, and decompression bombs."""

from __future__ import annotations

import functools
import gzip
import math
import struct
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .attack import Case, Step, chainrule
from .child import WrongError
from .mutate import WHOLE, apply, edits

if TYPE_CHECKING:
    from pathlib import Path

name = "idx"

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def prepare(folder: Path) -> None:
    """Does nothing: each case creates its own data."""


def draw(random: np.random.Generator, folder: Path) -> Case:
    """Four files, usually with one of them modified."""
    height, width = (int(random.choice([1, 2, 7, 28, 64, 300])) for _ in range(2))
    counts = int(random.integers(6, 40)), int(random.integers(1, 20))
    damaged = int(random.integers(5))  # 4: none
    about, small = [], max(height, width) <= 64
    for position, part in enumerate(PARTS):
        count = counts[position // 2]
        shape = (count, height, width) if position % 2 == 0 else (count,)
        array = random.integers(0, 256 if len(shape) == 3 else 10, shape).astype(np.uint8)
        content = encoded(array)
        if position == damaged and random.random() < 0.3:
            content = zeros(random, shape)
            about.append(f"{part}: {len(content):,} bytes of zeros")
        else:
            packed = random.random() < 0.4
            if position == damaged:
                content = forged(random, content) if random.random() < 0.6 else content
                about.append(f"{part} forged or damaged")
            content = gzip.compress(content, 1, mtime=0) if packed else content
            if position == damaged and random.random() < 0.6:
                content = apply(content, edits(random, content))
        ending = str(random.choice(["-idx3-ubyte", ".gz", "", ".idx3-ubyte"]))
        (folder / (part + ending.replace("3", "3" if position % 2 == 0 else "1"))).write_bytes(content)
    steps: list[Step] = [Step("data.load", partial(load_and_compare, folder))]
    if small and random.random() < 0.25:
        steps.append(chainrule("train", "--data", folder, "--epochs", 1, "--quiet", "--out", folder / "run"))
    return Case("; ".join(about) or "as it should be", steps)


def encoded(array: np.ndarray) -> bytes:
    """An IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def forged(random: np.random.Generator, content: bytes) -> bytes:
    """The file with a modified header: type, rank or sizes."""
    header, body = bytearray(content[:4]), content[4 + 4 * content[3] :]
    sizes = list(struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]]))
    match random.integers(4):
        case 0:
            header[2] = int(random.choice([*TYPES, 0, 10, 255]))
        case 1:
            sizes[int(random.integers(len(sizes)))] = WHOLE[int(random.integers(len(WHOLE)))] % (1 << 32)
        case 2:
            sizes += [int(size) for size in random.choice([0, 1, 2, 65535], int(random.integers(1, 70)))]
        case _:
            sizes = sizes[: int(random.integers(len(sizes)))]
    header[3] = len(sizes) % 256
    return bytes(header) + struct.pack(f">{len(sizes)}I", *sizes) + body


def zeros(random: np.random.Generator, shape: tuple[int, ...]) -> bytes:
    """A gzip of up to a gigabyte of zeros, with a header that declares the same, a larger or a smaller size."""
    count = int(10 ** random.uniform(5, 9))
    whole = (max(1, count // math.prod(shape[1:])), *shape[1:])
    promised = whole if random.random() < 0.6 else (int(whole[0] * 10 ** random.uniform(-2, 2)) % (1 << 32), *shape[1:])
    header = struct.pack(f">HBB{len(promised)}I", 0, 8, len(promised), *promised)
    megabytes, rest = divmod(math.prod(whole), 1 << 20)
    return gzipped(header) + megabytes * gzipped(bytes(1 << 20)) + gzipped(bytes(rest))


@functools.cache
def gzipped(content: bytes) -> bytes:
    """Compress as one gzip member; a gzip file may consist of several."""
    return gzip.compress(content, mtime=0)


def load_and_compare(folder: Path) -> None:
    """Read each file alone, then load the folder as a data set and compare it with a simple reader."""
    from chainrule import data
    from chainrule.data import idx
    from chainrule.errors import DataError

    for file in folder.iterdir():
        with suppress(DataError):
            idx.read(file)
    try:
        loaded = data.load(folder)
    except DataError as error:
        if "\n" in str(error) or len(str(error)) > 2000:
            raise WrongError(f"not one sentence: {str(error)[:200]!r}") from None
        return
    arrays = (loaded.train_images, loaded.train_labels, loaded.test_images, loaded.test_labels)
    for part, array in zip(PARTS, arrays, strict=True):
        (file,) = folder.glob(f"{part}*")
        expected = plain(file.read_bytes())
        if array.shape != expected.shape or array.dtype != expected.dtype or (array != expected).any():
            raise WrongError(f"{file.name}: {array.dtype} {array.shape} is not what is in the file")


def plain(content: bytes) -> np.ndarray:
    """Read an IDX file without any checks."""
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    sizes = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    dtype = np.dtype(TYPES[content[2]])
    return np.frombuffer(content, dtype, offset=4 + 4 * content[3]).reshape(sizes).astype(dtype.newbyteorder("="))
