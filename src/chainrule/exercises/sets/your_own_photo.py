"""Exercises on reading a photo of your own."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip

_INK = np.array([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]])
_random = np.random.default_rng(0)


def center_of_mass(ink: Array) -> Array:
    """The mean row and column of the ink."""
    rows, columns = np.indices(ink.shape)
    return np.asarray([(rows * ink).sum() / ink.sum(), (columns * ink).sum() / ink.sum()])


def _middle_of_the_box(ink: Array) -> Array:
    return np.array([(side - 1) / 2 for side in ink.shape])


EXERCISES = (
    Exercise(
        "In a shadow the paper has the brightness 0.6, and the pen 0.36. How much ink is that, once the light is "
        "divided out? Give two digits.",
        answer=lambda: 1 - 0.36 / 0.6,
        hints=("Ink is one minus a ratio.",),
        slips=(
            Slip("That is the difference. It would be larger in full light: divide by the paper.", lambda right: 0.24),
            Slip("That is what is left of the light; ink is what is missing.", lambda right: 0.6),
        ),
        solution="1 - 0.36/0.6 = {answer}.",
    ),
    Exercise(
        "Paper is 0.9 in the light and 0.4 in the shadow, ink is 0.5 in the light and 0.22 in the shadow. Which "
        "threshold takes all of the ink, and none of the paper, for ink?",
        answer=lambda: "none",
        choices=("0.3", "0.45", "0.6", "none"),
        hints=("All ink must be below it, all paper above it. Which ink is the brightest, which paper the darkest?",),
        slips=(
            Slip("Ink in the light is brighter than that: it is lost.", lambda right: "0.3"),
            Slip(
                "Ink in the light (0.5) is lost, and paper in the shadow (0.4) is taken for ink.", lambda right: "0.45"
            ),
            Slip("Paper in the shadow is darker than that: it is taken for ink.", lambda right: "0.6"),
        ),
        solution="None: the brightest ink, 0.5, is brighter than the darkest paper, 0.4.",
    ),
    Exercise(
        "Where is the center of mass of this ink? Rows and columns are counted from 0. Give ``[row, column]``.\n\n"
        "``[[0, 1, 0], [0, 3, 0], [0, 0, 4]]``",
        answer=lambda: center_of_mass(_INK),
        hints=(
            "The ink adds up to 8. How much of it is in each row?",
            "The mean row is (1 · 0 + 3 · 1 + 4 · 2)/8. The column is found in the same way.",
        ),
        slips=(
            Slip("Count from 0: the first row is row 0.", lambda right: right + 1),
            Slip(
                "That is the middle of the box. Weight each pixel with its ink.", lambda right: _middle_of_the_box(_INK)
            ),
        ),
        solution="Rows: (1 · 0 + 3 · 1 + 4 · 2)/8; columns: (4 · 1 + 4 · 2)/8; together {answer}.",
    ),
    Exercise(
        "Write ``center_of_mass(ink)`` for an array of any height and width; return ``np.array([row, column])``.",
        answer=center_of_mass,
        inputs=tuple((_random.random(shape),) for shape in ((3, 4), (5, 2), (6, 7))),
        program=True,
        hints=("np.indices(ink.shape) gives the row and the column of each pixel. Weight them by the ink.",),
        slips=(
            Slip("Row and column are swapped.", instead=lambda ink: center_of_mass(ink)[::-1]),
            Slip("That is the middle of the box. Weight each pixel with its ink.", instead=_middle_of_the_box),
        ),
        solution="rows, columns = np.indices(ink.shape), then (rows * ink).sum() / ink.sum(), and the same for "
        "the columns.",
    ),
)
