"""Measure libraries in turn at one work until their ratios have converged.

On a shared machine the speed varies, over a tenth of a second up to minutes. So there are many rounds of short blocks,
and ratios are taken between consecutive blocks, with the median over the rounds. After a few rounds, only variants that
can still be their library's best continue.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from player import Player

    Measured = dict[str, dict[str, list[list[float]]]]

FIRST = 4
"""The number of rounds in which all variants take part."""

CLOSE = 1.25
"""Later rounds include only variants within this factor of their library's best."""

CONVERGED = 1.08
"""A ratio has converged if the ends of its interval (see `report.ratio`) are within this factor."""

LEAST = 12
"""The minimum number of rounds."""

SLOW = 0.5
"""Seconds: a block of slower steps may consist of a single one."""


def race(players: Sequence[Player], rounds: int, seconds: float, limit: float) -> Measured:
    """Run blocks of all libraries in turn.

    Args:
        players: workers that are ready, including ours.
        rounds: maximum number of rounds.
        seconds: approximate duration of a block.
        limit: seconds after which no further round starts, once all variants had their first rounds.

    Returns:
        The times of steps, block by block, by library and variant. Variants that dropped out have fewer blocks.
    """
    measured: Measured = {player.peer: {name: [] for name in player.variants} for player in players}
    begun = time.perf_counter()
    for number in range(rounds):
        out_of_time = time.perf_counter() - begun > limit
        if number >= FIRST and (out_of_time or (number >= LEAST and ratios_converged(measured))):
            break
        for player in players:
            taking = player.variants if number < FIRST else contenders(measured[player.peer])
            for variant in taking:
                least = 1 if player.variants[variant] > SLOW else 3
                measured[player.peer][variant].append(player.block(variant, seconds, least))
    return measured


def contenders(variants: dict[str, list[list[float]]]) -> list[str]:
    """The variants that can still be their library's best."""
    medians = {name: median(map(median, blocks)) for name, blocks in variants.items()}
    most = max(map(len, variants.values()), default=0)
    return [
        name
        for name, value in medians.items()
        if value <= CLOSE * min(medians.values()) and len(variants[name]) == most
    ]


def ratios_converged(measured: Measured) -> bool:
    """Whether all ratios have converged."""
    return all(ratio["high"] <= CONVERGED * ratio["low"] for ratio in report.ratios(measured).values())
