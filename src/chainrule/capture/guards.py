"""Guards: the conditions under which a compiled program may run, checked before each run.

Each guard is a Python expression. All guards of a program are compiled into one function, mostly without loops or
calls, because a step of a small network takes only about ten microseconds. Most of this package adds guards;
`print(guards)` lists them. The second half of this file compares values: the contents of containers and memory, and
plain values.
"""

from __future__ import annotations

from array import array
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from operator import is_
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from chainrule.capture.classes import attributes_of, is_heap_type
from chainrule.lower.graph import exact_key
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray


class Names:
    """Maps objects, by identity, to names in generated code. Keeps the objects alive, so that an `id` stays unique."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, Any]] = {}

    def __getitem__(self, thing: Any) -> str:
        return self._names.setdefault(id(thing), (f"x{len(self._names)}", thing))[0]

    def namespace(self) -> dict[str, Any]:
        """Return the objects by name, as globals of generated code."""
        return dict(self._names.values())


@dataclass(frozen=True, slots=True)
class Guard:
    """One condition.

    Attributes:
        code: an expression that is true if the program may run.
        subject: the object that it checks, as the user would write it, for example "net.dropout.p".
        state: the required state, for example "is 0.5".
        current: an expression for the object's current value, or None if messages do not show it.
    """

    code: str
    subject: str
    state: str
    current: str | None = None


class Guards:
    """The guards of one program.

    Attributes:
        names: the objects that the expressions refer to.
        hold: whether all guards are true; set by `compile`.
    """

    hold: Callable[[], bool]

    def __init__(self, names: Names) -> None:
        self.names = names
        self._guards: dict[str, Guard] = {}  # by their code, in the order in which they are checked

    def add(self, code: str, subject: str, state: str, current: str | None = None) -> None:
        """Add a guard: `code` must be true when evaluated. For the other arguments see `Guard`."""
        self._guards.setdefault(code, Guard(code, subject, state, current))

    def add_value(self, code: str, subject: str, value: Any) -> None:
        """Add a guard: `code` must evaluate to the object `value`, or to an equal value if that is plain."""
        name = self.names[value]
        condition = f"{code} is {name}"
        if value is None or type(value) is bool:
            condition = f"{code} is {value}"
        elif is_plain(value):
            condition = f"((_v := {code}) is {name} or {self.names[is_same_value]}(_v, {name}))"
        self.add(condition, subject, f"is {format_value(value)}", code)

    def remove(self, code: str) -> None:
        """Remove the guard with this code, if there is one."""
        self._guards.pop(code, None)

    def compile(self) -> None:
        """Generate and compile `hold`."""
        conditions = " and ".join(guard.code for guard in self) or "True"
        # evaluating a guard raises an error if an attribute or an entry was deleted
        source = f"def hold():\n try:\n  return {conditions}\n except Exception:\n  return False\n"
        objects = self.names.namespace()
        exec(source, objects)  # noqa: S102  # all conditions come from this package
        self.hold = objects["hold"]

    def first_failure(self) -> str | None:
        """Describe the first guard that fails, such as "net.dropout.p is 0.4, not 0.5"; None if all hold."""
        objects = self.names.namespace()
        for guard in self:
            try:
                if eval(guard.code, objects):  # noqa: S307  # from this package
                    continue
                current = "" if guard.current is None else format_value(eval(guard.current, objects))  # noqa: S307
            except Exception:
                return f"{guard.subject} is gone"
            expected = guard.state.removeprefix("is ")
            if not current:
                return f"{guard.subject} has changed"
            difference = f"a different {expected}" if current == expected else f"{current}, not {expected}"
            return f"{guard.subject} is {difference}"
        return None

    def __iter__(self) -> Iterator[Guard]:
        return iter(self._guards.values())

    def __str__(self) -> str:
        return "\n".join(f"{guard.subject} {guard.state}" for guard in self)


MAX_INLINE_ENTRIES = 16
"""Containers of at most this length are compared entry by entry in the guard's expression, which is fastest."""


class ListEntries:
    """A snapshot of the elements of a list, set, deque or `WeakSet`."""

    def __init__(self, container: Any) -> None:
        self.values = tuple(container)
        self.is_short = not isinstance(container, (set, WeakSet)) and len(self.values) <= MAX_INLINE_ENTRIES

    def condition(self, code: str, names: Names) -> str:
        """Return an expression that tells whether the container that `code` evaluates to equals the snapshot."""
        complete_check = f"{names[self.unchanged]}({code})"
        if not self.is_short:
            return complete_check
        entry_checks = [f"{code}[{i}] is {names[value]}" for i, value in enumerate(self.values)]
        return f"({' and '.join([f'len({code}) == {len(self.values)}', *entry_checks])} or {complete_check})"

    def unchanged(self, container: Any) -> bool:
        """Whether the container holds the same objects, or equal plain values, in the same order as the snapshot."""
        if len(container) != len(self.values):
            return False
        return all(map(is_, container, self.values)) or all(map(is_same_value, container, self.values))

    def restore(self, container: Any) -> None:
        """Set the contents back to the snapshot."""
        container.clear()
        (container.update if isinstance(container, (set, WeakSet)) else container.extend)(self.values)


class DictEntries:
    """A snapshot of the entries of a dict or a similar mapping."""

    def __init__(self, container: Mapping[Any, Any]) -> None:
        self.keys, self.values = tuple(container), tuple(container.values())
        self.is_short = len(self.keys) <= MAX_INLINE_ENTRIES and all(type(key) is str for key in self.keys)

    def condition(self, code: str, names: Names) -> str:
        """Return an expression that tells whether the container that `code` evaluates to equals the snapshot."""
        complete_check = f"{names[self.unchanged]}({code})"
        if not self.is_short:
            return complete_check
        entry_checks = [f"{code}[{key!r}] is {names[value]}" for key, value in zip(self.keys, self.values, strict=True)]
        return f"({' and '.join([f'[*{code}] == {names[[*self.keys]]}', *entry_checks])} or {complete_check})"

    def unchanged(self, container: Mapping[Any, Any]) -> bool:
        """Whether the dict holds the same objects, or equal plain values, under the same keys in the same order."""
        same_keys = len(container) == len(self.keys) and all(map(is_same_value, container, self.keys))
        return same_keys and all(map(is_same_value, container.values(), self.values))

    def restore(self, container: Any) -> None:
        """Set the contents back to the snapshot, unless the container is a read-only proxy."""
        if isinstance(container, MutableMapping):
            container.clear()
            container.update(zip(self.keys, self.values, strict=True))


class BufferEntries:
    """A snapshot of the bytes of a buffer, such as a bytearray, an `array.array` or a memoryview."""

    def __init__(self, container: Any) -> None:
        self.values = memoryview(container).tobytes()

    def condition(self, code: str, names: Names) -> str:
        """Return an expression that tells whether the container that `code` evaluates to equals the snapshot."""
        return f"{names[self.unchanged]}({code})"

    def unchanged(self, container: Any) -> bool:
        """Whether the buffer holds the same bytes."""
        try:
            return memoryview(container).tobytes() == self.values
        except ValueError:  # the buffer is released or closed
            return False

    def restore(self, container: Any) -> None:
        """Write the bytes back, if the buffer is writable and has the same size as the snapshot or can be resized."""
        # BufferError: the user holds a memoryview, which blocks resizing; ValueError: the buffer is released or closed
        with suppress(BufferError, ValueError):
            with memoryview(container) as memory:
                if memory.nbytes == len(self.values):
                    self._write(memory)
                    return
            if isinstance(container, bytearray):
                container[:] = self.values
            elif isinstance(container, array):
                del container[:]
                container.frombytes(self.values)

    def _write(self, memory: memoryview) -> None:
        if memory.readonly:
            return
        if memory.c_contiguous:
            memory.cast("B")[:] = self.values
        else:
            elements = np.asarray(memory)
            elements[...] = np.frombuffer(self.values, elements.dtype).reshape(elements.shape)


MAX_INLINE_BYTES = 4096
"""Arrays of at most this size are compared as one bytes object, which is fastest."""


class ArrayEntries:
    """A snapshot of the elements of a NumPy array, which are compared bit by bit; objects are compared as in lists."""

    def __init__(self, container: NDArray[Any]) -> None:
        self.values = np.asarray(container).copy(order="K")  # np.array() would not copy a record

    def condition(self, code: str, names: Names) -> str:
        """Return an expression that tells whether the array that `code` evaluates to equals the snapshot."""
        values = self.values
        if values.nbytes > MAX_INLINE_BYTES or values.dtype.hasobject:
            return f"{names[self.unchanged]}({code})"
        same_spec = f"{code}.shape == {values.shape} and {code}.dtype == {names[values.dtype]}"
        return f"({code}.tobytes() == {names[values.tobytes()]} and {same_spec})"

    def unchanged(self, container: NDArray[Any]) -> bool:
        """Whether the array has the same shape, type and elements."""
        current, expected = np.asarray(container), self.values
        if current.shape != expected.shape or current.dtype != expected.dtype:
            return False
        if expected.dtype.hasobject:
            return all(map(is_same_value, elements_of(current), elements_of(expected)))
        if expected.itemsize not in (1, 2, 4, 8):
            return current.tobytes() == expected.tobytes()
        bits = f"u{expected.itemsize}"
        return np.array_equal(current.view(bits), expected.view(bits))

    def restore(self, container: NDArray[Any]) -> None:
        """Set the elements back to the snapshot, unless the array is read-only."""
        if isinstance(container, np.void):
            for name in container.dtype.names or ():
                container[name] = self.values[name][()]
        elif container.flags.writeable:
            container[...] = self.values


def elements_of(array: NDArray[Any]) -> list[Any]:
    """Return all elements of an array, including those in the fields of a structured type."""
    array = np.asarray(array)
    if array.dtype.names is None:
        return array.ravel().tolist()
    return [element for name in array.dtype.names for element in elements_of(array[name])]


class ModuleEntries(DictEntries):
    """A snapshot of the attributes of an `nn.Module`. Changes of plain values, such as numbers, do not count."""

    def unchanged(self, container: Mapping[Any, Any]) -> bool:
        """Whether the attributes that may hold parameters or modules are the same objects, by name and in order."""
        current, expected = _without_plain(container.items()), _without_plain(zip(self.keys, self.values, strict=True))
        return len(current) == len(expected) and all(
            name == old_name and value is old for (name, value), (old_name, old) in zip(current, expected, strict=True)
        )


def _without_plain(entries: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in entries if not isinstance(value, PLAIN)]


PLAIN = (
    bool, int, float, complex, str, bytes, range, slice, frozenset, Enum, np.number, np.bool_, np.character,
    np.datetime64, np.dtype, type(None), type(...),
)  # fmt: skip
"""Types whose objects guards compare by value, like tuples. Objects of other types are compared by identity,
including those of `np.void`, which are views of arrays."""


def is_plain(x: Any) -> bool:
    """Whether guards compare x by value: it is a tuple, a number, a string or the like (see PLAIN)."""
    return isinstance(x, (tuple, *PLAIN))


def is_same_value(current: Any, expected: Any) -> bool:
    """Whether two values are interchangeable: the same object, or equal plain values without added attributes."""
    if current is expected:
        return True
    if type(current) is not type(expected) or has_added_attributes(current) or has_added_attributes(expected):
        return False
    if isinstance(expected, (tuple, frozenset)):  # == is too weak: (1,) == (1.0,) == (True,)
        return len(current) == len(expected) and all(map(is_same_value, current, expected))
    if isinstance(expected, slice):
        return all(is_same_value(getattr(current, name), getattr(expected, name)) for name in ("start", "stop", "step"))
    return isinstance(expected, PLAIN) and bool(exact_key(current) == exact_key(expected))


def has_added_attributes(x: Any) -> bool:
    """Whether an object has attributes besides its value, as an object of a subclass of `str` may have."""
    cls = type(x)
    has_slots = is_heap_type(cls) and any(vars(base).get("__slots__") for base in cls.__mro__)
    return has_slots or (is_heap_type(cls) and bool(attributes_of(x)))


def format_value(x: Any) -> str:
    """Format a value for a message: a plain value by its `repr`, at most 40 characters; other objects by their type."""
    if isinstance(x, PLAIN):
        text = repr(x)
        return text if len(text) <= 40 else f"{text[:37]}..."
    if isinstance(x, tuple):
        return f"({', '.join(map(format_value, x))}{',' if len(x) == 1 else ''})"
    kind = type(x).__name__
    if isinstance(x, (Tensor, np.ndarray)):
        return f"<{kind} {x.shape}>"
    if isinstance(x, type) or (callable(x) and hasattr(x, "__qualname__")):
        return str(x.__qualname__)
    return f"<{kind}>"
