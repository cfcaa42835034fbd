"""Where a playground's numbers broke: the step and the layer of the first number that is infinite or NaN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.studio.playground.run import PlaygroundRun


@dataclass(frozen=True)
class Fault:
    """The first number that is not finite.

    Attributes:
        step: the step, from 1.
        layer: the layer, from 1, the output's last.
        sentence: what happened, and what to try.
    """

    step: int
    layer: int
    sentence: str


def find_fault(run: PlaygroundRun, loss: float) -> Fault | None:
    """Return the fault of the step that was just taken; None if all numbers are finite.

    Args:
        run: the run, after the step.
        loss: the loss of the step's batch.
    """
    names = [*(f"layer {number + 1}" for number in range(len(run.setup.layers))), "the output layer"]
    advice = f"The picture shows the step before. Try a smaller learning rate than {run.setup.rate:,.10g}"
    if run.setup.rate > 0:
        advice += f", such as {run.setup.rate / 10:,.10g}"
    for number in reversed(range(len(run.linears))):  # backpropagation reaches the last layer first
        linear = run.linears[number]
        values = [linear.weight.numpy(), *([linear.bias.numpy()] if linear.bias is not None else [])]
        if not all(np.isfinite(array).all() for array in values):
            kind = "NaN (not a number)" if any(np.isnan(array).any() for array in values) else "infinite"
            return Fault(
                run.steps, number + 1, f"In step {run.steps:,} a weight of {names[number]} became {kind}. {advice}."
            )
    layers = run.outputs(run.points)
    for number, answers in enumerate(layers):
        if not np.isfinite(answers).all():
            kind = "NaN (not a number)" if np.isnan(answers).any() else "infinite"
            what = f"In step {run.steps:,} the answer of a neuron of {names[number]} became {kind}"
            return Fault(run.steps, number + 1, f"{what}: its weights are too large. {advice}.")
    evaluation = run.evaluate()
    if math.isfinite(loss + evaluation.train_loss) and not math.isinf(evaluation.validation_loss):
        return None
    peak = float(np.abs(layers[-1]).max())
    what = f"In step {run.steps:,} the answers of the output layer grew to {peak:.0e}, and the loss became infinite"
    return Fault(run.steps, len(run.linears), f"{what}. {advice}.")
