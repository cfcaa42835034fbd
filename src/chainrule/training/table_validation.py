"""The validators of the tasks on tables: they measure the metrics of an epoch on the validation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from chainrule.training.evaluation import evaluate_rows
from chainrule.training.image_task import MAX_CONFUSION_CLASSES
from chainrule.training.regression import evaluate_regression

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chainrule.data.tables import ClassTable, NumberTable, NumberTarget
    from chainrule.models import Model
    from chainrule.nn import Module
    from chainrule.training.evaluation import Evaluation


class ClassificationValidator:
    """Measures loss and accuracy on the validation rows.

    Args:
        network: the network.
        model: defines the loss and the probabilities.
        data: the table.
    """

    def __init__(self, network: Module, model: Model, data: ClassTable) -> None:
        self._network, self._model, self._data = network, model, data
        self._evaluation: Evaluation | None = None

    def __call__(self) -> dict[str, float]:
        """Return the metrics."""
        inputs, targets, _ = self._data.validation
        evaluation = self._evaluation = evaluate_rows(self._network, self._model, inputs, targets)
        return {"validation_loss": evaluation.loss, "validation_accuracy": evaluation.accuracy}

    def figures(self) -> dict[str, Figure]:
        """Draw the confusion matrix, as last measured.

        Without a measurement, if an output was not finite, or if there are more than `MAX_CONFUSION_CLASSES` classes,
        nothing is drawn.
        """
        from chainrule.plots.evaluation import confusion_matrix  # imports matplotlib

        evaluation, classes = self._evaluation, self._data.classes
        if evaluation is None or evaluation.nan_count or len(classes) > MAX_CONFUSION_CLASSES:
            return {}
        return {"confusion": confusion_matrix(evaluation.confusion, classes)}


class RegressionValidator:
    """Measures loss, RMSE and R² on the validation rows.

    Args:
        network: the network.
        model: defines the loss.
        data: the table.
    """

    def __init__(self, network: Module, model: Model, data: NumberTable) -> None:
        self._network, self._model, self._data = network, model, data

    def __call__(self) -> dict[str, float]:
        """Return the metrics."""
        column = cast("NumberTarget", self._data.encoder.target)
        inputs, targets, _ = self._data.validation
        result = evaluate_regression(self._network, self._model, inputs, targets, column)
        return {"validation_loss": result.loss, "validation_rmse": result.rmse, "validation_r2": result.r2}

    def figures(self) -> dict[str, Figure]:
        """Draw nothing: the metrics of a regression are three numbers."""
        return {}
