"""Diagnoses a completed training run on images: whether the network learned anything, and if not, what to try.

A loss that is NaN ends training at once (`callbacks.StopOnNaN`). A loss that rises slowly, or a network that gives the
same answer for every image, does not end training: these show only in the history.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chainrule.training.callbacks import best_index
from chainrule.training.evaluation import evaluate
from chainrule.training.fine_tuning import build_initial_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.data import ImageData
    from chainrule.training.run import Run

_MAX_IMAGES = 2000
"""Maximum number of training images to evaluate."""
_MIN_CHANGE = 0.01
"""A loss that changes by a smaller fraction counts as unchanged."""
_MIN_RISE = 0.05
"""A loss that rises by a larger fraction is reported; normal fluctuations are smaller."""


def diagnose(run: Run, data: ImageData) -> str | None:
    """Return a sentence on what went wrong in a completed training run and what to try; None if nothing did.

    Args:
        run: a run with history and weights.
        data: the data set that the run was trained on.

    Raises:
        RunError: the run's files are damaged.
    """
    history = run.history
    (images, labels), (_, validation_labels), _ = data.split()
    validation_limit = chance_limit(validation_labels)
    # A limit of 1 or more: all labels are equal, or there are too few of them to tell any accuracy from guessing
    if not history or validation_limit >= 1 or any("validation_accuracy" not in record for record in history):
        return None
    best_epoch = best_index(history) + 1
    highest, last = history[best_epoch - 1]["validation_accuracy"], history[-1]["validation_accuracy"]
    losses = [record["train_loss"] for record in history]
    if highest > validation_limit:
        if last > validation_limit and losses[-1] <= losses[0] * (1 + _MIN_RISE):
            return None
        lowest_index = int(np.argmin(losses))
        reasons = []
        if losses[-1] > losses[lowest_index] * (1 + _MIN_RISE):
            reasons.append(f"the loss rose from {losses[lowest_index]:.4g} to {losses[-1]:.4g}")
        if last < highest:
            reasons.append(f"the validation accuracy fell from {highest:.2%} to {last:.2%}")
            last_good_epoch = best_epoch
        else:  # the loss rose, although the last accuracy is the highest
            last_good_epoch = lowest_index + 1
        return (
            f"training went wrong after epoch {last_good_epoch} of {len(history)}: {' and '.join(reasons)}; the "
            f"weights of epoch {best_epoch} are kept; {_advise_smaller_rate(run)}"
        )

    no_better = f"the best validation accuracy, {highest:.2%}, is no better than guessing"
    images, labels = images[:_MAX_IMAGES], labels[:_MAX_IMAGES]
    limit = run.config["data"]["limit"]  # the network was trained on images[:limit]
    on_training_images = evaluate(run.load_network(), run.model, images[:limit], labels[:limit])
    explained_by_noise = highest + _three_deviations(highest, len(validation_labels))
    if on_training_images.accuracy > max(explained_by_noise, chance_limit(labels[:limit])):
        return (
            f"training did not work: {no_better}, though {on_training_images.accuracy:.2%} of the training images "
            f"are classified correctly; check that each image has the right label, and train on more images"
        )
    initial_loss = evaluate(build_initial_network(run, run.generators()[0]), run.model, images, labels).loss
    peak_index = int(np.argmax(losses))
    if losses[peak_index] > initial_loss * (1 + _MIN_CHANGE):
        highest_loss = f"{losses[peak_index]:.4g} in epoch {peak_index + 1}"
        rise = f"the loss rose from {initial_loss:.4g} before training to {highest_loss}"
        return f"training did not work: {rise}, and {no_better}; {_advise_smaller_rate(run)}"
    if losses[-1] >= initial_loss * (1 - _MIN_CHANGE):
        stalled = f"the loss has hardly moved, from {initial_loss:.4g} before training to {losses[-1]:.4g}"
        return f"training did not work: {stalled}, and {no_better}; {_advise_more_training(run)}"
    same_answers = "the answer hardly depends on the image"
    return f"training did not work: {no_better}, and {same_answers}; {_advise_smaller_rate(run)}"


def chance_limit(labels: NDArray[np.integer]) -> float:
    """Return a limit for some images, given their labels: guessing hardly ever has an accuracy above it.

    It is the accuracy of always predicting the most common label, plus three standard deviations, so it can exceed 1.
    """
    majority_accuracy = float(np.bincount(labels.astype(np.int64)).max()) / len(labels)
    return majority_accuracy + _three_deviations(majority_accuracy, len(labels))


def _three_deviations(accuracy: float, n_images: int) -> float:
    """Return three standard deviations of a measured accuracy, given the expected accuracy and the number of images."""
    return 3 * math.sqrt(accuracy * (1 - accuracy) / n_images)


def _advise_smaller_rate(run: Run) -> str:
    rate, recipe_rate = run.config["training"]["lr"], _recipe_rate(run)
    return f"try a smaller learning rate than {rate:g}, such as {recipe_rate if recipe_rate < rate else rate / 10:.2g}"


def _advise_more_training(run: Run) -> str:
    recipe, recipe_rate = run.config["training"], _recipe_rate(run)
    rate = recipe["lr"]
    advice = f"try more epochs than {recipe['epochs']}, or a larger learning rate than {rate:g}, such as "
    return advice + f"{recipe_rate if recipe_rate > rate else rate * 10:.2g}"


def _recipe_rate(run: Run) -> float:
    """Return the learning rate of the model's recipe; NaN, which compares false, if the optimizer is different."""
    recipe = run.model.recipe
    return recipe.lr if recipe.optimizer == run.config["training"]["optimizer"] else math.nan
