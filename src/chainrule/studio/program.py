"""A run as a Python program that trains the same network and prints the same numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule import text
from chainrule.data.catalog import SOURCES
from chainrule.data.image_data import ImageData
from chainrule.data.pictures import is_picture_folder
from chainrule.text import BPETokenizer, TextData, WordTokenizer
from chainrule.training import experiment
from chainrule.training.text_task import TOKENIZER

if TYPE_CHECKING:
    from chainrule.training.run import Run
    from chainrule.training.task import Data

_ALWAYS_NAMED = ("epochs", "batch_size", "optimizer", "lr", "schedule")
"""The settings that a program always names, first and in this order; others only if they differ from the defaults."""

_CREATE_WITH_TOKENIZER = (
    f"run = runs.create(config, write_files=lambda folder: examples.tokenizer.save(folder / {TOKENIZER!r}))"
)


def program(run: Run, data: Data) -> str:
    """Return a program that repeats a run bitwise, with the changes that were made while it trained.

    Args:
        run: the run.
        data: the run's data set.

    Returns:
        The program; or a comment that says why there is none, for a run that starts from another run's weights or that
        changed its batch size.
    """
    config, changes = run.config, [change for change in run.changes if change["settings"]]
    if "start" in config:
        return f"# This run starts from the weights of {config['start']['run']}: a program alone cannot repeat it.\n"
    if any("batch_size" in change["settings"] for change in changes):
        return "# This run has changed its batch size, and with it what a step is: a program cannot repeat it.\n"
    settings = dict(config["training"])
    for change in reversed(changes):
        settings |= {name: old for name, (old, _) in change["settings"].items()}
    defaults = {**asdict(run.model.recipe), "seed": 0, "limit": None}
    defaults |= experiment.configure(run.model.name, data, optimizer=settings["optimizer"])["training"]
    settings |= {"seed": config["seed"], "limit": config["data"]["limit"]}
    names = [name for name in settings if name in _ALWAYS_NAMED or settings[name] != defaults[name]]
    names.sort(key=lambda name: (name not in _ALWAYS_NAMED, name))
    imports, reading = _reading(run, data)
    steps_per_epoch = _steps_per_epoch(run, data) if changes else 0
    lines = [
        *imports,
        "from chainrule.training import experiment",
        "from chainrule.training import run as runs",
        *(["from chainrule.training.changes import change_run"] if changes else []),
        "from chainrule.training.session import train",
        "",
        *reading,
        "config = experiment.configure(",
        f"    {run.model.name!r},",
        "    examples,",
        *(f"    {name}={settings[name]!r}," for name in names),
        *_options(run, data),
        ")",
        _CREATE_WITH_TOKENIZER if isinstance(data, TextData) else "run = runs.create(config)",
    ]
    for change in changes:
        lines.append(f"train(run, examples, until={change['epoch'] * steps_per_epoch + change['step']})")
        new = {name: value for name, (_, value) in change["settings"].items()}
        lines.append(f"run = change_run(run, examples, {new!r})")
    lines += [
        "train(run, examples)",
        'print({name: value for name, value in run.history[-1].items() if name != "seconds"})',
        "print(run.task.evaluate_run(run, examples))",
    ]
    return "\n".join(lines) + "\n"


def _reading(run: Run, data: Data) -> tuple[list[str], list[str]]:
    """Return the lines that import the function to read the run's data, and those that read them as the run did."""
    name = data.name
    if isinstance(data, ImageData):
        options: dict[str, Any] = {}
        if name not in SOURCES:
            if is_picture_folder(Path(name)):
                options["image_size"] = data.train_images.shape[-1]
            options["seed"] = run.config["seed"]
        return ["from chainrule import data"], [_load(name, options), *_validation(run.config)]
    if isinstance(data, TextData):
        options = _tokenizer_options(data)
        other = text.load(name, **options)
        if other.tokenizer.document() == data.tokenizer.document() and run.task.changed_part(run, other) is None:
            return ["from chainrule import text as data"], [_load(name, options)]
    # the columns of a table, and a tokenizer that was not trained on this text, are stored in the run's folder
    folder = f"runs.Run({str(run.folder.resolve())!r})"
    return [], [f"original = {folder}  # which knows how its data are read", "examples = original.task.load(original)"]


def _load(name: str, options: dict[str, Any]) -> str:
    return f"examples = data.load({', '.join([repr(name), *(f'{key}={value!r}' for key, value in options.items())])})"


def _tokenizer_options(data: TextData) -> dict[str, Any]:
    """Return the options of `text.load` with which it trains a tokenizer of this kind and size."""
    if isinstance(data.tokenizer, BPETokenizer):
        return {"bpe": data.tokenizer.vocab_size}
    return {"words": True} if isinstance(data.tokenizer, WordTokenizer) else {}


def _steps_per_epoch(run: Run, data: Data) -> int:
    return len(experiment.prepare(run, data).loader)


def _validation(config: dict[str, Any]) -> list[str]:
    """Return the lines that hold back as many images for validation as the run does."""
    count = config["data"].get("validation")
    if count is None:
        return []
    return ["import dataclasses", f"examples = dataclasses.replace(examples, validation={count})"]


def _options(run: Run, data: Data) -> list[str]:
    """Return the line with the model's options that differ from the defaults for the data set."""
    defaults, _ = run.task.defaults(run.model, data)
    options = {name: value for name, value in run.config["model"]["options"].items() if defaults.get(name) != value}
    return [f"    options={options!r},"] if options else []
