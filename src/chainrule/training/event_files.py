"""TensorBoard's event files: a folder to which each process that trains or resumes a run adds a file.

A file is a sequence of records: the length of an event (8 bytes, little-endian), a checksum of the length, the event as
a protocol buffer, and its checksum. If a process is killed, its file may end in the middle of a record.

A process that resumes a run first removes all events after the epoch that it resumes from. Its own file starts with an
event that says so (`SessionLog.START`), for a TensorBoard that is open and has already read the removed events.
"""

from __future__ import annotations

import os
import re
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.errors import MissingLibraryError, RunError
from chainrule.files import atomic_write, open_regular, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"events\.out\.tfevents\.(\d{6})\.chainrule")
_HEADER = struct.Struct("<QI")  # the length of an event, and the checksum of the length
_CHECKSUM = struct.Struct("<I")  # the checksum of the event


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
class ExistingEvents:
    """The events that are left in a folder.

    Attributes:
        epoch: the last epoch with events; 0 if there are none.
        has_graph: whether there is a graph.
        last_file_number: the number in the name of the last file, before any was removed; 0 if there were none.
    """

    epoch: int = 0
    has_graph: bool = False
    last_file_number: int = 0


def remove_events_after(folder: Path, epoch: int) -> ExistingEvents:
    """Remove from a folder's event files all events after an epoch, and those that are damaged or incomplete.

    In a file, everything from the first damaged or incomplete event on is removed, and then all later files. A file
    without events of the remaining epochs is removed. Files of other programs are not changed.

    Raises:
        RunError: a file cannot be read or changed.
    """
    remove_leftovers(folder)  # of a process that was killed while it wrote a file again: TensorBoard would read it
    last_epoch = 0
    has_graph = False
    is_intact = True  # whether no event so far was damaged or incomplete
    matches = [(_NAME.fullmatch(file.name), file) for file in folder.iterdir()]
    files = sorted((int(match[1]), file) for match, file in matches if match)
    try:
        for _, file in files:
            kept_records = []
            has_content = False  # whether any kept record has content of an epoch
            intact_size = prefix_size = 0  # of the intact records; of the kept ones before the first that is removed
            for record, event in _read_records(file) if is_intact else ():
                if event.step <= epoch:
                    kept_records.append(record)
                    prefix_size += len(record) if prefix_size == intact_size else 0
                    if event.WhichOneof("what") in ("summary", "graph_def"):
                        has_content = True
                        last_epoch = max(last_epoch, event.step)
                        has_graph = has_graph or event.HasField("graph_def")
                intact_size += len(record)
            size = file.stat().st_size
            is_intact = is_intact and intact_size == size
            kept_size = sum(map(len, kept_records))
            if not has_content:
                file.unlink()
            elif kept_size > prefix_size:
                with atomic_write(file) as stream:
                    stream.writelines(kept_records)
            elif kept_size < size:  # in place, for a TensorBoard that has the file open
                os.truncate(file, kept_size)
    except OSError as error:
        raise RunError(f"{error.filename or folder}: cannot be changed ({error.strerror})") from None
    return ExistingEvents(last_epoch, has_graph, max((number for number, _ in files), default=0))


def _read_records(file: Path) -> Iterator[tuple[bytes, Any]]:
    """Yield each record of a file, and its event, up to the first that is incomplete or damaged."""
    from google.protobuf.message import DecodeError  # tensorboardX depends on it
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import masked_crc32c

    with open_regular(file) as stream:
        while len(header := stream.read(_HEADER.size)) == _HEADER.size:
            length, length_checksum = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != length_checksum:
                return
            content, checksum = stream.read(length), stream.read(_CHECKSUM.size)
            if len(checksum) < _CHECKSUM.size or masked_crc32c(content) != _CHECKSUM.unpack(checksum)[0]:
                return
            try:
                event = event_pb2.Event.FromString(content)
            except DecodeError:
                return
            yield header + content + checksum, event


class EventFile:
    """An event file that is being written. TensorBoard's steps are epochs here.

    Args:
        folder: the folder.
        number: the number of the file, from 1.
        first_epoch: the first epoch whose events it may contain.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, folder: Path, number: int, first_epoch: int) -> None:
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import RecordWriter

        self._event = event_pb2.Event
        # An absolute path, because the writer mistakes the part of a path before a colon for the scheme of a URL
        self._writer = RecordWriter(str(folder.absolute() / f"events.out.tfevents.{number:06}.chainrule"))
        self.add(file_version="brain.Event:2")
        self.add(first_epoch, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def add(self, epoch: int = 0, **content: Any) -> None:
        """Add an event with one field of the protocol buffer `Event` as content, such as `summary=...`."""
        self._writer.write(self._event(wall_time=time.time(), step=epoch, **content).SerializeToString())

    def flush(self) -> None:
        """Write buffered events to the file."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
