"""The runs and data that the studio may open. A page refers to them by name and never by path."""

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
"""The name of the data set that every shelf has."""
KEPT = "studio"
"""The folder inside the folder of runs for texts, such as long drawings and points, that pages have stored."""
MAX_KEPT = 200_000
"""The most characters of a stored text."""
MAX_FILES = 1000
"""The most stored texts; the oldest are deleted."""
_KEY = re.compile("[0-9a-f]{16}")


def describe(run: Run) -> str:
    """Return a run's model, data and settings as one line for a page."""
    config, recipe = run.config, run.config["training"]
    fork = config.get("fork")
    return (
        f"{run.model.name} on {Path(config['data']['name']).name}; {recipe['optimizer']}, rate {recipe['lr']:g} "
        f"({recipe['schedule']}), batch size {recipe['batch_size']}, seed {config['seed']}"
        + (f"; forked from {Path(fork['run']).name}, step {fork['step']:,}" if fork else "")
    )


class Shelf:
    """Runs, data sets and stored texts, by name.

    Args:
        folder: the folder of runs, which need not exist.
        chosen: the run to show first; by default the one in the package.
        data: data sets besides MNIST, by name: each is a value for the option `--data` of `chainrule train`.
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
        """Return the names of the current runs: the newest first, the run in the package last."""
        faults: list[RunError] = []  # ignored here: opening such a run reports its error
        names = [run.folder.name for run in reversed(runs.all_runs(self.folder, faults))]
        if self._chosen is not None and self._chosen.name not in names:
            names.insert(0, self._chosen.name)
        return [*names, SHIPPED]

    def run(self, name: object) -> Run:
        """Open a run.

        Raises:
            RunError: there is no run of this name, or it cannot be read.
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
        """Store a text, and return its key.

        Raises:
            UserError: the text is too long, or cannot be written.
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
        """Return the stored text with this key.

        Raises:
            UserError: there is none.
        """
        if isinstance(key, str) and _KEY.fullmatch(key):
            file = self.folder / KEPT / f"{key}.txt"
            if file.is_file():
                return file.read_text(encoding="utf-8")[:MAX_KEPT]
        raise UserError("what this address names is not kept here; it may come from another folder of runs")
