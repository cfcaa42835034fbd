"""Kernels that are called by their address, in Python and in compiled programs (`chainrule.jit`) alike.

A `Job` is a kernel with everything told but where its arrays lie: its description, one line of whole numbers, holds
shapes and tables. So each kernel is compiled once for each type of numbers, whatever the shapes, and a program calls it
as it calls BLAS: there is nothing to compile for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import native, processor
from chainrule.kernels.compile import loops, machine_code
from chainrule.kernels.team import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

LENGTH, ADDRESS, HEAD = 0, 1, 2
"""What every description begins with: how long it is, and where the kernel is; so many words."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """A loop with the arguments (description, three arrays, scratch, first, last, fresh), all but three pointers.

    It does rows `first` … `last` - 1 of what is described; `fresh` says whether sums begin at 0, or go on.

    Attributes:
        family: the module in `loops` where it stands.
        name: the function's name there.
        kinds: the types of its arrays, by position in what `job` is told.
    """

    family: str
    name: str
    kinds: tuple[int, int, int] = (0, 0, 0)
    compiled: dict[Any, int] = field(default_factory=dict, init=False)

    def address(self, *dtypes: np.dtype[Any]) -> int:
        """Where the compiled loop is, for arrays of these types."""
        found = self.compiled.get(dtypes)
        if found is None:
            items = [dtypes[kind] for kind in (*self.kinds, 0)]

            def make() -> Any:
                return machine_code(getattr(loops(self.family), self.name), [np.dtype(np.int64), *items], words=3)

            key = f"{self.family}.{self.name} {items} {processor.sizes()}"
            found = self.compiled[dtypes] = native.address(key, make)
        return found

    def job(
        self, dtypes: Sequence[np.dtype[Any]], numbers: Sequence[Any], rows: int, work: int, scratch: int, each: int = 1
    ) -> Job:
        """This kernel with a description; an array among the numbers comes after them, where its place is told."""
        tables = [x for x in numbers if isinstance(x, np.ndarray)]
        at, line = len(numbers), [0, self.address(*dtypes)]
        for x in numbers:
            line.append(at if isinstance(x, np.ndarray) else int(x))
            at += x.size if isinstance(x, np.ndarray) else 0
        line[LENGTH] = HEAD + at
        description = np.concatenate([np.array(line, np.int64), *(table.ravel().astype(np.int64) for table in tables)])
        call, size = native.function(line[ADDRESS], 8), scratch * dtypes[0].itemsize
        return Job(description, native.place_of(description), call, rows, work, size, each)


@dataclass(frozen=True, eq=False)
class Job:
    """A kernel with everything told but where its arrays lie.

    Attributes:
        description: whole numbers.
        address: where those are.
        call: the kernel, for Python.
        rows: how much there is to share out among threads.
        work: about how many steps of an inner loop that takes.
        scratch: how many bytes of memory each thread needs for itself.
        each: so many rows are an image, which is not shared by threads that must be woken first.
    """

    description: NDArray[np.int64]
    address: int
    call: Callable[..., object]
    rows: int
    work: int
    scratch: int
    each: int

    def run(self, *arrays: NDArray[Any]) -> None:
        """Do it all, for up to three contiguous arrays."""
        at = [self.address, *map(native.place_of, arrays), *(0,) * (3 - len(arrays))]

        def share(begin: int, end: int) -> None:
            scratch = np.empty(self.scratch, np.uint8)
            self.call(*at, native.place_of(scratch) if self.scratch else 0, begin * self.each, end * self.each, 1)

        spread(share, self.rows // self.each, self.work)
