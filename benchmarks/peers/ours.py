"""The works in chainrule: operation by operation ("eager") and compiled ("jit")."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import chainrule  # before NumPy, whose threads it has a wish about
from chainrule import models, nn, optim
from chainrule.jit import jit
from chainrule.kernels.team import threads

import numpy as np  # isort: skip

import works

if TYPE_CHECKING:
    from collections.abc import Callable

    from works import Work

    Step = Callable[[], object]


def about() -> dict[str, object]:
    """The version and the threads."""
    return {"version": chainrule.__version__, "threads": threads()}


def variants(work: Work) -> dict[str, Callable[[], Step]]:
    """The ways to do a work."""
    if work.kind == "chain":
        return {"eager": lambda: chain}
    maker = training if work.kind == "train" else prediction
    return {"eager": lambda: maker(work, compiled=False), "jit": lambda: maker(work, compiled=True)}


def build(work: Work) -> nn.Module:
    """The network of a work."""
    options = {"hidden": work.hidden} if work.hidden else {}
    return models.build(work.model, options, generator=np.random.default_rng(0))


def images(rng: np.random.Generator, count: int) -> chainrule.Tensor:
    """Pictures of noise, (count, 28, 28)."""
    return chainrule.from_numpy(rng.random((count, 28, 28), np.float32))


def training(work: Work, *, compiled: bool) -> Step:
    """A step of training on the next batch of the pool."""
    rng = np.random.default_rng(1)
    pool = [(images(rng, work.batch), chainrule.from_numpy(rng.integers(0, 10, work.batch))) for _ in range(work.pool)]
    net, loss = build(work), models.get(work.model).loss
    kind = optim.SGD if work.model == "network" else optim.Adam
    optimizer = kind(net.parameters(), lr=works.RATE)

    def step(inputs: chainrule.Tensor, labels: chainrule.Tensor) -> chainrule.Tensor:
        optimizer.zero_grad()
        value = loss(net(inputs), labels)
        value.backward()
        optimizer.step()
        return value

    batches, learn = cycle(pool), jit(step) if compiled else step
    return lambda: learn(*next(batches))


def prediction(work: Work, *, compiled: bool) -> Step:
    """Scores for all images."""
    net = build(work).eval()
    inputs = images(np.random.default_rng(1), work.batch)
    parts = inputs.split(works.BY) if work.model == "cnn" else [inputs]
    read = jit(lambda x: net(x)) if compiled else net

    def predict() -> None:
        with chainrule.no_grad():
            for part in parts:
                read(part)

    return predict


def chain() -> None:
    """1,000 multiplications of single numbers, forward and backward."""
    x = chainrule.tensor(1.0001, requires_grad=True)
    y = x
    for _ in range(1000):
        y = y * x
    y.backward()
