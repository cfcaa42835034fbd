"""Stops training gracefully on SIGINT (Ctrl-C), SIGTERM (`kill`, `docker stop`) and SIGHUP (closed terminal)."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import FrameType, TracebackType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Interruptible(Protocol):
    """What a signal can stop: a trainer or a sweep. It stops after its current step once `interrupt` is True."""

    interrupt: bool


class Interruption:
    """A context manager in which a signal stops `target` after its current step, and a second one quits immediately.

    Without a target, there is nothing to save, and the first signal quits immediately. Quitting raises
    KeyboardInterrupt, even if C code (such as matplotlib's) swallowed it and raised a different error; errors in
    destructors are no longer reported then. SIGHUP stays ignored if it was ignored on entry, as under `nohup`.

    Args:
        names: the names of the signals.
        announces: whether to print that training will stop.

    Attributes:
        target: the trainer or sweep to stop; None while nothing needs to be saved.
        number: the number of the last signal received; None if there was none.
    """

    def __init__(self, names: Sequence[str] = NAMES, *, announces: bool = True) -> None:
        self._names, self._announces = names, announces
        self.target: Interruptible | None = None
        self.number: int | None = None
        self._is_quitting = False
        self._previous_handlers: dict[int, Any] = {}
        self._terminals: list[int] = []

    @property
    def exit_code(self) -> int:
        """The exit code of a command that a signal ended, as a shell reports it; without a signal, that of Ctrl-C."""
        return 128 + (signal.SIGINT if self.number is None else self.number)

    def __enter__(self) -> Interruption:
        self._terminals = [descriptor for descriptor in (1, 2) if _is_terminal(descriptor)]
        for name in self._names:
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            with suppress(ValueError):  # only the main thread can set signal handlers
                self._previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        if self._is_quitting and isinstance(error, Exception):
            raise KeyboardInterrupt from error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first = self.number is None
        self.number = number
        if number == getattr(signal, "SIGHUP", None):
            self._leave_terminal()
        if not is_first or self.target is None:
            self._is_quitting = True
            sys.unraisablehook = _ignore  # the destructor of a partially initialized object may fail
            raise KeyboardInterrupt
        self.target.interrupt = True
        if not self._announces:
            return
        signal_name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        with suppress(OSError):  # not to sys.stderr: the signal may have interrupted a write to it
            os.write(2, f"stopping after this step ({signal_name} again quits immediately)\n".encode())

    def _leave_terminal(self) -> None:
        """Redirect output from a closed terminal to the null device: a failing print would prevent saving the state."""
        null_device = os.open(os.devnull, os.O_WRONLY)
        for descriptor in self._terminals:
            os.dup2(null_device, descriptor)
        os.close(null_device)


def preserve_keyboard_interrupt() -> AbstractContextManager[object]:
    """Return a context manager in which Ctrl-C raises KeyboardInterrupt even if C code swallows it; see `Interruption`.

    It does nothing if SIGINT is ignored or has a handler other than Python's default.
    """
    return Interruption(("SIGINT",)) if signal.getsignal(signal.SIGINT) is signal.default_int_handler else nullcontext()


def _ignore(_: sys.UnraisableHookArgs) -> None:
    """Suppress the report of an unraisable error."""


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
