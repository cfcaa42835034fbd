"""Constants that are equal but different: 0.0 and -0.0; 1, True and 1.0; NaN, which is not equal to itself."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest

import chainrule
from chainrule.capture import jit
from chainrule.capture.guards import is_same_value
from chainrule.lower.graph import exact_key
from chainrule.ops import operation

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    pytest.mark.filterwarnings("ignore:jit.* is compiled too often:RuntimeWarning"),
]


class Pair(NamedTuple):
    a: float


@dataclass(frozen=True)
class Options:
    a: float


WRAPS = {
    "plain": lambda a: a,
    "tuple": lambda a: (a,),
    "list": lambda a: [a],
    "dict": lambda a: {"a": a},
    "nested": lambda a: ({"a": [(a,)]},),
    "named": Pair,
    "dataclass": Options,
    "frozenset": lambda a: frozenset({a}),
}


def inside(x):
    """The number in there."""
    while not isinstance(x, (int, float)):
        x = x.a if isinstance(x, (Pair, Options)) else next(iter(x.values() if isinstance(x, dict) else x))
    return x


def bits(tensor):
    return tensor.dtype, tensor.numpy().tobytes()


@pytest.mark.parametrize("wrap", WRAPS)
def test_arguments_are_told_apart(wrap):
    """One after the other, in every order of two; each with the bits that it gives eagerly."""

    def compute(x, a):
        return x * inside(a)

    values = [0.0, -0.0, 1, True, 1.0, 0, False, 2, float("nan"), float("inf"), -1.0]
    compiled, whole, floating = jit(compute), chainrule.arange(3) - 1, chainrule.tensor([1.0, -2.0, 0.0])
    for pair in itertools.permutations(values, 2):
        for x, a in itertools.product((whole, floating), pair):
            assert bits(compiled(x, WRAPS[wrap](a))) == bits(compute(x, a))
    assert sum(map(len, compiled.specializations.values())) == 2 * len(values)


def test_scalars_of_numpy_are_told_apart():
    def compute(x, a):
        return x * a

    compiled, x = jit(compute), chainrule.tensor([1.0, -2.0])
    for a in (np.float32(0), np.float32(-0.0), np.float64(-0.0), np.int64(1), np.float32("nan"), np.float32("nan")):
        assert bits(compiled(x, a)) == bits(compute(x, a))
    assert sum(map(len, compiled.specializations.values())) == 5


def test_keys_of_dicts_are_told_apart():
    def compute(x, options):
        return x * next(iter(options))

    compiled, x = jit(compute), chainrule.arange(3)
    for key in (1, True, 1.0, 0.0, -0.0):
        assert bits(compiled(x, {key: 0})) == bits(compute(x, {key: 0}))


def test_nan_is_an_argument_like_any_other():
    compiled, x = jit(lambda x, a: x + a), chainrule.ones(2)
    for _ in range(3):
        assert np.isnan(compiled(x, float("nan")).numpy()).all()
        assert np.isnan(compiled(x, (float("nan"), 1)[0]).numpy()).all()
    assert sum(map(len, compiled.specializations.values())) == 1


def test_constants_of_one_program_are_told_apart():
    def compute(x):
        nan, zero = float("nan"), x * 0
        return (
            1 / (x * 0.0), 1 / (x * -0.0), x.maximum(zero + -0.0), (x.long() * 1), x.long() * True, x.long() * 1.0,
            x.where(x > 0, 0.0), x.where(x > 0, -0.0), x + nan, x - nan,
        )  # fmt: skip

    compiled = jit(compute)
    for values in ([1.0, 2.0], [3.0, -4.0], [-5.0, 0.0]):
        x = chainrule.tensor(values)
        assert [*map(bits, compiled(x))] == [*map(bits, compute(x))]


@operation
def greatest(input, *, initial):
    return np.max(input, axis=-1, initial=initial)


@operation
def total(input, *, initial):
    return np.sum(input, axis=-1, initial=initial)


def test_what_a_reduction_starts_from_counts():
    def compute(x):
        return [f(x, initial=a) for f in (greatest, total) for a in (0.0, -0.0, 2.5, -np.inf, 1, True)]

    compiled = jit(compute)
    for seed in range(3):
        x = chainrule.from_numpy(np.random.default_rng(seed).standard_normal((3, 4)) - 2)
        for one, other in zip(compiled(x), compute(x), strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-12)


def test_which_values_are_alike():
    nan = float("nan")
    kinds = [
        0, False, 0.0, -0.0, 1, True, 1.0, "1", b"1", None, nan, (0.0,), (-0.0,), (0,), [0.0], 0j, -0j, complex(-0.0, 0),
        np.float32(0), np.float64(0), np.float32(-0.0), np.int8(1), np.bool_(True), slice(0), slice(0.0), range(2),
        frozenset({1}), frozenset({1.0}), Pair(0.0), Pair(-0.0), Options(1), Options(True), Fraction(1), np.dtype("f4"),
    ]  # fmt: skip
    for one, other in itertools.combinations(kinds, 2):
        assert not is_same_value(one, other), (one, other)
        if not isinstance(one, (list, slice)) and not isinstance(other, (list, slice)):
            assert exact_key(one) != exact_key(other), (one, other)
    for one in kinds:
        assert is_same_value(one, one)
    again = [
        float("nan"),
        np.float32("nan"),
        (1, (2.0, "a")),
        10**20,
        "ab" * 3,
        Pair(1),
        slice(1, 2),
        frozenset({1, 2}),
    ]
    more = [float("nan"), np.float32("nan"), (1, (2.0, "a")), 10**20, "ab" * 3, Pair(1), slice(1, 2), frozenset({1, 2})]
    for one, other in zip(again, more, strict=True):
        assert is_same_value(one, other)
    assert exact_key(Options(nan)) == exact_key(Options(float("nan")))
    assert not is_same_value([1], [1])
    assert not is_same_value((chainrule.ones(1),), (chainrule.ones(1),))
