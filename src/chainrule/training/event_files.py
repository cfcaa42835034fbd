"""TensorBoard's event files: a folder to which each session of a training run adds a file.

A file is a sequence of records: the length of an event (8 bytes, little-endian), a checksum of the length, the event as
a protocol buffer, and its checksum. A killed process leaves a prefix of what it wrote.

A session begins by cutting off what earlier sessions wrote after the epoch that it resumes from. Its own file begins
with an event that says so (`SessionLog.START`), for a TensorBoard that is open and has read the removed events already.
"""

from __future__ import annotations

import os
import re
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.errors import MissingLibraryError, RunError
from chainrule.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"events\.out\.tfevents\.(\d{6})\.chainrule")
_HEADER, _CHECKSUM_SIZE = struct.Struct("<QI"), 4


def check_library() -> None:
    """Check that tensorboardX, which defines the events, is installed.

    Raises:
        MissingLibraryError: it is not.
    """
    try:
        import tensorboardX  # noqa: F401  # an extra
    except ModuleNotFoundError as error:
        if error.name != "tensorboardX":  # it is installed, but broken
            raise
        raise MissingLibraryError(
            "TensorBoard needs the library tensorboardX, which is not installed: pip install 'chainrule[tensorboard]'"
        ) from None


@dataclass(frozen=True)
class Earlier:
    """What earlier sessions left in a folder.

    Attributes:
        epoch: the last epoch with events.
        has_graph: whether there is a graph.
        sessions: the number of the last session.
    """

    epoch: int = 0
    has_graph: bool = False
    sessions: int = 0


def cut(folder: Path, epoch: int) -> Earlier:
    """Remove from a folder's files what was written after an epoch, and what is damaged or incomplete.

    Files of other programs stay as they are.

    Raises:
        RunError: a file cannot be read or changed.
    """
    last, has_graph, is_complete = 0, False, True
    matches = [(_NAME.fullmatch(file.name), file) for file in folder.iterdir()]
    files = sorted((int(match[1]), file) for match, file in matches if match)
    try:
        for _, file in files:
            end = 0
            for stop, event in _events(file) if is_complete else ():
                if event.WhichOneof("what") in ("summary", "graph_def") and event.step <= epoch:
                    last, has_graph, end = max(last, event.step), has_graph or event.HasField("graph_def"), stop
            is_complete = is_complete and end == file.stat().st_size
            if not end:
                file.unlink()
            elif not is_complete:
                os.truncate(file, end)
    except OSError as error:
        raise RunError(f"{error.filename or folder}: cannot be changed ({error.strerror})") from None
    return Earlier(last, has_graph, max((number for number, _ in files), default=0))


def _events(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield each event of a file with the position of its end, up to the first that is incomplete or damaged."""
    from google.protobuf.message import DecodeError  # tensorboardX depends on it
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import masked_crc32c

    position = 0
    with open_regular(file) as stream:
        while len(header := stream.read(_HEADER.size)) == _HEADER.size:
            length, checksum = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != checksum:
                return
            content = stream.read(length)
            if len(content) < length or len(stream.read(_CHECKSUM_SIZE)) < _CHECKSUM_SIZE:
                return
            position += _HEADER.size + length + _CHECKSUM_SIZE
            try:
                yield position, event_pb2.Event.FromString(content)
            except DecodeError:
                return


class Session:
    """The file of one session.

    Args:
        folder: the folder.
        number: the session's number, from 1.
        step: the first step that it may write.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, folder: Path, number: int, step: int) -> None:
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import RecordWriter

        self._event = event_pb2.Event
        # An absolute path: the writer takes what precedes a colon for the scheme of a URL
        self._file = RecordWriter(str(folder.absolute() / f"events.out.tfevents.{number:06}.chainrule"))
        self.add(file_version="brain.Event:2")
        self.add(step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def add(self, step: int = 0, **content: Any) -> None:
        """Add an event: a `summary`, a `graph_def`, ..."""
        self._file.write(self._event(wall_time=time.time(), step=step, **content).SerializeToString())

    def flush(self) -> None:
        """Write to the disk."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
