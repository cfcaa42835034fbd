"""A training step whose batch is cut into shards: the result is bitwise identical for any number of ranks.

A shard's gradient is computed by the same program from the same numbers, whatever the rank; the gradients are added in
a fixed tree (see `allreduce`); and each rank makes the same update. Nothing else depends on the rank, either:

- each shard has random numbers of its own (dropout), and starts with the same buffers;
- the loss and the buffers that a shard changes (a batch normalization's running statistics) are averaged like the
  gradients.
"""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import no_grad
from chainrule.capture import jit
from chainrule.distributed.agreement import compare
from chainrule.distributed.allreduce import TreeSum, allreduce
from chainrule.distributed.parallel import assign_gradients, flatten_gradients, have_gradients
from chainrule.distributed.watch import Phase
from chainrule.distributed.world import World, world
from chainrule.errors import UserError, check, check_integer
from chainrule.random import default_generator
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.nn import Module
    from chainrule.optim import Optimizer
    from chainrule.tensor import Tensor

DEFAULT_SHARDS = 8
"""The number of shards of a batch under MPI, unless a different one is chosen."""


class ShardError(UserError, ValueError):
    """The number of shards does not fit the batch size or the number of ranks."""


def check_shards(shards: int, batch_size: int) -> None:
    """Check that a batch can be cut into shards.

    Raises:
        ShardError: their number is not a power of two, or exceeds the batch size.
    """
    if shards < 1 or shards & (shards - 1):
        lower = 1 << shards.bit_length() - 1 if shards > 0 else 4
        raise ShardError(f"the number of shards must be a power of two, such as {lower} or {2 * lower}, not {shards}")
    if shards > batch_size:
        raise ShardError(
            f"a batch of {batch_size} cannot be cut into {shards} shards, but into {1 << batch_size.bit_length() - 1}"
        )


def check_ranks(shards: int, ranks: int) -> None:
    """Check that shards can be divided among ranks.

    Raises:
        ShardError: there are several ranks and no shards, or the number of ranks does not divide that of shards.
    """
    if not shards and ranks > 1:
        raise ShardError(
            f"{ranks} ranks cannot train a run without shards together: start one process, or change the run with: "
            f"--override shards={max(DEFAULT_SHARDS, 1 << (ranks - 1).bit_length())}"
        )
    if shards % ranks:
        fitting = ", ".join(str(1 << power) for power in range(shards.bit_length()))
        raise ShardError(
            f"{ranks} ranks cannot share {shards} shards equally: start one of {fitting} ranks, or choose another "
            "number of shards, a multiple of the ranks"
        )


def shard_bounds(count: int, batch_size: int, shards: int) -> list[tuple[int, int]]:
    """Cut a batch into shards of at most ⌈batch_size / shards⌉ examples, whose sizes differ by at most 1.

    Args:
        count: the number of examples in the batch; a last batch may have less than `batch_size`.
        batch_size: examples in a full batch.
        shards: the number of shards.

    Returns:
        For each shard, the index of its first example and the index after its last. A small batch leaves the last
        shards empty.
    """
    max_size = -(-batch_size // shards)  # rounded up
    n_filled = -(-count // max_size)  # as few as possible
    size, n_larger = divmod(count, n_filled)
    bounds = [shard * size + min(shard, n_larger) for shard in range(n_filled + 1)] + [count] * (shards - n_filled)
    return [*itertools.pairwise(bounds)]


class ShardedStep:
    """One training step in shards.

        network = nn.Linear(3, 2)
        optimizer = optim.SGD(network.parameters(), lr=0.1)
        step = distributed.ShardedStep(network, nn.functional.cross_entropy, optimizer, batch_size=16)
        step(chainrule.ones(16, 3), chainrule.zeros(16, dtype=int))  # the mean loss

    `shard_bounds` returns which examples a shard has. If `loss` is a mean over examples, the gradients are those of the
    mean loss of the batch.

    Args:
        network: the network.
        loss: maps the network's outputs and the targets of a shard to their mean loss.
        optimizer: updates the parameters.
        batch_size: examples per batch, over all ranks.
        shards: a power of two; the number of ranks must divide it.
        compiled: whether `jit` compiles the computation of a shard's gradient, and the update.
        update: called instead of `optimizer.step` once the gradients are set, for example to clip them first.
        count_correct: counts the correct predictions in a shard from the network's outputs and the targets.
        processes: the ranks; by default, those that an MPI launcher started.

    Raises:
        ShardError: the number of shards does not fit the batch size or the number of ranks.

    Attributes:
        owned: the indices of the shards that this rank computes.
        correct: the number of correct predictions in the last batch; 0 without `count_correct`.
        interrupt: set it to True on any rank to make `should_stop` True on all ranks at the next step.
        should_stop: whether `interrupt` was set on any rank when the last step was taken.
    """

    def __init__(
        self,
        network: Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Optimizer,
        *,
        batch_size: int,
        shards: int = DEFAULT_SHARDS,
        compiled: bool = False,
        update: Callable[[], Any] | None = None,
        count_correct: Callable[[Any, Any], Any] | None = None,
        processes: World | None = None,
    ) -> None:
        check_integer(self, "batch_size", batch_size, minimum=1)
        check_integer(self, "the number of shards", shards, minimum=1)
        self._world = world() if processes is None else processes
        check_shards(shards, batch_size)
        check_ranks(shards, self._world.size)
        self.network, self.loss, self.optimizer = network, loss, optimizer
        self.batch_size, self.shards = batch_size, shards
        count = shards // self._world.size
        self.owned = range(self._world.rank * count, (self._world.rank + 1) * count)
        self.interrupt = self.should_stop = False
        self.count_correct, self.correct = count_correct, 0
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._dtype = np.result_type(*(p.dtype for p in self._parameters))
        self._update_parameters = optimizer.step if update is None else update
        self._gradient = jit(self._shard_gradient) if compiled else self._shard_gradient
        self._update = jit(self._apply) if compiled else self._apply
        # The sizes of the shards so far: a shard of a new size may have to be compiled
        self._sizes: set[int] = set()
        self._bucket: np.ndarray[Any, Any] | None = None

    @property
    def stop(self) -> bool:
        """The former name of `should_stop`."""
        return self.should_stop

    def __call__(self, inputs: Tensor, targets: Tensor) -> float:
        """Take a step with a batch, the same on all ranks, and return its mean loss.

        Raises:
            ValueError: the batch is empty or larger than `batch_size`.
            RankFailedError: another rank was killed or no longer answers; this rank has not changed.
        """
        count = len(targets)
        check(self, 0 < count <= self.batch_size, f"a batch must have 1 to {self.batch_size} examples, not {count}")
        rows = self.own_rows(count)
        loss = self.gradients(inputs[rows], targets[rows], count)
        self.update()
        return loss

    def own_rows(self, count: int) -> slice:
        """Return which examples of a batch of `count` belong to this rank's shards (see `shard_bounds`)."""
        bounds = self._bounds(count)
        return slice(bounds[0][0], bounds[-1][1])

    def _bounds(self, count: int) -> list[tuple[int, int]]:
        return shard_bounds(count, self.batch_size, self.shards)[self.owned.start : self.owned.stop]

    def gradients(self, inputs: Tensor, targets: Tensor, count: int) -> float:
        """Compute the gradients of a batch; only the states of generators change.

        Args:
            inputs: the inputs of this rank's examples (see `own_rows`).
            targets: the targets of these examples.
            count: the number of examples in the whole batch.

        Returns:
            The mean loss of the batch.

        Raises:
            RankFailedError: another rank was killed or no longer answers; this rank has not changed.
        """
        generators = [*network_generators(self.network), default_generator()]
        states = [generator.bit_generator.state for generator in generators]
        try:
            bucket = self._sum_shards(inputs, targets, count, [*zip(generators, states, strict=True)])
            bucket[-1] = self.interrupt
            self._world.enter(Phase.STEP)
            allreduce(self._world, bucket)
        except BaseException:
            for generator, state in zip(generators, states, strict=True):
                generator.bit_generator.state = state
            raise
        for generator, state in zip(generators, states, strict=True):
            _seek(generator, state, self.shards)
        self.should_stop, self._bucket = bool(bucket[-1] > 0), bucket
        self.correct = round(float(bucket[-3]) * count)
        return float(bucket[-2])

    def _sum_shards(
        self, inputs: Tensor, targets: Tensor, count: int, generators: list[tuple[np.random.Generator, Any]]
    ) -> np.ndarray[Any, Any]:
        """Return the sum of the buckets of this rank's shards; `generators` come with their states before the step."""
        tree, buffers, bounds = TreeSum(), self._buffers(), self._bounds(count)
        values = [buffer.numpy().copy() for buffer in buffers]
        try:
            for shard, (start, end) in zip(self.owned, bounds, strict=True):
                size = end - start
                if not size:
                    tree.add(np.zeros(self._bucket_size(), self._dtype))
                    continue
                for generator, state in generators:
                    _seek(generator, state, shard)
                _restore(buffers, values)
                self._world.enter(Phase.STEP if size in self._sizes else Phase.BUSY)
                part = slice(start - bounds[0][0], end - bounds[0][0])
                weight = from_numpy(np.array(size / count, self._dtype))
                tree.add(self._gradient(inputs[part].detach(), targets[part].detach(), weight).detach().numpy())
                self._sizes.add(size)
        finally:
            _restore(buffers, values)
        return tree.total

    def update(self) -> None:
        """Set the buffers, and update the parameters with the result of `gradients`, which must be called before."""
        bucket, self._bucket = self._bucket, None
        if bucket is None:
            raise RuntimeError("ShardedStep: update() needs the gradients of gradients(): call that first")
        start = sum(p.numel() for p in self._parameters) + len(self._parameters)
        with no_grad():
            for buffer in self._buffers():
                end = start + buffer.numel()
                mean = bucket[start:end].reshape(buffer.shape)
                buffer.copy_(mean if buffer.dtype.kind == "f" else buffer.numpy() + np.rint(mean))
                start = end
        self._update(from_numpy(bucket), have_gradients(self._parameters, bucket))
        self._world.enter(Phase.BUSY)

    def check_agreement(self) -> None:
        """Check that all ranks have the same parameters, buffers and generator states.

        Raises:
            RanksDifferError: they do not: the ranks' processors or libraries compute differently, or only some ranks
                have drawn random numbers.
        """
        if self._world.size > 1:
            checksum = 0
            for tensor in self.network.state_dict().values():
                checksum = zlib.crc32(np.ascontiguousarray(tensor.numpy()).data, checksum)
            states = [g.bit_generator.state for g in (*network_generators(self.network), default_generator())]
            states_checksum = zlib.crc32(repr(states).encode())
            facts = {"checksum of the weights": checksum, "state of the random generators": states_checksum}
            compare(self._world, facts)

    def _shard_gradient(self, inputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the bucket of one shard, times its weight.

        It holds gradients, flags, buffers, the fraction of correct predictions, the loss, and a place for `interrupt`.
        """
        buffers = self._buffers()
        old_buffers = [buffer.clone() for buffer in buffers]
        self.optimizer.zero_grad()
        outputs = self.network(inputs)
        loss = self.loss(outputs, targets)
        loss.backward()
        others = [b if b.dtype.kind == "f" else b - old for b, old in zip(buffers, old_buffers, strict=True)]
        with no_grad():
            accuracy = from_numpy(np.zeros((), self._dtype))
            if self.count_correct is not None:
                accuracy = self.count_correct(outputs.detach(), targets).to(self._dtype) / len(targets)
            numbers = [value.reshape(-1).to(self._dtype) * weight for value in (*others, accuracy, loss.detach())]
            return flatten_gradients(self._parameters, weight, [*numbers, from_numpy(np.zeros(1, self._dtype))])

    def _apply(self, bucket: Tensor, has_gradient: tuple[bool, ...]) -> None:
        """Update the parameters with the gradients in a bucket."""
        assign_gradients(self._parameters, bucket, has_gradient)
        self._update_parameters()

    def _buffers(self) -> list[Tensor]:
        """Return the buffers to average: floats, and counters, which change by the mean of the shards' changes."""
        return [buffer for buffer in self.network.buffers() if buffer.dtype.kind in "fiu"]

    def _bucket_size(self) -> int:
        size: int = sum(t.numel() for t in (*self._parameters, *self._buffers()))
        return size + len(self._parameters) + 3


def _restore(buffers: list[Tensor], values: list[Any]) -> None:
    """Set buffers to values, in place."""
    with no_grad():
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)


def _seek(generator: np.random.Generator, state: Any, shard: int) -> None:
    """Set a generator to the random numbers of a shard: shard i starts i · 2⁶⁴ numbers after a state.

    Raises:
        TypeError: the generator cannot skip numbers.
    """
    bit_generator: Any = generator.bit_generator
    if not hasattr(bit_generator, "advance"):
        raise TypeError(
            f"ShardedStep: a {type(bit_generator).__name__} cannot skip random numbers, which each shard's own numbers "
            "need: use numpy.random.default_rng()"
        )
    bit_generator.state = state
    bit_generator.advance(shard << 64)


def network_generators(network: Module) -> list[np.random.Generator]:
    """Return the generators of a network's modules, each once, in order."""
    generators = [
        value for module in network.modules() for value in vars(module).values()
        if isinstance(value, np.random.Generator)
    ]  # fmt: skip
    return list({id(generator): generator for generator in generators}.values())
