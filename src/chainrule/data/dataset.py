"""A data set: Tensors that belong together along their first dimension, such as images and their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.kernels.rows import gather_scaled
from chainrule.tensor import Tensor, as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


class TensorDataset:
    """Examples by their index; many are taken at once by one gather for each Tensor.

    Args:
        tensors: Tensors or arrays of one length N; memory is shared, also with a file that an array is mapped to.
        scale: makes float32 of the first one's numbers as they are taken, each times this: 1/255 for pixels in bytes.
        transform: called with the Tensors of a batch, returns what to use in their place.

    Raises:
        ValueError: no tensors, or they differ in length.
    """

    def __init__(
        self, *tensors: Tensor | ArrayLike, scale: float | None = None,
        transform: Callable[..., tuple[Tensor, ...]] | None = None,
    ) -> None:  # fmt: skip
        self.tensors = tuple(as_tensor(t) for t in tensors)
        lengths = [len(t) for t in self.tensors]
        if len(set(lengths)) != 1:
            raise ValueError(f"TensorDataset: needs tensors of one length, got lengths {lengths}")
        self.scale, self.transform = scale, transform

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """The example at an index, or those at several: `dataset[3]`, `dataset[2:5]`, `dataset[[0, 7]]`."""
        chosen = index._data if isinstance(index, Tensor) else index
        if isinstance(chosen, (list, tuple)):
            chosen = np.asarray(chosen, None if len(chosen) else np.int64)
        if mode.trace is not None and getattr(chosen, "dtype", None) != np.bool_:  # each run is to take them anew
            at = index if isinstance(index, Tensor) else chosen
            batch = tuple([t.detach()[at] for t in self.tensors])
            if self.scale is not None:
                batch = batch[0].to(np.float32) * self.scale, *batch[1:]
        else:
            arrays = [self._taken(t._data, chosen, first=i == 0) for i, t in enumerate(self.tensors)]
            batch = tuple([Tensor._wrap(array) for array in arrays])
        return batch if self.transform is None else self.transform(*batch)

    def _taken(self, array: NDArray[Any], chosen: Any, *, first: bool) -> NDArray[Any]:
        if self.scale is None or not first:
            return np.asarray(array[chosen])
        if isinstance(chosen, np.ndarray) and chosen.ndim == 1 and chosen.dtype == np.int64:
            return gather_scaled(array, chosen, self.scale)
        return np.asarray(np.multiply(array[chosen], np.float32(self.scale), dtype=np.float32))
