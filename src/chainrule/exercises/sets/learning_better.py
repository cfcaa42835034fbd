"""Exercises on learning better."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip

_random = np.random.default_rng(0)
_POWERS, _TRUTH = np.array([1.0, 2.0, 5.0]), np.array([0.0, 0.0, 1.0])


def slope_in_a(a: float, y: float) -> float:
    """The slope of cross entropy in the activation."""
    return -y / a + (1 - y) / (1 - a)


def dropout(h: Array, mask: Array, p: float) -> Array:
    """Hidden activations with those of the mask kept, as large on average as before."""
    return h * mask / (1 - p)


EXERCISES = (
    Exercise(
        "A sigmoid neuron says 0.9, and the right answer is 0. What is the slope of half the squared error in its sum "
        "z? Give three digits.",
        answer=lambda: (0.9 - 0.0) * 0.9 * (1 - 0.9),
        hints=("Two factors: the error, and the slope of the sigmoid.", "The slope of the sigmoid is a (1 - a)."),
        slips=(
            Slip("The slope of the sigmoid is missing: that would be the slope of cross entropy.", lambda right: 0.9),
            Slip("The error is missing: that is the slope of the sigmoid alone.", lambda right: 0.9 * (1 - 0.9)),
        ),
        solution="0.9 · 0.9 · 0.1 = {answer}: less than a tenth of what cross entropy gives.",
    ),
    Exercise(
        "The slope of cross entropy in the activation, before the sigmoid's slope cancels: a formula in ``a`` "
        "and ``y``.",
        answer=slope_in_a,
        inputs=((0.2, 1.0), (0.7, 0.0), (0.9, 1.0), (0.4, 0.5)),
        hints=("The slope of ln a is 1/a, that of ln(1 - a) is -1/(1 - a).",),
        slips=(
            Slip("That is the slope in z. In a, it is still divided by a (1 - a).", instead=lambda a, y: a - y),
            Slip(
                "The slope of 1 - a is -1, which changes the sign of the second part.",
                instead=lambda a, y: -y / a - (1 - y) / (1 - a),
            ),
        ),
        solution="-y/a + (1 - y)/(1 - a), which is (a - y)/(a (1 - a)).",
    ),
    Exercise(
        "Three scores are ln 1, ln 2 and ln 5, and the third answer is right. What are the slopes of the loss in the "
        "three scores? Give ``[a, b, c]``.",
        answer=lambda: _POWERS / _POWERS.sum() - _TRUTH,
        hints=("First the three probabilities: the powers of e are 1, 2 and 5.", "Then probability minus truth."),
        slips=(
            Slip(
                "Those are the probabilities. Subtract 1 from that of the right answer.", lambda right: right + _TRUTH
            ),
        ),
        solution="The probabilities are 1/8, 2/8 and 5/8; minus 0, 0 and 1 gives {answer}.",
    ),
    Exercise(
        "A weight is 2, its slope is 0.4. The learning rate is 0.5 and the weight decay 0.1. What is the weight after "
        "one step? Give three digits.",
        answer=lambda: 2 - 0.5 * (0.4 + 0.1 * 2),
        hints=("The slope that the step takes is the loss's own, plus the decay times the weight.",),
        slips=(
            Slip("That is the step without weight decay.", lambda right: 2 - 0.5 * 0.4),
            Slip("The decay is multiplied by the weight.", lambda right: 2 - 0.5 * (0.4 + 0.1)),
            Slip("The decay is multiplied by the learning rate, too.", lambda right: 2 - 0.5 * 0.4 - 0.1 * 2),
        ),
        solution="2 - 0.5 · (0.4 + 0.1 · 2) = {answer}.",
    ),
    Exercise(
        "Write ``dropout(h, mask, p)``: ``mask`` is 1 for the neurons that stay and 0 for the others, each dropped "
        "with the probability ``p``; the sums must stay as large on average.",
        answer=dropout,
        inputs=tuple((_random.random(6), np.array([1.0, 0, 1, 1, 0, 1]), p) for p in (0.25, 0.5, 0.8)),
        program=True,
        hints=("If three quarters are dropped, the rest must count four times.",),
        slips=(
            Slip("What stays must be made larger, or all sums shrink.", instead=lambda h, mask, p: h * mask),
            Slip(
                "Divide by the share that stays, 1 - p, not by the share that goes.",
                instead=lambda h, mask, p: h * mask / p,
            ),
        ),
        solution="return h * mask / (1 - p)",
    ),
)
