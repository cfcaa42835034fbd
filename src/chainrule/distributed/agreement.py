"""What all ranks must agree on before they train: each reports, and all end with the same error if they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from chainrule.errors import UserError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.distributed.world import World

Out = TypeVar("Out")


class OtherRankError(UserError):
    """An error of another rank, which all ranks raise."""


class RanksDifferError(UserError):
    """Ranks differ in what must be the same; all ranks raise this."""


def compare(world: World, facts: Mapping[str, Any]) -> None:
    """Check that facts, such as versions and settings, are the same on all ranks.

    Raises:
        RanksDifferError: they are not; the message names the first that differs, and the ranks.
    """
    first, *others = world.gather(dict(facts))
    for rank, other in enumerate(others, start=1):
        for name in [*first, *(other.keys() - first.keys())]:
            if first.get(name) != other.get(name):
                raise RanksDifferError(
                    f"the ranks differ in the {name}: {_value(first, name)} on {world.name(0)}, "
                    f"{_value(other, name)} on {world.name(rank)}; it must be the same on all"
                )


def _value(facts: Mapping[str, Any], name: str) -> str:
    return shorten(str(facts[name])) if facts.get(name) is not None else "none"


def on_all_ranks(world: World, function: Callable[[], Out]) -> Out:
    """Call a function on each rank and return its result; if it fails on any rank, all raise an error.

    Raises:
        OtherRankError: it failed on another rank.
        Exception: that of the function, if it failed on this rank.
    """
    if world.size == 1:
        return function()
    result, error = None, None
    try:
        result = function()
    except Exception as exception:  # raised again below
        error = exception
    _raise_first(world, world.gather(None if error is None else str(error)), error)
    return result  # type: ignore[return-value]  # the function has returned


def on_rank_zero(world: World, function: Callable[[], Out]) -> Out:
    """Call a function on rank 0 and return its result on all ranks; if it fails, all raise an error."""
    result = on_all_ranks(world, function if world.rank == 0 else lambda: None)
    value: Out = world.broadcast(result)
    return value


def _raise_first(world: World, messages: list[str | None], own: Exception | None) -> None:
    """Raise the error of the lowest rank that has one: the exception itself there, its message on the others."""
    for rank, message in enumerate(messages):
        if message is not None:
            if own is not None and rank == world.rank:
                raise own
            raise OtherRankError(f"{world.name(rank)}: {message}")
