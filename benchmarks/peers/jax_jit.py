"""The works in JAX, compiled by `jax.jit`, with its arrays updated in place (`donate_argnums`)."""

from __future__ import annotations

import os
from itertools import cycle
from typing import TYPE_CHECKING, Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import works
from jax import lax

if TYPE_CHECKING:
    from collections.abc import Callable

    from works import Work

    Step = Callable[[], object]
    Weights = list[tuple[Any, Any]]


def about() -> dict[str, object]:
    """The version and the threads; JAX uses all cores."""
    return {"version": jax.__version__, "threads": os.cpu_count()}


def variants(work: Work) -> dict[str, Callable[[], Step]]:
    """The variants of a work. JAX is measured only with jit, its intended use."""
    makers = {"train": training, "predict": prediction}
    return {"jit": lambda: makers[work.kind](work)} if work.kind in makers else {}


def build(work: Work) -> Weights:
    """A weight and a bias for each layer."""
    rng = np.random.default_rng(0)
    shapes = [(784, work.hidden), (work.hidden, 10)]
    if work.model == "cnn":
        shapes = [(5, 5, 1, 32), (5, 5, 32, 64), (3136, 10)]  # (height, width, inputs, outputs)

    def layer(shape: tuple[int, ...]) -> tuple[Any, Any]:
        bound = np.prod(shape[:-1]) ** -0.5
        return tuple(jnp.asarray(rng.uniform(-bound, bound, s), jnp.float32) for s in (shape, shape[-1:]))

    return [layer(shape) for shape in shapes]


def scores(model: str, weights: Weights, images: Any) -> Any:
    """(N, 28, 28) to (N, 10)."""
    if model == "cnn":
        x = images[..., None]  # (N, 28, 28, 1)
        for w, b in weights[:-1]:
            x = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
            x = lax.reduce_window(jax.nn.relu(x), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        w, b = weights[-1]
        return x.reshape(len(x), -1) @ w + b
    (w1, b1), (w2, b2) = weights
    x = images.reshape(len(images), -1)
    if model == "sigmoid_mlp":
        return jax.nn.sigmoid(jax.nn.sigmoid(x @ w1 + b1) @ w2 + b2)
    return jax.nn.relu(x @ w1 + b1) @ w2 + b2


def loss(model: str, weights: Weights, images: Any, labels: Any) -> Any:
    """½ Σ (a - y)² for the classic network, cross entropy for the others; averaged over the examples."""
    outputs = scores(model, weights, images)
    if model == "sigmoid_mlp":
        return jnp.square(outputs - jax.nn.one_hot(labels, 10)).sum() / (2 * len(labels))
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1).mean()


def sgd(weights: Weights, state: Any, slopes: Weights) -> tuple[Any, Any]:
    """A step of gradient descent."""
    return jax.tree.map(lambda p, g: p - works.RATE * g, weights, slopes), state


def adam(weights: Weights, state: Any, slopes: Weights) -> tuple[Any, Any]:
    """Kingma and Ba, Adam: a method for stochastic optimization (2015), algorithm 1."""
    count, means, squares = state
    count = count + 1
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, slopes)
    squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, squares, slopes)
    rate, root = works.RATE / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
    moved = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), weights, means, squares)
    return moved, (count, means, squares)


def training(work: Work) -> Step:
    """A training step on the next batch of the pool."""
    pool = [tuple(map(jnp.asarray, batch)) for batch in works.batches(work, np.random.default_rng(1))]
    weights = build(work)
    nothing = jax.tree.map(jnp.zeros_like, weights)
    state = None if work.model == "sigmoid_mlp" else (jnp.zeros(()), nothing, jax.tree.map(jnp.copy, nothing))
    downhill = sgd if work.model == "sigmoid_mlp" else adam

    def step(weights: Weights, state: Any, images: Any, labels: Any) -> Any:
        value, slopes = jax.value_and_grad(lambda w: loss(work.model, w, images, labels))(weights)
        return *downhill(weights, state, slopes), value

    compiled, batches = jax.jit(step, donate_argnums=(0, 1)), cycle(pool)

    def run() -> None:
        nonlocal weights, state
        weights, state, value = compiled(weights, state, *next(batches))
        jax.block_until_ready((weights, state, value))

    return run


def prediction(work: Work) -> Step:
    """Scores for all images."""
    weights = build(work)
    images = works.batches(work, np.random.default_rng(1))[0][0]
    size = works.BY if work.model == "cnn" else work.batch
    parts = [jnp.asarray(images[start : start + size]) for start in range(0, work.batch, size)]
    read = jax.jit(lambda weights, images: scores(work.model, weights, images))
    return lambda: jax.block_until_ready([read(weights, part) for part in parts])
