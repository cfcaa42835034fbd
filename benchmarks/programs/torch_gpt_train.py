"""python torch_gpt_train.py JOB eager|compile: like our_gpt.py, in PyTorch, with the fused optimizer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from gpt_job import BETAS, CLIP, WEIGHT_DECAY, Job, Record
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent.parent))
from peers.pytorch import next_token_loss
from peers.torch_gpt import TorchGPT

if TYPE_CHECKING:
    from gpt_job import Batch

job, variant = Job.read(sys.argv[1]), sys.argv[2]
model = TorchGPT(**job.sizes)
model.load_state_dict(load_file(job.weights))
matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, betas=BETAS, fused=True)


def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean loss."""
    return next_token_loss(model(inputs), targets)


learn = torch.compile(loss, dynamic=False) if variant == "compile" else loss


def step(batch: Batch, lr: float) -> float:
    """A step with a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad()
    value = learn(*map(torch.from_numpy, batch))
    value.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    return value.item()


def evaluate(batch: Batch) -> float:
    """The mean loss on a batch."""
    with torch.inference_mode():
        return loss(*map(torch.from_numpy, batch)).item()


Record(job).train(step, evaluate, torch.__version__, variant)
