"""The parts that `our_gpt.py` and `torch_gpt_train.py` share: hyperparameters, batches, and the training loop.

The hyperparameters are those of nanoGPT's run for characters on a CPU.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Batch = tuple[NDArray[np.int64], NDArray[np.int64]]

PEAK_LR, LAST_LR, WARMUP = 1e-3, 1e-4, 100
BETAS = (0.9, 0.99)
WEIGHT_DECAY = 0.1
CLIP = 1.0  # the largest norm of the gradients
EVALUATION_BATCH = 32
RECENT = 100
"""The number of last steps over which the training loss is averaged."""


@dataclass
class Job:
    """A training run, as `benchmarks/gpt.py` describes it in a JSON file.

    Attributes:
        tokens: a file of tokens to train on, .npy.
        validation: a file of tokens for validation, .npy.
        weights: a safetensors file with the initial weights.
        sizes: vocab_size, block_size, layers, heads and width.
        batch: texts per step.
        steps: number of steps.
        evaluations: how often the validation loss is computed, the last time after the last step.
        limit: seconds of training after which no further step starts.
        seed: seed of the batches.
    """

    tokens: str
    validation: str
    weights: str
    sizes: dict[str, int]
    batch: int
    steps: int
    evaluations: int
    limit: float
    seed: int

    @classmethod
    def read(cls, file: str) -> Job:
        """Read a job's file."""
        return cls(**json.loads(Path(file).read_text(encoding="utf-8")))

    def lr(self, step: int) -> float:
        """The learning rate: linear warm-up, then half a cosine."""
        if step < WARMUP:
            return PEAK_LR * (step + 1) / (WARMUP + 1)
        progress = (step - WARMUP) / max(1, self.steps - WARMUP)
        return LAST_LR + (PEAK_LR - LAST_LR) * (1 + math.cos(math.pi * progress)) / 2

    def batches(self) -> Iterator[Batch]:
        """Windows from anywhere in the text, and the same windows one token later: (batch, T) each."""
        tokens, length = np.load(self.tokens).astype(np.int64), self.sizes["block_size"]
        rng = np.random.default_rng(self.seed)
        for _ in range(self.steps):
            starts = rng.integers(0, len(tokens) - length, self.batch)
            windows = tokens[starts[:, None] + np.arange(length + 1)]
            yield windows[:, :-1].copy(), windows[:, 1:].copy()

    def evaluation_batches(self) -> Iterator[Batch]:
        """The validation text in consecutive windows; an incomplete last batch is left out unless it is alone."""
        tokens, length = np.load(self.validation).astype(np.int64), self.sizes["block_size"]
        count = (len(tokens) - 1) // length
        inputs = tokens[: count * length].reshape(count, length)
        targets = tokens[1 : count * length + 1].reshape(count, length)
        size = min(EVALUATION_BATCH, count)
        for start in range(0, count - size + 1, size):
            yield inputs[start : start + size], targets[start : start + size]


@dataclass
class Record:
    """The losses and times of a run, printed as JSON.

    Attributes:
        job: the run's description.
        losses: the training loss of each step.
        evaluations: the number of steps taken, and the validation loss then.
        seconds: the training time.
        first: the seconds of the first step, which compiles.
    """

    job: Job
    losses: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    first: float = 0.0

    def train(
        self, step: Callable[[Batch, float], float], evaluate: Callable[[Batch], float], version: str, variant: str
    ) -> None:
        """Train, and print the record.

        Args:
            step: takes a step on a batch with a learning rate, and returns the loss.
            evaluate: returns the mean loss on a batch.
            version: the library's version.
            variant: how it was run.
        """
        job, every = self.job, max(1, self.job.steps // max(1, self.job.evaluations))
        for number, batch in enumerate(job.batches()):
            started = time.perf_counter()
            self.losses.append(step(batch, job.lr(number)))
            self.seconds += time.perf_counter() - started
            self.first = self.first or self.seconds  # compilation
            over = self.seconds > job.limit
            if over or number + 1 == job.steps or (number + 1) % every == 0:
                self.evaluations.append((number + 1, float(np.mean([evaluate(b) for b in job.evaluation_batches()]))))
            if over:
                break
        answer: dict[str, Any] = {"version": version, "variant": variant, "steps": len(self.losses)}
        answer |= {"seconds": self.seconds, "first": self.first, "evaluations": self.evaluations}
        print(json.dumps(answer | {"initial_loss": self.losses[0], "loss": float(np.mean(self.losses[-RECENT:]))}))
