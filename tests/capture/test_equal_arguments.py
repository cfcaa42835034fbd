"""Arguments that are equal but not the same get separate programs, unless `==` compares all that matters."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import types

import numpy as np
import pytest

import chainrule
from chainrule.errors import CaptureError


class Options:
    """Equal by name, whatever the scale is."""

    def __init__(self, name, scale):
        self.name, self.scale = name, scale

    def __eq__(self, other):
        return isinstance(other, Options) and self.name == other.name

    def __hash__(self):
        return hash(self.name)


class Text(str):
    scale: float

    def __new__(cls, text, scale):
        new = super().__new__(cls, text)
        new.scale = scale
        return new


class Number(float):
    __slots__ = ("scale",)

    def __new__(cls, value, scale):
        new = super().__new__(cls, value)
        new.scale = scale
        return new


@dataclasses.dataclass(frozen=True)
class Settings:
    name: str
    scale: float = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class Plain:
    name: str
    scale: float


class Labeled(tuple):
    scale = 1.0


class Entries(dict):
    scale = 1.0


class Elements(list):
    scale = 1.0


class SlottedElements(list):
    __slots__ = ("scale",)


class SlottedEntries(dict):
    __slots__ = ("scale",)


X = np.arange(1.0, 4.0, dtype=np.float32)


@pytest.mark.parametrize("kind", [Options, Text, Settings, Plain, lambda name, scale: Number(1.5, scale)])
@pytest.mark.parametrize(
    "wrap",
    [lambda x: x, lambda x: [x], lambda x: (x,), lambda x: {"options": x}, lambda x: {x: 1}, lambda x: frozenset({x})],
    ids=["itself", "list", "tuple", "dict", "key", "frozenset"],
)
def test_what_equality_leaves_out_counts(kind, wrap):
    def scaled(x, nest):
        (options,) = (
            nest.values() if isinstance(nest, dict) and "options" in nest else nest if wrap(0) != 0 else (nest,)
        )
        return x * options.scale

    compiled = chainrule.jit(scaled)
    for scale in (2.0, 3.0, 5.0, 2.0):
        result = compiled(chainrule.from_numpy(X), wrap(kind("same", scale)))
        np.testing.assert_array_equal(result.numpy(), X * np.float32(scale))


def test_keyword_arguments_too():
    compiled = chainrule.jit(lambda x, *, options: x * options.scale)
    for scale in (2.0, 3.0):
        result = compiled(chainrule.from_numpy(X), options=Options("same", scale))
        np.testing.assert_array_equal(result.numpy(), X * np.float32(scale))


class Color(enum.IntEnum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    "make",
    [lambda: "a" * 3, lambda: 10**20, lambda: fractions.Fraction(1, 3), lambda: pathlib.Path("a/b"), lambda: Color.RED,
     lambda: np.dtype("f4"), lambda: np.float32(2), lambda: frozenset({1, 2}), lambda: Plain("a", 2.0), lambda: range(3),
     lambda: b"ab", lambda: (1, "a")],
)  # fmt: skip
def test_equal_values_of_known_types_share_a_program(make):
    compiled = chainrule.jit(lambda x, _value: x * 2)
    for shift in range(3):
        np.testing.assert_array_equal(compiled(chainrule.from_numpy(X + shift), make()).numpy(), (X + shift) * 2)
    assert sum(map(len, compiled.specializations.values())) == 1


@pytest.mark.parametrize("kind", [Labeled, Entries, Elements, SlottedElements, SlottedEntries])
def test_containers_with_attributes_are_refused(kind):
    argument = kind([("a", 1)])
    argument.scale = 3.0
    compiled = chainrule.jit(lambda x, c: x * c.scale)
    with pytest.raises(
        CaptureError, match=rf"^jit: an argument of type {kind.__name__} has attributes besides its elements"
    ):
        compiled(chainrule.from_numpy(X), argument)


class Doubling(dict):
    def __getitem__(self, key):
        return super().__getitem__(key) * 2


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda t: collections.OrderedDict(b=t, a=t), lambda d: next(reversed(d.values())) * len(d.popitem(False))),
        (lambda t: collections.defaultdict(lambda: 7.0, a=t), lambda d: d["a"] * d["missing"]),
        (lambda t: Doubling(a=t), lambda d: d["a"]),
        (lambda t: collections.namedtuple("Pair", "a b")(t, 2.0), lambda p: p.a * p.b),
    ],
)
def test_subclasses_of_containers_keep_their_behavior(make, read):
    def work(container):
        return read(container) + 1

    compiled = chainrule.jit(work)
    for shift in range(3):
        x = chainrule.from_numpy(X + shift)
        expected = work(make(x)).numpy()
        try:
            result = compiled(make(x))
        except CaptureError as error:
            assert "is changed" in str(error)  # noqa: PT017  # a dict among the arguments
        else:
            np.testing.assert_array_equal(result.numpy(), expected)


UTC, LATER = datetime.UTC, datetime.timezone(datetime.timedelta(hours=1))


def with_extra(scale):
    options = Plain("same", 1.0)
    object.__setattr__(options, "extra", scale)
    return options


@pytest.mark.parametrize(
    ("first", "second", "read"),
    [
        (decimal.Decimal("0"), decimal.Decimal("-0"), lambda d: 1 / np.float32(d)),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00"), lambda d: -d.as_tuple().exponent),
        (
            datetime.datetime(2026, 1, 1, 12, tzinfo=UTC),
            datetime.datetime(2026, 1, 1, 13, tzinfo=LATER),
            lambda t: t.hour,
        ),
        (datetime.time(1, fold=0), datetime.time(1, fold=1), lambda t: t.fold),
        (range(0, 3, 2), range(0, 4, 2), lambda r: r.stop),
        (with_extra(2.0), with_extra(3.0), lambda options: options.extra),
        (collections.defaultdict(lambda: 2.0), collections.defaultdict(lambda: 3.0), lambda d: d.default_factory()),
    ],
    ids=["zeros", "digits", "zones", "fold", "range", "dataclass", "defaultdict"],
)
@pytest.mark.parametrize("outside", [False, True])
def test_equal_values_that_differ_otherwise(first, second, read, outside):
    """Equal, but not in everything that a function can ask them for: each has a program of its own."""
    box = types.SimpleNamespace()
    compiled = chainrule.jit(lambda x, value: x * float(read(box.value if outside else value)))
    with np.errstate(divide="ignore"):
        for shift, value in enumerate((first, second, first)):
            box.value = value
            expected = (X + shift) * np.float32(read(copy.copy(value)))
            np.testing.assert_array_equal(
                compiled(chainrule.from_numpy(X + shift), None if outside else value).numpy(), expected
            )
