"""The calling convention shared by all kernels, and the encoding of their descriptors.

    kernel(table, descriptor, scalars, first, last, overwrite)

- `table`: the data pointers of a program's arrays. The first entries belong to the driver (see `driver`).
- `descriptor`: 64-bit integers: sizes, strides, and for each array its entry in `table` and its offset in elements.
- `scalars`: the program's scalars, doubles that change from call to call, such as a learning rate.
- `first`, `last`: the rows to compute are `first` … `last` - 1.
- `overwrite`: 1 if sums (or maxima) over rows overwrite the result's memory, 0 if they continue the values there.

Because every kernel has this signature, a program is a list of (kernel, descriptor, rows), and one driver runs them
all. Kernels generated from formulas read their descriptor with a `SequentialReader`. Hand-written kernels name its
fields in a `DescriptorLayout`, which encodes descriptors in Python and reads them inside the kernel.

Used by `lower.loops`, `lower.kernel_call` and the hand-written kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.tree import ADDRESS, F8, I8, Array, Expr, Kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.tree import Type

ARGUMENTS = {
    "table": ADDRESS, "descriptor": ADDRESS, "scalars": ADDRESS, "first": I8, "last": I8, "overwrite": I8,
}  # fmt: skip


def stage_kernel(name: str) -> Kernel:
    """Begin a kernel with the six standard arguments."""
    return Kernel(name, ARGUMENTS)


class SequentialReader:
    """Reads a descriptor inside a kernel, one integer after the other, in the order in which it was written."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.count = kernel, 0
        self.descriptor = kernel.array("descriptor", I8)
        self.table = kernel.array("table", ADDRESS)
        self.scalars = kernel.array("scalars", F8)

    def next(self, name: str) -> Expr:
        """Read the next integer; `name` is what the rendered Python calls it."""
        self.count += 1
        return self._named(self.descriptor[self.count - 1], name)

    def address(self, name: str) -> Expr:
        """Read the next integer as an entry of the table, and return the address there."""
        return self._named(self.table[self.next(f"entry_of_{name}")], name)

    def scalar(self, name: str) -> Expr:
        """Read the next integer as an index into `scalars`, and return the scalar there."""
        return self._named(self.scalars[self.next(f"index_of_{name}")], name)

    def _named(self, expr: Expr, name: str) -> Expr:
        self.kernel.names[id(expr)] = name
        return expr


class DescriptorLayout:
    """The names of a hand-written kernel's arrays and fields, in order.

    Args:
        arrays: names, separated by spaces. Each takes two integers: its entry in the table, its offset in elements.
        fields: names of integers, or of integer arrays (lookup tables), which are stored after all other fields.
    """

    def __init__(self, arrays: str, fields: str) -> None:
        self.arrays, self.fields = arrays.split(), fields.split()

    def encode(self, **values: Any) -> NDArray[np.int64]:
        """Encode the fields; table entries and offsets of the arrays are 0 until `bind`.

        Raises:
            TypeError: a field is missing or unknown.
        """
        if set(values) != set(self.fields):
            raise TypeError(f"the descriptor's fields are {self.fields}, not {sorted(values)}")
        tables = [np.ravel(values[name]) for name in self.fields if isinstance(values[name], np.ndarray)]
        table_start, fixed_part = 2 * len(self.arrays) + len(self.fields), [0] * (2 * len(self.arrays))
        for name in self.fields:
            value = values[name]
            fixed_part.append(table_start if isinstance(value, np.ndarray) else int(value))
            table_start += value.size if isinstance(value, np.ndarray) else 0
        return np.concatenate([np.array(fixed_part, np.int64), *(table.astype(np.int64) for table in tables)])

    def bind(self, descriptor: NDArray[np.int64], bindings: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Return a copy with the arrays filled in: for each array, (entry in the table, offset in elements)."""
        descriptor = descriptor.copy()
        for position, (entry, offset) in enumerate(bindings):
            descriptor[2 * position : 2 * position + 2] = entry, offset
        return descriptor

    def read(self, kernel: Kernel) -> DescriptorReader:
        """Begin reading the descriptor inside a kernel."""
        return DescriptorReader(kernel, self)


class DescriptorReader:
    """A descriptor inside a kernel that is being built: its fields are attributes, read when the kernel starts.

    Hand-written kernels call it `d`.
    """

    def __init__(self, kernel: Kernel, layout: DescriptorLayout) -> None:
        self._kernel = kernel
        self._descriptor = kernel.array("descriptor", I8)
        self._table = kernel.array("table", ADDRESS)
        self._arrays = {
            name: (self._table[self._descriptor[2 * i]], self._descriptor[2 * i + 1])
            for i, name in enumerate(layout.arrays)
        }
        first = 2 * len(layout.arrays)
        self._values = {name: self._descriptor[first + i] for i, name in enumerate(layout.fields)}

    def __getattr__(self, name: str) -> Expr:
        return self._values[name]

    def lookup_table(self, name: str) -> Array:
        """The array of integers that a field holds."""
        return self._descriptor.at(self._values[name])

    def table_entry(self, name: str) -> Expr:
        """The address in a table entry, whose index is a field."""
        return self._table[self._values[name]]

    def array(self, name: str, type: Type, no_alias: bool = True) -> Array:
        """An array; `no_alias` promises the compiler that no other array of the kernel overlaps it."""
        address, offset = self._arrays[name]
        return self._kernel.array(address, type, name if no_alias else None).at(offset)
