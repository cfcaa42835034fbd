"""`chainrule.jit`: traces a function once per signature and runs it as a compiled program.

| file | owns |
| --- | --- |
| `compiled` | `jit`, and the programs of a compiled function |
| `trace` | one traced call: the graph (`lower.graph`) and the state that the program updates |
| `lowering_rules` | operations that are recorded as calls of hand-written kernels instead of through their formula |
| `settings` | stand-ins for an optimizer's options and state during the trace |
| `observe` | which outside objects the function reads and assigns |
| `code`, `calls`, `classes` | what `observe` learns from bytecode, from the profiler and from patched classes |
| `guards` | the conditions that must hold for a program to run, checked before each run |
| `glue` | the generated Python code around each run |
| `report` | `explain()` |
| `frames` | whether code belongs to the user, a library or chainrule |

The package `lower` turns the graph into loops, compiles them and runs them.
"""

from chainrule.capture.compiled import Compiled, jit

__all__ = ["Compiled", "jit"]
