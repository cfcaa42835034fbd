"""When attention is fused, and that nothing but speed and memory depends on it."""

import math

import numpy as np
import pytest

import chainrule
from chainrule import ops
from chainrule.autograd import gradcheck, gradgradcheck
from chainrule.kernels import machine
from chainrule.ops import attention
from chainrule.ops import scaled_dot_product_attention as attend

NEVER = 2**60


def tensors(*shapes, dtype=np.float32, seed=0):
    random = np.random.default_rng(seed)
    return [chainrule.tensor(random.standard_normal(shape).astype(dtype), requires_grad=True) for shape in shapes]


def is_fused(*arguments, **options):
    return attend(*arguments, **options).grad_fn.operation is attention.fused_attention


def slopes(tensors, composed, monkeypatch, **options):
    """The result, and the gradients of a number that depends on each of its elements."""
    monkeypatch.setattr(attention, "MIN_SCORES", NEVER if composed else 1)
    out = attend(*tensors, **options)
    return [out, *chainrule.grad(((out + 1) ** 2).mean(), tensors)]


@pytest.mark.parametrize(
    ("queries", "keys", "fused"),
    [(32, 32, True), (8, 128, True), (300, 4, True), (31, 33, False), (7, 1000, False), (1, 5000, False)],
)
def test_enough_queries_and_keys(queries, keys, fused):
    arrays = tensors((2, queries, 4), (2, keys, 4), (2, keys, 3))
    assert is_fused(*arrays) is is_fused(*arrays, is_causal=True, scale=0.3) is fused


def test_only_what_the_kernels_compute_is_fused():
    query, key, value = tensors((2, 40, 4), (2, 40, 4), (2, 40, 3))
    assert is_fused(query, key, value)
    assert not is_fused(query, key, value, chainrule.ones(40, 40, dtype=bool))
    assert not is_fused(query, key, value, chainrule.zeros(40, 40))
    assert not is_fused(query, key, value, scale=chainrule.tensor(0.5, requires_grad=True))
    assert not is_fused(query, key[0], value)  # heads are broadcast
    assert not is_fused(*tensors(*[(2, 40, 4)] * 3, dtype=np.float16))


@pytest.mark.parametrize(
    "shapes",
    [
        [(32, 8)] * 3,  # no heads
        [(2, 3, 40, 5), (2, 3, 50, 5), (2, 3, 50, 7)],
        [(2, 70, 5), (2, 50, 5), (2, 50, 1)],
        [(2, 0, 40, 5)] * 3,  # no heads at all
        [(2, 40, 3), (2, 40, 3), (2, 40, 0)],
        [(1, 1, 1, 8), (1, 1, 1025, 8), (1, 1, 1025, 8)],
    ],
    ids=str,
)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("compiled", [True, False])
def test_equals_the_composed_formula(shapes, is_causal, compiled, monkeypatch):
    monkeypatch.setattr(machine, "_available", compiled)
    arrays = tensors(*shapes, dtype=np.float64)
    options = {"is_causal": is_causal, "scale": 0.4}
    composed = slopes(arrays, True, monkeypatch, **options) if 0 not in arrays[0].shape + arrays[2].shape else None
    fused = slopes(arrays, False, monkeypatch, **options)
    for tensor, x in zip(fused[1:], arrays, strict=True):
        assert (tensor.shape, tensor.dtype) == (x.shape, x.dtype)
    for x, y in zip(composed or fused, fused, strict=True):
        np.testing.assert_allclose(y.detach().numpy(), x.detach().numpy(), rtol=0, atol=1e-14)


def test_no_keys_and_no_queries():
    query, key, value = tensors((3, 4), (0, 4), (0, 2))
    assert attend(query, key, value).tolist() == [[0, 0]] * 3
    assert attend(key, query, query).shape == (0, 4)


def test_query_heads_that_share_keys(monkeypatch):
    query, key, value = tensors((2, 6, 40, 4), (2, 2, 40, 4), (2, 2, 40, 3), dtype=np.float64)
    composed, fused = (
        slopes([query, key, value], way, monkeypatch, is_causal=True, enable_gqa=True) for way in (True, False)
    )
    assert [x.shape for x in fused] == [(2, 6, 40, 3), query.shape, key.shape, value.shape]
    for x, y in zip(composed, fused, strict=True):
        np.testing.assert_allclose(y.detach().numpy(), x.detach().numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("is_causal", [False, True])
def test_derivatives_by_finite_differences(is_causal, monkeypatch):
    """First by the kernels, second by NumPy."""
    monkeypatch.setattr(attention, "MIN_SCORES", 1)
    arrays = tensors((2, 9, 3), (2, 11, 3), (2, 11, 2), dtype=np.float64)

    def squares(*arrays):
        return (attend(*arrays, is_causal=is_causal) + 1) ** 2

    assert is_fused(*arrays, is_causal=is_causal)
    assert gradcheck(squares, arrays)
    assert gradgradcheck(squares, arrays)


def test_only_some_inputs_require_gradients():
    leaves, constants = tensors(*[(33, 4)] * 3), tensors(*[(33, 4)] * 3)
    chainrule.grad(attend(*leaves).sum(), leaves)
    attend(*leaves).mean().backward()
    for position, leaf in enumerate(leaves):
        inputs = [x.detach() for x in leaves]
        inputs[position] = constants[position]
        constants[position].detach().copy_(leaf.detach())
        attend(*inputs).mean().backward()
        np.testing.assert_array_equal(constants[position].grad.numpy(), leaf.grad.numpy())


def test_a_changed_input_is_noticed():
    query, key, value = tensors(*[(40, 4)] * 3)
    copy = key * 1
    out = attend(query, copy, value)
    copy.detach()[0] = 1.0
    with pytest.raises(RuntimeError, match="the key of fused_attention .* was changed in place"):
        out.sum().backward()


def test_the_sum_of_a_row_of_weights_is_1():
    query, key, _ = tensors((100, 8), (90, 8), (90, 1))
    out = attend(query, key, ops.exp(chainrule.zeros(90, 2)), is_causal=True)
    np.testing.assert_allclose(out.detach().numpy(), np.ones((100, 2)), rtol=1e-6)
    first = attend(query, key, key, is_causal=True, scale=math.pi)[0]
    np.testing.assert_array_equal(first.detach().numpy(), key[0].detach().numpy())  # it sees one key


def test_a_mask_of_nan_gives_nan():
    query, key, value = tensors((4, 3), (5, 3), (5, 2))
    mask = np.zeros((4, 5), np.float32)
    mask[1], mask[3] = -np.inf, np.nan  # a query without keys, and a mistake that must show
    out = attend(query, key, value, attn_mask=chainrule.from_numpy(mask)).detach().numpy()
    assert np.isfinite(out[[0, 2]]).all()
    assert out[1].tolist() == [0, 0]
    assert np.isnan(out[3]).all()


@pytest.mark.parametrize(
    ("shape", "key_shape", "message"),
    [
        ((5, 4), (5, 4), "enable_gqa needs inputs with a head dimension"),
        ((4, 5, 4), (0, 5, 4), "4 query heads cannot share 0 key heads evenly"),
    ],
)
def test_heads_that_cannot_be_shared_are_refused(shape, key_shape, message):
    query, key, value = tensors(shape, key_shape, key_shape)
    with pytest.raises(ValueError, match=message):
        attend(query, key, value, enable_gqa=True)
