"""Progress output: a live bar in a terminal, and a line per epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from chainrule.training.trainer import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from chainrule.training.trainer import Trainer

HEADER = "epoch  train loss  validation loss  validation accuracy  seconds"


def format_line(record: dict[str, Any]) -> str:
    """Format an epoch's record as a line of the table under `HEADER`."""
    loss, accuracy = record.get("validation_loss"), record.get("validation_accuracy")  # None without validation
    return (
        f"{record['epoch']:5d}  {record['train_loss']:10.4f}  {'-' if loss is None else f'{loss:.4f}':>15}"
        f"  {'-' if accuracy is None else f'{accuracy:.2%}':>19}  {record['seconds']:7.1f}"
    )


class EpochLines(Callback):
    """Prints a line after each epoch.

    Args:
        say: called with each line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def on_start(self, trainer: Trainer) -> None:
        """Print the table header and the lines of completed epochs."""
        self.say(HEADER)
        for record in trainer.history:
            self.say(format_line(record))

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Print the epoch's line."""
        self.say(format_line(record))


class Bar(Callback):
    """A live progress bar over all epochs, with remaining time, loss and the last validation accuracy.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )  # imported only if there is a terminal

        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(compact=True),
            TextColumn("loss {task.fields[loss]}  accuracy {task.fields[accuracy]}"),
            console=console,
            transient=True,
            refresh_per_second=8,
        )
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
        last = trainer.history[-1].get("validation_accuracy") if trainer.history else None
        return {
            "completed": trainer.epoch * len(trainer.loader) + trainer.step,
            "epoch": min(trainer.epoch + 1, trainer.epochs),
            "epochs": trainer.epochs,
            "loss": f"{trainer.mean_loss:.4f}" if trainer.step else "-",
            "accuracy": "-" if last is None else f"{last:.2%}",
        }
