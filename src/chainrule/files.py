"""Atomic writes, safe opening of files, and the cache folder.

A reader sees the whole old file or the whole new one. Only regular files are opened for reading: a pipe or a device
could block the reader or never end.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

_TEMPORARY_NAME = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)
"""The names of temporary files; the group is the name of the target file."""
_NOT_REGULAR = "not a regular file"
_ABANDONED_AFTER = 3600.0
"""Seconds without a change after which a temporary file counts as abandoned, on systems without file locks."""


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success, flush it to disk and rename it to `path`.

    If the block raises, `path` is unchanged and the temporary file is removed. A killed process leaves its temporary
    file behind; the next write of `path` removes it.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full; the error's `filename` is `path`.
    """
    path = Path(path)
    remove_leftovers(path.parent, path.name)
    temporary, file, lock = _open_temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
            # A new error, because setting error.filename would leave "-> None" in the message
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        if lock is not None:
            os.close(lock)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> io.BufferedReader:
    """Open a regular file for reading; refuse anything else without blocking.

    Args:
        path: the file.
        follow: whether to follow a symbolic link, on systems with O_NOFOLLOW.

    Raises:
        OSError: the file is missing, not readable, or a folder, pipe, device or socket.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # do not block on a pipe
    try:
        handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket cannot be opened
            raise OSError(errno.EINVAL, _NOT_REGULAR, str(path)) from None
        if error.errno == errno.EACCES and Path(path).is_dir():  # the error for a folder on Windows
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        raise
    try:
        mode = os.fstat(handle).st_mode  # of the open file: the path may lead to a different one by now
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, _NOT_REGULAR, str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def remove_leftovers(folder: str | os.PathLike[str], name: str | None = None) -> int:
    """Remove the temporary files of killed processes in a folder, and return how many there were.

    Files that a running process is writing are locked; they are not removed.

    Args:
        folder: the folder; it may be missing.
        name: the name of the target file; None for all.
    """
    count = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY_NAME.fullmatch(entry.name)
            if match and name in (None, match[1]) and entry.is_file(follow_symlinks=False):
                count += _remove_abandoned(Path(entry.path))
    return count


@contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[bool]:
    """Try to lock a folder during the block, and yield whether that succeeded: False if the folder is locked already.

    The lock needs no file and no cleanup: it ends with the process, even if that is killed. If folders cannot be locked
    here, or the folder is missing, True is yielded.
    """
    handle = None
    if fcntl is not None:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle is None or _lock(handle) is not False
    finally:
        if handle is not None:
            os.close(handle)


def _open_temporary(path: Path) -> tuple[Path, IO[bytes], int | None]:
    """Create a temporary file beside `path`.

    Returns:
        Its path, the open file, and a descriptor that keeps it locked until it is closed; None without file locks.
    """
    while True:
        temporary = path.parent / f".{path.name}.{os.urandom(4).hex()}.tmp"
        try:
            file = temporary.open("xb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        if fcntl is None:
            return temporary, file, None
        lock = os.dup(file.fileno())  # the file is closed before it is renamed, and must stay locked
        if _lock(lock) is not False and temporary.exists():
            return temporary, file, lock
        file.close()  # another process removed the file as abandoned before it was locked: try again
        os.close(lock)


def _remove_abandoned(temporary: Path) -> bool:
    """Remove a temporary file unless a process is still writing it, and return whether it was removed."""
    handle = None
    try:
        is_abandoned = None
        if fcntl is not None:
            handle = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)
            is_abandoned = _lock(handle)
        if is_abandoned is None:
            is_abandoned = time.time() - temporary.stat().st_mtime > _ABANDONED_AFTER
        if is_abandoned:
            temporary.unlink()
    except OSError:  # already removed, or owned by another user
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return is_abandoned


def _lock(handle: int) -> bool | None:
    """Try to lock an open file; return False if it is locked already, None if locking is not supported."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk, where that is supported: a renamed file then survives a power failure."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cache_folder() -> Path:
    """Return the folder for data that can be recreated: data sets and machine code.

    The environment variable CHAINRULE_CACHE names it; if that is not set, it is the user's cache folder. If the
    user has no usable home (an arbitrary user id in a container), it is a private folder in the temporary folder.

    Raises:
        OSError: no folder is usable; the message says why.
    """
    if configured := os.environ.get("CHAINRULE_CACHE"):
        try:
            return Path(configured).expanduser()
        except RuntimeError:
            message = f"CHAINRULE_CACHE names a home that does not exist: {configured}"
            raise FileNotFoundError(errno.ENOENT, message) from None
    import platformdirs  # imported here because it is slow

    try:
        folder = Path(platformdirs.user_cache_dir("chainrule", appauthor=False))
    except RuntimeError:  # no home folder
        return _temporary_cache()
    # Older versions of platformdirs may return "~/.cache"
    return folder if folder.is_absolute() and _is_usable(folder) else _temporary_cache()


def _is_usable(folder: Path) -> bool:
    """Return whether a folder can be read or, if it is missing, created."""
    if os.access(folder, os.F_OK):  # Path.exists raises an error inside a folder without permission
        return os.access(folder, os.R_OK | os.X_OK)
    parent = next(path for path in folder.parents if os.access(path, os.F_OK))
    return parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)


def _temporary_cache() -> Path:
    """Return a folder in the temporary folder that only this user can access; create it if necessary.

    Raises:
        OSError: it cannot be created, or belongs to another user, who may have created it first.
    """
    import tempfile  # rarely needed

    if not hasattr(os, "geteuid"):
        return Path(tempfile.gettempdir()) / "chainrule"  # on Windows the temporary folder is private
    folder = Path(tempfile.gettempdir()) / f"chainrule-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()  # not stat: it may be a symbolic link
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, f"{folder} is not a private folder of this user")
    return folder
