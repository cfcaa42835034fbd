"""`jit`: a function that is traced once for each kind of arguments and from then on run as a compiled program."""

from __future__ import annotations

import copy
import functools
import os
import threading
import weakref
from dataclasses import dataclass
from traceback import walk_tb
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.capture import report
from chainrule.capture.frames import user_line, warn, where
from chainrule.capture.guards import DictEntries, ListEntries, format_value
from chainrule.capture.observe import has_tracer
from chainrule.capture.settings import Number, UnsettledError
from chainrule.capture.trace import GRADIENT, Trace
from chainrule.errors import CaptureError, check, type_name
from chainrule.kernels import team
from chainrule.kernels.driver import DONE
from chainrule.kernels.machine import available, warn_and_fall_back
from chainrule.kernels.processor import CannotCompileError, KernelRefusedError
from chainrule.lower.graph import Value, dense, exact
from chainrule.lower.program import Program
from chainrule.lower.schedule import plan
from chainrule.lower.tracer import Tracer, Untraceable
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


PROGRAMS_PER_SIGNATURE = 4
"""So many programs are kept for the same shapes, for modules that go back and forth between two states, say."""


MIN_SIGNATURES, MAX_PROGRAM_BYTES = 4, 1 << 28
"""So many shapes have programs, the latest ones, and more as long as their memory is not more than this."""


COMPILATIONS_BEFORE_WARNING = 8
"""After so many compilations in a row, or in one call of five over a longer time, there is a warning."""
_COMPILATION_WEIGHT = 4  # of a compilation; a call that needs none cools by 1


_ndarray = np.ndarray


P = ParamSpec("P")
MethodP = ParamSpec("MethodP")
Out = TypeVar("Out")


class Compiled(Generic[P, Out]):
    """A compiled function; see `jit`.

    Attributes:
        function: as it was given.
        programs: what has been compiled, by the kinds of arguments.
    """

    def __init__(self, function: Callable[P, Out]) -> None:
        self.function = function
        self.programs: dict[Any, list[Specialization]] = {}
        self.retrace_reason: str | None = None  # what the last trace did that no program can do again
        self.is_rejected = False  # LLVM does not take a loop of it, so it runs as it is
        self.last_signature: Any = None  # the kinds of arguments of the last call that a program ran
        self.compilation_score = 0  # how often it was compiled of late
        self.warned = False
        self.lock = threading.RLock()  # a program has one memory, so it runs for one thread at a time
        self.running = False  # by the thread that holds the lock
        functools.update_wrapper(self, function, updated=())
        _all.add(self)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: Compiled[Concatenate[Any, MethodP], Out], instance: object, owner: Any = None
    ) -> Callable[MethodP, Out]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a class attribute it is a method."""
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *arguments: P.args, **options: P.kwargs) -> Out:
        """Run the function: traced the first time, by its compiled program from then on."""
        # inside another compiled function it is a part of that; and anomalies are looked for line by line
        if mode.trace is not None or mode.anomaly is not None or self.is_rejected or not available():
            return self.function(*arguments, **options)
        arrays: list[Any] = []
        kinds = [_key(x, arrays) for x in arguments]
        key = (*kinds, _key(options, arrays) if options else None, bool(mode.recording), team.threads())
        with self.lock:
            if self.running:  # a signal's handler, or an object's __del__, has interrupted it
                return self.function(*arguments, **options)
            self.running = True
            try:
                for specialization in self.programs.get(key, ()):
                    if specialization.guards.hold():
                        if self.compilation_score:
                            self.compilation_score -= 1
                        self.last_signature = key
                        return specialization(arrays)  # type: ignore[no-any-return]  # what the function returned
                reason = self._reason(key, arguments, options)
                try:
                    return self._trace_and_run(key, arguments, options, arrays)  # type: ignore[no-any-return]
                finally:
                    self._count_compilation(reason)
            finally:
                self.running = False

    def _reason(self, key: Any, arguments: Any, options: Any) -> str:
        """Why no program applies."""
        if self.retrace_reason is not None:
            return self.retrace_reason
        programs = self.programs.get(key)
        if programs:
            return programs[0].guards.broken() or "something else has changed"
        values = ", ".join(
            [*map(format_value, arguments), *(f"{name}={format_value(value)}" for name, value in options.items())]
        )
        return f"its arguments are new: {values}" if values else "it has not been compiled before"

    def _count_compilation(self, reason: str) -> None:
        """It has been compiled once more."""
        self.compilation_score += _COMPILATION_WEIGHT
        if self.compilation_score > COMPILATIONS_BEFORE_WARNING * _COMPILATION_WEIGHT and not self.warned:
            self.warned = True
            warn(
                f"jit: {_name(self.function)} is compiled in nearly every call, which is slower than not to compile "
                f"it; the last time because {reason}. What changes from call to call should be a Tensor among the "
                f"arguments, be changed in place, or stay outside"
            )

    def _trace_and_run(self, key: Any, arguments: Any, options: Any, arrays: list[Any]) -> Any:
        """Record the call, compile what was recorded, and run that."""
        trace = Trace()
        argument_values: list[Value] = []
        constants: list[Any] = []  # arguments that are no arrays
        outputs: list[Tracer] = []

        def traced(x: Any) -> Any:
            if not isinstance(x, (Tensor, np.ndarray)):
                constants.append(x)
                return x
            if isinstance(x, Tensor) and x.requires_grad and mode.recording:
                raise CaptureError(
                    f"jit: an argument of shape {x.shape} requires gradients: give its detach(), or let the function "
                    f"see it as a variable from outside{where()}"
                )
            value = Value("argument", None, (), dense(arrays[len(argument_values)]))
            trace.values.append(value)
            argument_values.append(value)
            return trace.argument(value, isinstance(x, Tensor) and x.requires_grad)

        def output(x: Any) -> Any:
            if isinstance(x, np.ndarray):
                raise trace.capture_error(
                    "an array is returned, with the values of the first call for ever: return a Tensor"
                )
            if isinstance(x, (list, tuple, dict)):
                return _Constant(x)
            if type(x) is Number:
                return _NumberRef(trace.glue.slot(x), type(x.value))
            if not isinstance(x, Tensor):
                return x
            outputs.append(trace.lift(x))
            return _TensorRef(len(outputs) - 1)

        specialization = self.retrace_reason = None
        recording = mode.recording, mode.anomaly
        positional, named = _map_tree(arguments, traced), _map_tree(options, traced)
        containers = [
            (x, DictEntries(x) if isinstance(x, dict) else ListEntries(x)) for x in _containers((positional, named))
        ]
        constants.extend(name for x, _ in containers if isinstance(x, dict) for name in x)
        observer = trace.observer

        def is_external_container(x: Any) -> bool:
            """Whether a list or dict is from outside, and returned as it is."""
            return observer.is_external(x) and not has_tracer(x)

        try:
            trace.begin()
            observer.start(self.function, constants)
            mode.trace = trace
            result = self.function(*positional, **named)
            trace.returned = f"{_name(self.function)}: "
            structure = _map_tree(result, output, is_external_container)
            observer.finish()
            if any(not entries.unchanged(container) for container, entries in containers):
                raise trace.capture_error(
                    "a list or dict among the arguments is changed, which the caller would not see: return it instead"
                )
            if (mode.recording, mode.anomaly) != recording:
                trace.refuse("set_grad_enabled() or the like without `with`")
            assigned = [
                (target, _Constant(value) if observer.is_fixed(value) else _map_tree(value, output))
                for target, _, value, _ in observer.assignments()
            ]
            self.retrace_reason = observer.retrace_reason()
            if trace.error is not None:  # the function has caught it
                raise trace.error
            specialization = Specialization(trace, argument_values, outputs, structure, assigned)
        except UnsettledError:
            self.retrace_reason = "an optimizer makes new state in it, so that it runs eagerly"
        except Untraceable as error:
            raise CaptureError(f"jit: {error}, which a compiled function cannot know{_line(error)}") from error
        finally:
            mode.trace = None
            mode.recording, mode.anomaly = recording
            observer.stop()
            trace.restore()
            if specialization is None:
                trace.undo_state_creation()
            observer.undo(failed=specialization is None)
        if specialization is None:
            return _map_tree(self.function(*arguments, **options), _detached_copy)
        try:
            specialization.compile()
            result = specialization(arrays)
        except CannotCompileError as error:
            self.is_rejected = isinstance(error, KernelRefusedError)
            warn_and_fall_back(error, _name(self.function))
            trace.restore()
            observer.undo(failed=True)
            return self.function(*arguments, **options)
        except Exception:  # an argument that is refused by the run itself, an index out of range
            trace.undo_state_creation()
            raise
        if self.retrace_reason is None:
            if self.last_signature in self.programs:  # so that a shape in use is not the oldest
                self.programs[self.last_signature] = self.programs.pop(self.last_signature)
            programs = self.programs.setdefault(key, [])
            programs.insert(0, specialization)
            del programs[PROGRAMS_PER_SIGNATURE:]
            self._forget_oldest()
        return result

    def _forget_oldest(self) -> None:
        """Keep the programs' memory within bounds."""
        while (
            len(self.programs) > MIN_SIGNATURES
            and sum(s.nbytes for group in self.programs.values() for s in group) > MAX_PROGRAM_BYTES
        ):
            del self.programs[next(iter(self.programs))]

    def explain(self, code: bool = False, guards: bool = False) -> str:
        """The programs that have been compiled, as tables of their stages with shapes, arithmetic, memory and time.

        Args:
            code: give their loops instead, as Python.
            guards: list instead what each depends on: where one of that has changed, another program is made.
        """
        specializations = [specialization for group in self.programs.values() for specialization in group]
        if not specializations:
            return "nothing is compiled before the first call"
        if guards:
            return "\n\n".join(str(specialization.guards) for specialization in specializations)
        programs = [specialization.program for specialization in specializations]
        return "\n\n".join(program.code if code else report.explain(program) for program in programs)


class _TensorRef(int):
    """Stands for a Tensor in what the function returned."""


@dataclass(frozen=True)
class _Constant:
    """Something that the function assigned that is the same in all runs."""

    value: Any


@dataclass(frozen=True)
class _NumberRef:
    """Stands for a number of the optimizer in what the function returned: where the program has it, and its type."""

    slot: int
    kind: type


class Specialization:
    """One program with what belongs to it: outputs to copy, gradients to hang onto leaves, checks that it applies."""

    program: Program

    def __init__(
        self,
        trace: Trace,
        argument_values: Sequence[Value],
        outputs: Sequence[Tracer],
        structure: Any,
        assigned: Sequence[tuple[str, Any]],
    ) -> None:
        self.trace, self.argument_values, self.structure = trace, argument_values, structure
        self.guards = trace.glue.guards
        self.outcome = trace.finished(outputs)
        self.outputs, self.gradients = self.outcome.outputs, self.outcome.gradients
        self._add_guards_and_epilogue()
        for target, value in assigned:
            glue = trace.glue
            fixed = type(value) is _Constant
            code = glue.name(value.value) if fixed else f"{glue.name(functools.partial(self._result, value))}()"
            glue.after.append(f"{target} = {code}")

    def _add_guards_and_epilogue(self) -> None:
        """Record what Python has to look at before each run, and to do after it."""
        trace, glue, guards = self.trace, self.trace.glue, self.guards
        for ref, array, node in trace.tensors.values():
            tensor, what = ref(), f"a tensor of shape {array.shape}"
            if tensor is not None and trace.observer.is_external(tensor):
                name, what, held = glue.name(tensor), trace.observer.label(tensor), ""
            else:
                name, held = "_t", f"(_t := {glue.name(ref)}()) is not None and "
            guards.add(f"{held}{name}._data is {glue.name(array)}", what, "has the same memory")
            requires = "requires gradients" if node else "requires none"
            guards.add(f"{held}{name}._node is {glue.name(node)}", what, requires)
        for leaf in trace.leaves.values():
            name, hooks = glue.name(leaf), tuple(leaf.hooks or ())
            code = f"tuple({name}.hooks or ()) == {hooks}" if hooks else f"not {name}.hooks"
            guards.add(code, f"a tensor of shape {leaf.shape}", "has its hooks")
        for optimizer, position, state in trace.optimizer_states:  # another state may be loaded
            what = f"{trace.observer.label(optimizer)}.state[{position}]"
            guards.same(f"{glue.name(optimizer)}.state.get({position})", what, state)
        for state, key, array in trace.state_arrays.values():
            guards.same(f"{glue.name(state)}.get({key!r})", f"{trace.mappings[id(state)].label}[{key!r}]", array)
        with_grad = {id(leaf) for leaf, _ in self.gradients}
        leaves = list(trace.leaves_without_grad.values())
        leaves += [
            leaf for leaf, _ in self.gradients if id(leaf) not in {**trace.assigned_grads, **trace.leaves_without_grad}
        ]
        glue.clean += [f"{glue.name(leaf)}.deferred_grad is None and {glue.name(leaf)}.grad is None" for leaf in leaves]
        self.leaves_without_grad = leaves
        for leaf, value in self.gradients:
            gradient = glue.name(functools.partial(self._gradient, value))
            glue.after.append(f"{glue.name(leaf)}.deferred_grad = {gradient}")
        glue.after += [
            f"{glue.name(leaf)}.grad = None" for leaf, _ in trace.assigned_grads.values() if id(leaf) not in with_grad
        ]
        glue.after += [f"{glue.name(version)}[0] += 1" for version in trace.versions]

    def compile(self) -> None:
        """Make the program."""
        trace = self.trace
        outcome, glue = self.outcome, trace.glue
        results = [*self.outputs, *(value for _, value in self.gradients), *outcome.checks]
        results += [value for _, values in outcome.updates for value in values]
        schedule = plan(trace.values, results, outcome.writes)
        self.program = Program(schedule, len(glue.slots), glue.indices, self.argument_values, results, outcome.changed)
        self.updates = outcome.updates
        self.guards.compile()
        self.clean, self.prepare, self.remember = trace.glue.functions()
        for value in trace.values:  # examples have done their duty: only their shapes and strides are asked for
            value.drop_data()

    @property
    def nbytes(self) -> int:
        """What the program keeps in memory: its own, and the arguments of the last run."""
        return self.program.memory.nbytes + sum(value.example.nbytes for value in self.argument_values)

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> Any:
        """Run the program."""
        if not self.clean():
            shape = next(leaf.shape for leaf in self.leaves_without_grad if leaf.grad is not None)
            raise CaptureError(f"jit: {GRADIENT.format(shape)}{where()}")
        program = self.program
        new = self.prepare(program.numbers)
        before = program.table_view[DONE]
        try:
            program.run(arrays)
        finally:  # an interrupt may come after the run, or halfway
            done = program.table_view[DONE] - before
            if done == program.steps:
                for update, values in self.updates:
                    update(*map(program.array, values))
                self.remember(new)
            elif done:
                self._discard_gradients()
        return self._result(self.structure)

    def _result(self, structure: Any) -> Any:
        """What the function returned or assigned, with the numbers of the last run."""
        if type(structure) is _TensorRef:
            return Tensor._wrap(self.program.array(self.outputs[structure]).copy())
        return _map_tree(structure, self._fill_leaf)

    def _fill_leaf(self, x: Any) -> Any:
        if type(x) is _Constant:
            return x.value
        if type(x) is _NumberRef:
            return x.kind(self.program.numbers[x.slot])
        return self._result(x) if type(x) is _TensorRef else x

    def _discard_gradients(self) -> None:
        """After half a run there are none, neither the old ones nor the new; and what changes in place has changed."""
        for leaf, _ in self.gradients:
            leaf.grad = None
        for version in self.trace.versions:
            version[0] += 1

    def _gradient(self, value: Value) -> Tensor:
        """A gradient of the last run, for somebody who asks."""
        return Tensor._wrap(self.program.array(value).copy())


def jit(function: Callable[P, Out]) -> Compiled[P, Out]:
    """Compile a function of Tensors, such as a step of training.

        step = chainrule.jit(train_step)
        loss = step(images, labels)

    The first call for each combination of shapes and types is traced, operation by operation; it and later calls run
    the compiled program: elementwise steps and reductions fused into single loops, memory planned, no Python between.
    Parameters, buffers, what optimizers remember and their settings are read and written where they are, so
    `state_dict`, schedules and checkpoints work as ever. Random draws (Dropout, `chainrule.randn`) are made anew by
    each call, from the same generator. Where nothing can be compiled, the function runs as it is, after one warning.

    **What it depends on.** Each variable from outside that the function reads, each attribute of modules, optimizers
    and other objects, and what the lists, dicts and sets among them hold is checked before a run, in some microseconds;
    `explain(guards=True)` lists it all. Where something has changed, such as a layer, a loss, a flag or a number, the
    function is traced again, and the program is kept for when that comes back. So a number that changes in each call
    belongs into a Tensor or into the optimizer's groups, which are read anew by each run. What the function assigns to
    variables and attributes outside is assigned by each run. A function that is compiled in nearly every call warns,
    and tells why.

    An array of NumPy that the function reads belongs to it, too: `from_numpy` makes a Tensor of its memory, which each
    run reads anew. One that becomes no Tensor may be computed with by NumPy, so its elements are compared before each
    run, some 0.03 ms for a megabyte; if such arrays have more than 16 MiB in all, no program is kept, and the warning
    says so. To ask for the `shape` or the `dtype` of a variable costs nothing.

    **Numbers.** Sums are made in another order than by NumPy. A function that changes tensors outside, such as a step
    of training, takes numbers below 10⁻³⁸ (float32), which have not all their digits, for 0 on processors that can,
    for they are slow to compute with.

    **What no guard can compare.** Where the function opens a file, asks for the time, reads variables by `globals()`,
    draws from `random`, goes on in an iterator from outside, or calls a method of an object of Python's own library,
    such as a queue, it is traced in each call, so that it does the same as ever; the warning says why.

    **What is done once for each program.** Printing, logging, writing to a file that is open, putting tensors into a
    list outside; reading attributes of objects that are written in C, such as their descriptors; what other packages
    read of variables of their own; what a function of `functools.cache` has kept; computing by NumPy with an array that
    is also made a Tensor of in the same call.

    Args:
        function: takes and returns Tensors, in tuples, lists and dicts if need be, and anything else. Arrays come to it
            as Tensors. Arguments that are neither are part of the combination, so each number has a program of its own.

    Returns:
        A function that does the same. What it returns carries no graph. Its `explain()` shows the programs.

    Raises:
        CaptureError: on a call, for what cannot be compiled: a Python branch on a value, a shape that depends on
            values, `print` or `item()` of a Tensor, a schedule's step, `manual_seed`, a hook that is registered, a
            layer that is replaced inside; with the line. Nothing has been changed then. Also for a gradient that is
            there from before, and would be added to: `zero_grad()` belongs inside.
            An argument that shares memory with what the function changes is refused, too, and so are two Tensors
            outside that share memory if one is changed: take the view inside.
        ValueError: memory that the function changes is read-only.
        TypeError: what is given is no function.
    """
    check("jit", callable(function), f"takes a function, not {type_name(function)}", TypeError)
    return Compiled(function)


def _name(function: Any) -> str:
    """What a function is called in messages."""
    return str(getattr(function, "__name__", type(function).__name__))


def _line(error: Untraceable) -> str:
    """The user's innermost line on the error's way."""
    return user_line([(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)])


def _key(x: Any, arrays: list[Any]) -> Any:
    """What distinguishes arguments that need another program; arrays are collected on the way."""
    requires_grad = False
    if isinstance(x, Tensor):
        array, requires_grad = x._data, x._node is not None
        if type(array) is not _ndarray:
            x._concrete("")  # which explains that the Tensor is lost
    elif isinstance(x, np.ndarray):
        array = from_numpy(x)._data  # in a type that Tensors have
    elif isinstance(x, (tuple, list, dict)):
        if getattr(x, "__dict__", None):
            raise CaptureError(
                f"jit: an argument of the type {type(x).__name__} has attributes besides its elements "
                f"({', '.join(vars(x))}), which a compiled function cannot see: pass them as arguments{where()}"
            )
        if isinstance(x, dict):
            return type(x), tuple([(exact(name), _key(value, arrays)) for name, value in x.items()])
        return type(x), tuple([_key(part, arrays) for part in x])
    else:
        key = exact(x)
        try:
            hash(key)
        except TypeError:
            raise CaptureError(
                f"jit: an argument of the type {type(x).__name__} cannot be told from others, for it has no hash: give "
                f"a tuple, or let the function see it as a variable from outside{where()}"
            ) from None
        return key
    arrays.append(array)
    return array.shape, array.dtype, requires_grad


def _detached_copy(x: Any) -> Any:
    """An output as a program gives it: in memory of its own, without the graph."""
    return Tensor._wrap(x._data.copy()) if isinstance(x, Tensor) else x


def _map_tree(x: Any, function: Callable[[Any], Any], is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The same nest of tuples, lists and dicts with every leaf replaced."""
    if is_leaf is not None and is_leaf(x):
        return function(x)
    if isinstance(x, (tuple, list)):
        parts = [_map_tree(part, function, is_leaf) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if isinstance(x, dict):
        entries = {key: _map_tree(value, function, is_leaf) for key, value in x.items()}
        if type(x) is dict:
            return entries
        result = copy.copy(x)  # keeps its type and, for example, its default for missing keys
        dict.update(result, entries)
        return result
    return function(x)


def _containers(x: Any) -> Iterator[Any]:
    """The lists and dicts inside a nest."""
    for part in x.values() if isinstance(x, dict) else x:
        if isinstance(part, (list, dict)):
            yield part
        if isinstance(part, (tuple, list, dict)):
            yield from _containers(part)


_all: weakref.WeakSet[Compiled[..., Any]] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked process nobody holds a lock any more."""
    for compiled in list(_all):
        compiled.lock, compiled.running = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
