"""TextData: a text as tokens, for training and validation; the tokens are memory-mapped from the cache.

A text is split before it is encoded: the first 90% is for training, the last 10% for validation. If each line is an
example of its own, as in a list of names, the lines may be in alphabetical order or in order of frequency. So they are
first sorted by their SHA-256, an order that looks random and is the same on every machine.

A text is encoded once. The file of its tokens in the cache is named after a checksum of text and tokenizer, so it is
never out of date. It is written and verified like the files of the other data sets.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.data import cache, idx
from chainrule.errors import DataError
from chainrule.files import open_regular
from chainrule.text.corpora import CORPORA
from chainrule.text.tokenizers import BPETokenizer, CharTokenizer
from chainrule.text.words import WordTokenizer

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from chainrule.text.tokenizers import Tokenizer

MAX_BYTES = 1 << 30
"""Limit on the bytes of a text: reading and encoding it takes several times as much memory."""

VALIDATION_FRACTION = 0.1
"""The fraction of a text that is for validation."""


@dataclass(frozen=True, eq=False, repr=False)
class TextData:
    """A text as tokens.

    Attributes:
        name: the name or path that was passed to `load`.
        tokenizer: maps text to tokens and back.
        train: the tokens to train on, integers (N,), read-only.
        validation: the tokens for validation, integers (M,), read-only.
        lines: whether each line is an example of its own.
    """

    name: str
    tokenizer: Tokenizer
    train: NDArray[np.integer[Any]]
    validation: NDArray[np.integer[Any]]
    lines: bool = False

    def __repr__(self) -> str:
        sizes = f"{len(self.train):,} + {len(self.validation):,} tokens of {self.tokenizer.vocab_size:,}"
        return f"TextData({self.name}: {sizes})"


def load(
    name: str | os.PathLike[str], tokenizer: Tokenizer | None = None, *, bpe: int | None = None, words: bool = False
) -> TextData:
    """Load a corpus by its name (see `available`), or a text file in UTF-8.

    Args:
        name: the name of a corpus, or the path of a file. A corpus takes precedence over a file of the same name.
        tokenizer: the tokenizer. If None, a new one is created; by default, it has a token for each character of the
            whole text, including the validation part.
        bpe: the vocabulary size of a new byte-pair tokenizer, which is trained on the training part.
        words: whether a new tokenizer has a token for each word of the whole text.

    Raises:
        ValueError: both `bpe` and `words` are passed.
        DataError: no such corpus or file; the text is empty, too large, not UTF-8, too short to split, or has
            characters or words that the tokenizer does not have; or the corpus's package is not installed.
        UserError: a byte-pair tokenizer needs the package `tokenizers`, which is missing.
    """
    if words and bpe is not None:
        raise ValueError("load: a tokenizer has byte pairs (bpe) or words, not both")
    source = CORPORA.get(str(name))
    text = read_text(name) if source is None else source.read()
    lines = source is not None and source.lines
    words = words or isinstance(tokenizer, WordTokenizer)
    train, validation = split(text, str(name), lines=lines, words=words)
    if tokenizer is None:
        if bpe is not None:
            tokenizer = BPETokenizer.train(train, bpe)
        else:
            tokenizer = (WordTokenizer if words else CharTokenizer).train(text)
    train_tokens, validation_tokens = _encode(str(name), tokenizer, (train, validation))
    return TextData(str(name), tokenizer, train_tokens, validation_tokens, lines)


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file in UTF-8; line ends become newlines, and a byte-order mark is removed.

    Raises:
        DataError: it is missing, empty, larger than `MAX_BYTES`, not a regular file, or not UTF-8.
    """
    try:
        with open_regular(Path(path).expanduser()) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            names = ", ".join(CORPORA)
            raise DataError(f"there is no text file {str(path)!r}; the texts by name are {names}") from None
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: is larger than {MAX_BYTES:,} bytes, the limit for a text")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 at byte {error.start:,} ({content[error.start]:#04x}); convert it, for example with "
            f"iconv -f LATIN1 -t UTF-8"
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise DataError(f"{path}: is empty; a text to train on needs at least a few thousand characters")
    return text


def split(text: str, name: str, *, lines: bool = False, words: bool = False) -> tuple[str, str]:
    """Split a text into its first 90%, for training, and its last 10%, for validation.

    Args:
        text: the text.
        name: its name, for messages.
        lines: whether each line is an example of its own; then the lines, sorted by their SHA-256, are split 9 to 1.
        words: whether to split between two words: after the last space or line end before the 10%.

    Raises:
        DataError: the text is too short, or has no such space or line end.
    """
    parts: Sequence[str] = text
    if lines:
        parts = sorted((f"{line}\n" for line in text.splitlines() if line), key=_digest)
    count = len(parts) - int(VALIDATION_FRACTION * len(parts))
    if count == len(parts):
        unit = "lines" if lines else "characters"
        raise DataError(f"{name}: has only {len(parts)} {unit}, too few to split off a tenth for validation")
    if words and not lines:
        while count and not text[count - 1].isspace():
            count -= 1
        if not count:
            raise DataError(f"{name}: has no space before its last tenth, so it cannot be split between words")
    return "".join(parts[:count]), "".join(parts[count:])


def _digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _encode(name: str, tokenizer: Tokenizer, texts: Sequence[str]) -> list[NDArray[Any]]:
    """Return the tokens of each text from the cache; encode the texts that are not in it."""
    key = hashlib.sha256(json.dumps(tokenizer.document()).encode())
    checksums = []
    for text in texts:
        digest = key.copy()
        digest.update(text.encode())
        checksums.append(digest.hexdigest())
    files = [f"{checksum[:32]}.idx" for checksum in checksums]
    text_of = dict(zip(files, texts, strict=True))

    def make(missing: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for file in missing:
            yield file, idx.encode(tokenizer.encode(text_of[file], name))

    checksum_of = dict(zip(files, checksums, strict=True))
    arrays = dict(zip(checksum_of, cache.load("text", checksum_of, make, patience=300), strict=True))
    return [arrays[file] for file in files]
