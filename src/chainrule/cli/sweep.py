"""`chainrule sweep`."""

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

PICTURE = "sweep.png"
"""The picture of a sweep, in its folder."""

STATES = {"complete": "complete", "pruned": "pruned", "failed": "failed", "running": "not complete"}


@click.command(
    epilog="""\b
Examples:
  chainrule sweep sweep.toml
  chainrule sweep sweep.toml --trials 50 --jobs 2
  chainrule sweep sweep.toml --out sweeps/second --json"""
)
@click.argument("config", type=PathName())
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="How many settings to try.  [default: CONFIG's]"
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trials that run at the same time."
)
@click.option("--out", type=PathName(), metavar="DIR", help="The sweep's folder.  [default: sweeps/ and CONFIG's name]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--quiet", is_flag=True, help="Print the best trial only.")
def sweep(config: str, trials: int | None, jobs: int, out: str | None, as_json: bool, quiet: bool) -> None:
    """Search for good settings: train many runs, each with other settings, and stop those that fall behind.

    CONFIG is a file in TOML or JSON that names the settings to search, and their ranges. Each trial is a run in the
    sweep's folder, so chainrule runs, evaluate and train --resume take it.

    Ctrl-C stops after the current steps and saves. The same command continues the sweep: first the trials that were
    stopped, then new ones; complete trials are not repeated.
    """
    check_library()
    settings = read_config(config)
    settings = settings if trials is None else replace(settings, trials=trials)
    if launched_size() is not None:
        raise click.UsageError("sweep starts its own processes, with --jobs N: run it without mpiexec")
    model = models.get(settings.model)
    options = DataOptions(
        settings.data, settings.seed, settings.image_size, settings.validation, settings.bpe, None, None, (), (), None
    )
    if options.is_table:
        raise RunError(f"{config}: a sweep is for images and texts, and {settings.data} is a table")
    try:
        data = load(options, model, None)
    except click.UsageError as error:  # its message names options of `chainrule train`
        raise RunError(f"{config}: {re.sub('--([a-z-]+)', _key, error.message)}") from None
    except DataError as error:
        raise RunError(f"{config}: {error}") from None
    check(settings, data)
    folder = SWEEPS / Path(config).stem if out is None else Path(out)
    verbose = not (as_json or quiet)
    with _lock(folder):
        search = Search(settings, folder)
        if verbose:
            _introduce(search, folder, data.name, jobs)
        loop = Sweep(search, data, folder, jobs, lambda trial: print_lines(_line(trial, search)) if verbose else None)
        interruption = Interruption()
        try:
            with interruption:
                interruption.trainer = loop
                loop.run()
        except KeyboardInterrupt:
            loop.interrupt = True
        if loop.interrupt:
            done = sum(trial.state != "running" for trial in search.trials)
            command = f"chainrule sweep {shlex.quote(config)}{'' if out is None else f' --out {shlex.quote(out)}'}"
            print_lines(f"stopped after {done} of {settings.trials} trials; go on with: {command}", err=True)
            raise click.exceptions.Exit(interruption.exit_code)
        _conclude(search, folder, as_json, verbose)


def _key(option: re.Match[str]) -> str:
    """The key of the config file for an option, such as image_size for --image-size."""
    return option[1].replace("-", "_")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Create a sweep's folder, and keep other processes out of it.

    Raises:
        RunError: it cannot be created, is a run's folder, or another process is working on the sweep.
    """
    if (folder / "config.json").exists():
        raise RunError(f"{folder}: is the folder of a run; choose another one for the sweep with --out")
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
    names = ", ".join(_short(path) for path in config.searched)
    how = f"sampler {config.sampler}, pruning {config.pruning}"
    print_lines(f"{config.model} on {data}: {config.trials} trials of {names}; {how}")
    thread_count = max(1, threads() // jobs)
    print_lines(
        f"{jobs} job{'s' * (jobs > 1)} with {thread_count} thread{'s' * (thread_count > 1)} each; runs in {folder}"
    )
    stopped = sum(trial.state == "running" for trial in trials)
    if trials:
        more = f"; trials that were stopped and go on: {stopped}" if stopped else ""
        print_lines(f"{len(trials) - stopped} of {config.trials} trials are done{more}")
    print_lines()


def _short(path: str) -> str:
    """The name of a setting without its group."""
    return path.split(".", 1)[1]


def _setting(value: Any) -> str:
    return format(value, ".4g") if isinstance(value, float) else shorten(str(value), 40)


def _value(search: Search, value: float | None) -> str:
    if value is None:
        return "-"
    return format(value, ".2%" if search.metric.name == "validation_accuracy" else ".4f")


def _line(trial: Trial, search: Search) -> str:
    """A trial in one line."""
    settings = ", ".join(f"{_short(path)} {_setting(value)}" for path, value in trial.settings.items())
    how = {"pruned": f", pruned after epoch {max(trial.values, default=0)}", "failed": ", failed"}.get(trial.state, "")
    if trial.why:
        how = f", {'diverged' if trial.state == 'pruned' else 'failed'}: {trial.why}"
    return f"trial {trial.number:3d}  {_value(search, trial.value):>7}  {settings}{how}"


def _conclude(search: Search, folder: Path, as_json: bool, verbose: bool) -> None:
    """Print the result, and draw the picture.

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
        names = [_short(path) for path in search.config.searched]
        rows = [("trial", search.metric.name.replace("_", " "), "epochs", "state", *names)]
        rows += [_row(trial, search) for trial in ranked]
        print_table(rows, right=(0, 1, 2))
        print_lines()
    settings = ", ".join(f"{_short(path)} {_setting(value)}" for path, value in best.settings.items())
    print_lines(f"best trial     {best.number}, {_value(search, best.value)}: {settings}")
    print_lines(f"its run        {folder / best.folder}")
    print_lines(f"picture        {folder / PICTURE}")
    if verbose:
        print_lines("", f"next: chainrule evaluate {shlex.quote(str(folder / best.folder))}")


def _row(trial: Trial, search: Search) -> tuple[str, ...]:
    state = "diverged" if trial.state == "pruned" and trial.why else STATES[trial.state]
    settings = (_setting(trial.settings[path]) if path in trial.settings else "-" for path in search.config.searched)
    return (str(trial.number), _value(search, trial.value), str(len(trial.values)), state, *settings)


def _document(search: Search, trials: Sequence[Trial], best: Trial | None, folder: Path) -> dict[str, Any]:
    """The JSON document that `--json` prints."""
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
        {_short(path): [trial.settings.get(path) for trial in trials] for path in searched},
        [trial.state == "complete" for trial in trials],
        label=label,
        maximize=search.metric.mode == "max",
        choices={_short(path): space.values for path, space in searched.items() if isinstance(space, Choices)},
        log=[_short(path) for path, space in searched.items() if isinstance(space, Range) and space.log],
        title=printable(f"{folder.name}: {search.config.model}"),
    )
    style.save(figure, folder / PICTURE)
