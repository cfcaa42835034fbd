"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chainrule import files
from chainrule.files import atomic_write, open_regular, remove_leftovers, write_text


def test_writes_what_it_is_given(tmp_path):
    with atomic_write(tmp_path / "file") as file:
        file.write(b"one ")
        file.write(b"two")
    assert (tmp_path / "file").read_bytes() == b"one two"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_takes_a_name_in_the_present_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("näme with spaces", "grün\n")
    assert Path("näme with spaces").read_bytes() == "grün\n".encode()


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with atomic_write(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 2
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), OSError("mine"), SystemExit(3)])
def test_an_error_in_the_block_leaves_the_old_file(tmp_path, error):
    target = tmp_path / "file"
    target.write_text("old")

    def fail() -> None:
        with atomic_write(target) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_is_told_by_its_name(tmp_path, monkeypatch, call):
    target = tmp_path / "file"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_text(target, "new")
    assert caught.value.filename == str(target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_another_files_error_keeps_its_own_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "file"):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")


@pytest.mark.parametrize("name", ["missing/file", "a file/file", "folder"])
def test_a_place_that_cannot_be_written_is_told_by_its_own_name(tmp_path, name):
    (tmp_path / "a file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError) as caught:
        write_text(tmp_path / name, "new")
    assert caught.value.filename == str(tmp_path / name)
    assert (
        str(caught.value) == f"[Errno {caught.value.errno}] {os.strerror(caught.value.errno)}: {str(tmp_path / name)!r}"
    )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_has_the_permissions_of_any_other_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "ours", "")
        (tmp_path / "any").touch()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "any")]
    assert modes == [0o640, 0o640]


def test_is_flushed_to_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), sync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (events.append("replace"), replace(self, to))[1])
    write_text(tmp_path / "file", "text")
    assert events[:2] == ["fsync", "replace"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
def test_a_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from chainrule.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(b'n' * 1_000_000)\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -9
    assert target.read_text() == "old"


def test_many_writers_leave_one_whole_file(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    texts = [str(i) * 10_000 for i in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: [write_text(tmp_path / "file", text) for _ in range(5)], texts))
    assert (tmp_path / "file").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# What killed processes leave


WRITER = (
    "import os, signal, sys\n"
    "from chainrule.files import atomic_write\n"
    "with atomic_write(sys.argv[1]) as file:\n"
    "    file.write(b'n' * 1000)\n"
    "    file.flush()\n"
    "    print('writing', flush=True)\n"
    "    sys.stdin.read()\n"
)


@pytest.fixture
def writer():
    """A process in the middle of writing a file; it goes on once its standard input is closed."""
    started = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "writing\n"
        return process

    yield start
    for process in started:
        kill(process)


def kill(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def temporaries(folder):
    return sorted(path.name for path in folder.glob(".*.tmp"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
def test_what_a_killed_writer_left_is_removed_when_the_file_is_written_again(tmp_path, writer):
    kill(writer(tmp_path / "file"))
    kill(writer(tmp_path / "other"))
    assert len(temporaries(tmp_path)) == 2
    write_text(tmp_path / "file", "new")
    assert [name.rsplit(".", 2)[0] for name in temporaries(tmp_path)] == [".other"]
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
def test_leftovers_of_every_file_are_removed_and_nothing_else(tmp_path, writer):
    kill(writer(tmp_path / "a b.c"))
    kill(writer(tmp_path / ".hidden"))
    names = [".file.0123456.tmp", ".file.01234567.tmp2", "file.01234567.tmp", ".01234567.tmp", ".file.0123456G.tmp"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".folder.01234567.tmp").mkdir()
    (tmp_path / "target").write_text("precious")
    (tmp_path / ".link.01234567.tmp").symlink_to(tmp_path / "target")
    assert remove_leftovers(tmp_path) == 2
    assert temporaries(tmp_path) == sorted([*(n for n in names if n.startswith(".") and n.endswith(".tmp")),
                                            ".folder.01234567.tmp", ".link.01234567.tmp"])  # fmt: skip
    assert (tmp_path / "target").read_text() == "precious"
    assert remove_leftovers(tmp_path / "missing") == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of POSIX")
def test_what_is_still_being_written_stays(tmp_path, writer):
    process = writer(tmp_path / "file")
    (being_written,) = temporaries(tmp_path)
    assert remove_leftovers(tmp_path) == 0
    write_text(tmp_path / "file", "from here")
    assert temporaries(tmp_path) == [being_written]
    process.stdin.close()
    assert process.wait(20) == 0
    assert (tmp_path / "file").read_text() == "n" * 1000
    assert temporaries(tmp_path) == []


def test_within_a_process_too(tmp_path):
    with atomic_write(tmp_path / "file") as outer:
        outer.write(b"outer")
        assert remove_leftovers(tmp_path) == 0
        write_text(tmp_path / "file", "inner")
        assert (tmp_path / "file").read_text() == "inner"
    assert (tmp_path / "file").read_text() == "outer"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of POSIX")
def test_a_file_that_is_removed_before_it_is_locked_is_opened_again(tmp_path, monkeypatch):
    """By a process that takes it for a leftover in the instant between its opening and its lock."""
    lock, removed = files._lock, []

    def slow(handle):
        if not removed:
            (path,) = tmp_path.glob(".*.tmp")
            path.unlink()
            removed.append(path)
        return lock(handle)

    monkeypatch.setattr(files, "_lock", slow)
    write_text(tmp_path / "file", "text")
    assert removed
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of POSIX")
def test_a_file_that_another_has_locked_first_is_left_to_it(tmp_path, monkeypatch):
    lock, others = files._lock, []

    def later(handle):
        if not others:
            (path,) = tmp_path.glob(".*.tmp")
            others.append(os.open(path, os.O_RDWR))
            assert lock(others[0])
        return lock(handle)

    monkeypatch.setattr(files, "_lock", later)
    write_text(tmp_path / "file", "text")
    os.close(others[0])
    assert (tmp_path / "file").read_text() == "text"
    assert len(temporaries(tmp_path)) == 1


@pytest.mark.parametrize("how", ["no fcntl", "no locks"])
def test_where_files_cannot_be_locked_only_old_ones_are_removed(tmp_path, monkeypatch, how):
    if how == "no fcntl":
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(files, "_lock", lambda handle: None)
    write_text(tmp_path / "file", "text")
    young, old = tmp_path / ".file.00000001.tmp", tmp_path / ".file.00000002.tmp"
    for path in (young, old):
        path.touch()
    os.utime(old, (time.time() - 3700,) * 2)
    assert remove_leftovers(tmp_path) == 1
    assert temporaries(tmp_path) == [young.name]
    write_text(tmp_path / "file", "again")
    assert (tmp_path / "file").read_text() == "again"


# Files that are read


def test_a_regular_file_is_opened_and_a_link_to_it_if_wanted(tmp_path):
    (tmp_path / "file").write_bytes(b"bytes\r\n")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"bytes\r\n"
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"bytes\r\n"
    with pytest.raises(OSError, match="link"):
        open_regular(tmp_path / "link", follow=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_refused_and_closed(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket")
    descriptors = len(os.listdir("/dev/fd"))  # noqa: PTH208 (descriptors are no paths)
    for name, kind, message in (
        ("pipe", OSError, "not a regular file"),
        ("zero", OSError, "not a regular file"),
        ("socket", OSError, "not a regular file"),
        (".", IsADirectoryError, "Is a directory"),
        ("missing", FileNotFoundError, "No such file"),
    ):
        with pytest.raises(kind, match=message):
            open_regular(tmp_path / name)
    assert len(os.listdir("/dev/fd")) == descriptors  # noqa: PTH208


def test_a_folder_is_one_on_windows_too(tmp_path, monkeypatch):
    """There it cannot be opened, and is refused as a file that may not be read."""

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "file").touch()
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(PermissionError):
        open_regular(tmp_path / "file")
