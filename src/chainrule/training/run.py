"""A run: a folder that a person can read.

config.json        everything needed to run it again
metrics.jsonl      one line an epoch
model.safetensors  the best weights so far, by validation accuracy
checkpoint/        the last complete state, for an exact resume
result.json        how the best weights do on the test images, once training is over
curves.png         loss and accuracy
"""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule import models, weights
from chainrule.errors import RunError
from chainrule.files import write_text
from chainrule.training import checkpoint

if TYPE_CHECKING:
    import os

    from chainrule.nn import Module

RUNS = Path("runs")
"""Where runs go and are looked for, below the current folder."""


class Run:
    """A run's folder, and what is in it.

    Args:
        folder: of a run.

    Raises:
        RunError: there is no such folder, or it holds no readable config.json.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise RunError(f"{self.folder}: there is no such run")
        self.config: dict[str, Any] = _read_json(self.folder / "config.json")
        missing = {"model", "data", "training", "seed", "created"} - self.config.keys()
        if missing:
            raise RunError(f"{self.folder / 'config.json'}: lacks {', '.join(sorted(missing))}")

    @property
    def weights_file(self) -> Path:
        """The best weights so far."""
        return self.folder / "model.safetensors"

    @property
    def checkpoint_file(self) -> Path:
        """The last complete state."""
        return self.folder / "checkpoint" / checkpoint.FILE

    @property
    def history(self) -> list[dict[str, Any]]:
        """A dict for each epoch done."""
        file = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def result(self) -> dict[str, Any] | None:
        """How training ended; None while it has not."""
        file = self.folder / "result.json"
        return _read_json(file) if file.exists() else None

    @property
    def model(self) -> models.Model:
        """The model that was trained."""
        return models.get(self.config["model"]["name"])

    def network(self) -> Module:
        """The network with its best weights, ready to be used.

        Raises:
            RunError: there are no weights yet, or they do not fit the model.
        """
        spec = self.config["model"]
        network = models.build(spec["name"], **spec["options"])
        if not self.weights_file.exists():
            raise RunError(f"{self.folder}: has no weights yet, its first epoch was not finished")
        try:
            network.load_state_dict(weights.load(self.weights_file))
        except ValueError as error:
            raise RunError(f"{self.weights_file}: does not fit model {spec['name']!r}: {error}") from None
        return network.eval()


def create(config: dict[str, Any], folder: str | os.PathLike[str] | None = None) -> Run:
    """Make a run's folder: the one given, or a new one below `runs/`, named by date, model and four random letters.

    Raises:
        RunError: the folder holds something already, or cannot be made.
    """
    day = datetime.now().strftime("%Y-%m-%d")  # the reader's own day
    target = RUNS / f"{day}-{config['model']['name']}-{secrets.token_hex(2)}" if folder is None else Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=folder is not None)
        if any(target.iterdir()):
            what = (
                "holds a run already: go on with it by --resume"
                if (target / "config.json").exists()
                else "is not empty"
            )
            raise RunError(f"{target}: {what}, or choose another folder")
        write_text(target / "config.json", json.dumps(config, indent=2) + "\n")
    except OSError as error:
        raise RunError(f"{target}: the run's folder cannot be made ({error.strerror})") from None
    return Run(target)


def find(place: str | os.PathLike[str] | None = None) -> Run:
    """A run by its folder; or, given a folder of runs (`runs/` if left out), the newest one in it.

    Raises:
        RunError: there is none.
    """
    folder = RUNS if place is None else Path(place)
    if (folder / "config.json").exists():
        return Run(folder)
    if not folder.is_dir() and place is not None and (RUNS / folder).is_dir():
        return Run(RUNS / folder)  # a name as `chainrule runs` lists it
    runs = every(folder)
    if runs:
        return runs[-1]
    if place is None:
        raise RunError(
            f"there is no run in {folder}{'/' if folder.is_dir() else ''} yet: train one first, with: chainrule train"
        )
    raise RunError(f"{folder}: {'holds no run' if folder.is_dir() else 'there is no such run'}")


def every(folder: str | os.PathLike[str] = RUNS) -> list[Run]:
    """All runs in a folder, the newest last."""
    found = [Run(path.parent) for path in Path(folder).glob("*/config.json")]
    return sorted(found, key=lambda run: (run.config["created"], run.folder.name))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RunError(f"{file}: is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise RunError(f"{file}: must hold a JSON object")
    return content
