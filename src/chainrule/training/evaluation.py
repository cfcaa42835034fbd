"""Evaluates a network that classifies images or rows of a table: loss, accuracy, confusion matrix, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import no_grad
from chainrule.data.mapping import check_files, mapped_files
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.models import Model
    from chainrule.nn import Module
    from chainrule.tensor import Tensor


BATCH_SIZE = 1000
"""Number of rows of a table per batch, or of images of at most `SMALL_IMAGE_VALUES` values."""

SMALL_IMAGE_VALUES = 28 * 28
"""The number of values of a gray image of MNIST's size."""

BATCH_VALUES = 500_000
"""Maximum number of values, of all pixels and channels, per batch of larger images: a convolutional network needs a
few hundred megabytes for them."""


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions for N labeled examples: images, or rows of a table.

    Attributes:
        loss: the mean loss.
        predictions: (N,) int64, the most probable class; -1 where the outputs are not finite.
        probabilities: (N, classes), each row summing to 1, or with NaN where the outputs are not finite.
        labels: (N,) int64, the correct classes.
    """

    loss: float
    predictions: NDArray[np.int64]
    probabilities: NDArray[Any]
    labels: NDArray[np.int64]
    confidences = property(lambda self: self.probabilities)  # the former name

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions; an example without a prediction counts as wrong."""
        return float(np.mean(self.predictions == self.labels))

    @property
    def nan_count(self) -> int:
        """The number of examples without a prediction, because the network's outputs are not finite."""
        return int((self.predictions < 0).sum())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes): the number of examples of each class (row) per predicted class (column).

        Raises:
            ValueError: some examples have no prediction.
        """
        if self.nan_count:
            raise ValueError(f"confusion: {self.nan_count:,} of {len(self.labels):,} examples have no prediction (NaN)")
        n_classes = self.probabilities.shape[1]
        cells = self.labels * n_classes + self.predictions
        return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)

    @property
    def calibration_error(self) -> float:
        """The `expected_calibration_error` of the probabilities.

        Raises:
            ValueError: some examples have no prediction.
        """
        return expected_calibration_error(self.probabilities, self.labels)

    @property
    def mistakes(self) -> NDArray[np.int64]:
        """Indices of wrong predictions, the most confident first, and then of examples without a prediction."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]


def expected_calibration_error(probabilities: NDArray[Any], labels: NDArray[Any], bins: int = 15) -> float:
    """Measure how much confidence and accuracy differ: 0 if 90% of predictions with 90% confidence are correct, etc.

        import numpy as np
        from chainrule.training.evaluation import expected_calibration_error

        expected_calibration_error(np.array([[0.75, 0.25], [0.375, 0.625]]), np.array([0, 0]))  # 0.4375

    The confidence of a prediction is the largest probability. Predictions are grouped by confidence into bins of equal
    width, ((i - 1) / bins, i / bins]. The result is the mean, weighted by the number of predictions in each bin, of the
    absolute difference between the bin's mean confidence and its accuracy.

    Args:
        probabilities: (N, classes), each row summing to 1.
        labels: (N,) integers, the correct classes.
        bins: the number of bins.

    Returns:
        The expected calibration error, from 0 to 1.

    Raises:
        ValueError: there are no predictions, probabilities are not from 0 to 1 or not finite, `bins` is below 1, or the
            shapes do not fit.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks" (2017), equation 3.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not probabilities.size:
        raise ValueError(
            f"expected_calibration_error: probabilities must be (N, classes) and labels (N,), with N of at least 1, "
            f"got {probabilities.shape} and {labels.shape}"
        )
    if bins < 1:
        raise ValueError(f"expected_calibration_error: bins must be at least 1, got {bins}")
    if not ((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all():
        raise ValueError("expected_calibration_error: probabilities must be from 0 to 1, and some are not")
    confidence = probabilities.max(axis=1).astype(np.float64)
    is_correct = probabilities.argmax(axis=1) == labels
    bin_indices = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    summed_differences = np.bincount(bin_indices, confidence - is_correct, minlength=bins)  # (bins,)
    return float(np.abs(summed_differences).sum() / len(labels))


def nan_message(nan_count: int, count: int, noun: str = "images") -> str:
    """Return the error message for a network whose outputs are not finite for some examples.

    Args:
        nan_count: the number of these examples.
        count: the number of all examples.
        noun: what the examples are.
    """
    return (
        f"the network outputs NaN for {nan_count:,} of {count:,} {noun}: its weights are too large; "
        f"train with a smaller learning rate"
    )


def evaluate(
    network: Module, model: Model, images: NDArray[np.uint8], labels: NDArray[Any], batch_size: int | None = None
) -> Evaluation:
    """Evaluate a network on labeled images.

    Args:
        network: the network; it runs in eval mode, and each module's mode is restored.
        model: defines the loss and the probabilities.
        images: (N, H, W) or (N, C, H, W) uint8; a memory-mapped file is read batch by batch.
        labels: (N,) integers.
        batch_size: images per batch; by default that of `images_per_batch`.

    Raises:
        ValueError: there are no images, or not as many labels.
        DataError: a memory-mapped file has become shorter.
    """
    _check_labels("evaluate", "images", len(images), len(labels))
    batch_size = images_per_batch(images) if batch_size is None else batch_size
    files = mapped_files(images, labels)

    def get_inputs(batch: slice) -> Tensor:
        check_files(files)
        return images_to_inputs(from_numpy(images[batch]))

    return _evaluate(network, model, get_inputs, labels, batch_size)


def images_per_batch(images: NDArray[np.uint8]) -> int:
    """Return how many images of this size to evaluate per batch: `BATCH_SIZE`, or fewer if they are large.

    Args:
        images: (N, H, W) or (N, C, H, W), with at least one image.
    """
    image_size: int = images[0].size  # channels included
    if image_size <= SMALL_IMAGE_VALUES:
        return BATCH_SIZE
    return max(1, min(BATCH_SIZE, BATCH_VALUES // image_size))


def evaluate_rows(
    network: Module, model: Model, inputs: NDArray[Any], labels: NDArray[Any], batch_size: int = BATCH_SIZE
) -> Evaluation:
    """Evaluate a network on labeled rows of a table, or on other inputs that need no conversion.

    Args:
        network: the network; it runs in eval mode, and each module's mode is restored.
        model: defines the loss and the probabilities.
        inputs: (N, inputs), as `data.load_table` returns them; or (N, ...).
        labels: (N,) integers.
        batch_size: rows per batch.

    Raises:
        ValueError: there are no rows, or not as many labels.
    """
    _check_labels("evaluate_rows", "rows", len(inputs), len(labels))
    return _evaluate(network, model, lambda batch: from_numpy(inputs[batch]), labels, batch_size)


def _check_labels(function: str, examples: str, n_examples: int, n_labels: int) -> None:
    """Raise a ValueError unless there are examples, and one label for each."""
    if not n_examples:
        raise ValueError(f"{function}: there are no {examples}")
    if n_examples != n_labels:
        raise ValueError(f"{function}: {n_examples} {examples} need as many labels, not {n_labels}")


def _evaluate(
    network: Module, model: Model, get_inputs: Callable[[slice], Tensor], labels: NDArray[Any], batch_size: int
) -> Evaluation:
    """Evaluate a network on labeled examples; `get_inputs` returns the inputs of the examples in a slice."""
    total_loss = 0.0
    batch_probabilities = []
    with restore_modes(network), no_grad():
        network.eval()
        for start in range(0, len(labels), batch_size):
            batch = slice(start, start + batch_size)
            outputs = network(get_inputs(batch))
            targets = from_numpy(labels[batch].astype(np.int64))
            total_loss += model.loss(outputs, targets).item() * len(targets)
            batch_probabilities.append(model.probabilities(outputs).numpy())
    probabilities = np.concatenate(batch_probabilities)  # (N, classes)
    is_finite = np.isfinite(probabilities).all(axis=1)
    predictions = np.where(is_finite, probabilities.argmax(axis=1), -1)  # `argmax` would return a NaN's index
    return Evaluation(total_loss / len(labels), predictions, probabilities, labels.astype(np.int64))
