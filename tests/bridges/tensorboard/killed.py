"""Run `chainrule`, and kill it with SIGKILL at a point: `killed.py POINT N train ...`.

POINT is one of
    event   in the middle of the N-th event, when half of it has been written
    flush   after the N-th flush of the events
    step    after step N
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from tensorboardX.record_writer import RecordWriter

from chainrule.cli import main
from chainrule.training import event_files, trainer

point, left = sys.argv.pop(1), int(sys.argv.pop(1))


def reached(event: str) -> bool:
    global left
    left -= event == point
    return event == point and left == 0


class Writer(RecordWriter):
    """A writer that writes only half of the event at which the process is killed."""

    def write(self, data: bytes) -> None:
        if not reached("event"):
            super().write(data)
            return
        begin = self._writer.tell()
        super().write(data)
        self._writer.truncate(begin + (self._writer.tell() - begin) // 2)
        self._writer.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def after(owner: Any, name: str, event: str) -> None:
    method = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        result = method(*arguments)
        if reached(event):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)


import tensorboardX.record_writer  # noqa: E402  # patched below

tensorboardX.record_writer.RecordWriter = Writer
after(event_files.EventFile, "flush", "flush")
after(trainer.Trainer, "_finish_step", "step")
main()
