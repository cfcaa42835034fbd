"""The Python side of the view Train: it starts a run, controls it, and shows it while it trains."""

from __future__ import annotations

import math
import shlex
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import data as datasets
from chainrule import models, text
from chainrule.data.catalog import SOURCES
from chainrule.data.image_data import ImageData
from chainrule.data.tables import SUFFIXES
from chainrule.errors import PictureError, RunError, UserError, shorten
from chainrule.images.steps import BlankPictureError
from chainrule.reading import DigitReader
from chainrule.studio.frames import finite
from chainrule.studio.process import RUNNING, TrainingProcess
from chainrule.studio.program import program
from chainrule.studio.shelf import describe
from chainrule.studio.worker import PAUSED
from chainrule.training import experiment, tasks
from chainrule.training import run as runs
from chainrule.training.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.studio.shelf import Shelf
    from chainrule.training.run import Run
    from chainrule.training.task import Data

    Answer = tuple[dict[str, Any], list[bytes]]

EVERYDAY = "everyday"
"""The name of the text in the package, which can always be chosen."""
_SETTINGS = {
    "epochs": int,
    "batch_size": int,
    "lr": float,
    "optimizer": str,
    "schedule": str,
    "seed": int,
    "limit": int,
}
_NUMBERS_PER_TRAINING = 1_000_000_000
"""More than the messages of a training, so that the messages of the next training have higher numbers."""
_MAX_EXACT = 1_000_000_000
"""Integers below this are also accepted as floats."""


class Training:
    """Answers the view Train: one training at a time, in a separate process.

    Args:
        shelf: the runs and data to choose from.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._process: TrainingProcess | None = None
        self._generation = 0  # counts the trainings
        self._closes = 0  # counts how often the last page was closed
        self._keeps_running = False
        self._loading = threading.Lock()  # a separate one: a training can be controlled while data are read
        self._data: dict[str, tuple[int, Data]] = {}  # by name: the seed of the split, and the data
        self._reader: DigitReader | None = None

    def close(self) -> None:
        """Save and stop the training, as the last page was closed, unless it is to keep running."""
        with self._lock:
            if self._keeps_running:
                return
            self._closes += 1
            process = self._process
        if process is not None:
            process.stop()

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> Answer | None:
        """Answer a message; return None if it is not understood."""
        match content, buffers:
            case {"ask": "choices"}, []:
                return {"tell": "choices", **self.choices()}, []
            case {"ask": "start", "settings": dict(settings)}, []:
                return self._describe(self.start(settings)), []
            case {"ask": "open", "run": str(name)}, []:
                return self._describe(self.shelf.run(name)), []
            case {"ask": "history", "run": str(name)}, []:
                return {"tell": "history", "run": name, "records": _records(self.shelf.run(name))}, []
            case {"ask": "code", "run": str(name)}, []:
                run = self.shelf.run(name)
                return {"tell": "code", "code": program(run, run.task.load(run))}, []
            case {"ask": "frame", "run": str(name), "after": int(after)}, []:
                return self.frame(name, after)
            case {"ask": "look", "run": str(name), "sample": int(number)}, []:
                return self.look(name, number)
            case {"ask": "look", "run": str(name)}, [picture]:
                return self.look(name, picture)
            case {"ask": "keep", "on": bool(on)}, []:
                self._keeps_running = on
                return {"tell": "keep", "on": on}, []
            case {"ask": "go" | "pause" | "step" | "stop" | "change" as what, "run": str(name)}, []:
                return self.steer(what, name, content)
        return None

    def choices(self) -> dict[str, Any]:
        """Return the data, models, optimizers, schedules and runs to choose from."""
        offered = [model for model in models.REGISTRY.values() if model.task in ("images", "text")]
        with self._lock:
            process = self._process
        return {
            "training": process.folder.name if process is not None and process.is_alive else "",
            "keep": self._keeps_running,
            "data": [{"name": name, "task": _task_of(source)} for name, source in self._sources().items()],
            "models": [
                {"name": model.name, "about": model.summary, "task": model.task, **_defaults(model)}
                for model in offered
            ],
            "optimizers": [{"name": name, "lr": entry.settings["lr"]} for name, entry in OPTIMIZERS.items()],
            "schedules": list(experiment.SCHEDULES),
            "runs": self.shelf.runs()[:-1],
        }

    def start(self, settings: dict[str, Any]) -> Run:
        """Begin a new run.

        Args:
            settings: "data", and optionally "model", "seed", "limit" and settings of the recipe.

        Raises:
            UserError: a setting is invalid, a training runs already, or the run's folder cannot be written.
        """
        closes = self._closes
        for name in settings:
            if name not in ("data", "model", *_SETTINGS):
                raise RunError(f"there is no setting {name!r}")
        checked = {name: _check(name, value, _SETTINGS.get(name, str)) for name, value in settings.items()}
        changes = {name: value for name, value in checked.items() if name in _SETTINGS}
        with self._lock:
            self._check_free(closes)
        examples = self._load(checked.get("data"), checked.get("seed", 0))
        config = experiment.configure(checked.get("model", "mlp"), examples, **changes)
        write_files = tasks.of(models.get(config["model"]["name"])).write_files
        with self._lock:
            self._check_free(closes)  # again: another page may have started one meanwhile
            folder = self.shelf.folder / runs.new_name(config)
            run = runs.create(config, folder, lambda target: write_files(examples, target))
            self._begin(run)
        return run

    def steer(self, what: str, name: str, content: dict[str, Any]) -> Answer:
        """Continue, pause, take a step, change settings, or stop; a run that is not being trained is started first.

        Raises:
            UserError: there is no such run, another run is being trained, or a number is invalid.
        """
        closes = self._closes
        kinds = {"lr": float, "epochs": int, "step": int}
        numbers = {key: _check(key, content[key], kind) for key, kind in kinds.items() if content.get(key) is not None}
        process = self._training(name)
        if what == "stop":
            if process is not None:
                process.stop()
            return {"tell": "steered", "what": what}, []
        if process is None or not process.is_alive:
            run = self.shelf.run(name)
            experiment.refuse_shipped(run)
            with self._lock:
                self._check_free(closes)
                process = self._begin(run, until=None if what == "go" else PAUSED)
        if what == "go":
            process.go()
        elif what == "pause":
            process.pause()
        elif what == "step":
            process.step()
        else:
            step = numbers.pop("step", None)
            process.change(numbers, step=step)
        return {"tell": "steered", "what": what}, []

    def frame(self, name: str, after: int) -> Answer:
        """Return the newest state and frame of a training; wait up to a second for one that is newer than `after`."""
        process = self._training(name)
        if process is None:
            with self._news:
                self._news.wait(1.0)
            return {"tell": "frame", "run": name, "number": after, "state": {"state": "idle"}, "frame": None}, []
        start = self._generation * _NUMBERS_PER_TRAINING
        number, state, newest = process.news(after - start if after > start else 0, 1.0)
        frame, buffers = newest or (None, [])
        return {"tell": "frame", "run": name, "number": start + number, "state": state, "frame": frame}, buffers

    def look(self, name: str, what: int | bytes) -> Answer:
        """Show a training's network a picture: a test image by its number, or a drawing.

        Raises:
            UserError: the run's data are not images, or the drawing cannot be read.
        """
        run = self.shelf.run(name)
        data = run.task.load(run)
        if not isinstance(data, ImageData):
            raise RunError(f"{run.model.name} reads {run.task.name}, not pictures")
        label = None
        if isinstance(what, int):
            index = what % len(data.test_images)
            picture, label = np.asarray(data.test_images[index]), data.classes[int(data.test_labels[index])]
        else:
            picture = self._centered(what)
            if picture.shape != data.test_images.shape[1:]:
                raise RunError(f"drawings are 28×28 pixels, and {data.name} has {_size(data.test_images.shape[1:])}")
        process = self._training(name)
        if process is not None:
            process.look(picture)
        shape = list(picture.shape)
        content = {"tell": "picture", "shape": shape, "label": label, "names": list(data.classes)}
        return content, [np.ascontiguousarray(picture).tobytes()]

    def _centered(self, drawing: bytes) -> NDArray[np.uint8]:
        """Return a drawing as an input of the network, (28, 28), as `chainrule predict` prepares it."""
        with self._lock:
            if self._reader is None:
                self._reader = DigitReader(runs.shipped())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "drawing.png"
            file.write_bytes(drawing)
            try:
                *_, (_, values) = self._reader.read(file, "the drawing").stages
            except BlankPictureError:
                raise UserError("there is nothing on the drawing") from None
            except PictureError as error:
                raise UserError(str(error)) from None
        return np.asarray(values if values.dtype == np.uint8 else np.rint(255 * np.clip(values, 0, 1)), np.uint8)

    def _training(self, name: str) -> TrainingProcess | None:
        """Return the process that trains a run or was the last to do so; None if there is none."""
        with self._lock:
            process = self._process
        return process if process is not None and process.folder.name == name else None

    def _check_free(self, closes: int) -> None:
        """Refuse a second training, and one that no page would watch.

        Args:
            closes: how often the last page had been closed when the training was requested.

        Raises:
            RunError: a training runs, or the last page was closed meanwhile.
        """
        if self._closes != closes:
            raise RunError("the page has gone meanwhile, so no training has begun")
        process = self._process
        if process is not None and process.is_alive and process.state["state"] in RUNNING:
            raise RunError(f"{process.folder.name} is training; stop it first")

    def _begin(self, run: Run, until: int | None = None) -> TrainingProcess:
        """Train a run in a new process, which replaces the previous one."""
        if self._process is not None:
            self._process.stop()
        self._generation += 1
        self._process = TrainingProcess(run.folder, until=until)
        self._news.notify_all()
        return self._process

    def _sources(self) -> dict[str, str]:
        return {**self.shelf.data, EVERYDAY: EVERYDAY}

    def _load(self, name: object, seed: int) -> Data:
        """Load a data set by its name on the shelf.

        Args:
            name: the name.
            seed: the run's seed: own images are split by it, here and in the process that trains.

        Raises:
            UserError: there is no such data set, it cannot be read, or the seed is negative.
        """
        sources = self._sources()
        if not isinstance(name, str) or name not in sources:
            raise RunError(f"there is no data set {name!r}; choose from {', '.join(sources)}")
        source = sources[name]
        task = _task_of(source)
        if task == "table":
            raise RunError(f"{name} is a table: train on it with `chainrule train`, which asks for the column")
        if seed < 0:
            raise RunError(f"the seed must be at least 0, not {seed}")
        if task == "text" or source in SOURCES:
            seed = 0  # their parts are fixed
        with self._loading:
            loaded = self._data.get(name)
            if loaded is None or loaded[0] != seed:
                loaded = (seed, text.load(source) if task == "text" else datasets.load(source, seed=seed))
                self._data[name] = loaded
            return loaded[1]

    def _describe(self, run: Run) -> dict[str, Any]:
        """Return what the page needs to know about a run."""
        config, process = run.config, self._training(run.folder.name)
        names = ("epochs", "batch_size", "lr", "optimizer", "schedule")
        return {
            "tell": "run",
            "run": run.folder.name if run.folder != runs.SHIPPED else "shipped",
            "model": run.model.name,
            "about": describe(run),
            "task": run.model.task,
            "data": config["data"]["name"],
            "seed": config["seed"],
            "limit": config["data"]["limit"],
            **{name: config["training"][name] for name in names},
            "records": _records(run),
            "changes": run.changes,
            "result": run.result,
            "command": f"chainrule train --resume {shlex.quote(str(run.folder))}",
            "is_training": process is not None and process.is_alive,
        }


def _check(name: str, value: Any, kind: type) -> Any:
    """Check the type of a value from the page, and return it.

    Raises:
        RunError: the type is a different one, or the number is not finite.
    """
    if kind is float and type(value) is int and abs(value) < _MAX_EXACT:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        expected = {str: "a name", int: "an integer", float: "a finite number"}[kind]
        raise RunError(f"{name} must be {expected}, not {shorten(repr(value))}")
    return value


def _records(run: Run) -> list[dict[str, Any]]:
    return [{name: finite(value) for name, value in record.items()} for record in run.history]


def _defaults(model: models.Model) -> dict[str, Any]:
    recipe = model.recipe
    return {
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer,
        "lr": recipe.lr,
        "schedule": recipe.schedule,
    }


def _task_of(source: str) -> str:
    """Return the kind of a data set: images, text, or a table."""
    if source in text.CORPORA or source.endswith(".txt"):
        return "text"
    return "table" if source.lower().endswith(SUFFIXES) else "images"


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
