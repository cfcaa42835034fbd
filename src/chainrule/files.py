"""Files: atomic writes, so that a reader sees the old one or the new one, never half of either; the cache folder.

Also what opens a file to read it only if it is one: a pipe or a device in its place can keep a reader waiting for ever,
or never end.
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

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)
_NOT_REGULAR = "not a regular file"
_ABANDONED = 3600.0  # seconds without a change after which a temporary file is abandoned, where files cannot be locked


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success it is flushed to disk and takes the name `path` in one step.

    If the block raises, `path` is left as it was and the temporary file is removed. A process that is killed leaves its
    temporary file behind; the next one that writes the same `path` removes it.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full; it names `path`.
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
            # the reader knows nothing of the temporary file; to set `filename` would leave "-> None" in the text
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
    """Open a regular file to read its bytes; anything else in its place is refused without waiting for it.

    Args:
        path: the file.
        follow: whether a symbolic link is followed, where the system can tell.

    Raises:
        OSError: the file is missing, may not be read, or is a folder, a pipe, a device or a socket.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe is not waited for
    try:
        handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket, which cannot even be opened
            raise OSError(errno.EINVAL, _NOT_REGULAR, str(path)) from None
        if error.errno == errno.EACCES and Path(path).is_dir():  # as Windows says of a folder
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        raise
    try:
        mode = os.fstat(handle).st_mode  # of what is open: what the path names can be exchanged meanwhile
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, _NOT_REGULAR, str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def remove_leftovers(folder: str | os.PathLike[str], name: str | None = None) -> int:
    """Remove the temporary files that killed processes have left in a folder; returns how many.

    Those that a living process is writing are locked, and stay.

    Args:
        folder: where to look; it may be missing.
        name: of the file that was to be written; any if left out.
    """
    removed = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and name in (None, match[1]) and entry.is_file(follow_symlinks=False):
                removed += _remove_abandoned(Path(entry.path))
    return removed


def _open_temporary(path: Path) -> tuple[Path, IO[bytes], int | None]:
    """A new file beside `path`, and a descriptor that keeps it locked until that is closed."""
    while True:
        temporary = path.parent / f".{path.name}.{os.urandom(4).hex()}.tmp"
        try:
            file = temporary.open("xb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        if fcntl is None:
            return temporary, file, None
        lock = os.dup(file.fileno())  # the file itself is closed before it takes its name
        if _lock(lock) is not False and temporary.exists():
            return temporary, file, lock
        file.close()  # another process was quicker than this lock, and has removed the file as abandoned
        os.close(lock)


def _remove_abandoned(temporary: Path) -> bool:
    """Remove a temporary file unless a process is still writing it; whether it was removed."""
    handle = None
    try:
        abandoned = None
        if fcntl is not None:
            handle = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)
            abandoned = _lock(handle)
        if abandoned is None:
            abandoned = time.time() - temporary.stat().st_mtime > _ABANDONED
        if abandoned:
            temporary.unlink()
    except OSError:  # already gone, or somebody else's
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return abandoned


def _lock(handle: int) -> bool | None:
    """Lock an open file; False if somebody else has locked it, None if files cannot be locked here."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system allows a folder to be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cache_folder() -> Path:
    """The user's folder for what can be made again: data sets, machine code.

    The environment's CHAINRULE_CACHE, or else the system's usual folder for caches, or else, for a user without a home
    or with one that they cannot write to (an arbitrary user id in a container), a folder of their own in the one for
    temporary files.

    Raises:
        OSError: there is no such folder; the message says why.
    """
    if chosen := os.environ.get("CHAINRULE_CACHE"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError:
            message = f"CHAINRULE_CACHE names a home that does not exist: {chosen}"
            raise FileNotFoundError(errno.ENOENT, message) from None
    import platformdirs  # costs more than the rest of a load, so only when it is needed

    try:
        folder = Path(platformdirs.user_cache_dir("chainrule", appauthor=False))
    except RuntimeError:  # there is no home folder
        return _temporary_cache()
    # older versions of platformdirs return "~/.cache"
    return folder if folder.is_absolute() and _is_usable(folder) else _temporary_cache()


def _is_usable(folder: Path) -> bool:
    """Whether a folder can be read, or else be made."""
    if os.access(folder, os.F_OK):  # Path.exists raises an error below a folder that may not be entered
        return os.access(folder, os.R_OK | os.X_OK)
    above = next(path for path in folder.parents if os.access(path, os.F_OK))
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def _temporary_cache() -> Path:
    """A folder in the one for temporary files that only this user can read or write; made if it is not there.

    Raises:
        OSError: it cannot be made, or it is somebody else's: anybody can make a folder of that name first.
    """
    import tempfile  # seldom needed

    if not hasattr(os, "geteuid"):
        return Path(tempfile.gettempdir()) / "chainrule"  # on Windows that folder is the user's own
    folder = Path(tempfile.gettempdir()) / f"chainrule-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()  # not stat: a link could lead anywhere
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, f"{folder} is not a folder of this user's alone")
    return folder
