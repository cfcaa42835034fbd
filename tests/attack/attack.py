"""What an attack is: a way to draw cases from a seed; a case is files, steps, and what must hold afterwards."""

from __future__ import annotations

import signal
import unicodedata
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .child import WRONG, Signal, command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .child import Ended

MOST_MEGABYTES = 400.0  # peak resident, above an idle import
MOST_SECONDS = 5.0  # of the processor; of the clock, sixteen times as many, for the machine may be busy
SENTENCE, ENOUGH_LINES = "chainrule: ", 40


@dataclass(frozen=True)
class Step:
    """Something that is run in a child.

    Attributes:
        name: for a report.
        action: what the child does.
        codes: the exit codes that are right.
        signals: sent to the child on the way; to be ended by one that it does not catch at that moment is right, too.
        free: a check of the harness itself: what it takes does not count, for it is no part of chainrule.
        quiet: standard error holds nothing but sentences, or nothing.
    """

    name: str
    action: Callable[[], object]
    codes: tuple[int, ...] = (0,)
    signals: tuple[Signal, ...] = ()
    free: bool = False
    quiet: bool = True


def chainrule(*arguments: object, codes: Sequence[int] = (0, 2), signals: Sequence[Signal] = ()) -> Step:
    """A step that runs the command."""
    texts = [str(argument) for argument in arguments]
    return Step("chainrule " + " ".join(map(ascii, texts)), command(*texts), tuple(codes), tuple(signals))


def check(name: str, action: Callable[[], object]) -> Step:
    """A step of the harness that looks at what is there, and raises `WrongError`."""
    return Step(name, action, free=True)


@dataclass
class Case:
    """What is done once.

    Attributes:
        about: one line for a report.
        steps: run one after the other, each in a child, in the case's folder.
        edits: what was done to the bytes of a file, if that can be undone edit by edit; for shrinking.
        rewrite: writes the file with some of the edits only.
    """

    about: str
    steps: list[Step]
    edits: int = 0
    rewrite: Callable[[set[int]], None] | None = field(default=None, repr=False)


class Attack(Protocol):
    """One kind of attack; each is a module of its own."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Make, once for all cases, what they start from: a trained run, say."""

    def draw(self, random: np.random.Generator, folder: Path) -> Case:
        """Draw a case: write its files into the folder, and say what to do. The same random numbers, the same case."""


@dataclass(frozen=True)
class Fall:
    """Something that must not happen.

    Attributes:
        kind: "traceback", "signal", "exit code", "hang", "memory", "wrong", "noise" or "terminal".
        what: a line or two about it.
    """

    kind: str
    what: str


def generator(attack: str, number: int) -> np.random.Generator:
    """The random numbers of an attack's case."""
    return np.random.default_rng([zlib.crc32(attack.encode()), number])


def judge(step: Step, ended: Ended) -> Fall | None:
    """What a step did that it must not, if anything."""
    if ended.code == WRONG:
        return Fall("wrong", _last_line(ended.err))
    if "Traceback (most recent call last)" in ended.err or "internal error; please report" in ended.err:
        return Fall("traceback", _error_line(ended.err))
    if ended.code == -signal.SIGXCPU or (ended.code == -signal.SIGKILL and signal.SIGKILL not in ended.uncaught):
        return Fall("hang", f"ended after {ended.seconds:.0f} s of the processor, {ended.waited:.0f} s of the clock")
    if ended.code < 0 and -ended.code not in ended.uncaught:
        return Fall("signal", f"{signal.Signals(-ended.code).name}; {_last_line(ended.err)}")
    if ended.code >= 0 and ended.code not in step.codes:
        return Fall("exit code", f"{ended.code}, not one of {step.codes}; {_last_line(ended.err)}")
    if step.free:
        return None
    if ended.megabytes > MOST_MEGABYTES:
        return Fall("memory", f"{ended.megabytes:.0f} MB")
    if ended.seconds > MOST_SECONDS or ended.waited > 16 * MOST_SECONDS:
        return Fall("hang", f"{ended.seconds:.1f} s of the processor, {ended.waited:.1f} s of the clock")
    return _words(step, ended)


def _words(step: Step, ended: Ended) -> Fall | None:
    """What is amiss with what a step has printed."""
    for text in (ended.out, ended.err):
        for character in text:
            if character != "\n" and unicodedata.category(character) in ("Cc", "Cs"):
                return Fall("terminal", f"{character!r} in {text[:300]!r}")
    lines = ended.err.splitlines()
    if len(lines) > ENOUGH_LINES or len(ended.err) > 20_000:
        return Fall("noise", f"{len(lines)} lines, {len(ended.err):,} characters on standard error: {lines[0][:200]}")
    if step.quiet and ended.code == 2 and not any(line.startswith((SENTENCE, "Error: ")) for line in lines):
        return Fall("noise", f"no sentence on standard error: {ended.err[:300]!r}")
    if step.quiet and any(line and not line.startswith(EXPECTED) and not line.endswith(NO_DIGITS) for line in lines):
        return Fall("noise", f"on standard error: {ended.err[:300]!r}")
    return None


EXPECTED = (
    SENTENCE, "Error: ", "Usage: ", "Try 'chainrule ", "Options:", "figure: ", "photo: ", "stopped in epoch ",
    "stopping after this step", "stopped after the last epoch, before the test; ", "stopped immediately; ", "no runs in ",
)  # fmt: skip
"""How lines on standard error may begin."""

NO_DIGITS = ": no digits found"
"""How one may end that begins with the name of a picture."""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:400] if lines else "nothing on standard error"


def _error_line(text: str) -> str:
    """The line that names the error, and where it was raised."""
    lines = text.strip().splitlines()
    locations = [line.strip() for line in lines if line.strip().startswith('File "')]
    errors = [line for line in lines if line and not line.startswith((" ", SENTENCE, "Traceback"))]
    return f"{(errors or ['?'])[-1][:300]} ({(locations or ['?'])[-1]})"
