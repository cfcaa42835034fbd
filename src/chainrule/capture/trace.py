"""A trace: runs the user's function once and records it as a graph.

During the call `mode.trace` is this trace, and Tensors, the tape and optimizers call its methods (`mode.Tracing` lists
them). `lift` replaces Tensors from outside by Tracers. Formulas, derivatives and optimizer updates run on Tracers, and
`OptimizerScalar`s stand for an optimizer's options. Each step is also computed, for its shape and type, but nothing
outside changes: in-place changes are only recorded, gradients and random draws are undone, and each run of the program
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
from chainrule.capture.frames import at_user_line, is_chainrule
from chainrule.capture.glue import Glue
from chainrule.capture.lowering_rules import RULES
from chainrule.capture.observe import Observer
from chainrule.capture.settings import LazyStateError, OptimizerScalar, Settings
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

_lock = threading.RLock()
_active_traces: list[Trace] = []
"""The traces of all threads. `_lock` is held during random draws, so that each trace sees the draws of the others."""

ARGUMENT_GRADIENT = (
    "the gradient of an argument of shape {} is used: pass its detach(), or let the function use it as a global or "
    "closure variable"
)


@dataclass
class Outcome:
    """The results and side effects of a program.

    Attributes:
        changed: the external arrays that it changes.
        outputs: the values that the function returns.
        gradients: leaves and their gradients.
        writes: external memory that compiled code writes: the captured value and the new one.
        updates: changes of external memory that NumPy makes after the run: pairs of a function and the values whose
            arrays it gets.
        checks: values that nothing reads; computing them raises the error of an invalid index, before anything is
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
        captures: external memory, by the identity of its array: the Tracer of its present contents, the value of its
            contents before the call, and the array.
        tensors: the Tensors that hold that memory: a reference, the array, and the tape node or None.
        arguments: the Tracers of the function's arguments, by identity.
        error: the error of the first refusal, or None. Even if the function has caught it, it cannot be compiled.
        message_prefix: the function's name, once it has returned. Later errors begin with it, as they have no line
            inside the function.
    """

    def __init__(self) -> None:
        super().__init__()
        self.glue = Glue()
        self.captures: dict[int, tuple[Tracer, Value, NDArray[Any]]] = {}
        self.tensors: dict[int, tuple[weakref.ref[Tensor], NDArray[Any], Any]] = {}
        self.arguments: dict[int, Tracer] = {}
        self.argument_tensors: list[tuple[Any, Tracer, Any]] = []  # passed to the function: Tensor, Tracer, leaf
        self.error: CaptureError | None = None
        self.message_prefix = ""
        self.optimizers: dict[int, tuple[Optimizer, set[int]]] = {}  # and the positions that had state before
        self.optimizer_states: list[tuple[Optimizer, int, dict[str, Any]]] = []
        self.state_arrays: dict[tuple[int, str], tuple[dict[str, Any], str, NDArray[Any]]] = {}
        self.mappings: dict[int, Settings] = {}  # options and states, by identity of the mapping
        self.leaves: dict[int, Leaf] = {}
        self.leaves_without_grad: dict[int, Leaf] = {}  # leaves whose .grad was None when it was read
        self.assigned_grads: dict[int, tuple[Leaf | Node, Any]] = {}  # nodes and their earlier gradients
        self.generators: dict[int, tuple[np.random.Generator, Any]] = {}  # states before the call
        self.generator_states: dict[int, Any] = {}  # states after the last draw
        self.versions: list[list[int]] = []  # version counters of Tensors that the program changes
        self.observer = Observer(self)

    def argument(self, value: Value, requires_grad: bool) -> Tensor:
        """Return the Tensor that the function gets for an argument."""
        tracer = Tracer(self, value)
        tensor = Tensor._wrap(tracer)  # type: ignore[arg-type]  # a Tracer instead of an array
        tensor._node = Leaf(value.example) if requires_grad else None
        self.arguments[id(tracer)] = tracer
        self.argument_tensors.append((tensor, tracer, tensor._node))
        return tensor

    def _check_arguments(self) -> None:
        """Refuse changes to argument Tensors: the function gets stand-ins, so the caller would not see the changes."""
        for tensor, tracer, leaf in self.argument_tensors:
            if tensor._node is not leaf or tensor._data is not tracer:
                what = "is changed in place or made to require gradients: use its clone() or detach()"
                raise self.capture_error(f"an argument of shape {tracer.shape} {what}")
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
                tracer.layout = array
            capture = self.captures[id(array)] = tracer, tracer.value, array
        return capture[0]

    def from_data(self, data: Any, array: NDArray[Any]) -> Tracer:
        """Return the Tracer of a new Tensor that was created from `data`; `array` is `data` or a converted copy.

        Each run reads an external array again. An array that the function has computed with NumPy is a constant.
        """
        if not isinstance(data, np.ndarray) or not self.observer.is_external_memory(data):
            return self.add_array(array)
        tracer = self.capture_array(data)
        if array is data:
            return tracer
        return tracer.copy() if array.dtype == data.dtype else self.cast(tracer, array.dtype)

    def lift(self, x: Any, detached: bool = False) -> Any:
        """Return an input of an operation for tracing: Tensors and arrays as Tracers, numbers unchanged.

        Args:
            x: the input.
            detached: whether no gradient will flow to it, so that it may have a graph from outside.
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
                    f"a tensor of shape {x.shape} has a graph from outside the compiled function: use its detach(), or "
                    f"compute it inside"
                )
        return self.capture_array(array)

    def watch(self, tensor: Tensor) -> None:
        """Guard the memory of an external Tensor and whether it requires gradients."""
        if type(tensor._data) is np.ndarray and id(tensor) not in self.tensors:
            self.tensors[id(tensor)] = weakref.ref(tensor), tensor._data, tensor._node

    def scalar_index(self, scalar: Any) -> int:
        """Return the index of a scalar among the program's scalars."""
        return self.glue.scalar_index(scalar)

    def depend_on_types(self, scalars: Iterable[Any]) -> None:
        """Guard the types of scalars: with arrays that are not floating-point, they decide the type of the result."""
        for scalar in scalars:
            kind = self.glue.names[type(scalar.value)]
            what = type(scalar.value).__name__
            self.glue.guards.add(f"type({scalar.source}) is {kind}", "an optimizer's number", f"is of type {what}")

    def as_array(self, scalar: OptimizerScalar) -> Tracer:
        """Return an optimizer's scalar as a 0-d array."""
        example, operand = np.asarray(scalar.value), (scalar, self.glue.scalar_index(scalar))
        return self.add_value("elementwise", "cast", (operand,), example, type=example.dtype)

    def view_at_computed_index(self, x: Tracer, index: Any, value: Value) -> Tracer:
        """Return the Tracer of x[index] for an index with integers that the program computes.

        `value` is what it stands for now.
        """
        parts = index if isinstance(index, tuple) else (index,)
        index_tracers = tuple([part for part in parts if isinstance(part, Tracer)])
        take_x, x_count = x.view_function, len(x.index_tracers)  # x itself may be a view

        def take_view(array: Any, *numbers: Any) -> Any:
            indices = iter(numbers[x_count:])
            plain_index = [int(next(indices)) if isinstance(part, Tracer) else part for part in parts]
            view = array if x.base is None else take_x(array, *numbers[:x_count])
            return view[(*plain_index, ...) if ... not in plain_index else tuple(plain_index)]

        return Tracer(self, value, x if x.base is None else x.base, take_view, (*x.index_tracers, *index_tracers))

    def assign(self, out: Any, result: Any) -> Any:
        """Record a change in place: `out` has the value `result` from now on.

        Raises:
            ValueError: `out` is read-only, or the result does not fit.
        """
        if not isinstance(out, Tracer):
            raise Untraceable("a change in place of a NumPy array from outside")
        base = out if out.base is None else out.base
        if id(base) in self.arguments:
            raise Untraceable("a change in place of an argument")
        if not out.layout.flags.writeable:
            raise ValueError("assignment destination is read-only")  # as NumPy says
        if elements_overlap(base.layout):
            raise Untraceable("a change in place of memory in which elements overlap")
        result = self.as_tracer(result)
        if result.shape != out.shape:
            result = self.record_view(result, lambda array: np.broadcast_to(array, out.shape))
        if result.dtype != out.dtype:
            result = self.cast(result, out.dtype)
        axes = axes_in_order(base.layout)
        if base is not out:  # a view: some elements of the base
            change = ElementChange(partial(_write_view, out.view_function), axes)
            result = self.add_call("a change of some elements", change, (base, result, *out.index_tracers), {})
        # keep the base's memory layout: it decides which later results are views and which are copies
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
        """Record an operation; return its inputs as Tracers, its result, and the extra result of its formula."""
        self.free_examples()
        with self.observer.calls.paused(_belongs_to_chainrule(operation.formula)):
            arrays = [self.lift(x) for x in inputs]
            if operation.promote is not None:
                arrays = self._promote_inputs(arrays, operation)
            try:
                result = self.apply(operation, arrays, options)
            except Exception:  # the formula needs arrays, or raises an error, which the Python call raises again
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
        """Return the inputs of an operation, converted to their common type."""
        examples = [
            x.value.example if isinstance(x, Tracer) else x.value if isinstance(x, Scalar) else x for x in arrays
        ]
        common = promote(list(examples), operation.promote or "common", operation.name)
        return [
            x
            if new is old or isinstance(x, Scalar)
            else self.cast(x, new.dtype)
            if isinstance(x, Tracer)
            else self.capture_array(new)
            for x, old, new in zip(arrays, examples, common, strict=True)
        ]

    def vjp(self, node: Node, grad: Any) -> Any:
        """Record the derivative of a node; return the gradients of its inputs."""
        self.free_examples()
        rule, saved, parents = node.operation.rule, node.saved or (), node.parents
        with self.observer.calls.paused(
            _belongs_to_chainrule(rule) and not any(map(callable, saved))
        ):  # a module's hook is recorded as an operation that saves the hook, which is user code
            try:
                parts = rule(grad, *saved)  # type: ignore[misc]  # the node has a rule and is not freed
                parts = parts if type(parts) is tuple else (parts,)
                return tuple(
                    entry() if callable(entry) and parent is not None else entry
                    for entry, parent in zip(parts, parents, strict=True)
                )
            except Exception:
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
            if isinstance(x, np.ndarray):  # external: its contents at this point of the program
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

        only_arrays = len(arrays) == len(positional) == sum(type(x) is _ArrayPlaceholder for x in positional)
        is_integer = all(x.dtype.kind != "f" for x in arrays)  # no floating-point warnings to ignore

        def run(*values: NDArray[Any]) -> Any:
            if only_arrays and is_integer:
                return function(*values, **options)
            with np.errstate(all="ignore"):
                return function(
                    *(_fill(x, values) for x in positional), **{k: _fill(x, values) for k, x in named.items()}
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

            # arrays: the memory, the new elements unless they are a number, the computed integers of the index
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
        """Watch a generator that the function can reach: it may draw numbers only through chainrule's functions."""
        with _lock:
            if id(generator) not in self.generators:
                state = generator.bit_generator.state
                self.generators[id(generator)] = generator, state
                self.generator_states[id(generator)] = state

    def _check_generator(self, generator: np.random.Generator) -> None:
        with _lock:
            unused = _same_state(generator.bit_generator.state, self.generator_states[id(generator)])
        if not unused:
            label = "the default generator" if generator is default_generator() else self.observer.label(generator)
            raise self.capture_error(
                f"{label}, a random generator, is used through its own methods or by another thread, so that its "
                f"numbers would be constants: draw with chainrule's functions, such as rand(generator=...), or outside "
                f"the function, and use one generator per thread"
            )

    # External state

    def begin(self) -> None:
        """Begin the trace; `restore` ends it."""
        with _lock:
            _active_traces.append(self)

    def restore(self) -> None:
        """Undo gradients and random draws of the trace, and end it. Each run of the program repeats them."""
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
        """Delete the optimizer state that the trace created, if the function is not compiled after all."""
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
        arrays = {id(array) for array, _, _ in changed}
        tensors = [ref() for ref, array, _ in self.tensors.values() if id(array) in arrays]
        self.versions = [*{id(t._version): t._version for t in tensors if t is not None}.values()]
        old_ids = {id(before) for _, before, _ in changed}

        def copy_if_changed(value: Value) -> Value:
            """Copy old contents of external memory that the program changes, since they are used after the change."""
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
        """Return the changes of single elements that turn `before` into `after`; empty if there are other changes.

        Such changes are made in place after the run, in time that does not depend on the size of the memory.

        Args:
            before: the value of external memory before the call.
            after: its value after the call.
            others: the other results. If one of them depends on an intermediate state of the memory, the list is empty.
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
        """Return a value whose computation raises the error of an invalid index, before any change is made."""
        if not step.options["computed_index"]:
            return []
        shape, dtype, write = array.shape, array.dtype, step.options["write"]

        def check(*inputs: NDArray[Any]) -> NDArray[Any]:
            write(np.lib.stride_tricks.as_strided(np.zeros((), dtype), shape, (0,) * len(shape)), *inputs)
            return np.zeros(())

        value = self.add_value("call", "an index", step.inputs[1:], np.zeros(()), function=check).value
        return [value]

    def _check_no_shared_memory(self, changed: Sequence[NDArray[Any]]) -> None:
        """Refuse changes to memory that two external arrays share: the graph treats them as separate."""
        keys = {id(array) for array in changed}
        arrays = [(*byte_bounds(array), array) for _, _, array in self.captures.values() if array.size]
        overlapping: list[tuple[int, int, NDArray[Any]]] = []  # arrays that end after the current one begins
        for low, high, array in sorted(arrays, key=lambda item: item[:2]):
            overlapping = [item for item in overlapping if item[1] > low]
            for _, _, other in overlapping:
                if not keys.isdisjoint((id(array), id(other))) and share_memory(array, other):
                    raise Untraceable("a change in place of memory that two tensors share")
            overlapping.append((low, high, array))

    def owned_value(self, x: Tracer) -> Value:
        """Return a value with its own memory and no repeated elements, to be returned to the user."""
        base = base_of(x.value)
        if base.kind in INPUT_KINDS or base.size != x.size:
            x = self.reorder(x, np.array(x.value.example))
        return x.value

    def settings(self, mapping: dict[str, Any], label: str) -> Settings:
        """Return the `Settings` of an optimizer's options or state, one object per mapping."""
        settings = self.mappings.get(id(mapping))
        if settings is None:
            settings = self.mappings[id(mapping)] = Settings(self, mapping, label)
        return settings

    def describe_code(self, code: str) -> str:
        """Replace generated names in code about an optimizer's scalars by the user's names."""
        for settings in self.mappings.values():
            code = code.replace(f"{settings.name}[", f"{settings.label}[")
        return code

    def groups(self, optimizer: Optimizer, groups: list[dict[str, Any]]) -> list[Any]:
        """Return an optimizer's parameter groups as `Settings`."""
        label = f"{self.observer.label(optimizer)}.param_groups"
        if id(optimizer) not in self.optimizers:
            self.optimizers[id(optimizer)] = optimizer, set(optimizer.state)
            guards, code = self.glue.guards, f"{self.glue.name(optimizer)}.param_groups"
            guards.add(f"len({code}) == {len(groups)}", label, f"has {len(groups)} groups")
            for number, group in enumerate(groups):
                guards.add_value(f"{code}[{number}]", f"{label}[{number}]", group)
        return [self.settings(group, f"{label}[{number}]") for number, group in enumerate(groups)]

    def update(self, optimizer: Optimizer, position: int, parameter: Tensor, group: Any) -> None:
        """Record the update of one parameter: run the optimizer's `update` on Tracers."""
        self.free_examples()
        self.optimizers.setdefault(id(optimizer), (optimizer, set(optimizer.state)))
        if not isinstance(group, Settings):  # the call created the optimizer
            group = self.settings(group, type(optimizer).__name__)
        if position not in optimizer.state:
            optimizer.state[position] = optimizer.start(parameter._data, group.mapping)
            if optimizer.state[position] and not self.observer.is_external(optimizer):
                raise LazyStateError  # each call creates the optimizer, and so its state
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
            optimizer.update(value, gradient, self.settings(state, label), group)  # type: ignore[arg-type]  # a mapping

    def capture_error(self, what: str) -> CaptureError:
        """Return the error for something that cannot be compiled. It counts even if the function catches it."""
        error = CaptureError(f"jit: {self.message_prefix}{what}{at_user_line()}")
        self.error = self.error or error
        return error

    def refuse(self, what: str) -> NoReturn:
        """Refuse an action that would happen only during tracing."""
        what = f"{what} inside a compiled function would happen only once, while the function is traced"
        raise self.capture_error(f"{what}: do it outside")

    def refuse_value(self, what: str) -> NoReturn:
        """Refuse to read values: the result would be a constant from the first call."""
        raise self.capture_error(f"{what} depends on values, which change from call to call: it cannot be compiled")

    def index(self, index: Any) -> Any:
        """Return the Tracer of an array that is used as an index."""
        tracer = self.lift(index)
        if tracer.dtype.kind == "b":
            self.refuse_value("the shape of a selection by a boolean mask")
        return tracer.copy()

    def example_at(self, array: Any, index: Any) -> Any:
        """Return the present values at an index."""

        def without_tracers(x: Any) -> Any:
            if isinstance(x, tuple):
                return tuple(without_tracers(part) for part in x)
            return x.value.example if isinstance(x, Tracer) else x

        return self.lift(array).value.example[without_tracers(index)]

    def before_grad_read(self, leaf: Leaf, outside: bool) -> None:
        """Handle a read of a leaf's gradient, which must have been computed by this call.

        Args:
            leaf: the leaf.
            outside: whether it belongs to a Tensor from outside.
        """
        if any(leaf is other for _, _, other in self.argument_tensors):
            raise self.capture_error(ARGUMENT_GRADIENT.format(leaf.shape))
        if outside and leaf.grad is None and id(leaf) not in self.assigned_grads:
            self.leaves_without_grad[id(leaf)] = leaf
        elif outside:
            self.check_gradient(leaf)

    def before_grad_assigned(self, node: Leaf | Node, grad: Tensor | None) -> Tensor | None:
        """Handle the assignment of a gradient; return the value to assign."""
        self.assigned_grads.setdefault(id(node), (node, node.grad))
        return None if grad is None else Tensor._wrap(self.lift(grad))

    def check_group(self, optimizer: Optimizer) -> None:
        """Refuse to add a group to an external optimizer."""
        if self.observer.is_external(optimizer):
            self.refuse("add_param_group()")

    def check_hook(self, owner: Any) -> None:
        """Refuse to register a hook on an external module, leaf or result."""
        if self.observer.is_external(owner) or id(owner) in {id(node) for _, _, node in self.tensors.values()}:
            self.refuse("registering a hook")

    def check_gradient(self, leaf: Leaf) -> None:
        """Refuse to add to a gradient from before the call."""
        if leaf.grad is not None and _grad_tracer(leaf.grad) is None:
            raise self.capture_error(STALE_GRADIENT.format(leaf.shape))


def _update_generator_state(generator: np.random.Generator) -> None:
    """Store the state of a generator in all active traces, after a trace or a program has drawn from it or reset it."""
    state = generator.bit_generator.state
    for trace in _active_traces:
        if id(generator) in trace.generator_states:
            trace.generator_states[id(generator)] = state


def _same_state(state: Any, other: Any) -> bool:
    """Whether two generator states are equal."""
    if isinstance(state, dict):
        return all(_same_state(value, other[key]) for key, value in state.items())
    return bool(np.all(state == other))


def _grad_tracer(grad: Tensor | None) -> Tracer | None:
    """Return the Tracer of a gradient that the trace has computed; None for other gradients."""
    array: Any = None if grad is None else grad._data
    return array if type(array) is Tracer else None


class _ArrayPlaceholder(int):
    """Index of an array among the arguments of a recorded call."""


class _ScalarPlaceholder(int):
    """Index of an optimizer's scalar among the arguments of a recorded call."""


def _fill(x: Any, arrays: Sequence[Any]) -> Any:
    if isinstance(x, _ArrayPlaceholder):
        return arrays[x]
    if isinstance(x, _ScalarPlaceholder):
        return arrays[x].item()
    if type(x) in (list, tuple):
        return type(x)(_fill(part, arrays) for part in x)
    return x


def _run_formula(operation: Operation[...], *inputs: Any, **options: Any) -> Any:
    """Run an operation's formula; its errors name the operation as in eager mode."""
    try:
        return operation.formula(*inputs, **options)
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise explain_error(error, operation, inputs, options) from None


def _write_view(view_function: Any, array: NDArray[Any], value: NDArray[Any], *indices: NDArray[Any]) -> None:
    view_function(array, *indices)[...] = value


def _belongs_to_chainrule(function: Any) -> bool:
    return is_chainrule(function.__code__.co_filename)


def _derivative_part(rule: Any, position: int, *inputs: Any) -> Any:
    parts = rule(*inputs)
    entry = parts[position] if isinstance(parts, tuple) else parts
    return entry() if callable(entry) else entry


def _after_fork() -> None:
    """Reset the lock and the traces of other threads, which do not exist in a forked process."""
    global _lock
    _lock = threading.RLock()
    _active_traces[:] = [trace for trace in _active_traces if trace is mode.trace]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
