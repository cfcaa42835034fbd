"""How kernels are called: all have the same six arguments, so programs and Python call every one of them alike.

    kernel(table, words, numbers, first, last, fresh)

`table` holds the addresses of arrays; `words` are whole numbers: sizes, strides, and which entries of the table the
arrays are; `numbers` are doubles that change from call to call. The kernel does rows `first` … `last` - 1; `fresh`
says whether sums begin at 0 or go on.

A kernel written by hand names its arrays and words in a `Fields`, by which Python writes them and the kernel reads
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.tree import ADDRESS, F8, I8, Array, Expr, Kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.tree import Type

ARGUMENTS = {"table": ADDRESS, "words": ADDRESS, "numbers": ADDRESS, "first": I8, "last": I8, "fresh": I8}


def stage_kernel(name: str) -> Kernel:
    """A kernel with the six arguments."""
    return Kernel(name, ARGUMENTS)


class WordReader:
    """Reads a kernel's words one after the other, in the order in which they were written."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.count = kernel, 0
        self.words = kernel.array("words", I8)
        self.table = kernel.array("table", ADDRESS)
        self.numbers = kernel.array("numbers", F8)

    def next(self, name: str) -> Expr:
        """The next word, and what those who read the kernel call it."""
        self.count += 1
        return self._named(self.words[self.count - 1], name)

    def address(self, name: str) -> Expr:
        """The address of the array that the next word means."""
        return self._named(self.table[self.next(f"entry_of_{name}")], name)

    def number(self, name: str) -> Expr:
        """The number that the next word means."""
        return self._named(self.numbers[self.next(f"place_of_{name}")], name)

    def _named(self, node: Expr, name: str) -> Expr:
        self.kernel.names[id(node)] = name
        return node


class Fields:
    """The names of a kernel's arrays and words, in order.

    Args:
        arrays: each is two words: its entry in the table of addresses, and how many elements behind that it begins.
        words: whole numbers, or arrays of them, which lie behind all words.
    """

    def __init__(self, arrays: str, words: str) -> None:
        self.arrays, self.names = arrays.split(), words.split()

    def words(self, **values: Any) -> NDArray[np.int64]:
        """The words, with the arrays' entries and offsets still 0.

        Raises:
            TypeError: a name is missing or unknown.
        """
        if set(values) != set(self.names):
            raise TypeError(f"words are {self.names}, not {sorted(values)}")
        tables = [np.ravel(values[name]) for name in self.names if isinstance(values[name], np.ndarray)]
        at, line = 2 * len(self.arrays) + len(self.names), [0] * (2 * len(self.arrays))
        for name in self.names:
            value = values[name]
            line.append(at if isinstance(value, np.ndarray) else int(value))
            at += value.size if isinstance(value, np.ndarray) else 0
        return np.concatenate([np.array(line, np.int64), *(table.astype(np.int64) for table in tables)])

    def with_arrays(self, words: NDArray[np.int64], places: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """A copy of the words that names the arrays: pairs of an entry and an offset."""
        words = words.copy()
        for position, (entry, offset) in enumerate(places):
            words[2 * position : 2 * position + 2] = entry, offset
        return words

    def read(self, kernel: Kernel) -> FieldReader:
        """The words, by name, inside a kernel."""
        return FieldReader(kernel, self)


class FieldReader:
    """The words of a kernel that is being built: attributes are nodes. All are read at the kernel's beginning."""

    def __init__(self, kernel: Kernel, fields: Fields) -> None:
        self._kernel = kernel
        self._words = kernel.array("words", I8)
        self._table = kernel.array("table", ADDRESS)
        self._arrays = {
            name: (self._table[self._words[2 * i]], self._words[2 * i + 1]) for i, name in enumerate(fields.arrays)
        }
        first = 2 * len(fields.arrays)
        self._values = {name: self._words[first + i] for i, name in enumerate(fields.names)}

    def __getattr__(self, name: str) -> Expr:
        return self._values[name]

    def table(self, name: str) -> Array:
        """A table among the words."""
        return self._words.at(self._values[name])

    def entry(self, name: str) -> Expr:
        """The address in the table's entry that a word names."""
        return self._table[self._values[name]]

    def array(self, name: str, type: Type, apart: bool = True) -> Array:
        """An array; `apart` says that no other overlaps it."""
        address, offset = self._arrays[name]
        return self._kernel.array(address, type, name if apart else None).at(offset)
