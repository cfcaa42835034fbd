"""An attack generates cases from a seed; a case consists of files, steps, and checks."""

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

MOST_MEGABYTES = 400.0  # peak resident memory, above that of an idle import
MOST_SECONDS = 5.0  # CPU time; the limit of wall time is 16 times as large, because the machine may be busy
SENTENCE = "chainrule: "  # the beginning of an error message
MOST_LINES = 40  # on standard error


@dataclass(frozen=True)
class Step:
    """An action to run in a child process.

    Attributes:
        name: its name in reports.
        action: what the child does.
        codes: the allowed exit codes.
        signals: signals to send to the child; it may be killed by one that it does not catch at that moment.
        free: whether it is a check by the harness, whose memory, time and output are not judged.
        quiet: whether standard error may contain only lines that begin as `EXPECTED`.
    """

    name: str
    action: Callable[[], object]
    codes: tuple[int, ...] = (0,)
    signals: tuple[Signal, ...] = ()
    free: bool = False
    quiet: bool = True


def chainrule(*arguments: object, codes: Sequence[int] = (0, 2), signals: Sequence[Signal] = ()) -> Step:
    """A step that runs the `chainrule` command."""
    texts = [str(argument) for argument in arguments]
    return Step("chainrule " + " ".join(map(ascii, texts)), command(*texts), tuple(codes), tuple(signals))


def check(name: str, action: Callable[[], object]) -> Step:
    """A step of the harness that checks the results, and raises `WrongError`."""
    return Step(name, action, free=True)


@dataclass
class Case:
    """A test case.

    Attributes:
        about: a line for reports.
        steps: run in order, each in a child process, in the folder of the case.
        edits: the number of edits of a file's bytes that can be undone one by one; for shrinking.
        rewrite: writes the file with a subset of the edits.
    """

    about: str
    steps: list[Step]
    edits: int = 0
    rewrite: Callable[[set[int]], None] | None = field(default=None, repr=False)


class Attack(Protocol):
    """A kind of attack; each is a module."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Create the files that all cases start from, such as a trained run."""

    def draw(self, random: np.random.Generator, folder: Path) -> Case:
        """Generate a case and write its files into the folder; depends only on the random numbers."""


@dataclass(frozen=True)
class Fall:
    """The failure of a case.

    Attributes:
        kind: "traceback", "signal", "exit code", "hang", "memory", "wrong", "noise" or "terminal".
        what: a short description.
    """

    kind: str
    what: str


def generator(attack: str, number: int) -> np.random.Generator:
    """The random generator of a case."""
    return np.random.default_rng([zlib.crc32(attack.encode()), number])


def judge(step: Step, ended: Ended) -> Fall | None:
    """The fall of a step, if any."""
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
    return _judge_output(step, ended)


def _judge_output(step: Step, ended: Ended) -> Fall | None:
    """The fall of a step because of its output, if any: unsafe characters, or unexpected lines."""
    for text in (ended.out, ended.err):
        for character in text:
            if character != "\n" and unicodedata.category(character) in ("Cc", "Cs"):
                return Fall("terminal", f"{character!r} in {text[:300]!r}")
    lines = ended.err.splitlines()
    if len(lines) > MOST_LINES or len(ended.err) > 20_000:
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
"""Allowed beginnings of lines on standard error."""

NO_DIGITS = ": no digits found"
"""Allowed ending of a line that begins with the name of an image."""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:400] if lines else "nothing on standard error"


def _error_line(text: str) -> str:
    """The line that names the error, and where it was raised."""
    lines = text.strip().splitlines()
    locations = [line.strip() for line in lines if line.strip().startswith('File "')]
    errors = [line for line in lines if line and not line.startswith((" ", SENTENCE, "Traceback"))]
    return f"{(errors or ['?'])[-1][:300]} ({(locations or ['?'])[-1]})"
