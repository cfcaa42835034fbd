"""For a training loop of one's own: who am I, and the mean of the gradients of all ranks."""

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
    """Return the number of this process among those that an MPI launcher started, from 0; 0 without a launcher."""
    return world().rank


def world_size() -> int:
    """Return the number of processes that an MPI launcher started; 1 without a launcher."""
    return world().size


def average_gradients(parameters: Module | Iterable[Tensor], weight: float = 1.0) -> None:
    """Replace the gradients by their mean over all ranks. Call it between `backward()` and `optimizer.step()`.

    All gradients are sent as one array. All ranks get the same bits. Without MPI, or with one rank, nothing changes.
    A parameter that has a gradient on some ranks only counts as 0 on the others.

        network = nn.Linear(3, 1)
        optimizer = optim.SGD(network.parameters(), lr=0.1)
        network(chainrule.ones(5, 3)).mean().backward()
        distributed.average_gradients(network)
        optimizer.step()

    Args:
        parameters: a module, or parameters in the same order on all ranks.
        weight: the weight of this rank's gradients in the mean: the number of its examples, if the numbers differ.

    Raises:
        ValueError: a negative weight, or all weights are 0.
        RankFailedError: another rank was killed or no longer answers.
    """
    refuse_while_tracing("average_gradients()")
    check("average_gradients", 0 <= weight < np.inf, f"the weight must be a number of at least 0, not {weight}")
    here = world()
    if here.size == 1:
        return
    tensors = _tensors("average_gradients", parameters)
    with no_grad():
        factor = from_numpy(np.array(weight, np.result_type(*(p.dtype for p in tensors))))
        bucket = flatten_gradients(tensors, factor, [factor.reshape(1)]).numpy()
        allreduce(here, bucket)
        total = bucket[-1]
        check("average_gradients", total > 0, "the weights of all ranks are 0")
        assign_gradients(tensors, from_numpy(bucket / total), present(tensors, bucket))


def broadcast(tensors: Module | Tensor | Iterable[Tensor], source: int = 0) -> None:
    """Give all ranks the values that the tensors have on one of them, in place. Without MPI, nothing changes.

    Args:
        tensors: a module, whose parameters and buffers are meant, a Tensor, or several in the same order on all ranks.
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
    targets = [tensors] if isinstance(tensors, Tensor) else _tensors("broadcast", tensors)
    with no_grad():
        own = [t.detach().numpy() for t in targets]
        arrays = here.broadcast(own if here.rank == source else None, source)
        shapes, expected = [a.shape for a in own], [a.shape for a in arrays]
        check("broadcast", shapes == expected, f"{here.name(source)} sends tensors of shapes {expected}, not {shapes}")
        for target, array in zip(targets, arrays, strict=True):
            target.copy_(array)


def _tensors(owner: str, tensors: Module | Iterable[Tensor]) -> list[Tensor]:
    """Return the tensors, or a module's parameters and buffers, as a list."""
    if isinstance(tensors, Module):
        return [*tensors.parameters(), *(tensors.buffers() if owner == "broadcast" else ())]
    items = list(tensors)
    for item in items:
        check(owner, isinstance(item, Tensor), f"takes Tensors, not {type_name(item)}", TypeError)
    check(owner, items, "there are no tensors")
    return items


# One flat array of all gradients: a bucket


def flatten_gradients(parameters: list[Tensor], weight: Tensor, others: list[Tensor]) -> Tensor:
    """Return one array: the weighted gradients, whether each parameter has one (1 or 0), and other numbers.

    Args:
        parameters: P parameters with N elements in all; a missing gradient counts as zeros.
        weight: a factor of the gradients, 0-d.
        others: M numbers, as 1-d Tensors.

    Returns:
        (N + P + M,), of the weight's type.
    """
    flags = np.array([p.grad is not None for p in parameters], weight.dtype)
    zeros = [from_numpy(np.zeros(p.numel(), weight.dtype)) for p in parameters if p.grad is None]
    parts = [zeros.pop(0) if p.grad is None else p.grad.reshape(-1) * weight for p in parameters]
    flat: Tensor = ops.cat([*parts, from_numpy(flags), *others])
    return flat


def present(parameters: list[Tensor], bucket: np.ndarray[Any, Any]) -> tuple[bool, ...]:
    """Return for each parameter whether it has a gradient, in any shard."""
    start = sum(p.numel() for p in parameters)
    return tuple((bucket[start : start + len(parameters)] > 0).tolist())


def assign_gradients(parameters: list[Tensor], bucket: Tensor, has_gradient: tuple[bool, ...]) -> None:
    """Set the gradients from a bucket; those of parameters that have none to None."""
    start = 0
    for p, has in zip(parameters, has_gradient, strict=True):
        end = start + p.numel()
        # a copy, since clipping changes gradients in place, and a compiled update cannot change its argument
        p.grad = bucket[start:end].reshape(p.shape).to(p.dtype).clone() if has else None
        start = end
