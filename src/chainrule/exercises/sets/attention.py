"""Exercises on attention."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip

_random = np.random.default_rng(0)
_SCORES = np.log([1.0, 2.0, 5.0])


def _softmax(scores: Array, axis: int = -1) -> Array:
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _masked(scores: Array) -> Array:
    return np.where(np.triu(np.ones(scores.shape, bool), k=1), -np.inf, scores)


def attention(queries: Array, keys: Array, values: Array) -> Array:
    """Masked attention: each word looks at itself and at those before it."""
    scores = queries @ keys.T / np.sqrt(queries.shape[1])
    return _softmax(_masked(scores)) @ values


EXERCISES = (
    Exercise(
        "A query is (2, 1), and a key is (1, 3). What is the score, as it goes into softmax? Give three digits.",
        answer=lambda: (2 * 1 + 1 * 3) / np.sqrt(2),
        hints=(
            "First the dot product: multiply number by number, and add up.",
            "How many numbers does the query have? The dot product is divided by the root of that.",
        ),
        slips=(
            Slip("That is the dot product; it is still to be divided by the root of d.", lambda right: 5.0),
            Slip("Divide by the root of d, not by d itself.", lambda right: 2.5),
        ),
        solution="The dot product is 2 · 1 + 1 · 3 = 5, d is 2, and 5/√2 = {answer}.",
    ),
    Exercise(
        "Three scores are 0, ln 2 and ln 5. What are the three weights? Give them as ``[a, b, c]``.",
        answer=lambda: _softmax(_SCORES),
        hints=("What is :math:`e^{\\ln 5}`?", "The three powers are 1, 2 and 5. The weights must add up to 1."),
        slips=(
            Slip("Those are the powers of e; divide each by their sum.", lambda right: np.exp(_SCORES)),
            Slip("Softmax needs the powers of e before it divides by the sum.", lambda right: _SCORES / _SCORES.sum()),
        ),
        solution="The powers of e are 1, 2 and 5, their sum is 8, and the weights are {answer}.",
    ),
    Exercise(
        "A sentence has six words, and no word may look at those after it. How many of the 36 weights are exactly 0?",
        answer=lambda: int(np.triu(np.ones((6, 6)), k=1).sum()),
        hints=("How many words come after the first one, and how many after the second?",),
        slips=(Slip("A word may look at itself: the diagonal is not masked.", lambda right: 21),),
        solution="5 + 4 + 3 + 2 + 1 + 0 = {answer}: for each word, those after it.",
    ),
    Exercise(
        "Write ``attention(queries, keys, values)``, with the mask, for arrays with a row for each word: the weighted "
        "averages, a row for each word. (``np.triu`` keeps what is on or above the diagonal.)",
        answer=attention,
        inputs=tuple(tuple(_random.normal(size=(n, d)) for d in (3, 3, 2)) for n in (2, 4, 5)),
        program=True,
        hints=(
            "Scores, mask, softmax of each row, weighted average: four lines.",
            "np.where(np.triu(np.ones(scores.shape, bool), k=1), -np.inf, scores) is the mask.",
        ),
        slips=(
            Slip(
                "The scores are not divided by the root of the number of columns.",
                instead=lambda q, k, v: _softmax(_masked(q @ k.T)) @ v,
            ),
            Slip(
                "The mask is missing: words look at those after them.",
                instead=lambda q, k, v: _softmax(q @ k.T / np.sqrt(q.shape[1])) @ v,
            ),
        ),
        solution="softmax(mask(queries @ keys.T / np.sqrt(d))) @ values, with softmax along each row.",
    ),
    Exercise(
        "The words before the last one are shuffled, with nothing added for their positions. Does the result for the "
        "last word change?",
        answer=lambda: "no",
        choices=("yes", "no"),
        hints=("The result is a sum over the words. Does a sum depend on the order?",),
        slips=(Slip("Each word keeps its score and its value wherever it stands.", lambda right: "yes"),),
        solution="No. Attention sees a bag of words; that is why positions are added to the embeddings.",
    ),
)
