"""What a finished training's history says about how it went: whether it learned anything, and if not, what to try.

A loss that becomes NaN ends training at once (`callbacks.StopOnNaN`). One that grows slowly, or a network that gives
the same answer to every image, does not: training runs to its end, and only these numbers tell.
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

_ENOUGH = 2000  # images to judge by
_UNMOVED = 0.01  # the share by which a loss must have changed to have moved at all
_RISEN = 0.05  # the share by which a loss must have risen to be a warning: it goes up and down by less


def diagnose(run: Run, data: ImageData) -> str | None:
    """A sentence about what went wrong in a finished training, with something to try; None if nothing did.

    Args:
        run: with a history and weights.
        data: what it was trained on.

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
        turn = best if last < highest else lowest  # the best epoch may be the last, though the loss has risen
        return (
            f"training went wrong after epoch {turn + 1} of {len(history)}: {' and '.join(reasons)}; the weights of "
            f"epoch {best + 1} are kept; {_smaller_rate(run)}"
        )

    guess = f"the best validation accuracy, {highest:.2%}, is no better than guessing"
    images, labels = images[:_ENOUGH], labels[:_ENOUGH]
    limit = run.config["data"]["limit"]
    trained = evaluate(run.network(), run.model, images[:limit], labels[:limit])
    upper_bound = highest + _deviations(highest, len(validation_labels))
    if trained.accuracy > max(upper_bound, guessing(labels[:limit])):
        return (
            f"training did not work: {guess}, though of the images that it learned from {trained.accuracy:.2%} are "
            f"read right; check that labels and images belong together, and train on more of them"
        )
    before = evaluate(run.untrained(run.generators()[0]), run.model, images, labels).loss
    peak = int(np.argmax(losses))
    if losses[peak] > before * (1 + _UNMOVED):
        rise = f"the loss rose from {before:.4g} before training to {losses[peak]:.4g} in epoch {peak + 1}"
        return f"training did not work: {rise}, and {guess}; {_smaller_rate(run)}"
    if losses[-1] >= before * (1 - _UNMOVED):
        still = f"the loss has hardly moved, from {before:.4g} before training to {losses[-1]:.4g}"
        return f"training did not work: {still}, and {guess}; {_more_training(run)}"
    return f"training did not work: {guess}, and the answer hardly depends on the image; {_smaller_rate(run)}"


def guessing(labels: NDArray[np.integer]) -> float:
    """The accuracy of always naming the most common of these labels, plus three standard deviations."""
    share = float(np.bincount(labels).max()) / len(labels)
    return share + _deviations(share, len(labels))


def _deviations(share: float, count: int) -> float:
    """Three standard deviations of the share that is right of so many images."""
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
    """The learning rate of the model's own recipe, if that has the same optimizer; otherwise NaN."""
    recipe = run.model.recipe
    return recipe.lr if recipe.optimizer == run.config["training"]["optimizer"] else math.nan
