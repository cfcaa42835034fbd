"""Functions for training loops: this process's rank, the mean of the gradients over all ranks, and broadcasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import ops
from chainrule.autograd import no_grad
from chainrule.autograd.mode import refuse_while_tracing
from chainrule.distributed.allreduce import allreduce
from chainrule.distributed.world import world
from chainrule.errors import check, type_name
from chainrule.nn import Module
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from collections.abc import Iterable


def rank() -> int:
    """Return the rank of this process among those that an MPI launcher started, from 0; 0 without a launcher."""
    return world().rank


def world_size() -> int:
    """Return the number of processes that an MPI launcher started; 1 without a launcher."""
    return world().size


def average_gradients(parameters: Module | Iterable[Tensor], weight: float = 1.0) -> None:
    """Replace the gradients by their mean over all ranks. Call it between `backward()` and `optimizer.step()`.

    All gradients are sent as one array. The result is bitwise identical on all ranks. Without MPI, or with one rank,
    nothing changes. If a parameter has a gradient on only some ranks, the gradient counts as 0 on the others; if it has
    none on any rank, it gets none.

        network = nn.Linear(3, 1)
        optimizer = optim.SGD(network.parameters(), lr=0.1)
        network(chainrule.ones(5, 3)).mean().backward()
        distributed.average_gradients(network)
        optimizer.step()

    Args:
        parameters: a module, or parameters in the same order on all ranks.
        weight: the weight of this rank's gradients in the mean: the number of its examples, if ranks differ in that.

    Raises:
        ValueError: a weight that is negative or not finite, or weights that are all 0.
        RankFailedError: another rank was killed or no longer answers.
    """
    refuse_while_tracing("average_gradients()")
    check("average_gradients", 0 <= weight < np.inf, f"the weight must be a number of at least 0, not {weight}")
    here = world()
    if here.size == 1:
        return
    tensors = _tensors("average_gradients", parameters, with_buffers=False)
    with no_grad():
        factor = from_numpy(np.array(weight, np.result_type(*(p.dtype for p in tensors))))
        bucket = flatten_gradients(tensors, factor, [factor.reshape(1)]).numpy()
        allreduce(here, bucket)
        total = bucket[-1]
        check("average_gradients", total > 0, "the weights of all ranks are 0")
        assign_gradients(tensors, from_numpy(bucket / total), have_gradients(tensors, bucket))


def broadcast(tensors: Module | Tensor | Iterable[Tensor], source: int = 0) -> None:
    """Set the tensors on all ranks to their values on one rank, in place. Without MPI, nothing changes.

    Args:
        tensors: a module, for all its parameters and buffers; a Tensor; or Tensors in the same order on all ranks.
        source: the rank whose values are sent.

    Raises:
        ValueError: there is no such rank, or the shapes differ between ranks.
        RankFailedError: another rank was killed or no longer answers.
    """
    refuse_while_tracing("broadcast()")
    here = world()
    check("broadcast", 0 <= source < here.size, f"there is no rank {source}, only 0 to {here.size - 1}")
    if here.size == 1:
        return
    targets = [tensors] if isinstance(tensors, Tensor) else _tensors("broadcast", tensors, with_buffers=True)
    with no_grad():
        own = [t.detach().numpy() for t in targets]
        arrays = here.broadcast(own if here.rank == source else None, source)
        shapes, expected = [a.shape for a in own], [a.shape for a in arrays]
        check("broadcast", shapes == expected, f"{here.name(source)} sends tensors of shapes {expected}, not {shapes}")
        for target, array in zip(targets, arrays, strict=True):
            target.copy_(array)


def _tensors(owner: str, tensors: Module | Iterable[Tensor], *, with_buffers: bool) -> list[Tensor]:
    """Return the tensors, or a module's parameters and perhaps buffers, as a list; `owner` begins error messages."""
    if isinstance(tensors, Module):
        return [*tensors.parameters(), *(tensors.buffers() if with_buffers else ())]
    items = list(tensors)
    for item in items:
        check(owner, isinstance(item, Tensor), f"takes Tensors, not {type_name(item)}", TypeError)
    check(owner, items, "there are no tensors")
    return items


# A bucket: one flat array of all gradients, with other numbers that are summed over the ranks, too


def flatten_gradients(parameters: list[Tensor], weight: Tensor, others: list[Tensor]) -> Tensor:
    """Return a bucket: the weighted gradients, a flag (1 or 0) whether each parameter has one, and other numbers.

    Args:
        parameters: P parameters with N elements in total; a missing gradient becomes zeros.
        weight: the factor of the gradients, a 0-d Tensor.
        others: 1-d Tensors with M numbers in total.

    Returns:
        (N + P + M,), of the weight's type.
    """
    flags = np.array([p.grad is not None for p in parameters], weight.dtype)
    zeros = [from_numpy(np.zeros(p.numel(), weight.dtype)) for p in parameters if p.grad is None]
    parts = [zeros.pop(0) if p.grad is None else p.grad.reshape(-1) * weight for p in parameters]
    flat: Tensor = ops.cat([*parts, from_numpy(flags), *others])
    return flat


def have_gradients(parameters: list[Tensor], bucket: np.ndarray[Any, Any]) -> tuple[bool, ...]:
    """Return for each parameter whether it has a gradient in any of the buckets that were summed."""
    start = sum(p.numel() for p in parameters)
    return tuple((bucket[start : start + len(parameters)] > 0).tolist())


def assign_gradients(parameters: list[Tensor], bucket: Tensor, has_gradient: tuple[bool, ...]) -> None:
    """Set the gradients to those in a bucket, or to None for parameters without one."""
    start = 0
    for p, is_present in zip(parameters, has_gradient, strict=True):
        end = start + p.numel()
        # a copy: clipping changes gradients in place, and a compiled update cannot change its argument
        p.grad = bucket[start:end].reshape(p.shape).to(p.dtype).clone() if is_present else None
        start = end
