"""A formula for every element: the same bits compiled and in NumPy, for arrays of any order, whatever is left out."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import optim
from chainrule.kernels import compile as kernels
from chainrule.kernels import elementwise
from chainrule.kernels.elementwise import each
from chainrule.tensor import tensor

RNG = np.random.default_rng(5)


def formula(total, shown, x, factor, offset):
    """Two arrays that change, one of which may be missing, and a number that may be."""
    x = factor * x
    if offset is not None:
        x = x + offset
    total = total + x * x
    if shown is not None:
        shown = np.maximum(shown, total)
    return total, shown


@pytest.fixture(params=["compiled", "numpy"])
def way(request, monkeypatch):
    monkeypatch.setattr(kernels, "_compiles", request.param == "compiled")
    monkeypatch.setattr(elementwise, "WORTH_NUMBA", 0)
    return request.param


def arrays(shape, dtype=np.float32, order="C"):
    return [np.asarray(RNG.standard_normal(shape), dtype=dtype, order=order) for _ in range(3)]


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5), (40, 50), (elementwise.STRETCH + 3,), (2, 30_000)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [None, 0.3])
def test_each_element_gets_its_value(way, shape, order, dtype, offset):
    total, shown, x = arrays(shape, dtype, order)
    expected = formula(total, shown, x, 1.1, offset)
    each(formula, [total, shown], [x], 1.1, offset)
    np.testing.assert_array_equal(total, expected[0])
    np.testing.assert_array_equal(shown, expected[1])
    expected, _ = formula(total, None, x, 1.1, offset)
    each(formula, [total, None], [x], 1.1, offset)
    np.testing.assert_array_equal(total, expected)


@pytest.mark.parametrize("changed_order", ["C", "F"])
@pytest.mark.parametrize("given_order", ["C", "F"])
def test_orders_in_memory_may_differ(way, changed_order, given_order):
    total, shown, x = arrays((60, 70))
    total, x = np.asarray(total, order=changed_order), np.asarray(x, order=given_order)
    expected = formula(total, shown, x, 2.0, None)
    each(formula, [total, shown], [x], 2.0, None)
    np.testing.assert_array_equal(total, expected[0])
    np.testing.assert_array_equal(shown, expected[1])


def test_with_gaps_in_memory(way):
    total, shown, x = arrays((100, 90))
    expected = formula(total[::2, ::3], shown[::2, ::3], x[::2, ::3], 2.0, 1.0)
    untouched = total[1::2].copy()
    each(formula, [total[::2, ::3], shown[::2, ::3]], [x[::2, ::3]], 2.0, 1.0)
    np.testing.assert_array_equal(total[::2, ::3], expected[0])
    np.testing.assert_array_equal(total[1::2], untouched)


SETTINGS = [
    (optim.SGD, {}), (optim.SGD, {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    (optim.SGD, {"momentum": 0.8, "nesterov": True}), (optim.Adagrad, {"weight_decay": 0.1, "lr_decay": 0.1}),
    (optim.RMSprop, {}), (optim.RMSprop, {"centered": True, "momentum": 0.5, "weight_decay": 0.1}),
    (optim.Adam, {}), (optim.Adam, {"amsgrad": True, "weight_decay": 0.1}), (optim.AdamW, {"maximize": True}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), SETTINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_optimisers_give_the_same_bits_compiled_and_in_numpy(kind, options, dtype, monkeypatch):
    """So it does not matter from which step on Numba is used, nor whether a run is resumed."""
    found = {}
    values, gradients = RNG.standard_normal((2, 1000)), RNG.standard_normal((20, 2, 1000))
    for compiles in (True, False):
        monkeypatch.setattr(kernels, "_compiles", compiles)
        monkeypatch.setattr(elementwise, "WORTH_NUMBA", 0)
        weight = tensor(values.astype(dtype), requires_grad=True)
        optimizer = kind([weight], **options)
        for gradient in gradients:
            weight.grad = tensor(gradient.astype(dtype))
            optimizer.step()
        found[compiles] = weight.numpy()
    np.testing.assert_array_equal(found[True], found[False])
    assert not np.array_equal(found[True], values.astype(dtype))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3_000), st.integers(1, 3))
def test_threads_do_each_element_once(count, threads):
    from chainrule import set_num_threads
    from chainrule.kernels.team import threads as number

    before = number()
    total, x = np.ones(count, np.float32), np.arange(count, dtype=np.float32)
    try:
        set_num_threads(threads)
        each(formula, [total, None], [x], 1.0, None)
    finally:
        set_num_threads(before)
    np.testing.assert_array_equal(total, 1 + np.arange(count, dtype=np.float32) ** 2)


def test_numba_is_not_loaded_for_a_little_work(monkeypatch):
    monkeypatch.setattr(elementwise, "_done", 0)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(elementwise, "_compiled", None)  # a call would fail
    total, _, x = arrays(2_000)
    expected = total + x * x
    each(formula, [total, None], [x], 1.0, None)
    np.testing.assert_array_equal(total, expected)


def test_without_numba_it_is_numpy_after_one_warning(monkeypatch):
    monkeypatch.setattr(kernels, "_compiles", True)
    monkeypatch.setattr(elementwise, "WORTH_NUMBA", 0)

    def broken(*_):
        raise ImportError("no Numba here")

    monkeypatch.setattr(elementwise, "_compiled", broken)
    total, shown, x = arrays(2_000)
    expected = formula(total, shown, x, 1.5, None)
    with pytest.warns(RuntimeWarning, match="Numba cannot be used here.*no Numba here"):
        each(formula, [total, shown], [x], 1.5, None)
    np.testing.assert_array_equal(total, expected[0])
    each(formula, [total, shown], [x], 1.5, None)  # no further warning
