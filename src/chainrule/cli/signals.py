"""Stop training gracefully on SIGINT (Ctrl-C), SIGTERM (`kill`, `docker stop`) and SIGHUP (closed terminal)."""

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
    """A trainer, or a sweep: it stops after its current step once `interrupt` is True."""

    interrupt: bool


class Interruption:
    """A context manager in which a signal stops the trainer after its current step, and a second one quits immediately.

    Without a trainer, there is nothing to save, and the first signal quits immediately. Quitting raises
    KeyboardInterrupt, even if C code (such as matplotlib's) swallowed it and raised another error; unraisable errors
    are no longer shown. A signal that was ignored on entry, such as SIGHUP under `nohup`, stays ignored.

    Args:
        names: the names of the signals.
        announces: whether to say that training will stop.

    Attributes:
        trainer: the trainer, or the sweep, to stop.
        number: the last signal received, if any.
    """

    def __init__(self, names: Sequence[str] = NAMES, *, announces: bool = True) -> None:
        self._names, self._announces = names, announces
        self.trainer: Interruptible | None = None
        self.number: int | None = None
        self._quitting = False
        self._previous_handlers: dict[int, Any] = {}
        self._terminals: list[int] = []

    @property
    def exit_code(self) -> int:
        """The exit code for a command ended by a signal, as a shell reports it."""
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
        if self._quitting and isinstance(error, Exception):
            raise KeyboardInterrupt from error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first = self.number is None
        self.number = number
        if number == getattr(signal, "SIGHUP", None):
            self._leave_terminal()
        if not is_first or self.trainer is None:
            self._quitting = True
            sys.unraisablehook = _ignore  # the destructor of a partially initialized object may fail
            raise KeyboardInterrupt
        self.trainer.interrupt = True
        if not self._announces:
            return
        signal_name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        with suppress(OSError):  # bypasses sys.stderr, which may be in the middle of a write
            os.write(2, f"stopping after this step ({signal_name} again quits immediately)\n".encode())

    def _leave_terminal(self) -> None:
        """Redirect output of a closed terminal to the null device, so that writes do not fail while saving."""
        null_device = os.open(os.devnull, os.O_WRONLY)
        for descriptor in self._terminals:
            os.dup2(null_device, descriptor)
        os.close(null_device)


def keep_interrupt() -> AbstractContextManager[object]:
    """A context manager in which Ctrl-C raises KeyboardInterrupt even if C code swallows it, like `Interruption`.

    Does nothing if SIGINT is ignored or has a handler other than Python's default.
    """
    return Interruption(("SIGINT",)) if signal.getsignal(signal.SIGINT) is signal.default_int_handler else nullcontext()


def _ignore(_: sys.UnraisableHookArgs) -> None:
    """Suppress the report of an unraisable error."""


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
