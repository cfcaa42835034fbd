"""Damage files: edits of bytes, which can be undone one by one, and JSON with unexpected values."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

NASTY = "a\x1b]0;title\x07\x1b[2J\nb\u202ec\x9b31m\x7f/../é"
WHOLE = [0, 1, 2, 3, 7, 255, 256, 32767, 65535, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
_DEEP = "<deep>"  # a marker, which `to_json` replaces by lists nested too deeply for Python's JSON encoder
WIDER = [*WHOLE, 1 << 32, (1 << 53) + 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


@dataclass(frozen=True)
class Edit:
    """Replace `removed` bytes at `offset` by `inserted`."""

    offset: int
    removed: int
    inserted: bytes


def edits(random: np.random.Generator, content: bytes, most: int = 6, start: int = 0) -> list[Edit]:
    """One to `most` non-overlapping edits at or after an offset."""
    count = int(random.integers(1, most + 1))
    chosen: list[Edit] = []
    # half of them in the first 200 bytes, where file headers are
    for _ in range(count):
        reach = len(content) - start
        if random.random() < 0.5:
            reach = min(reach, 200)
        offset = start + int(random.integers(0, max(1, reach)))
        chosen.append(_edit(random, content, offset))
    apart: list[Edit] = []
    for edit in sorted(chosen, key=lambda edit: edit.offset):
        if not apart or edit.offset >= apart[-1].offset + max(1, apart[-1].removed):
            apart.append(edit)
    return apart


def _edit(random: np.random.Generator, content: bytes, offset: int) -> Edit:
    match random.integers(8):
        case 0:  # flip a bit
            return Edit(offset, 1, bytes([content[offset] ^ (1 << int(random.integers(8)))]) if content else b"")
        case 1:  # replace a byte
            return Edit(offset, 1, random.bytes(1))
        case 2 | 3:  # replace a number
            width = int(random.choice([1, 2, 4, 8]))
            number = int(WIDER[random.integers(len(WIDER))]) % (1 << 8 * width)
            return Edit(offset, width, number.to_bytes(width, "big" if random.random() < 0.5 else "little"))
        case 4:  # remove bytes
            return Edit(offset, int(random.integers(1, 40)), b"")
        case 5:  # insert bytes
            return Edit(offset, 0, random.bytes(int(random.integers(1, 40))))
        case 6:  # duplicate bytes
            return Edit(offset, 0, content[offset : offset + int(random.integers(1, 400))])
        case _:  # truncate
            return Edit(offset, len(content), b"")


def apply(content: bytes, changes: list[Edit]) -> bytes:
    """Apply edits to bytes."""
    pieces, done = [], 0
    for edit in sorted(changes, key=lambda edit: edit.offset):
        pieces += [content[done : edit.offset], edit.inserted]
        done = max(done, edit.offset + edit.removed)
    return b"".join([*pieces, content[done:]])


def write_edited(file: Path, content: bytes, changes: list[Edit]) -> Callable[[set[int]], None]:
    """Write the edited bytes; returns a function that rewrites the file with a subset of the edits."""

    def rewrite(wanted: set[int]) -> None:
        file.write_bytes(apply(content, [edit for i, edit in enumerate(changes) if i in wanted]))

    rewrite(set(range(len(changes))))
    return rewrite


def strange_value(random: np.random.Generator) -> Any:
    """A value that does not belong in a config."""
    values: list[Any] = [
        None, True, False, 0, -1, 1, 2, 10, 1000, 10**6, 10**9, 10**18, 2**63, 10**300, 10**400, -(10**30),
        0.0, -0.5, 0.5, 1e-320, 1e30, 1e308, float("nan"), float("inf"), float("-inf"),
        "", "0", "nan", "mlp", "network", "cnn", "shipped", "/", "..", "/etc", NASTY, "x" * 100_000, "\ud800",
        [], [0], [1, 2], [[]], [None], [-1, -1], [10**6, 10**6], [2**62, 2**62], [""] * 10_000, list(range(1000)),
        {}, {"a": 1}, {"<array>": "nothing"}, {"": {}}, {NASTY: NASTY},
        "2026-11-22T10:30:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    ]  # fmt: skip
    if random.random() < 0.03:
        return f"{_DEEP}{random.choice([100, 2000])}"
    return copy.deepcopy(values[int(random.integers(len(values)))])


def _as_float(number: float) -> float:
    """A number as a float; infinity for integers beyond the range of floats."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


_CHANGES: list[Callable[[Any], Any]] = [lambda n: n + 1, lambda n: -n, lambda n: n * 10**9, _as_float, str]


def strange_document(random: np.random.Generator, document: Any, most: int = 3) -> Any:
    """A JSON document with some values, keys or elements replaced, removed or added."""
    document = copy.deepcopy(document)
    for _ in range(int(random.integers(1, most + 1))):
        holders = _holders(document)
        if not holders:
            return strange_value(random)
        holder = holders[int(random.integers(len(holders)))]
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = keys[int(random.integers(len(keys)))] if keys else None
        choice = int(random.integers(6))
        if choice == 0 and key is not None:
            del holder[key]
        elif choice == 1:
            if isinstance(holder, dict):
                holder[str(random.choice(["", "x", NASTY, "hidden", "name", "epochs"]))] = strange_value(random)
            else:
                holder.append(strange_value(random))
        elif choice == 2 and key is not None and isinstance(holder[key], (int, float)):
            holder[key] = _CHANGES[int(random.integers(len(_CHANGES)))](holder[key])
        elif key is not None:
            holder[key] = strange_value(random)
    return document


def _holders(document: Any) -> list[Any]:
    """All dicts and lists in a document, except those after the first 20 elements of a list."""
    holders, waiting = [], [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (dict, list)):
            holders.append(part)
            waiting += list(part.values()) if isinstance(part, dict) else part[:20]
    return holders


def to_json(document: Any, indent: int | None = None) -> str:
    """A document as JSON, with markers expanded to deep nesting."""
    text = json.dumps(document, indent=indent)
    return re.sub(f'"{_DEEP}([0-9]+)"', lambda match: "[" * int(match[1]) + "]" * int(match[1]), text)


def strange_json(random: np.random.Generator, text: str) -> str:
    """The JSON text of a strange document, or the text with edited bytes."""
    if random.random() < 0.75:
        indent = 2 if random.random() < 0.3 else None
        return to_json(strange_document(random, json.loads(text)), indent)
    content = text.encode()
    return apply(content, edits(random, content)).decode(errors="surrogateescape")
