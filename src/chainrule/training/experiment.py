"""Creates a run's config, builds a trainer from it, and evaluates the trained run.

The config determines the result: with the same package versions, two runs with the same config are bitwise identical.
Its seed is split into two generators: one for the initial weights and dropout, and one for the order of the examples
and the augmentation of images.
"""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, replace
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

import chainrule
from chainrule import models
from chainrule.data.augment import Augment
from chainrule.distributed.sharded import ShardError, check_shards
from chainrule.distributed.world import set_threads, threads_per_rank
from chainrule.errors import DataError, RunError
from chainrule.files import write_text
from chainrule.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR
from chainrule.training import tasks
from chainrule.training.callbacks import BestModel, Checkpoint, History, SettingsCheck, StopAugmentation, StopOnNaN
from chainrule.training.fine_tuning import build_initial_network, describe_start
from chainrule.training.logs import check_logs, make_logs
from chainrule.training.optimizers import check_optimizer, make_optimizer, with_defaults
from chainrule.training.replay_states import ReplayStates
from chainrule.training.run import SHIPPED, SHIPPED_WORDS
from chainrule.training.trainer import Callback, Trainer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chainrule.models import Recipe
    from chainrule.optim import Optimizer
    from chainrule.training.run import Run
    from chainrule.training.task import Data, Task

MIN_COMPILED_STEPS = 200
"""Compiling the training step takes less time than it saves in runs of at least this many steps."""

_MAX_COUNT = 1_000_000_000
"""Maximum number of epochs, of steps per epoch, of examples to train on, and of examples in a batch, to catch typos."""

SCHEDULES = ("constant", "cosine", "one-cycle", "warmup-cosine")
"""The learning-rate schedules that a recipe can name."""

WARMUP_FRACTION = 0.05
"""In the schedule "warmup-cosine": the fraction of the steps in which the rate rises."""

FINAL_RATE_FRACTION = 0.1
"""In the schedule "warmup-cosine": the final rate, as a fraction of the highest."""


def configure(
    model: str,
    data: Data,
    *,
    seed: int = 0,
    limit: int | None = None,
    keep: int = 0,
    options: Mapping[str, Any] | None = None,
    source: Run | None = None,
    freeze: Sequence[str] = (),
    log: Sequence[str] = (),
    **overrides: Any,
) -> dict[str, Any]:
    """Create a run's config from the model's recipe and values that override it.

    Args:
        model: a registered name.
        data: the data set to train on: images, a text or a table, as the model needs.
        seed: seed of all random numbers.
        limit: train on the first `limit` images, rows or tokens only; None for all.
        keep: how many earlier states to keep, so that `changes.change_run` can go back to them (see `Checkpoint`).
        options: options of the model, which replace the defaults for the data set; an option that is None keeps its
            default.
        source: start from the best weights of this run, of the same model; `fine_tuning.write_start` copies them.
        freeze: with `source`, prefixes of the names of the parameters to freeze, such as "0".
        log: logs to write besides metrics.jsonl: "csv", "tensorboard".
        overrides: values for fields of the `Recipe`, such as lr=0.001; a field that is None keeps the recipe's value.

    Raises:
        DataError: the text is too short for the model.
        MissingLibraryError: a log needs a library that is not installed.
        RunError: the model, optimizer or a log is unknown, a value is invalid, or the model does not accept the data.
    """
    check_logs(log)
    entry = models.get(model)  # `model` may be a former name
    task, recipe = tasks.of(entry), entry.recipe
    tasks.check_data_type(entry, data)
    data_options, data_overrides = task.defaults(entry, data)
    source_options = {} if source is None else source.config["model"]["options"]
    model_options = {
        **source_options,
        **data_options,
        **{name: value for name, value in (options or {}).items() if value is not None},
    }
    overrides = {**data_overrides, **{name: value for name, value in overrides.items() if value is not None}}
    recipe = replace(recipe, **with_defaults(recipe, overrides))
    check_settings(task, recipe, seed, limit, data, keep)
    network = models.build(entry.name, model_options, generator=np.random.default_rng(0)).eval()
    task.check_model(entry, network, data)
    if freeze and source is None:
        raise RunError("only a run that starts from another run's weights can freeze parameters")
    start = {} if source is None else {"start": describe_start(source, network, freeze)}
    return {
        "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
        "model": {"name": entry.name, "options": model_options},
        "data": task.describe(data, limit),
        "training": asdict(recipe),
        "seed": seed,
        "versions": versions(),
        **start,
        **({"keep": keep} if keep else {}),
        **({"log": list(dict.fromkeys(log))} if log else {}),
        **({"threads": threads_per_rank()} if recipe.shards else {}),
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages on which the exact result depends."""
    packages = {"chainrule": chainrule.__version__, "numpy": np.__version__, "python": platform.python_version()}
    if find_spec("llvmlite") is not None:
        packages["llvmlite"] = version("llvmlite")
    return packages


def prepare(
    run: Run, data: Data, callbacks: Sequence[Callback] = (), *, read_only: bool = False, replayable: bool = True
) -> Trainer:
    """Build a trainer for a run, with callbacks that keep the run's files up to date.

    Args:
        run: the run.
        data: the data set named in its config.
        callbacks: additional callbacks, called after `StopOnNaN` and `StopAugmentation`, and before the callbacks that
            write files.
        read_only: write no files and do not validate; the training steps are the same either way.
        replayable: also save states to start a replay from (see `ReplayStates`).

    Raises:
        DataError: the data differ from those that the config was created for.
        MissingLibraryError: a log needs a library that is not installed.
        RunError: the config has an unknown name or an invalid value, or the run is shipped with chainrule and must not
            be overwritten.
    """
    config, task = run.config, run.task
    recipe, limit = models.Recipe(**config["training"]), config["data"]["limit"]
    if not read_only:
        refuse_shipped(run)
    check_data(run, data)
    try:
        check_settings(task, recipe, config["seed"], limit, data, config.get("keep", 0))
        check_logs(config.get("log", ()))
    except RunError as error:
        raise RunError(f"{run.config_file}: {error}") from None
    if recipe.shards:
        set_threads(_thread_count(run))
    weights_generator, order_generator = run.generators()
    network, model = build_initial_network(run, weights_generator), run.model
    loader = task.loader(run, recipe, data, network, order_generator)
    optimizer = make_optimizer(network, recipe)
    compiled = is_worth_compiling(recipe, len(loader))
    validate = task.validator(network, model, data, compiled=compiled)
    checkpoint_folder = run.checkpoint_file.parent
    settings_check = SettingsCheck({**_settings_outside_recipe(config), **asdict(recipe)})
    writers: list[Callback] = [
        BestModel(run.weights_file, task.metric.name, task.metric.mode),
        History(run.folder / "metrics.jsonl"),
        *make_logs(config.get("log", ()), run.folder, validate),
        settings_check,
        *([ReplayStates(checkpoint_folder)] if replayable else []),
        Checkpoint(
            checkpoint_folder,
            keep=config.get("keep", 0),
            best_weights_file=run.weights_file,
            metric=task.metric.name,
            mode=task.metric.mode,
        ),
    ]
    return Trainer(
        network,
        model.loss,
        optimizer,
        loader,
        scheduler=_make_scheduler(recipe, optimizer, recipe.epochs * len(loader)),
        validate=None if read_only else validate,
        count_correct=task.counter(),
        callbacks=[
            StopOnNaN(),
            StopAugmentation(after=recipe.epochs - recipe.epochs_without_augmentation),
            *callbacks,
            *([settings_check] if read_only else writers),
        ],
        compiled=compiled,
        shards=recipe.shards,
    )


def _settings_outside_recipe(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings on which a state depends, other than the recipe."""
    data = config["data"]
    examples = {"limit": data["limit"], "validation": data.get("validation")}
    return {"model": config["model"], "seed": config["seed"], **examples}


def _thread_count(run: Run) -> int:
    """Return the number of threads that a run in shards was started with, since its result depends on this number.

    Raises:
        RunError: CHAINRULE_THREADS is set to a different number.
    """
    n_threads: int = run.config.get("threads", 1)
    if os.environ.get("CHAINRULE_THREADS") and threads_per_rank() != n_threads:
        noun = "threads" if n_threads > 1 else "thread"
        raise RunError(
            f"{run.folder} was started with {n_threads} {noun} per rank, and CHAINRULE_THREADS is "
            f"{threads_per_rank()}: set it to {n_threads}, or not at all"
        )
    return n_threads


def refuse_shipped(run: Run) -> None:
    """Refuse to change a run that is shipped with chainrule.

    Raises:
        RunError: the run is shipped with chainrule.
    """
    if run.folder.resolve() in (SHIPPED.resolve(), SHIPPED_WORDS.resolve()):
        command = f"chainrule train --model {run.config['model']['name']}"
        raise RunError(f"{run.folder}: is a run shipped with chainrule; train your own with: {command}")


def check_data(run: Run, data: Data) -> None:
    """Check that the data are those that the run was started with.

    Raises:
        DataError: the data for training or for evaluation differ.
    """
    part = run.task.changed_part(run, data)
    if part is not None:
        raise DataError(
            f"{data.name}: the {part} have changed since {run.folder} was started; the run cannot be resumed"
        )


def is_worth_compiling(recipe: Recipe, steps_per_epoch: int) -> bool:
    """Return whether to compile the training step: not in eager mode, and not in a run of few steps."""
    return not recipe.eager and recipe.epochs * steps_per_epoch >= MIN_COMPILED_STEPS


def finish(run: Run, data: Data, seconds: float) -> dict[str, Any]:
    """Evaluate a run's best weights on the test examples or the validation text; write and return the result.

    Args:
        run: a run whose training is complete.
        data: the data set named in its config.
        seconds: the duration of the training.

    Raises:
        RunError: there are no weights, they do not fit, or the network's outputs are not finite.
    """
    result = {**run.task.evaluate_run(run, data), "seconds": seconds}
    write_text(run.folder / "result.json", json.dumps(result, indent=2) + "\n")
    return result


def _make_scheduler(recipe: Recipe, optimizer: Optimizer, n_steps: int) -> LRScheduler | None:
    """Return the scheduler of a recipe for a run of `n_steps` steps; None for a constant rate."""
    if recipe.schedule == "one-cycle":
        can_cycle_momentum = all(group.get("betas") or group.get("momentum") for group in optimizer.param_groups)
        # One step more than the run has: the scheduler is also stepped after the last one
        return OneCycleLR(optimizer, recipe.lr, total_steps=n_steps + 1, cycle_momentum=can_cycle_momentum)
    if recipe.schedule == "warmup-cosine":
        n_warmup_steps = max(1, round(WARMUP_FRACTION * n_steps))
        warmup = LinearLR(optimizer, start_factor=1 / (n_warmup_steps + 1), total_iters=n_warmup_steps)
        decay = CosineAnnealingLR(
            optimizer, T_max=max(1, n_steps - n_warmup_steps), eta_min=FINAL_RATE_FRACTION * recipe.lr
        )
        return SequentialLR(optimizer, [warmup, decay], milestones=[n_warmup_steps])
    return CosineAnnealingLR(optimizer, T_max=n_steps) if recipe.schedule == "cosine" else None


def check_settings(task: Task[Any], recipe: Recipe, seed: int, limit: int | None, data: Data, keep: int = 0) -> None:
    """Check a recipe, the seed, the limit and the number of states to keep, for training on a data set of a task.

    Raises:
        RunError: a value is invalid.
    """
    if recipe.schedule not in SCHEDULES:
        raise RunError(f"unknown schedule {recipe.schedule!r}; choose from {', '.join(SCHEDULES)}")
    counts = {"number of epochs": recipe.epochs, "batch size": recipe.batch_size, "limit": limit}
    for name, count in counts.items():
        if count is not None and not 1 <= count <= _MAX_COUNT:
            raise RunError(f"the {name} must be at {'least 1' if count < 1 else f'most {_MAX_COUNT:,}'}, not {count:,}")
    if not 0 < recipe.lr < math.inf:
        raise RunError(f"the learning rate must be a number above 0, not {recipe.lr}")
    if not (0 <= recipe.momentum < math.inf and 0 <= recipe.weight_decay < math.inf):
        raise RunError("the momentum and the weight decay must be finite and at least 0")
    check_optimizer(recipe)
    if recipe.shards:
        try:
            check_shards(recipe.shards, recipe.batch_size)
        except ShardError as error:
            raise RunError(str(error)) from None
    if recipe.epochs_without_augmentation < 0:
        raise RunError(f"epochs_without_augmentation must be at least 0, not {recipe.epochs_without_augmentation}")
    try:
        Augment(**recipe.augment)
    except (TypeError, ValueError) as error:
        raise RunError(f"invalid augmentation {recipe.augment}: {error}") from None
    if seed < 0:
        raise RunError(f"the seed must be at least 0, not {seed}")
    if keep < 0:
        raise RunError(f"the number of states to keep must be at least 0, not {keep}")
    if recipe.steps_per_epoch > _MAX_COUNT:
        raise RunError(f"the number of steps per epoch must be at most {_MAX_COUNT:,}, not {recipe.steps_per_epoch:,}")
    task.check_settings(recipe, limit, data)
