"""Generates the Python code that runs before and after each run of a program.

A step of a small network takes about ten microseconds, so the code around it must be fast: computing a scalar or
storing a value is one generated statement, without loops. `trace`, `optimizer_state` and `compiled` add the statements.
`guards` generates the code that decides whether a program may run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.capture.guards import Guards, Names

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.capture.optimizer_state import OptimizerScalar
    from chainrule.lower.graph import Value


class GlueFunctions(NamedTuple):
    """The generated functions.

    Attributes:
        grads_are_none: returns whether all leaves that must not have a gradient before a run have none (see
            `compiled.Specialization.leaves_without_grad`).
        compute_scalars: fills the program's scalars; returns the values to store after the run.
        store: stores the values that `compute_scalars` has returned, then runs the epilogue.
    """

    grads_are_none: Callable[[], bool]
    compute_scalars: Callable[[Any], Any]
    store: Callable[[Any], None]


class Glue:
    """The statements of the generated code, and the objects that they refer to.

    Attributes:
        prologue: statements that run before the program. They fill `S`, the program's scalars, and compute the pending
            values.
        names: names of the objects that the generated code refers to.
        guards: what the program depends on.
        grad_conditions: expressions, one for each leaf that must not have a gradient before a run: it has none.
        epilogue: statements that run after the program.
        scalar_indices: the index in `S` of each scalar, by its `OptimizerScalar.code`.
        pending: values to store after the run, such as a step count: the code of each assignment's target, and the
            generated variable that holds the value to assign.
        index_checks: arguments that must hold integers from 0 to size - 1, or `ignore_index` if that is not None:
            (value, size, ignore_index, validate); `validate` raises the error for an array with an invalid index.
    """

    def __init__(self) -> None:
        self.prologue: list[str] = []
        self.names = Names()
        self.guards = Guards(self.names)
        self.grad_conditions: list[str] = []
        self.epilogue: list[str] = []
        self.scalar_indices: dict[str, int] = {}
        self.pending: dict[str, str] = {}
        self.index_checks: list[tuple[Value, int, int | None, Callable[[Any], object]]] = []

    def scalar_index(self, scalar: OptimizerScalar) -> int:
        """Return the index of a scalar among the program's scalars."""
        index = self.scalar_indices.get(scalar.code)
        if index is None:
            index = self.scalar_indices[scalar.code] = len(self.scalar_indices)
            self.prologue.append(f"S[{index}] = {scalar.code}")
        return index

    def assign(self, target: str, code: str) -> str:
        """Compute a value before the run and store it in `target` after the run; return the variable that holds it."""
        name = f"new{len(self.prologue)}_"
        self.prologue.append(f"{name} = {code}")
        self.pending[target] = name
        return name

    def functions(self) -> GlueFunctions:
        """Generate and compile the functions."""
        names = "".join(f"{name}, " for name in self.pending.values())
        statements = [*(f"{target} = pending[{i}]" for i, target in enumerate(self.pending)), *self.epilogue]
        bodies = {
            "grads_are_none()": [f"return {' and '.join(self.grad_conditions) or 'True'}"],
            "compute_scalars(S)": [*self.prologue, f"return ({names})"],
            "store(pending)": statements or ["pass"],
        }
        source = "\n".join(f"def {head}:\n    " + "\n    ".join(body) for head, body in bodies.items())
        namespace = self.names.namespace()
        exec(source, namespace)  # noqa: S102  # all statements come from this package
        return GlueFunctions(namespace["grads_are_none"], namespace["compute_scalars"], namespace["store"])
