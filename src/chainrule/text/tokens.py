"""Tokens as arrays of integers: the choice of their dtype, and a check of their range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Tokens = NDArray[np.integer[Any]]


def token_type(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest integer type of IDX files that holds all tokens below `vocab_size`."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.int16 if vocab_size <= 1 << 15 else np.int32)


def check_tokens(tokens: Sequence[int] | Tokens, vocab_size: int) -> None:
    """Check the tokens passed to `decode`: they must be from 0 to `vocab_size` - 1.

    Raises:
        ValueError: a token is out of range; the message names it.
    """
    array = np.asarray(tokens)
    if array.size and (array.min() < 0 or array.max() >= vocab_size):
        invalid = array[(array < 0) | (array >= vocab_size)][0]
        raise ValueError(f"decode: the tokens must be from 0 to {vocab_size - 1}, not {invalid}")
