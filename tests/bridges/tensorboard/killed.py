"""Run the command, and kill it by SIGKILL at a point: `killed.py POINT N train ...`.

POINT is one of
    event   in the middle of writing the N-th event, of which half is in the file
    flush   after the N-th flush of the events, before the checkpoint
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
    """Writes half of the last event."""

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
