"""Exercises on a small GPT."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip

_random = np.random.default_rng(0)
_VECTOR = np.array([1.0, 3.0, 5.0])
_LETTERS, _POSITIONS, _WIDTH, _HIDDEN = 27, 12, 32, 128


def with_temperature(scores: Array, temperature: float) -> Array:
    """The probabilities of the next letters at a temperature."""
    powers = np.exp((scores - scores.max()) / temperature)
    return np.asarray(powers / powers.sum())


EXERCISES = (
    Exercise(
        "How many weights are in the two tables (27 letters, 12 positions) with 32 numbers in each row?",
        answer=lambda: (_LETTERS + _POSITIONS) * _WIDTH,
        hints=("One table has a row for each letter, the other a row for each position.",),
        slips=(
            Slip("The table of the positions is missing.", lambda right: _LETTERS * _WIDTH),
            Slip(
                "The two tables stand side by side: their sizes are added, not multiplied.",
                lambda right: _LETTERS * _POSITIONS * _WIDTH,
            ),
        ),
        solution="27 · 32 + 12 · 32 = {answer}.",
    ),
    Exercise(
        "The hidden layer of a block has 128 neurons, and each looks at 32 numbers. How many weights and biases "
        "do they have?",
        answer=lambda: _HIDDEN * (_WIDTH + 1),
        hints=("Each neuron has a weight for each number that it looks at, and something more.",),
        slips=(Slip("Each neuron has a bias as well.", lambda right: _HIDDEN * _WIDTH),),
        solution="128 · 32 weights and 128 biases: {answer}.",
    ),
    Exercise(
        "Normalize (1, 3, 5) as layer normalization does, with no ε, and with 1 and 0 for the numbers to learn. Give "
        "``[a, b, c]`` to three digits.",
        answer=lambda: (_VECTOR - _VECTOR.mean()) / _VECTOR.std(),
        hints=(
            "The mean is 3. The variance is the mean of the squared distances from it.",
            "The variance is 8/3; divide by its root.",
        ),
        slips=(
            Slip(
                "Divide by the root of the variance, not by the variance.",
                lambda right: (_VECTOR - _VECTOR.mean()) / _VECTOR.var(),
            ),
            Slip(
                "The variance here is a mean over 3, not a sum divided by 2.",
                lambda right: (_VECTOR - _VECTOR.mean()) / _VECTOR.std(ddof=1),
            ),
        ),
        solution="Mean 3, variance (4 + 0 + 4)/3, and (-2, 0, 2) divided by its root: {answer}.",
    ),
    Exercise(
        "Write ``with_temperature(scores, temperature)``: the probabilities of the next letters.",
        answer=with_temperature,
        inputs=tuple((_random.normal(size=5), t) for t in (0.5, 0.8, 2.0)),
        program=True,
        hints=("Divide the scores, then softmax.",),
        slips=(
            Slip(
                "The scores are divided by the temperature, not multiplied.",
                instead=lambda scores, temperature: with_temperature(scores, 1 / temperature),
            ),
            Slip(
                "The probabilities do not add up to 1: divide by the sum of the powers.",
                instead=lambda scores, temperature: np.exp(scores / temperature),
            ),
        ),
        solution="powers = np.exp(scores / temperature); return powers / powers.sum()",
    ),
    Exercise(
        "A GPT with a million weights sees only the last letter. Can it be much better than the table of pairs, on "
        "names that neither has seen?",
        answer=lambda: "no",
        choices=("yes", "no"),
        hints=("What can be known about the next letter from the last one alone, and does the table know it?",),
        slips=(
            Slip(
                "Weights cannot replace what is not shown: the table has already counted what one letter tells.",
                lambda right: "yes",
            ),
        ),
        solution="No. The table holds the frequencies, and no guess from one letter is better than those.",
    ),
)
