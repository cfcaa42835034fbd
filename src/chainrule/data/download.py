"""Fetching published files from their mirrors, in turn, checked against their SHA-256.

A file is collected in memory and handed on only when it is whole and right: nothing half-written ever reaches the disk,
so there is nothing to clean up and nothing to resume.
"""

from __future__ import annotations

import hashlib
import io
import sys
from typing import TYPE_CHECKING

from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.progress import Progress

TIMEOUTS = (10.0, 30.0)  # seconds to connect, and between two pieces
MAX_BYTES = 64 << 20  # more than twice the largest file; stops a mirror that never stops


def fetch(files: Mapping[str, str], mirrors: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Download each file, and yield its name and its bytes.

    Args:
        files: for each file name, the SHA-256 that its bytes must have.
        mirrors: addresses to which a file name is appended, in the order to try them; one that fails is tried last
            for the files that follow.

    Raises:
        DataError: no mirror gave a file as it should be; the message says what each did.
    """
    # pooch brings requests with it, which takes longer to import than all of chainrule.
    import rich.console
    import rich.progress

    order = list(mirrors)
    columns = ("{task.description}", rich.progress.BarColumn(), rich.progress.DownloadColumn())
    console = rich.console.Console(stderr=True)
    for file, sha256 in files.items():
        with rich.progress.Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
            data = _from_any(file, sha256, order, progress)
        yield file, data


def _from_any(file: str, sha256: str, order: list[str], progress: Progress) -> bytes:
    """The bytes of one file, from the first mirror that has it right; the ones that do not move to the end of `order`."""
    faults = []
    for mirror in tuple(order):
        try:
            data = _from_one(mirror + file, progress)
        except OSError as fault:  # what requests raises is an OSError
            faults.append(f"{mirror + file} ({_reason(fault)})")
        else:
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
            faults.append(f"{mirror + file} (it sent other bytes: their SHA-256 is wrong)")
        order.remove(mirror)
        order.append(mirror)
    raise DataError(
        f"{file} could not be downloaded from {'; nor from '.join(faults)}. Check the network and try again, or fetch "
        "the four files by hand into a folder and use that folder as the data set (--data FOLDER)"
    )


def _from_one(url: str, progress: Progress) -> bytes:
    import pooch

    received = io.BytesIO()
    download: Callable[..., None] = pooch.HTTPDownloader(
        progressbar=_Meter(progress, url.rpartition("/")[2]),
        chunk_size=1 << 16,
        timeout=TIMEOUTS,
        headers={"Accept-Encoding": "identity"},  # the files are gzips, and are to stay so on the way
    )
    download(url, received, None)
    return received.getvalue()


def _reason(fault: OSError) -> str:
    """What went wrong, in a few words; the messages of requests are long and full of memory addresses."""
    from requests import exceptions

    if isinstance(fault, exceptions.HTTPError):
        return f"it answered {fault.response.status_code} {fault.response.reason}"
    if isinstance(fault, exceptions.Timeout):
        return "no answer in time"
    if isinstance(fault, exceptions.ChunkedEncodingError):
        return "the connection broke in mid-file"
    if isinstance(fault, exceptions.ConnectionError):
        return "no connection"
    return str(fault)


class _Meter:
    """What pooch takes for a progress bar: draws one with rich, and stops a file that grows too large."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress = progress
        self.task = progress.add_task(label, total=None)
        self.total = 0  # set by pooch once the server has said it
        self.seen = 0

    def update(self, count: int) -> None:
        self.seen += count
        if self.seen > MAX_BYTES:
            raise OSError(f"it sends more than {MAX_BYTES:,} bytes")
        self.progress.update(self.task, total=self.total or None, completed=self.seen)

    def reset(self) -> None:
        self.seen = 0

    def close(self) -> None:
        """Part of what pooch calls; the bar belongs to `fetch`, which takes it away."""
