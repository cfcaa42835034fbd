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


@dataclass(frozen=True, eq=False)
class KernelTemplate:
    """A hand-written kernel, for any element types.

    Attributes:
        layout: the layout of its descriptor.
        build: builds the kernel for element types. Equal types must give equal kernels.
        name: identifies it in the cache of machine code; by default the name of `build`.
    """

    layout: DescriptorLayout
    build: Callable[..., Kernel]
    name: str = ""

    def address(self, *types: Type) -> int:
        """The address of its machine code for these types; compiles it if necessary.

        Raises:
            CannotCompileError: LLVM cannot be used.
        """
        name = self.name or f"{self.build.__module__}.{self.build.__name__}"
        key = f"{name} {' '.join(map(str, types))} {processor.registers()}"
        return machine.address_of(key, lambda: self.build(*types))

    def job(
        self, types: Sequence[Type], rows: int, work: int, scratch: int = 0, rows_per_image: int = 1, /, **fields: Any
    ) -> Job:
        """Create a `Job`. The arguments are its attributes (`scratch` in elements) and its descriptor's fields."""
        scratch_bytes = scratch * types[0].bytes
        return Job(self, tuple(types), self.layout.encode(**fields), rows, work, scratch_bytes, rows_per_image)


@dataclass(frozen=True, eq=False)
class Job:
    """A hand-written kernel with everything fixed but its arrays.

    Attributes:
        template: the kernel.
        types: element types.
        descriptor: encoded, with the arrays not bound yet.
        rows: the number of rows that can be divided among threads.
        work: the approximate number of inner-loop iterations for all rows.
        scratch: bytes of working memory that each thread needs; if not 0, they are the kernel's last array.
        rows_per_image: the number of rows of one image, or 1 if rows are not parts of images. Eager calls give each
            thread whole images, because waking threads to share a single image does not pay.
    """

    template: KernelTemplate
    types: tuple[Type, ...]
    descriptor: NDArray[np.int64]
    rows: int
    work: int
    scratch: int
    rows_per_image: int

    @property
    def address(self) -> int:
        """The address of the kernel's machine code."""
        return self.template.address(*self.types)

    @cached_property
    def _function_and_descriptor(self) -> tuple[Callable[..., None], NDArray[np.int64]]:
        """The kernel, and its descriptor for a table that holds nothing but the kernel's arrays."""
        layout = self.template.layout
        bindings = [(i, 0) for i in range(len(layout.arrays))]
        return machine.function(self.address), layout.bind(self.descriptor, bindings)

    def run(self, *arrays: NDArray[Any]) -> None:
        """Compute all rows, on several threads.

        Args:
            arrays: the arrays of the layout in order, without the scratch array; contiguous, unless the kernel reads
                strides.
        """
        call, descriptor = self._function_and_descriptor
        table = np.zeros(len(self.template.layout.arrays), np.int64)
        table[: len(arrays)] = [data_pointer(x) for x in arrays]

        def run_share(begin: int, end: int) -> None:
            own_table, scratch = table, None
            if self.scratch:
                scratch, own_table = np.empty(self.scratch + CACHE_LINE, np.uint8), table.copy()
                own_table[-1] = -(-data_pointer(scratch) // CACHE_LINE) * CACHE_LINE
            first, last = begin * self.rows_per_image, end * self.rows_per_image
            call(data_pointer(own_table), data_pointer(descriptor), 0, first, last, 1)

        parallel_for(run_share, self.rows // self.rows_per_image, self.work)
