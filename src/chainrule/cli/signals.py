"""Signals that ask a training to end: Ctrl-C, `kill` and `docker stop`, a terminal that is closed. It saves first."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import FrameType, TracebackType

    from chainrule.training.trainer import Trainer

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is unknown to Windows


class Interruption:
    """A context in which these signals stop a trainer after its present step, and a second one quits at once.

    While there is no trainer, the first one quits at once, too: there is nothing to save. To quit is to raise
    KeyboardInterrupt, also where C code has lost one and raised an error of its own, as matplotlib's does; errors
    that Python ignores are not shown any more. A signal that is ignored from outside, as `nohup` does with SIGHUP,
    stays ignored.

    Args:
        names: of the signals.

    Attributes:
        trainer: whom to stop.
        number: the signal that came, if any.
    """

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self._names = names
        self.trainer: Trainer | None = None
        self.number: int | None = None
        self._quits = False
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    @property
    def exit_code(self) -> int:
        """What a shell says of a command that a signal has ended."""
        return 128 + (signal.SIGINT if self.number is None else self.number)

    def __enter__(self) -> Interruption:
        self._terminals = [handle for handle in (1, 2) if _is_terminal(handle)]
        for name in self._names:
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            with suppress(ValueError):  # not in the main thread, which alone hears signals
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._quits and isinstance(error, Exception):
            raise KeyboardInterrupt from error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.number = self.number is None, number
        if number == getattr(signal, "SIGHUP", None):
            self._leave_terminal()
        if not first or self.trainer is None:
            self._quits = True
            sys.unraisablehook = _ignore  # an object that is only half made may stumble over that as it goes
            raise KeyboardInterrupt
        self.trainer.interrupt = True
        again = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        with suppress(OSError):  # written to the file itself: Python's own may be in the middle of a line
            os.write(2, f"stopping after this step ({again} again quits at once)\n".encode())

    def _leave_terminal(self) -> None:
        """Write no more to a terminal that is gone: every attempt would be an error, in the middle of saving."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for handle in self._terminals:
            os.dup2(nowhere, handle)
        os.close(nowhere)


def keep_interrupt() -> AbstractContextManager[object]:
    """Have Ctrl-C end a block with KeyboardInterrupt, also where C code loses it, as an `Interruption` does.

    Only where Python itself would raise it: who has asked for something else, or for nothing, gets that.
    """
    return Interruption(("SIGINT",)) if signal.getsignal(signal.SIGINT) is signal.default_int_handler else nullcontext()


def _ignore(_: sys.UnraisableHookArgs) -> None:
    """Say nothing of an error that Python ignores."""


def _is_terminal(handle: int) -> bool:
    try:
        return os.isatty(handle)
    except OSError:
        return False
