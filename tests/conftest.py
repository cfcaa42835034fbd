"""What several rooms' tests share: poisoned memory; a small data set of pictures that a network learns in a moment."""

from __future__ import annotations

import errno
import importlib.util
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from . import poison

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.data import ImageData


def pytest_configure(config: pytest.Config) -> None:
    """Where PyTorch is promised (`make test`), its tests are not left out because it is missing."""
    missing = [name for name in ("torch", "expecttest") if importlib.util.find_spec(name) is None]
    if os.environ.get("CHAINRULE_ORACLE") == "1" and missing:
        raise pytest.UsageError(f"{' and '.join(missing)} cannot be imported; make test TORCH=0 does without")


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds nothing useful before results are written into it (see `tests.poison`)."""
    poison.install(monkeypatch)


@pytest.fixture(autouse=True)
def compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test in which Numba gave up leaves no other one in plain NumPy, where it would compare NumPy with itself."""
    monkeypatch.setattr("chainrule.kernels.compile._compiles", True)


@pytest.fixture(scope="session")
def make_digits() -> Callable[..., ImageData]:
    """Makes `ImageData` of noisy pictures of ten shapes, 300 to learn from and 60 for the test unless told otherwise."""
    from chainrule.data import ImageData

    def make(name: str = "toy", train: int = 300, test: int = 60, side: int = 12, classes: int = 10) -> ImageData:
        random = np.random.default_rng(1)
        shapes = random.random((classes, side, side)) < 0.3  # which pixels are ink

        def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
            labels = np.arange(count, dtype=np.uint8) % classes
            ink = 200 * shapes[labels] + random.normal(0, 60, (count, side, side))
            return ink.clip(0, 255).astype(np.uint8), labels

        return ImageData(name, tuple(map(str, range(classes))), *pictures(train), *pictures(test))

    return make


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on nothing more fits on the disk: whatever is flushed to it fails."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "fsync", full)


@pytest.fixture(scope="session")
def digits(make_digits: Callable[..., ImageData]) -> ImageData:
    """300 + 60 pictures of 12×12 in ten classes."""
    return make_digits()
