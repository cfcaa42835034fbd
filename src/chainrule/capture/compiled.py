"""`jit`: traces a function once per signature, then runs it as a compiled program.

A call computes the signature of its arguments, looks for a specialization whose guards hold, and runs it. If there is
none, it traces the function (`trace`, `observe`), compiles the graph (`lower`) and keeps the specialization. This file
owns that decision, the specializations, and what they return; how operations are recorded is up to `trace`.
"""

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
from chainrule.capture.frames import at_user_line, user_line, warn
from chainrule.capture.guards import DictEntries, ListEntries, format_value
from chainrule.capture.observe import has_tracer
from chainrule.capture.settings import LazyStateError, OptimizerScalar
from chainrule.capture.trace import STALE_GRADIENT, Trace
from chainrule.errors import CaptureError, check, type_name
from chainrule.kernels import team
from chainrule.kernels.driver import PROGRESS
from chainrule.kernels.machine import available, warn_and_fall_back
from chainrule.kernels.processor import CannotCompileError, KernelRejectedError
from chainrule.lower.graph import Value, dense, exact_key, has_attributes
from chainrule.lower.program import Program
from chainrule.lower.schedule import plan
from chainrule.lower.tracer import Tracer, Untraceable
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


PROGRAMS_PER_SIGNATURE = 4
"""Specializations kept per signature, for example for a module that alternates between train and eval."""

MIN_SIGNATURES, MAX_PROGRAM_BYTES = 4, 1 << 28
"""Programs are kept for the latest MIN_SIGNATURES signatures, and for older ones while all programs together take no
more than MAX_PROGRAM_BYTES."""

COMPILATIONS_BEFORE_WARNING = 8
"""More than this many compilations in a row cause a warning; eventually, so does compiling more than one call in five.
"""
_COMPILATION_WEIGHT = 4  # a compilation adds this to the score, and a call without one subtracts 1

_ndarray = np.ndarray
_CONTAINERS = {tuple, list, dict}

P = ParamSpec("P")
MethodP = ParamSpec("MethodP")
Out = TypeVar("Out")


class Compiled(Generic[P, Out]):
    """A compiled function; see `jit`.

    Attributes:
        function: the original function.
        specializations: by signature, the most recently compiled signature last.
    """

    def __init__(self, function: Callable[P, Out]) -> None:
        self.function = function
        self.specializations: dict[Any, list[Specialization]] = {}
        self.retrace_reason: str | None = None  # why the last trace was not kept, or None
        self.is_rejected = False  # LLVM rejects one of its loops: it runs uncompiled
        self.last_signature: Any = None  # of the last call that ran a specialization
        self.compilation_score = 0  # how often recent calls were compiled
        self.warned = False
        self.lock = threading.RLock()  # a program has one memory: one thread at a time
        self.running = False  # in the thread that holds the lock
        functools.update_wrapper(self, function, updated=())
        _instances.add(self)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: Compiled[Concatenate[Any, MethodP], Out], instance: object, owner: Any = None
    ) -> Callable[MethodP, Out]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind to an instance, so that a compiled function can be a method."""
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *arguments: P.args, **options: P.kwargs) -> Out:
        """Run a specialization whose guards hold, or trace and compile the function."""
        # inside another compiled function, it becomes part of that function's trace; anomaly detection needs eager code
        if mode.trace is not None or mode.anomaly is not None or self.is_rejected or not available():
            return self.function(*arguments, **options)
        arrays: list[Any] = []
        parts = [_signature(x, arrays) for x in arguments]
        signature = (*parts, _signature(options, arrays) if options else None, bool(mode.recording), team.threads())
        with self.lock:
            if self.running:  # called from a signal handler or a __del__ method during a run
                return self.function(*arguments, **options)
            self.running = True
            try:
                for specialization in self.specializations.get(signature, ()):
                    if specialization.guards.hold():
                        if self.compilation_score:
                            self.compilation_score -= 1
                        self.last_signature = signature
                        return specialization(arrays)  # type: ignore[no-any-return]  # the type of the function's result
                reason = self._reason(signature, arguments, options)
                try:
                    return self._trace_and_run(signature, arguments, options, arrays)  # type: ignore[no-any-return]
                finally:
                    self._count_compilation(reason)
            finally:
                self.running = False

    def _reason(self, signature: Any, arguments: Any, options: Any) -> str:
        """Say why no specialization can run."""
        if self.retrace_reason is not None:
            return self.retrace_reason
        specializations = self.specializations.get(signature)
        if specializations:
            return specializations[0].guards.first_failure() or "something else has changed"
        values = ", ".join(
            [*map(format_value, arguments), *(f"{name}={format_value(value)}" for name, value in options.items())]
        )
        return f"its arguments are new: {values}" if values else "it was not compiled before"

    def _count_compilation(self, reason: str) -> None:
        """Update the score after a compilation; warn if the function is compiled too often."""
        self.compilation_score += _COMPILATION_WEIGHT
        if self.compilation_score > COMPILATIONS_BEFORE_WARNING * _COMPILATION_WEIGHT and not self.warned:
            self.warned = True
            warn(
                f"jit: {_name(self.function)} is compiled in nearly every call, which is slower than running it "
                f"uncompiled; the last time because {reason}. Pass values that change from call to call as Tensors, "
                f"change them in place, or keep them out of the function"
            )

    def _trace_and_run(self, signature: Any, arguments: Any, options: Any, arrays: list[Any]) -> Any:
        """Trace the call, compile the trace, run the program, and keep it if it can be reused."""
        trace = Trace()
        argument_values: list[Value] = []
        constants: list[Any] = []  # all other arguments
        outputs: list[Tracer] = []

        def to_tracer(x: Any) -> Any:
            if not isinstance(x, (Tensor, np.ndarray)):
                constants.append(x)
                return x
            if isinstance(x, Tensor) and x.requires_grad and mode.recording:
                raise CaptureError(
                    f"jit: an argument of shape {x.shape} requires gradients: pass its detach(), or let the function "
                    f"use it as a global or closure variable{at_user_line()}"
                )
            value = Value("argument", None, (), dense(arrays[len(argument_values)]))
            trace.values.append(value)
            argument_values.append(value)
            return trace.argument(value, isinstance(x, Tensor) and x.requires_grad)

        def to_placeholder(x: Any) -> Any:
            if isinstance(x, np.ndarray):
                raise trace.capture_error("an array is returned, which would be a constant: return a Tensor")
            if isinstance(x, (list, tuple, dict)):  # external: `_map_tree` goes into all others
                return _Constant(x)
            if type(x) is OptimizerScalar:
                return _ScalarRef(trace.glue.scalar_index(x), type(x.value))
            if not isinstance(x, Tensor):
                return x
            outputs.append(trace.lift(x))
            return _TensorRef(len(outputs) - 1)

        specialization = self.retrace_reason = None
        recording = mode.recording, mode.anomaly
        positional, named = _map_tree(arguments, to_tracer), _map_tree(options, to_tracer)
        containers = [
            (x, DictEntries(x) if isinstance(x, dict) else ListEntries(x)) for x in _containers((positional, named))
        ]
        constants.extend(name for x, _ in containers if isinstance(x, dict) for name in x)
        observer = trace.observer

        def is_external_container(x: Any) -> bool:
            """Whether an object is external and holds no Tensor of the trace, so that it is returned itself."""
            return observer.is_external(x) and not has_tracer(x)

        try:
            trace.begin()
            observer.start(self.function, constants)
            mode.trace = trace
            result = self.function(*positional, **named)
            trace.message_prefix = f"{_name(self.function)}: "
            structure = _map_tree(result, to_placeholder, is_external_container)
            observer.finish()
            if any(not entries.unchanged(container) for container, entries in containers):
                raise trace.capture_error(
                    "a list or dict among the arguments is changed, which the caller would not see: return it instead"
                )
            if (mode.recording, mode.anomaly) != recording:
                trace.refuse("set_grad_enabled() or the like, used without `with`,")
            assigned = [
                (target, _Constant(value) if observer.is_fixed(value) else _map_tree(value, to_placeholder))
                for target, _, value, _ in observer.assignments()
            ]
            self.retrace_reason = observer.find_retrace_reason()
            if trace.error is not None:  # the function has caught the error
                raise trace.error
            specialization = Specialization(trace, argument_values, outputs, structure, assigned)
        except LazyStateError:
            self.retrace_reason = "an optimizer creates new state in it, so it runs eagerly"
        except Untraceable as error:
            raise CaptureError(f"jit: this cannot be compiled: {error}{_line(error)}") from error
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
            self.is_rejected = isinstance(error, KernelRejectedError)
            warn_and_fall_back(error, _name(self.function))
            trace.restore()
            observer.undo(failed=True)
            return self.function(*arguments, **options)
        except Exception:  # raised by the run itself, for example because an index is out of range
            trace.undo_state_creation()
            raise
        if self.retrace_reason is None:
            if self.last_signature in self.specializations:  # so that a signature in use is not the oldest
                self.specializations[self.last_signature] = self.specializations.pop(self.last_signature)
            specializations = self.specializations.setdefault(signature, [])
            specializations.insert(0, specialization)
            del specializations[PROGRAMS_PER_SIGNATURE:]
            self._forget_oldest()
        return result

    programs = property(lambda self: self.specializations)  # the former name

    def _forget_oldest(self) -> None:
        """Drop the programs of the oldest signatures, to limit memory."""
        while (
            len(self.specializations) > MIN_SIGNATURES
            and sum(s.nbytes for group in self.specializations.values() for s in group) > MAX_PROGRAM_BYTES
        ):
            del self.specializations[next(iter(self.specializations))]

    def explain(self, code: bool = False, guards: bool = False) -> str:
        """Describe the compiled programs: a table of stages each, with shapes, arithmetic, memory and time.

        Args:
            code: return the loops as Python code instead.
            guards: return the guards of each program instead: if one of them fails, another program is compiled.
        """
        specializations = [specialization for group in self.specializations.values() for specialization in group]
        if not specializations:
            can_compile = available() and not self.is_rejected
            return "nothing is compiled " + ("before the first call" if can_compile else "here: it runs in NumPy")
        if guards:
            return "\n\n".join(str(specialization.guards) for specialization in specializations)
        programs = [specialization.program for specialization in specializations]
        return "\n\n".join(program.code if code else report.explain(program) for program in programs)


class _TensorRef(int):
    """Stands for a Tensor in the function's result: the index of the output."""


@dataclass(frozen=True)
class _Constant:
    """A value in the function's result, or one that it assigns, that is the same in all runs."""

    value: Any


@dataclass(frozen=True)
class _ScalarRef:
    """Stands for an optimizer's scalar in the function's result: its index in the program's scalars, and its type."""

    index: int
    kind: type


class Specialization:
    """One compiled program, its guards, its arguments and results, and the generated code around a run.

    Attributes:
        program: the compiled program.
        guards: the conditions under which it may run.
        structure: the function's result, with a `_TensorRef` for each Tensor, a `_ScalarRef` for each scalar.
        trace: the trace that it was compiled from.
        argument_values: the values that stand for the arguments.
        outcome: the results and side effects of the program.
        outputs: the values of the Tensors that the function returns.
        gradients: leaves and the values of their gradients.
        updates: functions that write external memory after a run, and the values that they get as arrays.
        leaves_without_grad: leaves whose .grad must be None before a run.
    """

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
        self.outcome = trace.finish(outputs)
        self.outputs, self.gradients = self.outcome.outputs, self.outcome.gradients
        self._add_guards_and_epilogue()
        for target, value in assigned:
            glue = trace.glue
            is_constant = type(value) is _Constant
            code = glue.name(value.value) if is_constant else f"{glue.name(functools.partial(self._result, value))}()"
            glue.epilogue.append(f"{target} = {code}")

    def _add_guards_and_epilogue(self) -> None:
        """Add the guards of Tensors and optimizer state, and the statements that run after the program."""
        trace, glue, guards = self.trace, self.trace.glue, self.guards
        for ref, array, node in trace.tensors.values():
            tensor, label = ref(), f"a tensor of shape {array.shape}"
            if tensor is not None and trace.observer.is_external(tensor):
                name, label, is_alive = glue.name(tensor), trace.observer.label(tensor), ""
            else:
                name, is_alive = "_t", f"(_t := {glue.name(ref)}()) is not None and "
            guards.add(f"{is_alive}{name}._data is {glue.name(array)}", label, "has the same memory")
            requirement = "requires gradients" if node else "requires no gradients"
            guards.add(f"{is_alive}{name}._node is {glue.name(node)}", label, requirement)
        for leaf in trace.leaves.values():
            name, hooks = glue.name(leaf), tuple(leaf.hooks or ())
            code = f"tuple({name}.hooks or ()) == {hooks}" if hooks else f"not {name}.hooks"
            guards.add(code, f"a tensor of shape {leaf.shape}", "has the same hooks")
        for optimizer, position, state in trace.optimizer_states:  # load_state_dict replaces it
            label = f"{trace.observer.label(optimizer)}.state[{position}]"
            guards.add_value(f"{glue.name(optimizer)}.state.get({position})", label, state)
        for state, key, array in trace.state_arrays.values():
            guards.add_value(f"{glue.name(state)}.get({key!r})", f"{trace.mappings[id(state)].label}[{key!r}]", array)
        with_grad = {id(leaf) for leaf, _ in self.gradients}
        leaves = list(trace.leaves_without_grad.values())
        leaves += [
            leaf for leaf, _ in self.gradients if id(leaf) not in {**trace.assigned_grads, **trace.leaves_without_grad}
        ]
        glue.grad_conditions += [
            f"{glue.name(leaf)}.deferred_grad is None and {glue.name(leaf)}.grad is None" for leaf in leaves
        ]
        self.leaves_without_grad = leaves
        for leaf, value in self.gradients:
            gradient = glue.name(functools.partial(self._gradient, value))
            glue.epilogue.append(f"{glue.name(leaf)}.deferred_grad = {gradient}")
        glue.epilogue += [
            f"{glue.name(leaf)}.grad = None" for leaf, _ in trace.assigned_grads.values() if id(leaf) not in with_grad
        ]
        glue.epilogue += [f"{glue.name(version)}[0] += 1" for version in trace.versions]

    def compile(self) -> None:
        """Compile the program, the guards and the glue."""
        trace = self.trace
        outcome, glue = self.outcome, trace.glue
        results = [*self.outputs, *(value for _, value in self.gradients), *outcome.checks]
        results += [value for _, values in outcome.updates for value in values]
        schedule = plan(trace.values, results, outcome.writes)
        scalar_count, arguments = len(glue.scalar_indices), self.argument_values
        self.program = Program(schedule, scalar_count, glue.index_checks, arguments, results, outcome.changed)
        self.updates = outcome.updates
        self.guards.compile()
        self.grads_are_none, self.compute_scalars, self.store = glue.functions()
        for value in trace.values:  # from now on only their shapes and strides are needed
            value.drop_data()

    @property
    def nbytes(self) -> int:
        """The memory that the program keeps in use, in bytes, including the arguments of the last run."""
        return self.program.memory.nbytes + sum(value.example.nbytes for value in self.argument_values)

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> Any:
        """Run the program."""
        if not self.grads_are_none():
            shape = next(leaf.shape for leaf in self.leaves_without_grad if leaf.grad is not None)
            raise CaptureError(f"jit: {STALE_GRADIENT.format(shape)}{at_user_line()}")
        program = self.program
        pending = self.compute_scalars(program.scalars_view)
        initial_progress = program.table_view[PROGRESS]
        try:
            program.run(arrays)
        finally:  # also after an interrupt, which may come after the run or during it
            progress = program.table_view[PROGRESS] - initial_progress
            if progress == program.progress_per_run:
                for update, values in self.updates:
                    update(*map(program.array, values))
                self.store(pending)
            elif progress:
                self._discard_gradients()
        return self._result(self.structure)

    def _result(self, structure: Any) -> Any:
        """Return the function's result, or a value that it assigns, with the Tensors and scalars of the last run."""
        if type(structure) is _TensorRef:
            return Tensor._wrap(self.program.array(self.outputs[structure]).copy())
        return _map_tree(structure, self._fill_placeholder)

    def _fill_placeholder(self, x: Any) -> Any:
        if type(x) is _Constant:
            return x.value
        if type(x) is _ScalarRef:
            return x.kind(self.program.scalars_view[x.index])
        return self._result(x) if type(x) is _TensorRef else x

    def _discard_gradients(self) -> None:
        """After an interrupted run, clear the gradients and increment the versions of the changed Tensors.

        The elements of both are undefined.
        """
        for leaf, _ in self.gradients:
            leaf.grad = None
        for version in self.trace.versions:
            version[0] += 1

    def _gradient(self, value: Value) -> Tensor:
        """Return a copy of a gradient of the last run. Called when the user first reads the gradient."""
        return Tensor._wrap(self.program.array(value).copy())


def jit(function: Callable[P, Out]) -> Compiled[P, Out]:
    """Compile a function of Tensors, such as a training step.

        step = chainrule.jit(train_step)
        loss = step(images, labels)

    **What it does.** The first call for each combination of argument shapes and types traces the function: it records
    each operation, including gradients and optimizer updates. This call and later ones run the compiled program, which
    fuses elementwise operations and reductions into single loops, plans memory, and runs without Python in between.
    Parameters, buffers, and the state and options of optimizers are read and written where they are, so `state_dict`,
    schedulers and checkpoints work as without `jit`. Each call draws new random numbers (Dropout, `chainrule.randn`),
    from the same generator as without `jit`. On machines where nothing can be compiled, the function runs uncompiled,
    after one warning.

    **What a program depends on.** Guards are checked before each run, which takes a few microseconds. They cover each
    outside variable (global or closure variable) that the function reads, each attribute that it reads of modules,
    optimizers and other objects, and the contents of the lists, dicts and sets among them; `explain(guards=True)` lists
    them all. If something has changed, such as a layer, a loss, a flag or a number, the function is traced again; the
    earlier program is kept for when the old value returns. A number that changes in each call should therefore be a
    Tensor or an option in the optimizer's groups, which each run reads again. Each run also assigns the variables and
    attributes that the function assigns outside. A function that is compiled in nearly every call causes a warning that
    says why.

    NumPy arrays that the function reads are dependencies too. `from_numpy` turns one into a Tensor of the same memory,
    which each run reads again. The elements of any other array are compared before each run, since the function may
    compute with them in NumPy: about 0.03 ms per megabyte. If such arrays exceed 16 MiB in total, no program is kept,
    and the warning says so. Reading the `shape` or `dtype` of a variable is free.

    **Numbers.** Sums are accumulated in another order than in NumPy. In a function that changes outside Tensors, such
    as a training step, subnormal numbers (below 10⁻³⁸ in float32) are treated as 0 on processors that support it,
    because they are slow to compute with.

    **What is traced in each call.** Some results cannot be checked by a guard. A function is traced in each call, so
    that it behaves as without `jit`, if it opens a file, reads the clock, reads variables through `globals()`, draws
    from `random`, advances an outside iterator, changes an outside list, dict or set (other than by adding Tensors), or
    calls a method of a standard-library object such as a queue. The warning about frequent compilation says why.

    **What runs once per program.** Side effects: printing, logging, writing to an open file, and appending Tensors to
    an outside list. Reads that no guard covers: attributes of objects implemented in C, and variables of other
    packages, read by these packages. Cached results of `functools.cache`. Computing in NumPy with an array that the
    same call also turns into a Tensor.

    Args:
        function: takes and returns Tensors, also in tuples, lists and dicts, and any other objects. Array arguments
            become Tensors. All other arguments are constants of the program: each new number or object needs another
            program.

    Returns:
        A function that does the same. Its results have no graph. Its method `explain()` describes the programs.

    Raises:
        CaptureError: when called, if the function cannot be compiled; the message names the line, and nothing has
            changed. The function must not branch on a value, compute a shape from values, call `print` or `item()` on
            a Tensor, step a scheduler, call `manual_seed`, register a hook or replace a layer.
            It is also raised if the call would add to a gradient from before it (call `zero_grad()` inside the
            function), if an argument shares memory with something that the function changes, or if two outside Tensors
            share memory and one of them is changed (create the view inside the function).
        ValueError: memory that the function changes is read-only.
        TypeError: `function` is not callable.
    """
    check("jit", callable(function), f"takes a function, not {type_name(function)}", TypeError)
    return Compiled(function)


def _name(function: Any) -> str:
    """Return the name of a function, for messages."""
    return str(getattr(function, "__name__", type(function).__name__))


def _line(error: Untraceable) -> str:
    """Return the innermost user line in the traceback of an error."""
    return user_line([(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)])


def _signature(x: Any, arrays: list[Any]) -> Any:
    """Return the signature of an argument: what must be equal for a program to be reused.

    Args:
        x: the argument.
        arrays: the arrays in it are appended here.
    """
    requires_grad = False
    if isinstance(x, Tensor):
        array, requires_grad = x._data, x._node is not None
        if type(array) is not _ndarray:
            x._concrete("")  # raises LeakedTracerError
    elif isinstance(x, np.ndarray):
        array = from_numpy(x)._data  # converted to a type that Tensors support
    elif isinstance(x, (tuple, list, dict)):
        if type(x) not in _CONTAINERS and has_attributes(x):
            raise CaptureError(
                f"jit: an argument of type {type(x).__name__} has attributes besides its elements, which jit does not "
                f"see: pass them as arguments{at_user_line()}"
            )
        if isinstance(x, dict):
            entries = tuple([(exact_key(name), _signature(value, arrays)) for name, value in x.items()])
            return type(x), entries, exact_key(getattr(x, "default_factory", None))  # of a defaultdict
        return type(x), tuple([_signature(part, arrays) for part in x])
    else:
        key = exact_key(x)
        try:
            hash(key)
        except TypeError:
            raise CaptureError(
                f"jit: an argument of type {type(x).__name__} is not hashable, so later calls could not be told apart: "
                f"pass a tuple, or let the function use it as a global or closure variable{at_user_line()}"
            ) from None
        return key
    arrays.append(array)
    return array.shape, array.dtype, requires_grad


def _detached_copy(x: Any) -> Any:
    """Return an output as a program returns it: a copy without the graph."""
    return Tensor._wrap(x._data.copy()) if isinstance(x, Tensor) else x


def _map_tree(x: Any, function: Callable[[Any], Any], keep_whole: Callable[[Any], bool] | None = None) -> Any:
    """Apply a function to the elements of nested tuples, lists and dicts; `keep_whole` selects containers to keep."""
    if keep_whole is not None and keep_whole(x):
        return function(x)
    if isinstance(x, (tuple, list)):
        parts = [_map_tree(part, function, keep_whole) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if isinstance(x, dict):
        entries = {key: _map_tree(value, function, keep_whole) for key, value in x.items()}
        if type(x) is dict:
            return entries
        result = copy.copy(x)  # keeps its type and, for example, its default for missing keys
        dict.update(result, entries)
        return result
    return function(x)


def _containers(x: Any) -> Iterator[Any]:
    """Yield the lists and dicts inside nested containers."""
    for part in x.values() if isinstance(x, dict) else x:
        if isinstance(part, (list, dict)):
            yield part
        if isinstance(part, (tuple, list, dict)):
            yield from _containers(part)


_instances: weakref.WeakSet[Compiled[..., Any]] = weakref.WeakSet()


def _after_fork() -> None:
    """Reset the locks in a forked process: the threads that held them do not exist there."""
    for compiled in list(_instances):
        compiled.lock, compiled.running = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
