"""From a function to compiled programs: what it does is recorded once, and what that depends on is noted.

`jit` is what the user calls, and `compiled` what it gives. `trace` records a call as a graph (`lower.graph`), with
Tracers in the place of arrays (`lowering`: convolution, pooling, copies), and what Python is still to do around each
run (`glue`). `observe` notes what the function reads and assigns besides arrays: `code` finds its variables, `calls`
the functions that run, `classes` what attributes mean. A program depends on all of that (`guards`). `settings` stands
for what optimizers compute with, and `report` is `explain()`. The loops are made and run by `lower`.
"""

from chainrule.capture.compiled import Compiled, jit

__all__ = ["Compiled", "jit"]
