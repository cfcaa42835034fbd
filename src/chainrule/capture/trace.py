"""A trace records one call of the user's function as a graph.

During the call, `mode.trace` is the trace, and Tensors, the tape and optimizers call its methods (`mode.Tracing` lists
them). `lift` replaces external Tensors by Tracers. Formulas, derivatives and optimizer updates run on Tracers, and
`OptimizerScalar`s stand for an optimizer's options. Each step is also computed, for its shape and type, but no external
memory changes: in-place changes are only recorded, gradients and random draws are undone, and each run of the program
repeats them all. `finish` returns the results and side effects that the program must produce; `compiled.Specialization`
builds the program from them. `observe` handles the user's variables and attributes.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.autograd.tape import Leaf
from chainrule.capture.classes import attributes_of
from chainrule.capture.frames import at_user_line, is_chainrule
from chainrule.capture.glue import Glue
from chainrule.capture.lowering_rules import RULES
from chainrule.capture.observe import Observer
from chainrule.capture.optimizer_state import OptimizerScalar, TracedMapping, UncompilableStateError
from chainrule.errors import CaptureError, LeakedTracerError
from chainrule.kernels.tree import computes_with
from chainrule.lower.graph import (
    INPUT_KINDS,
    Value,
    axes_in_order,
    base_of,
    byte_bounds,
    copy_in_order,
    elements_overlap,
    is_readable_in_place,
    reachable,
    share_memory,
)
from chainrule.lower.recorder import Recorder, native_copy
from chainrule.lower.tracer import ElementChange, Scalar, Tracer, Untraceable
from chainrule.ops.dtypes import promote
from chainrule.ops.indexing import getitem, is_basic_with_tensors
from chainrule.random import default_generator
from chainrule.tensor import Tensor, explain_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from chainrule.autograd.tape import Node
    from chainrule.ops.operation import Operation
    from chainrule.optim import Optimizer


STALE_GRADIENT = (
    "a gradient of shape {} exists before the call and would be used or added to: call zero_grad() first, inside the "
    "compiled function"
)
"""The message about a gradient from before the call."""

ARGUMENT_GRADIENT = (
    "the gradient of an argument of shape {} is used: pass a detached tensor (detach()), or let the function use it "
    "as a global or closure variable"
)
"""The message about the gradient of an argument."""

_lock = threading.RLock()
"""Held while a trace or a program draws from a generator, and while a trace reads or sets a generator's state."""

_active_traces: list[Trace] = []
"""The traces of all threads. A trace refuses a generator if anything but chainrule has changed its state. So after each
draw of a trace or a program, `_update_generator_state` stores the new state in each of these traces."""


@dataclass
class Outcome:
    """The results and side effects of a program.

    Attributes:
        changed: the external arrays that it changes.
        outputs: the values of the Tensors that the function returns or assigns.
        gradients: leaves and the values of their gradients.
        writes: the external memory that compiled code writes: pairs (captured value, its new value).
        updates: the changes of external memory that NumPy makes after the run: pairs (function, values). The function
            is called with the arrays of the values.
        checks: values that nothing reads. Computing them raises the error of an invalid index before any memory is
            changed.
    """

    changed: list[NDArray[Any]]
    outputs: list[Value]
    gradients: list[tuple[Leaf, Value]]
    writes: list[tuple[Value, Value]] = field(default_factory=list)
    updates: list[tuple[Callable[..., object], list[Value]]] = field(default_factory=list)
    checks: list[Value] = field(default_factory=list)


class Trace(Recorder):
    """Records one call of a function.

    Attributes:
        glue: the generated code around each run.
        captures: the captured external memory, by identity of the array: (the Tracer of the current contents, the value
            of the contents before the call, the array).
        tensors: the external Tensors, by identity: (a weak reference, the array, the tape node or None).
        arguments: the Tracers of the function's arguments, by identity.
        argument_tensors: the Tensors that the function gets as arguments: (Tensor, its Tracer, its leaf or None).
        error: the error of the first refusal, or None. It counts even if the function has caught it.
        message_prefix: the beginning of errors after the function has returned: its name, because these errors have no
            line inside the function.
        optimizers: the optimizers that the function uses, by identity, each with the positions that had state before
            the call. (A position is a parameter's number across all groups.)
        optimizer_states: the states of updated parameters: (optimizer, position, state).
        state_arrays: the arrays in states: (state, entry, array).
        traced_mappings: the objects that stand for an optimizer's options and states, by identity of the mapping.
        leaves: the leaves of external Tensors, by identity.
        leaves_without_grad: leaves whose `grad` was None when the function read it, by identity.
        assigned_grads: nodes whose gradients the function has assigned, by identity, with their earlier gradients.
        generators: the random generators that the function can reach, by identity, with their states before the call.
        generator_states: their states after the last draw through chainrule.
        versions: the version counters of the Tensors that the program changes.
        observer: observes attributes and variables.
    """

    def __init__(self) -> None:
        super().__init__()
        self.glue = Glue()
        self.captures: dict[int, tuple[Tracer, Value, NDArray[Any]]] = {}
        self.tensors: dict[int, tuple[weakref.ref[Tensor], NDArray[Any], Any]] = {}
        self.arguments: dict[int, Tracer] = {}
        self.argument_tensors: list[tuple[Any, Tracer, Any]] = []
        self.error: CaptureError | None = None
        self.message_prefix = ""
        self.optimizers: dict[int, tuple[Optimizer, set[int]]] = {}
        self.optimizer_states: list[tuple[Optimizer, int, dict[str, Any]]] = []
        self.state_arrays: dict[tuple[int, str], tuple[dict[str, Any], str, NDArray[Any]]] = {}
        self.traced_mappings: dict[int, TracedMapping] = {}
        self.leaves: dict[int, Leaf] = {}
        self.leaves_without_grad: dict[int, Leaf] = {}
        self.assigned_grads: dict[int, tuple[Leaf | Node, Any]] = {}
        self.generators: dict[int, tuple[np.random.Generator, Any]] = {}
        self.generator_states: dict[int, Any] = {}
        self.versions: list[list[int]] = []
        self.observer = Observer(self)

    def argument(self, value: Value, requires_grad: bool) -> Tensor:
        """Return the Tensor that the function gets in place of an argument."""
        tracer, leaf = Tracer(self, value), Leaf(value.example) if requires_grad else None
        tensor = Tensor._wrap(tracer)  # type: ignore[arg-type]  # a Tracer instead of an array
        tensor._node = leaf
        self.arguments[id(tracer)] = tracer
        self.argument_tensors.append((tensor, tracer, leaf))
        return tensor

    def _check_arguments(self) -> None:
        """Refuse changes to argument Tensors: the function gets stand-ins, so the caller would not see the changes."""
        for tensor, tracer, leaf in self.argument_tensors:
            if tensor._node is not leaf or tensor._data is not tracer:
                problem = "is changed in place or made to require gradients: use a copy (clone()) or detach() instead"
                raise self.capture_error(f"an argument of shape {tracer.shape} {problem}")
            if leaf is not None and (leaf.grad is not None or leaf.hooks or id(leaf) in self.assigned_grads):
                raise self.capture_error(ARGUMENT_GRADIENT.format(tracer.shape))

    def capture_array(self, array: NDArray[Any]) -> Tracer:
        """Return the Tracer of an external array."""
        capture = self.captures.get(id(array))
        if capture is None:
            if is_readable_in_place(array):
                tracer = self.add_array(array)
            else:  # compiled code cannot read it in place
                tracer = self.add_call("copy", partial(native_copy, array), (), {})
                tracer.layout_array = array
            capture = self.captures[id(array)] = tracer, tracer.value, array
        return capture[0]

    def from_data(self, data: Any, array: NDArray[Any]) -> Tracer:
        """Return the Tracer of a Tensor that the function creates from `data`; `array` is `data` or a converted copy.

        If `data` is an external array, each run reads it again; if the function has computed it in NumPy, it is a
        constant.
        """
        if not isinstance(data, np.ndarray) or not self.observer.is_external_memory(data):
            return self.add_array(array)
        tracer = self.capture_array(data)
        if array is data:
            return tracer
        return tracer.copy("K") if array.dtype == data.dtype else self.cast(tracer, array.dtype)

    def lift(self, x: Any, detached: bool = False) -> Any:
        """Return the Tracer of a Tensor or an array; return a number as a Python number.

        Args:
            x: an input of an operation.
            detached: whether no gradient will flow to it; if so, it may have a graph from before the call.
        """
        if type(x) is OptimizerScalar:
            return x
        array = x if type(x) is Tracer else getattr(x, "_data", x)
        if type(array) is Tracer:
            if array.recorder is not self:
                raise LeakedTracerError
            return array
        if not isinstance(array, np.ndarray):
            return array.item() if isinstance(array, np.generic) else array
        if array is not x:
            self.watch(x)
            if x._node is not None and x.is_leaf:
                self.leaves[id(x._node)] = x._node
            elif x._node is not None and mode.recording and not detached:
                raise self.capture_error(
                    f"a tensor of shape {x.shape} has a graph from outside the compiled function: use a detached "
                    f"tensor (detach()), or compute it inside"
                )
        return self.capture_array(array)

    def watch(self, tensor: Tensor) -> None:
        """Guard an external Tensor: it must keep its memory and its tape node, which is None without gradients."""
        if type(tensor._data) is np.ndarray and id(tensor) not in self.tensors:
            self.tensors[id(tensor)] = weakref.ref(tensor), tensor._data, tensor._node

    def scalar_index(self, scalar: Any) -> int:
        """Return the index of a scalar among the program's scalars."""
        return self.glue.scalar_index(scalar)

    def depend_on_types(self, scalars: Iterable[Any]) -> None:
        """Guard the types of scalars: where no input is a floating-point array, they decide the type of the result."""
        for scalar in scalars:
            cls = type(scalar.value)
            condition = f"type({scalar.source}) is {self.glue.names[cls]}"
            self.glue.guards.add(condition, "an optimizer's number", f"is of type {cls.__name__}")

    def as_array(self, scalar: OptimizerScalar) -> Tracer:
        """Return an optimizer's scalar as a 0-d array."""
        example, operand = np.asarray(scalar.value), (scalar, self.glue.scalar_index(scalar))
        return self.add_value("elementwise", "cast", (operand,), example, type=example.dtype)

    def view_at_computed_index(self, x: Tracer, index: Any, value: Value) -> Tracer:
        """Return the Tracer of x[index], where the program computes some of the integers in the index.

        Args:
            x: the array, which may itself be a view.
            index: the index.
            value: the value of x[index].
        """
        parts = index if isinstance(index, tuple) else (index,)
        index_tracers = tuple([part for part in parts if isinstance(part, Tracer)])
        base_view, n_base_indices = x.view_function, len(x.index_tracers)

        def take_view(array: Any, *indices: Any) -> Any:
            own_indices = iter(indices[n_base_indices:])
            plain_index = [int(next(own_indices)) if isinstance(part, Tracer) else part for part in parts]
            view = array if x.base is None else base_view(array, *indices[:n_base_indices])
            return view[(*plain_index, ...) if ... not in plain_index else tuple(plain_index)]

        return Tracer(self, value, x if x.base is None else x.base, take_view, (*x.index_tracers, *index_tracers))

    def assign(self, out: Any, result: Any) -> Any:
        """Record an in-place change: from now on, `out` has the value `result`.

        Raises:
            ValueError: `out` is read-only, or the result does not fit.
        """
        if not isinstance(out, Tracer):
            raise Untraceable("a change in place of a NumPy array from outside")
        base = out if out.base is None else out.base
        if id(base) in self.arguments:
            raise Untraceable("a change in place of an argument")
        self.depends_on_order |= id(base.layout_array) not in self.captures
        if not out.layout_array.flags.writeable:
            raise ValueError("assignment destination is read-only")  # NumPy's message
        if elements_overlap(base.layout_array):
            raise Untraceable("a change in place of memory in which elements overlap")
        result = self.as_tracer(result)
        if result.shape != out.shape:
            result = self.record_view(result, lambda array: np.broadcast_to(array, out.shape))
        if result.dtype != out.dtype:
            result = self.cast(result, out.dtype)
        axes = axes_in_order(base.layout_array)
        if base is not out:  # a view: some elements of the base
            change = ElementChange(partial(_set_view, out.view_function), axes)
            result = self.add_call("a change of some elements", change, (base, result, *out.index_tracers), {})
        # keep the base's memory order, because it decides which later results are views and which are copies
        example = result.value.example
        in_order = np.transpose(np.empty([base.shape[d] for d in axes], base.dtype), np.argsort(axes))
        if example.strides != in_order.strides:
            result = self.reorder(result, copy_in_order(example, axes))
        base.value = result.value
        return out

    # Operations and their derivatives

    def record_operation(
        self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]
    ) -> tuple[list[Any], Any, Any]:
        """Record an operation.

        Returns:
            The inputs as Tracers, numbers unchanged; the Tracer of the result; the formula's extra result, or None.
        """
        self.free_examples()
        with self.observer.calls.paused(_belongs_to_chainrule(operation.formula)):
            arrays = [self.lift(x) for x in inputs]
            if operation.promote is not None:
                arrays = self._promote_inputs(arrays, operation)
            try:
                result = self.apply(operation, arrays, options)
            except Exception:  # the formula depends on values, or raises an error, which the Python call raises again
                result = self.add_call(operation.name, partial(_run_formula, operation), arrays, options)
                if operation is getitem and is_basic_with_tensors(options["index"]):
                    result = self.view_at_computed_index(arrays[0], options["index"], result.value)
        array, extra = result if operation.extra is not None else (result, None)
        return arrays, self.as_tracer(array), extra

    def apply(self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """Record an operation by its lowering rule, or by running its formula on Tracers."""
        rule = RULES.get(operation)
        return operation.formula(*inputs, **options) if rule is None else rule(self, *inputs, **options)

    def _promote_inputs(self, arrays: list[Any], operation: Operation[...]) -> list[Any]:
        """Return the inputs of an operation, converted to the type that the operation computes in."""

        def convert(x: Any, example: Any, converted: Any) -> Any:
            if converted is example or isinstance(x, Scalar):
                return x
            return self.cast(x, converted.dtype) if isinstance(x, Tracer) else self.capture_array(converted)

        examples = [_example(x) for x in arrays]
        return list(map(convert, arrays, examples, promote(examples, operation.promote or "common", operation.name)))

    def vjp(self, node: Node, grad: Any) -> Any:
        """Record the derivative of a node; return the gradients of its inputs."""
        self.free_examples()
        rule, saved, parents = node.operation.rule, node.saved or (), node.parents
        # a module's hook is user code; on the tape, it is a node that has the hook among its saved values
        has_hook = any(map(callable, saved))
        with self.observer.calls.paused(_belongs_to_chainrule(rule) and not has_hook):
            try:
                parts = rule(grad, *saved)  # type: ignore[misc]  # the node has a rule and is not freed
                parts = parts if type(parts) is tuple else (parts,)
                return tuple(
                    entry() if callable(entry) and parent is not None else entry
                    for entry, parent in zip(parts, parents, strict=True)
                )
            except Exception:  # as in `record_operation`
                name = f"{node.operation.name}′"
                return tuple(
                    None
                    if parent is None
                    else self.add_call(name, partial(_derivative_part, rule, position), (grad, *saved), {})
                    for position, parent in enumerate(parents)
                )

    def add_call(self, name: str, function: Callable[..., Any], inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """Record a Python call: each run calls `function` with arrays in place of Tracers."""
        arrays: list[Tracer] = []

        def to_placeholder(x: Any) -> Any:
            if isinstance(x, np.ndarray):  # external memory: the call gets its contents at this point
                x = self.capture_array(x)
            if isinstance(x, Tracer):
                arrays.append(x)
                return _ArrayPlaceholder(len(arrays) - 1)
            if type(x) is OptimizerScalar:
                arrays.append(self.as_array(x))
                return _ScalarPlaceholder(len(arrays) - 1)
            if type(x) in (list, tuple):
                return type(x)(to_placeholder(part) for part in x)
            return x

        positional, named = [to_placeholder(x) for x in inputs], {key: to_placeholder(x) for key, x in options.items()}

        only_arrays = len(arrays) == len(positional) and all(type(x) is _ArrayPlaceholder for x in positional)
        may_warn = any(x.dtype.kind == "f" for x in arrays)  # only floating-point arithmetic causes warnings

        def run(*values: NDArray[Any]) -> Any:
            if only_arrays and not may_warn:
                return function(*values, **options)
            with np.errstate(all="ignore"):
                return function(
                    *(_fill(x, values) for x in positional), **{key: _fill(x, values) for key, x in named.items()}
                )

        result = run(*(x.value.example for x in arrays))
        if isinstance(result, tuple):
            all_results = self.add_value("call", name, [x.value for x in arrays], np.zeros(()), function=run)
            return tuple(
                self.add_value("tuple_item", name, (all_results.value,), x, position=i) for i, x in enumerate(result)
            )
        tracer = self.add_value("call", name, [x.value for x in arrays], result, function=run)
        if isinstance(function, ElementChange):
            change = function

            def write(*values: NDArray[Any]) -> None:
                change.write(*(_fill(x, values) for x in positional))

            # `arrays`: the array to change, the new elements unless they are a number, the index's computed integers
            computed_index = len(arrays) > 1 + (type(positional[1]) is _ArrayPlaceholder)
            tracer.value.options |= {"write": write, "computed_index": computed_index}
        return tracer

    def random_draw(self, name: str, generator: np.random.Generator, function: Callable[[], NDArray[Any]]) -> Any:
        """Record a random draw, which each run repeats with the same generator."""
        if generator is default_generator():
            self.watch_generator(generator)
        elif not self.observer.is_external(generator):
            raise self.capture_error(
                "a random generator created inside the compiled function would be created only once, while the "
                "function is traced, and not start from its seed in each call: create it outside"
            )

        def draw() -> NDArray[Any]:
            with _lock:
                numbers = function()
                if _active_traces:
                    _update_generator_state(generator)
            return numbers

        with _lock:
            self._check_generator(generator)
            tracer = self.add_call(name, draw, (), {})
        tracer.value.options["draws"] = True
        return tracer

    def watch_generator(self, generator: np.random.Generator) -> None:
        """Watch a generator that the function can reach: only chainrule's functions may draw from it."""
        with _lock:
            if id(generator) not in self.generators:
                state = generator.bit_generator.state
                self.generators[id(generator)] = generator, state
                self.generator_states[id(generator)] = state

    def _check_generator(self, generator: np.random.Generator) -> None:
        """Refuse a generator if anything but chainrule's functions has changed its state."""
        with _lock:
            is_unchanged = _are_equal_states(generator.bit_generator.state, self.generator_states[id(generator)])
        if not is_unchanged:
            label = "the default generator" if generator is default_generator() else self.observer.label(generator)
            raise self.capture_error(
                f"{label}, a random generator, is used through its own methods or by another thread, so that its "
                f"numbers would be constants: draw with chainrule's functions, such as rand(generator=...), or outside "
                f"the function, and use one generator per thread"
            )

    # External state

    def begin(self) -> None:
        """Begin the trace."""
        with _lock:
            _active_traces.append(self)

    def end(self) -> None:
        """End the trace, and undo its gradients and random draws; each run of the program repeats them."""
        for leaf in self.leaves.values():
            if _grad_tracer(leaf.grad) is not None:
                leaf.grad = None
        for node, grad in self.assigned_grads.values():
            node.grad = grad
        with _lock:
            _active_traces[:] = [other for other in _active_traces if other is not self]
            for generator, state in self.generators.values():
                generator.bit_generator.state = state
                _update_generator_state(generator)
        self.has_ended = True

    def undo_state_creation(self) -> None:
        """Delete the optimizer state that the trace created; called if the function is not compiled after all."""
        for optimizer, initial_positions in self.optimizers.values():
            for position in [p for p in optimizer.state if p not in initial_positions]:
                del optimizer.state[position]

    def finish(self, outputs: Sequence[Tracer]) -> Outcome:
        """Return the results and side effects of the program, after the function has returned."""
        self._check_arguments()
        if default_generator.cache_info().currsize:  # the call may have created it
            self.watch_generator(default_generator())
        for generator, _ in self.generators.values():
            self._check_generator(generator)
        changed = [
            (array, before, tracer.value)
            for tracer, before, array in self.captures.values()
            if tracer.value is not before
        ]
        self._check_no_shared_memory([array for array, _, _ in changed])
        changed_ids = {id(array) for array, _, _ in changed}
        tensors = [ref() for ref, array, _ in self.tensors.values() if id(array) in changed_ids]
        self.versions = [*{id(t._version): t._version for t in tensors if t is not None}.values()]
        old_ids = {id(before) for _, before, _ in changed}

        def copy_if_changed(value: Value) -> Value:
            """Return the value, or a copy of it if the program changes its memory before the value is used."""
            if id(base_of(value)) not in old_ids:
                return value
            return self.reorder(Tracer(self, value), np.array(value.example)).value

        grads = [(leaf, _grad_tracer(leaf.grad)) for leaf in self.leaves.values()]
        outcome = Outcome(
            [array for array, _, _ in changed],
            [copy_if_changed(tracer.value) for tracer in outputs],
            [(leaf, self.owned_value(tracer)) for leaf, tracer in grads if tracer is not None],
        )
        results = [*outcome.outputs, *(value for _, value in outcome.gradients)]
        for array, before, after in changed:
            steps = self._element_changes(before, after, [*results, *(x for _, _, x in changed if x is not after)])
            for step in steps:
                inputs = [copy_if_changed(x) for x in step.inputs[1:]]
                outcome.updates.append((partial(step.options["write"], array), inputs))
                outcome.checks += self._index_check(array, step)
            if not steps and is_readable_in_place(array) and computes_with(array.dtype):
                outcome.writes.append((before, copy_if_changed(after)))
            elif not steps:
                outcome.updates.append((partial(np.copyto, array), [copy_if_changed(after)]))
        return outcome

    def _element_changes(self, before: Value, after: Value, others: Sequence[Value]) -> list[Value]:
        """Return the changes of some elements (`ElementChange`) that turn `before` into `after`, in order.

        They can be made in place after the run, in time that does not depend on the size of the memory. The list is
        empty if there are changes of other kinds, or if a result depends on an intermediate state of the memory.

        Args:
            before: the value of external memory before the call.
            after: its value after the call.
            others: all other results.
        """
        steps: list[Value] = []
        while after is not before and "write" in after.options:
            steps.insert(0, after)
            after = after.inputs[0]
        if after is not before:
            return []
        used = reachable(self.values, [*others, *(x for step in steps for x in step.inputs[1:])])
        return steps if {id(v) for v in used}.isdisjoint(map(id, steps)) else []

    def _index_check(self, array: NDArray[Any], step: Value) -> list[Value]:
        """Return a value whose computation raises the error of an invalid index, before any memory is changed.

        The list is empty if the program does not compute the index.
        """
        if not step.options["computed_index"]:
            return []
        shape, dtype, write = array.shape, array.dtype, step.options["write"]

        def check(*inputs: NDArray[Any]) -> NDArray[Any]:
            # the stand-in has the array's shape, but all its elements share the memory of one number
            write(np.lib.stride_tricks.as_strided(np.zeros((), dtype), shape, (0,) * len(shape)), *inputs)
            return np.zeros(())

        value = self.add_value("call", "an index", step.inputs[1:], np.zeros(()), function=check).value
        return [value]

    def _check_no_shared_memory(self, changed: Sequence[NDArray[Any]]) -> None:
        """Refuse changes to memory that two external arrays share, because the graph treats them as separate."""
        changed_ids = {id(array) for array in changed}
        arrays = [(*byte_bounds(array), array) for _, _, array in self.captures.values() if array.size]
        overlapping: list[tuple[int, int, NDArray[Any]]] = []  # earlier arrays that end after the current array begins
        for low, high, array in sorted(arrays, key=lambda item: item[:2]):
            overlapping = [item for item in overlapping if item[1] > low]
            for _, _, other in overlapping:
                if not changed_ids.isdisjoint((id(array), id(other))) and share_memory(array, other):
                    raise Untraceable("a change in place of memory that two tensors share")
            overlapping.append((low, high, array))

    def owned_value(self, x: Tracer) -> Value:
        """Return the value of x, copied if needed, so that it has its own memory and no broadcast elements."""
        base = base_of(x.value)
        if base.kind in INPUT_KINDS or base.size != x.size:
            x = self.reorder(x, np.array(x.value.example))
        return x.value

    def traced_mapping(self, mapping: dict[str, Any], label: str) -> TracedMapping:
        """Return the object that stands for an optimizer's options or state, always the same for a mapping."""
        traced = self.traced_mappings.get(id(mapping))
        if traced is None:
            traced = self.traced_mappings[id(mapping)] = TracedMapping(self, mapping, label)
        return traced

    def describe_code(self, code: str) -> str:
        """Return code about an optimizer's scalars with the user's names in place of the generated ones."""
        for traced in self.traced_mappings.values():
            code = code.replace(f"{traced.name}[", f"{traced.label}[")
        return code

    def traced_groups(self, optimizer: Optimizer, groups: list[dict[str, Any]]) -> list[Any]:
        """Return the objects that stand for an optimizer's parameter groups."""
        label = f"{self.observer.label(optimizer)}.param_groups"
        if id(optimizer) not in self.optimizers:
            self.optimizers[id(optimizer)] = optimizer, set(optimizer.state)
            guards, code = self.glue.guards, f"{self.glue.names[optimizer]}.param_groups"
            guards.add(f"len({code}) == {len(groups)}", label, f"has {len(groups)} groups")
            for index, group in enumerate(groups):
                guards.add_value(f"{code}[{index}]", f"{label}[{index}]", group)
        return [self.traced_mapping(group, f"{label}[{index}]") for index, group in enumerate(groups)]

    def update(self, optimizer: Optimizer, position: int, parameter: Tensor, group: Any) -> None:
        """Record the update of one parameter: run the optimizer's `update` on Tracers."""
        self.free_examples()
        self.optimizers.setdefault(id(optimizer), (optimizer, set(optimizer.state)))
        if not isinstance(group, TracedMapping):  # the call created the optimizer
            group = self.traced_mapping(group, type(optimizer).__name__)
        if attributes_of(optimizer)["_owners"].get(position) is not parameter:  # the state must be arranged first
            raise UncompilableStateError
        if position not in optimizer.state:
            optimizer.state[position] = optimizer.start(parameter._data, group.mapping)
            if optimizer.state[position] and not self.observer.is_external(optimizer):
                raise UncompilableStateError  # each call creates the optimizer, with new state
        state = optimizer.state[position]
        value, gradient = self.lift(parameter), self.lift(parameter.grad)
        for tracer in (value, gradient):
            if not isinstance(tracer, Tracer):
                raise Untraceable("an optimizer's update of anything but Tensors")
        self.optimizer_states.append((optimizer, position, state))
        if group.get("maximize"):
            gradient = -gradient
        label = f"{self.observer.label(optimizer)}.state[{position}]"
        with self.observer.calls.paused(type(optimizer).__module__.startswith("chainrule.")):
            optimizer.update(value, gradient, self.traced_mapping(state, label), group)  # type: ignore[arg-type]  # a mapping

    def capture_error(self, what: str) -> CaptureError:
        """Return the error for something that cannot be compiled, and record it in case the function catches it."""
        error = CaptureError(f"jit: {self.message_prefix}{what}{at_user_line()}")
        self.error = self.error or error
        return error

    def refuse(self, what: str) -> NoReturn:
        """Refuse an action that would happen only during tracing."""
        what = f"{what} inside a compiled function would happen only once, while the function is traced"
        raise self.capture_error(f"{what}: do it outside")

    def refuse_value(self, what: str) -> NoReturn:
        """Refuse to read values, because what is read would be a constant in later calls."""
        raise self.capture_error(f"{what} depends on values, which change from call to call: it cannot be compiled")

    def index(self, index: Any) -> Any:
        """Return a new Tracer for an array that is used as an index.

        It is a copy, because a later change of the array in place must not change the index.
        """
        tracer = self.lift(index)
        if tracer.dtype.kind == "b":
            self.refuse_value("the shape of a selection by a boolean mask")
        return tracer.copy()

    def example_at(self, array: Any, index: Any) -> Any:
        """Return the elements at an index in the traced call."""

        def examples(x: Any) -> Any:
            if isinstance(x, tuple):
                return tuple(examples(part) for part in x)
            return x.value.example if isinstance(x, Tracer) else x

        return self.lift(array).value.example[examples(index)]

    def before_grad_read(self, leaf: Leaf, outside: bool) -> None:
        """Handle a read of a leaf's gradient, which must be None or computed by this call.

        Args:
            leaf: the leaf.
            outside: whether it belongs to an external Tensor.
        """
        if any(leaf is other for _, _, other in self.argument_tensors):
            raise self.capture_error(ARGUMENT_GRADIENT.format(leaf.shape))
        if outside and leaf.grad is None and id(leaf) not in self.assigned_grads:
            self.leaves_without_grad[id(leaf)] = leaf
        elif outside:
            self.check_gradient(leaf)

    def before_grad_assigned(self, node: Leaf | Node, grad: Tensor | None) -> Tensor | None:
        """Handle the assignment of a gradient; return the Tensor to assign, or None."""
        self.assigned_grads.setdefault(id(node), (node, node.grad))
        return None if grad is None else Tensor._wrap(self.lift(grad))

    def check_group(self, optimizer: Optimizer) -> None:
        """Refuse to add a group to an external optimizer."""
        if self.observer.is_external(optimizer):
            self.refuse("add_param_group()")

    def check_hook(self, owner: Any) -> None:
        """Refuse to register a hook on an external module, or on the node of an external Tensor."""
        if self.observer.is_external(owner) or id(owner) in {id(node) for _, _, node in self.tensors.values()}:
            self.refuse("registering a hook")

    def check_gradient(self, leaf: Leaf) -> None:
        """Refuse to add to a gradient from before the call."""
        if leaf.grad is not None and _grad_tracer(leaf.grad) is None:
            raise self.capture_error(STALE_GRADIENT.format(leaf.shape))


def _update_generator_state(generator: np.random.Generator) -> None:
    """Store a generator's state in all active traces that watch it, after chainrule has drawn from it or reset it."""
    state = generator.bit_generator.state
    for trace in _active_traces:
        if id(generator) in trace.generator_states:
            trace.generator_states[id(generator)] = state


def _are_equal_states(state: Any, other: Any) -> bool:
    """Whether two generator states are equal."""
    if isinstance(state, dict):
        return all(_are_equal_states(value, other[key]) for key, value in state.items())
    return bool(np.all(state == other))


def _grad_tracer(grad: Tensor | None) -> Tracer | None:
    """Return the Tracer of a gradient that the traced call has computed; None for other gradients."""
    array: Any = None if grad is None else grad._data
    return array if type(array) is Tracer else None


class _ArrayPlaceholder(int):
    """Index of an array among the arguments of a recorded call."""


class _ScalarPlaceholder(int):
    """Index of an optimizer's scalar among the arguments of a recorded call."""


def _example(x: Any) -> Any:
    """Return the array or number that x stands for in the traced call; x itself if it is not a stand-in."""
    return x.value.example if isinstance(x, Tracer) else x.value if isinstance(x, Scalar) else x


def _fill(x: Any, arrays: Sequence[Any]) -> Any:
    """Return an argument of a recorded call, with arrays and numbers in place of placeholders."""
    if isinstance(x, _ArrayPlaceholder):
        return arrays[x]
    if isinstance(x, _ScalarPlaceholder):
        return arrays[x].item()
    if type(x) in (list, tuple):
        return type(x)(_fill(part, arrays) for part in x)
    return x


def _run_formula(operation: Operation[...], *inputs: Any, **options: Any) -> Any:
    """Run an operation's formula; errors name the operation, as in eager code."""
    try:
        return operation.formula(*inputs, **options)
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise explain_error(error, operation, inputs, options) from None


def _set_view(view_function: Any, array: NDArray[Any], value: NDArray[Any], *indices: NDArray[Any]) -> None:
    view_function(array, *indices)[...] = value


def _belongs_to_chainrule(function: Any) -> bool:
    return is_chainrule(function.__code__.co_filename)


def _derivative_part(rule: Any, position: int, *inputs: Any) -> Any:
    """Return the gradient of one input from a derivative rule."""
    parts = rule(*inputs)
    entry = parts[position] if isinstance(parts, tuple) else parts
    return entry() if callable(entry) else entry


def _after_fork() -> None:
    """In a forked process, reset the lock and drop the traces of the other threads, which do not exist there."""
    global _lock
    _lock = threading.RLock()
    _active_traces[:] = [trace for trace in _active_traces if trace is mode.trace]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
