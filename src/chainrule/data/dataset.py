"""A data set: Tensors that belong together along their first dimension, such as images and their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.tensor import Tensor, as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike


class TensorDataset:
    """Examples by their index; many are taken at once by one gather for each Tensor.

    Args:
        tensors: Tensors or arrays of one length N; memory is shared, also with a file that an array is mapped to.
        transform: called with the Tensors of a batch, returns what to use in their place: scaling, augmentation.

    Raises:
        ValueError: no tensors, or they differ in length.
    """

    def __init__(
        self, *tensors: Tensor | ArrayLike, transform: Callable[..., tuple[Tensor, ...]] | None = None
    ) -> None:
        self.tensors = tuple(as_tensor(t) for t in tensors)
        lengths = [len(t) for t in self.tensors]
        if len(set(lengths)) != 1:
            raise ValueError(f"TensorDataset: needs tensors of one length, got lengths {lengths}")
        self.transform = transform

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """The example at an index, or those at several: `dataset[3]`, `dataset[2:5]`, `dataset[[0, 7]]`."""
        chosen = index._data if isinstance(index, Tensor) else index
        if isinstance(chosen, (list, tuple)):
            chosen = np.asarray(chosen, None if len(chosen) else np.int64)
        batch = tuple(Tensor._wrap(np.asarray(t._data[chosen])) for t in self.tensors)
        return batch if self.transform is None else self.transform(*batch)
