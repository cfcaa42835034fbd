"""Batches of examples from arrays or sparse matrices, and chunks for predictions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from chainrule.tensor import Tensor

MAX_ELEMENTS = 1 << 22
"""Limit on the elements of the input, and of the output of any layer, for one chunk of a prediction."""


class _Memory:
    """The memory that all batches of one size share, and the Tensors that a step takes.

    A step checks its arguments faster if they are the same Tensors each time, and the batch stays in the cache.
    """

    def __init__(self, size: int, shape: Sequence[int], y: NDArray[Any], is_weighted: bool, dtype: Any) -> None:
        self.x, self.y = np.empty((size, math.prod(shape)), dtype), np.empty((size, *y.shape[1:]), y.dtype)
        self.weight = np.empty(size, dtype) if is_weighted else None
        self.decay = np.empty((), dtype)
        self.tensors = (
            from_numpy(self.x.reshape(size, *shape)),
            from_numpy(self.y),
            None if self.weight is None else from_numpy(self.weight),
            from_numpy(self.decay),
        )


class Batches:
    """Makes the batches of each pass.

    Args:
        x: examples (N, features), an array or a CSR matrix, from which each batch is made dense.
        y: targets, (N,) or (N, outputs).
        weight: weights of the examples (N,), or None.
        batch_size: examples per batch; the last batch of a pass may be smaller.
        alpha: strength of the penalty, which is divided by the weight of a batch.
        shape: the shape of one example for the network.
        dtype: the type of the network's numbers.
    """

    def __init__(
        self, x: Any, y: NDArray[Any], weight: NDArray[Any] | None, *,
        batch_size: int, alpha: float, shape: Sequence[int], dtype: Any,
    ) -> None:  # fmt: skip
        y = y.astype(dtype, copy=False) if y.dtype.kind == "f" else y  # indices of classes remain integers
        self.x, self.y, self.weight, self.batch_size, self.alpha = x, y, weight, batch_size, alpha
        sizes = {min(batch_size, x.shape[0]), x.shape[0] % batch_size} - {0}
        self.memory = {size: _Memory(size, shape, y, weight is not None, dtype) for size in sizes}
        self.is_direct = not sparse.issparse(x) and x.dtype == dtype

    def one_pass(self, order: NDArray[np.intp]) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor | None, Tensor]]]:
        """Yield the size of each batch and the arguments of a step; skip batches whose weights are all 0.

        The arguments are overwritten by the next batch.

        Args:
            order: indices of the examples.
        """
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            size: int = len(rows)
            memory, total = self.memory[size], float(size)
            if self.weight is not None:
                weight = self.weight[rows]
                total = weight.sum()
                if total == 0:
                    continue
                memory.weight[...] = weight / total  # type: ignore[index]  # there are weights
            memory.decay[...] = self.alpha / total
            if self.is_direct:
                self.x.take(rows, 0, memory.x, "clip")  # "raise" would need a buffer
            else:
                memory.x[...] = _dense(self.x[rows])
            self.y.take(rows, 0, memory.y, "clip")
            yield size, memory.tensors


def chunks(x: Any, shape: Sequence[int], widest: int, dtype: Any) -> Iterator[NDArray[Any]]:
    """Yield chunks of consecutive rows of an array or sparse matrix, made dense, that limit the memory of a prediction.

    Args:
        x: examples (N, features).
        shape: the shape of one example for the network.
        widest: the largest number of elements that a layer computes for one example.
        dtype: the type of the network's numbers.
    """
    count = max(1, MAX_ELEMENTS // max(1, math.prod(shape), widest))
    for start in range(0, x.shape[0], count):
        part = np.ascontiguousarray(_dense(x[start : start + count]), dtype)
        yield part.reshape(len(part), *shape)


def _dense(x: Any) -> NDArray[Any]:
    dense: NDArray[Any] = x.toarray() if sparse.issparse(x) else x
    return dense
