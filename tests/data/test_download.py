"""Downloads: the real code against a small server on this machine that can be made to misbehave."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import socket
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chainrule.data import catalog, download
from chainrule.data.catalog import FASHION_MNIST, KMNIST, Source, download_source
from chainrule.data.image_data import FILES
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Mirror:
    """A server of files; `faults` says for a file, or for all ("*"), how it misbehaves."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.faults: dict[str, str] = {}
        self.asked: list[str] = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                mirror.asked.append(name)
                fault = mirror.faults.get(name, mirror.faults.get("*"))
                data = mirror.files[name]
                if fault == "503":
                    self.send_error(503)
                    return
                if fault == "slow":
                    mirror.release.wait(10)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if fault == "dropped":
                    data = data[: len(data) // 2]
                elif fault == "wrong":
                    data = data[:-1] + bytes([data[-1] ^ 1])
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """No lines on stderr."""

        self.release = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/data/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def gzips(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{file}.gz": gzip.compress(data, mtime=0) for file, data in files.items()}


@pytest.fixture
def mirrors(gzips: dict[str, bytes]) -> Iterator[list[Mirror]]:
    both = [Mirror(gzips), Mirror(gzips)]
    yield both
    for mirror in both:
        mirror.stop()


@pytest.fixture
def source(mirrors: list[Mirror], gzips: dict[str, bytes]) -> Source:
    sums = tuple(hashlib.sha256(data).hexdigest() for data in gzips.values())
    return download_source("toy", "a toy", tuple("abc"), tuple(mirror.url for mirror in mirrors), sums)


def dead_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def check(source: Source, arrays: dict[str, np.ndarray]) -> None:
    data = source.load()
    loaded = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    for array, expected in zip(loaded, arrays.values(), strict=True):
        np.testing.assert_array_equal(array, expected)


def in_cache(cache: Path) -> set[str]:
    return {path.name for path in (cache / "toy").iterdir()} - {".lock", "verified.json"}


def test_downloaded_once(source: Source, mirrors: list[Mirror], arrays: dict[str, np.ndarray], cache: Path) -> None:
    check(source, arrays)
    assert mirrors[0].asked == [f"{file}.gz" for file in FILES]
    assert mirrors[1].asked == []
    assert in_cache(cache) == set(FILES)
    check(source, arrays)
    assert len(mirrors[0].asked) == 4
    assert source.load().classes == ("a", "b", "c")


@pytest.mark.parametrize("fault", ["503", "dropped", "wrong"])
def test_the_next_mirror_helps(
    source: Source, mirrors: list[Mirror], arrays: dict[str, np.ndarray], cache: Path, fault: str
) -> None:
    mirrors[0].faults["*"] = fault
    check(source, arrays)
    assert len(mirrors[0].asked) == 1  # and is not tried for the others
    assert mirrors[1].asked == [f"{file}.gz" for file in FILES]
    assert in_cache(cache) == set(FILES)


def test_a_mirror_that_is_down(
    gzips: dict[str, bytes], mirrors: list[Mirror], source: Source, arrays: dict[str, np.ndarray]
) -> None:
    urls = (dead_url(), mirrors[1].url)
    check(download_source("toy", "", tuple("abc"), urls, tuple(source.sha256.values())), arrays)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("503", r"it answered 503 Service Unavailable"),
        ("dropped", r"the connection broke in mid-file"),
        ("wrong", r"wrong checksum"),
    ],
)
def test_no_mirror_helps(
    source: Source, mirrors: list[Mirror], arrays: dict[str, np.ndarray], cache: Path, fault: str, reason: str
) -> None:
    """The message says what each did; the files before the bad one are kept and not fetched again, nothing else is."""
    bad = f"{FILES[2]}.gz"
    for mirror in mirrors:
        mirror.faults[bad] = fault
    message = rf"{bad} could not be downloaded from {mirrors[0].url}{bad} \({reason}\), nor from {mirrors[1].url}{bad} "
    with pytest.raises(DataError, match=message) as caught:
        source.load()
    assert "--data FOLDER" in str(caught.value)
    assert in_cache(cache) == set(FILES[:2])
    for mirror in mirrors:
        mirror.faults.clear()
        mirror.asked.clear()
    check(source, arrays)
    assert mirrors[0].asked + mirrors[1].asked == [bad, f"{FILES[3]}.gz"]


def test_offline(source: Source, cache: Path) -> None:
    urls = (dead_url(), dead_url())
    offline = download_source("toy", "", tuple("abc"), urls, tuple(source.sha256.values()))
    with pytest.raises(DataError, match=r"\(no connection\), nor from .* \(no connection\): check the network"):
        offline.load()
    assert in_cache(cache) == set()


def test_a_server_that_does_not_answer(source: Source, mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUTS", (1.0, 0.1))
    for mirror in mirrors:
        mirror.faults["*"] = "slow"
    with pytest.raises(DataError, match=r"\(no answer in time\)"):
        source.load()


def test_a_server_that_never_stops(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 50)
    with pytest.raises(DataError, match="it sends more than 50 bytes"):
        source.load()


def test_a_cache_that_cannot_be_written(source: Source, arrays: dict[str, np.ndarray], cache: Path) -> None:
    cache.write_text("not a folder")
    with pytest.warns(UserWarning, match="toy is kept in memory"):
        check(source, arrays)


def test_a_bar_only_where_somebody_looks(
    source: Source, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source.load()
    assert capfd.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(source.create([FILES[0]]))
    assert f"{FILES[0]}.gz" in terminal.getvalue()
    assert "━" in terminal.getvalue()


@pytest.mark.parametrize("real", [FASHION_MNIST, KMNIST], ids=lambda source: source.name)
def test_the_published_sources_are_well_formed(real: Source) -> None:
    assert catalog.SOURCES[real.name] is real
    assert tuple(real.sha256) == FILES
    assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in real.sha256.values())
    assert len(set(real.sha256.values())) == 4
    assert len(real.classes) == 10
    mirrors = real.create.keywords["mirrors"]
    assert len(mirrors) >= 2
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in mirrors)
