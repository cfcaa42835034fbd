from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def cache() -> None:
    """The user's cache folder, unlike in the folder above: MNIST need not be unpacked again for each test."""
