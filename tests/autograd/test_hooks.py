"""Hooks on tensors, and retained gradients: when hooks run, their arguments, order and return values."""

from __future__ import annotations

import gc
import re

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, no_grad

from .nodes import count_nodes


def leaf(*values: float) -> Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


class TestRegisterHook:
    def test_hears_the_whole_gradient_of_a_result_once(self):
        x, seen = leaf(1.0, 2.0), []
        middle = x * 3
        middle.register_hook(lambda g: seen.append((type(g), g.tolist(), g.requires_grad)))
        (middle * middle + middle).sum().backward()
        assert seen == [(Tensor, [7, 13], False)]
        assert x.grad.tolist() == [21, 39]

    def test_hears_the_whole_gradient_of_a_leaf_once(self):
        x, seen = leaf(1.0, 2.0), []
        x.register_hook(lambda g: seen.append(g.tolist()))
        for _ in range(2):
            (x * x + x).sum().backward()
        assert seen == [[3, 5], [3, 5]]  # not the accumulated `.grad`
        assert x.grad.tolist() == [6, 10]

    def test_is_not_called_where_no_gradient_comes(self):
        x, y = leaf(1.0), leaf(2.0)
        for t in (y, y * 2):
            t.register_hook(lambda g: pytest.fail("called"))
        x.sum().backward()

    def test_what_it_returns_goes_on(self):
        x, y = leaf(1.0, 2.0), leaf(3.0)
        middle = x * 3
        middle.register_hook(lambda g: g * 10)
        x.register_hook(lambda g: g + 1)
        (middle + y).sum().backward()
        assert (x.grad.tolist(), y.grad.tolist()) == ([31, 31], [2])

    def test_run_in_the_order_in_which_they_were_registered(self):
        x = leaf(1.0)
        handles = [x.register_hook(hook) for hook in (lambda g: g + 1, lambda g: None, lambda g: g * 10)]
        x.sum().backward()
        assert x.grad.tolist() == [20]
        handles[0].remove()
        handles[0].remove()
        x.register_hook(lambda g: g + 5)
        x.grad = None
        x.sum().backward()
        assert x.grad.tolist() == [15]

    def test_the_same_function_twice_is_two_hooks(self):
        x = leaf(1.0)
        first, _ = [x.register_hook(double) for double in [lambda g: g * 2] * 2]
        first.remove()
        x.sum().backward()
        assert x.grad.tolist() == [2]

    def test_may_remove_itself(self):
        x = leaf(1.0)
        handle = x.register_hook(lambda g: handle.remove())
        x.register_hook(lambda g: g * 2)
        for _ in range(2):
            x.sum().backward()
        assert x.grad.tolist() == [4]
        assert len(x._node.hooks) == 1

    def test_of_what_is_differentiated_by(self):
        x = leaf(1.0, 2.0)
        middle = x * 3
        x.register_hook(lambda g: g * 2)
        middle.register_hook(lambda g: g * 10)
        for inputs in ([middle], [middle, x]):
            grads = chainrule.grad(middle.sum(), inputs, retain_graph=True)
            assert [g.tolist() for g in grads] == [[10, 10], [60, 60]][: len(inputs)]
        assert x.grad is None

    def test_of_the_result_itself(self):
        x = leaf(2.0)
        out = x * 3
        out.register_hook(lambda g: g * 5)
        out.backward()
        assert x.grad.tolist() == [15]

    def test_may_change_the_gradient_in_place_and_keep_it(self):
        """The gradient that a hook gets shares no memory with other gradients."""
        x, y, collected = leaf(1.0), leaf(2.0), []
        total = x + y
        x.register_hook(lambda g: (collected.append(g), g.mul_(3))[0])
        total.register_hook(collected.append)
        total.backward()
        assert (x.grad.tolist(), y.grad.tolist(), [g.tolist() for g in collected]) == ([3], [1], [[1], [3]])
        for g in collected:
            g.zero_()
        assert (x.grad.tolist(), y.grad.tolist()) == ([3], [1])

    @pytest.mark.parametrize("on_leaf", [True, False])
    def test_is_differentiated_where_the_gradient_is(self, on_leaf):
        """A hook that squares: (3 x²)² or, at x², (2 x² · y / x)² ..., by hand below."""
        x = leaf(2.0)
        middle = x if on_leaf else x * x  # x³ = x · x · x or x · middle
        middle.register_hook(lambda g: g * g)
        out = x * x * x if on_leaf else x * middle
        (g,) = chainrule.grad(out, x, create_graph=True)
        (second,) = chainrule.grad(g, x)
        if on_leaf:  # (3 x²)² = 9 x⁴; its derivative 36 x³ has passed the hook again: squared
            assert (g.item(), second.item()) == (144, (36 * 8) ** 2)
        else:  # middle + x² · 2 x, of which the derivative is 2 x · hooked(1) + 6 x²
            assert (g.item(), second.item()) == (4 + 4 * 4, 2 * 2 * 1 + 6 * 4)

    def test_stays_with_the_value_that_it_was_registered_for(self):
        x, seen = leaf(1.0), []
        h = x * 3
        h.register_hook(lambda g: seen.append(g.item()))
        h *= 4
        (h * h).backward()
        assert seen == [2 * 12 * 4]

    @pytest.mark.parametrize(
        ("hook", "error", "message"),
        [
            (lambda g: g[:1], ValueError, "a hook must keep the gradient's shape (2,), not change it to (1,)"),
            (lambda g: g.float(), TypeError, "a hook must keep the gradient's type float64, not change it to float32"),
            (lambda g: g.numpy() * 2, TypeError, "a hook must return a Tensor or None, not ndarray"),
        ],
    )
    @pytest.mark.parametrize("on_leaf", [True, False])
    def test_that_returns_something_else(self, hook, error, message, on_leaf):
        x = leaf(1.0, 2.0)
        middle = x * 2
        (x if on_leaf else middle).register_hook(hook)
        with pytest.raises(error, match=re.escape(f"register_hook: {message}")):
            middle.sum().backward()
        assert x.grad is None

    def test_wants_a_function_and_a_gradient(self):
        with pytest.raises(RuntimeError, match="register_hook: this tensor .* does not require gradients"):
            chainrule.ones(2).register_hook(lambda g: g)
        with pytest.raises(TypeError, match="a hook must be a function, not int"):
            leaf(1.0).register_hook(3)

    def test_a_graph_with_hooks_is_dropped_at_once_too(self):
        gc.collect()
        before = count_nodes()
        y = leaf(1.0) * 2
        handle = y.register_hook(lambda g: None)
        assert count_nodes() == before + 1
        del y
        assert count_nodes() == before
        handle.remove()


class TestRetainGrad:
    def test_holds_what_the_hooks_left_whatever_the_order(self):
        x = leaf(1.0)
        middle = x * 3
        middle.retain_grad()
        middle.register_hook(lambda g: g * 5)
        for total in (5, 10):
            middle.sum().backward(retain_graph=True)
            assert middle.grad.tolist() == [total]
        assert x.grad.tolist() == [30]

    def test_of_what_is_differentiated_by(self):
        x = leaf(1.0, 2.0)
        middle = x * 3
        middle.retain_grad()
        out = (middle * middle).sum()
        (g,) = chainrule.grad(out, middle, retain_graph=True)
        assert (g.tolist(), middle.grad.tolist()) == ([6, 12], [6, 12])
        out.backward(inputs=[middle])
        assert (middle.grad.tolist(), x.grad) == ([12, 24], None)

    def test_of_a_value_that_is_changed_in_place_is_the_new_values(self):
        x = leaf(1.0)
        h = x * 3
        h.retain_grad()
        old = h.grad_fn
        h *= 4
        (h * h).backward()
        assert (h.grad.tolist(), old.grad) == ([24], None)

    def test_is_differentiable_with_create_graph(self):
        x = leaf(2.0)
        middle = x * x
        middle.retain_grad()
        (middle**3).backward(create_graph=True)
        (second,) = chainrule.grad(middle.grad, x)  # 3 middle² = 3 x⁴
        assert second.tolist() == [12 * 8]

    def test_twice_is_as_once_and_needs_no_recording(self):
        x = leaf(1.0)
        middle = x * 3
        with no_grad():
            middle.retain_grad()
            middle.retain_grad()
        middle.backward()
        assert middle.grad.tolist() == [1]


def test_set_grad_enabled_takes_effect_at_once():
    assert chainrule.is_grad_enabled() is True
    switch = chainrule.set_grad_enabled(False)
    try:
        assert chainrule.is_grad_enabled() is False
        with chainrule.set_grad_enabled(True):
            assert chainrule.is_grad_enabled()
        assert not chainrule.is_grad_enabled()
    finally:
        switch.__exit__()
    assert chainrule.is_grad_enabled()

    @chainrule.set_grad_enabled(False)
    def frozen():
        return chainrule.is_grad_enabled()

    assert chainrule.is_grad_enabled()
    assert [frozen(), frozen(), chainrule.is_grad_enabled()] == [False, False, True]
