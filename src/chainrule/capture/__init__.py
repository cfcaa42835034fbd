"""`chainrule.jit`: traces a function once per signature and runs it as a compiled program.

| file | purpose |
| --- | --- |
| `compiled` | `jit`: when to trace, when to reuse a program |
| `trace` | one traced call: the graph (`lower.graph`) and the state that the program changes |
| `lowering_rules` | operations that are not recorded through their formula: most become calls of hand-written kernels |
| `optimizer_state` | stand-ins for an optimizer's options and state during the trace |
| `observe` | which external objects and variables the function reads and assigns |
| `code`, `calls`, `classes` | what `observe` learns from bytecode, the profiler and patched classes |
| `guards` | the conditions that must hold for a program to run, checked before each run |
| `glue` | the generated Python code around each run |
| `report` | `explain()` |
| `frames` | whether a source file is the user's, a library's or chainrule's |

**External** means: existing before the traced call. The package `lower` turns the graph into loops, compiles them and
runs them.
"""

from chainrule.capture.compiled import Compiled, jit

__all__ = ["Compiled", "jit"]
