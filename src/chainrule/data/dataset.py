"""TensorDataset: Tensors with a common first dimension, such as images and labels; Dataset: a loader's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.data.mapping import check_files, mapped_files
from chainrule.kernels.rows import gather_scaled
from chainrule.tensor import Tensor, as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


class Dataset(Protocol):
    """Examples that are indexed in batches."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """Return the examples at an array of indices or a slice, as Tensors with a common first dimension."""


class TensorDataset:
    """A data set of Tensors, indexed by example; a batch is one gather per Tensor.

    Args:
        tensors: Tensors or arrays of the same length N; they are not copied. A batch reads only its own examples from a
            memory-mapped file (`idx.memory_map`, `npy.memory_map`).
        scale: factor by which the first Tensor of a batch is multiplied, in float32, such as 1/255 for uint8 pixels.
        transform: called with the Tensors of a batch; returns the tuple of Tensors to use instead.

    Raises:
        ValueError: there are no tensors, or their lengths differ.
    """

    def __init__(
        self, *tensors: Tensor | ArrayLike, scale: float | None = None,
        transform: Callable[..., tuple[Tensor, ...]] | None = None,
    ) -> None:  # fmt: skip
        self._columns = tuple(_as_column(t) for t in tensors)
        self._files = mapped_files(*(_as_array(column) for column in self._columns))
        lengths = [len(column) for column in self._columns]
        if len(set(lengths)) != 1:
            raise ValueError(f"TensorDataset: needs tensors of the same length, got lengths {lengths}")
        self.scale, self.transform = scale, transform

    def __len__(self) -> int:
        return len(self._columns[0])

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All data as Tensors; an array that is not in native byte order is copied."""
        return tuple(as_tensor(column) for column in self._columns)

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """Return the example or examples at an index: `dataset[3]`, `dataset[2:5]`, `dataset[[0, 7]]`.

        Raises:
            IndexError: an index is out of range.
            DataError: a memory-mapped file has become shorter.
        """
        raw_index = index._data if isinstance(index, Tensor) else index
        if isinstance(raw_index, (list, tuple)):
            raw_index = np.asarray(raw_index, None if len(raw_index) else np.int64)
        if mode.trace is not None and getattr(raw_index, "dtype", None) != np.bool_:  # record the gather in the program
            recorded_index = index if isinstance(index, Tensor) else raw_index
            batch = tuple([t.detach()[recorded_index] for t in self.tensors])
            if self.scale is not None:
                batch = batch[0].to(np.float32) * self.scale, *batch[1:]
        else:
            check_files(self._files)
            columns = [_as_array(column) for column in self._columns]
            arrays = [self._gather(array, raw_index, is_first=i == 0) for i, array in enumerate(columns)]
            batch = tuple([Tensor._wrap(array) for array in arrays])
        return batch if self.transform is None else self.transform(*batch)

    def _gather(self, array: NDArray[Any], index: Any, *, is_first: bool) -> NDArray[Any]:
        if self.scale is None or not is_first:
            examples = np.asarray(array[index])
            return examples if array.dtype.isnative else examples.astype(array.dtype.newbyteorder("="))
        is_list = isinstance(index, np.ndarray) and index.ndim == 1 and index.dtype == np.int64
        if (
            is_list and array.dtype.isnative and array.flags.c_contiguous
        ):  # the kernel would copy the whole of any other array
            return gather_scaled(array, index, self.scale)
        return np.asarray(np.multiply(array[index], np.float32(self.scale), dtype=np.float32))


def _as_column(data: Tensor | ArrayLike) -> Tensor | NDArray[Any]:
    """Return data as a Tensor; an array in a foreign byte order stays an array, since a Tensor would be a copy."""
    if isinstance(data, np.ndarray) and data.dtype.kind in "biuf" and not data.dtype.isnative:
        return data
    return as_tensor(data)


def _as_array(column: Tensor | NDArray[Any]) -> NDArray[Any]:
    return column._data if isinstance(column, Tensor) else column
