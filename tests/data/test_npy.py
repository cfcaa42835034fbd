"""`.npy` files: what NumPy saves is mapped, everything else is refused in one sentence, and no code in a file is run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chainrule.data import npy
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DTYPES = ["bool", "uint8", "int16", ">i4", "uint64", "float16", ">f4", "float64"]


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 0, 2), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_maps_what_numpy_saves(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(0).integers(0, 100, shape)).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    mapped = npy.memory_map(tmp_path / "a.npy")
    assert npy.header(tmp_path / "a.npy") == (array.dtype, shape)
    assert (mapped.dtype, mapped.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(mapped, array)
    assert not mapped.flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format(tmp_path: Path, version: tuple[int, int]) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, np.arange(6.0).reshape(2, 3), version)
    np.testing.assert_array_equal(npy.memory_map(tmp_path / "a.npy"), [[0, 1, 2], [3, 4, 5]])


def test_reads_the_pages_of_the_file_itself(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(5, np.uint8))
    mapped = npy.memory_map(tmp_path / "a.npy")
    with (tmp_path / "a.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    assert mapped.tolist() == [0, 0, 0, 0, 7]


class Runs:
    """Writes a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def header(text: str, *, magic: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    return magic + len(text).to_bytes(2, "little") + text.encode()


def saved(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


def written(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data)  # type: ignore[return-value]


FORTRAN = np.asfortranarray(np.zeros((3, 4)))
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (written(b"0 1 2\n"), "is not a .npy file: it does not begin with the bytes of numpy.save"),
    "nothing": (written(b""), "is not a .npy file"),
    "the magic alone": (written(b"\x93NUMPY"), "is not a .npy file"),
    "half a header": (
        written(header("{'descr': '|u1',")[:14]),
        "has a damaged header: numpy.load could not read it either",
    ),
    "an unknown version": (
        written(header("{}", magic=b"\x93NUMPY\x09\x02")),
        "has version 9.2 of the format, and 1.0 to 3.0 are known",
    ),
    "no dictionary": (written(header("7")), "has a damaged header"),
    "code": (written(header("__import__('os').abort()")), "has a damaged header: numpy.load could not"),
    "nested": (written(header("(" * 9000)), "has a damaged header"),
    "an unknown dtype": (
        written(header("{'descr': 'nonsense', 'fortran_order': False, 'shape': (1,)}")),
        "has a damaged header",
    ),
    "a negative shape": (
        written(header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}")),
        r"has a damaged header: its shape is \(-1,\)",
    ),
    "a promise": (
        written(header("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,)}")),
        r"should hold 99,999,999,999,999 bytes of uint8 of shape \(99999999999999,\) but holds 0",
    ),
    "Fortran order": (saved(FORTRAN), r"is in Fortran order: save numpy.ascontiguousarray\(array\)"),
    "complex": (saved(np.zeros(2, "complex64")), "holds complex64: it must hold booleans, integers or floats"),
    "text in it": (saved(np.array(["a"])), "holds <U1: it must"),
    "records": (saved(np.zeros(2, [("x", "i4")])), r"holds \[\('x', '<i4'\)\]: it must"),
    "dates": (saved(np.zeros(2, "datetime64[s]")), r"holds datetime64\[s\]: it must"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    write, message = FAULTS[fault]
    path = tmp_path / "a.npy"
    write(path)
    for read in (npy.memory_map, npy.header):
        with pytest.raises(DataError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path} ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [-1, 1])
def test_the_length_must_be_that_of_the_header(tmp_path: Path, change: int) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((3, 4), "int16"))
    os.truncate(path, path.stat().st_size + change)
    with pytest.raises(DataError, match=rf"should hold 24 bytes of int16 of shape \(3, 4\) but holds {24 + change}"):
        npy.memory_map(path)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Runs(tmp_path / "ran")], object), allow_pickle=True)
    with pytest.raises(DataError, match="holds Python objects, which only pickle could read, and pickle is never read"):
        npy.memory_map(tmp_path / "a.npy")
    assert not (tmp_path / "ran").exists()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing.npy cannot be read: No such file"):
        npy.memory_map(tmp_path / "missing.npy")
    with pytest.raises(DataError, match="is a folder"):
        npy.memory_map(tmp_path)
