"""The tasks of models that predict a column of a table: a class, or a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np

from chainrule.autograd import no_grad
from chainrule.data.dataset import TensorDataset
from chainrule.data.loader import DataLoader
from chainrule.data.tables import ClassTable, ClassTarget, NumberTable, NumberTarget, TableEncoder, load_table
from chainrule.errors import DataError, RunError, shorten
from chainrule.tensor import from_numpy
from chainrule.training.callbacks import best_index
from chainrule.training.evaluation import evaluate_rows, nan_message
from chainrule.training.regression import evaluate_regression
from chainrule.training.table_validation import ClassificationValidator, RegressionValidator
from chainrule.training.task import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from chainrule.data.tables import TableData
    from chainrule.models import Model, Recipe
    from chainrule.nn import Module
    from chainrule.training.run import Run

T = TypeVar("T", bound="TableData")

FEW_ROWS = 500
"""With fewer training rows, the default batch size is smaller than the model's."""

MANY_ROWS = 20_000
"""With more training rows, the default batch size is larger than the model's."""


class TableTask(Generic[T]):
    """The base of the tasks on tables; `T` is the type of a loaded table."""

    data_type: type[T]
    target_type: type[Any]
    metric = Metric("validation_loss", "min")
    data_schema: Mapping[str, Any] = {
        "name": str, "limit": int | None, "encoding": str | None, "seed": int, "columns": [dict], "target": dict,
        "crc32": int, "test_crc32": int,
    }  # fmt: skip
    files: tuple[str, ...] = ()
    default_data = ""

    def load(self, run: Run) -> T:
        """Load the table that a run was started with, encoded in the same way."""
        section, encoder = run.config["data"], self.encoder(run)
        table = load_table(
            section["name"],
            encoder.target.name,
            encoding=section["encoding"],
            seed=section["seed"],
            encoder=encoder,
        )
        return cast("T", table)  # the encoder's target decides the type

    def encoder(self, run: Run) -> TableEncoder:
        """Return the encoder that turns the columns of a run's table into inputs.

        Raises:
            RunError: the config's entries are invalid.
        """
        try:
            encoder = TableEncoder.from_config(run.config["data"])
        except DataError as error:
            raise RunError(f"{run.config_file}: data.{error}") from None
        if not isinstance(encoder.target, self.target_type):
            raise RunError(f"{run.config_file}: data.target.kind does not fit model {run.model.name!r}")
        return encoder

    def output_count(self, target: Any) -> int:
        """Return the number of outputs that a network needs for a target."""
        raise NotImplementedError

    def describe(self, data: T, limit: int | None) -> dict[str, Any]:
        """Return the data section of a new run's config."""
        return {
            "name": data.name,
            "limit": limit,
            "encoding": data.encoding,
            "seed": data.seed,
            **data.encoder.describe(),
            "crc32": data.train_crc32,
            "test_crc32": data.test_crc32,
        }

    def write_files(self, data: T, folder: Path) -> None:
        """Write nothing: a run on a table needs only its config."""

    def defaults(self, model: Model, data: T) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return default options of a new model for the table, and overrides of the model's recipe."""
        n_rows, n_inputs = data.train.inputs.shape
        overrides = {}
        if n_rows < FEW_ROWS:
            overrides["batch_size"] = 16
        elif n_rows > MANY_ROWS:
            overrides["batch_size"] = 256
        return {"inputs": n_inputs}, overrides

    def check_settings(self, recipe: Recipe, limit: int | None, data: T) -> None:
        """Check the settings that depend on the table.

        Raises:
            RunError: a value is invalid.
        """
        if recipe.steps_per_epoch:
            raise RunError(
                f"an epoch is a pass over the rows, so steps_per_epoch must be 0, not {recipe.steps_per_epoch}"
            )
        if recipe.augment:
            raise RunError("augmentation is for images; a table has none")
        n_rows = len(data.train.inputs)
        if limit is not None and limit > n_rows:
            raise RunError(f"the limit is {limit:,}, but {data.name} has {n_rows:,} training rows")

    def check_model(self, model: Model, network: Module, data: T) -> None:
        """Check that a model's network, in eval mode, accepts the rows and has the right number of outputs.

        Raises:
            RunError: the network does not fit the table.
        """
        self._check(model.name, network, data.encoder)

    def check_network(self, run: Run, network: Module) -> None:
        """Check that a run's network, in eval mode, fits the columns in the run's config.

        Raises:
            RunError: the network does not fit the columns, or the config's entries are invalid.
        """
        encoder = self.encoder(run)
        try:
            self._check(run.model.name, network, encoder)
        except RunError as error:
            raise RunError(f"{run.config_file}: {error}") from None

    def _check(self, name: str, network: Module, encoder: TableEncoder) -> None:
        """Check the inputs and outputs of the network of a model that is called `name`."""
        n_inputs, n_outputs = len(encoder.input_names), self.output_count(encoder.target)
        try:
            with no_grad():
                shape = network(from_numpy(np.zeros((1, n_inputs), np.float32))).shape
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise RunError(f"model {name!r} does not take rows of {n_inputs:,} inputs: {error}") from None
        if shape != (1, n_outputs):
            raise RunError(f"model {name!r} has outputs {shape} for one row, which must be (1, {n_outputs})")

    def changed_part(self, run: Run, data: T) -> str | None:
        """Return "rows" or "test rows" if these have changed since a run was started, else None."""
        section = run.config["data"]
        if section["crc32"] != data.train_crc32 or section["target"] != data.encoder.target.describe():
            return "rows"
        return "test rows" if section["test_crc32"] != data.test_crc32 else None

    def examples_per_epoch(self, recipe: Recipe, limit: int | None, data: T) -> int:
        """Return the number of rows per epoch."""
        return limit or len(data.train.inputs)

    def loader(self, run: Run, recipe: Recipe, data: T, network: Module, generator: np.random.Generator) -> DataLoader:
        """Return the loader of the training rows."""
        limit = run.config["data"]["limit"]
        dataset = TensorDataset(data.train.inputs[:limit], data.train.targets[:limit])
        return DataLoader(dataset, recipe.batch_size, shuffle=True, generator=generator)


class ClassificationTask(TableTask[ClassTable]):
    """Classification of rows, measured by accuracy; the best epoch is the one with the lowest validation loss."""

    name = "tables with classes"
    data_type = ClassTable
    data_noun = "a table with classes to predict"
    target_type = ClassTarget
    result_schema: Mapping[str, Any] = {"test_accuracy": float, "test_loss": float}

    def output_count(self, target: ClassTarget) -> int:
        """Return the number of classes."""
        return len(target.classes)

    def defaults(self, model: Model, data: ClassTable) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return default options of a new model for the table, and overrides of the model's recipe."""
        options, overrides = super().defaults(model, data)
        return {**options, "classes": len(data.classes)}, overrides

    def check_result(self, result: Mapping[str, Any], source: str) -> None:
        """Check the values of result.json.

        Raises:
            RunError: the accuracy is impossible.
        """
        if not 0 <= result["test_accuracy"] <= 1:
            raise RunError(f"{source}: test_accuracy must be from 0 to 1, not {result['test_accuracy']}")

    def validator(self, network: Module, model: Model, data: ClassTable, *, compiled: bool) -> ClassificationValidator:
        """Return a function that measures loss and accuracy on the validation rows."""
        return ClassificationValidator(network, model, data)

    def counter(self) -> Callable[[Any, Any], Any]:
        """Return a function that counts the rows whose class has the largest output."""
        return lambda outputs, labels: (outputs.argmax(1) == labels).sum()

    def evaluate_run(self, run: Run, data: ClassTable) -> dict[str, float]:
        """Evaluate a run's best weights on the test rows.

        Raises:
            RunError: there are no weights, they do not fit, or the network's outputs are not finite.
        """
        evaluation = evaluate_rows(run.load_network(), run.model, data.test.inputs, data.test.targets)
        if evaluation.nan_count:
            raise RunError(f"{run.weights_file}: {nan_message(evaluation.nan_count, len(evaluation.labels), 'rows')}")
        return {"test_accuracy": evaluation.accuracy, "test_loss": evaluation.loss}

    def diagnose(self, run: Run, data: ClassTable) -> str | None:
        """Return a sentence if no epoch is better than always predicting the most frequent class; else None."""
        history = run.history
        if not history or any("validation_accuracy" not in record for record in history):
            return None
        counts = np.bincount(data.validation.targets)
        majority_accuracy = float(counts.max()) / len(data.validation.targets)
        best_accuracy = max(record["validation_accuracy"] for record in history)
        if best_accuracy > majority_accuracy or majority_accuracy == 1:
            return None
        most_frequent = shorten(data.classes[int(counts.argmax())], 60)
        return (
            f"the best validation accuracy, {best_accuracy:.2%}, is no better than that of always answering "
            f"{most_frequent!r}; "
            f"the columns may say nothing about {shorten(data.encoder.target.name, 60)}, or {_advice(run)}"
        )

    def headline(self, result: Mapping[str, Any]) -> str:
        """Return the test accuracy, for lists of runs."""
        return f"test {result['test_accuracy']:.2%}"


class RegressionTask(TableTask[NumberTable]):
    """Regression on rows, measured by RMSE and R²; the best epoch is the one with the lowest validation loss."""

    name = "tables with numbers"
    data_type = NumberTable
    data_noun = "a table with a numeric target"
    target_type = NumberTarget
    result_schema: Mapping[str, Any] = {"test_rmse": float, "test_r2": float, "test_loss": float}

    def output_count(self, target: NumberTarget) -> int:
        """Return 1: the network predicts one number."""
        return 1

    def check_result(self, result: Mapping[str, Any], source: str) -> None:
        """Check the values of result.json.

        Raises:
            RunError: the RMSE is negative, or R² is above 1.
        """
        if not result["test_rmse"] >= 0 or not result["test_r2"] <= 1:
            raise RunError(
                f"{source}: test_rmse must be at least 0 and test_r2 at most 1, not {result['test_rmse']} and "
                f"{result['test_r2']}"
            )

    def validator(self, network: Module, model: Model, data: NumberTable, *, compiled: bool) -> RegressionValidator:
        """Return a function that measures loss, RMSE and R² on the validation rows."""
        return RegressionValidator(network, model, data)

    def counter(self) -> None:
        """Return None: a predicted number is not simply right or wrong."""
        return

    def evaluate_run(self, run: Run, data: NumberTable) -> dict[str, float]:
        """Evaluate a run's best weights on the test rows.

        Raises:
            RunError: there are no weights, they do not fit, or the network's outputs are not finite.
        """
        column = _number_target(data.encoder)
        result = evaluate_regression(run.load_network(), run.model, data.test.inputs, data.test.targets, column)
        if result.nan_count:
            raise RunError(f"{run.weights_file}: {nan_message(result.nan_count, len(result.targets), 'rows')}")
        return {"test_rmse": result.rmse, "test_r2": result.r2, "test_loss": result.loss}

    def diagnose(self, run: Run, data: NumberTable) -> str | None:
        """Return a sentence if the best epoch is no better than always predicting the mean; else None."""
        history = run.history
        if not history or any("validation_r2" not in record for record in history):
            return None
        r2 = history[best_index(history, self.metric.name, self.metric.mode)]["validation_r2"]
        if r2 > 0:
            return None
        return (
            f"the best epoch's validation R², {r2:.3g}, is no better than that of the mean; the columns may "
            f"say nothing about {shorten(data.encoder.target.name, 60)}, or {_advice(run)}"
        )

    def headline(self, result: Mapping[str, Any]) -> str:
        """Return R², for lists of runs."""
        return f"test R² {result['test_r2']:.4f}"


def _number_target(encoder: TableEncoder) -> NumberTarget:
    return cast("NumberTarget", encoder.target)  # `TableTask.encoder` checks the type


def _advice(run: Run) -> str:
    """Return advice for a run whose network has learned nothing."""
    rate, epochs = run.config["training"]["lr"], run.config["training"]["epochs"]
    recipe_rate = run.model.recipe.lr
    if rate > recipe_rate:
        return f"try a smaller learning rate than {rate:g}, such as {recipe_rate:g}"
    return f"try more epochs than {epochs}"


CLASSIFICATION = ClassificationTask()
REGRESSION = RegressionTask()
