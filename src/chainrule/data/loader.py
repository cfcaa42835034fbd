"""DataLoader: a data set in batches, optionally shuffled, with a state from which to resume exactly.

A shuffled pass over N examples holds their order, 4 bytes each (8 from 2³¹ examples on), and only the batches being
prepared: a data set of memory-mapped files may be larger than the memory.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.data.prefetch import Prefetcher
from chainrule.errors import check_integer
from chainrule.random import default_generator
from chainrule.tensor import as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from chainrule.data.dataset import Dataset
    from chainrule.tensor import Tensor


_MAX_INT32 = 2**31 - 1


class DataLoader:
    """Iterates over a data set in batches. Each batch is one vectorized gather.

    Args:
        dataset: the data set, such as a `TensorDataset`.
        batch_size: examples per batch; the last batch may be smaller.
        shuffle: use a new random order in each pass.
        drop_last: skip a last batch that is smaller.
        generator: source of the random orders; by default chainrule's default generator. The loader's state contains
            the generator's, so a generator that is shared with others does not resume exactly.
        num_samples: with `shuffle`, draw this many examples in each pass, independently and with replacement, instead
            of all of them in a new order, as PyTorch's `RandomSampler(dataset, replacement=True, num_samples=N)` does.
            Used for windows of a text, of which there are about as many as tokens.
        augment: a function such as `Augment(shift=2)`: called with the first array of each batch and a generator, it
            returns the array to use instead. The generator is seeded with the position of the batch and a random number
            that is drawn once per pass, so a resumed loader gives the same images.
        prefetch_factor: how many batches a background thread prepares in advance; with None or 0, each batch is
            prepared when it is requested. Prefetching pays if examples are read from disk. It changes neither the
            batches nor the state, whose position counts the batches returned. But a change to the contents of the data
            set affects only batches that are not prepared yet, and a `transform` must not draw from a generator that
            others use.
        rows: the part of each batch to return, for a process that shares batches with others: maps the number of
            examples in a batch to a slice or array of rows, such as `lambda size: slice(size // 2)`. Only these
            examples are read. `augment` is then also called with `rows` and `batch_size`, as `Augment` takes them.

    Raises:
        ValueError: a batch size below 1, a prefetch factor below 0, no examples to shuffle, or `num_samples` below 1 or
            without `shuffle`.
        TypeError: a batch size or prefetch factor that is not an integer, or an argument that is not a data set,
            generator or function.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        generator: np.random.Generator | None = None,
        augment: Callable[..., NDArray[Any]] | None = None,
        num_samples: int | None = None,
        prefetch_factor: int | None = None,
        rows: Callable[[int], slice | NDArray[np.integer[Any]]] | None = None,
    ) -> None:
        if not isinstance(batch_size, (int, np.integer)):
            if hasattr(batch_size, "__len__") and not isinstance(batch_size, str):  # labels
                hint = "takes one data set: DataLoader(TensorDataset(X, y), batch_size=64)"
                raise TypeError(f"DataLoader: {hint}, not X and y by themselves")
            raise TypeError(f"DataLoader: batch_size must be an integer, not {batch_size!r}")
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__") or isinstance(dataset, (list, tuple)):
            raise TypeError(f"DataLoader: takes a data set, such as a TensorDataset, not {type(dataset).__name__}")
        if not isinstance(generator, (np.random.Generator, NoneType)):
            raise TypeError(f"DataLoader: generator must be a numpy.random.Generator, not {type(generator).__name__}")
        if prefetch_factor is not None:
            check_integer("DataLoader", "prefetch_factor", prefetch_factor, minimum=0)
        if augment is not None and not callable(augment):
            raise TypeError(f"DataLoader: augment must be a function of images, not {type(augment).__name__}")
        if rows is not None and not callable(rows):
            raise TypeError(f"DataLoader: rows must be a function of the size of a batch, not {type(rows).__name__}")
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, got {batch_size}")
        if shuffle and not len(dataset):
            raise ValueError("DataLoader: there are no examples to shuffle; use shuffle=False for an empty data set")
        if num_samples is not None:
            check_integer("DataLoader", "num_samples", num_samples, minimum=1)
            if not shuffle:
                raise ValueError("DataLoader: num_samples is the number of examples to draw: it needs shuffle=True")
        self.num_samples = num_samples
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.augment, self._is_random = augment, shuffle or augment is not None
        self.prefetch_factor, self.rows = prefetch_factor, rows
        self.generator = generator if generator is not None or not self._is_random else default_generator()
        self._resumed: BatchIterator | None = None  # the resumed pass, which the next iter() returns
        self._passes: WeakSet[BatchIterator] = WeakSet()  # running passes; abandoned ones are collected

    @property
    def examples(self) -> int:
        """The number of examples in a pass."""
        return len(self.dataset) if self.num_samples is None else self.num_samples

    def __len__(self) -> int:
        """Return the number of batches."""
        full_batches, rest = divmod(self.examples, self.batch_size)
        return full_batches + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> BatchIterator:
        """Start a new pass, or continue the one whose state was loaded."""
        batches, self._resumed = self._resumed or BatchIterator(self), None
        return batches

    def state_dict(self) -> dict[str, Any]:
        """Return the position and the generator's state of the running pass, which determine all later batches.

        Raises:
            RuntimeError: several passes are running, each with its own position.
        """
        if len(self._passes) > 1:
            raise RuntimeError(
                f"DataLoader: {len(self._passes)} passes are running, each with its own position; save the state of "
                f"the one to resume: batches = iter(loader), then batches.state_dict()"
            )
        for batches in self._passes:
            return batches.state_dict()
        return {"position": 0, "generator": self._generator_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from the state of a loader or an iterator: the next pass starts at its position.

        Passes that are still running are no longer part of the loader's state.

        Raises:
            ValueError: the position is past the end, only one of the state and the loader is random, or the state is
                that of a different kind of generator; nothing is changed.
        """
        position, state = state_dict["position"], state_dict["generator"]
        in_range = isinstance(position, int) and 0 <= position <= len(self)
        if not in_range or (state is None) == self._is_random:
            raise ValueError(
                f"DataLoader: the state (position {position}, {'not ' if state is None else ''}shuffled) does not fit "
                f"{len(self)} batches, {'' if self._is_random else 'not '}shuffled"
            )
        current = state_dict.get("current")
        if state is not None and self.generator is not None:
            previous_state = self.generator.bit_generator.state
            try:
                for saved in (state, current):  # `state` is needed when the pass starts; check it now
                    if saved is not None:
                        self.generator.bit_generator.state = dict(saved)
            except Exception:
                self.generator.bit_generator.state = previous_state
                raise
        self._passes.clear()
        is_running = position > 0 or current is not None
        self._resumed = BatchIterator(self, state_dict) if is_running else None

    def _generator_state(self) -> dict[str, Any] | None:
        """Return the generator's state, or None for a loader without randomness."""
        return dict(self.generator.bit_generator.state) if self._is_random and self.generator is not None else None


class BatchIterator:
    """One pass over a loader's data set, returned by `iter(loader)`. Passes may be nested.

    The order is drawn when the first batch is requested.

    Args:
        loader: the loader.
        state: the state of the pass to resume; None for a new one.

    Attributes:
        loader: the loader.
        position: number of batches returned so far; decrease it to repeat batches.
    """

    def __init__(self, loader: DataLoader, state: Mapping[str, Any] | None = None) -> None:
        self.loader, self.position = loader, 0 if state is None else int(state["position"])
        self._start_state: dict[str, Any] | None = None  # the generator's state before this pass
        # Whether the resumed pass had drawn its order: then the generator's state is already the one after the draw
        self._order_was_drawn = False
        self._order: _Order | None = None
        self._prepare: _Preparation | None = None
        self._prefetcher: Prefetcher | None = None
        if state is not None:
            self._start_state, self._order_was_drawn = state["generator"], state.get("current") is not None
            loader._passes.add(self)

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> tuple[Tensor, ...]:
        order = self._draw_order() if self._order is None else self._order
        if self.position >= order.batch_count:
            self.loader._passes.discard(self)
            self._prefetcher = None
            raise StopIteration
        loader, prepare = self.loader, self._prepare
        if prepare is None or not prepare.fits(loader):
            prepare = self._prepare = _Preparation(order, loader.dataset, loader.augment, loader.rows)
        # Tracing records the operations of this thread only, and Python in a browser has no other thread
        if loader.prefetch_factor and mode.trace is None and sys.platform != "emscripten":
            if self._prefetcher is None or not self._prefetcher.fits(prepare):
                self._prefetcher = Prefetcher(prepare, order.batch_count, loader.prefetch_factor)
            batch = self._prefetcher.take(self.position)
        else:
            batch = prepare(self.position)
        self.position += 1
        return batch

    def _draw_order(self) -> _Order:
        """Draw the order; a resumed pass draws it again, from the generator state it was first drawn from."""
        loader, generator, count = self.loader, self.loader.generator, self.loader.examples
        indices: NDArray[Any] | None = None
        seed = 0
        if loader._is_random and generator is not None:
            current = generator.bit_generator.state
            if self._start_state is None:
                self._start_state = dict(current)
            generator.bit_generator.state = dict(self._start_state)
            if loader.num_samples is not None:
                indices = generator.integers(len(loader.dataset), size=count)
            elif loader.shuffle:
                indices = np.arange(count, dtype=np.int32 if count <= _MAX_INT32 else np.int64)
                generator.shuffle(indices)  # in place; the same order whatever the type of integer
            seed = int(generator.integers(2**63)) if loader.augment else 0
            if self._order_was_drawn:
                generator.bit_generator.state = current
        self._order = _Order(indices, count, loader.batch_size, len(loader), seed)
        loader._passes.add(self)
        return self._order

    def state_dict(self) -> dict[str, Any]:
        """Return the position and the generator's state, which determine the rest of this pass and all later passes.

        "generator" is the state from which the pass draws its order; "current" is the present state, once it is drawn.
        """
        current = self.loader._generator_state()
        if self._start_state is None:
            return {"position": self.position, "generator": current}
        state = {"position": self.position, "generator": dict(self._start_state)}
        has_order = self._order is not None or self._order_was_drawn
        return {**state, "current": current} if has_order else state


@dataclass(frozen=True, eq=False)
class _Order:
    """The order of one pass.

    Attributes:
        indices: the indices of the examples, in order; None if they are 0, 1, 2, …
        example_count: the number of examples in the pass.
        batch_size: examples per batch.
        batch_count: the number of batches.
        seed: of the augmentation.
    """

    indices: NDArray[np.integer[Any]] | None
    example_count: int
    batch_size: int
    batch_count: int
    seed: int


@dataclass(frozen=True, eq=False)
class _Preparation:
    """Prepares the batches of a pass, from an order, a data set, and the loader's options at that time."""

    order: _Order
    dataset: Dataset
    augment: Callable[..., NDArray[Any]] | None
    rows: Callable[[int], slice | NDArray[np.integer[Any]]] | None

    def fits(self, loader: DataLoader) -> bool:
        """Return whether the loader still has the same data set and options."""
        return self.dataset is loader.dataset and self.augment is loader.augment and self.rows is loader.rows

    def __call__(self, position: int) -> tuple[Tensor, ...]:
        """Return the batch at a position."""
        order = self.order
        start = position * order.batch_size
        end = min(start + order.batch_size, order.example_count)
        if order.indices is None:
            indices = np.arange(start, end)
        else:
            indices = order.indices[start:end].astype(np.int64, copy=False)
        options: dict[str, Any] = {}
        if self.rows is not None:
            options = {"rows": self.rows(end - start), "batch_size": end - start}
            indices = indices[options["rows"]]
        batch = self.dataset[indices]
        if self.augment is not None:
            generator = np.random.default_rng((order.seed, position))
            batch = as_tensor(self.augment(batch[0].numpy(), generator, **options)), *batch[1:]
        return batch
