"""`chainrule train`."""

from __future__ import annotations

import errno
import math
import shlex
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from chainrule import models
from chainrule.cli import ranks, reports
from chainrule.cli.arguments import PathName
from chainrule.cli.output import ascii_only, json_number, print_json, print_lines, terminal_width
from chainrule.cli.signals import Interruption
from chainrule.cli.training_data import DataOptions, default_model, load, table_options
from chainrule.distributed.agreement import RanksDifferError, on_all_ranks, on_rank_zero
from chainrule.distributed.launcher import launched_rank
from chainrule.distributed.sharded import DEFAULT_SHARDS, check_ranks
from chainrule.distributed.watch import RankFailedError
from chainrule.distributed.world import world
from chainrule.errors import UserError, printable
from chainrule.kernels.team import threads
from chainrule.training import experiment, tasks
from chainrule.training import resume as resuming
from chainrule.training import run as runs
from chainrule.training.callbacks import best_index
from chainrule.training.changes import change_run, parse_settings
from chainrule.training.fine_tuning import write_start
from chainrule.training.fork import fork
from chainrule.training.logs import LOGS
from chainrule.training.lr_finder import find_learning_rate
from chainrule.training.optimizers import OPTIMIZERS
from chainrule.training.progress import Bar, EpochLines
from chainrule.training.replay import RunReplay
from chainrule.training.session import training_lock
from chainrule.training.trainer import Callback, DivergedError, Interrupted, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.distributed.world import World
    from chainrule.training.run import Run
    from chainrule.training.task import Data


class ModelName(click.Choice):  # type: ignore[type-arg]  # generic since Click 8.2 only
    """The name of a model, current or former."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Replace a former name by the current one."""
        return super().convert(models.ALIASES.get(value, value), param, ctx)


@click.command(
    epilog="""\b
Examples:
  chainrule train
  chainrule train --model sigmoid_mlp --seed 1
  chainrule train --data fashion-mnist --epochs 20
  chainrule train --data my-idx-files/ --limit 1000 --out runs/first-try
  chainrule train --data my-photos/ --model cnn --image-size 48
  chainrule train --data table.csv --target price
  chainrule train --model gpt --data names
  chainrule train --model gpt --data my-diary.txt --size tiny
  chainrule train --from shipped --data my-idx-files/ --freeze 0 --lr 0.001
  chainrule train --model cnn --find-lr
  chainrule train --log tensorboard --log csv
  chainrule train --resume runs/first-try
  chainrule train --resume runs/first-try --epochs 12
  chainrule train --resume runs/first-try --epoch 3 --override lr=0.001
  chainrule train --from runs/first-try --step 1000 --optimizer sgd --lr 0.05"""
)
@click.option(
    "--model",
    type=ModelName(list(models.REGISTRY)),
    help="The model to train.  [default: mlp; gpt for a text, mlp_classifier or mlp_regressor for a table]",
)
@click.option(
    "--data",
    type=PathName(),
    metavar="NAME|DIR|FILE",
    help="A data set's name, a folder of IDX or .npy files or of class folders with pictures, an .npz file, a CSV "
    "table, or a text file.  [default: mnist; everyday for gpt]",
)
@click.option("--image-size", type=int, metavar="N", help="For pictures: N×N pixels.  [default: 32]")
@table_options
@click.option(
    "--size",
    help="Size of a gpt: tiny, names or shakespeare; for a table: small, medium or large.  [default: names for --data "
    "names and everyday, else shakespeare; medium]",
)
@click.option("--block-size", type=int, metavar="T", help="For text: the longest context, in tokens.")
@click.option("--bpe", type=int, metavar="N", help="For text: N byte-pair tokens instead of characters.")
@click.option("--words", is_flag=True, default=None, help="For text: a token for each word instead of characters.")
@click.option("--epochs", type=int, help="Passes through the training examples; for text, see above.")
@click.option("--steps-per-epoch", type=int, metavar="N", help="For text: the steps that count as an epoch.")
@click.option("--batch-size", type=int, help="Images, rows, or windows of a text, per step.  [default: the model's]")
@click.option("--lr", type=float, help="Learning rate; with a schedule, its peak.  [default: the model's]")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="Optimizer.  [default: the model's]")
@click.option("--eager", is_flag=True, default=None, help="Run eagerly, without compiling the training step.")
@click.option(
    "--shards",
    type=int,
    metavar="N",
    help="Cut each batch into N parts, for 1, 2, 4, ... or N ranks of mpiexec; on one, their gradients are accumulated "
    "in the memory of a part.  [default: 8 under mpiexec]",
)
@click.option("--seed", type=int, help="Random seed; the same seed gives bit-identical results.  [default: 0]")
@click.option("--limit", type=int, metavar="N", help="Train on the first N images, rows or tokens only.")
@click.option(
    "--validation",
    type=int,
    metavar="N",
    help="For images: hold back the last N training images, which decide the epoch whose weights are kept.  [default: "
    "10,000, at most a sixth]",
)
@click.option("--out", type=PathName(), metavar="DIR", help="The run's folder.  [default: a new one in runs/]")
@click.option(
    "--log",
    type=click.Choice(list(LOGS)),
    multiple=True,
    help="Also write metrics.csv, or event files for TensorBoard (repeatable).",
)
@click.option("--keep", type=int, metavar="N", help="Keep the checkpoints of the last N epochs and the best one.")
@click.option(
    "--from", "source", type=PathName(), metavar="RUN", help="Start from the best weights of a run (or of shipped)."
)
@click.option(
    "--freeze",
    multiple=True,
    metavar="PREFIX",
    help="With --from: do not train parameters whose names begin with PREFIX (repeatable).",
)
@click.option("--find-lr", is_flag=True, help="Try increasing learning rates instead, and draw learning_rates.png.")
@click.option("--resume", type=PathName(), metavar="RUN", help="Resume a run that was stopped.")
@click.option(
    "--epoch",
    type=int,
    metavar="E",
    help="With --resume: start from the end of epoch E (see --keep). With --from: fork the run there.",
)
@click.option(
    "--step",
    type=int,
    metavar="S",
    help="With --resume: start from the state after S steps in total. With --from: fork the run there, at any step.",
)
@click.option(
    "--override",
    multiple=True,
    metavar="NAME=VALUE",
    help="With --resume, or a fork: change a setting, such as lr=0.001; config.json records the change.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--quiet", is_flag=True, help="Print the result only.")
def train(resume: str | None, as_json: bool, quiet: bool, find_lr: bool, **options: Any) -> None:
    """Train a model, evaluate it, and save everything in a run folder.

    On images, an epoch is a pass over the training images; the test images are for evaluation. On a table, --target is
    the column to predict; a sixth of the rows is for evaluation, a sixth of the others chooses the best epoch. On a
    text, each step trains on windows drawn at random, 250 steps count as an epoch, and the last tenth is for
    evaluation.

    Ctrl-C stops after the current step and saves; a second Ctrl-C quits immediately. SIGTERM and SIGHUP do the same.

    A resumed run ends with the same bits as if it had never stopped. --epochs changes the number of epochs, --override
    other settings; if the result can then differ from a new run with these settings, a message says so.

    --from RUN starts a new run from a run's best weights. With --step or --epoch, the new run is a fork: it continues
    from the state that the other run had there, which is computed again if it was not kept. Its settings can differ by
    --lr, --optimizer, --batch-size, --epochs and --override.
    """
    try:
        processes = world()
        interruption = Interruption(announces=processes.rank == 0)
        try:
            with interruption, ExitStack() as locks:
                if find_lr:
                    _find_rate(processes, resume, as_json, **options)
                    return
                _train(processes, interruption, locks, resume, as_json, quiet, options)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(interruption.exit_code) from None
    except (UserError, click.ClickException):
        if launched_rank():  # rank 0 prints it
            raise click.exceptions.Exit(2) from None
        raise


def _train(
    processes: World,
    interruption: Interruption,
    locks: ExitStack,
    resume: str | None,
    as_json: bool,
    quiet: bool,
    options: dict[str, Any],
) -> None:
    threads()  # reports an invalid CHAINRULE_THREADS before a run folder is created
    ranks.compare_setup(processes, {"resume": resume, "json": as_json, "quiet": quiet, **options})
    with ranks.scratch_folder(processes) as folder:
        has_position = options["epoch"] is not None or options["step"] is not None
        is_fork = resume is None and options["source"] is not None and has_position
        if is_fork:
            run, data = _fork_run(processes, **options)
        elif resume is None:
            run, data = _create_run(processes, folder, **options)
        else:
            run, data = _open_run(processes, folder, locks, resume, **options)
        if resume is None:
            on_rank_zero(processes, lambda: locks.enter_context(training_lock(run)))

    verbose = not (as_json or quiet) and processes.rank == 0
    console = _terminal() if verbose else None
    progress: list[Callback] = []
    if verbose:
        table = reports.of(run).table
        progress.append(EpochLines(_ignore_closed_terminal(console.print if console else print_lines), table))
        if console:
            progress.append(Bar(console, table))
    trainer = on_all_ranks(processes, lambda: experiment.prepare(run, data, progress))
    if resume is not None or is_fork:
        on_rank_zero(processes, lambda: resuming.resume(run, trainer))
    if verbose:
        _introduce(run, trainer, data)
    interruption.trainer = trainer
    resume_command = f"chainrule train --resume {shlex.quote(processes.broadcast(str(run.folder)))}"
    resume_hint = f"resume from the last checkpoint with: {resume_command}"
    killed_message = ranks.KilledMessage(
        processes, f"chainrule: a process was killed, and so all ranks ended; {resume_hint}"
    )
    processes.on_failure(lambda failure: ranks.report_failure(processes, killed_message, f"{failure}; {resume_hint}"))
    try:
        with killed_message:
            trainer.fit(run.config["training"]["epochs"])
    except RankFailedError as error:
        ranks.end_after_failure(processes, killed_message, f"{error}; {resume_hint}")
    except Interrupted:
        if processes.rank == 0:
            print_lines(f"stopped in epoch {trainer.epoch + 1}; resume with: {resume_command}", err=True)
        raise
    except KeyboardInterrupt:
        if processes.rank == 0:
            print_lines(f"stopped immediately; {resume_hint}", err=True)
        raise
    except DivergedError as error:
        if not trainer.history:  # no checkpoint to return to
            raise
        raise DivergedError(f"{error}; recover with: {_recovery_command(run, trainer)}") from None
    except UserError as error:
        if processes.rank and not isinstance(error, RanksDifferError):  # rank 0 does not know of it
            print_lines(f"chainrule: {processes.name(processes.rank)}: {error}", err=True)
        raise
    interruption.trainer = None
    if processes.rank:
        return
    try:
        result = experiment.finish(run, data, sum(record["seconds"] for record in trainer.history))
        _draw(run)
    except KeyboardInterrupt:
        print_lines(f"stopped after the last epoch, before the test; resume with: {resume_command}", err=True)
        raise
    if as_json:
        print_json(_document(run, result))
    else:
        _conclude(run, result, quiet)
    advice = run.task.diagnose(run, data)
    if advice is not None:
        print_lines(f"chainrule: {advice}", err=True)


def _create_run(
    processes: World,
    folder: Path | None,
    model: str | None,
    data: str | None,
    image_size: int | None,
    target: str | None,
    task: str | None,
    drop: Sequence[str],
    categorical: Sequence[str],
    encoding: str | None,
    size: str | None,
    block_size: int | None,
    bpe: int | None,
    words: bool | None,
    seed: int | None,
    limit: int | None,
    validation: int | None,
    out: str | None,
    keep: int | None,
    epoch: int | None,
    step: int | None,
    override: Sequence[str],
    source: str | None,
    freeze: Sequence[str],
    log: Sequence[str],
    **changes: Any,
) -> tuple[Run, Data]:
    """Create a new run from the command's options, and load its data.

    Only rank 0 has the run; `folder` is for another rank's copy.
    """
    for name, value in (("--epoch", epoch), ("--step", step), ("--override", override or None)):
        if value is not None:
            use = "" if name == "--override" else ", or to fork a run: with --from RUN"
            raise click.UsageError(f"{name} changes an existing run: use it with --resume RUN{use}")
    if freeze and source is None:
        raise click.UsageError("--freeze is for a run that starts from another's weights: use it with --from RUN")
    start = None if source is None else runs.find(source)
    if model is None and start is not None:
        model = start.model.name
    data_options = DataOptions(
        data, seed or 0, image_size, validation, bpe, target, task, drop, categorical, encoding, bool(words)
    )
    if processes.is_launched and changes["shards"] is None:
        changes["shards"] = DEFAULT_SHARDS

    def configure() -> tuple[dict[str, Any], Data]:
        loaded = load(data_options, None if model is None else models.get(model), start)
        name = default_model(loaded) if model is None else model
        options = {"size": size, "block_size": block_size}
        settings = {"limit": limit, "options": options, "source": start, "freeze": freeze, "log": log, **changes}
        return experiment.configure(name, loaded, seed=seed or 0, keep=keep or 0, **settings), loaded

    config, loaded = on_all_ranks(processes, configure)
    ranks.compare_configs(processes, config)
    check_ranks(config["training"]["shards"], processes.size)
    write_own_files = partial(tasks.find(config["model"]["name"]).write_files, loaded)

    def write_files(target: Path) -> None:
        write_own_files(target)
        if start is not None:
            write_start(start, target)

    run = on_all_ranks(processes, lambda: runs.create(config, out if folder is None else folder, write_files))
    return run, loaded


def _find_rate(processes: World, resume: str | None, as_json: bool, **options: Any) -> None:
    """Search for a learning rate with a run that is not kept, print it, and draw the losses."""
    for name, value in (
        ("--resume", resume), ("--out", options["out"]), ("--keep", options["keep"]),
        ("--log", options["log"] or None),
    ):  # fmt: skip
        if value is not None:
            raise click.UsageError(f"--find-lr keeps no run: leave out {name}")
    if processes.is_launched or options["shards"]:
        raise click.UsageError("--find-lr runs in one process, without shards")
    with TemporaryDirectory() as folder:
        run, data = _create_run(processes, None, **{**options, "out": str(Path(folder) / "run")})
        search = find_learning_rate(experiment.prepare(run, data))
        model, current_rate = run.model.name, run.config["training"]["lr"]
    if as_json:
        print_json({"learning_rate": search.suggestion, "rates": search.rates, "losses": search.losses})
    else:
        print_lines(
            f"{model}: {len(search.rates)} steps with rates from {search.rates[0]:.1e} to {search.rates[-1]:.1e}"
        )
        print_lines(f"suggestion: --lr {search.suggestion:.2g}  (the recipe's: {current_rate:g})")
    from chainrule.plots import style, training  # imports matplotlib

    figure = training.learning_rates(search.rates, search.losses, search.smoothed, search.suggestion)
    style.save(figure, Path("learning_rates.png"))
    if not as_json:
        print_lines("picture: learning_rates.png")


def _open_run(
    processes: World,
    folder: Path | None,
    locks: ExitStack,
    resume: str,
    epochs: int | None,
    keep: int | None,
    epoch: int | None,
    step: int | None,
    override: Sequence[str],
    source: str | None,
    freeze: Sequence[str],
    log: Sequence[str],
    **unchangeable: Any,
) -> tuple[Run, Data]:
    """Find the run to resume, apply the changes that the options ask for, if any, and load its data.

    Only rank 0 has the run, and locks it; `folder` is for another rank's copy.
    """
    options = [f"--{name.replace('_', '-')}" for name, value in unchangeable.items() if value not in (None, ())]
    if options:
        overridable = [name for name in options if name in ("--batch-size", "--eager", "--lr", "--shards")]
        hint = f"; to change it anyway: --override {overridable[0][2:].replace('-', '_')}=VALUE" if overridable else ""
        raise click.UsageError(f"--resume keeps the run's settings: {', '.join(options)} cannot be changed{hint}")
    if log:
        raise click.UsageError("--log is for a new run: --resume goes on with the run's logs")
    if source is not None or freeze:
        raise click.UsageError("--from and --freeze are for a new run: --resume goes on with what it started from")
    if epoch is not None and step is not None:
        raise click.UsageError("--epoch and --step are mutually exclusive: give one of them")
    settings = parse_settings(override)
    if epochs is not None:
        if settings.get("epochs", epochs) != epochs:
            raise click.UsageError(
                f"--epochs {epochs} and --override epochs={settings['epochs']} contradict each other"
            )
        settings["epochs"] = epochs

    def find() -> Run:
        run = runs.find(resume)
        locks.enter_context(training_lock(run))  # before it is changed
        if settings or keep is not None or epoch is not None or step is not None:
            run = change_run(run, run.task.load(run), settings, epoch=epoch, step=step, keep=keep)
        check_ranks(run.config["training"].get("shards", 0), processes.size)
        return run

    run = ranks.copy_run(processes, folder, find)
    return run, on_all_ranks(processes, lambda: run.task.load(run))


def _fork_run(
    processes: World,
    source: str,
    epoch: int | None,
    step: int | None,
    override: Sequence[str],
    out: str | None,
    keep: int | None,
    log: Sequence[str],
    lr: float | None,
    optimizer: str | None,
    batch_size: int | None,
    epochs: int | None,
    **unchangeable: Any,
) -> tuple[Run, Data]:
    """Create a run that continues from a step of another one, and load its data."""
    options = [f"--{name.replace('_', '-')}" for name, value in unchangeable.items() if value not in (None, ())]
    if options:
        raise click.UsageError(f"a fork keeps the run's model and data: {', '.join(options)} cannot be changed")
    if epoch is not None and step is not None:
        raise click.UsageError("--epoch and --step are mutually exclusive: give one of them")
    if processes.is_launched:
        raise click.UsageError("a run is forked in one process; fork it without mpiexec, then use --resume with it")
    settings = parse_settings(override)
    for name, value in (("lr", lr), ("optimizer", optimizer), ("batch_size", batch_size), ("epochs", epochs)):
        if value is not None:
            if name in settings:
                raise click.UsageError(f"--{name.replace('_', '-')} and --override {name} are given: give one of them")
            settings[name] = value
    replay = RunReplay(runs.find(source))
    target = replay.step_of_epoch(epoch) if step is None and epoch is not None else step or 0
    for note in replay.notes:
        print_lines(f"chainrule: {note}", err=True)
    return fork(replay, target, settings, out, keep=keep or 0, log=log), replay.data


def _recovery_command(run: Run, trainer: Trainer) -> str:
    """The command that resumes a diverged run from its best epoch if kept, else from the last checkpoint."""
    best = _best_epoch(run, trainer.history)
    epoch = f" --epoch {best}" if ("epoch", best) in run.kept_states else ""
    rate = run.config["training"]["lr"] / 10
    return f"chainrule train --resume {shlex.quote(str(run.folder))}{epoch} --override lr={rate:.2g}"


def _terminal() -> Any:
    """A console for the progress bar, or None if standard output is not a terminal (even if FORCE_COLOR is set)."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    from rich.console import Console  # imported only if used

    return Console(highlight=False)


def _ignore_closed_terminal(print_line: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap a print function to ignore EIO: writes to a closed terminal fail with it just before SIGHUP arrives."""

    def print_line_if_open(line: str) -> None:
        try:
            print_line(line)
        except OSError as error:
            if error.errno != errno.EIO:
                raise

    return print_line_if_open


def _introduce(run: Run, trainer: Trainer, data: Data) -> None:
    spec, recipe = run.config["model"], run.config["training"]
    parameters = sum(p.numel() for p in trainer.network.parameters())
    print_lines(f"{spec['name']}: {models.get(spec['name']).summary}; {parameters:,} parameters")
    print_lines(
        f"{data.name}: {reports.of(run).describe_data(trainer, data)}; {recipe['optimizer']}, lr {recipe['lr']:g} "
        f"({recipe['schedule']}), batch size {recipe['batch_size']}, seed {run.config['seed']}"
    )
    if recipe.get("augment"):
        transforms = ", ".join(f"{name} {value:g}" for name, value in recipe["augment"].items())
        last = recipe.get("epochs_without_augmentation", 0)
        exception = f", except in the last {f'{last} epochs' if last > 1 else 'epoch'}" if last else ""
        print_lines(f"augmentation: {transforms}{exception}")
    if "fork" in run.config:
        print_lines(f"forked from {run.config['fork']['run']} at step {run.config['fork']['step']:,}")
    start = run.config.get("start")
    if start is not None:
        frozen = f"; frozen: {', '.join(start['freeze'])}" if start["freeze"] else ""
        replaced = f"; learned anew, as the shape differs: {', '.join(start['replaced'])}" if start["replaced"] else ""
        print_lines(f"starting from the weights of {start['run']}{replaced}{frozen}")
    if "tensorboard" in run.config.get("log", ()):
        print_lines(f"watch: tensorboard --logdir {shlex.quote(str(run.folder.parent))}")
    for change in run.changes:
        print_lines(_describe(change))
    if trainer.epoch >= recipe["epochs"]:
        print_lines(f"all {recipe['epochs']} epochs are complete; evaluating again")
    elif trainer.epoch or trainer.step:
        print_lines(f"resuming from epoch {trainer.epoch + 1}, step {trainer.step + 1} of {len(trainer.loader)}")
    print_lines()


def _describe(change: dict[str, Any]) -> str:
    """One line about a change of settings."""
    position = f"epoch {change['epoch'] + 1}, step {change['step'] + 1}"
    settings = ", ".join(f"{name} {values[1]} instead of {values[0]}" for name, values in change["settings"].items())
    if not settings:
        return f"restarted from {position}"
    if not change[runs.DIFFERS_KEY]:
        return f"from {position}: {settings}; bit-identical to a new run with these settings"
    reason = f" ({change['why']})" if change["why"] else ""
    return f"from {position}: {settings}; not bit-identical to a new run with these settings{reason}"


def _draw(run: Run) -> None:
    """Draw the learning curves, if any epoch has finished."""
    if run.history:
        from chainrule.plots import style, training  # imports matplotlib

        by_loss, title = run.task.metric.name == "validation_loss", printable(run.folder.name)
        style.save(training.curves(run.history, title, best_by_loss=by_loss), run.folder / "curves.png")


def _document(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """The JSON document that `--json` prints."""
    report = reports.of(run)
    keys = ("epoch", "train_loss", *(key for _, key, _ in report.table.columns), "seconds")
    return {
        "run": str(run.folder),
        "model": run.config["model"]["name"],
        "seed": run.config["seed"],
        **report.document(result),
        "seconds": result["seconds"],
        "epochs": [{key: json_number(record.get(key, math.nan)) for key in keys} for record in run.history],
        **({"changes": run.changes} if run.changes else {}),
    }


def _conclude(run: Run, result: dict[str, Any], quiet: bool) -> None:
    """Print the result and, unless `quiet`, the learning curves as text and what the network does."""
    report = reports.of(run)
    if not quiet:
        from chainrule.plots import text

        history = run.history
        if len(history) > 1:
            for title, key, scale in report.charts:
                print_lines("", title)
                values = [record.get(key, math.nan) * scale for record in history]
                lines = text.curve(values, width=terminal_width(64), height=4, ascii=ascii_only())
                print_lines(*lines)
        best = _best_epoch(run, history)
        print_lines("", f"best epoch     {best} of {len(history)}, by {report.metric_label}; its weights are saved")
    print_lines(*report.result_lines(run, result))
    print_lines(f"time           {result['seconds']:.1f} s")
    print_lines(f"run            {run.folder}")
    if not quiet:
        print_lines(*report.samples(run), "", f"next: {report.next_command(run)}")


def _best_epoch(run: Run, history: Sequence[dict[str, Any]]) -> int:
    """Return the number, from 1, of the best epoch."""
    metric = run.task.metric
    return best_index(history, metric.name, metric.mode) + 1
