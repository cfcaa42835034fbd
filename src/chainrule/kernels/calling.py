"""The calling convention of stage kernels, and the encoding of their descriptors.

    kernel(table, descriptor, scalars, first, last, overwrite)

- `table`: the data pointers of the arrays. In a program, the first entries belong to the driver (see `driver`).
- `descriptor`: 64-bit integers: sizes, strides, and for each array its entry in `table` and its offset in elements.
- `scalars`: the program's scalars, doubles that change from call to call, such as a learning rate. Hand-written kernels
  do not read them.
- `first`, `last`: the rows to compute are `first` … `last` - 1. A row is the unit in which a kernel's work is divided
  among threads and calls: not always a row of an array, but for example an image, or a block of queries.
- `overwrite`: for kernels that reduce over rows (a sum, maximum or minimum); other kernels ignore it. 1: start a new
  reduction, whatever the result's memory holds. 0: continue the reduction whose value so far is in that memory.

Stage kernels are those that compute a range of rows: the kernels generated from formulas, and the hand-written ones.
Because they all have this signature, a program is a list of (kernel, descriptor, rows), and one driver runs them all.
(Checks, and kernels that are called by other kernels only, have arguments of their own.)

Kernels generated from formulas read their descriptor with a `SequentialReader`. Hand-written kernels name its fields in
a `DescriptorLayout`, which encodes descriptors in Python and reads them inside the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.tree import ADDRESS, F8, I8, Array, Expr, Kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.tree import Type

ARGUMENTS = {"table": ADDRESS, "descriptor": ADDRESS, "scalars": ADDRESS, "first": I8, "last": I8, "overwrite": I8}


def stage_kernel(name: str) -> Kernel:
    """Begin a kernel that has the six arguments of a stage kernel."""
    return Kernel(name, ARGUMENTS)


class SequentialReader:
    """Reads a descriptor inside a kernel, one integer after the other, in the order in which they were written."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self._next_index = kernel, 0
        self.descriptor = kernel.array("descriptor", I8)
        self.table = kernel.array("table", ADDRESS)
        self.scalars = kernel.array("scalars", F8)

    def next(self, name: str) -> Expr:
        """Read the next integer; `name` is what the rendered Python calls it."""
        self._next_index += 1
        return self._with_name(self.descriptor[self._next_index - 1], name)

    def address(self, name: str) -> Expr:
        """Read the next integer as an entry of the table, and return the address there."""
        return self._with_name(self.table[self.next(f"entry_of_{name}")], name)

    def scalar(self, name: str) -> Expr:
        """Read the next integer as an index into `scalars`, and return the scalar there."""
        return self._with_name(self.scalars[self.next(f"index_of_{name}")], name)

    def _with_name(self, expr: Expr, name: str) -> Expr:
        self.kernel.names[id(expr)] = name
        return expr


class DescriptorLayout:
    """The names of a hand-written kernel's arrays and fields, in order.

    Args:
        arrays: names, separated by spaces. Each array takes two integers: its entry in the table, and its offset in
            elements.
        fields: names of integers, or of integer arrays (lookup tables), which are stored after all other fields.
    """

    def __init__(self, arrays: str, fields: str) -> None:
        self.array_names, self.field_names = arrays.split(), fields.split()

    def encode(self, **values: Any) -> NDArray[np.int64]:
        """Encode the fields; table entries and offsets of the arrays are 0 until `bind`.

        Raises:
            TypeError: a field is missing or unknown.
        """
        if set(values) != set(self.field_names):
            raise TypeError(f"the descriptor's fields are {self.field_names}, not {sorted(values)}")
        lookup_tables = [np.ravel(values[name]) for name in self.field_names if isinstance(values[name], np.ndarray)]
        fixed_part = [0] * (2 * len(self.array_names))  # the entries and offsets of the arrays
        next_offset = len(fixed_part) + len(self.field_names)
        for name in self.field_names:
            value = values[name]
            fixed_part.append(next_offset if isinstance(value, np.ndarray) else int(value))
            next_offset += value.size if isinstance(value, np.ndarray) else 0
        return np.concatenate([np.array(fixed_part, np.int64), *(table.astype(np.int64) for table in lookup_tables)])

    def bind(self, descriptor: NDArray[np.int64], bindings: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Return a copy in which the arrays are filled in: for each array, (entry in the table, offset in elements)."""
        descriptor = descriptor.copy()
        for i, (entry, offset) in enumerate(bindings):
            descriptor[2 * i : 2 * i + 2] = entry, offset
        return descriptor

    def read(self, kernel: Kernel) -> DescriptorReader:
        """Begin reading the descriptor inside a kernel."""
        return DescriptorReader(kernel, self)


class DescriptorReader:
    """A descriptor inside a kernel that is being built: its fields are attributes, read when the kernel starts.

    Hand-written kernels keep it in a variable `d`.
    """

    def __init__(self, kernel: Kernel, layout: DescriptorLayout) -> None:
        self._kernel = kernel
        self._descriptor = kernel.array("descriptor", I8)
        self._table = kernel.array("table", ADDRESS)
        self._arrays = {
            name: (self._table[self._descriptor[2 * i]], self._descriptor[2 * i + 1])
            for i, name in enumerate(layout.array_names)
        }
        first_field = 2 * len(layout.array_names)
        self._values = {name: self._descriptor[first_field + i] for i, name in enumerate(layout.field_names)}

    def __getattr__(self, name: str) -> Expr:
        return self._values[name]

    def lookup_table(self, name: str) -> Array:
        """The integers of a field that is a lookup table."""
        return self._descriptor.at(self._values[name])

    def table_entry(self, name: str) -> Expr:
        """The address in a table entry; the field holds the index of the entry."""
        return self._table[self._values[name]]

    def array(self, name: str, type: Type, no_alias: bool = True) -> Array:
        """An array; `no_alias` promises the compiler that no other array of the kernel overlaps it."""
        address, offset = self._arrays[name]
        return self._kernel.array(address, type, name if no_alias else None).at(offset)
