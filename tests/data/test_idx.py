"""IDX files: what is written comes back, and whatever is wrong with a file is named."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule.data import idx
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TYPES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
any_array = hnp.arrays(
    dtype=st.sampled_from(sorted(TYPES)).flatmap(lambda name: st.sampled_from([f"<{name}", f">{name}"]).map(_dtype)),
    shape=hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4),
)


def _dtype(name: str) -> np.dtype:
    return np.dtype(name[1:]).newbyteorder(name[0])


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


@given(any_array, st.sampled_from(["a.idx", "a.idx.gz"]))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / name
    idx.write(path, array)
    back = idx.read(path)
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.dtype.isnative
    assert back.shape == array.shape
    assert back.tobytes() == array.astype(back.dtype).tobytes()  # bytes, so that NaNs count as equal
    assert back.flags.writeable
    assert idx.decode(path.read_bytes(), name).tobytes() == back.tobytes()


@given(any_array)
@settings(max_examples=30, deadline=None)
def test_memory_map_sees_what_is_written(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "mapped.idx"
    idx.write(path, array)
    mapped = idx.memory_map(path)
    assert mapped.shape == array.shape
    assert mapped.astype(array.dtype).tobytes() == array.tobytes()
    assert not mapped.flags.writeable


@pytest.mark.parametrize("dtype", TYPES)
def test_bytes_are_those_of_the_format(dtype: str) -> None:
    array = np.array([[1, 2, 3], [4, 5, -6]]).astype(dtype)
    big = array.astype(array.dtype.newbyteorder(">"))
    assert idx.encode(array) == bytes([0, 0, TYPES[dtype], 2, 0, 0, 0, 2, 0, 0, 0, 3]) + big.tobytes()


def test_order_in_memory_does_not_matter() -> None:
    array = np.arange(24, dtype="int16").reshape(2, 3, 4)
    assert idx.encode(np.asfortranarray(array)) == idx.encode(array)
    assert idx.encode(array[:, ::-1]) == idx.encode(array[:, ::-1].copy())


def test_64_dimensions(tmp_path: Path) -> None:
    idx.write(tmp_path / "deep", np.full((1,) * 64, 7, "uint8"))
    assert idx.read(tmp_path / "deep").shape == (1,) * 64


def test_gzip_is_told_by_content_and_written_by_name(tmp_path: Path) -> None:
    array = np.arange(6, dtype="uint8")
    (tmp_path / "zipped").write_bytes(gzip.compress(idx.encode(array)))
    (tmp_path / "plain.gz").write_bytes(idx.encode(array))
    assert (idx.read(tmp_path / "zipped") == array).all()
    assert (idx.read(tmp_path / "plain.gz") == array).all()
    idx.write(tmp_path / "a.gz", array)
    assert (tmp_path / "a.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_gzip_in_several_members(tmp_path: Path) -> None:
    data = idx.encode(np.arange(100, dtype="uint8"))
    (tmp_path / "a.gz").write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:]))
    assert (idx.read(tmp_path / "a.gz") == np.arange(100)).all()


def test_same_array_gives_the_same_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idx.write(tmp_path / "a.gz", np.arange(1000, dtype="int32"))
    monkeypatch.setattr("time.time", lambda: 1.0)
    idx.write(tmp_path / "b.gz", np.arange(1000, dtype="int32"))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


GOOD = header(8, 2, 3) + bytes(6)
FAULTS = {
    "empty": (b"", "not an IDX file"),
    "text": (b"hello, I am a text", "not an IDX file"),
    "only zeros": (b"\0\0", "not an IDX file"),
    "no such type": (header(0x0A, 1) + b"\0", "its type 0x0a must be one of"),
    "type 0": (header(0, 1) + b"\0", "its type 0x00 must be one of"),
    "half a header": (header(8, 2, 3)[:9], "ends within its header"),
    "too short": (GOOD[:-1], r"should hold 6 bytes of uint8 of shape \(2, 3\) but holds 5"),
    "too long": (GOOD + b"\0\0", "should hold 6 bytes .* but holds 8"),
    "65 dimensions": (header(8, *[1] * 65) + b"\0", "65 dimensions: NumPy arrays have at most 64"),
    "255 dimensions": (header(8, *[1] * 255) + b"\0", "255 dimensions"),
    "a huge promise": (header(8, 1 << 31, 1 << 31), "declares uint8 of shape .* more than the 4,294,967,296 bytes"),
    "an overflowing promise": (header(14, *[(1 << 32) - 1] * 64), "declares float64"),
    "nothing of a huge shape": (header(8, 0, (1 << 32) - 1, (1 << 32) - 1), "declares uint8"),
    "zipped text": (gzip.compress(b"hello, I am a text"), "not an IDX file"),
    "zipped and too short": (gzip.compress(GOOD[:-1]), "should hold 6 bytes .* but holds only 5"),
    "zipped and too long": (gzip.compress(GOOD + b"\0"), "should hold 6 bytes .* but holds more"),
    "half a gzip": (gzip.compress(GOOD)[:-4], "damaged gzip"),
    "a gzip's head": (gzip.compress(GOOD)[:5], "damaged gzip"),
    "a gzip with a wrong checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "damaged gzip"),
    "a gzip with a wrong block": (gzip.compress(GOOD)[:10] + b"\xff" * 20, "damaged gzip"),
    "a gzip and more": (gzip.compress(GOOD) + b"more", "damaged gzip"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    data, message = FAULTS[fault]
    path = tmp_path / "some.idx"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        idx.read(path)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(DataError, match=message):
        idx.decode(data, "some.idx")


@pytest.mark.parametrize("fault", ["text", "too short", "too long", "half a header", "an overflowing promise"])
def test_memory_map_checks_as_well(tmp_path: Path, fault: str) -> None:
    (tmp_path / "a").write_bytes(FAULTS[fault][0])
    with pytest.raises(DataError, match=str(tmp_path / "a")):
        idx.memory_map(tmp_path / "a")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing cannot be read: No such file"):
        idx.read(tmp_path / "missing")
    with pytest.raises(DataError, match="is a folder"):
        idx.read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        idx.read(tmp_path / "pipe")


def test_max_bytes_is_the_callers(tmp_path: Path) -> None:
    idx.write(tmp_path / "a", np.zeros(100, "uint8"))
    assert idx.read(tmp_path / "a", max_bytes=100).size == 100
    with pytest.raises(DataError, match="more than the 99 bytes allowed"):
        idx.read(tmp_path / "a", max_bytes=99)


@pytest.mark.parametrize("promise", [16, 60_000_000], ids=["a bomb", "an empty promise"])
def test_no_memory_for_false_promises(tmp_path: Path, promise: int) -> None:
    """A gzip of 60 MB of zeros in 60 kB is not inflated beyond its promise; a large promise alone takes nothing."""
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(header(8, promise) + bytes(60_000_000 if promise == 16 else 16), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="but holds"):
            idx.read(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_gzip_becomes_so_many_times_its_size_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers are packed to their own size, zeros to a thousandth: only the latter is in doubt."""
    assert idx.MAX_INFLATED == 64 << 20 > 60_000 * 28 * 28  # MNIST's size, however well it is packed
    monkeypatch.setattr(idx, "MAX_INFLATED", 1 << 20)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(header(8, 2 << 20) + bytes(2 << 20)))
    assert path.stat().st_size < 4_000
    message = (
        "declares uint8 .*: more than the 1,048,576 bytes allowed for a gzip of its size; .* unpack it with gunzip"
    )
    with pytest.raises(DataError, match=message):
        idx.read(path)
    with pytest.raises(DataError, match=message):
        idx.header(path)
    assert not idx.read(path, max_bytes=2 << 20).any()  # the caller knows better
    numbers = np.random.default_rng(0).integers(0, 256, 5 << 18, np.uint8)
    path.write_bytes(gzip.compress(idx.encode(numbers), 1))
    np.testing.assert_array_equal(idx.read(path), numbers)


@pytest.mark.parametrize("packed", [False, True])
def test_the_header_alone(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("a.gz" if packed else "a")
    idx.write(path, np.zeros((3, 4), "int16"))
    assert idx.header(path) == (np.dtype("int16"), (3, 4))
    if packed:  # the rest may be missing
        path.write_bytes(path.read_bytes()[:-9])
        assert idx.header(path)[1] == (3, 4)
    else:
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DataError, match="should hold 24 bytes"):
            idx.header(path)
    with pytest.raises(DataError, match="missing cannot be read"):
        idx.header(tmp_path / "missing")


@pytest.mark.parametrize("dtype", ["int64", "uint16", "bool", "float16", "complex64", "U3", "object"])
def test_types_that_the_format_lacks(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(DataError, match=r"IDX has no type for .*: it has uint8, int8, int16, int32, float32, float64"):
        idx.write(tmp_path / "a", np.zeros(3, dtype))
    assert list(tmp_path.iterdir()) == []


def test_a_dimension_beyond_32_bits() -> None:
    with pytest.raises(DataError, match="dimensions are limited to 32 bits"):
        idx.encode(np.broadcast_to(np.uint8(0), (1 << 32,)))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, fill_disk: Callable[[], None]) -> None:
    path = tmp_path / "a"
    idx.write(path, np.zeros(3, "uint8"))
    fill_disk()
    with pytest.raises(OSError, match="No space"):
        idx.write(path, np.ones(9, "uint8"))
    assert idx.read(path).tolist() == [0, 0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_import_is_cheap() -> None:
    """The package brings in nothing that is needed only to unpack or to download."""
    code = (
        "import sys, numpy; before = set(sys.modules); import chainrule.data;"
        "heavy = {'pooch', 'requests', 'platformdirs', 'filelock', 'lzma', 'gzip', 'rich', 'tempfile'};"
        "print(sorted((set(sys.modules) - before) & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
