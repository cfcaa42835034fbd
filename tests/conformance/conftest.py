"""Fixtures of the comparisons with PyTorch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Run PyTorch on one thread: for these small sizes its threads would mostly wait for each other."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Compare a Tensor with PyTorch's: shape, type, and values within `relative` times PyTorch's largest finite value."""

    def check(ours: Any, theirs: Any, relative: float, what: str = "") -> None:
        one, two = ours.numpy() if hasattr(ours, "numpy") else np.asarray(ours), theirs.detach().numpy()
        assert (one.shape, one.dtype) == (two.shape, two.dtype), what
        with np.errstate(invalid="ignore"):
            if two.dtype != bool and np.abs(one - two).max(initial=0) <= relative * np.abs(two).max(initial=0) < np.inf:
                return
        finite = np.abs(two[np.isfinite(two)])
        np.testing.assert_allclose(one, two, rtol=0, atol=relative * float(finite.max(initial=0)), err_msg=what)

    return check
