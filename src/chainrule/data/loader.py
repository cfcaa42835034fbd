"""DataLoader: a data set in batches, shuffled if wanted, and able to go on where it was stopped."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.random import default_generator
from chainrule.tensor import as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from chainrule.data.dataset import TensorDataset
    from chainrule.tensor import Tensor


class DataLoader:
    """Goes through a data set once for each `for batch in loader`.

    Each batch is one vectorised gather, never one example at a time.

    Args:
        dataset: what to go through.
        batch_size: examples a batch; the last may be smaller.
        shuffle: in a new order each time.
        drop_last: leave out a last batch that is smaller.
        generator: where the orders come from. For an exact resume it must be the loader's own, for its state is kept
            with the loader's; left out, it is the default generator.
        augment: called with the first array of each batch and a generator of that batch's own, returns what to use in
            the array's place, such as `Augment(shift=2)`. The batch's place in its pass decides what its generator
            draws, so a loader that goes on after a stop gives the same pictures.

    Raises:
        ValueError: a batch size below 1.
        TypeError: one that is no whole number, or something else than a data set or a generator.
    """

    def __init__(
        self,
        dataset: TensorDataset,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        generator: np.random.Generator | None = None,
        augment: Callable[[NDArray[Any], np.random.Generator], NDArray[Any]] | None = None,
    ) -> None:
        if not isinstance(batch_size, (int, np.integer)):
            raise TypeError(f"DataLoader: batch_size must be a whole number, not {batch_size!r}")
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(f"DataLoader: takes a data set, such as a TensorDataset, not {type(dataset).__name__}")
        if not isinstance(generator, (np.random.Generator, NoneType)):
            raise TypeError(f"DataLoader: generator must be one of NumPy's, not {type(generator).__name__}")
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, got {batch_size}")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.augment, self._draws = augment, shuffle or augment is not None
        self.generator = generator if generator is not None or not self._draws else default_generator()
        self._position = 0  # batches handed out in this pass
        self._before: dict[str, Any] | None = None  # the generator's state before this pass

    def __len__(self) -> int:
        """The number of batches."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        first = self._position if self._before is None else 0  # a position without a pass under way was loaded
        self._before, order, seed = {}, np.arange(len(self.dataset)), 0
        if self._draws and self.generator is not None:
            self._before = dict(self.generator.bit_generator.state)
            order = self.generator.permutation(order) if self.shuffle else order
            seed = int(self.generator.integers(2**63)) if self.augment else 0
        for batch in range(first, len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            self._position = batch + 1
            yield self._augmented(self.dataset[chosen], (seed, batch))
        self._position, self._before = 0, None

    def _augmented(self, batch: tuple[Tensor, ...], seeds: tuple[int, int]) -> tuple[Tensor, ...]:
        if self.augment is None:
            return batch
        return as_tensor(self.augment(batch[0].numpy(), np.random.default_rng(seeds))), *batch[1:]

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: enough to hand out the rest of this pass, and all later ones, again."""
        state = self._before
        if state is None and self._draws and self.generator is not None:
            state = dict(self.generator.bit_generator.state)
        return {"position": self._position, "generator": state or None}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state: the next pass starts at its position.

        Raises:
            ValueError: a position past the end, a generator's state for a loader that draws nothing or has another
                kind of generator; nothing is changed then.
        """
        position, state = state_dict["position"], state_dict["generator"]
        within = isinstance(position, int) and 0 <= position <= len(self)
        if not within or (state is None) == self._draws:
            raise ValueError(
                f"DataLoader: the state (position {position}, {'not ' if state is None else ''}shuffled) does not fit "
                f"{len(self)} batches, {'' if self._draws else 'not '}shuffled"
            )
        if state is not None and self.generator is not None:
            self.generator.bit_generator.state = dict(state)
        self._position, self._before = position, None
