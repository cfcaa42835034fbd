"""The optional logs of a run, besides metrics.jsonl. The run's config names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.errors import RunError
from chainrule.training import event_files
from chainrule.training.csv_log import CSV
from chainrule.training.tensorboard import TensorBoard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chainrule.training.task import Validator
    from chainrule.training.trainer import Callback


@dataclass(frozen=True)
class Log:
    """An optional log of a run.

    Attributes:
        make: makes the callback that writes the log, from the run's folder and its validator.
        check: raises a `MissingLibraryError` if a library that the log needs is not installed.
    """

    make: Callable[[Path, Validator], Callback]
    check: Callable[[], None] = lambda: None


LOGS = {
    "csv": Log(lambda folder, _: CSV(folder / "metrics.csv")),
    "tensorboard": Log(
        lambda folder, validate: TensorBoard(folder / "tensorboard", pictures=validate.figures),
        event_files.check_library,
    ),
}
"""The logs by name."""


def check_logs(names: Sequence[str]) -> None:
    """Check that logs of these names exist, and that the libraries that they need are installed.

    Raises:
        MissingLibraryError: a library is missing.
        RunError: a name is unknown.
    """
    for name in names:
        if name not in LOGS:
            raise RunError(f"unknown log {name!r}; choose from {', '.join(LOGS)}")
        LOGS[name].check()


def make_logs(names: Sequence[str], folder: Path, validate: Validator) -> list[Callback]:
    """Make the callbacks that write a run's logs.

    Args:
        names: the names of the logs; a repeated name counts once.
        folder: the run's folder.
        validate: measures the metrics of an epoch, and draws its figures.
    """
    return [LOGS[name].make(folder, validate) for name in dict.fromkeys(names)]
