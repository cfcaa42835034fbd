"""From a NumPy formula to machine code: graph, tracer, schedule, loops, program. See docs/lowering.md."""
