"""Dimensions and types of reductions: the same result or error for small arrays, large arrays, and compiled."""

import functools
import re

import numpy as np
import pytest

import chainrule
from chainrule import jit

F = chainrule.nn.functional
SMALL, LARGE = (3, 4), (130, 140)
REDUCTIONS = {
    "sum": lambda x, dim: x.sum(dim=dim),
    "mean": lambda x, dim: x.mean(dim=dim),
    "amax": lambda x, dim: x.amax(dim=dim),
    "amin": lambda x, dim: x.amin(dim=dim),
    "logsumexp": lambda x, dim: x.logsumexp(dim=dim),
    "norm": lambda x, dim: x.norm(dim=dim),
    "var": lambda x, dim: x.var(dim=dim),
    "std": lambda x, dim: x.std(dim=dim),
    "softmax": lambda x, dim: F.softmax(x, dim=dim),
    "log_softmax": lambda x, dim: F.log_softmax(x, dim=dim),
    "cumsum": lambda x, dim: x.cumsum(dim=dim),
    "argmax": lambda x, dim: x.argmax(dim=dim),
    "all": lambda x, dim: (x > 0).all(dim=dim),
}
WAYS = {"small": (SMALL, False), "large": (LARGE, False), "compiled": (SMALL, True)}


def result(name, dim, way):
    shape, compiled = WAYS[way]
    x = chainrule.from_numpy(np.random.default_rng(4).normal(size=shape).astype("f4"))
    function = lambda x: REDUCTIONS[name](x * 1, dim)  # noqa: E731  # compiled or not
    return (jit(function) if compiled else function)(x)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dim", [2, -3, 7], ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_one_out_of_range_is_refused(name, dim, way):
    with pytest.raises(IndexError, match=rf"{name}: dim {dim} is out of range for shape \(\d+, \d+\): use -2 to 1"):
        result(name, dim, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", sorted({*REDUCTIONS} - {"var", "std"}))  # whose first option may be a truth value
def test_a_truth_value_is_none(name, way):
    with pytest.raises(TypeError, match="True"):
        result(name, True, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "norm", "var", "logsumexp"])
def test_one_named_twice_is_refused(name, way):
    with pytest.raises(ValueError, match=rf"{name}: a dimension is named twice in \(0, -2\)"):
        result(name, (0, -2), way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dims", [(), []], ids=str)
@pytest.mark.parametrize("name", sorted({*REDUCTIONS} - {"softmax", "log_softmax", "cumsum", "argmax"}))
def test_none_at_all_are_all_of_them_but_for_truth(name, dims, way):
    if name == "all":
        assert result(name, dims, way).shape == WAYS[way][0]  # as in PyTorch
    else:
        np.testing.assert_allclose(result(name, dims, way).numpy(), result(name, (0, 1), way).numpy(), rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dims", [(), [], (0,), (0, 1)], ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cumsum", "argmax"])
def test_what_goes_along_one_takes_one(name, dims, way):
    with pytest.raises(TypeError, match=rf"{name}: a dimension must be an integer, not {re.escape(str(dims))}"):
        result(name, dims, way)


def test_of_a_result_that_has_fewer():
    with pytest.raises(IndexError, match="sum: dim 1 is out of range"):
        jit(lambda x: (x * 1).sum(1).sum(1))(chainrule.ones(SMALL))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("source", [np.float32, np.int32, np.uint8])
def test_sums_in_a_type_of_whole_numbers_have_it(source, dtype, shape, compiled):
    x = np.random.default_rng(6).integers(0, 100, shape).astype(source)
    function = lambda x: x.sum(dim=0, dtype=dtype)  # noqa: E731
    out = (jit(function) if compiled else function)(chainrule.from_numpy(x))
    assert out.dtype == dtype
    np.testing.assert_array_equal(out.numpy(), x.astype("i8").sum(0).astype(dtype))


HALF = {
    "mean": (lambda lib, f, x: x.mean(), [np.full(1000, 100.0), np.full(200_000, 2.0)]),
    "mean over one": (lambda lib, f, x: x.mean(0), [np.full((1000, 3), 100.0)]),
    "var": (lambda lib, f, x: x.var(), [np.tile([0.0, 300.0], 500)]),
    "std": (lambda lib, f, x: x.std(), [np.tile([0.0, 300.0], 500)]),
    "norm": (lambda lib, f, x: x.norm(), [np.tile([0.0, 300.0], 500)]),
    "layer_norm": (lambda lib, f, x: f.layer_norm(x, (4,)), [np.array([[0.0, 300.0, 0.0, 300.0]])]),
    "rms_norm": (lambda lib, f, x: f.rms_norm(x, (2,), eps=1e-5), [np.array([[0.0, 300.0]])]),
    "l1_loss": (lambda lib, f, x: f.l1_loss(x, lib.zeros_like(x)), [np.full(1000, 100.0)]),
}


GRADIENTS_OF_MANY = {
    "mean": lambda lib, f, x: x.mean(),
    "mse_loss": lambda lib, f, x: f.mse_loss(x, x.detach() - 2),
    "l1_loss": lambda lib, f, x: f.l1_loss(x, x.detach() + 1),
    "var": lambda lib, f, x: x.var(),
    "std": lambda lib, f, x: x.std(),
    "amax": lambda lib, f, x: (x - x.detach()).amax(),
    "kl_div": lambda lib, f, x: f.kl_div(x, lib.zeros_like(x) + 1, reduction="batchmean"),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", GRADIENTS_OF_MANY)
def test_gradients_of_more_elements_than_float16_can_count(name, compiled):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
    numbers = (np.arange(200_000) % 5 - 2).astype(np.float16)

    def gradient(lib, x):
        x = x.detach().clone().requires_grad_()
        GRADIENTS_OF_MANY[name](lib, lib.nn.functional, x).backward(lib.tensor(4.0, dtype=x.dtype))
        return x.grad

    run = chainrule.jit(lambda x: gradient(chainrule, x)) if compiled else functools.partial(gradient, chainrule)
    actual = run(chainrule.from_numpy(numbers)).numpy()
    expected = gradient(torch, torch.from_numpy(numbers).double()).numpy()
    assert actual.dtype == np.float16
    np.testing.assert_allclose(actual.astype("f8"), expected, atol=2.0**-25, rtol=1e-3)  # float16's numbers near 0


@pytest.mark.parametrize("name", HALF)
def test_float16_does_not_overflow_on_the_way_to_what_it_can_hold(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
    function, arrays = HALF[name]
    for array in arrays:
        x = array.astype(np.float16)
        out = function(chainrule, F, chainrule.from_numpy(x))
        expected = function(torch, torch.nn.functional, torch.from_numpy(x))
        assert out.dtype == np.float16
        np.testing.assert_allclose(out.numpy().astype("f8"), expected.double().numpy(), rtol=2e-3, atol=2e-3)
