"""The works in chainrule, "eager" and compiled ("jit")."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import chainrule  # before NumPy, because it configures its BLAS threads
from chainrule import models, nn, optim, text
from chainrule.capture import jit
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
    """The variants of a work."""
    if work.kind == "chain":
        return {"eager": lambda: lambda: works.chain(chainrule)}
    if work.kind == "generate":
        return {"jit": lambda: generation(work), "no cache": lambda: generation(work, use_cache=False)}
    maker = training if work.kind == "train" else prediction
    return {"eager": lambda: maker(work, compiled=False), "jit": lambda: maker(work, compiled=True)}


def build(work: Work) -> nn.Module:
    """The network of a work."""
    options = {"hidden": work.hidden} if work.hidden else {}
    return models.build(work.model, options, generator=np.random.default_rng(0))


def training(work: Work, *, compiled: bool) -> Step:
    """A training step on the next batch of the pool."""
    pool = [tuple(map(chainrule.from_numpy, batch)) for batch in works.batches(work, np.random.default_rng(1))]
    net = build(work)
    loss = models.get(work.model).loss
    kind = {"sigmoid_mlp": optim.SGD, "gpt": optim.AdamW}.get(work.model, optim.Adam)
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
    inputs = chainrule.from_numpy(works.batches(work, np.random.default_rng(1))[0][0])
    parts = inputs.split(works.BY) if work.model == "cnn" else [inputs]
    read = jit(lambda x: net(x)) if compiled else net

    def predict() -> None:
        with chainrule.no_grad():
            for part in parts:
                read(part)

    return predict


def generation(work: Work, *, use_cache: bool = True) -> Step:
    """Generate a text, beginning with one character."""
    net, generator = build(work).eval(), np.random.default_rng(0)
    return lambda: list(text.generate(net, [0], works.GENERATED, generator=generator, use_cache=use_cache))
