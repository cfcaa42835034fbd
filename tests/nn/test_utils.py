"""Clipping gradients: by hand, in place, and what is refused. tests/conformance has them beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.nn.utils import clip_grad_norm_, clip_grad_value_


def parameters() -> list[nn.Parameter]:
    """Gradients (3), none, (0, 4): of norm 5 together."""
    new_params = [nn.Parameter(np.ones(1)), nn.Parameter(np.ones(3)), nn.Parameter(np.ones(2))]
    new_params[0].grad, new_params[2].grad = chainrule.tensor(np.array([3.0])), chainrule.tensor(np.array([0.0, -4.0]))
    return new_params


def gradient_lists(params: list[nn.Parameter]) -> list[float]:
    return [value for p in params if p.grad is not None for value in p.grad.tolist()]


def test_a_norm_that_is_too_large():
    params = parameters()
    total = clip_grad_norm_(params, 1.0)
    assert (total.item(), total.shape, total.dtype) == (5, (), np.float64)
    np.testing.assert_allclose(gradient_lists(params), [0.6, 0, -0.8], rtol=1e-6)
    assert params[1].grad is None


def test_a_norm_that_is_not():
    params = parameters()
    assert clip_grad_norm_(iter(params), 6.0).item() == 5
    assert gradient_lists(params) == [3, 0, -4]


def test_other_norms():
    for norm_type, expected in [(1, 7), (float("inf"), 4), ("inf", 4), (0, 2)]:
        assert clip_grad_norm_(parameters(), 1.0, norm_type).item() == expected
    params = parameters()
    clip_grad_norm_(params, 1.0, "inf")
    np.testing.assert_allclose(gradient_lists(params), [0.75, 0, -1], rtol=1e-6)


def test_values():
    params = parameters()
    assert clip_grad_value_(params, 3.5) is None
    assert gradient_lists(params) == [3, 0, -3.5]
    clip_grad_value_(params[2], 0)
    assert gradient_lists(params) == [3, 0, 0]


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_in_place_and_noticed(clip):
    p = nn.Parameter(np.array([2.0]))
    (p**3).sum().backward(create_graph=True)
    gradient = p.grad
    twice = (gradient * gradient).sum()
    clip(p, 1.0)
    assert p.grad is gradient
    assert gradient.tolist() == [pytest.approx(1)]
    with pytest.raises(RuntimeError, match="in place"):
        twice.backward()


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_refuses_a_negative_bound(clip):
    for bound in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=f"{clip.__name__}: .* must not be negative, got {bound}"):
            clip(parameters(), bound)


@pytest.mark.parametrize("odd", [np.inf, np.nan])
def test_refuses_what_is_not_finite_if_told_to(odd):
    params = parameters()
    params[0].grad[0] = odd
    with pytest.raises(RuntimeError, match=f"clip_grad_norm_: the norm of the gradients is {odd}, so they cannot"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert gradient_lists(params)[1:] == [0, -4]
    clip_grad_norm_(params, 1.0)
    assert np.isnan(gradient_lists(params)[0])


def test_nothing_to_clip():
    total = clip_grad_norm_([nn.Parameter([1.0])], 1.0)
    assert (total.item(), total.dtype) == (0, np.float32)
    clip_grad_value_([], 1.0)
    empty = nn.Parameter(np.ones((0, 2)))
    empty.grad = chainrule.zeros(0, 2, dtype=np.float64)
    assert clip_grad_norm_([empty], 1.0, "inf").item() == 0


def test_takes_tensors_alone():
    with pytest.raises(TypeError, match="clip_grad_norm_: takes tensors or arrays, not int"):
        nn.utils.clip_grad_norm_([3], 1.0)


def test_a_norm_may_be_a_tensor_of_one_number():
    norms = []
    for most in (0.5, chainrule.tensor(0.5), np.float32(0.5)):
        p = chainrule.tensor([3.0, 4.0], requires_grad=True)
        (p * p).sum().backward()
        nn.utils.clip_grad_norm_([p], most)
        norms.append(p.grad.tolist())
    assert norms[0] == norms[1] == norms[2]
    with pytest.raises(TypeError, match="clip_grad_norm_: max_norm must be a number, not '1'"):
        nn.utils.clip_grad_norm_([chainrule.zeros(1)], "1")
