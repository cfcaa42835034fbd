"""`chainrule train`: create, resume or fork a run, train and evaluate it; and the learning-rate finder, `--find-lr`."""

from __future__ import annotations

import errno
import math
import shlex
import sys
from contextlib import ExitStack
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
from chainrule.distributed.world import world as get_world
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
    from collections.abc import Callable, Mapping, Sequence

    from chainrule.distributed.world import World
    from chainrule.training.run import Run
    from chainrule.training.task import Data


class ModelName(click.Choice):  # type: ignore[type-arg]  # generic since Click 8.2 only
    """The name of a model; former names are accepted as well."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a former name to the current one."""
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
@click.option(
    "--image-size", type=int, metavar="N", help="For a folder of pictures: resize them to N×N pixels.  [default: 32]"
)
@table_options
@click.option(
    "--size",
    help="Size of a gpt: tiny, names or shakespeare; of a model for tables: small, medium or large.  "
    "[default: names for --data names and everyday, shakespeare for other texts, medium for a table]",
)
@click.option("--block-size", type=int, metavar="T", help="For text: the longest context, in tokens.")
@click.option("--bpe", type=int, metavar="N", help="For text: use N byte-pair tokens instead of characters.")
@click.option("--words", is_flag=True, default=None, help="For text: use words as tokens instead of characters.")
@click.option(
    "--epochs", type=int, help="Number of passes over the training examples; for text, see --steps-per-epoch."
)
@click.option(
    "--steps-per-epoch",
    type=int,
    metavar="N",
    help="For text: the number of steps that count as an epoch.  [default: the model's]",
)
@click.option("--batch-size", type=int, help="Images, rows, or windows of a text per step.  [default: the model's]")
@click.option("--lr", type=float, help="Learning rate; with a schedule, its peak.  [default: the model's]")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="Optimizer.  [default: the model's]")
@click.option("--eager", is_flag=True, default=None, help="Run eagerly, without compiling the training step.")
@click.option(
    "--shards",
    type=int,
    metavar="N",
    help="Split each batch into N parts, for 1, 2, 4, ... or N MPI ranks; a single rank accumulates the gradients, and "
    "needs memory for one part only.  [default: 8 under mpiexec]",
)
@click.option("--seed", type=int, help="Random seed; the same seed gives bit-identical results.  [default: 0]")
@click.option("--limit", type=int, metavar="N", help="Train only on the first N images, rows or tokens.")
@click.option(
    "--validation",
    type=int,
    metavar="N",
    help="For images: hold out the last N training images for validation, which selects the best epoch.  [default: "
    "10,000, at most a sixth]",
)
@click.option("--out", type=PathName(), metavar="DIR", help="The run's folder.  [default: a new one in runs/]")
@click.option(
    "--log",
    type=click.Choice(list(LOGS)),
    multiple=True,
    help="Also write metrics.csv, or event files for TensorBoard (repeatable).",
)
@click.option(
    "--keep",
    type=int,
    metavar="N",
    help="Keep the checkpoints of the last N epochs and of the best one, and the last N saved within epochs.",
)
@click.option(
    "--from",
    "source",
    type=PathName(),
    metavar="RUN",
    help='Start from the best weights of a run; "shipped" is the pretrained network.',
)
@click.option(
    "--freeze",
    multiple=True,
    metavar="PREFIX",
    help="With --from: do not train parameters whose names begin with PREFIX (repeatable).",
)
@click.option("--find-lr", is_flag=True, help="Only search for a learning rate, and draw learning_rates.png.")
@click.option("--resume", type=PathName(), metavar="RUN", help="Resume a run that was stopped.")
@click.option(
    "--epoch",
    type=int,
    metavar="E",
    help="With --resume: go back to the end of epoch E, if it was kept (see --keep). With --from: fork the run there.",
)
@click.option(
    "--step",
    type=int,
    metavar="S",
    help="With --resume: go back to the state after S steps in total, if it was kept. With --from: fork the run there; "
    "any step will do.",
)
@click.option(
    "--override",
    multiple=True,
    metavar="NAME=VALUE",
    help="With --resume, or for a fork: change a setting, as in lr=0.001 (repeatable); config.json records the change.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def train(resume: str | None, as_json: bool, quiet: bool, find_lr: bool, **options: Any) -> None:
    """Train a model, evaluate it, and save everything in a run folder.

    For images, an epoch is a pass over the training images; the test images are for evaluation. For a table, --target
    is the column to predict; a sixth of the rows is for evaluation, and a sixth of the rest selects the best epoch. For
    a text, each step trains on windows drawn at random; an epoch is 250 steps by default, and the last tenth of the
    text is for evaluation.

    Ctrl-C stops after the current step and saves; a second Ctrl-C quits immediately. SIGTERM and SIGHUP do the same.

    The result of a resumed run is bitwise identical to that of an uninterrupted run. --epochs changes the number of
    epochs, --override other settings; if the result can then differ from that of a new run with these settings, a
    message says so.

    --from RUN starts a new run from the best weights of RUN. With --step or --epoch, the new run is a fork: it
    continues from the state that RUN had at that point, which is computed again if it was not kept. --lr, --optimizer,
    --batch-size, --epochs and --override change the settings of the fork.
    """
    try:
        world = get_world()
        interruption = Interruption(announces=world.rank == 0)
        try:
            with interruption, ExitStack() as locks:
                if find_lr:
                    _find_rate(world, resume, as_json, **options)
                    return
                _train(world, interruption, locks, resume, as_json, quiet, options)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(interruption.exit_code) from None
    except (UserError, click.ClickException):
        if launched_rank():  # rank 0 prints the error
            raise click.exceptions.Exit(2) from None
        raise


def _train(
    world: World,
    interruption: Interruption,
    locks: ExitStack,
    resume: str | None,
    as_json: bool,
    quiet: bool,
    options: dict[str, Any],
) -> None:
    threads()  # reports an invalid CHAINRULE_THREADS before a run folder is created
    ranks.compare_setup(world, {"resume": resume, "json": as_json, "quiet": quiet, **options})
    with ranks.scratch_folder(world) as folder:
        has_position = options["epoch"] is not None or options["step"] is not None
        is_fork = resume is None and options["source"] is not None and has_position
        if is_fork:
            run, data = _fork_run(world, **options)
        elif resume is None:
            run, data = _create_run(world, folder, **options)
        else:
            run, data = _open_run(world, folder, locks, resume, **options)
        if resume is None:
            on_rank_zero(world, lambda: locks.enter_context(training_lock(run)))
        verbose = not (as_json or quiet) and world.rank == 0
        console = _terminal() if verbose else None
        progress: list[Callback] = []
        if verbose:
            epoch_table = reports.of(run).epoch_table
            print_line = _ignore_closed_terminal(console.print if console else print_lines)
            progress.append(EpochLines(print_line, epoch_table))
            if console:
                progress.append(Bar(console, epoch_table))
        # Still in the block: the initial weights, for example, are read from the run's folder
        trainer = on_all_ranks(world, lambda: experiment.prepare(run, data, progress))

    if resume is not None or is_fork:
        on_rank_zero(world, lambda: resuming.resume(run, trainer))
    if verbose:
        _introduce(run, trainer, data)
    interruption.target = trainer
    resume_command = f"chainrule train --resume {shlex.quote(world.broadcast(str(run.folder)))}"
    resume_hint = f"resume from the last checkpoint with: {resume_command}"
    killed_message = ranks.KilledMessage(world, f"chainrule: a process was killed, so all ranks ended; {resume_hint}")
    world.on_failure(lambda failure: ranks.report_failure(world, killed_message, f"{failure}; {resume_hint}"))
    try:
        with killed_message:
            trainer.fit(run.config["training"]["epochs"])
    except RankFailedError as error:
        ranks.end_after_failure(world, killed_message, f"{error}; {resume_hint}")
    except Interrupted:
        if world.rank == 0:
            print_lines(f"stopped in epoch {trainer.epoch + 1}; resume with: {resume_command}", err=True)
        raise
    except KeyboardInterrupt:
        if world.rank == 0:
            print_lines(f"stopped immediately; {resume_hint}", err=True)
        raise
    except DivergedError as error:
        if not trainer.history:  # without a complete epoch, only a new run helps
            raise
        raise DivergedError(f"{error}; recover with: {_recovery_command(run, trainer)}") from None
    except UserError as error:
        if world.rank and not isinstance(error, RanksDifferError):  # an error that rank 0 does not print
            print_lines(f"chainrule: {world.name(world.rank)}: {error}", err=True)
        raise
    interruption.target = None
    if world.rank:
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
    world: World,
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
    **overrides: Any,
) -> tuple[Run, Data]:
    """Create a new run from the command's options, and load its data.

    Only rank 0 creates the run itself; the other ranks get a copy in `folder`. `overrides` replace settings of the
    model's recipe.
    """
    for name, value in (("--epoch", epoch), ("--step", step), ("--override", override or None)):
        if value is not None:
            fork_hint = "" if name == "--override" else "; to fork a run, with --from RUN"
            raise click.UsageError(f"{name} changes an existing run: use it with --resume RUN{fork_hint}")
    if freeze and source is None:
        raise click.UsageError(
            "--freeze is for a run that starts from the weights of another run: use it with --from RUN"
        )
    start = None if source is None else runs.find(source)
    if model is None and start is not None:
        model = start.model.name
    data_options = DataOptions(
        data,
        seed or 0,
        image_size=image_size,
        validation=validation,
        bpe=bpe,
        words=bool(words),
        target=target,
        task=task,
        drop=drop,
        categorical=categorical,
        encoding=encoding,
    )
    if world.is_launched and overrides["shards"] is None:
        overrides["shards"] = DEFAULT_SHARDS

    def configure() -> tuple[dict[str, Any], Data]:
        loaded = load(data_options, None if model is None else models.get(model), start)
        name = default_model(loaded) if model is None else model
        config = experiment.configure(
            name,
            loaded,
            seed=seed or 0,
            limit=limit,
            keep=keep or 0,
            options={"size": size, "block_size": block_size},
            source=start,
            freeze=freeze,
            log=log,
            **overrides,
        )
        return config, loaded

    config, loaded = on_all_ranks(world, configure)
    ranks.compare_configs(world, config)
    check_ranks(config["training"]["shards"], world.size)
    run_task = tasks.find(config["model"]["name"])

    def write_files(target: Path) -> None:
        run_task.write_files(loaded, target)
        if start is not None:
            write_start(start, target)

    run = on_all_ranks(world, lambda: runs.create(config, out if folder is None else folder, write_files))
    return run, loaded


def _find_rate(world: World, resume: str | None, as_json: bool, **options: Any) -> None:
    """Search for a learning rate with a temporary run, print a suggestion, and draw the losses."""
    for name, value in (
        ("--resume", resume), ("--out", options["out"]), ("--keep", options["keep"]),
        ("--log", options["log"] or None),
    ):  # fmt: skip
        if value is not None:
            raise click.UsageError(f"--find-lr does not keep a run: leave out {name}")
    if world.is_launched or options["shards"]:
        raise click.UsageError("--find-lr runs in one process, without shards")
    with TemporaryDirectory() as folder:
        run, data = _create_run(world, None, **{**options, "out": str(Path(folder) / "run")})
        search = find_learning_rate(experiment.prepare(run, data))
        model_name, current_rate = run.model.name, run.config["training"]["lr"]
    if as_json:
        print_json({"learning_rate": search.suggestion, "rates": search.rates, "losses": search.losses})
    else:
        print_lines(
            f"{model_name}: {len(search.rates)} steps with learning rates from {search.rates[0]:.1e} to "
            f"{search.rates[-1]:.1e}"
        )
        print_lines(f"suggestion: --lr {search.suggestion:.2g}  (instead of {current_rate:g})")
    from chainrule.plots import style, training  # imports matplotlib

    figure = training.learning_rates(search.rates, search.losses, search.smoothed, search.suggestion)
    style.save(figure, Path("learning_rates.png"))
    if not as_json:
        print_lines("figure: learning_rates.png")


def _open_run(
    world: World,
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
    """Find the run to resume, make the changes that the options ask for, and load its data.

    Only rank 0 has the run itself, and locks it; the other ranks get a copy of its files in `folder`.
    """
    refused_options = _given_options(unchangeable)
    if refused_options:
        overridable_options = [
            name for name in refused_options if name in ("--batch-size", "--eager", "--lr", "--optimizer", "--shards")
        ]
        hint = (
            f"; to change the setting: --override {overridable_options[0][2:].replace('-', '_')}=VALUE"
            if overridable_options
            else ""
        )
        raise click.UsageError(f"--resume keeps the run's settings: leave out {', '.join(refused_options)}{hint}")
    if log:
        raise click.UsageError("--log is for a new run: --resume continues the run's logs")
    if source is not None or freeze:
        raise click.UsageError(
            "--from and --freeze are for a new run: --resume keeps the run's starting weights and frozen parameters"
        )
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
        locks.enter_context(training_lock(run))  # before the run is changed
        if settings or keep is not None or epoch is not None or step is not None:
            run = change_run(run, run.task.load(run), settings, epoch=epoch, step=step, keep=keep)
        check_ranks(run.config["training"].get("shards", 0), world.size)
        return run

    run = ranks.copy_run(world, folder, find)
    return run, on_all_ranks(world, lambda: run.task.load(run))


def _fork_run(
    world: World,
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
    """Create a run that continues from a step of an existing run, and load its data."""
    refused_options = _given_options(unchangeable)
    fixed_options = [name for name in refused_options if name != "--eager"]
    if fixed_options:
        raise click.UsageError(f"{', '.join(fixed_options)} cannot be changed in a fork")
    if refused_options:
        raise click.UsageError("--eager is for a new run; to change the setting: --override eager=VALUE")
    if epoch is not None and step is not None:
        raise click.UsageError("--epoch and --step are mutually exclusive: give one of them")
    if world.is_launched:
        raise click.UsageError(
            "a run is forked in one process: fork it without mpiexec, then train the fork with --resume"
        )
    settings = parse_settings(override)
    for name, value in (("lr", lr), ("optimizer", optimizer), ("batch_size", batch_size), ("epochs", epochs)):
        if value is not None:
            if name in settings:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} and --override {name} are both given: give one of them"
                )
            settings[name] = value
    replay = RunReplay(runs.find(source))
    if epoch is not None:
        step = replay.step_of_epoch(epoch)
    for note in replay.notes:
        print_lines(f"chainrule: {note}", err=True)
    return fork(replay, step or 0, settings, out, keep=keep or 0, log=log), replay.data


def _given_options(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the options that were given, from the options' values."""
    return [f"--{name.replace('_', '-')}" for name, value in values.items() if value not in (None, ())]


def _recovery_command(run: Run, trainer: Trainer) -> str:
    """Return the command that resumes a diverged run with a tenth of its learning rate.

    It starts from the best epoch if that was kept, else from the last checkpoint.
    """
    best_epoch = _best_epoch(run, trainer.history)
    epoch_option = f" --epoch {best_epoch}" if ("epoch", best_epoch) in run.kept_states else ""
    rate = run.config["training"]["lr"] / 10
    return f"chainrule train --resume {shlex.quote(str(run.folder))}{epoch_option} --override lr={rate:.2g}"


def _terminal() -> Any:
    """Return a console for the progress bar; None if standard output is not a terminal, even if FORCE_COLOR is set."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    from rich.console import Console  # imported only if there is a terminal

    return Console(highlight=False)


def _ignore_closed_terminal(print_line: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap a print function to ignore EIO, with which writes to a closed terminal fail until SIGHUP arrives."""

    def print_line_if_open(line: str) -> None:
        try:
            print_line(line)
        except OSError as error:
            if error.errno != errno.EIO:
                raise

    return print_line_if_open


def _introduce(run: Run, trainer: Trainer, data: Data) -> None:
    spec, recipe = run.config["model"], run.config["training"]
    parameter_count = sum(parameter.numel() for parameter in trainer.network.parameters())
    print_lines(f"{spec['name']}: {models.get(spec['name']).summary}; {parameter_count:,} parameters")
    print_lines(
        f"{data.name}: {reports.of(run).describe_data(trainer, data)}; {recipe['optimizer']}, lr {recipe['lr']:g} "
        f"({recipe['schedule']}), batch size {recipe['batch_size']}, seed {run.config['seed']}"
    )
    if recipe.get("augment"):
        transforms = ", ".join(f"{name} {value:g}" for name, value in recipe["augment"].items())
        epochs_without_augmentation = recipe.get("epochs_without_augmentation", 0)
        exception = ""
        if epochs_without_augmentation == 1:
            exception = ", except in the last epoch"
        elif epochs_without_augmentation:
            exception = f", except in the last {epochs_without_augmentation} epochs"
        print_lines(f"augmentation: {transforms}{exception}")
    if "fork" in run.config:
        print_lines(f"forked from {run.config['fork']['run']} at step {run.config['fork']['step']:,}")
    start = run.config.get("start")
    if start is not None:
        frozen = f"; frozen: {', '.join(start['freeze'])}" if start["freeze"] else ""
        replaced = f"; initialized, as shapes differ: {', '.join(start['replaced'])}" if start["replaced"] else ""
        print_lines(f"starting from the weights of {start['run']}{replaced}{frozen}")
    if "tensorboard" in run.config.get("log", ()):
        print_lines(f"watch: tensorboard --logdir {shlex.quote(str(run.folder.parent))}")
    for change in run.changes:
        print_lines(_describe_change(change))
    if trainer.epoch >= recipe["epochs"]:
        print_lines(f"all {recipe['epochs']} epochs are complete; evaluating again")
    elif trainer.epoch or trainer.step_in_epoch:
        print_lines(
            f"resuming from epoch {trainer.epoch + 1}, step {trainer.step_in_epoch + 1} of {len(trainer.loader)}"
        )
    print_lines()


def _describe_change(change: dict[str, Any]) -> str:
    """Return a line about a change of settings."""
    position = f"epoch {change['epoch'] + 1}, step {change['step'] + 1}"
    settings = ", ".join(f"{name} {new} instead of {old}" for name, (old, new) in change["settings"].items())
    if not settings:
        return f"restarted from {position}"
    if not change[runs.DIFFERS_KEY]:
        return f"from {position}: {settings}; bit-identical to a new run with these settings"
    reason = f" ({change['why']})" if change["why"] else ""
    return f"from {position}: {settings}; not bit-identical to a new run with these settings{reason}"


def _draw(run: Run) -> None:
    """Draw the learning curves, if any epoch is complete."""
    if run.history:
        from chainrule.plots import style, training  # imports matplotlib

        by_loss, title = run.task.metric.name == "validation_loss", printable(run.folder.name)
        style.save(training.curves(run.history, title, best_by_loss=by_loss), run.folder / "curves.png")


def _document(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON document that `--json` prints."""
    report = reports.of(run)
    keys = ("epoch", "train_loss", *(key for _, key, _ in report.epoch_table.columns), "seconds")
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
    """Print the result; unless `quiet`, also the learning curves as text, and samples of what the network can do."""
    report = reports.of(run)
    if not quiet:
        from chainrule.plots import text

        history = run.history
        if len(history) > 1:
            for title, key, scale in report.charts:
                print_lines("", title)
                values = [record.get(key, math.nan) * scale for record in history]
                print_lines(*text.curve(values, width=terminal_width(64), height=4, ascii=ascii_only()))
        best_epoch = _best_epoch(run, history)
        print_lines(
            "", f"best epoch     {best_epoch} of {len(history)}, by {report.metric_label}; its weights are saved"
        )
    print_lines(*report.result_lines(run, result))
    print_lines(f"time           {result['seconds']:.1f} s")
    print_lines(f"run            {run.folder}")
    if not quiet:
        print_lines(*report.samples(run), "", f"next: {report.next_command(run)}")


def _best_epoch(run: Run, history: Sequence[dict[str, Any]]) -> int:
    """Return the number, from 1, of the best epoch."""
    metric = run.task.metric
    return best_index(history, metric.name, metric.mode) + 1
