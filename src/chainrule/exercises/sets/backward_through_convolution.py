"""Exercises on the way back through a convolution."""

from __future__ import annotations

import numpy as np

from chainrule.exercises.exercise import Array, Exercise, Slip
from chainrule.first_principles.convolution import convolve_backward

_random = np.random.default_rng(0)
_IMAGE = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [2.0, 1.0, 0.0]])
_KERNEL = np.array([[1.0, 2.0], [0.0, -1.0]])
_ERRORS = np.array([[1.0, 0.0], [0.0, 2.0]])


def kernel_slopes(image: Array, errors: Array) -> Array:
    """The slopes of a filter's weights: the image under the errors, at every position."""
    height, width = image.shape[0] - errors.shape[0] + 1, image.shape[1] - errors.shape[1] + 1
    kernel = np.zeros((1, 1, height, width))
    return np.asarray(convolve_backward(errors[None], image[None], kernel)[1][0, 0])


def _image_slopes(kernel: Array) -> Array:
    return np.asarray(convolve_backward(_ERRORS[None], _IMAGE[None], kernel[None, None])[0][0])


EXERCISES = (
    Exercise(
        "A filter of 2 × 2 slides over an image of 4 × 4. In how many windows is the pixel at row 0, column 2?",
        answer=lambda: int(
            convolve_backward(np.ones((1, 3, 3)), np.zeros((1, 4, 4)), np.ones((1, 1, 2, 2)))[0][0, 0, 2]
        ),
        hints=("It is in the top row. In which columns can a window begin that contains column 2?",),
        slips=(Slip("That would be a pixel in the middle; this one is at the edge.", lambda right: 4),),
        solution="The windows that begin at column 1 and at column 2, both at row 0: {answer}.",
    ),
    Exercise(
        "The image is ``[[1, 0, 2], [0, 3, 1], [2, 1, 0]]``, the filter has 2 × 2 weights, and the errors at the four "
        "outputs are ``[[1, 0], [0, 2]]``. What are the slopes of the four weights? Give a matrix of 2 rows.",
        answer=lambda: kernel_slopes(_IMAGE, _ERRORS),
        hints=(
            "Slide the errors over the image.",
            "The first is 1 times the pixel at (0, 0) plus 2 times that at (1, 1).",
        ),
        slips=(
            Slip(
                "The errors were rotated by 180 degrees; for the weights nothing is rotated.",
                lambda right: kernel_slopes(_IMAGE, _ERRORS[::-1, ::-1]),
            ),
            Slip("That is a mean over the outputs; the slopes are a sum.", lambda right: right / 4),
        ),
        solution="Each is 1 · one pixel + 2 · the one below and to the right of it: {answer}.",
    ),
    Exercise(
        "The same errors, and the filter ``[[1, 2], [0, -1]]``. What are the slopes of the nine pixels? Give a matrix "
        "of 3 rows.",
        answer=lambda: _image_slopes(_KERNEL),
        hints=(
            "Lay the filter, times the error, on each window, and add up where they overlap.",
            "Two errors are 0; only the windows at the top left and at the bottom right count.",
        ),
        slips=(
            Slip(
                "The filter is rotated: each window gets the filter as it is, times its error.",
                lambda right: _image_slopes(_KERNEL[::-1, ::-1]),
            ),
        ),
        solution="1 · the filter at the top left, plus 2 · the filter at the bottom right: {answer}.",
    ),
    Exercise(
        "Max pooling had the square ``[[0.2, 0.7], [0.5, 0.1]]``, and the error 3 arrives. What is passed on to the "
        "four? Give a matrix of 2 rows.",
        answer=lambda: np.where(np.array([[0.2, 0.7], [0.5, 0.1]]) == 0.7, 3.0, 0.0),
        hints=("Which of the four would have changed the output?",),
        slips=(
            Slip(
                "That is mean pooling. Of a maximum, only the largest gets an error.",
                lambda right: np.full((2, 2), 0.75),
            ),
            Slip("The error is passed on as it is, not multiplied by the number.", lambda right: right * 0.7),
        ),
        solution="All of it to the largest: {answer}.",
    ),
    Exercise(
        "Write ``kernel_slopes(image, errors)``: the slopes of the filter's weights, for an image and errors of "
        "any size.",
        answer=kernel_slopes,
        inputs=tuple(
            (_random.normal(size=size), _random.normal(size=(size[0] - u, size[1] - v)))
            for size, u, v in (((3, 3), 1, 1), ((5, 4), 2, 1), ((6, 6), 1, 3))
        ),
        program=True,
        hints=(
            "The filter has as many rows as there are positions of the errors in the image, and the same for columns.",
            "For each weight: np.sum(errors * image[u : u + rows, v : v + columns]).",
        ),
        slips=(
            Slip(
                "The errors were rotated by 180 degrees; for the weights nothing is rotated.",
                instead=lambda image, errors: kernel_slopes(image, errors[::-1, ::-1]),
            ),
            Slip(
                "That is a mean over the outputs; the slopes are a sum.",
                instead=lambda image, errors: kernel_slopes(image, errors) / errors.size,
            ),
        ),
        solution="For each u and v, np.sum(errors * image[u : u + rows, v : v + columns]), with the rows and columns "
        "of the errors.",
    ),
)
