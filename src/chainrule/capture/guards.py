"""Guards: what a compiled program depends on, as conditions that are checked before each run.

Each guard is one expression of Python, and all of them together are one function without a loop or a look-up, since a
step of a small network is over in some ten microseconds. `print(guards)` lists them.
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
from chainrule.lower.graph import exact
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray


class Names:
    """Names under which generated code refers to objects. The objects are kept, so that an identity stays theirs."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, Any]] = {}

    def __getitem__(self, thing: Any) -> str:
        return self._names.setdefault(id(thing), (f"x{len(self._names)}", thing))[0]

    def namespace(self) -> dict[str, Any]:
        """The objects by their names."""
        return dict(self._names.values())


@dataclass(frozen=True, slots=True)
class Guard:
    """One condition.

    Attributes:
        code: an expression that is true as long as the program applies.
        subject: what it is about, in the user's words: "net.dropout.p".
        state: how that must be: "is 0.5".
        current: an expression for the present value, or None.
    """

    code: str
    subject: str
    state: str
    current: str | None = None


class Guards:
    """The conditions of one program.

    Attributes:
        names: the objects that the conditions refer to.
        hold: whether all conditions are true; there once `compile` has run.
    """

    hold: Callable[[], bool]

    def __init__(self, names: Names) -> None:
        self.names = names
        self._guards: dict[str, Guard] = {}  # by code, in order

    def add(self, code: str, subject: str, state: str, current: str | None = None) -> None:
        """The program applies as long as `code` is true; for the other arguments see `Guard`."""
        self._guards.setdefault(code, Guard(code, subject, state, current))

    def same(self, code: str, subject: str, value: Any) -> None:
        """The program applies as long as `code` gives this value: the same object, or an equal plain value."""
        name = self.names[value]
        condition = f"{code} is {name}"
        if value is None or type(value) is bool:
            condition = f"{code} is {value}"
        elif is_plain(value):
            condition = f"((_v := {code}) is {name} or {self.names[is_same_value]}(_v, {name}))"
        self.add(condition, subject, f"is {format_value(value)}", code)

    def drop(self, code: str) -> None:
        """Do without a condition."""
        self._guards.pop(code, None)

    def compile(self) -> None:
        """Make `hold`."""
        conditions = " and ".join(guard.code for guard in self) or "True"
        # What a condition asks for may be gone: an attribute that was deleted, an entry that was taken out
        text = f"def hold():\n try:\n  return {conditions}\n except Exception:\n  return False\n"
        space = self.names.namespace()
        exec(text, space)  # noqa: S102  # what the trace wrote
        self.hold = space["hold"]

    def broken(self) -> str | None:
        """The first condition that is not true, as the user would say it: "net.dropout.p is 0.4, not 0.5"."""
        space = self.names.namespace()
        for guard in self:
            try:
                if eval(guard.code, space):  # noqa: S307  # what the trace wrote
                    continue
                present = "" if guard.current is None else format_value(eval(guard.current, space))  # noqa: S307
            except Exception:
                return f"{guard.subject} is gone"
            was = guard.state.removeprefix("is ")
            if not present:
                return f"{guard.subject} has changed"
            return f"{guard.subject} is {f'another {was}' if present == was else f'{present}, not {was}'}"
        return None

    def __iter__(self) -> Iterator[Guard]:
        return iter(self._guards.values())

    def __str__(self) -> str:
        return "\n".join(f"{guard.subject} {guard.state}" for guard in self)


MAX_INLINE_ENTRIES = 16
"""So many entries of a container are compared one by one in the code of a guard, which costs least."""


class ListEntries:
    """What a list, set or deque holds, to be compared with what it holds later."""

    def __init__(self, container: Any) -> None:
        self.values = tuple(container)
        self.short = not isinstance(container, (set, WeakSet)) and len(self.values) <= MAX_INLINE_ENTRIES

    def condition(self, code: str, names: Names) -> str:
        """Code that is true as long as the container, which `code` gives, holds that."""
        slow = f"{names[self.unchanged]}({code})"
        if not self.short:
            return slow
        same = [f"{code}[{i}] is {names[value]}" for i, value in enumerate(self.values)]
        return f"({' and '.join([f'len({code}) == {len(self.values)}', *same])} or {slow})"

    def unchanged(self, container: Any) -> bool:
        """Whether it still holds the same objects, or equal plain values, in the same order."""
        if len(container) != len(self.values):
            return False
        return all(map(is_, container, self.values)) or all(map(is_same_value, container, self.values))

    def restore(self, container: Any) -> None:
        """Make it hold that again."""
        container.clear()
        (container.update if isinstance(container, (set, WeakSet)) else container.extend)(self.values)


class DictEntries:
    """What a dict holds."""

    def __init__(self, container: Mapping[Any, Any]) -> None:
        self.keys, self.values = tuple(container), tuple(container.values())
        self.short = len(self.keys) <= MAX_INLINE_ENTRIES and all(type(key) is str for key in self.keys)

    def condition(self, code: str, names: Names) -> str:
        """Code that is true as long as the container, which `code` gives, holds that."""
        slow = f"{names[self.unchanged]}({code})"
        if not self.short:
            return slow
        same = [f"{code}[{key!r}] is {names[value]}" for key, value in zip(self.keys, self.values, strict=True)]
        return f"({' and '.join([f'[*{code}] == {names[[*self.keys]]}', *same])} or {slow})"

    def unchanged(self, container: Mapping[Any, Any]) -> bool:
        """Whether it still holds the same objects, or equal plain values, under the same keys in the same order."""
        same_keys = len(container) == len(self.keys) and all(map(is_same_value, container, self.keys))
        return same_keys and all(map(is_same_value, container.values(), self.values))

    def restore(self, container: Any) -> None:
        """Make it hold that again."""
        if isinstance(container, MutableMapping):  # not a proxy of one
            container.clear()
            container.update(zip(self.keys, self.values, strict=True))


class BufferEntries:
    """What an array of Python's own, a bytearray or other memory holds, byte by byte."""

    def __init__(self, container: Any) -> None:
        self.values = memoryview(container).tobytes()

    def condition(self, code: str, names: Names) -> str:
        """Code that is true as long as the container, which `code` gives, holds that."""
        return f"{names[self.unchanged]}({code})"

    def unchanged(self, container: Any) -> bool:
        """Whether it still holds the same bytes."""
        try:
            return memoryview(container).tobytes() == self.values
        except ValueError:  # it has been released or closed
            return False

    def restore(self, container: Any) -> None:
        """Make it hold that again, if it can be written, and has that size or can get it."""
        with suppress(
            BufferError, ValueError
        ):  # a memoryview keeps it as long as it is; it has been released or closed
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
"""So many bytes of an array are compared as one text of bytes, which costs least."""


class ArrayEntries:
    """The elements of an array of NumPy: their bits, or which objects they are."""

    def __init__(self, container: NDArray[Any]) -> None:
        self.values = np.asarray(container).copy(order="K")  # np.array makes a view of a record

    def condition(self, code: str, names: Names) -> str:
        """Code that is true as long as the array, which `code` gives, holds that."""
        values = self.values
        if values.nbytes > MAX_INLINE_BYTES or values.dtype.hasobject:
            return f"{names[self.unchanged]}({code})"
        same_form = f"{code}.shape == {values.shape} and {code}.dtype == {names[values.dtype]}"
        return f"({code}.tobytes() == {names[values.tobytes()]} and {same_form})"

    def unchanged(self, container: NDArray[Any]) -> bool:
        """Whether it still has the same shape, type and elements."""
        now, before = np.asarray(container), self.values
        if now.shape != before.shape or now.dtype != before.dtype:
            return False
        if before.dtype.hasobject:
            return all(map(is_same_value, elements_of(now), elements_of(before)))
        if before.itemsize not in (1, 2, 4, 8):
            return now.tobytes() == before.tobytes()
        bits = f"u{before.itemsize}"
        return np.array_equal(now.view(bits), before.view(bits))

    def restore(self, container: NDArray[Any]) -> None:
        """Make it hold that again."""
        if isinstance(container, np.void):
            for name in container.dtype.names or ():
                container[name] = self.values[name][()]
        elif container.flags.writeable:
            container[...] = self.values


def elements_of(array: NDArray[Any]) -> list[Any]:
    """The objects that an array holds, also in its fields, and its numbers."""
    array = np.asarray(array)
    if array.dtype.names is None:
        return array.ravel().tolist()
    return [element for name in array.dtype.names for element in elements_of(array[name])]


class PartEntries(DictEntries):
    """What of a module's attributes can hold parameters or modules: all but plain values."""

    def unchanged(self, container: Mapping[Any, Any]) -> bool:
        """Whether these are the same objects under the same names in the same order."""
        parts, before = _parts(container.items()), _parts(zip(self.keys, self.values, strict=True))
        return len(parts) == len(before) and all(
            name == old_name and value is old for (name, value), (old_name, old) in zip(parts, before, strict=True)
        )


def _parts(entries: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in entries if not isinstance(value, PLAIN)]


PLAIN = (
    bool, int, float, complex, str, bytes, range, slice, frozenset, Enum, np.number, np.bool_, np.character,
    np.datetime64, np.dtype, type(None), type(...),
)  # fmt: skip
"""What counts by its value. All else counts by its identity; so does `np.void`, for it is memory of an array."""


def is_plain(x: Any) -> bool:
    """Whether x is a number, a text or the like, or a tuple: two of them are the same if their values are."""
    return isinstance(x, (tuple, *PLAIN))


def is_same_value(now: Any, before: Any) -> bool:
    """Whether nothing depends on which of the two it is: the same object, or equal plain values."""
    if now is before:
        return True
    if type(now) is not type(before) or has_attributes(now) or has_attributes(before):
        return False
    if isinstance(before, (tuple, frozenset)):  # objects inside may be equal and differ all the same
        return len(now) == len(before) and all(map(is_same_value, now, before))
    if isinstance(before, slice):
        return all(map(is_same_value, (now.start, now.stop, now.step), (before.start, before.stop, before.step)))
    return isinstance(before, PLAIN) and bool(exact(now) == exact(before))


def has_attributes(x: Any) -> bool:
    """Whether an object has attributes of its own, as one of a class that the user has derived from `str` may have."""
    cls = type(x)
    has_slots = is_heap_type(cls) and any(vars(base).get("__slots__") for base in cls.__mro__)
    return has_slots or (is_heap_type(cls) and bool(attributes_of(x)))


def format_value(x: Any) -> str:
    """A value as messages show it: plain values as they are, objects by their type."""
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
