"""A formula of numbers, for every element of some arrays, in one pass.

An optimiser's step is a dozen operations on each weight. NumPy goes over whole arrays for each of them; here each
element is read once, all of the formula is computed with it, and what changes is written once, so that what limits it
is memory. The formula is an ordinary Python function, and is not written a second time for that:

- **compiled**, its own source stands in a loop over the elements, which Numba turns into vector instructions;
- **in NumPy**, while Numba is not worth loading or cannot be used, it is given stretches of the arrays that fit into
  the processor's cache;
- **traced**, when `chainrule.jit` compiles a whole step, it is given tracers like any other NumPy code.

All give the same bits: nothing is reordered or contracted. So that this stays so, a formula uses arithmetic and ufuncs
of NumPy alone, no literal numbers, and combines elements with elements or with numbers, never two numbers. What it can
do without is None, which it asks for by `is not None`: the compiler leaves out what hangs on that.
"""

from __future__ import annotations

import functools
import inspect
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import team
from chainrule.kernels.compile import cannot_compile, give_up, load, works
from chainrule.kernels.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


SMALL = 500
"""So few elements go through NumPy at once."""
STRETCH = 16_384
"""So many elements at a time go through NumPy."""
WORTH_NUMBA = 4_000_000
"""After so many elements a compiled loop, which must be found on disk or else compiled, soon pays for itself."""

_done = 0


def each(formula: Callable[..., Any], changed: Sequence[Any], given: Sequence[Any], *numbers: float | None) -> None:
    """Change arrays in place, element by element: changed[0][i], ... = formula(changed[0][i], ..., given[0][i], ...).

    Args:
        formula: takes an element of each array of `changed`, one of each of `given`, then the numbers; returns the new
            elements of `changed`, as a tuple (also of one).
        changed: arrays of one shape and floating type, or None.
        given: more arrays of that shape, which are only read.
        numbers: the same for all elements, or None.
    """
    global _done
    first = changed[0]
    if type(first) is not np.ndarray or first.size <= SMALL:  # tracers, or too few elements to make plans for
        _at_once(formula, changed, given, numbers)
        return
    if not first.flags.c_contiguous:  # in the order in which they lie in memory
        changed, given = [x if x is None else x.T for x in changed], [x.T for x in given]
    if not all(x is None or x.flags.carray for x in changed):  # compiled code would write where NumPy raises an error
        _at_once(formula, changed, given, numbers)
        return
    outputs = [x if x is None else x.reshape(-1) for x in changed]
    inputs = [np.ascontiguousarray(x, first.dtype).reshape(-1) for x in given]
    _done += first.size
    if works() and (_done > WORTH_NUMBA or "numba" in sys.modules):
        missing = tuple([x is None for x in (*outputs, *inputs, *numbers)])
        number = first.dtype.type
        typed = [x if type(x) is np.ndarray else number(x) for x in (*outputs, *inputs, *numbers) if x is not None]
        try:
            loop = _compiled(formula, len(outputs), len(outputs) + len(inputs), missing)
            team.spread(loop, first.size, first.size // 4, *typed)
            return
        except cannot_compile() as error:
            give_up(error)
    for begin in range(0, first.size, STRETCH):
        part = slice(begin, begin + STRETCH)
        here = [x if x is None else x[part] for x in outputs]
        _at_once(formula, here, [x[part] for x in inputs], numbers)


def _at_once(formula: Callable[..., Any], changed: Sequence[Any], given: Sequence[Any], numbers: Any) -> None:
    for old, new in zip(changed, formula(*changed, *given, *numbers), strict=True):
        if old is not None:
            old[...] = new


@functools.cache
def _compiled(formula: Callable[..., Any], changed: int, arrays: int, missing: tuple[bool, ...]) -> Any:
    """The loop around a formula, by how many of its arguments change, are arrays, and which are None."""
    names = inspect.signature(formula).parameters
    elements = [
        "None" if none else f"{name}[i]" if number < arrays else name
        for number, (name, none) in enumerate(zip(names, missing, strict=True))
    ]
    results = ["_" if element == "None" else element for element in elements[:changed]]
    used = [name for name, none in zip(names, missing, strict=True) if not none]
    held = arrays - sum(missing[:arrays])  # so many of them are arrays; sliced, no place in them can be negative
    code = f'''"""A loop made by chainrule.kernels.elementwise."""

from __future__ import annotations

import numpy as np

from chainrule.kernels.compile import inner


@inner
{textwrap.dedent(inspect.getsource(formula))}

@inner
def loop({", ".join([*used, "begin", "end"])}):
    {"; ".join(f"{name} = {name}[begin:end]" for name in used[:held])}
    for i in range(end - begin):
        {", ".join(results)}, = {formula.__name__}({", ".join(elements)})
'''
    return Loop(code, lambda: load("loop", code).loop)
