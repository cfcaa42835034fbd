"""The cache folder: data sets as plain IDX files, verified once and then memory-mapped.

Hashing 55 MB at every start would dominate the start-up time. So `verified.json` records the size and the modification
time that each file had when its SHA-256 was verified. A file is trusted while both match; otherwise it is hashed again,
and recreated if it is wrong. (Damage that changes neither, such as that of a failing disk, goes unnoticed: delete the
folder if you suspect it.)

A file lock lets one process at a time create files, and each file is written atomically; temporary files of a killed
process are removed at the next start. If the folder cannot be used, the data is kept in memory, with a warning.
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

    Creator = Callable[[Sequence[str]], Iterable[tuple[str, bytes]]]
    Record = dict[str, dict[str, Any]]

RECORD = "verified.json"


class CacheWarning(UserWarning):
    """The cache folder cannot be used: everything works, but each start is slower."""


def load(name: str, checksums: Mapping[str, str], create: Creator, patience: float) -> list[NDArray[Any]]:
    """Return the arrays of a data set from the cache; create missing or damaged files first.

    Args:
        name: the name of the data set's folder in the cache.
        checksums: by file name, the SHA-256 of the published file: the IDX file or a gzip of it.
        create: yields (file name, verified bytes, not gzipped) for each requested file; called only for missing or
            damaged files. It raises a `DataError` if it fails.
        patience: seconds to wait for another process that is creating the same files.

    Returns:
        One read-only memory map per file, or arrays in memory after a `CacheWarning`.

    Raises:
        DataError: the files cannot be created.
    """
    try:
        folder = cache_folder() / name
    except OSError as error:
        return _in_memory(name, checksums, create, f"there is no folder for a cache ({error.strerror or error})")
    remove_leftovers(folder)
    if not _is_verified(folder, checksums):
        try:
            _renew(folder, checksums, create, patience)
        except (OSError, NotImplementedError) as error:
            # NotImplementedError comes from older versions of filelock on file systems without locks.
            # Correct files are usable even if the folder is read-only.
            record = _read_record(folder)
            if not all(_verified_sha256(folder / file, record, checksum) for file, checksum in checksums.items()):
                reason = f"the cache folder {folder} cannot be used ({error})"
                return _in_memory(name, checksums, create, reason)
    return [idx.memory_map(folder / file) for file in checksums]


def _in_memory(name: str, checksums: Mapping[str, str], create: Creator, reason: str) -> list[NDArray[Any]]:
    """Return the arrays without using the cache, after a warning."""
    warnings.warn(
        f"{name} is kept in memory for this run only, because {reason}; "
        "set CHAINRULE_CACHE to a folder that can be written",
        CacheWarning,
        stacklevel=4,
    )
    return [idx.decode(data, file) for file, data in create(list(checksums))]


def is_ready(name: str, checksums: Mapping[str, str]) -> bool:
    """Return whether all files are in the cache, unchanged since they were verified."""
    try:
        return _is_verified(cache_folder() / name, checksums)
    except OSError:  # there is no folder for a cache
        return False


def size(name: str) -> int:
    """Return the size of a data set in the cache, in bytes; 0 if it is not there."""
    try:
        return sum(path.stat().st_size for path in (cache_folder() / name).glob("*"))
    except OSError:  # there is no folder for a cache, or a file has just been removed
        return 0


def _is_verified(folder: Path, checksums: Mapping[str, str]) -> bool:
    """Return whether all files in a folder are unchanged since they were verified."""
    record = _read_record(folder)
    return all(_is_unchanged(folder / file, record, checksum) for file, checksum in checksums.items())


def _renew(folder: Path, checksums: Mapping[str, str], create: Creator, patience: float) -> None:
    """Verify changed files, create missing or wrong ones, and write the record."""
    import filelock  # slow to import, and rarely needed

    from chainrule.files import atomic_write, write_text

    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock", timeout=patience):
        record = _read_record(folder)  # another process may have created the files meanwhile

        def remember(file: str, sha256: str) -> None:
            stat = (folder / file).stat()
            record[file] = {
                "published": checksums[file],
                "sha256": sha256,
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
            }
            write_text(folder / RECORD, json.dumps(record, indent=1))

        missing = []
        for file, checksum in checksums.items():
            if _is_unchanged(folder / file, record, checksum):
                continue
            if sha256 := _verified_sha256(folder / file, record, checksum):
                remember(file, sha256)
            else:
                missing.append(file)
        for file, data in create(missing):
            with atomic_write(folder / file) as target:
                target.write(data)
            remember(file, hashlib.sha256(data).hexdigest())


def _read_record(folder: Path) -> Record:
    """Read the record; empty if it is missing or damaged."""
    try:
        with open_regular(folder / RECORD) as record:
            return {file: dict(entry) for file, entry in json.load(record).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _is_unchanged(path: Path, record: Record, checksum: str) -> bool:
    """Return whether the file's size and modification time are those recorded when it was verified."""
    entry = record.get(path.name, {})
    try:
        stat = path.stat()
    except OSError:
        return False
    recorded = (entry.get("published"), entry.get("bytes"), entry.get("mtime_ns"))
    return recorded == (checksum, stat.st_size, stat.st_mtime_ns)


def _verified_sha256(path: Path, record: Record, checksum: str) -> str | None:
    """Return the file's SHA-256 if it is correct: the published one, or that recorded for the file unpacked from it."""
    entry = record.get(path.name, {})
    try:
        with open_regular(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    unpacked = entry.get("sha256") if entry.get("published") == checksum else None
    return sha256 if sha256 in (checksum, unpacked) else None
