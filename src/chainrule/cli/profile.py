"""`chainrule profile`: measure a training step by layer and by stage."""

from __future__ import annotations

from dataclasses import replace

import click
import numpy as np

from chainrule import models
from chainrule.cli.output import print_lines
from chainrule.models.examples import random_batch
from chainrule.training.optimizers import OPTIMIZERS, check_optimizer, make_optimizer, with_defaults
from chainrule.training.profiler import profile as measure


@click.command(
    epilog="""\b
Examples:
  chainrule profile
  chainrule profile --model cnn --batch-size 64
  chainrule profile --model gpt --batch-size 4 --optimizer lion"""
)
@click.option("--model", type=click.Choice(list(models.REGISTRY)), default="mlp", show_default=True, help="The model.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Examples per step.  [default: the model's]")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="Optimizer.  [default: the model's]")
@click.option(
    "--repeats", type=click.IntRange(min=1), default=10, show_default=True, help="Number of steps to measure."
)
def profile(model: str, batch_size: int | None, optimizer: str | None, repeats: int) -> None:
    """Measure a training step of a model on random data: in total, by layer, and by stage of the compiled step.

    A stage is the call of one kernel. The times of steps and stages are medians. Stages are measured one by
    one, on one thread.
    """
    entry = models.get(model)
    recipe = entry.recipe
    if optimizer is not None:
        recipe = replace(recipe, **with_defaults(recipe, {"optimizer": optimizer}))
    check_optimizer(recipe)
    network = models.build(entry.name, generator=np.random.default_rng(0))
    inputs, targets = random_batch(entry, network, batch_size or recipe.batch_size)
    print_lines(f"{entry.name}: {entry.summary}; {recipe.optimizer}, batch size {len(targets)}", "")
    result = measure(network, entry.loss, make_optimizer(network, recipe), inputs, targets, repeats)
    print_lines(*str(result).splitlines())
