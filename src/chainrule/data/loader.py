"""DataLoader: a data set in batches, shuffled if wanted, and able to go on where it was stopped."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from chainrule.random import default_generator
from chainrule.tensor import as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from chainrule.data.dataset import TensorDataset
    from chainrule.tensor import Tensor


class DataLoader:
    """Goes through a data set once for each `for batch in loader`.

    Each batch is one vectorized gather, never one example at a time.

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
        ValueError: a batch size below 1, or nothing to shuffle.
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
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__") or isinstance(dataset, (list, tuple)):
            raise TypeError(f"DataLoader: takes a data set, such as a TensorDataset, not {type(dataset).__name__}")
        if not isinstance(generator, (np.random.Generator, NoneType)):
            raise TypeError(f"DataLoader: generator must be one of NumPy's, not {type(generator).__name__}")
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, got {batch_size}")
        if shuffle and not len(dataset):
            raise ValueError("DataLoader: there are no examples to shuffle; give some, or leave shuffle=True out")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.augment, self._draws = augment, shuffle or augment is not None
        self.generator = generator if generator is not None or not self._draws else default_generator()
        self._loaded: BatchIterator | None = None  # the pass of a state that was loaded, for the next to iterate
        self._passes: WeakSet[BatchIterator] = WeakSet()  # under way; one that nobody holds any more is not

    def __len__(self) -> int:
        """The number of batches."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> BatchIterator:
        """Begin a pass, or the rest of the one whose state was loaded."""
        batches, self._loaded = self._loaded or BatchIterator(self), None
        return batches

    def state_dict(self) -> dict[str, Any]:
        """The position in the pass under way: enough to hand out its rest, and all later passes, again.

        Raises:
            RuntimeError: several passes are under way, each with a position of its own.
        """
        if len(self._passes) > 1:
            raise RuntimeError(
                f"DataLoader: {len(self._passes)} passes are under way, each with a position of its own; take the "
                f"state of the one to resume: batches = iter(loader), then batches.state_dict()"
            )
        for batches in self._passes:
            return batches.state_dict()
        return {"position": 0, "generator": self._generator_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from a state, a loader's or an iterator's: the next pass starts at its position.

        Passes that were under way before keep their own positions, and no longer count as the loader's.

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
        current = state_dict.get("current")
        if state is not None and self.generator is not None:
            before = self.generator.bit_generator.state
            try:
                for saved in (state, current):  # the first is needed when the pass begins: see now if it fits
                    if saved is not None:
                        self.generator.bit_generator.state = dict(saved)
            except Exception:
                self.generator.bit_generator.state = before
                raise
        self._passes.clear()
        under_way = position > 0 or current is not None
        self._loaded = BatchIterator(self, state_dict) if under_way else None

    def _generator_state(self) -> dict[str, Any] | None:
        """What the generator draws from next, or None for a loader that draws nothing."""
        return dict(self.generator.bit_generator.state) if self._draws and self.generator is not None else None


class BatchIterator:
    """One pass over a loader's data set, as `iter(loader)` gives it. Passes may run inside each other.

    The order is drawn when the first batch is asked for.

    Args:
        loader: whose batches to hand out.
        state: of a pass to resume; None for a new one.

    Attributes:
        loader: the same.
        position: how many batches have been handed out; set it back to have some again.
    """

    def __init__(self, loader: DataLoader, state: Mapping[str, Any] | None = None) -> None:
        self.loader, self.position = loader, 0 if state is None else int(state["position"])
        self._start: dict[str, Any] | None = None  # the generator's state before this pass
        self._keep_current = False  # whether the generator's own state is already that after this pass's draws
        self._order: NDArray[np.int64] | None = None
        self._batch_size = self._length = self._seed = 0
        if state is not None:
            self._start, self._keep_current = state["generator"], state.get("current") is not None
            loader._passes.add(self)

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> tuple[Tensor, ...]:
        order = self._begin() if self._order is None else self._order
        if self.position >= self._length:
            self.loader._passes.discard(self)
            raise StopIteration
        start = self.position * self._batch_size
        batch = self.loader.dataset[order[start : start + self._batch_size]]
        if self.loader.augment is not None:
            generator = np.random.default_rng((self._seed, self.position))
            batch = as_tensor(self.loader.augment(batch[0].numpy(), generator)), *batch[1:]
        self.position += 1
        return batch

    def _begin(self) -> NDArray[np.int64]:
        """Draw the order; that of a resumed pass once more, from the state in which the generator was then."""
        loader, generator = self.loader, self.loader.generator
        order, self._length, self._batch_size = np.arange(len(loader.dataset)), len(loader), loader.batch_size
        if loader._draws and generator is not None:
            current = generator.bit_generator.state
            if self._start is None:
                self._start = dict(current)
            generator.bit_generator.state = dict(self._start)
            order = generator.permutation(order) if loader.shuffle else order
            self._seed = int(generator.integers(2**63)) if loader.augment else 0
            if self._keep_current:
                generator.bit_generator.state = current
        self._order = order
        loader._passes.add(self)
        return order

    def state_dict(self) -> dict[str, Any]:
        """The position: enough to hand out the rest of this pass, and all later ones of the loader, again."""
        current = self.loader._generator_state()
        if self._start is None:
            return {"position": self.position, "generator": current}
        state = {"position": self.position, "generator": dict(self._start)}
        drawn = self._order is not None or self._keep_current
        return {**state, "current": current} if drawn else state
