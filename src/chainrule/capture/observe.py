"""Observes which external objects and variables a traced call reads and assigns, besides Tensors.

External means: existing before the call. What the call reads becomes a guard. Attributes of modules, optimizers and
other objects are observed when they are read (`classes`). Global and closure variables are found in the bytecode of the
functions that may run (`code`). Functions to which no variable leads are examined when they start to run (`calls`).
Before each run, a guard checks, for example, whether `net.head` is still the same layer and `drop.p` is still 0.5.
Guards compare the contents of lists, dicts, sets, arrays, tuples, frozensets and slices. Plain values (numbers,
strings, None, tuples of them) must be equal; any other object must be the same object, and so must a plain value with
attributes, such as an object of a subclass of `str`.

Assignments to external attributes and variables are undone after the trace, and each run of the program repeats them.
Most changes of an external list, dict or set cannot be repeated, so that the trace is used only once: see
`find_retrace_reason`.

`compiled` starts and stops an `Observer` around the call; the trace asks it which objects are external. `trace` records
the operations.

Not observed:
- attributes of objects implemented in C;
- reads through `object.__getattribute__`;
- settings of libraries, such as NumPy's error state, the `decimal` context and the level of a logger;
- replaced methods of chainrule's own classes, such as `Tensor.relu`;
- class attributes that `getattr` or `hasattr` reads by a computed name;
- results of `isinstance` that change after `ABCMeta.register` or an assignment to `__class__`;
- weak references that would have died: the program keeps the object alive;
- the replacement of an object's whole `__dict__`;
- the metadata of a dtype;
- Python functions that C code calls, as in `map(time.gmtime, times)`;
- changes of an array with which the call computes in NumPy, if the call also turns it into a Tensor.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import functools
import gc
import logging
import numbers
import os
import random
import sys
import threading
import weakref
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterator, MappingView
from contextvars import ContextVar
from enum import Enum, EnumType
from importlib.util import resolve_name
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import numpy as np

from chainrule.capture.calls import ENVIRONMENT, Calls
from chainrule.capture.classes import (
    MISSING,
    PATCHED_METHODS,
    STABLE_PACKAGES,
    attribute_restorer,
    attributes_of,
    cell_value,
    class_attribute,
    has_default_lookup,
    is_descriptor,
    is_heap_type,
    is_observable,
    namespace_attribute,
    needs_namespace_guards,
    package_of,
    patch,
    unpatch,
    user_bases,
)
from chainrule.capture.code import variables, with_inner
from chainrule.capture.frames import is_chainrule, is_installed, is_stdlib_or_numpy
from chainrule.capture.guards import (
    PLAIN,
    ArrayEntries,
    BufferEntries,
    DictEntries,
    ListEntries,
    ModuleEntries,
    elements_of,
    format_value,
)
from chainrule.capture.optimizer_state import OptimizerScalar
from chainrule.errors import CaptureError
from chainrule.lower.tracer import Tracer
from chainrule.nn.module import Module
from chainrule.ops.operation import Operation
from chainrule.optim import Optimizer
from chainrule.random import default_generator
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CellType, CodeType, FrameType

    from numpy.typing import NDArray

    from chainrule.capture.code import AttributeChains
    from chainrule.capture.trace import Trace

Entries = ListEntries | DictEntries | BufferEntries | ArrayEntries
_LISTS = (list, set, deque, WeakSet)
"""Types whose contents are compared as by `ListEntries`."""

_DICTS = (dict, MappingProxyType, WeakKeyDictionary, WeakValueDictionary)
"""Types whose contents are compared as by `DictEntries`."""

_METHODS_NOT_RUN = {"__repr__", "__str__", "__format__", "__del__", "__reduce__", "__reduce_ex__", "__getstate__"}
"""Special methods that are assumed not to run in a step."""

_CREATION_METHODS = {"__new__", "__init__", "__post_init__", "__init_subclass__", "__set_name__"}
"""Special methods that run only when a class or an object is created."""

_FIXED = (type, ModuleType, BuiltinFunctionType, np.ufunc, Operation)
"""Types of objects that count as the same in all runs, even if the call has created them (see `Observer.is_fixed`)."""

_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))
"""The types of the views of a dict."""

_SAFE_TO_CALL = (
    *_LISTS, *_DICTS, UserDict, UserList, ENVIRONMENT, MappingView, Iterator, argparse.Namespace, ChainMap,
    PurePath, numbers.Number, tuple, Enum, random.Random, type, ModuleType, threading.local, logging.Filterer,
    np.recarray, np.record,
)  # fmt: skip
"""Classes of the standard library and NumPy whose methods a kept trace may call: guards compare the objects, or the
objects never change, or the methods only write output."""

_ARRAYS = (np.ndarray, np.void)
"""Types with NumPy memory. A record (`np.void`) is a view of its array."""

_CALLABLES = (FunctionType, functools.partial, type(functools.cache(len)))
"""Types of callables whose own attributes cannot be observed through their class."""

_VOLATILE_SYS_ATTRIBUTES = {"modules", "stdin", "stdout", "stderr"}
"""Attributes of `sys` that any code may change; they are not guarded."""

_METADATA = {"shape", "dtype", "ndim", "size", "nbytes", "itemsize"}
"""Attributes of an array that do not depend on its elements."""

MAX_COMPARED_BYTES = 1 << 24
"""The largest size of a buffer, and of all NumPy arrays together, that guards compare."""


class Assignment(NamedTuple):
    """An assignment to an external attribute or variable.

    Attributes:
        target: the left-hand side in generated code.
        label: the left-hand side as the user would write it.
        value: the assigned value.
        undo: a function that restores the value from before the call.
    """

    target: str
    label: str
    value: Any
    undo: Callable[[], None]


_SELF_RETURNING = (property, type(Assignment.target))
"""Types of descriptors that return themselves when read from the class: properties and fields of named tuples."""


class Observer:
    """Observes the external objects and variables that one traced call reads and assigns.

    Attributes:
        trace: the trace of the call.
        guards: the guards of the program.
        names: the names of objects in generated code.
        calls: the profiler.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.guards, self.names = trace.glue.guards, trace.glue.names
        # A label is the name of an object as the user would write it, for messages.
        self._external_objects: dict[int, tuple[str, Any]] = {}  # (label, object), by identity
        self._created_objects: dict[int, Any] = {}  # objects that the call has created, by identity
        self._observed_attributes: set[tuple[int, str]] = set()  # (identity of the object, name): read or assigned
        self._attribute_assignments: dict[tuple[int, str], Assignment] = {}  # by identity of the object, and name
        self._variables: dict[str, _Variable] = {}  # variables that a function may assign, by their expressions
        # guarded attributes of modules, classes and functions, by their expressions: (owner, name, value, label)
        self._namespace_attributes: dict[str, tuple[Any, str, Any, str]] = {}
        self._containers: list[tuple[Any, Entries, str, str]] = []  # (container, snapshot, code of its guard, label)
        self._arrays: dict[int, tuple[NDArray[Any], str]] = {}  # arrays that the call may read: (array, label)
        # if there are too many bytes to compare, the label of the largest array, or of a buffer that alone is too large
        self._large_array: str | None = None
        self._functions: dict[int, FunctionType] = {}  # examined functions, by identity
        self._callables: list[tuple[Any, DictEntries, str]] = []  # (callable, snapshot of its attributes, label)
        self._codes: dict[int, CodeType] = {}  # code of examined functions and of functions inside them, by identity
        self.calls = Calls(self)
        self._imported_modules: AttributeChains = {}  # modules that the examined functions import
        self._reads_classes = False  # whether an examined function may read the class of an object
        self._iterators: list[str] = []  # labels of external iterators
        self._random = _RandomStates()
        self._classes_of_objects: dict[type, None] = {}  # classes of external objects; a dict, to keep the order
        self._classes_as_values: dict[type, None] = {}  # classes whose members may be read from the class itself
        self._patched_classes: list[type] = []
        self._package = ""  # the package of the traced function

    def start(self, function: Any, arguments: Iterable[Any]) -> None:
        """Begin to observe a call of a function; `arguments` are those that are neither Tensors nor arrays."""
        self._patch(Module)
        self._patch(Optimizer)
        if default_generator.cache_info().currsize:  # it exists already
            self.trace.watch_generator(default_generator())
        inner = function.__func__ if isinstance(function, MethodType) else function
        if isinstance(inner, FunctionType):
            self._package = str(inner.__module__).partition(".")[0]
            self._track_function(inner, is_traced=True)
        self._track(function, getattr(function, "__name__", "the function"))
        for position, argument in enumerate(arguments):
            self._track(argument, f"argument {position + 1}")
        self.calls.start()

    def stop(self) -> None:
        """Stop observing and undo all patches."""
        self.calls.stop()
        while self._patched_classes:
            unpatch(self._patched_classes.pop())

    def is_external(self, thing: Any) -> bool:
        """Whether an object is known to have existed before the call."""
        return id(thing) in self._external_objects

    def is_external_memory(self, array: Any) -> bool:
        """Whether an array, or the memory that it is a view of, is known to have existed before the call."""
        return self.is_external(array) or any(map(self.is_external, _bases(array)))

    def label(self, thing: Any) -> str:
        """Return the name of an object as the user would write it; its type's name if it is not external."""
        return self._external_objects.get(id(thing), (type(thing).__name__,))[0]

    # Reads of attributes

    def after_read(self, thing: Any, name: str, value: Any, reader: str) -> Any:
        """Handle a read of an attribute by code in the file `reader`; return the value that this code gets."""
        if isinstance(thing, Optimizer) and name in ("param_groups", "state"):
            return self._groups_or_state(thing, name, value, reader)
        # `functools.cached_property` reads `__dict__` too, but only for one attribute
        if (id(thing), name) not in self._observed_attributes and (name != "__dict__" or reader != functools.__file__):
            with self.calls.paused():
                if name == "__dict__":
                    self._guard_all_attributes(thing, value, is_chainrule(reader))
                else:
                    self._guard_read(thing, name, value, reader)
        return value

    def _guard_read(self, thing: Any, name: str, value: Any, reader: str) -> None:
        """Handle the first read of an attribute."""
        self._observed_attributes.add((id(thing), name))
        member = class_attribute(type(thing), name)
        is_own = name in attributes_of(thing) and not hasattr(type(member), "__set__")
        if isinstance(thing, (Tensor, np.ndarray)) and not is_own and not _is_user_defined(type(thing), name):
            return  # `trace` guards Tensors, and the elements of arrays are compared
        label = f"{self.label(thing)}.{name}"
        # the call has computed and cached a Tensor: each run must assign it, too
        if is_own and isinstance(member, functools.cached_property) and has_tracer(value) and self.is_external(thing):
            self._guard_descriptor(type(thing), name, member)
            self._guard_class_attribute(thing, name, label)
            undo = functools.partial(attributes_of(thing).pop, name, None)
            self.after_assign(thing, name, Assignment(f"{self.names[thing]}.{name}", label, value, undo))
            return
        if is_own or not is_descriptor(member):
            if id(thing) not in self._created_objects:
                self._guard_attribute(thing, name, label, value, is_own)
        elif isinstance(value, MethodType):
            self._guard_method(thing, name, label, value.__func__, reader)
            return
        else:  # a descriptor may return a different object at each read, so that its value cannot be guarded
            self._guard_descriptor(type(thing), name, member)
        self._track(value, label, skip_elements=id(thing) in self._created_objects)

    def _guard_attribute(self, thing: Any, name: str, label: str, value: Any, is_own: bool) -> None:
        """Guard the value of an attribute. `is_own` tells whether the object itself has it, not only its class."""
        owner, is_default = self.names[thing], has_default_lookup(type(thing))
        if is_default and is_own:
            self.guard_value(f"{self.names[attributes_of(thing)]}[{name!r}]", label, value)
        elif is_default and value is None:  # such as missing hooks; this guard is cheaper
            self._guard_class_attribute(thing, name, label)
        else:
            self.guard_value(f"{owner}.{name}" if name.isidentifier() else f"getattr({owner}, {name!r})", label, value)

    def _guard_class_attribute(self, thing: Any, name: str, label: str) -> None:
        """Guard that an attribute comes from the class: the class is the same, and the object does not have it itself.

        A member that a user's class defines is guarded, too, and so is `forward`.
        """
        cls = type(thing)
        self.guards.add_value(f"type({self.names[thing]})", f"the type of {self.label(thing)}", cls)
        self.guards.add(f"{name!r} not in {self.names[attributes_of(thing)]}", label, "is that of its class")
        if name == "forward" or _is_user_defined(cls, name):
            self._guard_member(cls, name, class_attribute(cls, name))

    def _guard_method(self, thing: Any, name: str, label: str, function: Any, reader: str) -> None:
        """Guard a method, and the methods of the same name in the bases, which it may call through `super()`."""
        self._track(function, label)
        bases = [base for base in user_bases(type(thing)) if isinstance(vars(base).get(name), FunctionType)]
        for base in bases:
            self._guard_member(base, name, vars(base)[name])
        # The object may get a method of its own. This is not checked if no user class defines the method and chainrule
        # reads it, except for `forward`.
        if id(thing) in self._created_objects or not (bases or name == "forward" or not is_chainrule(reader)):
            return
        if has_default_lookup(type(thing)) and isinstance(class_attribute(type(thing), name), FunctionType):
            self._guard_class_attribute(thing, name, label)
        else:
            self.guards.add_value(f"{self.names[thing]}.{name}.__func__", label, function)

    def _guard_descriptor(self, cls: type, name: str, member: Any) -> None:
        """Handle a read of a descriptor, such as a property; guard it if it belongs to a user's class."""
        label, code = f"{cls.__name__}.{name}", f"{self.names[class_attribute]}({self.names[cls]}, {name!r})"
        if type(member) in _SELF_RETURNING and type(cls) is type:  # this guard is cheaper
            code = f"{self.names[cls]}.{name}"
        if _is_user_defined(cls, name):
            self._guard_namespace_attribute(code, label, cls, name, member)
        for part in _functions_of(member):
            self._track(part, label)

    def _groups_or_state(self, optimizer: Optimizer, name: str, value: Any, reader: str) -> Any:
        """Return what a read of an optimizer's groups or state yields: `TracedMapping`s, with two exceptions.

        The exceptions are an optimizer that the call has created, and a read of the state by chainrule itself.
        """
        if id(optimizer) in self._created_objects:
            return value
        if name == "param_groups":
            return self.trace.traced_groups(optimizer, value)
        return value if is_chainrule(reader) else self.trace.traced_mapping(value, f"{self.label(optimizer)}.state")

    def after_failed_read(self, thing: Any, name: str) -> None:
        """Guard that an attribute is missing, after a failed read."""
        if (id(thing), name) in self._observed_attributes or self._is_created(thing):
            return
        self._observed_attributes.add((id(thing), name))
        missing = self.names[MISSING]
        code = f"getattr({self.names[thing]}, {name!r}, {missing}) is {missing}"
        if hasattr(type(thing), "__getattr__"):  # which may compute the attribute
            code = f"{name!r} not in {self.names[attributes_of(thing)]}"
        self.guards.add(code, self.label(thing), f"has no {name}")

    def _guard_all_attributes(self, thing: Any, attributes: dict[str, Any], by_chainrule: bool) -> None:
        """Guard all attributes of an object; if chainrule reads those of a module, ignore changes of plain values."""
        members_only = by_chainrule and isinstance(thing, Module)
        key = id(thing), "members" if members_only else "__dict__"
        if key in self._observed_attributes or self._is_created(thing):
            return
        self._observed_attributes.add(key)
        entries = ModuleEntries(attributes) if members_only else DictEntries(attributes)
        label, code = self.label(thing), self.names[attributes]
        members = "parameters, buffers and submodules" if members_only else "attributes"
        self.guards.add(entries.condition(code, self.names), label, f"has the same {members}")
        for name, value in attributes.items():
            self._track(value, f"{label}.{name}", skip_elements=members_only)

    # Assignments

    def before_assign(self, thing: Any, name: str, value: Any) -> Assignment | None:
        """Handle an assignment to an attribute that is about to be made.

        Returns:
            The assignment, to be passed to `after_assign`; None if runs of the program need not repeat it.
        """
        if self._is_created(thing):
            return None
        self._track(thing, type(thing).__name__)  # the call may have reached it in a way that is not observed
        label, owner, member = f"{self.label(thing)}.{name}", self.names[thing], class_attribute(type(thing), name)
        if isinstance(member, property):  # the assignments that its setter makes are observed
            self._track(member.fset, label)
            return None
        self._check_assignable(value, label)
        earlier = self._attribute_assignments.get((id(thing), name))
        target = f"{owner}.{name}" if name.isidentifier() else f"{owner}.__dict__[{name!r}]"
        return Assignment(target, label, value, attribute_restorer(thing, name) if earlier is None else earlier.undo)

    def after_assign(self, thing: Any, name: str, assignment: Assignment) -> None:
        """Record an assignment that has succeeded."""
        self._attribute_assignments[id(thing), name] = assignment
        self._observed_attributes.add((id(thing), name))  # later reads see the assigned value

    def before_delete(self, thing: Any, name: str) -> None:
        """Refuse to delete an attribute of an external object."""
        if self.is_external(thing):
            self.trace.refuse(f"deleting {self.label(thing)}.{name}")

    def _is_created(self, thing: Any) -> bool:
        """Whether the call has created an object: it is not external, and has no attributes when it is first seen."""
        if not self.is_external(thing) and not attributes_of(thing):
            self._created_objects[id(thing)] = thing
        return id(thing) in self._created_objects

    def _check_assignable(self, value: Any, label: str) -> None:
        """Raise an error if a run of the program could not repeat the assignment of a value."""
        if not self._can_be_assigned(value):
            problem = f"{label} is set to a {type(value).__name__} created inside the compiled function, which would"
            raise self.trace.capture_error(f"{problem} happen only once, while the function is traced: do it outside")

    def _can_be_assigned(self, value: Any) -> bool:
        """Whether each run of the program could assign a value."""
        if type(value) in (list, tuple):
            return all(map(self._can_be_assigned, value))
        if type(value) is dict:
            return all(map(self._can_be_assigned, value.values()))
        return type(value) is OptimizerScalar or type(value) is Tensor or self.is_fixed(value)

    def is_fixed(self, value: Any) -> bool:
        """Whether a value counts as the same in all runs, so that each run can assign the value of the traced call.

        Plain values do, objects of the types _FIXED, tuples of such values, and whatever existed before the call.
        """
        if type(value) is OptimizerScalar:
            return False
        if isinstance(value, tuple) and not self.is_external(value):
            return all(map(self.is_fixed, value))
        if isinstance(value, Tensor):
            return type(value._data) is np.ndarray
        return isinstance(value, (*PLAIN, *_FIXED)) or self.is_external(value)

    def assignments(self) -> Iterator[Assignment]:
        """Yield the assignments of the call to external variables and attributes."""
        for variable in self._variables.values():
            value = variable.read()
            if value is not variable.initial:
                self._check_assignable(value, variable.label)
                yield Assignment(variable.code, variable.label, value, variable.undo)
        yield from self._attribute_assignments.values()

    def undo(self, failed: bool) -> None:
        """Undo the assignments of the call, which each run of the program repeats.

        Args:
            failed: whether there is no program; if so, all other side effects are undone as well.

        Raises:
            CaptureError: some memory cannot be restored; everything else is restored.
        """
        for assignment in self._attribute_assignments.values():
            assignment.undo()
        for variable in self._variables.values():
            variable.undo()
        if failed:
            for container, entries, _, _ in self._containers:
                if not entries.unchanged(container):
                    entries.restore(container)
            for owner, name, value, _ in self._namespace_attributes.values():
                if namespace_attribute(owner, name) is not value:
                    setattr(owner, name, value)
            for thing, attributes, _ in self._callables:
                if not attributes.unchanged(attributes_of(thing)):
                    attributes.restore(attributes_of(thing))
            self._random.restore()
        self._created_objects.clear()
        for container, entries, _, label in self._containers if failed else ():
            if not entries.unchanged(container):
                raise CaptureError(
                    f"jit: the call cannot be compiled, and {label}, a {type(container).__name__} from outside, cannot "
                    f"be restored: the function must not change its length, release it or close it"
                )

    def find_retrace_reason(self) -> str | None:
        """Return why the trace cannot be kept as a program; None if it can.

        A reason is a side effect that a run would not repeat, or a result that no guard can check. Adding Tensors to an
        external container is not a reason: they belong to the trace, and using one of them later raises an error.
        """
        for container, entries, code, label in self._containers:
            if entries.unchanged(container):
                continue
            if not entries.unchanged(_without_tracers(container)):
                return f"it changes {label}, a {type(container).__name__} from outside"
            self.guards.remove(code)
        for owner, name, value, label in self._namespace_attributes.values():
            if namespace_attribute(owner, name) is not value:
                return f"it assigns {label}, an attribute of a class, a module or a function"
        for thing, attributes, label in self._callables:
            if not attributes.unchanged(attributes_of(thing)):
                return f"it assigns an attribute of {label}, a function"
        if self._large_array is not None:
            return (
                f"it may compute in NumPy with more than {MAX_COMPARED_BYTES >> 20} MiB of arrays, too much to compare "
                f"in each call: turn them into Tensors with from_numpy(), beginning with {self._large_array}"
            )
        if self.calls.retrace_reason is not None:
            return self.calls.retrace_reason
        if self._iterators:
            return f"it may advance {self._iterators[0]}, an iterator from outside"
        return self._random.draw_reason()

    # External objects

    def guard_value(self, code: str, label: str, value: Any, skip_elements: bool = False) -> None:
        """Guard that `code` evaluates to an external value, and track the value; for `skip_elements` see `_track`."""
        if not (isinstance(value, ModuleType) and package_of(value) in STABLE_PACKAGES):
            self.guards.add_value(code, label, value)
            self._track(value, label, skip_elements)

    def _track(self, value: Any, label: str, skip_elements: bool = False) -> None:
        """Track an external object: observe its attributes, guard its contents, and examine its functions.

        Args:
            value: the object.
            label: its name as the user would write it.
            skip_elements: whether the elements of an array are left without a guard.
        """
        if isinstance(value, _ARRAYS) and not skip_elements:
            self._track_array(value, label)
        if id(value) in self._external_objects or id(value) in self._created_objects:
            return
        is_exception = isinstance(value, BaseException)
        if is_exception or (is_heap_type(type(value)) and isinstance(value, (*PLAIN, tuple))):
            self._track_derived(value, label)
        if isinstance(value, (tuple, frozenset)):
            for position, part in enumerate(value):
                self._track(part, f"{label}[{position}]")
        if isinstance(value, slice):
            for name in ("start", "stop", "step"):
                self._track(getattr(value, name), f"{label}.{name}")
        if isinstance(value, (*PLAIN, tuple)):
            return
        self._external_objects[id(value)] = label, value
        if isinstance(value, _CALLABLES):
            self._callables.append((value, DictEntries(attributes_of(value)), label))
        if isinstance(value, FunctionType):
            self._track_function(value)
        elif isinstance(value, MethodType):
            self._track(value.__self__, label)
            self._track(value.__func__, label)
        elif isinstance(value, functools.partial):
            for part in (value.func, *value.args):
                self._track(part, label)
            self._track_contents(value.keywords, f"{self.names[value]}.keywords", label)
        elif isinstance(value, type):
            self._track_class(value, may_be_instantiated=True)
            self._guard_plain_class_attributes(value)
            self._classes_as_values[value] = None
        elif isinstance(value, weakref.ref):
            self.guard_value(f"{self.names[value]}()", label, value())
        elif isinstance(value, ContextVar):
            self.guard_value(f"{self.names[value]}.get({self.names[MISSING]})", label, value.get(MISSING))
        elif isinstance(value, _generator_class()):
            self.trace.watch_generator(value)
        elif isinstance(value, ModuleType):
            self._guard_module(value, label)
        elif isinstance(value, _ARRAYS):
            self._track_class(type(value))
        else:
            self._track_object(value, label)

    def _track_derived(self, value: Any, label: str) -> None:
        """Track an exception, or an object of a subclass of a plain type, such as a named tuple."""
        cls = type(value)
        self._external_objects[id(value)] = label, value
        self._track_class(cls)
        if not is_observable(cls):
            if attributes_of(value):
                self._track_contents(attributes_of(value), f"{self.names[value]}.__dict__", label)
            self._guard_plain_class_attributes(cls)
            self._classes_as_values[cls] = None
        if isinstance(value, BaseException):
            self.guard_value(f"{self.names[value]}.args", f"{label}.args", value.args)

    def _track_object(self, value: Any, label: str) -> None:
        """Track an object of any other type than those that `_track` handles itself."""
        if isinstance(value, Tensor):
            self.trace.watch(value)
        self._track_class(type(value))
        self._track(attributes_of(value).get("__wrapped__"), label)
        self._random.watch(value, label)
        if isinstance(value, Iterator):
            self._iterators.append(label)
        if isinstance(value, (SimpleNamespace, threading.local)):
            self._track_contents(value.__dict__, f"{self.names[value]}.__dict__", label)
        elif isinstance(value, (UserDict, UserList)):
            self._track_contents(value.data, f"{self.names[value]}.data", label)
        elif isinstance(value, ENVIRONMENT):
            self._track_contents(value._data, f"{self.names[value]}._data", label)
        elif isinstance(value, _VIEWS):
            self._track_contents(value.mapping, f"{self.names[value]}.mapping", label)
        elif isinstance(value, MappingView):
            self.guard_value(f"{self.names[value]}._mapping", label, value._mapping)  # type: ignore[attr-defined]
        elif isinstance(value, (*_DICTS, *_LISTS)):
            self._track_contents(value, self.names[value], label)
        elif _is_buffer(value):
            self._track_buffer(value, memoryview(value).nbytes, BufferEntries, label)

    def _track_array(self, array: Any, label: str) -> None:
        """Guard the elements of a NumPy array; `finish` drops the guard if a Tensor shares the array's memory."""
        if id(array) not in self._arrays:
            self._arrays[id(array)] = array, label
            self._track_buffer(array, array.nbytes, ArrayEntries, label)
            for position, element in enumerate(elements_of(array)) if array.dtype.hasobject else ():
                self._track(element, f"{label}[{position}]")

    def _track_buffer(
        self, buffer: Any, byte_count: int, make_entries: Callable[[Any], BufferEntries | ArrayEntries], label: str
    ) -> None:
        """Guard the elements of a buffer, unless it is too large to compare."""
        if byte_count <= MAX_COMPARED_BYTES:
            entries = make_entries(buffer)
            code = entries.condition(self.names[buffer], self.names)
            self.guards.add(code, label, "has the same elements")
            self._containers.append((buffer, entries, code, label))
        elif not isinstance(buffer, np.ndarray):
            self._large_array = self._large_array or label

    def _track_contents(self, container: Any, code: str, label: str) -> None:
        """Guard the contents of the container to which `code` evaluates, and track its elements."""
        is_dict = isinstance(container, _DICTS)
        entries = DictEntries(container) if is_dict else ListEntries(container)
        code = entries.condition(code, self.names)
        self.guards.add(code, label, "has the same contents")
        self._containers.append((container, entries, code, label))
        for key, value in container.items() if is_dict else enumerate(container):
            self._track(value, f"{label}[{format_value(key)}]")
            if is_dict:
                self._track(key, f"a key of {label}")

    def _track_class(self, cls: type, may_be_instantiated: bool = False) -> None:
        """Observe the objects of a class, and guard the special methods of the user's classes among its bases.

        Args:
            cls: the class.
            may_be_instantiated: whether the call may create objects of it.
        """
        if cls in self._classes_of_objects and not may_be_instantiated:
            return
        self._classes_of_objects[cls] = None
        for base in user_bases(cls):
            for name, member in [*vars(base).items()]:
                if is_descriptor(member) and user_bases(type(member)):  # a user's descriptor, whose methods may run
                    self._track(member, f"{base.__name__}.{name}")
                if name[:2] != "__" or name in _METHODS_NOT_RUN or not isinstance(member, FunctionType):
                    continue
                if name in PATCHED_METHODS:  # the member may be a patch
                    self._track(getattr(member, "original", member), f"{base.__name__}.{name}")
                    continue
                # operators, calls and loops run special methods, whose names are not in the bytecode
                if may_be_instantiated or name not in _CREATION_METHODS:
                    self.guard_value(f"{self.names[base]}.{name}", f"{base.__name__}.{name}", member)
        if is_observable(cls) and not any(base in self._patched_classes for base in cls.__mro__):
            self._patch(cls)

    def _guard_module(self, module: ModuleType, label: str) -> None:
        """Guard all attributes of a module that the call uses as a value, because it may read any of them."""
        is_in_library = is_installed(getattr(module, "__file__", None) or "") and package_of(module) != self._package
        if is_in_library or package_of(module) in STABLE_PACKAGES:
            return
        code = self.names[vars(module)]
        self.guards.add(f"len({code}) == {len(vars(module))}", label, f"has {len(vars(module))} attributes")
        for name, value in [*vars(module).items()]:
            if name[:2] != "__" and not isinstance(value, ModuleType):
                self._guard_namespace_attribute(f"{code}[{name!r}]", f"{label}.{name}", module, name, value)

    def _guard_plain_class_attributes(self, cls: type) -> None:
        """Guard a class's attributes that are plain values or classes, because the call may read any of them."""
        hidden_prefix = "_" if isinstance(cls, EnumType) else "__"
        for base in user_bases(cls):
            for name in [*vars(base)]:
                value = class_attribute(cls, name)
                is_member = isinstance(cls, EnumType) and isinstance(value, cls)
                if isinstance(value, (*PLAIN, type)) and not is_member and not name.startswith(hidden_prefix):
                    self._guard_member(cls, name, value)

    def _guard_named_members(self, cls: type, names: set[str]) -> None:
        """Guard those methods, properties and containers of a class whose names are among `names`."""
        for base in [] if isinstance(cls, EnumType) else user_bases(cls):
            for name in names & vars(base).keys():
                member = class_attribute(cls, name)
                if isinstance(member, (FunctionType, staticmethod, *_LISTS, *_DICTS)):
                    self._guard_member(cls, name, member)
                elif isinstance(member, (classmethod, property)):
                    self._guard_descriptor(cls, name, member)

    def _guard_member(self, cls: type, name: str, member: Any) -> None:
        """Guard an attribute of a class."""
        self._guard_namespace_attribute(f"{self.names[cls]}.{name}", f"{cls.__name__}.{name}", cls, name, member)

    def _guard_namespace_attribute(self, code: str, label: str, owner: Any, name: str, value: Any) -> None:
        """Guard the attribute `name` of a module, class or function, to which `code` evaluates."""
        if code not in self._namespace_attributes:
            self._namespace_attributes[code] = owner, name, value, label
            self.guard_value(code, label, value.__func__ if isinstance(value, staticmethod) else value)

    # Functions

    def _track_function(self, function: FunctionType, is_traced: bool = False) -> None:
        """Examine a function: its code, its defaults, and its global and closure variables.

        Args:
            function: the function.
            is_traced: whether it is the traced function itself, which is examined even if it belongs to a library.
        """
        if id(function) in self._functions:
            return
        self._functions[id(function)] = function
        code = function.__code__
        is_user_function = is_traced or not self._is_library_function(code, function.__module__)
        if is_user_function:
            self._guard_function(function)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._track(default, f"a default of {function.__name__}")
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        if is_stdlib_or_numpy(code.co_filename):  # a wrapper, as of `contextmanager`, holds a user function
            for name, cell in cells.items():
                self._track(cell_value(cell), name)
        if is_user_function:
            self._track_variables(code, function.__globals__, cells)

    def enter_function(self, frame: FrameType) -> None:
        """Examine a function that starts to run, unless it was examined or belongs to a library."""
        code, namespace = frame.f_code, frame.f_globals
        module_name = namespace.get("__name__")
        # kernels that were rendered to Python do not have a module
        if id(code) in self._codes or module_name is None or self._is_library_function(code, module_name):
            return
        if code.co_argcount:
            self._guard_running_method(frame.f_locals.get(code.co_varnames[0]), code)
        if not code.co_freevars:
            self._track_variables(code, namespace, {})
            return
        for function in gc.get_referrers(code):  # the closure cells are only in the function object
            if isinstance(function, FunctionType):
                self._track_function(function)

    def _guard_running_method(self, thing: Any, code: CodeType) -> None:
        """If code that starts to run is a method, guard it in its class. `thing` is the first argument of the call."""
        for base in user_bases(type(thing)):
            for name, member in [*vars(base).items()]:
                if isinstance(member, FunctionType) and member.__code__ is code and name not in PATCHED_METHODS:
                    self._guard_member(base, name, member)

    def track_environment(self) -> None:
        """Track `os.environ`, before it is read or changed."""
        self._track(os.environ, "os.environ")

    def before_copy(self, thing: Any) -> None:
        """Guard all attributes of an object that is about to be copied."""
        if is_observable(type(thing)) and attributes_of(thing) and self.is_external(thing):
            self._guard_all_attributes(thing, attributes_of(thing), by_chainrule=False)

    def before_library_method(self, thing: Any) -> None:
        """Handle a call of a library's method by user code: the state of an external object may change its result."""
        if self.is_external(thing) and not isinstance(thing, _SAFE_TO_CALL):
            kind = type(thing).__qualname__
            self.calls.set_retrace_reason(f"it calls a method of {self.label(thing)}, a {kind} from outside")

    def _track_variables(self, code: CodeType, namespace: dict[str, Any], cells: dict[str, CellType]) -> None:
        """Guard and track the global and closure variables of a function.

        Args:
            code: the function's code.
            namespace: the globals of its module.
            cells: its closure cells, by variable.
        """
        self._codes.update((id(part), part) for part in with_inner(code))
        names = variables(code)
        for name, chains in names.globals.items():
            if name in namespace:
                self._guard_variable(f"{self.names[namespace]}[{name!r}]", name, namespace[name], chains)
            elif not hasattr(builtins, name):
                self.guards.add(f"{name!r} not in {self.names[namespace]}", name, "is not defined")
        for name, chains in names.enclosing.items():
            if (value := cell_value(cells[name])) is not MISSING:
                self._guard_variable(f"{self.names[cells[name]]}.cell_contents", name, value, chains)
        for name in names.assigned_globals:
            self._track_assigned_variable(_Variable(f"{self.names[namespace]}[{name!r}]", name, namespace, name))
        for name in names.assigned_enclosing:
            self._track_assigned_variable(_Variable(f"{self.names[cells[name]]}.cell_contents", name, cells[name]))
        package = namespace.get("__package__") or str(namespace.get("__name__")).rpartition(".")[0]
        for name, chains in names.imported.items():
            with contextlib.suppress(ImportError):  # the user's import raises the same error
                self._imported_modules.setdefault(resolve_name(name, package), set()).update(chains)
        if names.reads_clock:
            line = f"{code.co_filename}:{code.co_firstlineno}"
            reason = f'it converts "now" or "today" to a NumPy date, which may differ in each call ({line})'
            self.calls.set_retrace_reason(reason)
        if "super" in names.globals and "__class__" in cells:
            self._track_bases(cell_value(cells["__class__"]), names.attributes)
        if "__class__" in names.attributes or "type" in names.globals:
            self._reads_classes = True

    def _guard_function(self, function: FunctionType) -> None:
        """Guard the code and defaults of a function, because reloading a module may change them."""
        name, label, code = self.names[function], function.__qualname__, function.__code__
        self.guards.add(f"{name}.__code__ is {self.names[code]}", label, "has the same code")
        if code.co_argcount:  # otherwise it cannot have defaults
            self.guards.add_value(f"{name}.__defaults__", f"{label}.__defaults__", function.__defaults__)
        if code.co_kwonlyargcount:
            self.guards.add_value(f"{name}.__kwdefaults__", f"{label}.__kwdefaults__", function.__kwdefaults__)
            self._track(function.__kwdefaults__, f"{label}.__kwdefaults__")

    def _is_library_function(self, code: CodeType, module: str | None) -> bool:
        """Whether code belongs to a library: chainrule, Python, NumPy, or an installed package.

        The package of the traced function does not count as a library.
        """
        file, package = code.co_filename, str(module).partition(".")[0]
        is_in_library = is_installed(file) and package != self._package
        # generated code has no source file, only the name of its module
        return is_chainrule(file) or is_stdlib_or_numpy(file) or is_in_library or package in STABLE_PACKAGES

    def _track_bases(self, cls: Any, names: Iterable[str]) -> None:
        """Guard those methods of a class's bases that are among `names`: a method may call them through `super()`."""
        for base in user_bases(cls)[1:] if isinstance(cls, type) else ():
            for name in {*names} - PATCHED_METHODS.keys():
                if isinstance(member := vars(base).get(name), FunctionType):
                    self.guard_value(f"{self.names[base]}.{name}", f"{base.__name__}.{name}", member)

    def _guard_variable(self, code: str, label: str, value: Any, chains: Iterable[tuple[str, ...]]) -> None:
        """Guard a variable, and the attribute chains read from it (see `_guard_attribute_chain`)."""
        only_metadata = isinstance(value, np.ndarray) and all(chain and chain[0] in _METADATA for chain in chains)
        if only_metadata:
            condition = f"{code}.shape == {value.shape} and {code}.dtype == {self.names[value.dtype]}"
            self.guards.add(condition, label, "has the same shape and type")
        if not isinstance(value, ModuleType):
            self.guard_value(code, label, value, skip_elements=only_metadata)
        elif package_of(value) not in STABLE_PACKAGES:
            self.guards.add_value(code, label, value)
        for chain in chains:
            self._guard_attribute_chain(code, label, value, chain)

    def _guard_attribute_chain(self, code: str, label: str, value: Any, chain: tuple[str, ...]) -> None:
        """Guard the attributes of a chain such as `module.cls.attribute`, which the function reads from `value`.

        A chain is followed through modules, classes and functions. It ends at a class method or property, and at the
        first attribute of any other object: the patches in `classes` observe when such an attribute is read.
        """
        for name in chain:
            if name == "__dict__":
                break
            owner, code, label = value, f"{code}.{name}", f"{label}.{name}"
            if owner is sys and name == "modules":
                self.calls.set_retrace_reason("it looks for modules in sys.modules")
            if owner is sys and name in _VOLATILE_SYS_ATTRIBUTES:
                return
            value = namespace_attribute(owner, name) if needs_namespace_guards(owner) else MISSING
            if isinstance(owner, ModuleType) and package_of(owner) in STABLE_PACKAGES:  # users may patch it
                value = vars(owner).get(name, MISSING)
                if value is MISSING:
                    return
                self.guards.add_value(code, label, value)
                if isinstance(value, (*_DICTS, *_LISTS)):
                    self._track(value, label)
            elif isinstance(owner, type) and isinstance(value, (classmethod, property)):
                self._guard_descriptor(owner, name, value)
                return
            elif isinstance(value, ModuleType):
                self.guards.add_value(code, label, value)
            elif value is not MISSING:
                self._guard_namespace_attribute(code, label, owner, name, value)
            elif isinstance(owner, type) and _is_user_defined(type(owner), name):
                self._guard_metaclass_attribute(code, label, owner, name)
                return
            else:
                return
        if isinstance(value, ModuleType):
            self._track(value, label)

    def _guard_metaclass_attribute(self, code: str, label: str, cls: type, name: str) -> None:
        """Guard an attribute of a class that its metaclass defines."""
        member = class_attribute(type(cls), name)
        if is_descriptor(member):
            self._guard_descriptor(type(cls), name, member)
        else:
            self._guard_namespace_attribute(code, label, type(cls), name, member)

    def _track_assigned_variable(self, variable: _Variable) -> None:
        """Record a global or closure variable that a function may assign, and guard its current value."""
        if variable.code not in self._variables:
            self._variables[variable.code] = variable
            if variable.initial is not MISSING:
                self.guard_value(variable.code, variable.label, variable.initial)

    def finish(self) -> None:
        """Add the guards that depend on all functions and captured arrays of the call, after it has ended."""
        self.calls.stop()
        previous_count, count = -1, 0
        while previous_count != count:  # each round may lead to more functions
            names = {x for code in self._codes.values() for x in variables(code).attributes} - PATCHED_METHODS.keys()
            for cls in [*self._classes_as_values, *(self._classes_of_objects if self._reads_classes else ())]:
                self._guard_named_members(cls, names)
            for thing, entries, label in [*self._callables]:
                for name, value in zip(entries.keys, entries.values, strict=True):
                    if name in names:
                        self._guard_namespace_attribute(
                            f"{self.names[thing]}.{name}", f"{label}.{name}", thing, name, value
                        )
            for cls in [*(self._classes_of_objects if self._reads_classes else ())]:
                self._guard_plain_class_attributes(cls)
            for name, chains in [*self._imported_modules.items()]:
                if name in sys.modules:
                    self._guard_variable(f"{self.names[sys.modules]}[{name!r}]", name, sys.modules[name], {*chains})
            previous_count = count
            count = len(self._codes) + sum(map(len, self._imported_modules.values())) + len(self._callables)
        captured_ids = {id(array) for _, _, array in self.trace.captures.values()}
        captured_ids |= {id(base) for _, _, array in self.trace.captures.values() for base in _bases(array)}
        self._drop_guards_of_arrays(captured_ids)

    def _drop_guards_of_arrays(self, captured_ids: set[int]) -> None:
        """Drop the guards of arrays that the trace has captured; NumPy may have computed with all others."""
        compared = [(x.nbytes, label) for x, label in self._arrays.values() if id(x) not in captured_ids]
        if sum(byte_count for byte_count, _ in compared) > MAX_COMPARED_BYTES:
            self._large_array = self._large_array or max(compared)[1]
        remaining_containers = []
        for item in self._containers:
            container, entries, code, _ = item
            is_captured = id(container) in captured_ids and id(container) in self._arrays
            if is_captured:
                self.guards.remove(code)
            if not is_captured or not entries.unchanged(container):
                remaining_containers.append(item)
        self._containers = remaining_containers

    def _patch(self, cls: type) -> None:
        patch(cls)
        self._patched_classes.append(cls)


_FIRST_WORD = 1 << 31
"""The first word of the state of a Mersenne Twister from its seeding until the first draw."""


class _RandomStates:
    """The states of `random`, `numpy.random` and generators of their types. A program could not repeat their draws."""

    def __init__(self) -> None:
        # (label, function that reads the state, function that sets it, state before the call)
        self._states: list[tuple[str, Callable[[], Any], Callable[[Any], Any], Any]] = []
        self._unimported = {name for name in ("random", "numpy.random") if name not in sys.modules}
        for name in ("random", "numpy.random"):
            self.watch(sys.modules.get(name), name)

    def watch(self, thing: Any, label: str) -> None:
        """Watch an object if it is a `random.Random`, a `numpy.random.RandomState`, or one of these modules."""
        for name, cls, getter, setter in (
            ("random", "Random", "getstate", "setstate"),
            ("numpy.random", "RandomState", "get_state", "set_state"),
        ):
            module = sys.modules.get(name)
            if module is not None and (thing is module or isinstance(thing, getattr(module, cls, ()))):
                read = getattr(thing, getter)
                self._states.append((label, read, getattr(thing, setter), read()))

    def draw_reason(self) -> str | None:
        """Return why the trace cannot be kept if the call has drawn from one of them; None if it has not."""
        for label, read, _, state in self._states:
            if any(not np.array_equal(current, initial) for current, initial in zip(read(), state, strict=True)):
                return f"it draws from {label}"
        for name in self._unimported & sys.modules.keys():  # imported by the call
            module = sys.modules[name]
            state = module.getstate() if name == "random" else module.get_state()
            if state[1][0] != _FIRST_WORD:
                return f"it draws from {name}"
        return None

    def restore(self) -> None:
        """Restore the states from before the call."""
        for _, _, set_state, state in self._states:
            set_state(state)


def _generator_class() -> Any:
    """Return the class of NumPy's generators, or () if `numpy.random`, which loads slowly, is not loaded."""
    return getattr(sys.modules.get("numpy.random"), "Generator", ())


class _Variable:
    """A global or closure variable that a function may assign.

    Args:
        code: the variable in generated code.
        label: the variable as the user would write it.
        holder: the globals of a module, or a closure cell.
        name: the name of a global; None for a closure variable.
    """

    def __init__(self, code: str, label: str, holder: Any, name: str | None = None) -> None:
        self.code, self.label, self.holder, self.name = code, label, holder, name
        self.initial = self.read()

    def read(self) -> Any:
        """Return the current value, or MISSING."""
        return cell_value(self.holder) if self.name is None else self.holder.get(self.name, MISSING)

    def undo(self) -> None:
        """Restore the value from before the call."""
        if self.read() is self.initial:
            return
        if self.name is None:
            if self.initial is MISSING:
                del self.holder.cell_contents
            else:
                self.holder.cell_contents = self.initial
        elif self.initial is MISSING:
            self.holder.pop(self.name, None)
        else:
            self.holder[self.name] = self.initial


def _functions_of(member: Any) -> Iterable[Any]:
    """Return the functions that a read of a descriptor runs.

    For a descriptor of an unknown type, return the descriptor itself and its attributes, which may be functions.
    """
    if isinstance(member, property):
        return [member.fget]
    if isinstance(member, (classmethod, staticmethod)):
        return [member.__func__]
    return [member, *attributes_of(member).values()]


def _is_user_defined(cls: type, name: str) -> bool:
    """Whether a user-defined class among `cls` and its bases defines the attribute `name`."""
    return any(name in vars(base) for base in user_bases(cls))


def _bases(array: Any) -> Iterator[Any]:
    """Yield the array, or other owner of memory, that an array is a view of, and in turn the bases of that."""
    while (array := getattr(array, "base", None)) is not None:
        yield array


def _is_buffer(value: Any) -> bool:
    """Whether an object is a readable buffer, such as a bytearray or an `array.array`."""
    try:
        memoryview(value)
    except (TypeError, ValueError, BufferError):
        return False
    return True


def has_tracer(value: Any) -> bool:
    """Whether a value is, or contains, a Tensor of the trace."""
    if isinstance(value, (list, tuple)):
        return any(map(has_tracer, value))
    if isinstance(value, dict):
        return any(map(has_tracer, value.values()))
    return isinstance(value, Tensor) and isinstance(value._data, Tracer)


def _without_tracers(container: Any) -> Any:
    """Return the contents of a container without those that are, or contain, Tensors of the trace."""
    if isinstance(container, _DICTS):
        return {key: value for key, value in container.items() if not has_tracer(value)}
    if isinstance(container, _LISTS):
        return [value for value in container if not has_tracer(value)]
    return container
