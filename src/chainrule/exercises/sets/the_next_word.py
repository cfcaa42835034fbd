"""Exercises on the model that predicts the next word."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.language import softmax

_SCORES = np.array([2.0, 1.0, 0.0])


def _chances(scores: Array) -> Array:
    return np.asarray(softmax(scores[None])[0], float)


def perplexity(probabilities: Array) -> float:
    """e to the power of the mean of -ln p."""
    return float(np.exp(-np.mean(np.log(probabilities))))


_random = np.random.default_rng(4)

EXERCISES = (
    Exercise(
        "Each of five words has an embedding of 16 numbers, and a hidden layer of 64 neurons looks at all of them. How many "
        "weights and biases does the hidden layer have?",
        answer=lambda: 5 * 16 * 64 + 64,
        hints=("How many numbers does each hidden neuron look at?", "And each neuron has a bias."),
        slips=(
            Slip("The biases are missing.", lambda right: right - 64),
            Slip("The layer looks at five embeddings side by side.", lambda right: 16 * 64 + 64),
        ),
        solution="5 · 16 = 80 inputs, 80 · 64 weights and 64 biases: {answer}.",
    ),
    Exercise(
        "A model gives the next word the probability 0.02. What is the perplexity of this one word?",
        answer=lambda: perplexity(np.array([0.02])),
        hints=("The loss is -ln p, and the perplexity e to the power of the loss.",),
        slips=(Slip("That is the loss; the perplexity is e to that power.", lambda right: -np.log(0.02)),),
        solution="It is as unsure as among 1 / 0.02 = {answer} words.",
    ),
    Exercise(
        "Three words have the scores 2, 1 and 0. With the temperature T = 0.5, what are their probabilities? Give three "
        "numbers.",
        answer=lambda: _chances(_SCORES / 0.5),
        hints=("Divide the scores by T first.", "Then softmax: powers of e, divided by their sum."),
        slips=(
            Slip("The scores are divided by T, not multiplied.", lambda right: _chances(_SCORES * 0.5)),
            Slip("That is T = 1: divide the scores by 0.5 first.", lambda right: _chances(_SCORES)),
            Slip("They do not add up to 1: divide by the sum of the powers.", lambda right: np.exp(_SCORES / 0.5)),
        ),
        solution="Softmax of 4, 2 and 0: {answer}.",
    ),
    Exercise(
        "Write ``perplexity(probabilities)``: the perplexity of several words, from the probabilities that the model gave to "
        "the words that came.",
        answer=perplexity,
        inputs=tuple((_random.uniform(0.01, 0.9, size=n),) for n in (1, 3, 8)),
        program=True,
        hints=("The loss is the *mean* of -ln p.", "np.exp of the loss."),
        slips=(
            Slip("That is the loss: the perplexity is e to that power.", lambda right: np.log(right)),
            Slip("The loss is the mean over the words, not the sum.",
                 instead=lambda probabilities: np.exp(-np.sum(np.log(probabilities)))),
            Slip("The logarithms are averaged, not the probabilities.",
                 instead=lambda probabilities: 1 / np.mean(probabilities)),
            Slip("The loss has a minus: the logarithm of a probability is negative.", lambda right: 1 / right),
        ),
        solution="return np.exp(-np.mean(np.log(probabilities)))",
    ),
)  # fmt: skip
