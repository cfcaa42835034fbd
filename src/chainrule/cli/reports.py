"""What the commands print about a run, by the task of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from chainrule.cli.image_report import ImageReport
from chainrule.cli.table_report import ClassReport, NumberReport
from chainrule.cli.text_report import TextReport
from chainrule.training.image_task import IMAGES
from chainrule.training.table_task import CLASSES, NUMBERS
from chainrule.training.text_task import TEXT

if TYPE_CHECKING:
    from chainrule.training.progress import EpochTable
    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer

D = TypeVar("D", contravariant=True)


class Report(Protocol[D]):
    """What the commands print about a run.

    Attributes:
        table: the columns of the progress output.
        charts: title, key and scale of the metrics that are drawn as text after training.
        metric_label: the metric that decides which epoch is the best, in words.
    """

    table: EpochTable
    charts: tuple[tuple[str, str, float], ...]
    metric_label: str

    def describe_data(self, trainer: Trainer, data: D) -> str:
        """Return a phrase on the amount of training data."""

    def result_lines(self, run: Run, result: dict[str, Any]) -> list[str]:
        """Return the lines that state a run's result."""

    def samples(self, run: Run) -> list[str]:
        """Return lines that show what the network does, printed before the result."""

    def next_command(self, run: Run) -> str:
        """Return a command to try next."""

    def document(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the entries of the JSON document of `train` that depend on the task."""

    def evaluate(self, run: Run, as_json: bool, confusion: str | None, mistakes: str | None) -> None:
        """Print the evaluation of a run, and draw the figures."""


REPORTS: dict[str, Report[Any]] = {
    IMAGES.name: ImageReport(),
    TEXT.name: TextReport(),
    CLASSES.name: ClassReport(),
    NUMBERS.name: NumberReport(),
}
"""The reports by the name of the task."""


def of(run: Run) -> Report[Any]:
    """Return what the commands print about a run."""
    return REPORTS[run.task.name]
