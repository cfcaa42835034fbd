"""The cache: made once, noticed when damaged, done without when it cannot be used."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import numpy as np
import pytest

from chainrule.data import CacheWarning, cache_folder
from chainrule.data import cache as caching
from chainrule.data.image_data import FILES
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

IMAGES, LABELS = FILES[0], FILES[1]


class Toy:
    """A data set in the cache, which counts how often each of its files is made."""

    def __init__(self, files: dict[str, bytes], sums: dict[str, str], arrays: dict[str, np.ndarray]) -> None:
        self.files, self.sums, self.arrays = files, sums, arrays
        self.created: list[str] = []

    def make(self, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for file in wanted:
            self.created.append(file)
            yield file, self.files[file]

    def load(self, patience: float = 5) -> list[str]:
        """Load it, check that it is right, and give the files that were made for it."""
        self.created.clear()
        self.loaded = caching.load("toy", self.sums, self.make, patience)
        for array, expected in zip(self.loaded, self.arrays.values(), strict=True):
            np.testing.assert_array_equal(array, expected)
        return list(self.created)


@pytest.fixture
def toy(files: dict[str, bytes], sums: dict[str, str], arrays: dict[str, np.ndarray]) -> Toy:
    return Toy(files, sums, arrays)


def age(path: Path, nanoseconds: int = 5_000_000_000) -> None:
    """As if the file had been written earlier."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - nanoseconds))


def test_made_once_and_mapped_afterwards(toy: Toy, cache: Path, files: dict[str, bytes]) -> None:
    assert toy.load() == list(FILES)
    assert toy.load() == []
    assert all((cache / "toy" / file).read_bytes() == data for file, data in files.items())
    assert not any(array.flags.writeable for array in toy.loaded)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_what_is_loaded_is_the_file_itself(toy: Toy, cache: Path) -> None:
    toy.load()
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(cache / "toy") in line]
    assert len(mapped) == 4
    assert all(" r--s " in line for line in mapped)  # read-only and shared with other processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
@pytest.mark.parametrize("kill_at", range(1, 9))
def test_a_process_that_was_killed_leaves_nothing_behind(toy: Toy, cache: Path, kill_at: int) -> None:
    """Killed at each file, and at each time that the record is written; the next start cleans up."""
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == 2 * kill_at - 1 else None
        toy.load()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    toy.load()
    assert sorted(path.name for path in (cache / "toy").iterdir()) == sorted([*FILES, ".lock", caching.RECORD])


def test_a_leftover_beside_a_whole_data_set_is_removed(toy: Toy, cache: Path) -> None:
    toy.load()
    (cache / "toy" / f".{IMAGES}.0123abcd.tmp").write_bytes(b"half")
    assert toy.load() == []
    assert not list((cache / "toy").glob(".*.tmp"))


def test_a_missing_file_is_made_again(toy: Toy, cache: Path) -> None:
    toy.load()
    (cache / "toy" / LABELS).unlink()
    assert toy.load() == [LABELS]


def test_a_truncated_file_is_made_again(toy: Toy, cache: Path, files: dict[str, bytes]) -> None:
    toy.load()
    toy.loaded.clear()
    (cache / "toy" / IMAGES).write_bytes(files[IMAGES][:-7])
    assert toy.load() == [IMAGES]


def test_damage_that_keeps_the_size_is_made_good(toy: Toy, cache: Path) -> None:
    toy.load()
    path = cache / "toy" / IMAGES
    age(path)
    caching.load("toy", toy.sums, toy.make, 5)  # verified as it is: the record now holds the earlier time
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert toy.load() == [IMAGES]
    assert toy.load() == []


def test_a_file_that_was_only_touched_is_verified_and_kept(toy: Toy, cache: Path) -> None:
    toy.load()
    age(cache / "toy" / IMAGES)
    assert not caching.is_ready("toy", toy.sums)
    assert toy.load() == []
    assert caching.is_ready("toy", toy.sums)


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b'{"train-images-idx3-ubyte": 3}', None]
)
def test_a_record_that_makes_no_sense(toy: Toy, cache: Path, garbage: bytes | None) -> None:
    toy.load()
    record = cache / "toy" / caching.RECORD
    if garbage is None:
        record.unlink()
    else:
        record.write_bytes(garbage)
    assert toy.load() == []  # all four proved right by their published sums
    assert set(json.loads(record.read_bytes())) == set(FILES)
    age(cache / "toy" / IMAGES)
    assert toy.load() == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(20)
def test_pipes_in_the_cache_are_not_waited_for(toy: Toy, cache: Path) -> None:
    toy.load()
    for name in (caching.RECORD, IMAGES):
        (cache / "toy" / name).unlink()
        os.mkfifo(cache / "toy" / name)
    assert toy.load() == [IMAGES]
    assert (cache / "toy" / IMAGES).is_file()


def test_sums_of_what_was_unpacked_count_only_with_the_published_one(toy: Toy, cache: Path) -> None:
    """The published file may be a gzip, whose sum is another; the record then knows that of what was in it."""
    gzips = {file: f"{number:064d}" for number, file in enumerate(FILES)}
    toy.sums = gzips
    assert toy.load() == list(FILES)
    age(cache / "toy" / IMAGES)
    assert toy.load() == []
    toy.sums = {**gzips, LABELS: "f" * 64}  # published anew
    assert toy.load() == [LABELS]
    (cache / "toy" / caching.RECORD).unlink()
    assert toy.load() == list(FILES)


def test_what_was_made_before_a_failure_is_kept(toy: Toy, cache: Path) -> None:
    def fails_at_the_third(wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for file, data in toy.make(wanted):
            if file == FILES[2]:
                raise DataError("no network")
            yield file, data

    with pytest.raises(DataError, match="no network"):
        caching.load("toy", toy.sums, fails_at_the_third, 5)
    assert {path.name for path in (cache / "toy").iterdir()} == {*FILES[:2], caching.RECORD, ".lock"}
    assert toy.load() == list(FILES[2:])


@pytest.mark.parametrize("where", ["a file in the way", "a folder in the way", "nothing may be written"])
def test_a_cache_that_cannot_be_used(toy: Toy, cache: Path, where: str) -> None:
    if where == "a file in the way":
        cache.write_text("not a folder")
    elif where == "a folder in the way":
        (cache / "toy" / IMAGES).mkdir(parents=True)
    else:
        cache.mkdir(mode=0o500)
        if os.access(cache, os.W_OK):
            pytest.skip("this user may write everywhere")
    with pytest.warns(CacheWarning, match="toy is kept in memory .* CHAINRULE_CACHE") as caught:
        toy.load()
    assert len(caught) == 1
    assert not list(cache.rglob(".*.tmp"))


def test_a_full_disk(toy: Toy, cache: Path, fill_disk: Callable[[], None]) -> None:
    fill_disk()
    with pytest.warns(CacheWarning, match="No space left on device"):
        toy.load()
    assert {path.name for path in (cache / "toy").iterdir()} == {".lock"}


def test_a_file_too_large_for_the_disk(toy: Toy, cache: Path) -> None:
    """A real limit on the size of files stands in for a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.warns(CacheWarning, match="too large"):
            toy.load()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in (cache / "toy").iterdir()} == {".lock"}


@pytest.mark.parametrize("fault", [OSError(37, "No locks available"), NotImplementedError("no flock here")])
def test_a_disk_without_locks(toy: Toy, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.warns(CacheWarning, match=r"No locks|no flock"):
        toy.load()


def test_a_cache_that_may_only_be_read_is_used_in_silence(
    toy: Toy, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.load()
    age(cache / "toy" / IMAGES)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert toy.load() == []


def test_a_lock_that_is_held_too_long(toy: Toy, cache: Path) -> None:
    (cache / "toy").mkdir(parents=True)
    with filelock.FileLock(cache / "toy" / ".lock"), pytest.warns(CacheWarning, match="lock"):
        assert toy.load(patience=0.05) == list(FILES)
    assert toy.load() == list(FILES)  # nothing had been written


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "~/some/where")
    assert cache_folder() == Path("~/some/where").expanduser()
    monkeypatch.setenv("CHAINRULE_CACHE", "")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, appauthor: str(tmp_path / name))
    assert cache_folder() == tmp_path / "chainrule"
