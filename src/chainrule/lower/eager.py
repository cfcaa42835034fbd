"""Runs the formulas of some eager operations and optimizers on large arrays as small compiled programs.

NumPy makes a pass over whole arrays for each step of a formula. Here the formula is recorded and fused once for each
signature of arguments, and run as a program; the machine code of its loops serves all shapes. Whether a formula is
compiled does not depend on the elements, so that repeated computations give bitwise identical results.

`ops.operation` calls `should_compile` and `compute` for operations with `fused=True`; optimizers and others call
`update`.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import machine, team
from chainrule.kernels.processor import CannotCompileError
from chainrule.lower.graph import INPUT_KINDS, Value, base_of, exact_key, is_readable_in_place
from chainrule.lower.program import Program
from chainrule.lower.recorder import Recorder
from chainrule.lower.schedule import plan
from chainrule.lower.tracer import Scalar, Tracer, Untraceable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

LARGE = 16_384
"""An operation with `fused=True` runs as a program if an input has at least this many elements."""
MAX_PROGRAMS = 512
"""How many programs are cached, some 15 KB each. If there are more, the least recently used is dropped."""
MAX_NUMPY_UPDATE = 500
"""`update` leaves arrays of at most this many elements to NumPy."""

_lock = threading.RLock()  # guards the variables below, and the memory that all programs share
_is_running = False  # whether the thread that holds the lock runs a program
_programs: OrderedDict[Any, _FormulaProgram | None] = OrderedDict()  # None: the formula is left to NumPy
_arena = np.empty(0, np.uint8)
_ndarray = np.ndarray


def _allocate_arena(size: int) -> NDArray[np.uint8]:
    """Memory for intermediate results. The programs of this module share it, because they run one after the other."""
    global _arena
    if _arena.size < size:
        _arena = np.empty(max(size, 2 * _arena.size), np.uint8)
    return _arena


class _ScalarArgument(Scalar):
    """A scalar argument of the formula; `index` is its index among the program's scalars."""

    __slots__ = ("index",)

    def __init__(self, value: float, index: int) -> None:
        super().__init__(value)
        self.index = index


class _Recorder(Recorder):
    """Records a formula whose arguments are arrays and scalars."""

    def scalar_index(self, scalar: Any) -> int:
        return int(scalar.index)


class _FormulaProgram:
    """A formula's program.

    Attributes:
        arguments: the values that stand for the arguments.
        values: all values of the graph.
        results: the values of everything that the formula returns, in order; None where it returns None.
        is_single: whether the formula returns one result rather than a tuple.
        argument_indices: for each result that is an argument, by the result's index: the argument's index.
        program: the compiled program; set by `compile`.
        outputs: the values for which each run allocates memory; set by `compile`.
    """

    def __init__(self, arrays: Sequence[NDArray[Any]], scalar_count: int, function: Callable[..., Any]) -> None:
        """Record a call of `function`, which takes a list with a Tracer for each array.

        Raises:
            Untraceable: the formula depends on values.
        """
        recorder = _Recorder()
        arguments = [Value("argument", None, (), array) for array in arrays]
        recorder.values += arguments
        tracers = [Tracer(recorder, value) for value in arguments]
        outcome = function(tracers)
        self.is_single = not isinstance(outcome, tuple)
        results = [None if x is None else recorder.as_tracer(x) for x in ((outcome,) if self.is_single else outcome)]
        recorder.has_ended = True
        self.results = [None if x is None else x._value for x in results]
        self.argument_indices = {index: i for index, x in enumerate(results) for i, t in enumerate(tracers) if x is t}
        self.values, self.arguments, self.scalar_count = recorder.values, arguments, scalar_count

    def owns_results(self) -> bool:
        """Whether there are results besides arguments, and each of them is computed, in memory of its own."""
        bases = [
            base_of(x) for index, x in enumerate(self.results) if x is not None and index not in self.argument_indices
        ]
        are_distinct = len({id(x) for x in bases}) == len(bases)
        return bool(bases) and are_distinct and not any(x.kind in INPUT_KINDS for x in bases)

    def compile(self, writes: Sequence[tuple[Value, Value]] = ()) -> None:
        """Compile the program. With `writes`, pairs (argument, the result to store in it), it has no outputs.

        Raises:
            CannotCompileError: LLVM cannot be used.
        """
        results = [value for index, value in enumerate(self.results) if index not in self.argument_indices]
        self.outputs = outputs = [] if writes else [value for value in results if value is not None]
        schedule = plan(self.values, outputs, writes)
        self.program = Program(schedule, self.scalar_count, [], self.arguments, outputs, allocate_arena=_allocate_arena)
        for value in self.values:
            value.drop_data()

    def run(self, arrays: Sequence[NDArray[Any]], scalars: Sequence[float] = ()) -> Any:
        """Run the program and return its results: new arrays, and those results that are arguments as they are.

        The caller must hold the lock, and no other program of this module may be running, because they share memory.
        """
        global _is_running
        program = self.program
        _is_running = True
        try:
            for index, scalar in enumerate(scalars):
                program.scalars[index] = scalar
            for value in self.outputs:
                program.allocate_output(value)
            program.run(arrays)
            arguments = {index: arrays[argument_index] for index, argument_index in self.argument_indices.items()}
            results = [
                arguments[index] if index in arguments else None if value is None else program.array(value)
                for index, value in enumerate(self.results)
            ]
            program.release(self.outputs)
            return results[0] if self.is_single else tuple(results)
        finally:
            _is_running = False


def compute(function: Callable[..., Any], inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """A formula's result, computed by a program; NotImplemented if the formula must run in NumPy instead.

    Args:
        function: a formula in NumPy. It takes arrays and Python numbers, and returns an array or a tuple of arrays.
        inputs: its positional arguments.
        options: its keyword arguments.
    """
    if not machine.available():
        return NotImplemented
    arrays = [x for x in inputs if type(x) is _ndarray]
    try:
        key = (function, team.threads(), *map(_signature, inputs), *options, *map(exact_key, options.values()))
        hash(key)
    except TypeError:
        return NotImplemented
    with _lock:
        if _is_running:  # this thread is inside a program, which a signal handler or a __del__ method interrupted
            return NotImplemented
        program = _lookup(key, lambda: _record(function, inputs, options))
        return NotImplemented if program is None else program.run(arrays)


def should_compile(inputs: Sequence[Any]) -> bool:
    """Whether a formula of these inputs should run as a program, if possible."""
    return any(type(x) is _ndarray and x.size >= LARGE for x in inputs)


def update(formula: Callable[..., Any], changed: Sequence[Any], inputs: Sequence[Any], *scalars: float | None) -> None:
    """Update arrays in place, elementwise: changed[0][i], ... = formula(changed[0][i], ..., inputs[0][i], ...).

    Args:
        formula: a function in NumPy. It takes the arrays of `changed`, the arrays of `inputs`, then the scalars, and
            returns the new elements of `changed` as a tuple of arrays (even if there is only one). It must not combine
            scalars with each other, only with arrays, because arithmetic on scalars alone is not recorded.
        changed: arrays of one shape and floating type, or None.
        inputs: further arrays of that shape, which are only read, or None.
        scalars: numbers that may change from call to call, or None.
    """
    first = changed[0]
    if type(first) is _ndarray and first.size > MAX_NUMPY_UPDATE and machine.available() and _can_run(changed, inputs):
        arrays = [x for x in (*changed, *inputs) if x is not None]
        signatures = tuple(None if x is None else _signature(x) for x in (*changed, *inputs))
        key = (formula, team.threads(), len(changed), *signatures, *(x is None for x in scalars))
        with _lock:
            program = None if _is_running else _lookup(key, lambda: _record_update(formula, changed, inputs, scalars))
            if program is not None:
                program.run(arrays, [x for x in scalars if x is not None])
                return
    for old, new in zip(changed, formula(*changed, *inputs, *scalars), strict=True):
        if old is not None:
            old[...] = new


def _can_run(changed: Sequence[Any], inputs: Sequence[Any]) -> bool:
    """Whether kernels can read all arrays in place, and write the changed ones, which share no memory with inputs."""
    changed, inputs = ([x for x in arrays if x is not None] for arrays in (changed, inputs))
    return all(map(is_readable_in_place, (*changed, *inputs))) and all(
        (x.flags.carray or x.T.flags.carray) and not any(np.may_share_memory(x, y) for y in inputs) for x in changed
    )


def _signature(x: Any) -> Any:
    """The part of a program's key for one argument: an array's shape, strides and type, or any other object's value.

    Raises:
        TypeError: kernels cannot read the array in place.
    """
    if type(x) is _ndarray:
        if not is_readable_in_place(x):
            raise TypeError("eager.compute: kernels cannot read the array in place (see is_readable_in_place)")
        return x.shape, x.strides, x.dtype
    return exact_key(x)


def _lookup(key: Any, record: Callable[[], _FormulaProgram]) -> _FormulaProgram | None:
    """The program for a key, from the cache or from `record`.

    None if the formula cannot be recorded or compiled, or is better left to NumPy.
    """
    if key in _programs:
        _programs.move_to_end(key)
        return _programs[key]
    program: _FormulaProgram | None = None
    try:
        program = record()
    except Untraceable:
        pass
    except CannotCompileError as error:
        machine.warn_and_fall_back(error, key[0].__name__)
    _programs[key] = program
    if len(_programs) > MAX_PROGRAMS:
        _programs.popitem(last=False)
    return program


def _record(function: Callable[..., Any], inputs: Sequence[Any], options: Mapping[str, Any]) -> _FormulaProgram:
    """Record and compile a formula for inputs with these signatures."""
    arrays = [x for x in inputs if type(x) is _ndarray]

    def call(tracers: list[Tracer]) -> Any:
        remaining_tracers = iter(tracers)
        return function(*(next(remaining_tracers) if type(x) is _ndarray else x for x in inputs), **options)

    program = _FormulaProgram(arrays, 0, call)
    if not program.owns_results():
        raise Untraceable("a view, a copy or a constant, which NumPy returns at once")
    program.compile()
    return program


def _record_update(formula: Callable[..., Any], changed: Any, inputs: Any, scalars: Any) -> _FormulaProgram:
    """Record and compile a formula whose results are written into `changed`."""
    arrays = [*changed, *inputs]
    indices = iter(range(len(scalars)))
    scalar_arguments = [None if x is None else _ScalarArgument(x, next(indices)) for x in scalars]

    def call(tracers: list[Tracer]) -> Any:
        remaining_tracers = iter(tracers)
        return formula(*(None if x is None else next(remaining_tracers) for x in arrays), *scalar_arguments)

    program = _FormulaProgram([x for x in arrays if x is not None], len(scalars), call)
    arguments = iter(program.arguments)
    targets = [None if x is None else next(arguments) for x in changed]
    pairs = zip(targets, program.results, strict=True)
    program.compile([(target, new) for target, new in pairs if target is not None and new is not None])
    program.results, program.is_single = [], False  # `run` returns an empty tuple
    return program


def _after_fork() -> None:
    """Replace the lock, which a thread of the parent process may have held: that thread does not exist in the child."""
    global _lock, _is_running
    _lock = threading.RLock()
    _is_running = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
