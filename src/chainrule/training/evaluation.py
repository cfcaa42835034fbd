"""Evaluates a network on labeled images, or rows of a table: loss, accuracy, confusion matrix, mistakes."""

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


BATCH = 1000
"""Rows of a table per batch, or images, if they are no larger than 28×28 pixels."""

BATCH_PIXELS = 500_000
"""Pixels per batch, if images are larger than 28×28: a few hundred megabytes in a convolutional network."""


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions for N labeled images, or rows of a table.

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
        """The fraction of correct predictions."""
        return float(np.mean(self.predictions == self.labels))

    @property
    def nan_count(self) -> int:
        """The number of images without a prediction, because the outputs are not finite."""
        return int((self.predictions < 0).sum())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes): the number of images of each class (row) per predicted class (column).

        Raises:
            ValueError: some images have no prediction.
        """
        if self.nan_count:
            raise ValueError(f"confusion: {self.nan_count:,} of {len(self.labels):,} images have no prediction (NaN)")
        classes = self.probabilities.shape[1]
        return np.bincount(self.labels * classes + self.predictions, minlength=classes**2).reshape(classes, classes)

    @property
    def calibration_error(self) -> float:
        """The `expected_calibration_error` of the probabilities.

        Raises:
            ValueError: some images have no prediction.
        """
        return expected_calibration_error(self.probabilities, self.labels)

    @property
    def mistakes(self) -> NDArray[np.int64]:
        """Indices of wrong predictions, the most confident first, images without a prediction last."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]


def expected_calibration_error(probabilities: NDArray[Any], labels: NDArray[Any], bins: int = 15) -> float:
    """Measure how far confidence is from accuracy: 0 if 90% of predictions with 90% confidence are correct, and so on.

        import numpy as np
        from chainrule.training.evaluation import expected_calibration_error

        expected_calibration_error(np.array([[0.75, 0.25], [0.375, 0.625]]), np.array([0, 0]))  # 0.4375

    The confidence of a prediction is the largest probability. Predictions are grouped by confidence into bins of equal
    width, ((i - 1) / bins, i / bins]; the result is the mean over all predictions of the difference between their bin's
    mean confidence and its accuracy.

    Args:
        probabilities: (N, classes), each row summing to 1.
        labels: (N,) integers, the correct classes.
        bins: the number of bins.

    Returns:
        The expected calibration error, from 0 to 1.

    Raises:
        ValueError: there are no predictions, some are not finite or not from 0 to 1, or the arguments do not fit.

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
    correct = probabilities.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    differences = np.bincount(index, confidence - correct, minlength=bins)  # the sum per bin
    return float(np.abs(differences).sum() / len(labels))


def nan_message(nan_count: int, count: int, noun: str = "images") -> str:
    """Return the message for a network whose outputs are not finite for some images."""
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
        images: (N, H, W) uint8; a memory-mapped file is read batch by batch.
        labels: (N,) integers.
        batch_size: images per batch; by default 1000, or `BATCH_PIXELS` pixels of images larger than 28×28.

    Raises:
        ValueError: there are no images.
        DataError: a memory-mapped file has become shorter.
    """
    if not len(images):
        raise ValueError("evaluate: there are no images")
    batch_size = images_per_batch(images) if batch_size is None else batch_size
    files = mapped_files(images, labels)

    def inputs(batch: slice) -> Tensor:
        check_files(files)
        return images_to_inputs(from_numpy(images[batch]))

    return _evaluate(network, model, inputs, labels, batch_size)


def images_per_batch(images: NDArray[np.uint8]) -> int:
    """Return the number of these images to evaluate per batch, at least one."""
    size = images[0].size
    return BATCH if size <= 28 * 28 else max(1, min(BATCH, BATCH_PIXELS // size))


def evaluate_rows(
    network: Module, model: Model, inputs: NDArray[Any], labels: NDArray[Any], batch_size: int = BATCH
) -> Evaluation:
    """Evaluate a network on labeled rows of a table, or on other inputs that it takes as they are.

    Args:
        network: the network; it runs in eval mode, and each module's mode is restored.
        model: defines the loss and the probabilities.
        inputs: (N, inputs), as `data.load_table` makes them; or (N, ...).
        labels: (N,) integers.
        batch_size: rows per batch.

    Raises:
        ValueError: there are no rows.
    """
    if not len(inputs):
        raise ValueError("evaluate_rows: there are no rows")
    return _evaluate(network, model, lambda batch: from_numpy(inputs[batch]), labels, batch_size)


def _evaluate(
    network: Module, model: Model, inputs: Callable[[slice], Tensor], labels: NDArray[Any], batch_size: int
) -> Evaluation:
    """Evaluate a network on the examples whose inputs a function returns by batch."""
    total, probabilities = 0.0, []
    with restore_modes(network), no_grad():
        network.eval()
        for start in range(0, len(labels), batch_size):
            batch = slice(start, start + batch_size)
            outputs = network(inputs(batch))
            targets = from_numpy(labels[batch].astype(np.int64))
            total += model.loss(outputs, targets).item() * len(targets)
            probabilities.append(model.probabilities(outputs).numpy())
    rows = np.concatenate(probabilities)  # (N, classes)
    predictions = np.where(np.isfinite(rows).all(axis=1), rows.argmax(axis=1), -1)  # NaN would win the argmax
    return Evaluation(total / len(labels), predictions, rows, labels.astype(np.int64))
