"""A learning-rate finder: a short training in which the rate grows at each step, until the loss diverges."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.errors import UserError, check_integer, check_not_negative

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.tensor import Tensor
    from chainrule.training.trainer import Trainer

SMOOTHING = 0.9
"""Decay factor of the moving average of the losses."""
DIVERGENCE_FACTOR = 4.0
"""The search ends when the smoothed loss exceeds this many times the lowest one."""


@dataclass(frozen=True)
class RateSearch:
    """The result of a search for a learning rate.

    Attributes:
        rates: the learning rate of each step.
        losses: the loss of each step, before its update.
        smoothed: an exponential moving average of the losses, with bias correction.
        suggestion: a tenth of the rate with the lowest smoothed loss.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float


def find_learning_rate(trainer: Trainer, low: float = 1e-6, high: float = 10.0, steps: int = 100) -> RateSearch:
    """Train for some steps with rates from `low` to `high`, which grow by a constant factor at each step.

    The search ends early when the loss has become much larger or is not finite. The trainer's state is restored
    afterwards, and its callbacks are not called.

    Args:
        trainer: a trainer, usually a new one.
        low: the first rate.
        high: the last rate.
        steps: the number of steps, at least 10.

    Returns:
        The rates and losses, with a suggestion: a tenth of the rate with the lowest smoothed loss. There, the loss is
        still falling.

    Raises:
        ValueError: a rate is not positive or not finite, `high` is not above `low`, or there are too few steps.
        UserError: the trainer divides batches into shards, or the first loss is not finite.

    Source: Smith, Cyclical learning rates for training neural networks (2017), section 3.3.
    """
    check_not_negative("find_learning_rate", low=low, high=high)
    if not 0 < low < high < math.inf:
        raise ValueError(f"find_learning_rate: needs 0 < low < high, got {low} and {high}")
    check_integer("find_learning_rate", "steps", steps, minimum=10)
    if trainer.shards:
        raise UserError(
            f"the learning-rate finder needs whole batches, but this trainer divides them into {trainer.shards} shards"
        )
    state = copy.deepcopy(trainer.state_dict())
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    moving_average = 0.0
    try:
        for index, (inputs, targets) in zip(range(steps), _batches(trainer), strict=False):
            rate = low * (high / low) ** (index / (steps - 1))
            for group in trainer.optimizer.param_groups:
                group["lr"] = rate
            loss = _step(trainer, inputs, targets)
            if not math.isfinite(loss):
                break
            moving_average = SMOOTHING * moving_average + (1 - SMOOTHING) * loss
            rates.append(rate)
            losses.append(loss)
            smoothed.append(moving_average / (1 - SMOOTHING ** (index + 1)))
            if smoothed[-1] > DIVERGENCE_FACTOR * min(smoothed):
                break
    finally:
        trainer.load_state_dict(state)
    if not rates:
        raise UserError(
            "the first loss is not finite: check the data and the network before searching for a learning rate"
        )
    best = min(range(len(rates)), key=smoothed.__getitem__)
    return RateSearch(rates, losses, smoothed, rates[best] / 10)


def _batches(trainer: Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the full batches of repeated passes over the loader, endlessly; if no batch is full, yield the others."""
    has_full_batch = trainer.loader.examples >= trainer.loader.batch_size
    while True:
        for inputs, targets in trainer.loader:
            if len(targets) == trainer.loader.batch_size or not has_full_batch:
                yield inputs, targets


def _step(trainer: Trainer, inputs: Tensor, targets: Tensor) -> float:
    """Take a training step and return its loss before the update."""
    step = trainer._compiled_step if trainer.compiled else trainer._forward_and_update
    loss, _ = step(inputs, targets)
    return float(loss)
