from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def cache() -> None:
    """Replace the fixture of tests/data: use the user's cache folder, so that MNIST is not unpacked for each test."""
