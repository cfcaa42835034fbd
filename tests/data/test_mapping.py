"""Memory-mapped files: found behind views, checked before they are read, passed through in pieces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chainrule.data import idx, mapping, npy
from chainrule.data.dataset import TensorDataset
from chainrule.data.loader import DataLoader
from chainrule.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", np.arange(60_000, dtype=np.uint16).reshape(-1, 3))
    return tmp_path / "a.npy"


def test_files_are_found_behind_views(tmp_path: Path, path: Path) -> None:
    idx.write(tmp_path / "b", np.zeros((5, 2), "uint8"))
    first, second = npy.memory_map(path), idx.memory_map(tmp_path / "b")
    files = mapping.mapped_files(first[3:].view()[::2], np.zeros(3), second.reshape(-1)[1:])
    assert [file.path for file in files] == [str(path), str(tmp_path / "b")]
    assert mapping.mapped_files(np.array(first), first + 1) == []


def test_a_file_that_shrinks_is_noticed_before_it_is_read(path: Path) -> None:
    """Reading a page that is not there any more would end the process."""
    size = path.stat().st_size
    mapped = npy.memory_map(path)
    batches = iter(DataLoader(TensorDataset(mapped), 100))
    next(batches)
    os.truncate(path, size - 1)
    with pytest.raises(DataError, match=rf"a.npy has shrunk from {size:,} to {size - 1:,} bytes while in use"):
        next(batches)
    os.truncate(path, size)
    assert next(batches)[0].tolist()[0] == [300, 301, 302]


def test_a_file_may_be_replaced_by_renaming_and_may_grow(tmp_path: Path, path: Path) -> None:
    mapped = npy.memory_map(path)
    np.save(tmp_path / "new.npy", np.zeros((2, 3), np.uint16))
    (tmp_path / "new.npy").replace(path)
    dataset = TensorDataset(mapped)
    np.testing.assert_array_equal(dataset[[1, 19_999]][0].numpy(), [[3, 4, 5], [59_997, 59_998, 59_999]])
    np.save(tmp_path / "b.npy", np.zeros(3))
    mapped = npy.memory_map(tmp_path / "b.npy")
    with (tmp_path / "b.npy").open("ab") as file:
        file.write(b"more")
    assert TensorDataset(mapped)[2][0].item() == 0


@pytest.mark.parametrize("dtype", ["uint8", "<i4", ">i4", ">f8"])
@pytest.mark.parametrize("shape", [(0,), (7,), (7, 5), (1, 3), (3, 0)])
def test_pieces_are_all_of_it_in_native_order(monkeypatch: pytest.MonkeyPatch, dtype: str, shape: tuple) -> None:
    monkeypatch.setattr(mapping, "_CHUNK", 64)
    array = np.random.default_rng(0).integers(0, 99, shape).astype(dtype)
    pieces = list(mapping.chunks(array))
    assert b"".join(piece.tobytes() for piece in pieces) == array.astype(array.dtype.newbyteorder("=")).tobytes()
    assert all(piece.dtype.isnative and piece.nbytes <= 64 for piece in pieces)
