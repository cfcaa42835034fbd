"""`chainrule runs`: list runs, compare them, draw their curves, delete them."""

from __future__ import annotations

import fnmatch
import math
import operator
import re
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from chainrule.cli.arguments import PathName, check_output
from chainrule.cli.output import MAX_MESSAGE, json_number, print_json, print_lines, print_table
from chainrule.errors import RunError, UserError, printable, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.training.run import Run

Value = str | float
"""A setting or a result."""

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
CONDITION = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|<|>|=)\s*(.*?)\s*", re.DOTALL)
"""A value of --where: key, comparison and operand."""

LOWER_IS_BETTER = ("loss", "perplexity", "rmse", "seconds")
"""A metric is better the lower it is, and sorted in ascending order, if its key ends with one of these."""


@dataclass(frozen=True)
class Entry:
    """A run, with its history and its result, which are read only once."""

    run: Run
    history: list[dict[str, Any]]
    result: dict[str, Any] | None

    @property
    def state(self) -> str:
        """The result, or the number of complete epochs."""
        if self.result:
            return self.run.task.headline(self.result)
        return f"{len(self.history)} of {self.run.config['training']['epochs']} epochs"

    @property
    def values(self) -> dict[str, Value]:
        """Settings and results by name: those of config.json, of the last epoch and of result.json."""
        config = self.run.config
        values: dict[str, Value] = {"name": self.run.folder.name, "created": config["created"]}
        values |= {"model": config["model"]["name"], "data": config["data"]["name"], "seed": config["seed"]}
        for source in (config["training"], config["model"]["options"], *self.history[-1:], self.result or {}):
            values |= {name: value for name, value in source.items() if isinstance(value, str | int | float)}
        return values


@click.command(
    epilog="""\b
Examples:
  chainrule runs
  chainrule runs experiments/
  chainrule runs --sort test_accuracy --where model=mlp --where 'lr<0.01'
  chainrule runs --plot curves.png
  chainrule runs --csv runs.csv
  chainrule runs --delete first-try"""
)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--sort", metavar="KEY", help="Order by a metric, the best first, or by a setting; -KEY reverses.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="List only runs that meet a condition with =, !=, <, >, <= or >= (repeatable).",
)
@click.option("--plot", type=PathName(), metavar="FILE", help="Draw the curves of the listed runs (.png, .svg, .pdf).")
@click.option("--csv", "table", type=PathName(), metavar="FILE", help="Write settings and results as a table (.csv).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with all settings and epochs.")
@click.option(
    "--delete", multiple=True, metavar="RUN", help="Delete a run of FOLDER by name, after asking (repeatable)."
)
@click.option("--yes", is_flag=True, help="Delete without asking.")
def runs(
    folder: str | None,
    sort: str | None,
    conditions: Sequence[str],
    plot: str | None,
    table: str | None,
    as_json: bool,
    delete: Sequence[str],
    yes: bool,
) -> int:
    """List the runs in FOLDER (default: runs/), newest last, or compare them.

    Quote conditions with < or >, which the shell would take as redirections.
    """
    from chainrule.training.run import RUNS

    if delete:
        return _delete(folder or str(RUNS), delete, yes)
    if yes:
        raise click.UsageError("--yes applies to --delete only")
    if plot is not None:
        from chainrule.plots import style  # imports matplotlib

        check_output(plot, "figure", style.FORMATS)
    check_output(table, "table", (".csv",))
    errors: list[RunError] = []
    all_entries = _entries(folder or str(RUNS), errors)
    entries = _sort(_select(all_entries, conditions), sort)
    if as_json:
        print_json([_document(entry) for entry in entries])
    elif entries:
        print_table([_row(entry, sort) for entry in entries])
    elif all_entries:
        print_lines(f"none of the {len(all_entries)} runs meets {' and '.join(conditions)}", err=True)
    elif not errors:
        print_lines(f"no runs in {folder or RUNS} yet; train one with: chainrule train", err=True)
    if table is not None:
        from chainrule.training.csv_log import write_table

        write_table(table, [entry.values for entry in entries], ("name",))
        if not as_json:
            print_lines(f"table: {table}")
    if plot is not None:
        _plot(entries, plot)
        if not as_json:
            print_lines(f"figure: {plot}")
    for error in errors:
        print_lines(f"chainrule: {shorten(str(error), MAX_MESSAGE)}", err=True)
    return 2 if errors else 0


def _entries(folder: str, errors: list[RunError]) -> list[Entry]:
    """Return the runs of a folder, oldest first; for those that cannot be read, append the error to `errors`."""
    from chainrule.training.run import all_runs

    entries = []
    for run in all_runs(folder, errors):
        try:
            entries.append(Entry(run, run.history, run.result))
        except RunError as error:
            errors.append(error)
    return entries


def _select(entries: list[Entry], conditions: Sequence[str]) -> list[Entry]:
    """Return the entries that meet all conditions, such as `model=mlp` or `test_accuracy>0.98`."""
    for condition in conditions:
        match = CONDITION.fullmatch(condition)
        if match is None:
            raise click.BadParameter(
                f"{condition!r} is not of the form KEY=VALUE, KEY!=VALUE, KEY<VALUE or KEY>VALUE",
                param_hint="'--where'",
            )
        key, comparison, operand = match.groups()
        _check_key(entries, key, "--where")
        entries = [entry for entry in entries if _meets(entry.values.get(key), comparison, operand)]
    return entries


def _meets(value: Value | None, comparison: str, operand: str) -> bool:
    """Whether a value meets a condition. With = and !=, a text may be compared with a pattern, as in `mlp*`."""
    if value is None:  # the run does not have this key
        return comparison == "!="
    if isinstance(value, str):
        if comparison not in ("=", "!="):
            return COMPARISONS[comparison](value, operand)
        return fnmatch.fnmatchcase(value, operand) == (comparison == "=")
    return COMPARISONS[comparison](float(value), _number(operand))


def _number(text: str) -> float:
    """Convert an operand to a number; it may be a percentage, `true` or `false`."""
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a number", param_hint="'--where'") from None


def _sort(entries: list[Entry], sort: str | None) -> list[Entry]:
    """Return the entries sorted by a value: of a metric, the best first; of a setting, the largest first.

    Texts, seeds and dates are in ascending order. Entries without the value, or with NaN, come last.
    """
    if sort is None:
        return entries
    key = sort.removeprefix("-")
    _check_key(entries, key, "--sort")
    sortable = [entry for entry in entries if _is_sortable(entry.values.get(key))]
    is_text = any(isinstance(entry.values[key], str) for entry in sortable)
    descending = not is_text and not key.endswith(LOWER_IS_BETTER) and key not in ("seed", "created")
    sortable.sort(
        key=lambda entry: str(entry.values[key]) if is_text else float(entry.values[key]),
        reverse=descending != sort.startswith("-"),
    )
    return sortable + [entry for entry in entries if entry not in sortable]


def _is_sortable(value: Value | None) -> bool:
    return value is not None and value == value  # not NaN


def _check_key(entries: list[Entry], key: str, option: str) -> None:
    """Raise an error that lists all keys if no run has this one."""
    keys = sorted({name for entry in entries for name in entry.values})
    if entries and key not in keys:
        raise click.BadParameter(f"no run has {key!r}; choose from {', '.join(keys)}", param_hint=f"'{option}'")


def _row(entry: Entry, sort: str | None) -> tuple[str, ...]:
    """Return an entry's row of the table, with the value that it is sorted by, unless a column shows that already."""
    config = entry.run.config
    row = (
        entry.run.folder.name, config["model"]["name"], config["data"]["name"], f"seed {config['seed']}", entry.state,
    )  # fmt: skip
    key = (sort or "").removeprefix("-")
    if not key or key in ("name", "created", "model", "data", "seed", "test_accuracy"):
        return row
    value = entry.values.get(key, "-")
    return (*row, f"{key} {value if isinstance(value, str) else format(value, '.5g')}")


def _document(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON; numbers that are not finite are null."""

    def json_value(value: Any) -> Any:
        return json_number(value) if isinstance(value, float) else value

    result = entry.result and {key: json_value(value) for key, value in entry.result.items()}
    history = [{key: json_value(value) for key, value in record.items()} for record in entry.history]
    return {"run": str(entry.run.folder), "config": entry.run.config, "result": result, "epochs": history}


def _plot(entries: list[Entry], file: str) -> None:
    """Draw a metric of each run by epoch: the validation accuracy or, if a run has none, the validation loss."""
    from chainrule.plots import charts, style  # imports matplotlib

    plotted_entries = [entry for entry in entries if entry.history]
    if not plotted_entries:
        raise UserError("--plot needs a run with at least one complete epoch")
    if all("validation_accuracy" in entry.history[0] for entry in plotted_entries):
        key, scale, label = "validation_accuracy", 100.0, "validation accuracy (%)"
    else:
        key, scale, label = "validation_loss", 1.0, "validation loss"
    max_epochs = max(len(entry.history) for entry in plotted_entries)
    curves = {}
    for entry in plotted_entries:
        values = [record.get(key) for record in entry.history]
        curve = [math.nan if value is None else scale * value for value in values]
        curves[shorten(entry.run.folder.name, 40)] = curve + [math.nan] * (max_epochs - len(curve))
    style.save(charts.lines(curves, title="Runs compared", x_label="epoch", y_label=label), file)


def _delete(folder: str, names: Sequence[str], yes: bool) -> int:
    """Delete the named runs of a folder; delete none if one does not exist or the user answers no."""
    from chainrule.training.run import all_runs

    unreadable: list[RunError] = []  # not reported: these runs are not deleted
    folders = {run.folder.name: run.folder for run in all_runs(folder, unreadable)}
    for name in names:
        if name not in folders:
            raise UserError(f"{folder} has no run {name!r}; see: chainrule runs {shlex.quote(folder)}")
        if folders[name].is_symlink():
            raise UserError(f"{folders[name]}: this is a link to another folder; delete it yourself")
    question = f"Delete {', '.join(printable(str(folders[name])) for name in names)} for good?"
    if not yes and not click.confirm(question, err=True):
        print_lines("nothing was deleted", err=True)
        return 0
    for name in dict.fromkeys(names):
        shutil.rmtree(folders[name])
        print_lines(f"deleted: {folders[name]}")
    return 0
