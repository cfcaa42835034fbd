"""`chainrule train`."""

from __future__ import annotations

import errno
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule import data as datasets
from chainrule import models
from chainrule.cli.arguments import PathName
from chainrule.cli.output import ascii_only, json_number, print_json, say, terminal_width
from chainrule.cli.signals import Interruption
from chainrule.data.catalog import SOURCES
from chainrule.errors import printable
from chainrule.kernels.team import threads
from chainrule.training import experiment
from chainrule.training import resume as resuming
from chainrule.training import run as runs
from chainrule.training.callbacks import best_epoch
from chainrule.training.diagnosis import diagnose
from chainrule.training.progress import Bar, EpochLines
from chainrule.training.reopen import parse_settings, reopen
from chainrule.training.trainer import Callback, DivergedError, Interrupted, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.data import ImageData
    from chainrule.training.run import Run


class ModelName(click.Choice):  # type: ignore[type-arg]  # generic since Click 8.2 only
    """A model's name; an old name stands for the new one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Replace an old name."""
        return super().convert(models.ALIASES.get(value, value), param, ctx)


@click.command(
    epilog="""\b
Examples:
  chainrule train
  chainrule train --model sigmoid_mlp --seed 1
  chainrule train --data fashion-mnist --epochs 20
  chainrule train --data my-idx-files/ --limit 1000 --out runs/first-try
  chainrule train --resume runs/first-try
  chainrule train --resume runs/first-try --epochs 12
  chainrule train --resume runs/first-try --epoch 3 --override lr=0.001"""
)
@click.option("--model", type=ModelName(list(models.REGISTRY)), help="What to train.  [default: mlp]")
@click.option(
    "--data", type=PathName(), metavar="NAME|DIR", help="A data set's name, or a folder of IDX files.  [default: mnist]"
)
@click.option("--epochs", type=int, help="Passes through the training images.  [default: by model]")
@click.option("--batch-size", type=int, help="Images a step.  [default: by model]")
@click.option("--lr", type=float, help="Learning rate; with a schedule, the highest.  [default: by model]")
@click.option("--optimizer", type=click.Choice(list(experiment.OPTIMIZERS)), help="[default: by model]")
@click.option("--eager", is_flag=True, default=None, help="Operation by operation, without compiling the step.")
@click.option("--seed", type=int, help="The same seed gives the same bits.  [default: 0]")
@click.option("--limit", type=int, metavar="N", help="Train on the first N images only.")
@click.option("--out", type=PathName(), metavar="DIR", help="The run's folder.  [default: a new one in runs/]")
@click.option("--keep", type=int, metavar="N", help="Keep the states of the last N epochs and of the best one.")
@click.option("--resume", type=PathName(), metavar="RUN", help="Go on with a run that was stopped, to the same end.")
@click.option("--epoch", type=int, metavar="E", help="With --resume: go back to the end of epoch E (see --keep).")
@click.option("--step", type=int, metavar="S", help="With --resume: go back to the state after S steps in all.")
@click.option(
    "--override",
    multiple=True,
    metavar="NAME=VALUE",
    help="With --resume: another setting from here on, such as lr=0.001; config.json tells of it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--quiet", is_flag=True, help="Print the result only.")
def train(resume: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train a model, judge it by the test images, and keep it all in a run's folder.

    Ctrl-C saves and stops after the present step; a second one quits at once. So do SIGTERM and SIGHUP.

    A run that is resumed comes to the same bits as if it had never stopped. With --epochs it goes on to another end,
    and with --override under other settings: then the bits may be its own, and it says so.
    """
    interruption = Interruption()
    try:
        with interruption:
            _train(interruption, resume, as_json, quiet, options)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(interruption.exit_code) from None


def _train(interruption: Interruption, resume: str | None, as_json: bool, quiet: bool, options: dict[str, Any]) -> None:
    threads()  # so that a CHAINRULE_THREADS that is no number is reported before there is a run
    run, data = _begin(**options) if resume is None else _reopen(resume, **options)

    talkative = not (as_json or quiet)
    console = _terminal() if talkative else None
    shown: list[Callback] = []
    if talkative:
        shown.append(EpochLines(_unless_gone(console.print if console else say)))
    if console:
        shown.append(Bar(console))
    trainer = experiment.prepare(run, data, shown)
    if resume is not None:
        resuming.resume(run, trainer)
    if talkative:
        _introduce(run, trainer, data)
    interruption.trainer = trainer
    again = f"chainrule train --resume {shlex.quote(str(run.folder))}"
    try:
        trainer.fit(run.config["training"]["epochs"])
    except Interrupted:
        say(f"stopped in epoch {trainer.epoch + 1}; go on with: {again}", err=True)
        raise
    except KeyboardInterrupt:
        say(f"stopped at once; go on from the last saved state with: {again}", err=True)
        raise
    except DivergedError as error:
        if not trainer.history:  # there is nothing to go back to
            raise
        raise DivergedError(f"{error}; go back with: {_way_back(run, trainer)}") from None
    interruption.trainer = None
    try:
        result = experiment.finish(run, data, sum(record["seconds"] for record in trainer.history))
        _draw(run)
    except KeyboardInterrupt:
        say(f"stopped after the last epoch, before the result; go on with: {again}", err=True)
        raise
    if as_json:
        print_json(_document(run, result))
    else:
        _conclude(run, result, quiet)
    fault = diagnose(run, data)
    if fault is not None:
        say(f"chainrule: {fault}", err=True)


def _begin(
    model: str | None,
    data: str | None,
    seed: int | None,
    limit: int | None,
    out: str | None,
    keep: int | None,
    epoch: int | None,
    step: int | None,
    override: Sequence[str],
    **changes: Any,
) -> tuple[Run, ImageData]:
    for name, value in (("--epoch", epoch), ("--step", step), ("--override", override or None)):
        if value is not None:
            raise click.UsageError(f"{name} changes a run that is there: it goes with --resume RUN")
    place = "mnist" if data is None else data
    own_folder = place not in SOURCES and Path(place).is_dir()
    loaded = datasets.load(Path(place).resolve() if own_folder else place)  # the run keeps its name, for later
    config = experiment.configure(model or "mlp", loaded, seed=seed or 0, limit=limit, keep=keep or 0, **changes)
    return runs.create(config, out), loaded


def _reopen(
    resume: str,
    epochs: int | None,
    keep: int | None,
    epoch: int | None,
    step: int | None,
    override: Sequence[str],
    **fixed: Any,
) -> tuple[Run, ImageData]:
    given = [f"--{name.replace('_', '-')}" for name, value in fixed.items() if value is not None]
    if given:
        instead = [name for name in given if name in ("--batch-size", "--eager", "--lr")]
        hint = f"; on purpose: --override {instead[0][2:].replace('-', '_')}=VALUE" if instead else ""
        raise click.UsageError(f"--resume goes on as the run was begun: {', '.join(given)} cannot be changed{hint}")
    if epoch is not None and step is not None:
        raise click.UsageError("--epoch and --step both say where to go back to: give one of them")
    settings = parse_settings(override)
    if epochs is not None:
        if settings.get("epochs", epochs) != epochs:
            raise click.UsageError(
                f"--epochs {epochs} and --override epochs={settings['epochs']} contradict each other"
            )
        settings["epochs"] = epochs
    run = runs.find(resume)
    data = datasets.load(run.config["data"]["name"])
    if settings or keep is not None or epoch is not None or step is not None:
        run = reopen(run, data, settings, epoch=epoch, step=step, keep=keep)
    return run, data


def _way_back(run: Run, trainer: Trainer) -> str:
    """The command that goes on from before a training diverged: the best epoch if it was kept, or the last state."""
    best = best_epoch(trainer.history) + 1
    epoch = f" --epoch {best}" if ("epoch", best) in run.kept_states else ""
    rate = run.config["training"]["lr"] / 10
    return f"chainrule train --resume {shlex.quote(str(run.folder))}{epoch} --override lr={rate:.2g}"


def _terminal() -> Any:
    """A console for a live bar, if standard output is there and a terminal (whatever FORCE_COLOR may say)."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    from rich.console import Console  # only where it is shown

    return Console(highlight=False)


def _unless_gone(print_line: Callable[[str], None]) -> Callable[[str], None]:
    """Print lines, but not to a terminal that was closed a moment ago: the signal that says so is still to come."""

    def print_or_not(line: str) -> None:
        try:
            print_line(line)
        except OSError as error:
            if error.errno != errno.EIO:
                raise

    return print_or_not


def _introduce(run: Run, trainer: Trainer, data: ImageData) -> None:
    spec, recipe = run.config["model"], run.config["training"]
    parameters = sum(p.numel() for p in trainer.network.parameters())
    say(f"{spec['name']}: {models.get(spec['name']).summary}; {parameters:,} parameters")
    images = len(trainer.loader.dataset)
    say(
        f"{data.name}: {images:,} image{'' if images == 1 else 's'} to learn from; {recipe['optimizer']}, "
        f"rate {recipe['lr']:g} ({recipe['schedule']}), batches of {recipe['batch_size']}, seed {run.config['seed']}"
    )
    if recipe.get("augment"):
        ways = ", ".join(f"{name} {value:g}" for name, value in recipe["augment"].items())
        last = recipe.get("epochs_without_augmentation", 0)
        but = f", but not in the last {f'{last} epochs' if last > 1 else 'epoch'}" if last else ""
        say(f"each image is changed a little every time ({ways}){but}")
    for change in run.changes:
        say(_describe(change))
    if trainer.epoch >= recipe["epochs"]:
        say(f"all {recipe['epochs']} epochs are done; here is their result again")
    elif trainer.epoch or trainer.step:
        say(f"going on from epoch {trainer.epoch + 1}, step {trainer.step + 1} of {len(trainer.loader)}")
    say()


def _describe(change: dict[str, Any]) -> str:
    """A line about what was changed on the way."""
    where = f"epoch {change['epoch'] + 1}, step {change['step'] + 1}"
    settings = ", ".join(f"{name} {values[1]} instead of {values[0]}" for name, values in change["settings"].items())
    if not settings:
        return f"gone back to {where}"
    if not change["own_bits"]:
        return f"from {where}: {settings}; the bits are those of a run begun so"
    why = f" ({change['why']})" if change["why"] else ""
    return f"from {where}: {settings}; the bits are this run's own from there on{why}"


def _draw(run: Run) -> None:
    """Draw the curves, if there is an epoch to draw."""
    if run.history:
        from chainrule.plots import style, training  # loads matplotlib

        style.save(training.curves(run.history, title=printable(run.folder.name)), run.folder / "curves.png")


def _document(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    keys = ("epoch", "train_loss", "validation_loss", "validation_accuracy", "seconds")
    return {
        "run": str(run.folder),
        "model": run.config["model"]["name"],
        "seed": run.config["seed"],
        "test_accuracy": result["test_accuracy"],
        "test_loss": json_number(result["test_loss"]),
        "seconds": result["seconds"],
        "epochs": [{key: json_number(record.get(key, math.nan)) for key in keys} for record in run.history],
        **({"changes": run.changes} if run.changes else {}),
    }


def _conclude(run: Run, result: dict[str, Any], quiet: bool) -> None:
    if not quiet:
        from chainrule.plots import text

        history = run.history
        if len(history) > 1:
            for title, key, scale in (
                ("validation loss", "validation_loss", 1),
                ("validation accuracy, %", "validation_accuracy", 100),
            ):
                say("", title)
                values = [record.get(key, math.nan) * scale for record in history]
                lines = text.curve(values, width=terminal_width(64), height=4, ascii=ascii_only())
                say(*lines)
        best = best_epoch(history) + 1
        say("", f"best epoch     {best} of {len(history)}, by validation accuracy; its weights are kept")
    say(f"test accuracy  {result['test_accuracy']:.2%}  (loss {result['test_loss']:.4f})")
    say(f"time           {result['seconds']:.1f} s")
    say(f"run            {run.folder}")
    if not quiet:
        say("", f"next: chainrule evaluate {shlex.quote(str(run.folder))} --mistakes mistakes.png")
