"""`chainrule sweep`: search for good settings by training many runs."""

from __future__ import annotations

import math
import re
import shlex
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import filelock

from chainrule import models
from chainrule.cli.arguments import PathName
from chainrule.cli.output import print_json, print_lines, print_table
from chainrule.cli.signals import Interruption
from chainrule.cli.training_data import DataOptions, load
from chainrule.distributed.launcher import launched_size
from chainrule.errors import DataError, RunError, UserError, printable, shorten
from chainrule.kernels.team import threads
from chainrule.sweep import Choices, Range, Search, Sweep, Trial, read_config
from chainrule.sweep.search import check_library
from chainrule.sweep.trials import check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SWEEPS = Path("sweeps")
"""The default folder of sweeps, relative to the current folder."""

PICTURE_NAME = "sweep.png"
"""The file name of a sweep's picture, in the sweep's folder."""


@click.command(
    epilog="""\b
Examples:
  chainrule sweep sweep.toml
  chainrule sweep sweep.toml --trials 50 --jobs 2
  chainrule sweep sweep.toml --out sweeps/second --json"""
)
@click.argument("config", type=PathName())
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="How many trials to run in total.  [default: CONFIG's]"
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="How many trials to run at the same time."
)
@click.option(
    "--out",
    type=PathName(),
    metavar="DIR",
    help="The sweep's folder.  [default: a folder in sweeps/ with CONFIG's name]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--quiet", is_flag=True, help="Print only the best trial.")
def sweep(config: str, trials: int | None, jobs: int, out: str | None, as_json: bool, quiet: bool) -> None:
    """Search for good settings: train many runs, each with different settings, and stop those that fall behind.

    CONFIG is a TOML or JSON file that names the settings to search, and their ranges. Each trial is a run in the
    sweep's folder, which chainrule runs, evaluate and train --resume can open.

    Ctrl-C stops after the current steps and saves. The same command then continues the sweep: first the trials that
    were stopped, then new ones; complete trials are not repeated.
    """
    check_library()
    settings = read_config(config)
    settings = settings if trials is None else replace(settings, trials=trials)
    if launched_size() is not None:
        raise click.UsageError("sweep starts its own processes, with --jobs N: run it without mpiexec")
    model = models.get(settings.model)
    options = DataOptions(settings.data, settings.seed, settings.image_size, settings.validation, settings.bpe)
    if options.is_table:
        raise RunError(f"{config}: a sweep is for images and texts, but {settings.data} is a table")
    try:
        data = load(options, model, None)
    except click.UsageError as error:  # the message names options of `chainrule train`
        raise RunError(f"{config}: {re.sub('--([a-z-]+)', _config_key, error.message)}") from None
    except DataError as error:
        raise RunError(f"{config}: {error}") from None
    check(settings, data)
    folder = SWEEPS / Path(config).stem if out is None else Path(out)
    verbose = not (as_json or quiet)
    with _lock(folder):
        search = Search(settings, folder)
        if verbose:
            _introduce(search, folder, data.name, jobs)

        def print_trial(trial: Trial) -> None:
            if verbose:
                print_lines(_trial_line(trial, search))

        runner = Sweep(search, data, folder, jobs, print_trial)
        interruption = Interruption()
        try:
            with interruption:
                interruption.target = runner
                runner.run()
        except KeyboardInterrupt:
            runner.interrupt = True
        if runner.interrupt:
            ended_count = sum(not _is_unfinished(trial) for trial in search.trials)
            command = f"chainrule sweep {shlex.quote(config)}{'' if out is None else f' --out {shlex.quote(out)}'}"
            print_lines(f"stopped after {ended_count} of {settings.trials} trials; continue with: {command}", err=True)
            raise click.exceptions.Exit(interruption.exit_code)
        _conclude(search, folder, as_json, verbose)


def _config_key(option: re.Match[str]) -> str:
    """Return the key of the config file for an option, such as image_size for --image-size."""
    return option[1].replace("-", "_")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Create a sweep's folder, and keep other processes from working on the sweep.

    Raises:
        RunError: the folder cannot be created or is a run's, or another process is working on the sweep.
    """
    if (folder / "config.json").exists():
        raise RunError(f"{folder}: this is a run's folder; choose a different one for the sweep with --out")
    lock = filelock.FileLock(folder / "sweep.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RunError(f"{folder}: another process is working on this sweep") from None
    except OSError as error:
        raise RunError(f"{error.filename or folder}: cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()


def _introduce(search: Search, folder: Path, data: str, jobs: int) -> None:
    config, trials = search.config, search.trials
    names = ", ".join(_short_name(path) for path in config.searched)
    print_lines(
        f"{config.model} on {data}: {config.trials} trials of {names}; "
        f"sampler {config.sampler}, pruning {config.pruning}"
    )
    thread_count = max(1, threads() // jobs)
    print_lines(
        f"{jobs} job{'s' * (jobs > 1)} with {thread_count} thread{'s' * (thread_count > 1)} each; runs in {folder}"
    )
    unfinished_count = sum(_is_unfinished(trial) for trial in trials)
    if trials:
        resumed = f"; trials to resume: {unfinished_count}" if unfinished_count else ""
        print_lines(f"{len(trials) - unfinished_count} of {config.trials} trials are done{resumed}")
    print_lines()


def _is_unfinished(trial: Trial) -> bool:
    """Whether a trial was stopped and will be resumed; the study records it as "running"."""
    return trial.state == "running"


def _has_diverged(trial: Trial) -> bool:
    """Whether training diverged; the study records such a trial as "pruned", with a message."""
    return trial.state == "pruned" and bool(trial.why)


def _short_name(path: str) -> str:
    """Return the name of a setting without its group: lr for training.lr."""
    return path.split(".", 1)[1]


def _format_setting(value: Any) -> str:
    return format(value, ".4g") if isinstance(value, float) else shorten(str(value), 40)


def _format_metric(search: Search, value: float | None) -> str:
    if value is None:
        return "-"
    return format(value, ".2%" if search.metric.name == "validation_accuracy" else ".4f")


def _format_settings(trial: Trial) -> str:
    return ", ".join(f"{_short_name(path)} {_format_setting(value)}" for path, value in trial.settings.items())


def _trial_line(trial: Trial, search: Search) -> str:
    """Return the line that is printed when a trial has ended."""
    ending = ""
    if trial.why:
        ending = f", {'diverged' if _has_diverged(trial) else 'failed'}: {trial.why}"
    elif trial.state == "pruned":
        ending = f", pruned after epoch {max(trial.values, default=0)}"
    elif trial.state == "failed":
        ending = ", failed"
    return f"trial {trial.number:3d}  {_format_metric(search, trial.value):>7}  {_format_settings(trial)}{ending}"


def _conclude(search: Search, folder: Path, as_json: bool, verbose: bool) -> None:
    """Print the result, and draw the picture if any trial has a value.

    Raises:
        UserError: no trial is complete.
    """
    trials = search.trials
    ranked = search.ranked(trials)
    best = ranked[0] if ranked and ranked[0].state == "complete" else None
    if any(trial.value is not None for trial in trials):
        _draw(search, trials, folder)
    if as_json:
        print_json(_document(search, trials, best, folder))
    if best is None:
        reason = next((f": {trial.why}" for trial in trials if trial.why), "")
        raise UserError(f"{folder}: none of {len(trials)} trials is complete{reason}")
    if as_json:
        return
    if verbose:
        print_lines()
        names = [_short_name(path) for path in search.config.searched]
        rows = [("trial", search.metric.name.replace("_", " "), "epochs", "state", *names)]
        rows += [_row(trial, search) for trial in ranked]
        print_table(rows, right=(0, 1, 2))
        print_lines()
    print_lines(f"best trial     {best.number}, {_format_metric(search, best.value)}: {_format_settings(best)}")
    print_lines(f"its run        {folder / best.folder}")
    print_lines(f"picture        {folder / PICTURE_NAME}")
    if verbose:
        print_lines("", f"next: chainrule evaluate {shlex.quote(str(folder / best.folder))}")


def _row(trial: Trial, search: Search) -> tuple[str, ...]:
    """Return a trial's row of the table."""
    state = trial.state
    if _has_diverged(trial):
        state = "diverged"
    elif _is_unfinished(trial):
        state = "not complete"
    settings = [
        _format_setting(trial.settings[path]) if path in trial.settings else "-" for path in search.config.searched
    ]
    return (str(trial.number), _format_metric(search, trial.value), str(len(trial.values)), state, *settings)


def _document(search: Search, trials: Sequence[Trial], best: Trial | None, folder: Path) -> dict[str, Any]:
    """Return the JSON document that `--json` prints."""
    return {
        "sweep": str(folder),
        "metric": search.metric.name,
        "best": None if best is None else best.number,
        "trials": [
            {
                "number": trial.number,
                "state": trial.state,
                "value": trial.value,
                "epochs": len(trial.values),
                "settings": trial.settings,
                "run": str(folder / trial.folder),
                "why": trial.why,
            }
            for trial in trials
        ],
    }


def _draw(search: Search, trials: Sequence[Trial], folder: Path) -> None:
    from chainrule.plots import style, sweeps  # imports matplotlib

    scale, label = 1.0, search.metric.name.replace("_", " ")
    if search.metric.name == "validation_accuracy":
        scale, label = 100.0, "validation accuracy (%)"
    searched = search.config.searched
    figure = sweeps.sweep(
        [math.nan if trial.value is None else scale * trial.value for trial in trials],
        {_short_name(path): [trial.settings.get(path) for trial in trials] for path in searched},
        [trial.state == "complete" for trial in trials],
        label=label,
        maximize=search.metric.mode == "max",
        choices={_short_name(path): space.values for path, space in searched.items() if isinstance(space, Choices)},
        log=[_short_name(path) for path, space in searched.items() if isinstance(space, Range) and space.log],
        title=printable(f"{folder.name}: {search.config.model}"),
    )
    style.save(figure, folder / PICTURE_NAME)
