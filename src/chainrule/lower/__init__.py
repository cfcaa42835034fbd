"""One path from a formula to machine code: graph, tracer, schedule, loops, program."""
