"""Patches classes during a trace, so that reads and assignments of attributes can be observed.

`patch` replaces a class's `__getattribute__`, `__setattr__` and `__delattr__` by functions that call the originals and
notify the observer of the current thread's trace (`mode.trace.observer`); in threads without a trace, they only call
the originals. The first half of this file looks up attributes without calling the patches. `observe` decides which
reads become guards.
"""

from __future__ import annotations

import argparse
import functools
import sys
import threading
from collections import ChainMap, UserDict, UserList
from enum import Enum, EnumType
from types import FunctionType, MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any

from chainrule.autograd.mode import mode
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CellType


MISSING: Any = object()
"""Stands for the value of an attribute, a variable or an entry that does not exist."""

STABLE_PACKAGES = {*sys.stdlib_module_names, "numpy", "chainrule"} - {"__main__"}
"""Packages whose modules and classes are assumed not to change."""

_UNOBSERVED_PACKAGES = {"autograd", "capture", "kernels", "lower", "ops", "random", "tensor"}
"""Packages of chainrule whose objects do not change, or are observed by other means than their class."""

_USER_FILLED_CLASSES = (argparse.Namespace, ChainMap, UserDict, UserList)
"""Standard-library classes that users fill with their own values, for example with a configuration."""

_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: the class was created at run time."""

_IMMUTABLE_TYPE = 1 << 8
"""Py_TPFLAGS_IMMUTABLETYPE: attributes of the class cannot be set."""


def attributes_of(thing: Any) -> dict[str, Any]:
    """Return the `__dict__` of an object; empty if it has none."""
    try:
        return object.__getattribute__(thing, "__dict__")  # type: ignore[no-any-return]
    except AttributeError:
        return {}


def class_attribute(cls: type, name: str) -> Any:
    """Return an attribute of a class or its bases without calling descriptors; MISSING if there is none."""
    for base in cls.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return MISSING


def is_descriptor(member: Any) -> bool:
    """Whether a class member computes the attribute's value at each read, as a method or a property does."""
    return not isinstance(member, (MemberDescriptorType, staticmethod)) and hasattr(type(member), "__get__")


def has_default_lookup(cls: type) -> bool:
    """Whether the objects of a class have a `__dict__` and Python's default attribute lookup."""
    lookup = cls.__getattribute__
    return getattr(lookup, "original", lookup) is object.__getattribute__ and cls.__dictoffset__ != 0


def namespace_attribute(owner: Any, name: str) -> Any:
    """Return a module's, class's or function's attribute without calling descriptors; MISSING if there is none."""
    if isinstance(owner, EnumType):
        return owner._member_map_.get(name, class_attribute(owner, name))
    return class_attribute(owner, name) if isinstance(owner, type) else vars(owner).get(name, MISSING)


def needs_namespace_guards(owner: Any) -> bool:
    """Whether the attributes that `namespace_attribute` returns may change between calls, and so need guards.

    True for functions, and for modules and classes outside STABLE_PACKAGES; False for all other objects.
    """
    if isinstance(owner, (ModuleType, type)):
        return package_of(owner) not in STABLE_PACKAGES
    return isinstance(owner, FunctionType)


def package_of(thing: Any) -> str:
    """Return the top-level package of a module or class."""
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    return str(name).partition(".")[0]


def user_bases(cls: type) -> list[type]:
    """Return a class and its bases in method resolution order, without those in STABLE_PACKAGES."""
    return [base for base in cls.__mro__ if package_of(base) not in STABLE_PACKAGES]


def cell_value(cell: CellType) -> Any:
    """Return the value of a closure variable, or MISSING if it is unbound."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def attribute_restorer(thing: Any, name: str) -> Callable[[], None]:
    """Return a function that sets an attribute back to its current value, or deletes it if it is missing now."""
    attributes, member = attributes_of(thing), class_attribute(type(thing), name)
    if isinstance(member, MemberDescriptorType):
        try:
            return functools.partial(member.__set__, thing, member.__get__(thing))
        except AttributeError:
            return functools.partial(member.__delete__, thing)
    if name in attributes:
        return functools.partial(attributes.__setitem__, name, attributes[name])
    return functools.partial(attributes.pop, name, None)


def is_heap_type(cls: type) -> bool:
    """Whether a class was created at run time, for example by a `class` statement: its objects may have attributes."""
    return bool(cls.__flags__ & _HEAP_TYPE)


def is_observable(cls: type) -> bool:
    """Whether attribute reads on objects of a class can be observed and are worth observing."""
    is_patchable = cls.__flags__ & (_HEAP_TYPE | _IMMUTABLE_TYPE) == _HEAP_TYPE
    if not is_patchable or issubclass(cls, (type, BaseException, Enum)):
        return False
    # a metaclass written in C, such as that of `ctypes`, may not let `patch` assign
    metaclass_setattr: Any = type(cls).__setattr__
    if metaclass_setattr is not type.__setattr__ and not isinstance(metaclass_setattr, FunctionType):
        return False
    if cls.__module__.startswith("chainrule."):
        return cls.__module__.split(".")[1] not in _UNOBSERVED_PACKAGES and not issubclass(cls, Tensor)
    return package_of(cls) not in STABLE_PACKAGES or cls in _USER_FILLED_CLASSES


_lock = threading.Lock()
_patched: dict[type, tuple[int, dict[str, Any]]] = {}
"""For each patched class, the number of traces that observe it, and its original members by name."""


def patch(cls: type) -> None:
    """Observe the objects of a class until `unpatch` is called. Calls of both must be paired."""
    with _lock:
        trace_count, originals = _patched.get(cls, (0, {}))
        if trace_count == 0:
            for name, make_observing in PATCHED_METHODS.items():
                originals[name] = vars(cls).get(name, MISSING)
                original = getattr(cls, name)
                type.__setattr__(cls, name, make_observing(getattr(original, "original", original)))
        _patched[cls] = trace_count + 1, originals


def unpatch(cls: type) -> None:
    """Undo one call of `patch`. The original members are restored when no trace observes the class any more."""
    with _lock:
        trace_count, originals = _patched.pop(cls)
        if trace_count > 1:
            _patched[cls] = trace_count - 1, originals
            return
        for name, value in originals.items():
            if value is MISSING:
                type.__delattr__(cls, name)
            else:
                type.__setattr__(cls, name, value)


def _observing_getattribute(original: Any) -> Any:
    def __getattribute__(self: Any, name: str) -> Any:  # noqa: N807
        trace: Any = mode.trace  # the trace of this thread
        if trace is None or (name[:2] == "__" and name != "__dict__"):
            return original(self, name)
        try:
            value = original(self, name)
        except AttributeError:
            trace.observer.after_failed_read(self, name)
            raise
        return trace.observer.after_read(self, name, value, sys._getframe(1).f_code.co_filename)

    __getattribute__.original = original  # type: ignore[attr-defined]
    return __getattribute__


def _observing_setattr(original: Any) -> Any:
    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        trace: Any = mode.trace
        assignment = None if trace is None else trace.observer.before_assign(self, name, value)
        original(self, name, value)
        if assignment is not None:
            trace.observer.after_assign(self, name, assignment)

    __setattr__.original = original  # type: ignore[attr-defined]
    return __setattr__


def _observing_delattr(original: Any) -> Any:
    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        trace: Any = mode.trace
        if trace is not None:
            trace.observer.before_delete(self, name)
        original(self, name)

    __delattr__.original = original  # type: ignore[attr-defined]
    return __delattr__


PATCHED_METHODS = {
    "__getattribute__": _observing_getattribute,
    "__setattr__": _observing_setattr,
    "__delattr__": _observing_delattr,
}
"""Maps each special method that `patch` replaces to the function that makes its replacement from the original."""
