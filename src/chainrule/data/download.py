"""Downloads files from mirrors and checks their SHA-256.

A file is downloaded into memory and returned only when it is complete and correct: no partial file reaches the disk, so
there is nothing to clean up or resume.
"""

from __future__ import annotations

import hashlib
import io
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from chainrule.data import idx
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.progress import Progress

TIMEOUTS = (10.0, 30.0)  # seconds: to connect, and between two chunks
MAX_BYTES = 64 << 20  # more than twice the largest file; ends an endless response


def fetch(files: Sequence[str], *, sha256: Mapping[str, str], mirrors: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Download IDX files, and yield the name and the unzipped bytes of each.

    Args:
        files: names of the IDX files, without the `.gz` of the published files.
        sha256: the SHA-256 of each file's gzip, by the name of the IDX file.
        mirrors: URLs to which `<file>.gz` is appended, in the order to try; a mirror that fails becomes the last for
            the remaining files.

    Raises:
        DataError: no mirror has a correct file; the message gives the error of each.
    """
    import rich.console  # slow to import, like pooch and requests below, and rarely needed
    import rich.progress

    order = list(mirrors)
    columns = ("{task.description}", rich.progress.BarColumn(), rich.progress.DownloadColumn())
    console = rich.console.Console(stderr=True)
    for file in files:
        progress = rich.progress.Progress(*columns, console=console)
        with progress if sys.stderr.isatty() else nullcontext():  # a bar that is not started draws nothing
            data = _download_from_any(f"{file}.gz", sha256[file], order, progress)
        yield file, idx.encode(idx.decode(data, f"{file}.gz"))


def _download_from_any(file: str, sha256: str, order: list[str], progress: Progress) -> bytes:
    """Download a file from the first mirror with a correct copy; a mirror that fails moves to the end of `order`."""
    faults = []
    for mirror in tuple(order):
        try:
            data = _download(mirror + file, progress)
        except OSError as fault:  # includes the errors of requests
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


def _download(url: str, progress: Progress) -> bytes:
    import pooch

    buffer = io.BytesIO()
    downloader = pooch.HTTPDownloader(
        progressbar=_ProgressBar(progress, url.rpartition("/")[2]),
        chunk_size=1 << 16,
        timeout=TIMEOUTS,
        headers={"Accept-Encoding": "identity"},  # the files are gzips already
    )
    downloader(url, buffer, None)
    return buffer.getvalue()


def _reason(fault: OSError) -> str:
    """Describe the error in a few words; the messages of requests are long and contain memory addresses."""
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


class _ProgressBar:
    """A progress bar for pooch, drawn with rich, which also ends a download that grows too large."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress = progress
        self.task = progress.add_task(label, total=None)
        self.total = 0  # pooch sets it once the server has sent it
        self.received = 0

    def update(self, count: int) -> None:
        self.received += count
        if self.received > MAX_BYTES:
            raise OSError(f"it sends more than {MAX_BYTES:,} bytes")
        self.progress.update(self.task, total=self.total or None, completed=self.received)

    def reset(self) -> None:
        self.received = 0

    def close(self) -> None:
        """Do nothing; `fetch` closes the bar."""
