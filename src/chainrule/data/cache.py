"""The user's cache folder: data sets as plain IDX files, verified once and then memory-mapped.

Hashing 55 MB at every start would take longer than everything else a start does. So beside the files lies a record,
`verified.json`, of the size and the time of last change that each file had when its SHA-256 was found right. As long as
both still hold, the file is taken as it is. If one differs, the file is hashed again, and made anew if it is wrong.
(What no such scheme sees is damage that keeps both, such as a failing disk; delete the folder if you suspect that.)

Only one process makes files at a time (a file lock), each file appears at once or not at all (what a killed process
leaves of one is removed at the next start), and where the folder
cannot be used the data is kept in memory, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import TYPE_CHECKING, Any

from chainrule.data import idx
from chainrule.files import cache_folder, open_regular, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Make = Callable[[Sequence[str]], Iterable[tuple[str, bytes]]]
    Record = dict[str, dict[str, Any]]

RECORD = "verified.json"


class CacheWarning(UserWarning):
    """The cache folder cannot be used; everything works, but more slowly."""


def load(name: str, published: Mapping[str, str], make: Make, patience: float) -> list[NDArray[Any]]:
    """The arrays of a data set, from the cache where that can be, made first where that must be.

    Args:
        name: its folder in the cache.
        published: its files, and for each the SHA-256 of what was published: of the IDX file, or of a gzip around it.
        make: gives (file, its bytes, checked and not gzipped) for each file it is asked for; called only for files
            that are missing or damaged. Whatever hinders it is a `DataError`.
        patience: how long to wait, in seconds, for another process that is busy making the same files.

    Returns:
        One read-only memory map a file, or arrays in memory after a `CacheWarning`.

    Raises:
        DataError: the data cannot be made.
    """
    try:
        folder = cache_folder() / name
    except OSError as error:
        return _in_memory(name, published, make, f"there is no folder for a cache ({error.strerror or error})")
    remove_leftovers(folder)
    if not _is_verified(folder, published):
        try:
            _renew(folder, published, make, patience)
        except (OSError, NotImplementedError) as error:  # the second: older filelocks, where a disk has no locks
            record = _read_record(folder)
            if not all(_proven(folder / file, record, key) for file, key in published.items()):
                reason = f"the cache folder {folder} cannot be used ({error})"
                return _in_memory(name, published, make, reason)
    return [idx.memory_map(folder / file) for file in published]


def _in_memory(name: str, published: Mapping[str, str], make: Make, reason: str) -> list[NDArray[Any]]:
    """The arrays without a cache, after a warning."""
    warnings.warn(
        f"{name} is kept in memory for this run only, because {reason}; "
        "set CHAINRULE_CACHE to a folder that can be written",
        CacheWarning,
        stacklevel=4,
    )
    return [idx.decode(data, file) for file, data in make(list(published))]


def is_ready(name: str, published: Mapping[str, str]) -> bool:
    """Whether all files are in the cache, unchanged since they were verified."""
    try:
        return _is_verified(cache_folder() / name, published)
    except OSError:  # there is no folder for a cache
        return False


def size(name: str) -> int:
    """The bytes that a data set takes in the cache; 0 if it is not there."""
    try:
        return sum(path.stat().st_size for path in (cache_folder() / name).glob("*"))
    except OSError:  # there is no folder for a cache, or a file has just gone
        return 0


def _is_verified(folder: Path, published: Mapping[str, str]) -> bool:
    record = _read_record(folder)
    return all(_unchanged(folder / file, record, key) for file, key in published.items())


def _renew(folder: Path, published: Mapping[str, str], make: Make, patience: float) -> None:
    """Verify each file that changed, make those anew that are missing or wrong, and write the record."""
    import filelock  # slow to import, and seldom needed

    from chainrule.files import atomic_write, write_text

    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock", timeout=patience):
        record = _read_record(folder)  # another process may have been quicker

        def remember(file: str, sha256: str) -> None:
            stat = (folder / file).stat()
            known = {"published": published[file], "sha256": sha256}
            record[file] = {**known, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            write_text(folder / RECORD, json.dumps(record, indent=1))

        wanted = []
        for file, key in published.items():
            if _unchanged(folder / file, record, key):
                continue
            if sha256 := _proven(folder / file, record, key):
                remember(file, sha256)
            else:
                wanted.append(file)
        for file, data in make(wanted):
            with atomic_write(folder / file) as target:
                target.write(data)
            remember(file, hashlib.sha256(data).hexdigest())


def _read_record(folder: Path) -> Record:
    """What was verified; nothing, if the record is missing or makes no sense."""
    try:
        with open_regular(folder / RECORD) as record:
            return {file: dict(entry) for file, entry in json.load(record).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _unchanged(path: Path, record: Record, key: str) -> bool:
    """Whether the file is as it was when it was verified, as far as its size and time tell."""
    entry = record.get(path.name, {})
    try:
        stat = path.stat()
    except OSError:
        return False
    return (entry.get("published"), entry.get("bytes"), entry.get("mtime_ns")) == (key, stat.st_size, stat.st_mtime_ns)


def _proven(path: Path, record: Record, key: str) -> str | None:
    """The file's SHA-256 if it proves the file right: the published sum, or that of what was unpacked from it."""
    entry = record.get(path.name, {})
    try:
        with open_regular(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    unpacked = entry.get("sha256") if entry.get("published") == key else None
    return sha256 if sha256 in (key, unpacked) else None
