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
import math
import secrets
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from chainrule import models, safetensors_io
from chainrule.autograd import no_grad
from chainrule.errors import RunError, join_names, shortened
from chainrule.files import open_regular, remove_leftovers, write_text
from chainrule.nn.init import skip_init
from chainrule.tensor import from_numpy
from chainrule.training import checkpoint
from chainrule.training.upgrade import FORMER_SETTINGS, rename_settings

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from chainrule.nn import Module

RUNS = Path("runs")
"""Where runs go and are looked for, below the current folder."""

SHIPPED = Path(models.__file__).with_name("shipped")
"""The run that comes with chainrule: its config, its weights, its result."""

RECIPE_FORM = {**get_type_hints(models.Recipe), "augment": dict}
_FORMER = {name: RECIPE_FORM[new_name] for name, new_name in FORMER_SETTINGS.items()}
_CONFIG = {
    "created": str,
    "model": {"name": str, "options": dict},
    "data": {
        "name": str, "limit": int | None, "image_shape": [int], "classes": [str], "crc32": int, "test_crc32": int,
    },
    "training": RECIPE_FORM | _FORMER,
    "seed": int,
    "versions": dict,
    "keep": int,
    "changes": [
        {"created": str, "epoch": int, "step": int, "settings": dict, "own_bits": bool, "why": str},
    ],
    "going_back": {"kind": str, "number": int, "steps_per_epoch": int},
}  # fmt: skip
_LATER = {"augment", "epochs_without_augmentation", "eager", "test_crc32", "keep", "changes", "going_back", *_FORMER}
"""What configs have not always had, or need not have; a recipe's default is what they did."""
MOST_TEXT = 8_000_000
"""Bytes of config.json, result.json and metrics.jsonl: of the last, enough for 40,000 epochs."""
_RESULT = {"test_accuracy": float, "test_loss": float, "seconds": float}


class Run:
    """A run's folder, and what is in it.

    Args:
        folder: of a run.

    Attributes:
        config: everything needed to run it again.
        config_file: where that stands.
        weights_file: where the best weights so far are.
        checkpoint_file: where the last complete state is.

    Raises:
        RunError: there is no such folder, or its config.json is missing, damaged or of another form.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise RunError(f"{self.folder}: there is no such run")
        self.config_file, self.weights_file = self.folder / "config.json", self.folder / "model.safetensors"
        self.checkpoint_file = self.folder / "checkpoint" / checkpoint.FILE
        self.config: dict[str, Any] = _read_json(self.config_file, _CONFIG)
        try:
            self.created = datetime.fromisoformat(self.config["created"]).astimezone()
        except (ValueError, OverflowError):  # the second: a year that another time zone does not have
            raise RunError(f"{self.config_file}: created must be a date and time, like 2026-11-22T10:30:00") from None
        for change in self.changes:
            for name, values in change["settings"].items():
                if not isinstance(values, list) or len(values) != 2:
                    raise RunError(f"{self.config_file}: changes: {name} must be a pair, the old and the new value")
            change["settings"] = rename_settings(change["settings"])
        self.config["training"] = rename_settings(self.config["training"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """A dict of numbers for each epoch done; NaN is null in the file.

        Raises:
            RunError: metrics.jsonl is damaged.
        """
        file = self.folder / "metrics.jsonl"
        lines = _read(file).splitlines() if file.exists() else []
        return [_record(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]

    @property
    def result(self) -> dict[str, Any] | None:
        """How training ended; None while it has not.

        Raises:
            RunError: result.json is damaged.
        """
        file = self.folder / "result.json"
        if not file.exists():
            return None
        result = _read_json(file, _RESULT)
        if not 0 <= result["test_accuracy"] <= 1:
            raise RunError(f"{file}: test_accuracy must be from 0 to 1, not {result['test_accuracy']}")
        return result

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What was changed on purpose since the run was begun (see `reopen`): when, where, and from what to what."""
        changes: list[dict[str, Any]] = self.config.get("changes", [])
        return changes

    @property
    def kept_states(self) -> dict[tuple[str, int], Path]:
        """The files of earlier states to go back to, by ("epoch", 3) or ("step", 1200)."""
        return checkpoint.kept_states(self.checkpoint_file.parent)

    @property
    def model(self) -> models.Model:
        """The model that is trained.

        Raises:
            RunError: there is none of that name.
        """
        try:
            return models.get(self.config["model"]["name"])
        except RunError as error:
            raise RunError(f"{self.config_file}: {error}") from None

    def generators(self) -> tuple[np.random.Generator, np.random.Generator]:
        """What its seed gives: a generator for starting weights and dropout, and one for the order of the images."""
        weights_seed, order_seed = np.random.SeedSequence(self.config["seed"]).spawn(2)
        return np.random.default_rng(weights_seed), np.random.default_rng(order_seed)

    def untrained(self, generator: np.random.Generator | None = None) -> Module:
        """The network as it is before training, with its weights drawn from a generator.

        Raises:
            RunError: there is no such model, or it has no such options.
        """
        spec = self.config["model"]
        try:
            return models.build(spec["name"], spec["options"], generator=generator)
        except RunError as error:
            raise RunError(f"{self.config_file}: {error}") from None
        except (MemoryError, OverflowError, ValueError) as error:  # as NumPy says that an array is too large
            raise RunError(f"{self.config_file}: its model {spec['name']!r} cannot be built: {error}") from None

    def network(self) -> Module:
        """The network with its best weights, ready to be used.

        Raises:
            RunError: there are no weights yet, or they do not fit the model or are not finite, or it does not fit the
                images and classes.
        """
        with skip_init():
            network = self.untrained()
        if not self.weights_file.exists():
            missing = "is missing" if self.history else "is not there yet, the first epoch was not finished"
            raise RunError(f"{self.weights_file}: {missing}")
        found = safetensors_io.load(self.weights_file, ours=True)
        try:
            network.load_state_dict(found)
        except ValueError as error:
            raise RunError(f"{self.weights_file}: does not fit model {self.model.name!r}: {error}") from None
        for name, tensor in found.items():
            if not np.isfinite(tensor.numpy()).all():
                raise RunError(f"{self.weights_file}: {name} holds values that are not finite")
        self._check_fit(network.eval())
        return network

    def _check_fit(self, network: Module) -> None:
        """See if a network takes the images and knows the classes that the config names."""
        shape, classes = self.config["data"]["image_shape"], self.config["data"]["classes"]
        if len(shape) != 2 or min(shape) < 1 or math.prod(shape) > models.MOST_PARAMETERS:
            raise RunError(
                f"{self.config_file}: data.image_shape must be a height and a width, of {models.MOST_PARAMETERS:,} "
                f"pixels at most, not {shortened(str(shape))}"
            )
        try:
            outputs = check_model_input(self.model.name, network, shape)
        except RunError as error:
            raise RunError(f"{self.config_file}: {error}") from None
        if outputs != len(classes):
            raise RunError(f"{self.config_file}: names {len(classes)} classes, but its model tells {outputs} apart")


def check_model_input(name: str, network: Module, shape: Sequence[int]) -> int:
    """Run a model's network on one blank image, to see if it takes images of this size.

    Args:
        name: of the model.
        network: in evaluation mode.
        shape: (H, W).

    Returns:
        How many classes it tells apart.

    Raises:
        RunError: the network does not take such images.
    """
    try:
        with no_grad():
            outputs = network(models.images_to_inputs(from_numpy(np.zeros((1, *shape), np.uint8))))  # (1, classes)
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise RunError(f"model {name!r} does not take images of {'×'.join(map(str, shape))}: {error}") from None
    classes: int = outputs.shape[1]
    return classes


def create(config: dict[str, Any], folder: str | os.PathLike[str] | None = None) -> Run:
    """Make a run's folder: the one given, or a new one below `runs/`, named by date, model and four random letters.

    A folder in which an earlier attempt was killed before there was a config counts as empty.

    Raises:
        RunError: the folder holds something already, or cannot be made.
    """
    day = datetime.now().strftime("%Y-%m-%d")  # the reader's own day
    target = RUNS / f"{day}-{config['model']['name']}-{secrets.token_hex(2)}" if folder is None else Path(folder)
    try:
        if folder is None:
            _remove_stillborn(RUNS)
        target.mkdir(parents=True, exist_ok=folder is not None)
        remove_leftovers(target)
        if any(target.iterdir()):
            if (target / "config.json").exists():
                raise RunError(f"{target}: holds a run already; go on with it by --resume, or choose another folder")
            raise RunError(f"{target}: is not empty; choose another folder for the run")
        write_config(config, target)
    except OSError as error:
        raise RunError(f"{target}: the run's folder cannot be made ({error.strerror})") from None
    return Run(target)


def write_config(config: dict[str, Any], folder: Path) -> None:
    """Write a run's config.json, in one step."""
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def _remove_stillborn(folder: Path) -> None:
    """Remove the folders of runs whose process was killed while it wrote their config: nothing else is in them."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not (path / "config.json").exists() and remove_leftovers(path):
            with suppress(OSError):  # there is something else in it after all
                path.rmdir()


def find(place: str | os.PathLike[str] | None = None) -> Run:
    """A run by its folder; or, given a folder of runs (`runs/` if left out), the newest one in it.

    "shipped", where there is no such folder, is the run that comes with chainrule.

    Raises:
        RunError: there is none.
    """
    folder = RUNS if place is None else Path(place)
    if (folder / "config.json").exists():
        return Run(folder)
    if not folder.is_dir() and place is not None and (RUNS / folder).is_dir():
        return Run(RUNS / folder)  # a name as `chainrule runs` lists it
    if str(place) == SHIPPED.name and not folder.is_dir():
        return shipped()
    runs = every(folder)
    if runs:
        return runs[-1]
    if place is None:
        raise RunError(
            f"there is no run in {folder}{'/' if folder.is_dir() else ''} yet: train one first, with: chainrule train"
        )
    raise RunError(f"{folder}: {'holds no run' if folder.is_dir() else 'there is no such run'}")


def shipped() -> Run:
    """The run that comes with chainrule: a small network that reads digits well. `make weights` makes it."""
    return Run(SHIPPED)


def every(folder: str | os.PathLike[str] = RUNS, faults: list[RunError] | None = None) -> list[Run]:
    """All runs in a folder, the newest last.

    Args:
        folder: where to look.
        faults: takes the errors of those that cannot be read.

    Raises:
        RunError: one of them cannot be read, and `faults` is left out.
    """
    found = []
    for file in sorted(Path(folder).glob("*/config.json")):
        try:
            found.append(Run(file.parent))
        except RunError as error:
            if faults is None:
                raise
            faults.append(error)
    return sorted(found, key=lambda run: run.created)


# Reading files that anybody may have changed


def _read(file: Path) -> str:
    """A text file, which is not larger than our own: JSON of a megabyte can become ten of objects.

    Raises:
        RunError: it is larger, or cannot be read, or is no regular file, or no text.
    """
    try:
        with open_regular(file) as opened:
            content = opened.read(MOST_TEXT + 1)  # no more, whatever size the system reports
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror})") from None
    if len(content) > MOST_TEXT:
        raise RunError(f"{file}: is larger than {MOST_TEXT:,} bytes, which is more than chainrule writes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise RunError(f"{file}: is not text") from None


def _read_json(file: Path, form: dict[str, Any]) -> dict[str, Any]:
    return _parsed(_read(file), str(file), form)


def _record(text: str, place: str) -> dict[str, Any]:
    """An epoch's numbers from their line of metrics.jsonl."""
    record = {key: math.nan if value is None else value for key, value in _parsed(text, place, {}).items()}
    check_record(record, place)
    return record


def check_record(record: dict[str, Any], place: str) -> None:
    """See if an epoch's record holds numbers.

    Raises:
        RunError: it does not, or not that of the epoch.
    """
    for key, value in record.items():
        check_form(value, int if key == "epoch" else float, place, key)
    if "epoch" not in record:
        raise RunError(f"{place}: lacks epoch")


def _parsed(text: str, place: str, form: dict[str, Any]) -> dict[str, Any]:
    """The object in a JSON text, if it has the form."""
    try:
        content: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{place}: is not JSON ({error})") from None
    check_form(content, form, place)
    return content


def check_form(value: Any, form: Any, place: str, name: str = "") -> None:
    """Compare a value with a form: a type, a list of one form for all its elements, or a dict of forms; {} is any dict.

    Raises:
        RunError: an entry is missing, unknown or of another type; the message names it.
    """
    kind = type(form) if isinstance(form, (dict, list)) else form
    fits = isinstance(value, int | float if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not fits:
        wanted, found = getattr(kind, "__name__", kind), type(value).__name__
        raise RunError(f"{place}: {name or 'the content'} must be of type {wanted}, not {found}")
    if kind is float and isinstance(value, int) and abs(value) > sys.float_info.max:
        raise RunError(f"{place}: {name} is a number of {len(str(abs(value)))} digits, which no float can hold")
    if isinstance(form, list):
        for i, part in enumerate(value):
            check_form(part, form[0], place, f"{name}[{i}]")
    elif isinstance(form, dict) and form:
        prefix = f"{name}." if name else ""
        missing, unknown = form.keys() - value.keys() - _LATER, value.keys() - form.keys()
        for fault, keys in (("lacks", missing), ("has the unknown", unknown)):
            if keys:
                raise RunError(f"{place}: {fault} {join_names([prefix + key for key in sorted(keys)])}")
        for key, part in value.items():
            check_form(part, form[key], place, prefix + key)
