"""The works in PyTorch, in every variant that may be its fastest.

"eager" is the plain program; "fused" uses the fused optimizer; "channels_last" and "torch.compile" use the fused
optimizer, too.
"""

from __future__ import annotations

import os
import shutil
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import torch
import works
from torch.nn import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, Sigmoid, Unflatten
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from peers import torch_gpt

if TYPE_CHECKING:
    from collections.abc import Callable

    from works import Work

    Step = Callable[[], object]

COMPILE = os.environ.get("BENCH_COMPILE", "1") == "1"  # --quick sets it to 0
QUICK = "omitted by --quick"


def about() -> dict[str, object]:
    """The version and the threads."""
    return {"version": torch.__version__, "threads": torch.get_num_threads()}


def variants(work: Work) -> dict[str, Callable[[], Step]]:
    """The variants of a work."""
    if work.kind == "chain":
        return {"eager": lambda: lambda: works.chain(torch)}
    if work.kind == "generate":
        return {
            "eager": lambda: generation(work, torch_gpt.PreallocatedCache),
            "growing cache": lambda: generation(work, torch_gpt.GrowingCache),
            "torch.compile": lambda: generation(work, torch_gpt.CompiledCache, compiled=compiler()),
        }
    maker = training if work.kind == "train" else prediction
    ways = {"eager": lambda: maker(work)}
    if work.kind == "train":
        ways["fused"] = lambda: maker(work, fused=True)
    if work.model == "cnn":
        ways["channels_last"] = lambda: maker(work, fused=True, channels_last=True)
    if work.group not in works.GROWTH:  # compiling for each size would take minutes
        ways["torch.compile"] = lambda: maker(work, fused=True, compiled=compiler())
    return ways


def compiler() -> bool:
    """Check that `torch.compile` can be used; returns True.

    Raises:
        RuntimeError: `torch.compile` cannot be used.
    """
    if not COMPILE:
        raise RuntimeError(QUICK)
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl"))):
        raise RuntimeError("there is no C++ compiler")
    return True


def build(model: str, hidden: int = 0, seed: int = 0) -> torch.nn.Module:
    """The network of a model name."""
    torch.manual_seed(seed)
    if model == "gpt":
        return torch_gpt.TorchGPT(works.TOKENS, works.LENGTH, works.DEPTH, works.HEADS, works.WIDTH)
    if model == "sigmoid_mlp":
        return Sequential(Flatten(), Linear(784, hidden), Sigmoid(), Linear(hidden, 10), Sigmoid())
    if model == "mlp":
        return Sequential(Flatten(), Linear(784, hidden), ReLU(), Linear(hidden, 10))
    first = Conv2d(1, 32, 5, padding=2), ReLU(), MaxPool2d(2)
    second = Conv2d(32, 64, 5, padding=2), ReLU(), MaxPool2d(2)
    return Sequential(Unflatten(1, (1, 28)), *first, *second, Flatten(), Linear(3136, 10))


def squared_error(activations: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """½ Σ (a - y)² per example, averaged over the examples."""
    return mse_loss(activations, one_hot(labels, 10).float(), reduction="sum") / (2 * len(labels))


def next_token_loss(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy of logits (N, T, V) and next tokens (N, T)."""
    return cross_entropy(logits.flatten(0, 1), tokens.flatten())


def training(work: Work, *, fused: bool = False, channels_last: bool = False, compiled: bool = False) -> Step:
    """A training step on the next batch of the pool."""
    net = build(work.model, work.hidden)
    pool = [tuple(map(torch.tensor, batch)) for batch in works.batches(work, np.random.default_rng(1))]
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    kind = {"sigmoid_mlp": torch.optim.SGD, "gpt": torch.optim.AdamW}.get(work.model, torch.optim.Adam)
    optimizer = kind(net.parameters(), lr=works.RATE, fused=fused)
    criterion = {"sigmoid_mlp": squared_error, "gpt": next_token_loss}.get(work.model, cross_entropy)

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return criterion(net(images), labels)

    forward, batches = torch.compile(loss, dynamic=False) if compiled else loss, cycle(pool)

    def step() -> None:
        optimizer.zero_grad()
        forward(*next(batches)).backward()
        optimizer.step()

    return step


def prediction(work: Work, *, fused: bool = False, channels_last: bool = False, compiled: bool = False) -> Step:
    """Scores for all images; `fused` is ignored."""
    net = build(work.model, work.hidden).eval()
    images = torch.tensor(works.batches(work, np.random.default_rng(1))[0][0])
    parts = images.split(works.BY) if work.model == "cnn" else [images]
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    if compiled:
        net = torch.compile(net, dynamic=False)

    def predict() -> None:
        with torch.inference_mode():
            for part in parts:
                net(part)

    return predict


def generation(
    work: Work, cache: type[torch_gpt.GrowingCache | torch_gpt.PreallocatedCache], *, compiled: bool = False
) -> Step:
    """Generate a text, beginning with one character; a compiled step is compiled once."""
    net = build(work.model).eval()
    if not compiled:
        return lambda: torch_gpt.generate(cache(net), [0], works.GENERATED)
    reused = cache(net)  # its old keys are masked
    return lambda: torch_gpt.generate(reused, [0], works.GENERATED)
