"""Progress output: a live progress bar in a terminal, and a line per epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.training.trainer import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from chainrule.training.trainer import Trainer


class EpochTable(NamedTuple):
    """The columns of the progress output: the metrics shown for each epoch.

    Attributes:
        columns: for each metric, its title, its key in an epoch's record, and the format of its value.
        bar: the metric that is shown beside the progress bar, with its value in the last epoch: label, key and format.
    """

    columns: tuple[tuple[str, str, str], ...]
    bar: tuple[str, str, str]

    @property
    def header(self) -> str:
        """The line of titles above the epochs' lines."""
        return "  ".join(["epoch", "train loss", *(title for title, _, _ in self.columns), "seconds"])

    def format_line(self, record: dict[str, Any]) -> str:
        """Format an epoch's record as a line under the header; "-" stands for a metric that the record lacks."""
        values = [
            f"{'-' if record.get(key) is None else format(record[key], spec):>{len(title)}}"
            for title, key, spec in self.columns
        ]
        cells = [f"{record['epoch']:5d}", f"{record['train_loss']:10.4f}", *values, f"{record['seconds']:7.1f}"]
        return "  ".join(cells)


ACCURACY_COLUMNS = EpochTable(
    (
        ("train accuracy", "train_accuracy", ".2%"),
        ("validation loss", "validation_loss", ".4f"),
        ("validation accuracy", "validation_accuracy", ".2%"),
    ),
    ("accuracy", "validation_accuracy", ".2%"),
)
PERPLEXITY_COLUMNS = EpochTable(
    (("validation loss", "validation_loss", ".4f"), ("perplexity", "perplexity", ".2f")),
    ("perplexity", "perplexity", ".2f"),
)
REGRESSION_COLUMNS = EpochTable(
    (
        ("validation loss", "validation_loss", ".4f"),
        ("validation RMSE", "validation_rmse", ".4g"),
        ("validation R²", "validation_r2", ".4f"),
    ),
    ("R²", "validation_r2", ".4f"),
)


class EpochLines(Callback):
    """Prints a line after each epoch.

    Args:
        print_line: prints a line.
        table: the metrics to print.
    """

    def __init__(self, print_line: Callable[[str], None], table: EpochTable = ACCURACY_COLUMNS) -> None:
        self.print_line, self.table = print_line, table

    def on_start(self, trainer: Trainer) -> None:
        """Print the header, and the lines of completed epochs."""
        self.print_line(self.table.header)
        for record in trainer.history:
            self.print_line(self.table.format_line(record))

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Print the epoch's line."""
        self.print_line(self.table.format_line(record))


class Bar(Callback):
    """A live progress bar over all epochs, with the remaining time, the loss, and a metric of the last epoch.

    Args:
        console: the terminal.
        table: its `bar` is the metric to show.
    """

    def __init__(self, console: Console, table: EpochTable = ACCURACY_COLUMNS) -> None:
        # Imported only if there is a terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(compact=True),
            TextColumn("loss {task.fields[loss]}  " + table.bar[0] + " {task.fields[metric]}"),
            console=console,
            transient=True,
            refresh_per_second=8,
        )
        self._table = table
        self._last_update = 0.0

    def on_start(self, trainer: Trainer) -> None:
        """Show the bar."""
        self._bar.add_task("", total=trainer.epochs * len(trainer.loader), **self._fields(trainer))
        self._bar.start()

    def on_step(self, trainer: Trainer) -> None:
        """Update the bar, at most ten times a second."""
        now = time.perf_counter()
        if now - self._last_update > 0.1:
            self._last_update = now
            self._bar.update(self._bar.task_ids[0], **self._fields(trainer))

    def on_end(self, trainer: Trainer) -> None:
        """Remove the bar, even if it was never shown."""
        self._bar.stop()
        for task in self._bar.task_ids:
            self._bar.remove_task(task)

    def _fields(self, trainer: Trainer) -> dict[str, Any]:
        """Return the values of the bar's fields."""
        _, key, spec = self._table.bar
        metric = trainer.history[-1].get(key) if trainer.history else None
        return {
            "completed": trainer.global_step,
            "epoch": min(trainer.epoch + 1, trainer.epochs),
            "epochs": trainer.epochs,
            "loss": f"{trainer.mean_loss:.4f}" if trainer.step_in_epoch else "-",
            "metric": "-" if metric is None else format(metric, spec),
        }
