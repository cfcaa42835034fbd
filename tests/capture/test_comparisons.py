"""Comparisons of integers with numbers outside the range of their type: eager, compiled, as constants, as arguments."""

import operator
import warnings

import numpy as np
import pytest

import chainrule

COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
NUMBERS = [-1, 0, 1, 300, 2**31, 2**40, 2**63 - 1, 2**63, 2**70, -(2**63) - 1, 1.5, -1e300]


def elements(dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind == "f":
        return np.array([-2, 0, 1.5, 300, 1e30], dtype)
    limits = np.iinfo(dtype)
    return np.array([limits.min, limits.max, 0, 1, limits.max // 2], dtype)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [np.dtype(kind) for kind in "?bBhHiIlLfd"], ids=str)
def test_are_numpys(dtype):
    x = elements(dtype)
    t = chainrule.from_numpy(x)
    for compare in COMPARISONS:
        for n in NUMBERS:
            try:
                with np.errstate(over="ignore"):
                    expected = compare(x, n)
            except OverflowError:  # booleans beside what is no int64
                continue
            constant = chainrule.jit(lambda x, n=n, compare=compare: compare(x, n))
            argument = chainrule.jit(lambda x, n, compare=compare: compare(x, n))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "overflow encountered in cast")  # of a float to float32
                results = compare(t, n), constant(t), argument(t, n)
            for actual in results:
                np.testing.assert_array_equal(actual.numpy(), expected, err_msg=f"{compare.__name__} {n}")


@pytest.mark.usefixtures("interpreted")
def test_other_arithmetic_with_a_number_that_does_not_fit_is_refused():
    add = chainrule.jit(lambda x, n: x + n)
    x = chainrule.from_numpy(np.array([1, 200], np.uint8))
    assert add(x, 1).tolist() == [2, 201]
    for run in (add, lambda x, n: x + n):
        for n in (300, -1):
            with pytest.raises(OverflowError, match=f"add: .* and {n} do not fit"):
                run(x, n)


@pytest.mark.usefixtures("interpreted")
def test_large_whole_constants_beside_floats():
    x = chainrule.from_numpy(np.array([1.5, -2.0], np.float32))
    for formula in (lambda x: x * 10**20, lambda x: x + 2**63, lambda x: x ** (2**63), lambda x: x - (-(2**70))):
        with np.errstate(over="ignore"):
            expected = formula(x.numpy())
        np.testing.assert_array_equal(chainrule.jit(formula)(x).numpy(), expected)
