"""The folder of a run: everything about the training of one network.

config.json        everything needed to repeat the run: model, data, recipe, seed, versions
metrics.jsonl      one line per epoch: see docs/watching.md
metrics.csv        the same as a table, if the run was started with --log csv
tensorboard/       event files for TensorBoard, if the run was started with --log tensorboard
model.safetensors  the best weights so far, by validation accuracy, or for text and tables by validation loss
checkpoint/        the last complete state, for an exact resume; up to 16 more, replay-STEPS.safetensors, from which
                   `replay` computes the state at any step; and with --keep, earlier states to go back to
start.safetensors  for a run that fine-tunes the network of another run: the weights that it starts from
result.json        once training is complete, how good the best weights are: loss and accuracy on the test images or
                   rows; for a numeric target RMSE and R²; for text loss and perplexity on the validation part
curves.png         the learning curves, once training is complete
tokenizer.json     for text: the tokenizer
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
from chainrule.errors import RunError, join_names
from chainrule.files import open_regular, remove_leftovers, write_text
from chainrule.nn.init import skip_init
from chainrule.training import checkpoint, tasks
from chainrule.training.fine_tuning import START_FILE
from chainrule.training.upgrade import FORMER_SETTINGS, rename_settings

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from chainrule.nn import Module
    from chainrule.training.task import Task

RUNS = Path("runs")
"""The default folder of runs, relative to the current folder."""

SHIPPED = Path(models.__file__).with_name("shipped")
"""The folder of the run shipped with chainrule."""

SHIPPED_WORDS = SHIPPED.with_name("shipped_words")
"""The folder of the language model shipped with chainrule: it reads and writes whole words."""

DIFFERS_KEY = "own_bits"
"""The key in a recorded change that says whether the run's result may differ from that of a run started with the new
settings. It is the former name of this entry, kept because runs have it in their files."""

ROLLBACK_KEY = "going_back"
"""The key in config.json that marks a return to a kept state as not complete: `changes.change_run` writes it, and
`resume.complete_rollback` replaces the files and removes it, if need be after the first process has been killed."""

RECIPE_SCHEMA = {**get_type_hints(models.Recipe), "augment": dict}
"""The type of each field of a `Recipe` (see `check_schema`)."""
# The schema of settings under their former names, as in the files of older versions
_FORMER_SCHEMA = {name: RECIPE_SCHEMA[new_name] for name, new_name in FORMER_SETTINGS.items()}
_CONFIG_SCHEMA = {
    "created": str,
    "model": {"name": str, "options": dict},
    "data": dict,  # see `Task.data_schema`
    "training": RECIPE_SCHEMA | _FORMER_SCHEMA,
    "seed": int,
    "versions": dict,
    "keep": int,
    "log": [str],
    "threads": int,
    "start": {"run": str, "replaced": [str], "freeze": [str]},
    "fork": {"run": str, "step": int},  # the step counts from the start of training
    "changes": [
        # Made after this number of epochs and, in the next epoch, this number of steps
        {"created": str, "epoch": int, "step": int, "settings": dict, DIFFERS_KEY: bool, "why": str},
    ],
    ROLLBACK_KEY: {"kind": str, "number": int, "steps_per_epoch": int},
}  # fmt: skip
_OPTIONAL_KEYS = {
    "augment", "epochs_without_augmentation", "eager", "steps_per_epoch", "shards", "test_crc32", "photos",
    "validation", "keep", "log", "threads", "start", "fork", "changes", ROLLBACK_KEY, "correct", *_FORMER_SCHEMA,
}  # fmt: skip
"""Entries that a config or a checkpoint may lack, such as those added in later versions. Settings that are missing have
the defaults of `Recipe`."""
MAX_FILE_BYTES = 8_000_000
"""Maximum size of config.json, result.json and metrics.jsonl; enough for 40,000 epochs."""


class Run:
    """A run's folder and its contents.

    Args:
        folder: the run's folder.

    Attributes:
        config: the content of config.json, with settings under their current names.
        config_file: the path of config.json.
        weights_file: the path of the best weights so far.
        checkpoint_file: the path of the last complete state.
        created: when the run was created, in the local time zone.

    Raises:
        RunError: there is no such folder, or its config.json is missing or invalid.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise RunError(f"{self.folder}: there is no such run")
        self.config_file, self.weights_file = self.folder / "config.json", self.folder / "model.safetensors"
        self.checkpoint_file = self.folder / "checkpoint" / checkpoint.FILE_NAME
        self.config: dict[str, Any] = _read_json(self.config_file, _CONFIG_SCHEMA)
        check_schema(self.config["data"], self.task.data_schema, str(self.config_file), "data")
        try:
            self.created = datetime.fromisoformat(self.config["created"]).astimezone()
        except (ValueError, OverflowError):  # OverflowError: a year that does not exist in the local time zone
            raise RunError(f"{self.config_file}: created must be a date and time, like 2026-11-22T10:30:00") from None
        for change in self.changes:
            for name, values in change["settings"].items():
                if not isinstance(values, list) or len(values) != 2:
                    raise RunError(f"{self.config_file}: changes: {name} must be a pair, the old and the new value")
            change["settings"] = rename_settings(change["settings"])
        self.config["training"] = rename_settings(self.config["training"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """A list with a dict of metrics for each completed epoch.

        Values that are null in the file, since they are not finite, are NaN.

        Raises:
            RunError: metrics.jsonl is damaged.
        """
        file = self.folder / "metrics.jsonl"
        lines = _read(file).splitlines() if file.exists() else []
        return [_parse_record(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]

    @property
    def result(self) -> dict[str, Any] | None:
        """The content of result.json, how good the best weights are; None while training is not complete.

        Raises:
            RunError: result.json is damaged.
        """
        file = self.folder / "result.json"
        if not file.exists():
            return None
        result = _read_json(file, {**self.task.result_schema, "seconds": float})
        self.task.check_result(result, str(file))
        return result

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The changes of settings since the start of the run: time, position, old and new values.

        `changes.change_run` records them.
        """
        changes: list[dict[str, Any]] = self.config.get("changes", [])
        return changes

    @property
    def kept_states(self) -> dict[tuple[str, int], Path]:
        """The files of earlier states to go back to, keyed by ("epoch", 3) or ("step", 1200)."""
        return checkpoint.kept_states(self.checkpoint_file.parent)

    @property
    def replay_states(self) -> dict[int, Path]:
        """The files of the states to start a replay from, keyed by the total number of steps (see `replay_states`)."""
        return checkpoint.replay_states(self.checkpoint_file.parent)

    @property
    def model(self) -> models.Model:
        """The run's model.

        Raises:
            RunError: there is no model of that name.
        """
        try:
            return models.get(self.config["model"]["name"])
        except RunError as error:
            raise RunError(f"{self.config_file}: {error}") from None

    @property
    def task(self) -> Task[Any]:
        """The task of the run's model, such as images; see `tasks.find` on unknown models."""
        return tasks.find(self.config["model"]["name"])

    def generators(self) -> tuple[np.random.Generator, np.random.Generator]:
        """Create two generators from the seed: one for weights and dropout, the other for order and augmentation."""
        weights_seed, order_seed = np.random.SeedSequence(self.config["seed"]).spawn(2)
        return np.random.default_rng(weights_seed), np.random.default_rng(order_seed)

    def build_network(self, generator: np.random.Generator | None = None) -> Module:
        """Build the untrained network, with random weights drawn from a generator.

        Training starts from these weights unless the run fine-tunes (see `fine_tuning.build_initial_network`).

        Raises:
            RunError: there is no such model, or its options are invalid.
        """
        spec = self.config["model"]
        try:
            return models.build(spec["name"], spec["options"], generator=generator)
        except RunError as error:
            raise RunError(f"{self.config_file}: {error}") from None
        except (MemoryError, OverflowError, ValueError) as error:  # raised for arrays that are too large
            raise RunError(f"{self.config_file}: its model {spec['name']!r} cannot be built: {error}") from None

    def load_network(self) -> Module:
        """Load the network with its best weights, in eval mode.

        Raises:
            RunError: there are no weights yet, they do not fit the model or are not finite, or the config contradicts
                itself.
            DataError: the run's tokenizer is missing or damaged.
        """
        with skip_init():
            network = self.build_network()
        if not self.weights_file.exists():
            reason = "is missing" if self.history else "does not exist yet: the first epoch is not complete"
            raise RunError(f"{self.weights_file}: {reason}")
        state = safetensors_io.load(self.weights_file, from_chainrule=True)
        try:
            network.load_state_dict(state)
        except ValueError as error:
            raise RunError(f"{self.weights_file}: does not fit model {self.model.name!r}: {error}") from None
        for name, tensor in state.items():
            if not np.isfinite(tensor.numpy()).all():
                raise RunError(f"{self.weights_file}: {name} holds values that are not finite")
        self.task.check_network(self, network.eval())
        return network

    untrained = build_network  # former name
    network = load_network  # former name


def create(
    config: dict[str, Any],
    folder: str | os.PathLike[str] | None = None,
    write_files: Callable[[Path], None] | None = None,
) -> Run:
    """Create a run's folder: `folder`, or a new one in `runs/`, named by date, model and four random hex digits.

    Args:
        config: the run's config.
        folder: the run's folder, which must be missing or empty (see `check_empty`); None for a new one.
        write_files: called with the folder, before the config is written; it writes the other files that the run needs
            (see `Task.write_files`).

    Raises:
        RunError: the folder is not empty, or cannot be created.
    """
    target = RUNS / new_name(config) if folder is None else Path(folder)
    try:
        if folder is None:
            _remove_incomplete(RUNS)
        target.mkdir(parents=True, exist_ok=folder is not None)
        check_empty(target, config["model"]["name"])
        if write_files is not None:
            write_files(target)
        write_config(config, target)
    except OSError as error:
        raise RunError(f"{target}: cannot create the run's folder ({error.strerror})") from None
    return Run(target)


def new_name(config: dict[str, Any]) -> str:
    """Return a name for a new run's folder, by date, model and four random hex digits."""
    day = datetime.now().strftime("%Y-%m-%d")  # in local time
    return f"{day}-{config['model']['name']}-{secrets.token_hex(2)}"


def check_empty(folder: Path, model: str) -> None:
    """Check that a folder is missing or empty, so that it can become the folder of a new run of a model.

    Files that a killed process may have left do not count: temporary files, which are removed, and the files of a run
    that are written before its config.

    Raises:
        RunError: the folder holds other files.
    """
    remove_leftovers(folder)
    written_first = (*tasks.find(model).files, START_FILE)
    if folder.is_dir() and any(file.name not in written_first for file in folder.iterdir()):
        if (folder / "config.json").exists():
            raise RunError(f"{folder}: already holds a run; resume it with --resume, or choose another folder")
        raise RunError(f"{folder}: is not empty; choose another folder for the run")


def write_config(config: dict[str, Any], folder: Path) -> None:
    """Write a run's config.json, atomically."""
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def _remove_incomplete(folder: Path) -> None:
    """Clean up after processes that were killed while they created a run in a folder of runs.

    Removes temporary files from each run's folder without a config, and then the folder itself, unless it holds other
    files: those that are written before the config, such as the tokenizer, stay.
    """
    for run_folder in folder.iterdir() if folder.is_dir() else ():
        is_incomplete = run_folder.is_dir() and not (run_folder / "config.json").exists()
        # A folder without such files may be that of a process that is creating a run at this moment
        if is_incomplete and remove_leftovers(run_folder):
            with suppress(OSError):  # raised if the folder holds other files
                run_folder.rmdir()


def find(path: str | os.PathLike[str] | None = None) -> Run:
    """Find a run.

    Args:
        path: a run's folder, or its name in `runs/`. A folder of runs stands for the newest run in it; None for the
            newest one in `runs/`. "shipped" stands for the run shipped with chainrule, and "shipped_words" for the
            language model, unless there is a folder of that name.

    Raises:
        RunError: there is no such run.
    """
    folder = RUNS if path is None else Path(path)
    if (folder / "config.json").exists():
        return Run(folder)
    if not folder.is_dir() and path is not None and (RUNS / folder).is_dir():
        return Run(RUNS / folder)  # a name listed by `chainrule runs`
    for shipped_folder in (SHIPPED, SHIPPED_WORDS):
        if str(path) == shipped_folder.name and not folder.is_dir():
            return Run(shipped_folder)
    runs = all_runs(folder)
    if runs:
        return runs[-1]
    if path is None:
        raise RunError(
            f"there is no run in {folder}{'/' if folder.is_dir() else ''} yet: train one first, with: chainrule train"
        )
    raise RunError(f"{folder}: {'holds no run' if folder.is_dir() else 'there is no such run'}")


def shipped() -> Run:
    """Return the run shipped with chainrule, a small network that reads digits; `make weights` creates it."""
    return Run(SHIPPED)


def all_runs(folder: str | os.PathLike[str] = RUNS, faults: list[RunError] | None = None) -> list[Run]:
    """Return all runs in a folder, oldest first.

    Args:
        folder: the folder of runs.
        faults: a list to which the errors of unreadable runs are appended; None to raise them.

    Raises:
        RunError: a run cannot be read, and `faults` is None.
    """
    runs = []
    for file in sorted(Path(folder).glob("*/config.json")):
        try:
            runs.append(Run(file.parent))
        except RunError as error:
            if faults is None:
                raise
            faults.append(error)
    return sorted(runs, key=lambda run: run.created)


# Reading untrusted files


def _read(file: Path) -> str:
    """Read a text file of limited size: parsed JSON takes about ten times its size in memory.

    Raises:
        RunError: the file is too large, cannot be read, is not a regular file, or is not text.
    """
    try:
        with open_regular(file) as stream:
            content = stream.read(MAX_FILE_BYTES + 1)  # limited even if the reported size is wrong
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror})") from None
    if len(content) > MAX_FILE_BYTES:
        raise RunError(f"{file}: is larger than {MAX_FILE_BYTES:,} bytes, the limit for a file of a run")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise RunError(f"{file}: is not text") from None


def _read_json(file: Path, schema: dict[str, Any]) -> dict[str, Any]:
    return _parse(_read(file), str(file), schema)


def _parse_record(text: str, source: str) -> dict[str, Any]:
    """Parse an epoch's line of metrics.jsonl."""
    record = {key: math.nan if value is None else value for key, value in _parse(text, source, {}).items()}
    check_record(record, source)
    return record


def check_record(record: dict[str, Any], source: str) -> None:
    """Check that an epoch's record has the number of the epoch, and that all its values are numbers.

    Raises:
        RunError: a value is missing or not a number; the message begins with `source`.
    """
    for key, value in record.items():
        check_schema(value, int if key == "epoch" else float, source, key)
    if "epoch" not in record:
        raise RunError(f"{source}: lacks epoch")


def _parse(text: str, source: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Parse a JSON object and check it against a schema."""
    try:
        content: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{source}: is not JSON ({error})") from None
    check_schema(content, schema, source)
    return content


def check_schema(value: Any, schema: Any, source: str, name: str = "") -> None:
    """Check a value against a schema.

    Args:
        value: the value.
        schema: a type, a list with the schema of its elements, or a dict of schemas; {} accepts any dict.
        source: the file or object that the value comes from, for messages.
        name: the path of the value in the source, such as "data.limit".

    Raises:
        RunError: an entry is missing, unknown or of the wrong type; the message names it.
    """
    kind = type(schema) if isinstance(schema, (dict, list)) else schema
    accepted: Any = int | float if kind is float else kind
    is_bool = isinstance(value, bool)  # Python counts booleans as integers
    if not isinstance(value, accepted) or is_bool != (kind is bool):
        expected, actual = getattr(kind, "__name__", kind), type(value).__name__
        raise RunError(f"{source}: {name or 'the content'} must be of type {expected}, not {actual}")
    if kind is float and isinstance(value, int) and abs(value) > sys.float_info.max:
        raise RunError(f"{source}: {name} has {len(str(abs(value)))} digits, too many for a float")
    if isinstance(schema, list):
        for index, element in enumerate(value):
            check_schema(element, schema[0], source, f"{name}[{index}]")
    elif isinstance(schema, dict) and schema:
        prefix = f"{name}." if name else ""
        missing = schema.keys() - value.keys() - _OPTIONAL_KEYS
        unknown = value.keys() - schema.keys()
        for fault, keys in (("lacks", missing), ("has unknown", unknown)):
            if keys:
                raise RunError(f"{source}: {fault} {join_names([prefix + key for key in sorted(keys)])}")
        for key, entry in value.items():
            check_schema(entry, schema[key], source, prefix + key)
