"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.files import atomic_write, write_text


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


@pytest.mark.parametrize("place", ["missing/file", "a file/file", "folder"])
def test_a_place_that_cannot_be_written_is_told_by_its_own_name(tmp_path, place):
    (tmp_path / "a file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError) as caught:
        write_text(tmp_path / place, "new")
    assert caught.value.filename == str(tmp_path / place)
    assert (
        str(caught.value)
        == f"[Errno {caught.value.errno}] {os.strerror(caught.value.errno)}: {str(tmp_path / place)!r}"
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
