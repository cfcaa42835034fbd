"""What the commands print about a run, which depends on its task: images, text or tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from chainrule.cli.image_report import ImageReport
from chainrule.cli.table_report import ClassReport, NumberReport
from chainrule.cli.text_report import TextReport
from chainrule.training.image_task import IMAGES
from chainrule.training.table_task import CLASSIFICATION, REGRESSION
from chainrule.training.text_task import TEXT

if TYPE_CHECKING:
    from chainrule.training.progress import EpochTable
    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer

D = TypeVar("D", contravariant=True)


class Report(Protocol[D]):
    """What the commands print about a run.

    Attributes:
        epoch_table: the columns of the progress output.
        charts: the metrics that are drawn as text after training: title, key in the history, and scale of each.
        metric_label: the metric that decides which epoch is the best, for messages.
    """

    epoch_table: EpochTable
    charts: tuple[tuple[str, str, float], ...]
    metric_label: str

    def describe_data(self, trainer: Trainer, data: D) -> str:
        """Return the amount of training data in words, with notes on the data."""

    def result_lines(self, run: Run, result: dict[str, Any]) -> list[str]:
        """Return the lines that state a run's result."""

    def samples(self, run: Run) -> list[str]:
        """Return lines that show what the network can do, printed after the result."""

    def next_command(self, run: Run) -> str:
        """Return a command to try next."""

    def document(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the entries of the JSON document of `train` that depend on the task."""

    def evaluate(self, run: Run, as_json: bool, confusion: str | None, mistakes: str | None) -> None:
        """Print the metrics of a run on its test data, and write the figures.

        Args:
            run: the run.
            as_json: print one JSON document instead.
            confusion: the file for the confusion matrix, or None.
            mistakes: the file for the worst mistakes, or None.

        Raises:
            UsageError: the task does not have such a figure.
        """


REPORTS: dict[str, Report[Any]] = {
    IMAGES.name: ImageReport(),
    TEXT.name: TextReport(),
    CLASSIFICATION.name: ClassReport(),
    REGRESSION.name: NumberReport(),
}
"""The reports by task name."""


def of(run: Run) -> Report[Any]:
    """Return the report for a run's task."""
    return REPORTS[run.task.name]
