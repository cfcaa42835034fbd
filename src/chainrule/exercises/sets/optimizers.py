"""Exercises on better steps."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip

_random = np.random.default_rng(0)


def momentum_step(theta: Array, v: Array, g: Array, rate: float) -> Array:
    """The numbers after a step with momentum 0.9."""
    return theta - rate * (0.9 * v + g)


def _adam_first_step(slope: float, rate: float) -> float:
    m, s = 0.1 * slope / (1 - 0.9), 0.001 * slope**2 / (1 - 0.999)
    return float(rate * m / (np.sqrt(s) + 1e-8))


EXERCISES = (
    Exercise(
        "The slope is 1 in every step, and the momentum is 0.9. The velocity begins at 0. What is it after three "
        "steps?",
        answer=lambda: 1 + 0.9 + 0.9**2,
        hints=("After the first step it is 1. Then nine tenths of that, plus 1.",),
        slips=(
            Slip("That is where it goes in the end, after very many steps.", lambda right: 10.0),
            Slip("One step too few.", lambda right: 1 + 0.9),
        ),
        solution="1, then 0.9 + 1 = 1.9, then 0.9 · 1.9 + 1 = {answer}.",
    ),
    Exercise(
        "How long is Adam's very first step, if the slope is 7 and the learning rate 0.01?",
        answer=lambda: _adam_first_step(7.0, 0.01),
        hints=(
            "Work out both means after one step, and divide each by what its weights add up to.",
            "The first mean becomes 7, the second 49.",
        ),
        slips=(
            Slip("That is a plain step. Adam divides by the usual size of the slope.", lambda right: 0.07),
            Slip(
                "The means start at 0, too small: divide them by 1 - 0.9 and 1 - 0.999.",
                lambda right: 0.01 * 0.7 / np.sqrt(0.049),
            ),
        ),
        solution="0.01 · 7/√49 = {answer}: the learning rate, whatever the slope is.",
    ),
    Exercise(
        "All slopes are 100 times as large, from the first step on. How long are RMSprop's steps then, compared with before?",
        answer=lambda: "as long",
        choices=("as long", "10 times as long", "100 times as long"),
        hints=("What happens to s, and what to its root?",),
        slips=(
            Slip(
                "The squares grow 10,000 times; their root grows 100 times, just as the slope does.",
                lambda right: "10 times as long",
            ),
            Slip("That is plain descent.", lambda right: "100 times as long"),
        ),
        solution="As long: the slope and its usual size grow by the same factor.",
    ),
    Exercise(
        "Write ``momentum_step(theta, v, g, rate)``: the numbers after a step, from the numbers, the old velocity, the "
        "gradient and the learning rate, with momentum 0.9.",
        answer=momentum_step,
        inputs=tuple((*(_random.normal(size=4) for _ in range(3)), rate) for rate in (0.01, 0.1, 0.5)),
        program=True,
        hints=("First the new velocity, then the step with it.",),
        slips=(
            Slip(
                "That step uses the old velocity; the gradient is not in it yet.",
                instead=lambda theta, v, g, rate: theta - rate * v,
            ),
            Slip(
                "The old velocity fades: nine tenths of it stay.",
                instead=lambda theta, v, g, rate: theta - rate * (v + g),
            ),
            Slip("Downhill is against the gradient.", instead=lambda theta, v, g, rate: theta + rate * (0.9 * v + g)),
        ),
        solution="v = 0.9 * v + g; return theta - rate * v",
    ),
)
