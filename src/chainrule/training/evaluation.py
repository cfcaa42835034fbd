"""How good is a model? Its loss and accuracy on images it has not learned from, digit by digit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import no_grad
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.models import Model
    from chainrule.nn import Module


BATCH = 1000
BATCH_PIXELS = 500_000
"""Of images that are judged at a time, if larger than 28×28: some hundred megabytes in a convolutional network."""


@dataclass(frozen=True)
class Evaluation:
    """What a model made of N labeled images.

    Attributes:
        loss: the mean loss.
        predictions: (N,) int64, the class of the highest confidence; -1 where the network gave no numbers.
        probabilities: (N, classes), each row summing to 1, or holding NaN where the network gave no numbers.
        labels: (N,) int64, the right classes.
    """

    loss: float
    predictions: NDArray[np.int64]
    probabilities: NDArray[Any]
    labels: NDArray[np.int64]
    confidences = property(lambda self: self.probabilities)  # the former name

    @property
    def accuracy(self) -> float:
        """The fraction of images read right."""
        return float(np.mean(self.predictions == self.labels))

    @property
    def unread(self) -> int:
        """How many images have no prediction, because the network's outputs for them are not numbers."""
        return int((self.predictions < 0).sum())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes): how many images of each class (row) were read as each (column).

        Raises:
            ValueError: the network gave no numbers for some images, so they were read as nothing.
        """
        if self.unread:
            raise ValueError(f"confusion: {self.unread:,} of {len(self.labels):,} images were read as nothing, NaN")
        classes = self.probabilities.shape[1]
        return np.bincount(self.labels * classes + self.predictions, minlength=classes**2).reshape(classes, classes)

    @property
    def mistakes(self) -> NDArray[np.int64]:
        """The indices of images read wrong, the most confident mistake first, those read as nothing last."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]


def no_numbers(unread: int, count: int) -> str:
    """What to say of a network that gives no numbers for some of its images."""
    return (
        f"the network gives no numbers (NaN) for {unread:,} of {count:,} images: its weights are too large; "
        f"train with a smaller learning rate"
    )


def evaluate(
    network: Module, model: Model, images: NDArray[np.uint8], labels: NDArray[Any], batch_size: int | None = None
) -> Evaluation:
    """Run a network over labeled images, without learning.

    Args:
        network: what to run, in evaluation mode; afterwards each of its modules is in the mode it was in before.
        model: says what its outputs mean.
        images: (N, H, W) uint8.
        labels: (N,) integers.
        batch_size: images at a time; left out, 1000, or fewer of images larger than 28×28, `BATCH_PIXELS` in all.

    Raises:
        ValueError: there are no images.
    """
    if not len(images):
        raise ValueError("evaluate: there are no images to judge by")
    if batch_size is None:
        size = images[0].size
        batch_size = BATCH if size <= 28 * 28 else max(1, min(BATCH, BATCH_PIXELS // size))
    total, probabilities = 0.0, []
    with restore_modes(network), no_grad():
        network.eval()
        for start in range(0, len(images), batch_size):
            chosen = slice(start, start + batch_size)
            outputs = network(images_to_inputs(from_numpy(images[chosen])))
            targets = from_numpy(labels[chosen].astype(np.int64))
            total += model.loss(outputs, targets).item() * len(targets)
            probabilities.append(model.probabilities(outputs).numpy())
    rows = np.concatenate(probabilities)  # (N, classes)
    predictions = np.where(np.isfinite(rows).all(axis=1), rows.argmax(axis=1), -1)  # NaN would be its own largest
    return Evaluation(total / len(images), predictions, rows, labels.astype(np.int64))
