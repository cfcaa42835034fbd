"""How the scheduler groups loops over large arrays, and what it recomputes, against NumPy in float64."""

import numpy as np
import pytest

import chainrule
from chainrule.capture import jit
from chainrule.lower import schedule
from chainrule.nn.functional import batch_norm


def compiled(function, *arrays):
    """The results of the second call of the compiled function, and the stages of its program."""
    stages = []
    with pytest.MonkeyPatch.context() as patch:
        plan = schedule._plan_memory
        patch.setattr(schedule, "_plan_memory", lambda found, outputs: stages.append(found) or plan(found, outputs))
        step = jit(function)
        tensors = [chainrule.from_numpy(array) for array in arrays]
        step(*tensors)
        return step(*tensors), stages[-1]


@pytest.mark.parametrize("n", [256, 300])
@pytest.mark.parametrize("dim", [0, 1])
def test_a_vector_that_is_broadcast_over_the_rows_of_a_square_matrix(n, dim):
    rng = np.random.default_rng(n)
    x, w = rng.standard_normal((n, n), np.float32), rng.standard_normal(n, np.float32)

    def weighted(x, w):
        weights = chainrule.exp(w * 0.5)
        powers = chainrule.exp(x) * weights
        return powers / powers.sum(dim, keepdim=True)

    result, _ = compiled(weighted, x, w)
    expected = np.exp(x.astype(np.float64)) * np.exp(w.astype(np.float64) * 0.5)
    np.testing.assert_allclose(result.numpy(), expected / expected.sum(dim, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("shape", [(128, 128), (32, 32, 32), (64, 8, 64)])
@pytest.mark.parametrize("of", ["first", "last"])
def test_vectors_with_the_size_of_the_first_and_of_the_last_dimension(shape, of):
    rng = np.random.default_rng(len(shape))
    x = rng.standard_normal((4 * shape[0], *shape[1:]), np.float32)[: shape[0]]
    w = rng.standard_normal(shape[0 if of == "first" else -1], np.float32)
    column = (-1, *(1,) * (len(shape) - 1))

    def scaled(x, w):
        scale = (w * w + 1).sqrt()
        y = x * (scale.reshape(column) if of == "first" else scale)
        return (y - y.amax(-1, keepdim=True)).exp().sum(-1), y.tanh().mean(0)

    results, _ = compiled(scaled, x, w)
    scale = np.sqrt(w.astype(np.float64) ** 2 + 1)
    y = x * (scale.reshape(column) if of == "first" else scale)
    expected = np.exp(y - y.max(-1, keepdims=True)).sum(-1), np.tanh(y).mean(0)
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.numpy(), right, rtol=1e-4, atol=1e-6)


def test_cheap_steps_are_computed_again_instead_of_stored():
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(3, 2, (64, 512)).astype("f4"), *rng.standard_normal((2, 512), np.float32)
    parameters = [chainrule.from_numpy(array).requires_grad_() for array in (w, b)]

    def step(x):
        for p in parameters:
            p.grad = None
        x = x.detach().requires_grad_()
        out = batch_norm(x, None, None, *parameters, training=True)
        (out * out * out).sum().backward()
        return x.grad, *(p.grad for p in parameters)

    results, stages = compiled(step, x)
    large = [v for stage in stages for v in stage.stored_values if v.shape == x.shape]
    assert len(large) == 1  # the gradient of x, and not x - mean, or that divided by the standard deviation

    x64 = x.astype(np.float64)
    centered = x64 - x64.mean(0)
    inverse_std = 1 / np.sqrt((centered**2).mean(0) + 1e-5)
    y = centered * inverse_std
    grad = 3 * (y * w + b) ** 2
    scaled = grad * w
    expected = (
        (scaled - scaled.mean(0) - y * (scaled * y).mean(0)) * inverse_std, (grad * y).sum(0), grad.sum(0),
    )  # fmt: skip
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.numpy(), right, rtol=2e-4, atol=2e-4 * np.abs(right).max())


def test_a_result_that_a_matrix_product_reads_is_stored_and_recomputed_at_most_elsewhere():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((256, 128), np.float32), rng.standard_normal((128, 96), np.float32)

    def function(x, w):
        h = x * 2 + 1  # read by the product and, later, by a loop
        product = h @ w
        return (product - product.amax(1, keepdim=True)).exp().sum(1), (h * product.sum(1, keepdim=True)).sum(0)

    results, _ = compiled(function, x, w)
    h = x.astype(np.float64) * 2 + 1
    product = h @ w
    expected = (
        np.exp(product - product.max(1, keepdims=True)).sum(1), (h * product.sum(1, keepdims=True)).sum(0),
    )  # fmt: skip
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.numpy(), right, rtol=1e-4, atol=1e-4 * np.abs(right).max())
