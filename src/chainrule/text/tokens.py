"""Tokens as arrays of integers: their type, and their check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Tokens = NDArray[np.integer[Any]]


def token_type(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest integer type for tokens below `vocab_size` that an IDX file can hold."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.int16 if vocab_size <= 1 << 15 else np.int32)


def check_tokens(tokens: Sequence[int] | Tokens, vocab_size: int) -> None:
    """Check that tokens are from 0 to `vocab_size` - 1.

    Raises:
        ValueError: one is not; the message names it.
    """
    array = np.asarray(tokens)
    if array.size and (array.min() < 0 or array.max() >= vocab_size):
        wrong = array[(array < 0) | (array >= vocab_size)][0]
        raise ValueError(f"decode: the tokens must be from 0 to {vocab_size - 1}, not {wrong}")
