"""Diagnoses a completed training: whether the network learned anything, and if not, what to try.

A NaN loss ends training at once (`callbacks.StopOnNaN`). A loss that rises slowly, or a network that gives the same
answer for every image, does not; they show only in the history.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chainrule.training.callbacks import best_epoch
from chainrule.training.evaluation import evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.data import ImageData
    from chainrule.training.run import Run

_ENOUGH = 2000  # images to evaluate
_UNMOVED = 0.01  # relative change of a loss below which it counts as unchanged
_RISEN = 0.05  # relative rise of a loss that is a warning; normal fluctuations are smaller


def diagnose(run: Run, data: ImageData) -> str | None:
    """Return a sentence on what went wrong in a completed training and what to try; None if nothing did.

    Args:
        run: a run with history and weights.
        data: the data set it was trained on.

    Raises:
        RunError: its files are damaged.
    """
    history = run.history
    (images, labels), (_, validation_labels), _ = data.split()
    chance = guessing(validation_labels)
    if not history or chance >= 1 or any("validation_accuracy" not in record for record in history):
        return None
    best = best_epoch(history)
    highest, last = history[best]["validation_accuracy"], history[-1]["validation_accuracy"]
    losses = [record["train_loss"] for record in history]
    if highest > chance:
        if last > chance and losses[-1] <= losses[0] * (1 + _RISEN):
            return None
        reasons, lowest = [], int(np.argmin(losses))
        if losses[-1] > losses[lowest] * (1 + _RISEN):
            reasons.append(f"the loss rose from {losses[lowest]:.4g} to {losses[-1]:.4g}")
        if last < highest:
            reasons.append(f"the validation accuracy fell from {highest:.2%} to {last:.2%}")
        turn = best if last < highest else lowest  # the loss may have risen although the last epoch is the best
        return (
            f"training went wrong after epoch {turn + 1} of {len(history)}: {' and '.join(reasons)}; the weights of "
            f"epoch {best + 1} are kept; {_smaller_rate(run)}"
        )

    guess = f"the best validation accuracy, {highest:.2%}, is no better than guessing"
    images, labels = images[:_ENOUGH], labels[:_ENOUGH]
    limit = run.config["data"]["limit"]
    trained = evaluate(run.load_network(), run.model, images[:limit], labels[:limit])
    upper_bound = highest + _deviations(highest, len(validation_labels))
    if trained.accuracy > max(upper_bound, guessing(labels[:limit])):
        return (
            f"training did not work: {guess}, though {trained.accuracy:.2%} of the training images "
            f"are classified correctly; check that labels and images belong together, and train on more of them"
        )
    before = evaluate(run.untrained(run.generators()[0]), run.model, images, labels).loss
    peak = int(np.argmax(losses))
    if losses[peak] > before * (1 + _UNMOVED):
        rise = f"the loss rose from {before:.4g} before training to {losses[peak]:.4g} in epoch {peak + 1}"
        return f"training did not work: {rise}, and {guess}; {_smaller_rate(run)}"
    if losses[-1] >= before * (1 - _UNMOVED):
        stalled = f"the loss has hardly moved, from {before:.4g} before training to {losses[-1]:.4g}"
        return f"training did not work: {stalled}, and {guess}; {_more_training(run)}"
    return f"training did not work: {guess}, and the answer hardly depends on the image; {_smaller_rate(run)}"


def guessing(labels: NDArray[np.integer]) -> float:
    """Return the accuracy of always predicting the most common label, plus three standard deviations."""
    share = float(np.bincount(labels).max()) / len(labels)
    return share + _deviations(share, len(labels))


def _deviations(share: float, count: int) -> float:
    """Return three standard deviations of the accuracy on `count` images, for an expected accuracy `share`."""
    return 3 * math.sqrt(share * (1 - share) / count)


def _smaller_rate(run: Run) -> str:
    rate, usual = run.config["training"]["lr"], _usual_rate(run)
    return f"try a smaller learning rate than {rate:g}, such as {usual if usual < rate else rate / 10:.2g}"


def _more_training(run: Run) -> str:
    recipe, usual = run.config["training"], _usual_rate(run)
    rate = recipe["lr"]
    advice = f"try more epochs than {recipe['epochs']}, or a larger learning rate than {rate:g}, such as "
    return advice + f"{usual if usual > rate else rate * 10:.2g}"


def _usual_rate(run: Run) -> float:
    """Return the learning rate of the model's recipe if it has the same optimizer; otherwise NaN."""
    recipe = run.model.recipe
    return recipe.lr if recipe.optimizer == run.config["training"]["optimizer"] else math.nan
