"""Compiled functions that read files or the clock, or run functions that no variable leads to, behave as eager ones."""

from __future__ import annotations

import contextlib
import copy
import cProfile
import ctypes
import datetime
import enum
import functools
import importlib
import json
import math
import os
import queue
import sys
import threading
import time
import types
import uuid
import weakref
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.nn import functional as F  # noqa: N812
from chainrule.ops import operation

from .changes import compiled_through_changes

pytestmark = pytest.mark.usefixtures("interpreted")

rate = 1.0
CASES = {}


def case(function):
    """Register a program: it makes a step, and a function that changes what that depends on."""
    CASES[function.__name__] = function
    return function


def raise_rate():
    global rate
    rate += 1


class Color(enum.Enum):
    RED = 1
    BLUE = 2

    def scaled(self):
        return self.value * rate


class Point(NamedTuple):
    x: float

    def scaled(self):
        return self.x * rate


class Scaling(type):
    step = 1.0

    @property
    def scale(cls):
        return rate

    def __getattr__(cls, name):
        return rate + 1


@case
def a_method_of_an_enum(folder):
    return lambda x: x * Color.BLUE.scaled(), raise_rate


@case
def an_attribute_of_a_member_of_an_enum(folder):
    Color.RED.extra = 1.0
    return lambda x: x * Color.RED.extra, lambda: setattr(Color.RED, "extra", Color.RED.extra + 1)


@case
def a_method_of_a_named_tuple(folder):
    point = Point(2.0)
    return lambda x: x * point.scaled(), raise_rate


@case
def a_property_of_a_metaclass(folder):
    kind = Scaling("Kind", (), {})
    return lambda x: x * kind.scale + kind.other, raise_rate


@case
def an_attribute_of_a_metaclass(folder):
    kind = Scaling("Kind", (), {})
    return lambda x: x * kind.step, lambda: setattr(Scaling, "step", Scaling.step + 1)


@case
def a_single_dispatch_method(folder):
    class Kinds:
        @functools.singledispatchmethod
        def of(self, thing):
            return 1.0

        @of.register
        def _(self, thing: int):
            return rate

    kinds = Kinds()
    return lambda x: x * kinds.of(2), raise_rate


@case
def a_text_of_an_object(folder):
    class Scale:
        def __repr__(self):
            return str(rate)

    scale = Scale()
    return lambda x: x * float(repr(scale)), raise_rate


@case
def a_text_whose_method_is_replaced(folder):
    class Scale:
        def __repr__(self):
            return "1"

    scale = Scale()

    def change():
        number = float(repr(scale)) + 1
        Scale.__repr__ = lambda self: str(number)

    return lambda x: x * float(repr(scale)), change


@case
def an_expression_in_a_text(folder):
    return lambda x: x * eval("rate * 2"), raise_rate  # noqa: S307


@case
def a_function_of_a_module_that_makes_its_attributes(folder):
    module = types.ModuleType("lazy")
    module.__getattr__ = lambda name: rate
    return lambda x: x * module.anything, raise_rate


@case
def a_closure_that_is_found_by_name(folder):
    def make(scale):
        def times(x):
            return x * scale[0]

        return times

    scale, module = [1.0], types.ModuleType("found")
    module.times = make(scale)
    return lambda x: getattr(module, "ti" + "mes")(x), lambda: scale.__setitem__(0, scale[0] + 1)


@case
def a_number_of_a_module_in_a_list(folder):
    module = types.ModuleType("settings")
    module.scale = 1.0
    modules = [module]
    return lambda x: x * modules[0].scale, lambda: setattr(module, "scale", module.scale + 1)


@case
def an_attribute_that_a_module_has_not_yet(folder):
    module = types.ModuleType("settings")
    return lambda x: x * 2 if hasattr(module, "scale") else x, lambda: setattr(module, "scale", 1)


@case
def a_variable_that_is_not_there_yet(folder):
    space = {"__name__": __name__}
    exec("def f(x):\n try:\n  return x * later\n except NameError:\n  return x", space)  # noqa: S102
    return space["f"], lambda: space.update(later=space.get("later", 1) + 1)


@case
def a_property_that_is_replaced(folder):
    class Settings:
        @property
        def scale(self):
            return 1.0

    settings = Settings()

    def change():
        number = settings.scale + 1
        Settings.scale = property(lambda self: number)

    return lambda x: x * settings.scale, change


@case
def a_class_method_that_is_replaced(folder):
    class Settings:
        @classmethod
        def scale(cls):
            return 1.0

    def change():
        number = Settings.scale() + 1
        Settings.scale = classmethod(lambda cls: number)

    return lambda x: x * Settings.scale(), change


@case
def the_options_of_a_partial(folder):
    times = functools.partial(lambda x, scale: x * scale, scale=1.0)
    return times, lambda: times.keywords.update(scale=times.keywords["scale"] + 1)


@case
def an_attribute_of_a_text(folder):
    class Name(str):
        pass

    name = Name("a")
    name.scale = 1.0
    return lambda x: x * name.scale, lambda: setattr(name, "scale", name.scale + 1)


@case
def a_copy_of_an_object(folder):
    class Settings:
        def __init__(self):
            self.scale = [1.0]

    settings = Settings()
    return lambda x: x * copy.deepcopy(settings).scale[0], lambda: settings.scale.__setitem__(0, settings.scale[0] + 1)


@case
def weak_dicts(folder):
    @dataclass(eq=False)
    class Key:
        scale: float

    key = Key(1.0)
    scales, keys = weakref.WeakKeyDictionary({key: 1.0}), weakref.WeakValueDictionary({"a": key})
    keep = [key]

    def change():
        scales[key] += 1
        keep.append(Key(keep[-1].scale + 1))
        keys["a"] = keep[-1]

    return lambda x: x * scales[key] + keys["a"].scale, change


@case
def the_environment_that_a_library_reads(folder):
    os.environ["CHAINRULE_TEST_SCALE"] = "1"
    change = lambda: os.environ.update(CHAINRULE_TEST_SCALE=os.environ["CHAINRULE_TEST_SCALE"] + "1")  # noqa: E731
    return lambda x: x * float(os.path.expandvars("$CHAINRULE_TEST_SCALE")), change


@case
def arguments_of_the_process(folder):
    return lambda x: x * len(sys.argv), lambda: sys.argv.append("more")


@case
def functions_of_libraries_that_are_replaced(folder):
    number = iter(range(2, 9))

    def change():
        scale = next(number)
        math.sqrt, np.prod, F.relu = (lambda x: scale), (lambda x: scale + 1), (lambda x: x * scale)

    return lambda x: F.relu(x) * math.sqrt(4) + np.prod([1, 2]), change


# What no guard can compare


@case
def a_file(folder):
    path = folder / "scale"
    path.write_text("1")
    return lambda x: x * float(path.read_text()), lambda: path.write_text(path.read_text() + "1")


@case
def a_file_that_json_reads(folder):
    path = folder / "scale.json"
    path.write_text("[1]")

    def step(x):
        with path.open(encoding="utf-8") as file:
            return x * json.load(file)[0]

    return step, lambda: path.write_text("[2]")


@case
def an_array_in_a_file(folder):
    path = folder / "scale.npy"
    np.save(path, np.ones(3))
    return lambda x: x * chainrule.from_numpy(np.load(path)), lambda: np.save(path, np.load(path) + 1)


@case
def whether_a_file_is_there(folder):
    path = folder / "flag"
    return lambda x: x * 2 if path.exists() else x, path.touch


@case
def the_time(folder):
    now = [1.0]

    def step(x):
        begin = time.perf_counter()
        while time.perf_counter() == begin:
            pass
        return x * now[0] * (time.time() > 0) * (datetime.datetime.now().year > 0)

    return step, lambda: now.__setitem__(0, now[0] + 1)


@case
def a_queue(folder):
    waiting = queue.Queue()
    for number in range(9):
        waiting.put(number)
    return lambda x: x * waiting.qsize(), waiting.get


@case
def all_variables_by_name(folder):
    return lambda x: x * globals()["rate"], raise_rate


@case
def a_module_by_name(folder):
    def step(x):
        return x * importlib.import_module(__name__).rate * sys.modules[__name__].rate

    return step, raise_rate


NOT_KEPT = {
    "a_file": "it calls open()", "a_file_that_json_reads": "it calls open()", "an_array_in_a_file": "it calls open()",
    "whether_a_file_is_there": "it calls os.stat()", "the_time": "it calls time.perf_counter()",
    "a_queue": "it calls a method of waiting, a Queue from outside", "all_variables_by_name": "it calls globals()",
    "a_module_by_name": "it looks for modules in sys.modules",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setitem(globals(), "rate", 1.0)
    monkeypatch.setenv("CHAINRULE_TEST_SCALE", "1")
    for module, name in ((math, "sqrt"), (np, "prod"), (F, "relu")):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_eager(name, tmp_path):
    compiled = compiled_through_changes(*CASES[name](tmp_path))
    if name in NOT_KEPT:
        assert not any(compiled.specializations.values())
        assert compiled.retrace_reason.startswith(NOT_KEPT[name])
    else:
        assert sum(map(len, compiled.specializations.values())) <= 3
        assert compiled.retrace_reason is None


class Moment(datetime.datetime):
    """A date of the user's."""


CLOCKS = {
    "time.strftime()": lambda: time.strftime("%S"),
    "time.asctime()": time.asctime,
    "time.ctime()": lambda: time.ctime(),
    "time.gmtime()": lambda: time.gmtime(),
    "time.localtime()": lambda: time.localtime(),
    "time.clock_gettime()": lambda: time.clock_gettime(0),
    "time.clock_gettime_ns()": lambda: time.clock_gettime_ns(0),
    "datetime.datetime.now()": lambda: datetime.datetime.now(datetime.UTC),
    "datetime.datetime.today()": lambda: getattr(datetime.datetime, "to" + "day")(),
    "datetime.date.today()": lambda: datetime.date.today(),
    "Moment.now()": lambda: Moment.now(),
    "Moment.today()": lambda: min([1], key=lambda _: Moment.today()),
    "os.times()": lambda: os.times(),
    "os.fstat()": lambda: os.fstat(1),
    "os.urandom()": lambda: uuid.uuid4(),
}
DATES = [
    lambda: np.datetime64("now"),
    lambda: [np.datetime64(text) for text in ("yesterday", "tomorrow", "today") if text == "today"],
    lambda: np.array(["now"], "M8[s]"),
    lambda: np.array("today").astype("datetime64[D]"),
]


@pytest.mark.parametrize("name", CLOCKS)
def test_who_asks_for_the_time_is_traced_in_each_call(name):
    if not hasattr(time, name[5:-2]) and name.startswith("time.clock"):
        pytest.skip("this system has no such clock")
    ask = CLOCKS[name]
    compiled = jit(lambda x: x * len([ask()]))
    compiled(chainrule.ones(2))
    assert compiled.retrace_reason.startswith(f"it calls {name}, whose result may differ in each call")


@pytest.mark.parametrize("ask", DATES)
def test_who_makes_a_date_of_now_is_traced_in_each_call(ask):
    compiled = jit(lambda x: x * len([ask()]))
    compiled(chainrule.ones(2))
    assert compiled.retrace_reason.startswith('it converts "now" or "today" to a NumPy date, which may differ')


def test_other_dates_are_as_ever():
    """Neither a fixed date, nor the word "now", nor a method of that name."""
    clock = types.SimpleNamespace(now=lambda: 2.0)
    for step in (
        lambda x: x * (np.datetime64("2020-01-02") - np.datetime64("2020-01-01")).astype(int),
        lambda x: x * len("now") * clock.now(),
        lambda x: x * datetime.datetime(2020, 1, 1).timetuple().tm_year,
    ):
        compiled = jit(step)
        compiled(chainrule.ones(2))
        assert compiled.retrace_reason is None


def test_a_profiler_goes_on():
    """Python's own, and one that is a function."""
    compiled = jit(lambda x: x * len(os.listdir(".")))  # noqa: PTH208
    profiler = cProfile.Profile()
    profiler.enable()
    compiled(chainrule.ones(2))
    len("after")
    profiler.disable()
    assert compiled.retrace_reason.startswith("it calls os.listdir()")
    assert any(entry.code == "<built-in method builtins.len>" for entry in profiler.getstats())
    events = []
    sys.setprofile(watch := lambda frame, event, argument: events.append((frame.f_code.co_name, event)))
    try:
        compiled(chainrule.ones(2))
        assert sys.getprofile() is watch
    finally:
        sys.setprofile(None)
    assert ("<lambda>", "call") in events


class Counting:
    """A profiler of the user's that can be switched off and on again, and then begins anew."""

    def __init__(self):
        self.events = []

    def __call__(self, frame, event, argument):
        self.events.append((frame.f_code.co_name, event))

    def enable(self):
        self.events.clear()
        sys.setprofile(self)

    def disable(self):
        sys.setprofile(None)


def test_a_profiler_that_can_be_switched_off_is_not():
    profiler = Counting()

    def before():
        pass

    def step(x):
        return x * 2

    profiler.enable()
    try:
        before()
        jit(step)(chainrule.ones(2))
        assert sys.getprofile() is profiler
    finally:
        profiler.disable()
    assert [e for e in profiler.events if e[0] in ("before", "step")][::2] == [("before", "call"), ("step", "call")]


def test_a_profiler_that_cannot_be_set_again_stays():
    """One that is written in C and stands there with an object of its own."""
    state = types.SimpleNamespace()
    kind = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p)
    callback = kind(lambda *_: 0)
    ctypes.pythonapi.PyEval_SetProfile(callback, ctypes.py_object(state))
    try:
        compiled = jit(lambda x: x * 2)
        result = np.array(compiled(chainrule.ones(2)))
        assert sys.getprofile() is state
    finally:
        sys.setprofile(None)
    np.testing.assert_array_equal(result, [2, 2])
    assert compiled.retrace_reason == "a profiler (SimpleNamespace) is active that cannot be restored"
    assert not any(compiled.specializations.values())


def set_for_good(watch):
    sys.setprofile(watch)


def set_for_a_while(watch):
    before = sys.getprofile()
    sys.setprofile(watch)
    time.perf_counter()
    sys.setprofile(before)


def end(watch):
    sys.setprofile(None)


def run_another(watch):
    cProfile.Profile().runcall(time.perf_counter)


@pytest.mark.parametrize("change", [set_for_good, set_for_a_while, end, run_another])
@pytest.mark.parametrize("outside", [False, True])
def test_the_function_sets_a_profiler(change, outside):
    """It is traced in each call, for not all that it did was seen; and the profiler is as after an eager call."""

    def earlier(*_):
        pass

    def watch(*_):
        pass

    def step(x):
        change(watch)
        return x * 2

    if change is run_another and (outside or sys.version_info >= (3, 12)):
        pytest.skip("cProfile takes the place of another profiler, or is none to `sys`")
    compiled, after = jit(step), []
    for function in (step, compiled, compiled):
        sys.setprofile(earlier if outside else None)
        try:
            np.testing.assert_array_equal(np.array(function(chainrule.ones(2))), [2, 2])
            after.append(sys.getprofile())
        finally:
            sys.setprofile(None)
    assert after[1] is after[0]
    assert after[2] is after[0]
    assert compiled.retrace_reason == "it sets a profiler"


def test_an_error_in_the_profiler_ends_it():
    """As an interrupt that comes while it runs; Python goes on without it, and so does a function that catches that."""

    def interrupted(frame, event, argument):
        if frame.f_code.co_name == "interrupt":
            raise KeyboardInterrupt

    def interrupt():
        pass

    def step(x):
        with contextlib.suppress(KeyboardInterrupt):
            interrupt()
        return x * (time.perf_counter() % 1)

    compiled = jit(step)
    sys.setprofile(interrupted)
    try:
        results = [compiled(chainrule.ones(1)).item() for _ in range(2)]
    finally:
        sys.setprofile(None)
    assert results[0] != results[1]
    assert compiled.retrace_reason == "it sets a profiler"


def test_formulas_rules_hooks_and_optimizers_of_the_users_are_watched():
    @operation
    def doubled(input):
        asked.get("formula", int)()
        return input * 2

    @doubled.derivative
    def _(grad):
        asked.get("rule", int)()
        return grad * 2

    class Descent(optim.SGD):
        def update(self, value, grad, state, group):
            asked.get("update", int)()
            super().update(value, grad, state, group)

    w = chainrule.ones(2, requires_grad=True)
    optimizer = Descent([w], 0.1)

    net = nn.ReLU()
    net.register_full_backward_hook(lambda *_: asked.get("hook", int)() * 0 or None)

    def step():
        optimizer.zero_grad()
        net(doubled(w)).sum().backward()
        optimizer.step()

    for name in ("formula", "rule", "update", "hook", "nothing"):
        asked = {name: time.perf_counter}
        compiled = jit(step)
        compiled()
        if name == "nothing":
            assert compiled.retrace_reason is None
        else:
            assert compiled.retrace_reason.startswith("it calls time.perf_counter()")


def test_other_threads_may_ask_for_the_time():
    """While the function waits for one by a queue that is written in C, of which no method in Python runs."""
    asked, answered = queue.SimpleQueue(), queue.SimpleQueue()

    def work():
        asked.get(timeout=30)
        answered.put(time.time())

    thread = threading.Thread(target=work)
    thread.start()

    def step(x):
        asked.put(None)
        answered.get(timeout=30)
        return x * 2

    compiled = jit(step)
    compiled(chainrule.ones(2))
    thread.join()
    assert (asked.qsize(), answered.qsize()) == (0, 0)
    assert compiled.retrace_reason is None
