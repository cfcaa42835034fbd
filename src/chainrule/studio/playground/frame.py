"""What a playground shows at one moment, as small arrays of bytes."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.studio.playground.points import LIMIT
from chainrule.studio.playground.setup import DATA, FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.studio.playground.run import PlaygroundRun

SIDE = 64
"""The side of the large picture in pixels; the pictures of the neurons have half as many."""
MAX_ROWS = 400
"""The most points of a curve, besides its last one."""


@cache
def grid() -> NDArray[np.float32]:
    """Return the centers of the picture's pixels, (SIDE², 2): row by row from the top, each from the left."""
    centers = (((np.arange(SIDE) + 0.5) / SIDE * 2 - 1) * LIMIT).astype(np.float32)
    x1, x2 = np.meshgrid(centers, -centers)
    return np.stack([x1.ravel(), x2.ravel()], axis=1)


def frame(run: PlaygroundRun) -> tuple[dict[str, Any], list[bytes]]:
    """Return what a run shows now.

    Returns:
        The numbers, and these arrays: all weights and biases, layer by layer, float32; the network's output for each
        pixel, uint8: the probability of class 2, or of each class if there are more, or the value from -1 to 1; each
        neuron's output, uint8, scaled so that 128 is 0 and its peak is 1 or 255; the peaks, the largest magnitudes of
        each neuron's output, float32; the curves: float32 rows of epoch, training loss and validation loss.
    """
    answers = run.outputs(grid())
    parameters = [parameter.numpy().ravel() for linear in run.linears for parameter in linear.parameters()]
    neurons = np.concatenate([answer.T for answer in answers])
    # far from the points an output may be infinite or NaN, although it is finite for all points
    peaks = np.abs(neurons).max(axis=1, where=np.isfinite(neurons), initial=0)
    evaluation = run.evaluate()
    numbers = {
        "step": run.steps,
        "epoch": run.steps // run.steps_per_epoch,
        "steps_per_epoch": run.steps_per_epoch,
        "train_loss": _finite(evaluation.train_loss),
        "validation_loss": _finite(evaluation.validation_loss),
        "train_accuracy": _finite(evaluation.train_accuracy),
        "validation_accuracy": _finite(evaluation.validation_accuracy),
        "silent": _silent(run),
    }
    curves = np.array(_thinned(run.history), np.float32)
    buffers = [np.concatenate(parameters), _answer(run, answers[-1]), _pictures(neurons, peaks), peaks, curves]
    return numbers, [array.tobytes() for array in buffers]


def scene(run: PlaygroundRun) -> tuple[dict[str, Any], list[bytes]]:
    """Return what does not change during a run.

    Returns:
        The numbers, and these arrays: the points: float32 rows of x₁, x₂ and target; for each point 1 if it is for
        training, uint8; the pictures of all possible inputs, in the format of the neurons' pictures.
    """
    x1, x2 = grid().T
    features = np.stack([feature.function(x1, x2) for feature in FEATURES.values()])
    is_training = np.zeros(len(run.points), np.uint8)
    is_training[run.train_indices] = 1
    points = np.column_stack([run.points, run.targets]).astype(np.float32)
    content = {
        "count": len(points),
        "train": len(run.train_indices),
        "features": [feature.symbol for feature in FEATURES.values()],
        "weights": sum(parameter.numel() for parameter in run.model.parameters()),
        "batch": run.batch,
    }
    pictures = _pictures(features, np.abs(features).max(axis=1))
    return content, [points.tobytes(), is_training.tobytes(), pictures.tobytes()]


def _finite(number: float) -> float | None:
    """Return a number, or None if it is not finite: JSON has no NaN."""
    return number if math.isfinite(number) else None


def _answer(run: PlaygroundRun, logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the network's answers, (pixels, outputs), as planes of bytes: (outputs, pixels)."""
    with np.errstate(over="ignore", invalid="ignore"):  # e^1000 is infinite, and 1 / (1 + ∞) is 0
        if not DATA[run.setup.data].has_classes:
            shares = (logits + 1) / 2
        elif run.setup.outputs == 1:
            shares = 1 / (1 + np.exp(-logits))
        else:
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares = powers / powers.sum(axis=1, keepdims=True)
    shares = np.where(np.isnan(shares), 0.5, shares)
    return np.rint(255 * np.clip(shares.T, 0, 1)).astype(np.uint8)


def _pictures(values: NDArray[np.float32], peaks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return small pictures of values (count, pixels), each scaled by its peak; NaN is shown as 0."""
    small = values.reshape(-1, SIDE, SIDE)[:, 1::2, 1::2]
    shares = small / np.where(peaks > 0, peaks, 1)[:, None, None]
    shares = np.clip(np.where(np.isnan(shares), 0, shares), -1, 1)
    return np.rint(128 + 127 * shares).astype(np.uint8)


def _silent(run: PlaygroundRun) -> list[int]:
    """Return the hidden neurons, counted through all layers, whose output is 0 for every training point: dead ones."""
    answers = run.outputs(run.points[run.train_indices])[:-1]
    is_silent = [bool((answer[:, number] == 0).all()) for answer in answers for number in range(answer.shape[1])]
    return [number for number, silent in enumerate(is_silent) if silent]


def _thinned(history: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    """Return at most `MAX_ROWS` + 1 rows, evenly spaced, and the last."""
    stride = 1
    while len(history) > stride * MAX_ROWS:
        stride *= 2
    rows = history[::stride]
    return rows if rows[-1] is history[-1] else [*rows, history[-1]]
