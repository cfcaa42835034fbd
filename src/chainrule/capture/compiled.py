"""`jit`: traces a function, and runs the compiled trace in later calls.

A call computes the signature of its arguments, looks for a specialization whose guards hold, and runs it. If there is
none, the call traces the function (`trace`, `observe`), compiles the graph (`lower`), runs the specialization and keeps
it. This file makes that decision, and puts together what a run returns; `trace` records the operations.
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
from chainrule.capture.optimizer_state import OptimizerScalar, UncompilableStateError
from chainrule.capture.trace import STALE_GRADIENT, Trace
from chainrule.errors import CaptureError, check, type_name
from chainrule.kernels import team
from chainrule.kernels.driver import PROGRESS
from chainrule.kernels.machine import available, warn_and_fall_back
from chainrule.kernels.processor import CannotCompileError, KernelRejectedError
from chainrule.lower.graph import Value, axes_in_order, dense, exact_key, has_attributes
from chainrule.lower.program import Program
from chainrule.lower.schedule import plan
from chainrule.lower.tracer import Tracer, Untraceable
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


PROGRAMS_PER_SIGNATURE = 4
"""Specializations kept per signature, for example for a module that alternates between train and eval."""

MIN_SIGNATURES = 4
"""The specializations of the latest MIN_SIGNATURES signatures are always kept, however large they are."""

MAX_PROGRAM_BYTES = 1 << 28
"""Specializations of earlier signatures are kept while those of all signatures use at most this much memory in total
(see `Specialization.nbytes`).
"""

COMPILATIONS_BEFORE_WARNING = 8
"""More compilations in a row than this cause a warning. In the long run, so does compiling more than one call in five.
"""

_COMPILATION_WEIGHT = 4
"""A compilation adds this to the score of a function; a call that runs an earlier specialization subtracts 1."""

_ndarray = np.ndarray
_CONTAINERS = {tuple, list, dict}

P = ParamSpec("P")
MethodP = ParamSpec("MethodP")
Out = TypeVar("Out")


class Compiled(Generic[P, Out]):
    """A compiled function; see `jit`.

    Attributes:
        function: the original function.
        specializations: by signature; those of the first signature are the first to be dropped.
    """

    def __init__(self, function: Callable[P, Out]) -> None:
        self.function = function
        self.specializations: dict[Any, list[Specialization]] = {}
        self.retrace_reason: str | None = None  # why the last trace was not kept, or None
        self.is_rejected = False  # whether LLVM rejects one of its kernels, so that it runs uncompiled
        self.last_signature: Any = None  # of the last call that ran an earlier specialization
        self.compilation_score = 0  # grows while calls are compiled, see _COMPILATION_WEIGHT
        self.has_warned = False  # whether the warning about frequent compilation was issued
        self.lock = threading.RLock()  # one thread at a time, because all runs of a program use the same memory
        self.is_running = False  # whether the thread that holds the lock runs or traces the function
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
        # While an outer compiled function is traced, this one becomes part of that trace. Anomaly detection needs eager
        # code.
        if mode.trace is not None or mode.anomaly is not None or self.is_rejected or not available():
            return self.function(*arguments, **options)
        arrays: list[Any] = []
        keys = [_signature(x, arrays) for x in arguments]
        signature = (*keys, _signature(options, arrays) if options else None, mode.recording, team.threads())
        with self.lock:
            if self.is_running:  # called from a signal handler or a __del__ method during a run
                return self.function(*arguments, **options)
            self.is_running = True
            try:
                for specialization in self.specializations.get(signature, ()):
                    if specialization.fits(arrays):
                        if self.compilation_score:
                            self.compilation_score -= 1
                        self.last_signature = signature
                        return specialization(arrays)  # type: ignore[no-any-return]  # the type of the function's result
                reason = self._compilation_reason(signature, arguments, options)
                try:
                    return self._trace_and_run(signature, arguments, options, arrays)  # type: ignore[no-any-return]
                finally:
                    self._count_compilation(reason)
            finally:
                self.is_running = False

    def _compilation_reason(self, signature: Any, arguments: Any, options: Any) -> str:
        """Return why no specialization can run, as a clause for the warning about frequent compilation."""
        if self.retrace_reason is not None:
            return self.retrace_reason
        specializations = self.specializations.get(signature)
        if specializations:
            return specializations[0].guards.first_failure() or "something else has changed"
        values = [*map(format_value, arguments), *(f"{name}={format_value(value)}" for name, value in options.items())]
        return f"its arguments are new: {', '.join(values)}" if values else "it was not compiled before"

    def _count_compilation(self, reason: str) -> None:
        """Update the score after a compilation, and warn if the function is compiled too often."""
        self.compilation_score += _COMPILATION_WEIGHT
        if self.compilation_score > COMPILATIONS_BEFORE_WARNING * _COMPILATION_WEIGHT and not self.has_warned:
            self.has_warned = True
            warn(
                f"jit: {_name(self.function)} is compiled too often, which is slower than running it "
                f"uncompiled; the last time because {reason}. Pass values that change from call to call as Tensors, "
                f"change them in place, or keep them out of the function"
            )

    def _trace_and_run(self, signature: Any, arguments: Any, options: Any, arrays: list[Any]) -> Any:
        """Trace the call, compile the trace, run the program, and keep it if it can be reused."""
        trace = Trace()
        argument_values: list[Value] = []  # of the arguments that are Tensors or arrays
        constants: list[Any] = []  # all other arguments
        outputs: list[Tracer] = []

        def to_tracer(x: Any) -> Any:
            if not isinstance(x, (Tensor, np.ndarray)):
                constants.append(x)
                return x
            if isinstance(x, Tensor) and x.requires_grad and mode.recording:
                raise CaptureError(
                    f"jit: an argument of shape {x.shape} requires gradients: pass a detached tensor (detach()), or "
                    f"let the function use it as a global or closure variable{at_user_line()}"
                )
            value = Value("argument", None, (), dense(arrays[len(argument_values)]))
            trace.values.append(value)
            argument_values.append(value)
            return trace.argument(value, isinstance(x, Tensor) and x.requires_grad)

        def to_placeholder(x: Any) -> Any:
            if isinstance(x, np.ndarray):
                raise trace.capture_error("an array is returned, which would be a constant: return a Tensor")
            if isinstance(x, (list, tuple, dict)):  # only if `is_external_container`: `_map_tree` descends into others
                return _Constant(x)
            if type(x) is OptimizerScalar:
                return _ScalarRef(trace.glue.scalar_index(x), type(x.value))
            if not isinstance(x, Tensor):
                return x
            outputs.append(trace.lift(x))
            return _TensorRef(len(outputs) - 1)

        specialization = None
        self.retrace_reason = None
        initial_mode = mode.recording, mode.anomaly
        positional, named = _map_tree(arguments, to_tracer), _map_tree(options, to_tracer)
        containers = [
            (x, DictEntries(x) if isinstance(x, dict) else ListEntries(x)) for x in _containers((positional, named))
        ]
        constants.extend(name for x, _ in containers if isinstance(x, dict) for name in x)
        observer = trace.observer

        def is_external_container(x: Any) -> bool:
            """Whether an object is external and holds no Tensor of the trace: each run returns the object itself."""
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
                problem = "a list or dict among the arguments is changed, which the caller would not see"
                raise trace.capture_error(f"{problem}: return it instead")
            if (mode.recording, mode.anomaly) != initial_mode:
                trace.refuse("set_grad_enabled() or the like, used without `with`,")
            assigned = [
                (target, _Constant(value) if observer.is_fixed(value) else _map_tree(value, to_placeholder))
                for target, _, value, _ in observer.assignments()
            ]
            self.retrace_reason = observer.find_retrace_reason()
            if trace.error is not None:  # also if the function has caught it
                raise trace.error
            specialization = Specialization(trace, argument_values, outputs, structure, assigned)
        except UncompilableStateError:
            self.retrace_reason = "an optimizer creates new state in it, so it runs eagerly"
        except Untraceable as error:
            raise CaptureError(f"jit: this cannot be compiled: {error}{_line(error)}") from error
        finally:
            mode.trace = None
            mode.recording, mode.anomaly = initial_mode
            observer.stop()
            trace.end()
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
            observer.undo(failed=True)
            return self.function(*arguments, **options)
        except Exception:  # raised by the run itself, for example because an index is out of range
            trace.undo_state_creation()
            raise
        if self.retrace_reason is None:
            if self.last_signature in self.specializations:  # move it to the end: it is in use
                self.specializations[self.last_signature] = self.specializations.pop(self.last_signature)
            specializations = self.specializations.setdefault(signature, [])
            specializations.insert(0, specialization)
            del specializations[PROGRAMS_PER_SIGNATURE:]
            self._forget_oldest()
        return result

    programs = property(lambda self: self.specializations)  # the former name

    def _forget_oldest(self) -> None:
        """Drop the specializations of the oldest signatures, to limit memory."""
        while (
            len(self.specializations) > MIN_SIGNATURES
            and sum(s.nbytes for group in self.specializations.values() for s in group) > MAX_PROGRAM_BYTES
        ):
            del self.specializations[next(iter(self.specializations))]

    def explain(self, code: bool = False, guards: bool = False) -> str:
        """Return a description of each program: a table of its stages with shapes, arithmetic, memory and time.

        Args:
            code: return the kernels as Python code instead.
            guards: return the conditions under which each program may run instead.
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
    """Stands for a Tensor in a structure that a run returns or assigns: its index among the program's outputs."""


@dataclass(frozen=True)
class _Constant:
    """Stands for a value in a structure that a run returns or assigns: a value that is the same in all runs."""

    value: Any


@dataclass(frozen=True)
class _ScalarRef:
    """Stands for an optimizer's scalar in a structure that a run returns or assigns.

    Attributes:
        index: its index among the program's scalars.
        number_type: the type of the number.
    """

    index: int
    number_type: type


class Specialization:
    """One compiled program, its guards, its arguments and results, and the generated code around a run.

    Attributes:
        program: the compiled program.
        guards: the conditions under which it may run.
        structure: the function's result, with placeholders (`_TensorRef`, `_ScalarRef`, `_Constant`).
        trace: the trace that it was compiled from.
        argument_values: the values that stand for the arguments.
        outcome: the results and side effects of the program.
        outputs: the values of the Tensors that the function returns or assigns.
        gradients: leaves and the values of their gradients.
        leaves_without_grad: leaves whose .grad must be None before a run, because the function has read None, or
            because the run would overwrite a gradient instead of adding to it.
        grads_are_none, compute_scalars, store: generated functions, see `glue.GlueFunctions`.
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
            code = glue.names[value.value] if is_constant else f"{glue.names[functools.partial(self._result, value)]}()"
            glue.epilogue.append(f"{target} = {code}")

    def _add_guards_and_epilogue(self) -> None:
        """Add the guards of Tensors and optimizer state, and the statements that run after the program."""
        trace, glue, guards = self.trace, self.trace.glue, self.guards
        for ref, array, node in trace.tensors.values():
            tensor = ref()
            if tensor is not None and trace.observer.is_external(tensor):
                label, name, condition = trace.observer.label(tensor), glue.names[tensor], ""
            else:  # only a weak reference: the guards must not keep the Tensor alive
                label, name = f"a tensor of shape {array.shape}", "_t"
                condition = f"(_t := {glue.names[ref]}()) is not None and "
            guards.add(f"{condition}{name}._data is {glue.names[array]}", label, "has the same memory")
            requirement = "requires gradients" if node else "does not require gradients"
            guards.add(f"{condition}{name}._node is {glue.names[node]}", label, requirement)
        for leaf in trace.leaves.values():
            name, hooks = glue.names[leaf], tuple(leaf.hooks or ())
            code = f"tuple({name}.hooks or ()) == {hooks}" if hooks else f"not {name}.hooks"
            guards.add(code, f"a tensor of shape {leaf.shape}", "has the same hooks")
        for optimizer, position, state in trace.optimizer_states:  # `load_state_dict` replaces the state
            label = f"{trace.observer.label(optimizer)}.state[{position}]"
            guards.add_value(f"{glue.names[optimizer]}.state.get({position})", label, state)
        for state, key, array in trace.state_arrays.values():
            label = f"{trace.traced_mappings[id(state)].label}[{key!r}]"
            guards.add_value(f"{glue.names[state]}.get({key!r})", label, array)
        self.leaves_without_grad = list(trace.leaves_without_grad.values())
        known_ids = trace.leaves_without_grad.keys() | trace.assigned_grads.keys()
        self.leaves_without_grad += [leaf for leaf, _ in self.gradients if id(leaf) not in known_ids]
        for leaf in self.leaves_without_grad:
            name = glue.names[leaf]
            glue.grad_conditions.append(f"{name}.deferred_grad is None and {name}.grad is None")
        for leaf, value in self.gradients:
            gradient = glue.names[functools.partial(self._gradient, value)]
            glue.epilogue.append(f"{glue.names[leaf]}.deferred_grad = {gradient}")
        ids_with_gradient = {id(leaf) for leaf, _ in self.gradients}
        for node, _ in trace.assigned_grads.values():
            if id(node) not in ids_with_gradient:
                glue.epilogue.append(f"{glue.names[node]}.grad = None")
        glue.epilogue += [f"{glue.names[version]}[0] += 1" for version in trace.versions]

    def compile(self) -> None:
        """Compile the program, the guards and the glue."""
        outcome, glue = self.outcome, self.trace.glue
        results = [*self.outputs, *(value for _, value in self.gradients), *outcome.checks]
        results += [value for _, values in outcome.updates for value in values]
        schedule = plan(self.trace.values, results, outcome.writes)
        self.program = Program(
            schedule, len(glue.scalar_indices), glue.index_checks, self.argument_values, results, outcome.changed
        )
        self.guards.compile()
        self.grads_are_none, self.compute_scalars, self.store = glue.functions()
        for value in self.trace.values:  # runs need only their shapes and strides
            value.drop_data()

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the specialization keeps between runs.

        Counted are the arena, constant Tensors that the function creates, and the arguments, outputs, gradients and
        results of Python calls of the last run. Parameters and other external memory are not part of it; machine code
        and scripts, which are small, are left out.
        """
        outside_arena = [v.example for v in self.program.bases if id(v) not in self.program.schedule.offsets]
        return self.program.memory.nbytes + sum(x.nbytes for x in outside_arena if id(x) not in self.trace.captures)

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> Any:
        """Run the program on the arrays of the arguments, in the order of `argument_values`."""
        if not self.grads_are_none():
            shape = next(leaf.shape for leaf in self.leaves_without_grad if leaf.grad is not None)
            raise CaptureError(f"jit: {STALE_GRADIENT.format(shape)}{at_user_line()}")
        program = self.program
        pending = self.compute_scalars(program.scalars_view)
        initial_progress = program.table_view[PROGRESS]
        try:
            program.run(arrays)
        finally:  # also after an interrupt, such as Ctrl-C, which may come during the run or just after it
            progress = program.table_view[PROGRESS] - initial_progress
            if progress == program.progress_per_run:
                try:
                    self._finish(pending)
                except BaseException:  # an interrupt: complete the step, then raise it again
                    self._finish(pending)
                    raise
            elif progress:
                self._handle_interrupted_run()
        return self._result(self.structure)

    def fits(self, arrays: Sequence[NDArray[Any]]) -> bool:
        """Whether the guards hold and, if the trace depends on them, the arguments have the same memory orders."""
        orders = zip(arrays, self.argument_values, strict=True) if self.trace.depends_on_order else ()
        return self.guards.hold() and all(axes_in_order(x) == axes_in_order(v.example) for x, v in orders)

    def _finish(self, pending: Any) -> None:
        """Store what a complete run has computed.

        Repeating this is safe: the second time, it stores the same values; versions grow once more, which is allowed.
        """
        for update, values in self.outcome.updates:
            update(*map(self.program.array, values))
        self.store(pending)

    def _result(self, structure: Any) -> Any:
        """Return a structure (the function's result or a value that it assigns) with the contents of the last run."""
        if type(structure) is _TensorRef:
            return Tensor._wrap(self.program.array(self.outputs[structure]).copy())
        return _map_tree(structure, self._fill_placeholder)

    def _fill_placeholder(self, x: Any) -> Any:
        """Return what an element of a structure stands for."""
        if type(x) is _Constant:
            return x.value
        if type(x) is _ScalarRef:
            return x.number_type(self.program.scalars_view[x.index])
        return self._result(x) if type(x) is _TensorRef else x

    def _handle_interrupted_run(self) -> None:
        """Clear the gradients, and increment the versions of the Tensors that the program changes.

        After an interrupted run, the elements of both are undefined.
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
    schedulers and checkpoints work as usual. Each call draws new random numbers (Dropout, `chainrule.randn`) from the
    generator that the uncompiled function would use. On machines where nothing can be compiled, the function runs
    uncompiled, after one warning.

    **What a program depends on.** Guards are checked before each run, which takes a few microseconds. They cover each
    outside variable (global or closure variable) that the function reads, each attribute that it reads of modules,
    optimizers and other objects, and the contents of the lists, dicts and sets among them; `explain(guards=True)` lists
    them all. If something has changed, such as a layer, a loss, a flag or a number, the function is traced again; the
    earlier program is kept in case the old value returns. A number that changes in each call should therefore be a
    Tensor or an option in the optimizer's groups, which each run reads again. Each run also assigns the outside
    variables and attributes that the function assigns. A function that is compiled too often (more than eight times in
    a row, or in more than one call in five) causes a warning that says why.

    NumPy arrays that the function reads are dependencies too. `from_numpy` turns one into a Tensor of the same memory,
    which each run reads again. The elements of any other array are compared before each run, since the function may
    compute with them in NumPy: about 0.03 ms per megabyte. If such arrays exceed 16 MiB in total, no program is kept,
    and the warning says so. Reading the `shape` or `dtype` of a variable is free.

    **Numbers.** Sums are accumulated in a different order from NumPy's. In a function that changes outside Tensors,
    such as a training step, subnormal numbers (below 10⁻³⁸ in float32) are treated as 0 on processors that support it,
    because they are slow to compute with.

    **What is traced in each call.** Some results cannot be checked by a guard. A function is traced in each call, and
    so behaves like the uncompiled function, if it opens a file, reads the clock, reads variables through `globals()`,
    draws from `random`, advances an outside iterator, changes an outside list, dict or set (other than by adding
    Tensors), or calls a method of an outside standard-library object such as a queue. The warning about frequent
    compilation says why.

    **What runs once per program**, while the function is traced, and is not repeated by later calls:

    - side effects: printing, logging, writing to an open file, and appending Tensors to an outside list;
    - reads that no guard covers: of attributes of objects implemented in C, and of variables of other packages by those
      packages themselves;
    - calls that the cache of a function decorated with `functools.cache` answers: no guard covers what it has read;
    - NumPy arithmetic with an array that the same call also turns into a Tensor.

    Args:
        function: takes and returns Tensors, alone or in tuples, lists and dicts; other objects are allowed, too. Array
            arguments become Tensors. All other arguments are constants of the program: each new number or object needs
            a new program.

    Returns:
        A function that does the same. Its results have no graph. Its method `explain()` describes the programs.

    Raises:
        CaptureError: when called, if the function cannot be compiled; the message names the line, and nothing has
            changed. The function must not branch on a value, compute a shape from values, call `print` or `item()` on
            a Tensor, step a scheduler, call `manual_seed`, register a hook or replace a layer.
            It is also raised if the call would add to a gradient that was there before (call `zero_grad()` inside the
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
    """Return the innermost user line in the traceback of an error, as a suffix for a message."""
    return user_line([(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)])


def _signature(x: Any, arrays: list[Any]) -> Any:
    """Return the signature of an argument: a key that must be equal for a program to be reused.

    Args:
        x: the argument.
        arrays: a list to which the arrays in the argument are appended.
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
            return type(x), entries, exact_key(getattr(x, "default_factory", None))  # a defaultdict has one
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
    """Apply a function to the elements of nested tuples, lists and dicts.

    A container for which `keep_whole` returns True counts as an element.
    """
    if keep_whole is not None and keep_whole(x):
        return function(x)
    if isinstance(x, (tuple, list)):
        parts = [_map_tree(part, function, keep_whole) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if isinstance(x, dict):
        entries = {key: _map_tree(value, function, keep_whole) for key, value in x.items()}
        if type(x) is dict:
            return entries
        result = copy.copy(x)  # of the same type, and with the default factory of a defaultdict
        dict.update(result, entries)
        return result
    return function(x)


def _containers(x: Any) -> Iterator[Any]:
    """Yield the lists and dicts inside a container, at any depth."""
    for part in x.values() if isinstance(x, dict) else x:
        if isinstance(part, (list, dict)):
            yield part
        if isinstance(part, (tuple, list, dict)):
            yield from _containers(part)


_instances: weakref.WeakSet[Compiled[..., Any]] = weakref.WeakSet()
"""All compiled functions, for `_after_fork`."""


def _after_fork() -> None:
    """Reset the locks in a forked process: the threads that held them do not exist there."""
    for compiled in list(_instances):
        compiled.lock, compiled.is_running = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
