"""What Python does around each run of a program, as three short functions that are written when the program is made.

A step of a small network is over in some ten microseconds, so whatever is done beside it counts: each assignment
becomes a line of its own, with nothing to look up and no loop around it. `guards` tells whether a program applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.capture.guards import Guards, Names

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.capture.settings import Number
    from chainrule.lower.graph import Value


class Glue:
    """Lines of Python, and what they speak of.

    Attributes:
        lines: statements that fill S, the numbers that the program reads.
        names: the objects that the lines refer to.
        guards: what the program depends on.
        clean: expressions; where one is false, a gradient is there that the program would overwrite.
        after: statements for after the run.
        new: what is remembered anew, such as a count of steps, and which name holds it until the program has run.
        indices: arguments that must be whole numbers from 0 to size - 1, or `spared` if that is not None: (value, size,
            spared, and what raises the error for an array).
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names = Names()
        self.guards = Guards(self.names)
        self.clean: list[str] = []
        self.after: list[str] = []
        self.slots: dict[str, int] = {}
        self.new: dict[str, str] = {}
        self.indices: list[tuple[Value, int, int | None, Callable[[Any], object]]] = []

    def name(self, thing: Any) -> str:
        """A name for an object."""
        return self.names[thing]

    def slot(self, number: Number) -> int:
        """Where the program finds a number."""
        slot = self.slots.get(number.code)
        if slot is None:
            slot = self.slots[number.code] = len(self.slots)
            self.lines.append(f"S[{slot}] = {number.code}")
        return slot

    def assign(self, target: str, code: str) -> str:
        """Compute a number that is to be stored after the run, such as a count of steps; return its name till then."""
        name = f"new{len(self.lines)}_"
        self.lines.append(f"{name} = {code}")
        self.new[target] = name
        return name

    def functions(self) -> tuple[Callable[[], bool], Callable[[Any], Any], Callable[[Any], None]]:
        """The functions.

        Returns:
            `clean` looks for gradients, `prepare` fills S and returns what `remember` is handed after the run.
        """
        names = "".join(f"{name}, " for name in self.new.values())
        after = [*(f"{target} = new[{i}]" for i, target in enumerate(self.new)), *self.after]
        bodies = {
            "clean()": [f"return {' and '.join(self.clean) or 'True'}"],
            "prepare(S)": [*self.lines, f"return ({names})"],
            "remember(new)": after or ["pass"],
        }
        text = "\n".join(f"def {head}:\n    " + "\n    ".join(body) for head, body in bodies.items())
        space = self.names.namespace()
        exec(text, space)  # noqa: S102  # what the trace and `compiled` wrote
        return space["clean"], space["prepare"], space["remember"]
