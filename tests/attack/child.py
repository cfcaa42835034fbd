"""Run a command or a check in a child process, with limits and measurements.

Children are forked from a process that has imported everything. A fork takes milliseconds, a new Python process a
second: forks allow thousands of cases a minute. Linux only.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESSES = 8 << 30  # limit of a child's address space in bytes, to protect the machine
CPU_SECONDS = 30  # hard limit; a fall is reported much earlier
WALL_SECONDS = 120.0  # hard limit of wall time, for children that wait without using the CPU
WRONG = 99
"""The exit code of a check that found something wrong."""


class WrongError(Exception):
    """A check found a wrong result."""


SENT = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""The signals that are blocked in a child until its action begins."""


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code, or minus the signal that ended it.
        out: its standard output.
        err: its standard error.
        megabytes: peak resident memory, above that of an idle process that has imported chainrule.
        seconds: CPU time.
        waited: wall time.
        uncaught: signals that it received without a handler, such as SIGKILL; these may have ended it.
    """

    code: int
    out: str
    err: str
    megabytes: float
    seconds: float
    waited: float
    uncaught: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Signal:
    """A signal to send to a child.

    Attributes:
        after: seconds after its start.
        number: the signal.
    """

    after: float
    number: int


def command(*arguments: str) -> Callable[[], None]:
    """A function that runs `chainrule` with these arguments; an interrupt before its first line gives code 130."""

    def run() -> None:
        try:
            from chainrule.cli import main  # imported after the child's standard output is set up

            main(list(arguments))
        except KeyboardInterrupt as interrupt:
            if not _has_begun(interrupt):
                sys.exit(128 + signal.SIGINT)
            raise

    return run


def _has_begun(interrupt: KeyboardInterrupt) -> bool:
    """Whether `main` had executed its first line: Python may raise KeyboardInterrupt before that."""
    steps = traceback.walk_tb(interrupt.__traceback__)
    return any(frame.f_code.co_name == "main" and line > frame.f_code.co_firstlineno for frame, line in steps)


def run(
    action: Callable[[], object], folder: Path, idle: float, signals: tuple[Signal, ...] = (), memory: int = ADDRESSES
) -> Ended:
    """Run an action in a child process in a folder, and wait for it.

    Args:
        action: a function; it may return, or raise SystemExit or another exception.
        folder: the working directory of the child; its output is saved next to it.
        idle: memory of an idle process in megabytes.
        signals: signals to send.
        memory: limit of the address space in bytes.
    """
    out, err = folder.with_suffix(".out"), folder.with_suffix(".err")
    sys.stdout.flush()
    begun = time.monotonic()
    signal.pthread_sigmask(signal.SIG_BLOCK, SENT)  # in the child, until the action begins
    pid = os.fork()
    if pid == 0:
        _be_child(action, folder, out, err, memory)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SENT)
    sent, uncaught = 0, set()
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        waited = time.monotonic() - begun
        if sent < len(signals) and waited >= signals[sent].after:
            number = signals[sent].number
            if not _catches(pid, number):
                uncaught.add(number)
            os.kill(pid, number)
            sent += 1
        elif waited > WALL_SECONDS:
            os.kill(pid, signal.SIGKILL)
        else:
            time.sleep(0.001 if waited < 1 else 0.01)
    return Ended(
        os.waitstatus_to_exitcode(status),
        out.read_bytes().decode(errors="surrogateescape"),
        err.read_bytes().decode(errors="surrogateescape"),
        usage.ru_maxrss * 1024 / 1e6 - idle,
        usage.ru_utime + usage.ru_stime,
        time.monotonic() - begun,
        frozenset(uncaught),
    )


def _catches(pid: int, number: int) -> bool:
    """Whether a child currently has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def _be_child(action: Callable[[], object], folder: Path, out: Path, err: Path, memory: int) -> None:
    """Run the action in the child process; never returns."""
    code = 1
    try:
        os.setsid()
        for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, None), (2, err, None)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if flags is None else flags, 0o600)
            os.dup2(handle, number)
            os.close(handle)
        sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(folder)
        code = _exit_code(action)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
    finally:
        os._exit(code)


def _exit_code(action: Callable[[], object]) -> int:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SENT)
    except KeyboardInterrupt:  # the signal arrived before the action began
        return 128 + signal.SIGINT
    try:
        action()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except WrongError as error:
        print(f"wrong: {error}", file=sys.stderr)
        return WRONG
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
