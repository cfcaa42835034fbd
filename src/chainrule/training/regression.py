"""Evaluates a network that predicts numbers: loss, root mean squared error, coefficient of determination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import no_grad
from chainrule.tensor import from_numpy
from chainrule.training.evaluation import BATCH_SIZE
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.data.tables import NumberTarget
    from chainrule.models import Model
    from chainrule.nn import Module


@dataclass(frozen=True)
class Regression:
    """A model's predictions of N numbers, such as those of a table's column.

    Attributes:
        loss: the mean loss of the scaled numbers, which the network predicts.
        predictions: (N,) float64, in the units of the column.
        targets: (N,) float64, the true numbers.
    """

    loss: float
    predictions: NDArray[np.float64]
    targets: NDArray[np.float64]

    @property
    def rmse(self) -> float:
        """The root mean squared error, in the units of the column."""
        return float(np.sqrt(np.mean((self.predictions - self.targets) ** 2)))

    @property
    def r2(self) -> float:
        """The coefficient of determination R²: the fraction of the targets' variance that the predictions explain.

        It is 1 for perfect predictions, 0 if the mean of the targets is always predicted, and negative for worse
        predictions. If all targets are equal, it is 1 if they are predicted exactly, else 0.
        """
        squared_errors = float(np.sum((self.predictions - self.targets) ** 2))
        squared_deviations = float(np.sum((self.targets - self.targets.mean()) ** 2))
        if self.targets.min() == self.targets.max():  # rounding of the mean may leave tiny deviations
            return float(squared_errors == 0)
        return 1 - squared_errors / squared_deviations

    @property
    def nan_count(self) -> int:
        """The number of predictions that are not finite."""
        return int((~np.isfinite(self.predictions)).sum())


def evaluate_regression(
    network: Module, model: Model, inputs: NDArray[np.float32], targets: NDArray[Any], column: NumberTarget
) -> Regression:
    """Evaluate a network on labeled rows of a table.

    Args:
        network: the network; it runs in eval mode, and each module's mode is restored.
        model: defines the loss.
        inputs: (N, inputs), as `data.load_table` returns them.
        targets: (N, 1), the true numbers, scaled.
        column: the column that is predicted; its `decode` converts scaled numbers to the units of the column.

    Raises:
        ValueError: there are no rows.
    """
    outputs = predict_rows(network, inputs)
    with no_grad():
        loss = model.loss(from_numpy(outputs), from_numpy(targets)).item()
    return Regression(loss, column.decode(outputs), column.decode(targets))


def predict_rows(network: Module, inputs: NDArray[np.float32]) -> NDArray[Any]:
    """Return a network's outputs for rows of a table, (N, outputs).

    The network runs in eval mode, and each module's mode is restored.

    Raises:
        ValueError: there are no rows.
    """
    if not len(inputs):
        raise ValueError("predict_rows: there are no rows")
    with restore_modes(network), no_grad():
        network.eval()
        starts = range(0, len(inputs), BATCH_SIZE)
        outputs = [network(from_numpy(inputs[start : start + BATCH_SIZE])).numpy() for start in starts]
        return np.concatenate(outputs)
