"""The user's cache folder: data sets as plain IDX files, verified once and then memory-mapped.

Hashing 55 MB at every start would take longer than everything else a start does. So beside the files lies a record,
`verified.json`, of the size and the time of last change that each file had when its SHA-256 was found right. As long as
both still hold, the file is taken as it is. If one differs, the file is hashed again, and made anew if it is wrong.
(What no such scheme sees is damage that keeps both, such as a failing disk; delete the folder if you suspect that.)

Only one process makes files at a time (a file lock), each file appears at once or not at all, and where the folder
cannot be used the data is kept in memory, with a warning.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.data import idx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Make = Callable[[Sequence[str]], Iterable[tuple[str, bytes]]]

RECORD = "verified.json"


class CacheWarning(UserWarning):
    """The cache folder cannot be used; everything works, but more slowly."""


def cache_folder() -> Path:
    """Where data sets are kept: the environment's CHAINRULE_CACHE, or else the system's usual folder for caches."""
    if chosen := os.environ.get("CHAINRULE_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs  # costs more than the rest of a load, so only when it is asked

    return Path(platformdirs.user_cache_dir("chainrule", appauthor=False))


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
    folder = cache_folder() / name
    if not is_ready(name, published):
        try:
            _renew(folder, published, make, patience)
        except (
            OSError,
            NotImplementedError,
        ) as fault:  # NotImplementedError: older filelocks, where there are no locks
            record = _read_record(folder)
            if not all(_sha256(folder / file) in _right(record, file, key) for file, key in published.items()):
                warnings.warn(
                    f"{name} is kept in memory for this run only, because the cache folder {folder} cannot be used "
                    f"({fault}); set CHAINRULE_CACHE to a folder that can be written",
                    CacheWarning,
                    stacklevel=3,
                )
                return [idx.decode(data, file) for file, data in make(list(published))]
    return [idx.memory_map(folder / file) for file in published]


def is_ready(name: str, published: Mapping[str, str]) -> bool:
    """Whether all files are in the cache, unchanged since they were verified."""
    folder = cache_folder() / name
    record = _read_record(folder)
    return all(_unchanged(folder / file, record, key) for file, key in published.items())


def size(name: str) -> int:
    """The bytes that the files of a data set take in the cache; 0 if it is not there."""
    folder = cache_folder() / name
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0


def _renew(folder: Path, published: Mapping[str, str], make: Make, patience: float) -> None:
    """Verify each file that changed, make those anew that are missing or wrong, and write the record."""
    import filelock  # as below: slow to import, and seldom needed

    from chainrule.files import atomic_write, write_text

    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock", timeout=patience):
        record = _read_record(folder)  # another process may have been quicker

        def remember(file: str, sha256: str) -> None:
            stat = (folder / file).stat()
            record[file] = {
                "published": published[file],
                "sha256": sha256,
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
            }
            write_text(folder / RECORD, json.dumps(record, indent=1))

        wanted = []
        for file, key in published.items():
            if _unchanged(folder / file, record, key):
                continue
            if (found := _sha256(folder / file)) in _right(record, file, key):
                remember(file, found)
            else:
                wanted.append(file)
        for file, data in make(wanted):
            with atomic_write(folder / file) as target:
                target.write(data)
            remember(file, _sha256(data))


def _read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """What was verified; nothing, if the record is missing or cannot be understood."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return (
        {file: entry for file, entry in record.items() if isinstance(entry, dict)} if isinstance(record, dict) else {}
    )


def _unchanged(path: Path, record: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    entry = record.get(path.name, {})
    try:
        stat = path.stat()
    except OSError:
        return False
    seen = (entry.get("published"), entry.get("bytes"), entry.get("mtime_ns"))
    return seen == (key, stat.st_size, stat.st_mtime_ns)


def _right(record: Mapping[str, Mapping[str, Any]], file: str, key: str) -> set[str]:
    """The SHA-256 sums that prove a file right: its published one, or that of what was unpacked from the published."""
    entry = record.get(file, {})
    return {key, str(entry.get("sha256"))} if entry.get("published") == key else {key}


def _sha256(source: Path | bytes) -> str:
    """The SHA-256 of a file or of bytes; of a file that cannot be read, nothing at all."""
    import hashlib

    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
