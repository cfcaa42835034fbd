"""Fused formulas that pass over an array several times, against plain Python loops, for many shapes.

Softmax with cross entropy, normalization and the gradient of an embedding are formulas in `ops`, from which the program's
loops are generated. The tests compute their results element by element, forward and backward.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule
from chainrule.capture import jit

F = chainrule.nn.functional
pytestmark = pytest.mark.usefixtures("interpreted")
SEEDS = st.integers(0, 10**6)
SHAPES = settings(deadline=None, max_examples=15)


def numbers(seed, *shapes):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape) for shape in shapes]


def gradients(function, *arrays):
    """A compiled function's result and its gradients by each array, with an upstream gradient that is not uniform.

    The program is made for other numbers, and called with these ones then.
    """
    leaves = [chainrule.from_numpy(2 - array).requires_grad_() for array in arrays]

    def run():
        for leaf in leaves:
            leaf.grad = None
        out = function(*leaves)
        upstream = chainrule.arange(1, out.numel() + 1, dtype=np.float64).reshape(out.shape)
        (out * upstream).sum().backward()
        return out

    compiled = jit(run)
    compiled()
    for leaf, array in zip(leaves, arrays, strict=True):
        leaf.detach().copy_(chainrule.from_numpy(array))
    out = compiled()
    assert [len(programs) for programs in compiled.specializations.values()] == [1]
    return out.numpy(), [leaf.grad.numpy() for leaf in leaves]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@SHAPES
@given(st.integers(1, 7), st.integers(1, 9), SEEDS)
def test_softmax_and_cross_entropy(rows, classes, seed):
    (x,) = numbers(seed, (rows, classes))
    y = np.random.default_rng(seed).integers(0, classes, rows)
    losses, expected = np.zeros(rows), np.zeros(x.shape)
    for i in range(rows):
        total = sum(math.exp(v) for v in x[i])
        losses[i] = -math.log(math.exp(x[i, y[i]]) / total)
        for j in range(classes):
            expected[i, j] = (i + 1) * (math.exp(x[i, j]) / total - (j == y[i]))
    target = chainrule.from_numpy(y)
    out, (grad,) = gradients(lambda x: F.cross_entropy(x, target, reduction="none"), x)
    close(out, losses)
    close(grad, expected)


def standardized(values, upstream, eps):
    """A row brought to mean 0 and variance 1, and the gradient back through that."""
    n = len(values)
    mean = sum(values) / n
    scale = 1 / math.sqrt(sum((v - mean) ** 2 for v in values) / n + eps)
    out = [(v - mean) * scale for v in values]
    along, total = sum(g * o for g, o in zip(upstream, out, strict=True)) / n, sum(upstream) / n
    return out, [scale * (g - total - o * along) for g, o in zip(upstream, out, strict=True)]


@SHAPES
@given(st.integers(1, 5), st.integers(2, 9), SEEDS)
def test_layer_norm(rows, width, seed):
    x, weight, bias = numbers(seed, (rows, width), width, width)
    upstream = np.arange(1, rows * width + 1).reshape(rows, width)
    expected, back, by_weight = np.zeros(x.shape), np.zeros(x.shape), np.zeros(width)
    for i in range(rows):
        out, back[i] = standardized(list(x[i]), [upstream[i, j] * weight[j] for j in range(width)], 1e-5)
        for j in range(width):
            expected[i, j] = out[j] * weight[j] + bias[j]
            by_weight[j] += upstream[i, j] * out[j]
    actual, grads = gradients(lambda x, w, b: F.layer_norm(x, (width,), w, b), x, weight, bias)
    close(actual, expected)
    for grad, right in zip(grads, (back, by_weight, upstream.sum(0)), strict=True):
        close(grad, right)


@SHAPES
@given(st.integers(2, 4), st.integers(1, 4), st.integers(1, 5), SEEDS)
def test_batch_norm(images, channels, pixels, seed):
    x, weight, bias = numbers(seed, (images, channels, pixels), channels, channels)
    upstream = np.arange(1, x.size + 1).reshape(x.shape)
    running = [chainrule.zeros(channels, dtype=np.float64), chainrule.ones(channels, dtype=np.float64)]
    expected, back, by_weight = np.zeros(x.shape), np.zeros(x.shape), np.zeros(channels)
    for c in range(channels):
        out, grad = standardized(list(x[:, c].ravel()), list(upstream[:, c].ravel() * weight[c]), 1e-5)
        expected[:, c] = np.reshape(out, (images, pixels)) * weight[c] + bias[c]
        back[:, c] = np.reshape(grad, (images, pixels))
        by_weight[c] = sum(g * o for g, o in zip(upstream[:, c].ravel(), out, strict=True))
    actual, grads = gradients(lambda x, w, b: F.batch_norm(x, *running, w, b, training=True), x, weight, bias)
    close(actual, expected)
    for grad, right in zip(grads, (back, by_weight, upstream.sum((0, 2))), strict=True):
        close(grad, right)
    means, variances = (2 - x).mean((0, 2)), (2 - x).var((0, 2), ddof=1)  # of the first call
    close(running[0].numpy(), 0.9 * 0.1 * means + 0.1 * x.mean((0, 2)))
    close(running[1].numpy(), 0.9 * (0.9 + 0.1 * variances) + 0.1 * x.var((0, 2), ddof=1))


@SHAPES
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 8), SEEDS)
def test_embedding(words, width, count, seed):
    (table,) = numbers(seed, (words, width))
    chosen = np.random.default_rng(seed).integers(0, words, count)
    expected, upstream = np.zeros(table.shape), np.arange(1, count * width + 1).reshape(count, width)
    for i in range(count):
        for j in range(width):
            expected[chosen[i], j] += upstream[i, j]
    indices = chainrule.from_numpy(chosen)
    actual, (grad,) = gradients(lambda w: F.embedding(indices, w), table)
    close(actual, table[chosen])
    close(grad, expected)
