"""A race: libraries take turns at one work until their ratios are known well enough.

A machine that others use too has good and bad moments, from a tenth of a second to minutes long. So blocks are short
and rounds are many, and a ratio is that of blocks which came right after each other: its median over the rounds. A few
rounds show which variants can be a library's best; only those go on.
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
"""So many rounds are taken by all variants."""

CLOSE = 1.25
"""Later ones are taken by those that took no longer than their library's best by more than this factor."""

KNOWN = 1.08
"""A ratio is known well enough if the ends of its interval (`report.ratio`) are no farther apart than this factor."""

LEAST = 12
"""But not before so many rounds."""

SLOW = 0.5
"""Seconds: steps that take longer are taken one at a time."""


def race(players: Sequence[Player], rounds: int, seconds: float, limit: float) -> Measured:
    """Let libraries take turns.

    Args:
        players: ready to begin, ours among them.
        rounds: how many at the most.
        seconds: about how long a block takes.
        limit: seconds; after so long no round is begun, if all variants have taken theirs.

    Returns:
        The times of steps, block by block, by library and variant. Of a variant that was left behind there are fewer.
    """
    measured: Measured = {player.peer: {name: [] for name in player.variants} for player in players}
    begun = time.perf_counter()
    for number in range(rounds):
        late = time.perf_counter() - begun > limit
        if number >= FIRST and (late or (number >= LEAST and known(measured))):
            break
        for player in players:
            taking = player.variants if number < FIRST else contenders(measured[player.peer])
            for variant in taking:
                least = 1 if player.variants[variant] > SLOW else 3
                measured[player.peer][variant].append(player.block(variant, seconds, least))
    return measured


def contenders(variants: dict[str, list[list[float]]]) -> list[str]:
    """The variants that can still be the best of their library."""
    medians = {name: median(map(median, blocks)) for name, blocks in variants.items()}
    most = max(map(len, variants.values()), default=0)
    return [
        name
        for name, value in medians.items()
        if value <= CLOSE * min(medians.values()) and len(variants[name]) == most
    ]


def known(measured: Measured) -> bool:
    """Whether all ratios are known well enough."""
    return all(ratio["high"] <= KNOWN * ratio["low"] for ratio in report.ratios(measured).values())
