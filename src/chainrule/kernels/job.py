"""Hand-written kernels, instantiated for element types and sizes.

A `KernelTemplate` is a hand-written kernel before its element types are chosen. In a `Job`, everything is chosen except
the arrays: element types, sizes, and all other fields of the descriptor. Eager operations call `Job.run` with arrays;
compiled programs bind the job's descriptor to their own table (`lower.kernel_call`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import machine, processor
from chainrule.kernels.memory import data_pointer
from chainrule.kernels.processor import CACHE_LINE
from chainrule.kernels.team import parallel_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.kernels.calling import DescriptorLayout
    from chainrule.kernels.tree import Kernel, Type

MULTIPLY_ADDS_PER_ITERATION = 8
"""How many multiply-adds of a convolution, attention or matrix product count as one iteration in `Job.iterations`."""


@dataclass(frozen=True, eq=False)
class KernelTemplate:
    """A hand-written kernel, for any element types.

    Attributes:
        descriptor_layout: the names of its arrays and of its descriptor's fields.
        build: builds the kernel for element types. Equal types must give equal kernels.
        name: identifies the kernel in the cache of machine code; by default the module and name of `build`.
    """

    descriptor_layout: DescriptorLayout
    build: Callable[..., Kernel]
    name: str = ""

    def address(self, *types: Type) -> int:
        """The address of the machine code for these types, which is compiled if necessary.

        Raises:
            CannotCompileError: LLVM cannot be used, or rejects the kernel.
        """
        name = self.name or f"{self.build.__module__}.{self.build.__name__}"
        key = f"{name} {' '.join(map(str, types))} {processor.registers()}"
        return machine.address_of(key, lambda: self.build(*types))

    def job(
        self, types: Sequence[Type], *, row_count: int, iterations: int, scratch_elements: int = 0,
        row_multiple: int = 1, **fields: Any,
    ) -> Job:  # fmt: skip
        """Create a `Job`. The arguments are its attributes and the descriptor's fields.

        `scratch_elements` counts elements of the first type; the attribute `scratch_bytes` counts bytes.
        """
        descriptor, scratch_bytes = self.descriptor_layout.encode(**fields), scratch_elements * types[0].bytes
        return Job(self, tuple(types), descriptor, row_count, iterations, scratch_bytes, row_multiple)


@dataclass(frozen=True, eq=False)
class Job:
    """A hand-written kernel for which everything is chosen except the arrays.

    Attributes:
        template: the kernel before its element types are chosen.
        types: the element types.
        descriptor: the encoded descriptor, to which no arrays are bound yet.
        row_count: the number of rows, the units of work that are divided among threads (see `calling`).
        iterations: roughly how long all rows take, in iterations of a simple inner loop (see `team.parallel_for`). An
            iteration that does much, as for erf, counts as several; many multiply-adds in vectors count as one (see
            MULTIPLY_ADDS_PER_ITERATION).
        scratch_bytes: the size of the working memory that each thread needs; if it is not 0, this memory is the
            kernel's last array.
        row_multiple: `run` gives each thread a multiple of this many rows. For a convolution, it is the number of rows
            of one image, because waking threads to share a single image does not pay; for all other kernels, it is 1.
    """

    template: KernelTemplate
    types: tuple[Type, ...]
    descriptor: NDArray[np.int64]
    row_count: int
    iterations: int
    scratch_bytes: int
    row_multiple: int

    @property
    def address(self) -> int:
        """The address of the kernel's machine code."""
        return self.template.address(*self.types)

    @cached_property
    def _function_and_descriptor(self) -> tuple[Callable[..., None], NDArray[np.int64]]:
        """The kernel, and its descriptor for a table that holds only the kernel's arrays, in order."""
        bindings = [(i, 0) for i in range(len(self.template.descriptor_layout.array_names))]
        return machine.function(self.address), self.bind(bindings)

    def bind(self, bindings: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """The descriptor for arrays in a table; see `DescriptorLayout.bind`."""
        return self.template.descriptor_layout.bind(self.descriptor, bindings)

    def run(self, *arrays: NDArray[Any]) -> None:
        """Compute all rows, on several threads if there are enough iterations.

        Args:
            arrays: the arrays that the descriptor layout names, in this order, without the scratch array. They must be
                contiguous, unless the descriptor has their strides.
        """
        call, descriptor = self._function_and_descriptor
        table = np.zeros(len(self.template.descriptor_layout.array_names), np.int64)
        table[: len(arrays)] = [data_pointer(x) for x in arrays]

        def run_share(begin: int, end: int) -> None:
            thread_table = table
            if self.scratch_bytes:
                thread_table = table.copy()
                scratch = np.empty(self.scratch_bytes + CACHE_LINE, np.uint8)
                thread_table[-1] = -(-data_pointer(scratch) // CACHE_LINE) * CACHE_LINE
            first, last = begin * self.row_multiple, end * self.row_multiple
            call(data_pointer(thread_table), data_pointer(descriptor), 0, first, last, 1)

        parallel_for(run_share, self.row_count // self.row_multiple, self.iterations)
