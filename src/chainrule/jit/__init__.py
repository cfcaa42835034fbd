"""jit: the third reading of every operation. What runs is written down, fused, laid out in memory and compiled.

`trace` writes a call down as a `graph`, with `tracer`s in the place of arrays; `schedule` puts its steps into loops and
its arrays into memory; `emit` writes the loops; `program` runs them; `compiled` is what the user holds.
"""

from chainrule.jit.compiled import Compiled, jit

__all__ = ["Compiled", "jit"]
