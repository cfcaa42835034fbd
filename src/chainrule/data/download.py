"""Fetching published files from their mirrors, in turn, checked against their SHA-256.

A file is collected in memory and handed on only when it is whole and right: nothing half-written ever reaches the disk,
so there is nothing to clean up and nothing to resume.
"""

from __future__ import annotations

import hashlib
import io
import sys
from typing import TYPE_CHECKING

from chainrule.data import idx
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.progress import Progress

TIMEOUTS = (10.0, 30.0)  # seconds: to connect, and between two pieces
MAX_BYTES = 64 << 20  # more than twice the largest file; stops a mirror that never stops


def fetch(wanted: Sequence[str], *, sha256: Mapping[str, str], mirrors: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Download each wanted IDX file, and yield its name and its bytes, no longer gzipped.

    Args:
        wanted: names of files, without the `.gz` that they are published with.
        sha256: for each file, what the SHA-256 of its gzip must be.
        mirrors: addresses to which `<file>.gz` is appended, in the order to try them; one that fails is tried last for
            the files that follow.

    Raises:
        DataError: no mirror gave a file as it should be; the message says what each did.
    """
    import rich.console  # as pooch and requests below: slow to import, and needed once in a data set's life
    import rich.progress

    order = list(mirrors)
    columns = ("{task.description}", rich.progress.BarColumn(), rich.progress.DownloadColumn())
    console = rich.console.Console(stderr=True)
    for file in wanted:
        with rich.progress.Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
            data = _from_any(f"{file}.gz", sha256[file], order, progress)
        yield file, idx.encode(idx.decode(data, f"{file}.gz"))


def _from_any(file: str, sha256: str, order: list[str], progress: Progress) -> bytes:
    """The bytes of a file from the first mirror that has it right; a mirror that fails moves to the end of `order`."""
    faults = []
    for mirror in tuple(order):
        try:
            data = _from_one(mirror + file, progress)
        except OSError as fault:  # as are the errors of requests
            faults.append(f"{mirror + file} ({_reason(fault)})")
        else:
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
            faults.append(f"{mirror + file} (wrong checksum)")
        order.remove(mirror)
        order.append(mirror)
    raise DataError(
        f"{file} could not be downloaded from {', nor from '.join(faults)}: check the network and try again, or fetch "
        "the four files by hand into a folder and give that folder as the data set (--data FOLDER)"
    )


def _from_one(url: str, progress: Progress) -> bytes:
    import pooch

    received = io.BytesIO()
    download = pooch.HTTPDownloader(
        progressbar=_Meter(progress, url.rpartition("/")[2]),
        chunk_size=1 << 16,
        timeout=TIMEOUTS,
        headers={"Accept-Encoding": "identity"},  # the files are gzips, and are to stay so on the way
    )
    download(url, received, None)
    return received.getvalue()


def _reason(fault: OSError) -> str:
    """What went wrong, in a few words; what requests says itself is long and full of memory addresses."""
    from requests import exceptions

    match fault:
        case exceptions.HTTPError(response=response) if response is not None:
            return f"it answered {response.status_code} {response.reason}"
        case exceptions.Timeout():
            return "no answer in time"
        case exceptions.ChunkedEncodingError():
            return "the connection broke in mid-file"
        case exceptions.ConnectionError():
            return "no connection"
    return str(fault)


class _Meter:
    """What pooch takes for a progress bar: draws one with rich, and stops a file that grows too large."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress = progress
        self.task = progress.add_task(label, total=None)
        self.total = 0  # pooch sets it when the server has said it
        self.seen = 0

    def update(self, count: int) -> None:
        self.seen += count
        if self.seen > MAX_BYTES:
            raise OSError(f"it sends more than {MAX_BYTES:,} bytes")
        self.progress.update(self.task, total=self.total or None, completed=self.seen)

    def reset(self) -> None:
        self.seen = 0

    def close(self) -> None:
        """Pooch calls this; the bar belongs to `fetch`, which closes it."""
