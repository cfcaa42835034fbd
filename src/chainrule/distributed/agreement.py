"""Checks and calls in which all ranks take part: if one of them fails on any rank, all ranks raise an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from chainrule.errors import UserError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.distributed.world import World

Out = TypeVar("Out")


class OtherRankError(UserError):
    """Raised on this rank because a call failed on another rank; the message is that of the other rank's error."""


class RanksDifferError(UserError):
    """A value that must be the same on all ranks is not; all ranks raise this."""


def compare(world: World, facts: Mapping[str, Any]) -> None:
    """Check that facts, such as versions and settings, are the same on all ranks.

    Raises:
        RanksDifferError: they are not; the message names the first fact that differs, and the two ranks.
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
    """Call a function on each rank and return this rank's result; if it fails on any rank, all ranks raise an error.

    Raises:
        OtherRankError: it failed on another rank.
        Exception: the function's own, if this is the lowest rank on which it failed.
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
    """Call a function on rank 0 and return its result on all ranks; if it fails, all ranks raise an error."""
    result = on_all_ranks(world, function if world.rank == 0 else lambda: None)
    value: Out = world.broadcast(result)
    return value


def _raise_first(world: World, messages: list[str | None], own_error: Exception | None) -> None:
    """Raise the error of the lowest rank that has one: there, the exception itself; elsewhere, one with its message."""
    for rank, message in enumerate(messages):
        if message is not None:
            if own_error is not None and rank == world.rank:
                raise own_error
            raise OtherRankError(f"{world.name(rank)}: {message}")
