"""Compiled functions notice changes inside outside arrays, keys, plain values and functions.

Each case is a step and a change, after which the step gives another result.
"""

from __future__ import annotations

import array
import collections
import ctypes
import enum
import functools
import mmap
import subprocess
import sys
import types
import weakref
from typing import NamedTuple

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.errors import CaptureError

from .changes import compiled_through_changes

pytestmark = pytest.mark.usefixtures("interpreted")

CASES = {}


def case(function):
    """Register a program: it makes a step, and a function that changes what that reads."""
    CASES[function.__name__] = function
    return function


class Setting:
    """It is equal to others of its name, and can stand for an index."""

    def __init__(self, rate=1.0):
        self.name, self.rate = "setting", rate

    def __eq__(self, other):
        return self.name == other.name

    def __hash__(self):
        return hash(self.name)

    def __index__(self):
        return int(self.rate)


class Text(str):
    scale = 1.0


class Decimals(float):
    __slots__ = ("scale",)


class Pair(tuple):
    pass


class Point(NamedTuple):
    x: float
    factor = 1.0


class Color(enum.Enum):
    RED = 1


class TroubleError(Exception):
    factor = 1.0


class Scaled(np.ndarray):
    """An array with a unit."""

    factor = 1.0

    def __array_finalize__(self, other):
        self.scale = getattr(other, "scale", 1.0)


class Weight(nn.Parameter):
    factor = 1.0


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    for cls in (Text, Point, TroubleError, Scaled, Weight, Color):
        monkeypatch.setattr(cls, "scale" if cls is Text else "factor", 1.0, raising=False)


def objects(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def with_value(thing, **attributes):
    vars(thing).update(attributes)
    return thing


def raised(thing, name="rate"):
    """A function that makes an attribute greater."""
    return lambda: setattr(thing, name, getattr(thing, name) + 1)


def total(settings):
    return sum(setting.rate for setting in settings)


# Arrays of objects


@case
def an_object_in_an_array():
    array = objects(Setting(), Setting())
    return lambda x: x * array[1].rate, raised(array[1])


@case
def a_list_in_an_array():
    array = objects([1.0], [2.0])
    return lambda x: x * array[0][0], lambda: array[0].insert(0, array[0][0] + 1)


@case
def an_array_in_an_array():
    inner = np.ones(3)
    array = np.empty((), object)
    array[()] = inner
    return lambda x: x * float(array.item()[1]), lambda: inner.__iadd__(1)


@case
def a_function_and_a_class_in_an_array_in_a_list():
    scale, kind = [1.0], type("Kind", (), {"rate": 1.0})
    arrays = [objects(lambda: scale[0], kind)]

    def change():
        scale[0] += 1
        kind.rate += 1

    return lambda x: x * arrays[0][0]() + arrays[0][1].rate, change


@case
def an_object_in_a_field():
    array = np.zeros(2, [("number", float), ("pair", object, (2,))])
    setting = array["pair"][0, 1] = Setting()
    return lambda x: x * array["pair"][0, 1].rate, raised(setting)


@case
def an_element_of_an_array_in_a_field():
    array = np.zeros(2, [("number", float), ("pair", object, (2,))])
    return lambda x: x + array["number"][1], lambda: array["number"].__iadd__(1)


@case
def a_record():
    table = np.ones(2, [("a", float), ("b", float)])
    row = table[1]
    return lambda x: x * float(row["b"]), lambda: table["b"].__iadd__(1)


@case
def records_in_containers():
    table = np.rec.array([(1.0, 2.0), (3.0, 4.0)], dtype=[("a", float), ("b", float)])
    rows, last = [table[0]], (table[1],)
    return lambda x: x * float(rows[0].b) + float(last[0]["a"]), lambda: table.b.__iadd__(1) + table.a.__iadd__(1)


@case
def an_object_in_a_record():
    table = np.zeros(1, [("a", object)])
    table["a"][0] = Setting()
    row = table[0]
    return lambda x: x * row["a"].rate, raised(table["a"][0])


@case
def a_record_that_is_replaced_by_an_equal_one():
    tables = [np.ones(1, [("a", float)]) for _ in range(2)]
    box = types.SimpleNamespace(row=tables[0][0])

    def change():
        box.row = tables[1][0]
        tables[1]["a"] += 1

    return lambda x: x * float(box.row["a"]), change


@case
def an_array_of_a_class_of_its_own():
    array = np.ones(3).view(Scaled)
    array.shifts = [0.0]

    def change():
        array.scale += 1
        array.shifts[0] += 1
        Scaled.factor += 1

    return lambda x: x * array.scale * array.factor + array.shifts[0], change


@case
def an_attribute_of_the_memory_of_a_tensor():
    array = np.ones(3).view(Scaled)
    return lambda x: x * chainrule.from_numpy(array) * array.scale, raised(array, "scale")


@case
def an_attribute_of_the_class_of_a_parameter():
    weight = Weight(chainrule.ones(3))
    return lambda x: x * weight.detach() * weight.factor, raised(Weight, "factor")


# Keys, frozen sets and slices


@case
def an_object_that_is_a_key():
    settings = {Setting(): 1}
    return lambda x: x * total(settings), raised(*settings)


@case
def an_object_in_a_key():
    settings = {("a", Setting()): 1}
    return lambda x: x * sum(key[1].rate for key in settings), raised(next(iter(settings))[1])


@case
def a_class_that_is_a_key():
    kind = type("Kind", (), {"rate": 1.0})
    settings = {kind: 1}
    return lambda x: x * total(settings), raised(kind)


@case
def a_key_that_is_replaced_by_an_equal_one():
    settings = {Setting(): 1}

    def change():
        rate = total(settings)
        settings.clear()
        settings[Setting(rate + 1)] = 1

    return lambda x: x * total(settings), change


@case
def keys_of_other_maps():
    one, two, three, four = (Setting() for _ in range(4))
    maps = collections.UserDict({one: 1}), collections.ChainMap({two: 1}), weakref.WeakKeyDictionary({three: 1})
    keys, elements = {four: 1}.keys(), [three]

    def change():
        for setting in (one, two, *elements, four):
            setting.rate += 1

    return lambda x: x * sum(map(total, maps)) + total(keys), change


@case
def a_key_of_a_class_derived_from_str():
    key = with_value(Text("a"), rate=1.0)
    texts = {key: 1}
    return lambda x: x * total(texts), raised(key)


@case
def an_object_in_a_frozen_set():
    settings = frozenset([Setting()])
    return lambda x: x * total(settings), raised(*settings)


@case
def a_frozen_set_that_is_replaced_by_an_equal_one():
    box = types.SimpleNamespace(settings=frozenset([Setting()]))
    return lambda x: x * total(box.settings), lambda: setattr(
        box, "settings", frozenset([Setting(total(box.settings) + 1)])
    )


@case
def an_object_in_a_slice():
    numbers, part, listed = [1.0, 2.0, 3.0, 4.0], slice(0, Setting()), slice([1.0])

    def change():
        part.stop.rate += 1
        listed.start[0] += 1

    listed = slice([1.0], None)
    return lambda x: x * sum(numbers[part]) + listed.start[0], change


@case
def a_slice_that_is_replaced_by_an_equal_one():
    box = types.SimpleNamespace(part=slice(Setting()))
    return lambda x: x * box.part.stop.rate, lambda: setattr(box, "part", slice(Setting(box.part.stop.rate + 1)))


# Values of classes that are derived from plain ones


@case
def an_attribute_of_the_class_of_a_text():
    text = Text("a")
    return lambda x: x * text.scale, raised(Text, "scale")


@case
def an_attribute_in_a_slot():
    number = Decimals(2.0)
    number.scale = [1.0]
    return lambda x: x * number.scale[0] * number, lambda: setattr(number, "scale", [number.scale[0] + 1])


@case
def an_attribute_of_the_class_of_a_named_tuple():
    point = Point(2.0)
    return lambda x: x * point.factor * point.x, raised(Point, "factor")


@case
def a_field_of_a_named_tuple_is_replaced():
    class Place(NamedTuple):
        x: float

    holder, number = Place(2.0), iter(range(3, 9))

    def change():
        other = next(number)
        Place.x = property(lambda self: other)

    return lambda x: x * holder.x, change


def replaced(make):
    """A case: a value is replaced by an equal one with another attribute."""

    def case():
        box = types.SimpleNamespace(value=make())
        box.value.scale = 1.0

        def change():
            scale, box.value = box.value.scale, make()
            box.value.scale = scale + 1

        return lambda x: x * box.value.scale, change

    return case


CASES |= {
    "an equal text with another attribute": replaced(lambda: Text("a")),
    "an equal number with another attribute": replaced(lambda: Decimals(2)),
    "an equal tuple with another attribute": replaced(lambda: Pair((1,))),
}


@case
def an_attribute_of_an_enum():
    colors = [Color.RED]
    return lambda x: x * Color.RED.factor + colors[0].factor, raised(Color, "factor")


@case
def what_an_exception_holds():
    trouble, other = TroubleError([1.0]), with_value(TroubleError(1.0), rate=1.0)

    def change():
        trouble.args[0][0] += 1
        other.args = (other.args[0] + 1,)
        TroubleError.factor += 1
        other.rate += 1

    return lambda x: x * trouble.args[0][0] + other.args[0] * trouble.factor + other.rate, change


# Functions that have attributes


@case
def attributes_of_functions_in_a_list():
    functions = [with_value(f, scale=1.0) for f in (lambda: 1, functools.partial(int), functools.cache(int))]

    def change():
        for function in functions:
            function.scale += 1

    return lambda x: x * sum(function.scale for function in functions), change


@case
def an_attribute_of_a_partial():
    function = with_value(functools.partial(int), scale=[1.0])
    return lambda x: x * function.scale[0], lambda: function.scale.insert(0, function.scale[0] + 1)


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_eager(name):
    compiled = compiled_through_changes(*CASES[name]())
    assert compiled.retrace_reason is None
    assert 0 < sum(map(len, compiled.specializations.values())) <= 3


@pytest.mark.parametrize("wrap", [lambda x: {x: 1}, lambda x: frozenset([x]), lambda x: slice(x).stop])
def test_an_object_in_an_argument_is_looked_into(wrap):
    setting = Setting()
    compiled = jit(lambda x, argument: x * (argument.rate if argument is setting else total(argument)))
    for rate in (1.0, 2.0):
        setting.rate = rate
        for _ in range(2):
            assert compiled(chainrule.ones(1), wrap(setting)).item() == rate


def test_equal_values_have_one_program():
    """New objects with the same contents, as a function makes them that is called before each step."""
    box = types.SimpleNamespace()
    step = jit(lambda x: x * box.point.x + len(box.names) + (box.part.stop or 0) + len(box.text) + box.number)
    for _ in range(3):
        box.point, box.names, box.part = Point(float("2")), frozenset([*"ab"]), slice(int("3"))
        box.text, box.number = Text("abc"), np.float64("0.5")
        np.testing.assert_allclose(step(chainrule.ones(2)), [10.5, 10.5])
    assert sum(map(len, step.specializations.values())) == 1


def test_a_failed_call_leaves_records_and_functions_as_they_were():
    table, function = np.ones(1, [("a", float), ("b", object)]), with_value(lambda: 1, count=0)
    row = table[0]

    def step(x):
        row["a"], row["b"] = 7, [2]
        function.count += 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        jit(step)(chainrule.ones(1))
    assert (table.tolist(), function.count) == ([(1, 1)], 0)


BUFFERS = {
    "a bytearray": lambda: bytearray(b"abcd"),
    "an array": lambda: array.array("d", [1, 2]),
    "an array of whole numbers": lambda: array.array("h", [1, 2]),
    "an array of C": lambda: (ctypes.c_float * 2)(1, 2),
    "every second byte": lambda: memoryview(bytearray(b"abcd"))[::2],
    "columns": lambda: memoryview(np.arange(6.0).reshape(2, 3).T),
    "a file in memory": lambda: mmap.mmap(-1, 4),
}


def contents(buffer):
    return memoryview(buffer).tobytes()


@pytest.mark.parametrize("kind", BUFFERS)
def test_memory_that_a_memoryview_holds_is_put_back_in_place(kind):
    """After a call that fails, and before the eager one that makes an optimizer's state."""
    buffer, other = BUFFERS[kind](), bytearray(b"xyz")
    view, before, fail = memoryview(buffer), contents(buffer), True
    read_only = memoryview(other).toreadonly()
    first = (0,) * view.ndim if view.ndim > 1 else 0
    weight = nn.Parameter(chainrule.ones(1))
    optimizer = optim.SGD([weight], 0.1, momentum=0.9)

    def step():
        buffer[first] = type(buffer[first])(99)
        other[0] = (other[0] + 1) % 256
        if fail:
            raise ValueError("mine", read_only[0], len(view))
        optimizer.zero_grad()
        (weight * other[0]).sum().backward()
        optimizer.step()

    compiled = jit(step)
    with pytest.raises(ValueError, match="mine"):
        compiled()
    assert (contents(buffer), bytes(view), other) == (before, before, b"xyz")
    fail = False
    compiled()
    assert contents(buffer) != before
    assert (other, weight.grad.item()) == (b"yyz", ord("y"))


def grow(buffer, views):
    buffer.extend([1])
    views.append(memoryview(buffer))


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: bytearray(b"abc"), grow),
        (lambda: array.array("d", [1, 2]), grow),
        (lambda: memoryview(bytearray(b"abc")), lambda view, views: view.release()),
        (lambda: mmap.mmap(-1, 4), lambda memory, views: memory.close()),
    ],
)
def test_memory_that_cannot_be_put_back_is_refused(make, change):
    """All else is as it was: lists, and what an optimizer has begun to remember."""
    buffer, views, counts = make(), [], [0]
    weight = nn.Parameter(chainrule.ones(1))
    optimizer = optim.SGD([weight], 0.1, momentum=0.9)

    def step():
        counts[0] += buffer[0]
        change(buffer, views)
        counts.append(1)
        optimizer.zero_grad()
        weight.sum().backward()
        optimizer.step()

    with pytest.raises(CaptureError, match=f"buffer, a {type(buffer).__name__} from outside, cannot be restored"):
        jit(step)()
    assert (views, counts, weight.tolist(), optimizer.state) == ([], [0], [1], {})


def test_memory_that_is_released_outside_is_no_longer_read():
    buffer = memoryview(bytearray(b"abc"))
    compiled = jit(lambda x: x * buffer[0])
    assert compiled(chainrule.ones(1)).item() == ord("a")
    buffer.release()
    with pytest.raises(ValueError, match="released"):
        compiled(chainrule.ones(1))


INNER = {
    "a list": lambda: ([1.0], lambda it: it[0], lambda it: it.insert(0, it[0] + 1)),
    "a dict": lambda: ({"a": 1.0}, lambda it: it["a"], lambda it: it.update(a=it["a"] + 1)),
    "a set": lambda: ({1.0}, len, lambda it: it.add(float(len(it) + 1))),
    "an object": lambda: (Setting(), lambda it: it.rate, lambda it: setattr(it, "rate", it.rate + 1)),
    "a bytearray": lambda: (bytearray(b"a"), lambda it: it[0], lambda it: it.__setitem__(0, it[0] + 1)),
    "an array": lambda: (np.ones(2), lambda it: it[0].item(), lambda it: it.__iadd__(1)),
    "a record": lambda: (np.ones(1, "f8, f8")[0], lambda it: it["f0"], lambda it: it.__setitem__("f0", it["f0"] + 1)),
    "a tensor": lambda: (chainrule.ones(1), lambda it: it, lambda it: it.add_(1)),
    "a function": lambda: (with_value(lambda: 1, rate=1.0), lambda it: it.rate, lambda it: setattr(it, "rate", it.rate + 1)),
}  # fmt: skip
OUTER = {
    "a list": (lambda it: [it], lambda box: box[0]),
    "a long list": (lambda it: [it] * 20, lambda box: box[19]),
    "a tuple": (lambda it: (1, (it,)), lambda box: box[1][0]),
    "a dict": (lambda it: {"a": it}, lambda box: box["a"]),
    "a dict with other keys": (lambda it: {1: it, None: 2}, lambda box: box[1]),
    "a deque": (lambda it: collections.deque([it]), lambda box: box[0]),
    "an object": (lambda it: types.SimpleNamespace(it=it), lambda box: box.it),
    "all attributes": (lambda it: with_value(types.SimpleNamespace(), it=it), lambda box: vars(box)["it"]),
    "an array": (lambda it: objects(it, None)[:1].reshape(()), lambda box: box.item()),
    "a slice": (lambda it: slice(it), lambda box: box.stop),
    "a module": (lambda it: with_value(nn.Identity(), it=(it,)), lambda box: (box.train(box.training), box.it[0])[1]),
}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_what_is_the_same_object_and_changes_in_place_is_noticed(outer, inner):
    """Guards compare what containers hold by identity first; so whatever can change is looked into by itself."""
    thing, read, change = INNER[inner]()
    put, get = OUTER[outer]
    box = put(thing)
    compiled = jit(lambda x: x * read(get(box)))
    for _ in range(2):
        np.testing.assert_allclose(compiled(chainrule.ones(1)), np.ravel(read(thing)), rtol=1e-6)
        assert compiled.retrace_reason is None
        change(thing)


@pytest.mark.parametrize(
    "wrap",
    [lambda it: [it], lambda it: ([it],), lambda it: {"a": (it, [it])}],
    ids=["list", "tuple", "dict"],
)
def test_parts_that_change_in_place_are_noticed(wrap):
    """The parts of a module are compared by identity; lists among them, in tuples and dicts too, by what they hold."""
    layers, net = [nn.Linear(1, 1)], nn.Module()
    net.parts = wrap(layers)
    compiled = jit(lambda x: sum(p.detach().sum() for p in net.parameters()) * x)
    for _ in range(3):
        for _ in range(2):
            expected = sum(p.detach().sum().item() for p in net.parameters())
            assert compiled(chainrule.ones(1)).item() == pytest.approx(expected, rel=1e-5)
        layers.append(nn.Linear(1, 1))


def test_a_function_that_counts_its_calls_does_so_in_each():
    def helper(x):
        helper.count += 1
        helper.last = x.shape
        return x * 2

    helper.count, compiled = 0, jit(lambda x: helper(x))
    for _ in range(3):
        compiled(chainrule.ones(1))
    assert (helper.count, helper.last) == (3, (1,))
    assert compiled.retrace_reason == "it assigns helper.count, an attribute of a class, a module or a function"


def test_a_function_that_gets_an_attribute_is_traced_until_it_has_it():
    def step(x):
        step.last = x.shape
        return x * 2

    compiled = jit(step)
    compiled(chainrule.ones(1))
    assert compiled.retrace_reason == "it assigns an attribute of step, a function"
    for length in (2, 2, 1, 2, 1, 1):
        compiled(chainrule.ones(length))
        assert step.last == (length,)


IMPORTING = """
import sys, numpy as np, chainrule
assert "numpy.random" not in sys.modules
step = chainrule.jit(lambda x: x * {draw})
print(len({{step(chainrule.ones(1)).item() for _ in range(3)}}), step.retrace_reason)
"""


@pytest.mark.parametrize(
    ("draw", "result"),
    [
        ("np.random.rand()", "3 it draws from numpy.random"),
        ("(chainrule.rand(1) > 2)", "1 None"),
        ("np.random.default_rng().random()", "3 it calls os.urandom(), whose result may differ in each call"),
    ],
)
def test_random_numbers_of_a_module_that_the_call_imports(draw, result):
    """`numpy.random` is loaded when it is asked for; chainrule asks for it, too."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORTING.format(draw=draw)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(result)
