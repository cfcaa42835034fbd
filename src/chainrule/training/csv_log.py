"""The history of a training run as a table, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.files import write_text
from chainrule.training.trainer import Callback

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from chainrule.training.trainer import Trainer


class CSV(Callback):
    """Writes the history as a file of comma-separated values: a line of column names, and a line per epoch.

        from pathlib import Path

        from chainrule import data, nn, optim, zeros
        from chainrule.training import CSV, Trainer

        network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        examples = data.TensorDataset(zeros(8, 4), zeros(8, dtype="int64"))
        optimizer = optim.SGD(network.parameters(), lr=0.1)
        trainer = Trainer(
            network, nn.CrossEntropyLoss(), optimizer, data.DataLoader(examples, 4), callbacks=[CSV("metrics.csv")]
        )
        history = trainer.fit(2)
        Path("metrics.csv").read_text().splitlines()[0]  # 'epoch,train_loss,seconds,learning_rate'

    The columns are the entries of the records, in the order in which they first appear. A cell is empty if an epoch
    does not have the metric, or its value is not finite. Numbers are written with all their digits: reading them gives
    the same floats.

    Args:
        path: the file. It is rewritten from the trainer's history after each epoch, so a resumed run does not repeat
            lines.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_start(self, trainer: Trainer) -> None:
        """Write the epochs completed so far."""
        self._write(trainer)

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Add the epoch's line."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        write_table(self.path, trainer.history, ("epoch",))


def write_table(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as comma-separated values, below a line of column names; missing and non-finite values are empty.

    Args:
        path: the file, which is replaced atomically.
        rows: numbers and texts by column name.
        columns: the names of the first columns; other columns follow in the order in which their names first appear.
    """
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    write_text(path, table.getvalue())


def _cell(value: Any) -> Any:
    is_empty = value is None or (isinstance(value, float) and not math.isfinite(value))
    return "" if is_empty else value
