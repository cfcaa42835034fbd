"""A run as a program: lines of Python that train the same and print the same numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from chainrule import text
from chainrule.training import experiment

if TYPE_CHECKING:
    from chainrule.training.run import Run
    from chainrule.training.task import Data

_LATER = ("epochs", "batch_size", "optimizer", "lr", "schedule")
"""The settings that a program always names, in this order; others only if they are not the model's own."""


def program(run: Run, data: Data) -> str:
    """Return a program that trains a run to the same bits, with the changes that were made while it trained.

    Args:
        run: the run.
        data: its data set.

    Returns:
        The program; for a run that needs another's weights, or that changed its batch size, a comment that says so.
    """
    config, changes = run.config, [change for change in run.changes if change["settings"]]
    if "start" in config:
        return f"# This run starts from the weights of {config['start']['run']}: a program alone cannot repeat it.\n"
    if any("batch_size" in change["settings"] for change in changes):
        return "# This run has changed its batch size, and with it what a step is: a program cannot repeat it.\n"
    settings = dict(config["training"])
    for change in reversed(changes):
        settings |= {name: old for name, (old, _) in change["settings"].items()}
    usual = {**asdict(run.model.recipe), "seed": 0, "limit": None}
    usual |= experiment.configure(run.model.name, data, optimizer=settings["optimizer"])["training"]
    settings |= {"seed": config["seed"], "limit": config["data"]["limit"]}
    own = [name for name in settings if name in _LATER or settings[name] != usual[name]]
    module = "text" if config["data"]["name"] in text.CORPORA else "data"
    steps = len(changes) and _steps_per_epoch(run, data)
    lines = [
        f"from chainrule import {module}" if module == "data" else "from chainrule import text as data",
        "from chainrule.training import experiment",
        "from chainrule.training import run as runs",
        *(["from chainrule.training.changes import change_run"] if changes else []),
        "from chainrule.training.session import train",
        "",
        f"examples = data.load({config['data']['name']!r})",
        *_validation(config),
        "config = experiment.configure(",
        f"    {run.model.name!r},",
        "    examples,",
        *(f"    {name}={settings[name]!r}," for name in sorted(own, key=lambda name: (name not in _LATER, name))),
        *_options(run, data),
        ")",
        "run = runs.create(config)",
    ]
    for change in changes:
        lines.append(f"train(run, examples, until={change['epoch'] * steps + change['step']})")
        new = {name: value for name, (_, value) in change["settings"].items()}
        lines.append(f"run = change_run(run, examples, {new!r})")
    lines += [
        "train(run, examples)",
        'print({name: value for name, value in run.history[-1].items() if name != "seconds"})',
        "print(run.task.evaluate_run(run, examples))",
    ]
    return "\n".join(lines) + "\n"


def _steps_per_epoch(run: Run, data: Data) -> int:
    return len(experiment.prepare(run, data).loader)


def _validation(config: dict[str, Any]) -> list[str]:
    """Lines that hold back as many images as the run does."""
    number = config["data"].get("validation")
    return (
        []
        if number is None
        else ["import dataclasses", f"examples = dataclasses.replace(examples, validation={number})"]
    )


def _options(run: Run, data: Data) -> list[str]:
    """The model's options, if they are not those for the data set."""
    usual, _ = run.task.defaults(run.model, data)
    options = {name: value for name, value in run.config["model"]["options"].items() if usual.get(name) != value}
    return [f"    options={options!r},"] if options else []
