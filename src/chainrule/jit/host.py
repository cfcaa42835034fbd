"""What Python does around each run of a program, as four short functions that are written when the program is made.

A step of a small network is over in some ten microseconds, so whatever is done beside it counts: each check and each
assignment becomes a line of its own, with nothing to look up and no loop around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.jit.tracer import Untraceable

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.jit.graph import Value
    from chainrule.jit.tracer import Number


class Host:
    """Lines of Python, and what they speak of.

    Attributes:
        lines: statements that fill S, the numbers that the program reads.
        checks: expressions; where one is false, the program does not apply.
        clean: expressions; where one is false, a gradient is there that the program would overwrite.
        after: statements for after the run.
        new: what is remembered anew, such as a count of steps, and which name holds it until the program has run.
        indices: arguments that must be whole numbers from 0 to size - 1 or `spared`: (value, size, name, spared).
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.checks: dict[str, None] = {}  # in order, each once
        self.clean: list[str] = []
        self.after: list[str] = []
        self.slots: dict[str, int] = {}
        self.new: dict[str, str] = {}
        self.indices: list[tuple[Value, int, str, int]] = []
        self._names: dict[int, tuple[str, Any]] = {}  # by identity; the things are kept, so that it stays theirs

    def name(self, thing: Any) -> str:
        """A name for an object."""
        return self._names.setdefault(id(thing), (f"x{len(self._names)}", thing))[0]

    def slot(self, number: Number) -> int:
        """Where the program finds a number."""
        found = self.slots.get(number.code)
        if found is None:
            found = self.slots[number.code] = len(self.slots)
            self.lines.append(f"S[{found}] = {number.code}")
        return found

    def assign(self, target: str, number: Number) -> None:
        """A number that is remembered, such as a count of steps."""
        name = f"new{len(self.lines)}_"
        self.lines.append(f"{name} = {number.code}")
        self.new[target] = name

    def expect(self, code: str, value: Any) -> None:
        """The program applies as long as this has this value. It is looked at before anything is assigned."""
        if any(name in code for name in self.new.values()):
            raise Untraceable(f"a decision about {code}, which has just been changed")
        self.check(f"({code}) == {value!r}")

    def check(self, code: str) -> None:
        """The program applies as long as this is true."""
        self.checks[code] = None

    def functions(self) -> tuple[Callable[[], bool], Callable[[], bool], Callable[[Any], Any], Callable[[Any], None]]:
        """The functions.

        Returns:
            `applies` makes the checks, `clean` looks for gradients, `prepare` fills S and returns what `remember` is
            handed after the run.
        """
        kept = "".join(f"{name}, " for name in self.new.values())
        after = [*(f"{target} = new[{i}]" for i, target in enumerate(self.new)), *self.after]
        bodies = {
            "applies()": [f"return {' and '.join(self.checks) or 'True'}"],
            "clean()": [f"return {' and '.join(self.clean) or 'True'}"],
            "prepare(S)": [*self.lines, f"return ({kept})"],
            "remember(new)": after or ["pass"],
        }
        text = "\n".join(f"def {head}:\n    " + "\n    ".join(body) for head, body in bodies.items())
        space: dict[str, Any] = dict(self._names.values())
        exec(text, space)  # noqa: S102  # what the trace and `compiled` wrote
        return space["applies"], space["clean"], space["prepare"], space["remember"]
