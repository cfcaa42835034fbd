"""Eager operations on large arrays run the same loops as compiled programs.

NumPy goes over whole arrays for each step of a formula; here the formula is recorded once for each kind of arguments,
fused, and run as a program of its own, of which machine code serves all shapes. Which way a formula takes depends on
the arguments' shapes and types alone, so that what is computed twice gets the same bits.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import machine, team
from chainrule.kernels.processor import CannotCompileError
from chainrule.lower.graph import SOURCES, Value, base_of, exact, is_readable_in_place
from chainrule.lower.program import Program
from chainrule.lower.recorder import Recorder
from chainrule.lower.schedule import plan
from chainrule.lower.tracer import Scalar, Tracer, Untraceable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

LARGE = 16_384
"""From so many elements on a formula runs as a program."""
PROGRAMS = 128
"""So many programs are kept; the one that was not used longest goes first."""

SMALL = 500
"""So few elements are changed by NumPy."""

_lock = threading.RLock()
_running = False  # a program of this module's, by the thread that holds the lock
_programs: OrderedDict[Any, _Formula | None] = OrderedDict()
_shared = np.empty(0, np.uint8)
_ndarray = np.ndarray


def _room(size: int) -> NDArray[np.uint8]:
    """Memory for results in between, which all of these programs share, for they run one after the other."""
    global _shared
    if _shared.size < size:
        _shared = np.empty(max(size, 2 * _shared.size), np.uint8)
    return _shared


class _Number(Scalar):
    """A number that is an argument of the formula."""

    __slots__ = ("place",)

    def __init__(self, value: float, place: int) -> None:
        super().__init__(value)
        self.place = place


class _Recorder(Recorder):
    """Records a formula whose arguments are arrays and numbers."""

    def slot(self, number: Any) -> int:
        place: int = number.place
        return place


class _Formula:
    """A formula's program.

    Attributes:
        program: what runs.
        outputs: the values that it computes.
        results: the values of all that the formula returns, in order; None where it returns none.
        single: whether it returns one alone, not a tuple.
        given: which results are arguments themselves: their positions, and those of the arguments.
    """

    def __init__(self, arrays: Sequence[NDArray[Any]], numbers: int, function: Callable[..., Any]) -> None:
        """Record a call of `function`, which is handed a Tracer for each array.

        Raises:
            Untraceable: the formula asks for values.
            CannotCompileError: LLVM cannot be used.
        """
        recorder = _Recorder()
        arguments = [Value("argument", None, (), array) for array in arrays]
        recorder.values += arguments
        tracers = [Tracer(recorder, value) for value in arguments]
        returned = function(tracers)
        self.single = not isinstance(returned, tuple)
        results = [None if x is None else recorder.as_tracer(x) for x in ((returned,) if self.single else returned)]
        recorder.ended = True
        self.results = [None if x is None else x._value for x in results]
        self.given = {place: i for place, x in enumerate(results) for i, t in enumerate(tracers) if x is t}
        self.values, self.arguments, self.numbers = recorder.values, arguments, numbers

    def owns_results(self) -> bool:
        """Whether each result but the arguments themselves is computed, into memory of its own."""
        computed = [base_of(x) for place, x in enumerate(self.results) if x is not None and place not in self.given]
        return (
            bool(computed)
            and len({id(x) for x in computed}) == len(computed)
            and not any(x.kind in SOURCES for x in computed)
        )

    def compile(self, writes: Sequence[tuple[Value, Value]] = ()) -> None:
        """Make the program; `writes` are arguments that are to hold results."""
        results = [value for place, value in enumerate(self.results) if place not in self.given]
        self.outputs = outputs = [] if writes else [value for value in results if value is not None]
        self.program = Program(
            plan(self.values, outputs, writes), self.numbers, [], self.arguments, outputs, room=_room
        )
        for value in self.values:
            value.drop_data()

    def run(self, arrays: Sequence[NDArray[Any]], numbers: Sequence[float] = ()) -> Any:
        """The results, in memory of their own.

        The caller holds the lock, and no program of this module's is running: they share memory.
        """
        global _running
        _running = True
        try:
            return self._run(arrays, numbers)
        finally:
            _running = False

    def _run(self, arrays: Sequence[NDArray[Any]], numbers: Sequence[float]) -> Any:
        program = self.program
        for place, number in enumerate(numbers):
            program.scalars[place] = number
        for value in self.outputs:
            program.renew(value)
        program.run(arrays)
        found = [
            arrays[self.given[place]] if place in self.given else None if value is None else program.array(value)
            for place, value in enumerate(self.results)
        ]
        program.release(self.outputs)
        return found[0] if self.single else tuple(found)


def compute(function: Callable[..., Any], inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """A formula's result, by a program if there is one, else NotImplemented.

    Args:
        function: a formula in NumPy: arrays and numbers in, an array or a tuple of arrays out.
        inputs: its positional arguments.
        options: its keyword arguments.
    """
    if not machine.available():
        return NotImplemented
    arrays = [x for x in inputs if type(x) is _ndarray]
    try:
        key = (function, team.threads(), *map(_kind, inputs), *options, *map(exact, options.values()))
        hash(key)
    except TypeError:
        return NotImplemented
    with _lock:
        if _running:  # a signal's handler, or an object's __del__, has interrupted it
            return NotImplemented
        formula = _known(key, lambda: _record(function, inputs, options))
        return NotImplemented if formula is None else formula.run(arrays)


def use_kernel(inputs: Sequence[Any]) -> bool:
    """Whether a formula of these inputs should run as a program, if it can."""
    return any(type(x) is _ndarray and x.size >= LARGE for x in inputs)


def update(formula: Callable[..., Any], changed: Sequence[Any], given: Sequence[Any], *numbers: float | None) -> None:
    """Change arrays in place, element by element: changed[0][i], ... = formula(changed[0][i], ..., given[0][i], ...).

    Args:
        formula: takes an element of each array of `changed`, one of each of `given`, then the numbers; returns the new
            elements of `changed`, as a tuple (also of one). It never combines two numbers.
        changed: arrays of one shape and floating type, or None.
        given: more arrays of that shape, which are only read.
        numbers: the same for all elements, or None.
    """
    first = changed[0]
    if type(first) is _ndarray and first.size > SMALL and machine.available() and _may_run(changed, given):
        arrays = [x for x in (*changed, *given) if x is not None]
        kinds = tuple(None if x is None else _kind(x) for x in (*changed, *given))
        key = (formula, team.threads(), len(changed), *kinds, *(x is None for x in numbers))
        with _lock:
            made = None if _running else _known(key, lambda: _record_update(formula, changed, given, numbers))
            if made is not None:
                made.run(arrays, [x for x in numbers if x is not None])
                return
    for old, new in zip(changed, formula(*changed, *given, *numbers), strict=True):
        if old is not None:
            old[...] = new


def _may_run(changed: Sequence[Any], given: Sequence[Any]) -> bool:
    """Whether a program may write into arrays, where NumPy would raise an error, and can read all of them."""
    arrays = [x for x in (*changed, *given) if x is not None]
    return all(map(is_readable_in_place, arrays)) and all(
        x is None or x.flags.carray or x.T.flags.carray for x in changed
    )


def _kind(x: Any) -> Any:
    """What a program depends on of an argument."""
    if type(x) is _ndarray:
        if not is_readable_in_place(x):
            raise TypeError("compiled code cannot read it where it lies")
        return x.shape, x.strides, x.dtype
    return exact(x)


def _known(key: Any, record: Callable[[], _Formula]) -> _Formula | None:
    """The program of a key; None if the formula cannot be recorded, or is not worth it."""
    if key in _programs:
        _programs.move_to_end(key)
        return _programs[key]
    made: _Formula | None
    try:
        made = record()
    except Untraceable:
        made = None
    except CannotCompileError as error:
        machine.warn_and_fall_back(error, key[0].__name__)
        made = None
    _programs[key] = made
    if len(_programs) > PROGRAMS:
        _programs.popitem(last=False)
    return made


def _record(function: Callable[..., Any], inputs: Sequence[Any], options: Mapping[str, Any]) -> _Formula:
    arrays = [x for x in inputs if type(x) is _ndarray]

    def call(tracers: list[Tracer]) -> Any:
        rest = iter(tracers)
        return function(*(next(rest) if type(x) is _ndarray else x for x in inputs), **options)

    formula = _Formula(arrays, 0, call)
    if not formula.owns_results():
        raise Untraceable("a view, a copy or a constant, which NumPy gives at once")
    formula.compile()
    return formula


def _record_update(formula: Callable[..., Any], changed: Any, given: Any, numbers: Any) -> _Formula:
    arrays = [*changed, *given]
    places = iter(range(len(numbers)))
    scalars = [None if x is None else _Number(x, next(places)) for x in numbers]

    def call(tracers: list[Tracer]) -> Any:
        rest = iter(tracers)
        return formula(*(None if x is None else next(rest) for x in arrays), *scalars)

    made = _Formula([x for x in arrays if x is not None], len(numbers), call)
    targets = iter(made.arguments)
    held = [None if x is None else next(targets) for x in changed]
    made.compile([(to, new) for to, new in zip(held, made.results, strict=True) if to is not None and new is not None])
    made.results, made.single = [], False
    return made


def _after_fork() -> None:
    """In a forked process nobody holds a lock any more."""
    global _lock, _running
    _lock, _running = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
