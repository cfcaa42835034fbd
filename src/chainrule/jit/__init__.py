"""jit: the third reading of every operation. What runs is written down, fused, laid out in memory and compiled.

`trace` writes a call down as a `graph`, with `tracer`s in the place of arrays (`lowering`: convolution and pooling) and
with what Python is still to do around each run (`glue`). `observe` notes what the function reads and assigns besides
arrays (`code` finds its variables), which the program then depends on (`guards`). `schedule` puts its steps into loops
and its arrays into memory; `emit` writes the loops; `program` runs them; `compiled` is what the user holds.
"""

import sys
from types import ModuleType

from chainrule.jit.compiled import Compiled, jit


class _Callable(ModuleType):
    """This package, which has the name of its one function, and can be called like it: `chainrule.jit(step)`."""

    __call__ = staticmethod(jit)


sys.modules[__name__].__class__ = _Callable

__all__ = ["Compiled", "jit"]
