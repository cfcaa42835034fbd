"""Messages between page and server: a JSON object, and arrays of bytes behind it.

1. The length of the JSON text: 4 bytes, little-endian.
2. The JSON text: an object, whose entry "buffers" lists the lengths of the arrays.
3. The arrays, one after another.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MESSAGE = 8_000_000
"""The most bytes of a message from the page: enough for a photo from a phone."""
_PREFIX = 4


class MessageError(ValueError):
    """The bytes are not a valid message."""


def pack(content: dict[str, Any], buffers: Sequence[bytes] = ()) -> bytes:
    """Write a message.

    from chainrule.studio.wire import pack, unpack

    unpack(pack({"ask": "read"}, [b"ab", b"c"]))  # ({'ask': 'read'}, [b'ab', b'c'])
    """
    text = json.dumps({**content, "buffers": [len(buffer) for buffer in buffers]}, allow_nan=False).encode()
    return len(text).to_bytes(_PREFIX, "little") + text + b"".join(buffers)


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Read a message.

    Raises:
        MessageError: the message is too long, or is not valid.
    """
    if len(message) > MAX_MESSAGE:
        raise MessageError(f"a message of {len(message):,} bytes is too long: {MAX_MESSAGE:,} at most")
    end = _PREFIX + int.from_bytes(message[:_PREFIX], "little")
    try:
        content = json.loads(message[_PREFIX:end].decode(), parse_constant=_refuse)
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise MessageError("a message without a JSON object") from None
    lengths = content.pop("buffers", None) if isinstance(content, dict) else None
    if not isinstance(lengths, list) or not all(type(length) is int and length >= 0 for length in lengths):
        raise MessageError("a message without the lengths of its buffers")
    if end + sum(lengths) != len(message):
        raise MessageError("a message whose buffers have other lengths than it says")
    buffers = []
    for length in lengths:
        buffers.append(message[end : end + length])
        end += length
    return content, buffers


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
