"""python our_gpt.py JOB: train a GPT as a file describes (see `gpt_job.Job`), compiled; prints losses and seconds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gpt_job import BETAS, CLIP, WEIGHT_DECAY, Job, Record

import chainrule
from chainrule import models, nn, no_grad, optim

if TYPE_CHECKING:
    from gpt_job import Batch

job = Job.read(sys.argv[1])
model = models.build("gpt", job.sizes)
model.load_state_dict(chainrule.load(job.weights))
loss = models.get("gpt").loss
matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
optimizer = optim.AdamW(groups, betas=BETAS)


@chainrule.jit
def compiled_step(inputs: chainrule.Tensor, targets: chainrule.Tensor) -> chainrule.Tensor:
    """A step; returns the loss."""
    optimizer.zero_grad()
    value = loss(model(inputs), targets)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    return value


@chainrule.jit
def compiled_loss(inputs: chainrule.Tensor, targets: chainrule.Tensor) -> chainrule.Tensor:
    """The loss alone."""
    return loss(model(inputs), targets)


def step(batch: Batch, lr: float) -> float:
    """A step with a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    return compiled_step(*map(chainrule.from_numpy, batch)).item()


def evaluate(batch: Batch) -> float:
    """The mean loss on a batch."""
    with no_grad():
        return compiled_loss(*map(chainrule.from_numpy, batch)).item()


Record(job).train(step, evaluate, chainrule.__version__, "jit")
