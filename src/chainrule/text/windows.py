"""TokenWindows: a text as a data set of windows, with the same windows shifted by one token as targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.mapping import check_files, mapped_files
from chainrule.errors import DataError, check_integer
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class TokenWindows:
    """All windows of a text: the inputs of example i are the T tokens from i on, the targets those from i + 1 on.

    A `DataLoader` with `shuffle=True` and `num_samples` draws windows from anywhere in the text.

    Args:
        tokens: the tokens, integers (N,); they are not copied, even from a memory-mapped file.
        block_size: T, the number of tokens per window.
        name: the text's name, for messages.

    Raises:
        DataError: the text has fewer than T + 1 tokens.
        ValueError: the tokens are not integers in one dimension, or `block_size` is below 1.

        from chainrule.text import TokenWindows

        inputs, targets = TokenWindows([4, 8, 15, 16, 23, 42], block_size=3)[[0, 2]]
        inputs.tolist()  # [[4, 8, 15], [15, 16, 23]]
        targets.tolist()  # [[8, 15, 16], [16, 23, 42]]
    """

    def __init__(self, tokens: ArrayLike, block_size: int, name: str = "the text") -> None:
        self.tokens: NDArray[Any] = np.asarray(tokens)
        if self.tokens.ndim != 1 or self.tokens.dtype.kind not in "iu":
            raise ValueError(
                f"TokenWindows: takes integers in one dimension, not {self.tokens.dtype} of shape {self.tokens.shape}"
            )
        check_integer("TokenWindows", "block_size", block_size, minimum=1)
        self.block_size = block_size
        if len(self.tokens) <= block_size:
            raise DataError(
                f"{name}: has {len(self.tokens):,} tokens, too few for a window of {block_size:,} and the token that "
                f"follows; use a longer text"
            )
        self._files = mapped_files(self.tokens)
        self._offsets = np.arange(block_size + 1)

    def __len__(self) -> int:
        return len(self.tokens) - self.block_size

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        """Return the windows that start at N indices: inputs and targets, (N, T), int64; for one index, (T,).

        Raises:
            DataError: the memory-mapped file of the tokens has become shorter.
            IndexError: no window starts at an index.
        """
        starts = np.asarray(range(len(self))[index] if isinstance(index, slice) else index)
        if starts.dtype.kind == "b":
            raise IndexError("TokenWindows: the index must be integers, not booleans")
        if starts.size and not (-len(self) <= starts.min() and starts.max() < len(self)):
            raise IndexError(f"TokenWindows: the index must be from 0 to {len(self) - 1:,}, not {index!r}")
        starts = np.where(starts < 0, starts + len(self), starts)
        check_files(self._files)
        windows = self.tokens[starts[..., None] + self._offsets].astype(np.int64)  # (N, T + 1)
        return from_numpy(windows[..., :-1].copy()), from_numpy(windows[..., 1:].copy())
