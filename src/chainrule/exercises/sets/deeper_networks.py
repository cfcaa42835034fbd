"""Exercises on deeper networks."""

from __future__ import annotations

import math

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip

_random = np.random.default_rng(0)


def batch_norm(z: Array, gamma: Array, beta: Array) -> Array:
    """Batch normalization of sums (images, neurons)."""
    return np.asarray((z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5) * gamma + beta)


EXERCISES = (
    Exercise(
        "Each of 8 layers multiplies the error by 0.5. What is left of an error of 1 after all of them? Give "
        "three digits.",
        answer=lambda: 0.5**8,
        hints=("The factors multiply.",),
        slips=(
            Slip("The factors are multiplied, not added.", lambda right: 0.5 * 8),
            Slip("There are eight factors, not seven.", lambda right: 0.5**7),
        ),
        solution="0.5 to the power of 8 is {answer}.",
    ),
    Exercise(
        "The same 8 layers, each with a shortcut around it. What arrives now? Give three digits.",
        answer=lambda: (1 + 0.5) ** 8,
        hints=("What is the slope of x + f(x)?",),
        slips=(
            Slip("Each layer has its own shortcut: the 1 is added inside, before the power.", lambda right: 1 + 0.5**8),
            Slip("That is without shortcuts.", lambda right: 0.5**8),
        ),
        solution="(1 + 0.5) to the power of 8 is {answer}.",
    ),
    Exercise(
        "Ten layers with shortcuts. On how many of the paths from the last to the first does the error go through "
        "exactly three layers, and around the others?",
        answer=lambda: math.comb(10, 3),
        hints=("Choose three layers out of ten; the order does not matter.",),
        slips=(
            Slip(
                "The order in which the three are chosen does not matter: divide by 3 · 2 · 1.",
                lambda right: math.perm(10, 3),
            ),
            Slip("That is ten times three. In how many ways can three of ten be chosen?", lambda right: 30),
        ),
        solution="10 · 9 · 8/(3 · 2 · 1) = {answer}.",
    ),
    Exercise(
        "Write ``batch_norm(z, gamma, beta)``: ``z`` has a row for each image and a column for each neuron; ``gamma`` "
        "and ``beta`` have a number for each neuron. Take 0.00001 for ε.",
        answer=batch_norm,
        inputs=tuple(
            (_random.normal(3, 2, (n, 3)), _random.uniform(0.5, 2, 3), _random.normal(size=3)) for n in (2, 4, 7)
        ),
        program=True,
        hints=("Each neuron has its own mean and variance, over the images: axis=0.",),
        slips=(
            Slip(
                "The variance is the mean squared distance: divide by n, not by n - 1.",
                instead=lambda z, gamma, beta: (z - z.mean(0)) / np.sqrt(z.var(0, ddof=1) + 1e-5) * gamma + beta,
            ),
            Slip(
                "That is over the neurons of an image; here the mean goes over the images of a neuron.",
                instead=lambda z, gamma, beta: (
                    (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5) * gamma + beta
                ),
            ),
            Slip(
                "Divide by the root of the variance.",
                instead=lambda z, gamma, beta: (z - z.mean(0)) / (z.var(0) + 1e-5) * gamma + beta,
            ),
        ),
        solution="return (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5) * gamma + beta",
    ),
    Exercise(
        "A network with batch normalization is used on a single image. Which mean and variance does it take?",
        answer=lambda: "running averages",
        choices=("running averages", "those of the image", "0 and 1"),
        hints=("What would the variance of one image's sum be?",),
        slips=(
            Slip(
                "With one image, every sum is its own mean: 0 would come out everywhere.",
                lambda right: "those of the image",
            ),
            Slip(
                "Then it would normalize nothing, and the next layer would get numbers that it has never seen.",
                lambda right: "0 and 1",
            ),
        ),
        solution="The running averages that it has kept while learning.",
    ),
)
