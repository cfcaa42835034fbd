"""What the studio may open: runs and data by the names they got when it was started. A page never names a path."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import RunError, UserError
from chainrule.files import write_text
from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.training.run import Run

SHIPPED = "shipped"
"""The name of the run in the package."""
DATA = "mnist"
KEPT = "studio"
"""The folder, inside that of the runs, where long drawings and points are kept."""
MAX_KEPT, MAX_FILES = 200_000, 1000
_KEY = re.compile("[0-9a-f]{16}")


def describe(run: Run) -> str:
    """Return what a run trains, on what and how, as one line for a page."""
    config, recipe = run.config, run.config["training"]
    fork = config.get("fork")
    return (
        f"{run.model.name} on {Path(config['data']['name']).name}; {recipe['optimizer']}, rate {recipe['lr']:g} "
        f"({recipe['schedule']}), batch size {recipe['batch_size']}, seed {config['seed']}"
        + (f"; forked from {Path(fork['run']).name}, step {fork['step']:,}" if fork else "")
    )


class Shelf:
    """Runs, data sets and what pages had kept, by names.

    Args:
        folder: the folder of runs, which need not exist.
        chosen: the run to show first; by default the one in the package.
        data: data sets by name, besides MNIST: what the option `--data` of `chainrule train` takes.
    """

    def __init__(
        self, folder: Path = runs.RUNS, chosen: Run | None = None, data: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._chosen = None if chosen is None else chosen.folder
        self.data = {DATA: DATA, **(data or {})}

    @property
    def chosen(self) -> str:
        """The name of the run to show first."""
        return SHIPPED if self._chosen is None else self._chosen.name

    def runs(self) -> list[str]:
        """The names of the runs that there are now: the newest first, that in the package last."""
        faults: list[RunError] = []  # a run that cannot be read is told of when it is asked for
        names = [run.folder.name for run in reversed(runs.all_runs(self.folder, faults))]
        if self._chosen is not None and self._chosen.name not in names:
            names.insert(0, self._chosen.name)
        return [*names, SHIPPED]

    def run(self, name: object) -> Run:
        """Open a run.

        Raises:
            RunError: there is none of this name, or it cannot be read.
        """
        if name == SHIPPED:
            return runs.shipped()
        if self._chosen is not None and name == self._chosen.name:
            return runs.Run(self._chosen)
        if isinstance(name, str) and self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name == name:
                    return runs.Run(path)
        raise RunError("there is no run of this name; it may have been deleted")

    def keep(self, text: str) -> str:
        """Keep a text for later, and return its key.

        Raises:
            UserError: it is too long, or cannot be written.
        """
        if len(text) > MAX_KEPT:
            raise UserError(f"{len(text):,} characters are too many to keep; {MAX_KEPT:,} at most")
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        folder = self.folder / KEPT
        try:
            folder.mkdir(parents=True, exist_ok=True)
            oldest_first = sorted(folder.glob("*.txt"), key=lambda file: file.stat().st_mtime)
            for file in oldest_first[: max(0, len(oldest_first) - MAX_FILES + 1)]:
                file.unlink(missing_ok=True)
            write_text(folder / f"{key}.txt", text)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
        return key

    def text(self, key: object) -> str:
        """Return the text of a key.

        Raises:
            UserError: nothing is.
        """
        if isinstance(key, str) and _KEY.fullmatch(key):
            file = self.folder / KEPT / f"{key}.txt"
            if file.is_file():
                return file.read_text(encoding="utf-8")[:MAX_KEPT]
        raise UserError("what this address names is not kept here; it may come from another folder of runs")
