"""Patches classes during a trace so that reading and assigning attributes can be observed; looks up attributes.

During a trace, a class's `__getattribute__`, `__setattr__` and `__delattr__` are replaced by functions that notify the
trace of the current thread (`mode.trace.observer`) and then call the originals. Other threads are not affected. The
lookup functions in this file bypass the patches. What becomes a guard is decided in `observe`.
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
"""Packages of chainrule whose objects do not change, or are observed elsewhere."""
_USER_FILLED_CLASSES = (argparse.Namespace, ChainMap, UserDict, UserList)
"""Standard-library classes that users fill with their own values, for example with a configuration."""
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8  # flags of classes in CPython's object.h


def attributes_of(thing: Any) -> dict[str, Any]:
    """Return the `__dict__` of an object; empty if it has none."""
    try:
        return object.__getattribute__(thing, "__dict__")  # type: ignore[no-any-return]
    except AttributeError:  # it only has slots
        return {}


def class_attribute(cls: type, name: str) -> Any:
    """Return a class attribute without calling descriptors, or MISSING."""
    for base in cls.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return MISSING


def is_descriptor(member: Any) -> bool:
    """Whether a class member computes the attribute when it is read, as a method or a property does."""
    return not isinstance(member, (MemberDescriptorType, staticmethod)) and hasattr(type(member), "__get__")


def has_default_lookup(cls: type) -> bool:
    """Whether a class has Python's default attribute lookup and its objects have a `__dict__`."""
    lookup = cls.__getattribute__
    return getattr(lookup, "original", lookup) is object.__getattribute__ and cls.__dictoffset__ != 0


def stored_attribute(owner: Any, name: str) -> Any:
    """Return what a module, class or function stores under a name, without calling descriptors; MISSING if nothing."""
    if isinstance(owner, EnumType):
        return owner._member_map_.get(name, class_attribute(owner, name))
    return class_attribute(owner, name) if isinstance(owner, type) else vars(owner).get(name, MISSING)


def needs_attribute_guards(owner: Any) -> bool:
    """Whether an object's stored attributes (see `stored_attribute`) may change between calls and so need guards.

    True for functions, and for modules and classes outside STABLE_PACKAGES.
    """
    if isinstance(owner, (ModuleType, type)):
        return package_of(owner) not in STABLE_PACKAGES
    return isinstance(owner, FunctionType)


def package_of(thing: Any) -> str:
    """Return the top-level package of a module or class."""
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    return str(name).partition(".")[0]


def user_bases(cls: type) -> list[type]:
    """Return a class and its bases, without those in STABLE_PACKAGES."""
    return [base for base in cls.__mro__ if package_of(base) not in STABLE_PACKAGES]


def cell_value(cell: CellType) -> Any:
    """Return the value of a closure variable, or MISSING if it is unbound."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def attribute_restorer(thing: Any, name: str) -> Callable[[], None]:
    """Return a function that restores an attribute to its present value."""
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
    """Whether a class was created at run time, as by a `class` statement, so that its objects may have attributes."""
    return bool(cls.__flags__ & _HEAP_TYPE)


def is_observable(cls: type) -> bool:
    """Whether attribute reads on objects of a class can be observed and are worth observing."""
    is_patchable = cls.__flags__ & (_HEAP_TYPE | _IMMUTABLE_TYPE) == _HEAP_TYPE
    if not is_patchable or issubclass(cls, (type, BaseException, Enum)):
        return False
    metaclass_setattr: Any = type(cls).__setattr__  # a metaclass in C may not allow `patch` to assign
    if metaclass_setattr is not type.__setattr__ and not isinstance(metaclass_setattr, FunctionType):
        return False
    if cls.__module__.startswith("chainrule."):
        return cls.__module__.split(".")[1] not in _UNOBSERVED_PACKAGES and not issubclass(cls, Tensor)
    return package_of(cls) not in STABLE_PACKAGES or cls in _USER_FILLED_CLASSES


_lock = threading.Lock()
_patched: dict[type, tuple[int, dict[str, Any]]] = {}  # number of active traces, and the original members


def patch(cls: type) -> None:
    """Observe the objects of a class, until `unpatch`."""
    with _lock:
        traces, originals = _patched.get(cls, (0, {}))
        if not traces:
            for name, make_observing in PATCHED_METHODS.items():
                originals[name] = vars(cls).get(name, MISSING)
                original = getattr(cls, name)
                type.__setattr__(cls, name, make_observing(getattr(original, "original", original)))
        _patched[cls] = traces + 1, originals


def unpatch(cls: type) -> None:
    """Undo `patch`, unless another trace still observes the class."""
    with _lock:
        traces, originals = _patched.pop(cls)
        if traces > 1:
            _patched[cls] = traces - 1, originals
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
            trace.observer.read_missing(self, name)
            raise
        return trace.observer.read(self, name, value, sys._getframe(1).f_code.co_filename)

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
"""The special methods that `patch` replaces, each with the function that makes the replacement from the original."""
