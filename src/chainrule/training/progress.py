"""Progress for people: a live bar where there is a terminal, and one line for each epoch anywhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from chainrule.training.trainer import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from chainrule.training.trainer import Trainer

HEADER = "epoch  train loss  validation loss  validation accuracy  seconds"


def line(record: dict[str, Any]) -> str:
    """An epoch's line of the table under `HEADER`."""
    loss, accuracy = record.get("validation_loss"), record.get("validation_accuracy")  # if the trainer validates
    return (
        f"{record['epoch']:5d}  {record['train_loss']:10.4f}  {'-' if loss is None else f'{loss:.4f}':>15}"
        f"  {'-' if accuracy is None else f'{accuracy:.2%}':>19}  {record['seconds']:7.1f}"
    )


class EpochLines(Callback):
    """Says a line after each epoch.

    Args:
        say: takes a line of text.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def on_start(self, trainer: Trainer) -> None:
        """Say the head of the table, and the epochs that were done before."""
        self.say(HEADER)
        for record in trainer.history:
            self.say(line(record))

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Say the epoch's line."""
        self.say(line(record))


class Bar(Callback):
    """A live bar over all epochs, with the time left, the loss and the last validation accuracy.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # only where there is a terminal

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
        self._shown = 0.0

    def on_start(self, trainer: Trainer) -> None:
        """Show it."""
        self._bar.add_task("", total=trainer.epochs * len(trainer.loader), **self._facts(trainer))
        self._bar.start()

    def on_step(self, trainer: Trainer) -> None:
        """Move it, ten times a second at most."""
        now = time.perf_counter()
        if now - self._shown > 0.1:
            self._shown = now
            self._bar.update(self._bar.task_ids[0], **self._facts(trainer))

    def on_end(self, trainer: Trainer) -> None:
        """Take it away, also if it was never shown."""
        self._bar.stop()
        for task in self._bar.task_ids:
            self._bar.remove_task(task)

    def _facts(self, trainer: Trainer) -> dict[str, Any]:
        last = trainer.history[-1].get("validation_accuracy") if trainer.history else None
        return {
            "completed": trainer.epoch * len(trainer.loader) + trainer.step,
            "epoch": min(trainer.epoch + 1, trainer.epochs),
            "epochs": trainer.epochs,
            "loss": f"{trainer.mean_loss:.4f}" if trainer.step else "-",
            "accuracy": "-" if last is None else f"{last:.2%}",
        }
