from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chainrule.data import idx
from chainrule.data.image_data import FILES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder that is used instead of the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CHAINRULE_CACHE", str(folder))
    return folder


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """A data set like MNIST, but tiny: 12 + 4 images of 5×4 in 3 classes."""
    random = np.random.default_rng(5)
    shapes = ((12, 5, 4), (12,), (4, 5, 4), (4,))
    return {
        file: random.integers(0, 256 if len(shape) == 3 else 3, shape).astype("uint8")
        for file, shape in zip(FILES, shapes, strict=True)
    }


@pytest.fixture
def files(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The data set's IDX files: their bytes by name."""
    return {file: idx.encode(array) for file, array in arrays.items()}


@pytest.fixture
def sums(files: dict[str, bytes]) -> dict[str, str]:
    """The SHA-256 of the IDX files by name."""
    return {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
