"""Random batches that fit a registered model, to measure it without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import RunError
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from chainrule.models.registry import Model
    from chainrule.nn import Module
    from chainrule.tensor import Tensor

SIDE = 28
"""Height and width of the images that models are built for by default."""
CLASSES = 10
"""Number of their classes."""


def random_batch(
    model: Model, network: Module, batch_size: int, generator: np.random.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Return inputs and targets for a network that a model has built with its default options.

    Images are (N, 28, 28) with classes (N,); texts are tokens (N, T), of the longest context, with tokens as targets;
    rows of a table are (N, inputs) with classes (N,) or numbers (N, 1).

    Raises:
        RunError: the model reads pages.
    """
    rng = np.random.default_rng(0) if generator is None else generator
    if model.task == "text":
        length, vocabulary = (int(getattr(network, name)) for name in ("block_size", "vocab_size"))
        tokens = rng.integers(0, vocabulary, (2, batch_size, length))
        return from_numpy(tokens[0]), from_numpy(tokens[1])
    if model.task in ("tables with classes", "tables with numbers"):
        sizes = [parameter.shape for parameter in network.parameters()]
        rows, outputs = rng.standard_normal((batch_size, sizes[0][1]), np.float32), sizes[-1][0]
        numbers = rng.standard_normal((batch_size, 1), np.float32)
        has_classes = model.task == "tables with classes"
        return from_numpy(rows), from_numpy(rng.integers(0, outputs, batch_size) if has_classes else numbers)
    if model.task != "images":
        raise RunError(f"model {model.name!r} takes neither single images nor texts, and is not run without its data")
    images = rng.random((batch_size, SIDE, SIDE), np.float32)
    return from_numpy(images), from_numpy(rng.integers(0, CLASSES, batch_size))
