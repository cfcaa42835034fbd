"""A training step whose batch is cut into shards: the same bits for any number of ranks.

Each shard's gradient is computed by the same program from the same numbers, on whatever rank; the gradients are added
in a fixed tree (see `allreduce`); and each rank makes the same update. What else could depend on the rank does not:

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
from chainrule.distributed.parallel import assign_gradients, flatten_gradients, present
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
"""Shards of a batch under MPI, unless another number is chosen."""


class ShardError(UserError, ValueError):
    """A number of shards does not fit the batch size or the number of ranks."""


def check_shards(shards: int, batch_size: int) -> None:
    """Check that a batch can be cut into shards.

    Raises:
        ShardError: their number is not a power of two, or exceeds the batch size.
    """
    if shards < 1 or shards & (shards - 1):
        below = 1 << max(shards, 1).bit_length() - 1
        raise ShardError(
            f"the number of shards must be a power of two, such as {below if shards > 0 else 4} or "
            f"{2 * below if shards > 0 else 8}, not {shards}"
        )
    if shards > batch_size:
        raise ShardError(
            f"a batch of {batch_size} cannot be cut into {shards} shards, but into {1 << batch_size.bit_length() - 1}"
        )


def check_ranks(shards: int, ranks: int) -> None:
    """Check that shards can be divided among ranks.

    Raises:
        ShardError: there are no shards, but several ranks, or the ranks do not divide the shards.
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
    """Cut a batch into shards of at most ⌈batch_size / shards⌉ examples, whose numbers differ by one at most.

    Args:
        count: the number of examples in the batch; a last batch may have less than `batch_size`.
        batch_size: examples in a full batch.
        shards: the number of shards.

    Returns:
        The first example of each shard, and the one after its last. Some shards of a smaller batch are empty.
    """
    parts = -(-count // -(-batch_size // shards))  # as few as possible
    size, rest = divmod(count, parts)
    ends = [shard * size + min(shard, rest) for shard in range(parts + 1)] + [count] * (shards - parts)
    return [*itertools.pairwise(ends)]


class ShardedStep:
    """One training step in shards.

        network = nn.Linear(3, 2)
        optimizer = optim.SGD(network.parameters(), lr=0.1)
        step = distributed.ShardedStep(network, nn.functional.cross_entropy, optimizer, batch_size=16)
        step(chainrule.ones(16, 3), chainrule.zeros(16, dtype=int))  # the mean loss

    `shard_bounds` says which examples a shard has. The gradients are those of the mean loss of the batch, if `loss` is
    a mean over its examples.

    Args:
        network: the network.
        loss: maps the network's outputs and the targets of a shard to their mean loss.
        optimizer: updates the parameters.
        batch_size: examples per batch, those of all ranks.
        shards: a power of two; the number of ranks must divide it.
        compiled: whether `jit` compiles the gradient of a shard, and the update.
        update: called with the gradients in place instead of `optimizer.step`, for example to clip them first.
        count_correct: counts the right answers of a shard from the network's outputs and the targets.
        processes: the ranks; those that an MPI launcher started, by default.

    Raises:
        ShardError: the number of shards does not fit.

    Attributes:
        owned: the numbers of the shards that this rank computes.
        correct: the number of right answers in the last batch, 0 without `count_correct`.
        interrupt: set to True to ask all ranks to stop; they agree in the next step.
        should_stop: whether any rank had asked all ranks to stop when the last step was taken.
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
        self._sizes: set[int] = set()  # of the shards so far: the first of a size may be compiled
        self._bucket: np.ndarray[Any, Any] | None = None

    @property
    def stop(self) -> bool:
        """The former name of `should_stop`."""
        return self.should_stop

    def __call__(self, inputs: Tensor, targets: Tensor) -> float:
        """Take a step with a batch, which all ranks pass, and return its mean loss.

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
        """Return which examples of a batch of `count` this rank's shards have (see `shard_bounds`)."""
        bounds = self._bounds(count)
        return slice(bounds[0][0], bounds[-1][1])

    def _bounds(self, count: int) -> list[tuple[int, int]]:
        return shard_bounds(count, self.batch_size, self.shards)[self.owned.start : self.owned.stop]

    def gradients(self, inputs: Tensor, targets: Tensor, count: int) -> float:
        """Compute the gradients of a batch; nothing changes but the state of generators.

        Args:
            inputs: those of this rank's examples (see `own_rows`).
            targets: their targets.
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
        """Set the buffers, and update the parameters with the gradients of `gradients`."""
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
        self._update(from_numpy(bucket), present(self._parameters, bucket))
        self._world.enter(Phase.BUSY)

    def check_agreement(self) -> None:
        """Check that all ranks have the same parameters, buffers and generator states.

        Raises:
            RanksDifferError: they do not: the ranks' processors or libraries compute differently, or something draws
                random numbers on some ranks only.
        """
        if self._world.size > 1:
            checksum = 0
            for tensor in self.network.state_dict().values():
                checksum = zlib.crc32(np.ascontiguousarray(tensor.numpy()).data, checksum)
            states = [g.bit_generator.state for g in (*network_generators(self.network), default_generator())]
            random = zlib.crc32(repr(states).encode())
            compare(self._world, {"checksum of the weights": checksum, "state of the random generators": random})

    def _shard_gradient(self, inputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the bucket of one shard, times its weight.

        It has gradients, flags, buffers, the fraction of right answers, the loss, and one free element.
        """
        buffers = self._buffers()
        before = [buffer.clone() for buffer in buffers]
        self.optimizer.zero_grad()
        outputs = self.network(inputs)
        loss = self.loss(outputs, targets)
        loss.backward()
        others = [b if b.dtype.kind == "f" else b - old for b, old in zip(buffers, before, strict=True)]
        with no_grad():
            count = from_numpy(np.zeros((), self._dtype))
            if self.count_correct is not None:
                count = self.count_correct(outputs.detach(), targets).to(self._dtype) / len(targets)
            numbers = [value.reshape(-1).to(self._dtype) * weight for value in (*others, count, loss.detach())]
            return flatten_gradients(self._parameters, weight, [*numbers, from_numpy(np.zeros(1, self._dtype))])

    def _apply(self, bucket: Tensor, has_gradient: tuple[bool, ...]) -> None:
        """Update the parameters with the gradients in a bucket."""
        assign_gradients(self._parameters, bucket, has_gradient)
        self._update_parameters()

    def _buffers(self) -> list[Tensor]:
        """Return the buffers that shards average: floats, and counters, which have the mean of the shards' changes."""
        return [buffer for buffer in self.network.buffers() if buffer.dtype.kind in "fiu"]

    def _bucket_size(self) -> int:
        size: int = sum(t.numel() for t in (*self._parameters, *self._buffers()))
        return size + len(self._parameters) + 3


def _restore(buffers: list[Tensor], values: list[Any]) -> None:
    with no_grad():
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)


def _seek(generator: np.random.Generator, state: Any, shard: int) -> None:
    """Set a generator to the numbers of a shard: 2⁶⁴ of them after a state for each shard before it.

    Raises:
        TypeError: the generator cannot skip numbers.
    """
    bit_generator: Any = generator.bit_generator
    if not hasattr(bit_generator, "advance"):
        raise TypeError(
            f"ShardedStep: a {type(bit_generator).__name__} cannot skip random numbers, as each shard has its own: use "
            "numpy.random.default_rng()"
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
