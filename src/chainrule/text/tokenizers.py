"""Tokenizers by characters and by byte pairs: from text to integers and back. `words.py` has the one by words.

A character tokenizer has one token per character of its training text. A byte-pair tokenizer starts from the 256 bytes
and merges the most frequent pairs into longer tokens; it can encode any text.

A tokenizer is saved as JSON; the file contains no code and is checked when it is read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from chainrule.errors import DataError, UserError, join_names, shorten
from chainrule.files import open_regular, write_text
from chainrule.text.tokens import check_tokens, token_type
from chainrule.text.words import WordTokenizer

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from chainrule.text.tokens import Tokens

MAX_FILE_BYTES = 32_000_000
"""Limit on the bytes of a tokenizer's file; a vocabulary of 100,000 tokens takes 8 MB."""


class Tokenizer(Protocol):
    """The interface of tokenizers."""

    kind: ClassVar[str]

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""

    def encode(self, text: str, what: str = "the text") -> Tokens:
        """Return the tokens of a text, (N,)."""

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """Return the text of tokens."""

    def document(self) -> dict[str, Any]:
        """Return the content of the tokenizer's file, as objects that JSON can represent."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as JSON, atomically."""


class CharTokenizer:
    """One token per character.

    Args:
        characters: the vocabulary: the character of token 0, of token 1, and so on.

    Raises:
        ValueError: there are no characters, or one appears twice.

        from chainrule.text import CharTokenizer

        tokenizer = CharTokenizer.train("abracadabra")
        tokenizer.characters  # 'abcdr'
        tokenizer.encode("bad")  # array([1, 0, 3], dtype=uint8)
        tokenizer.decode([2, 0, 1])  # 'cab'
    """

    kind: ClassVar[str] = "characters"

    def __init__(self, characters: str) -> None:
        if not characters or len(set(characters)) < len(characters):
            raise ValueError("CharTokenizer: the vocabulary must be different characters, and at least one")
        self.characters = characters
        points = _code_points(characters)
        self._order = np.argsort(points, kind="stable")
        self._sorted_points = points[self._order]

    @classmethod
    def train(cls, text: str) -> CharTokenizer:
        """Return a tokenizer of the characters that a text contains, in the order of their code points.

        Raises:
            DataError: the text is empty.
        """
        if not text:
            raise DataError("a tokenizer cannot be trained on an empty text")
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self.characters)

    def encode(self, text: str, what: str = "the text") -> Tokens:
        """Return the token of each character, (N,), in the smallest type.

        Args:
            text: the text.
            what: the name of the text in error messages.

        Raises:
            DataError: the text has characters that are not in the vocabulary; the message names them.
        """
        points = _code_points(text)
        indices = np.minimum(np.searchsorted(self._sorted_points, points), self.vocab_size - 1)
        in_vocabulary = self._sorted_points[indices] == points
        if not in_vocabulary.all():
            unknown = [f"'{shorten(chr(point))}'" for point in np.unique(points[~in_vocabulary])]
            raise DataError(
                f"{what} has {join_names(unknown)}, and the model has only the {self.vocab_size} characters of the "
                f"text that it was trained on: {shorten(self.characters)}"
            )
        return self._order[indices].astype(token_type(self.vocab_size))

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """Return the text of tokens, (N,).

        Raises:
            ValueError: a token is not below `vocab_size`.
        """
        check_tokens(tokens, self.vocab_size)
        return "".join([self.characters[token] for token in tokens])

    def document(self) -> dict[str, Any]:
        """Return the content of the tokenizer's file."""
        return {"kind": self.kind, "characters": self.characters}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as JSON, atomically."""
        write_text(path, json.dumps(self.document()) + "\n")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> CharTokenizer:
        """Return the tokenizer of a parsed JSON document.

        Raises:
            ValueError: it is not a vocabulary of characters.
        """
        characters = document.get("characters")
        if document.keys() != {"kind", "characters"} or not isinstance(characters, str):
            raise ValueError("it must have the entry characters, a string, and no other")
        return cls(characters)


class BPETokenizer:
    """Byte-pair encoding over bytes, by the `tokenizers` library.

    The first 256 tokens are the bytes; each merge of two tokens adds a token, unless one with the same bytes exists.

    Args:
        merges: pairs of tokens, in the order in which they are merged. In a token, each byte is a printable character,
            as in GPT-2's files: a letter stands for itself, "Ġ" for a space, "Ċ" for a new line.

    Raises:
        ValueError: a merge refers to a token that the bytes and earlier merges do not create.
        UserError: the package `tokenizers` is missing.

    Source: Sennrich, Haddow and Birch, Neural Machine Translation of Rare Words with Subword Units (2016).
    """

    kind: ClassVar[str] = "bpe"

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        library = _library()
        self.merges = list(merges)
        vocabulary = {token: i for i, token in enumerate(sorted(library.pre_tokenizers.ByteLevel.alphabet()))}
        for first, second in self.merges:
            if first not in vocabulary or second not in vocabulary:
                raise ValueError(f"{shorten(first)} and {shorten(second)} are merged, but not both are tokens before")
            vocabulary.setdefault(first + second, len(vocabulary))
        self._tokenizer = _byte_level(library.models.BPE(vocabulary, self.merges))

    @classmethod
    def train(cls, text: str, vocab_size: int) -> BPETokenizer:
        """Return a tokenizer with the 256 bytes and the most useful merges of a text.

        Args:
            text: the text.
            vocab_size: the number of tokens; a short text may not have enough pairs to reach it.

        Raises:
            DataError: the text is empty, or `vocab_size` is not from 256 to 1,000,000.
            UserError: the package `tokenizers` is missing.
        """
        if not text:
            raise DataError("a tokenizer cannot be trained on an empty text")
        if not 256 <= vocab_size <= 1_000_000:
            raise DataError(
                f"a byte-pair vocabulary has 256 to 1,000,000 tokens, the first 256 for bytes: {vocab_size:,}"
            )
        library = _library()
        tokenizer = _byte_level(library.models.BPE())
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=[], show_progress=False
        )
        tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
        return cls([(first, second) for first, second in json.loads(tokenizer.to_str())["model"]["merges"]])

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        size: int = self._tokenizer.get_vocab_size()
        return size

    def encode(self, text: str, what: str = "the text") -> Tokens:
        """Return the tokens of a text, (N,), in the smallest type.

        Raises:
            DataError: the text contains bytes that are not UTF-8, as the arguments of a command may.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{what} is not UTF-8 at character {error.start + 1}") from None
        return np.array(self._tokenizer.encode(text).ids, token_type(self.vocab_size))

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """Return the text of tokens, (N,); an incomplete character at either end becomes U+FFFD.

        Raises:
            ValueError: a token is not below `vocab_size`.
        """
        check_tokens(tokens, self.vocab_size)
        text: str = self._tokenizer.decode([int(token) for token in tokens], skip_special_tokens=False)
        return text

    def document(self) -> dict[str, Any]:
        """Return the content of the tokenizer's file."""
        return {"kind": self.kind, "merges": [list(pair) for pair in self.merges]}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as JSON, atomically."""
        write_text(path, json.dumps(self.document()) + "\n")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> BPETokenizer:
        """Return the tokenizer of a parsed JSON document.

        Raises:
            ValueError: it does not hold merges, or they do not follow from each other.
            UserError: the package `tokenizers` is missing.
        """
        merges = document.get("merges")
        if document.keys() != {"kind", "merges"} or not isinstance(merges, list):
            raise ValueError("it must have the entry merges, a list, and no other")
        for pair in merges:
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(token, str) for token in pair):
                raise ValueError(f"a merge must be a list of two strings, not {shorten(str(pair))}")
        return cls([(first, second) for first, second in merges])


def _byte_level(model: Any) -> Any:
    """Return a tokenizer of the library with a model, which it applies to bytes."""
    library = _library()
    tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


KINDS: dict[str, type[CharTokenizer] | type[BPETokenizer] | type[WordTokenizer]] = {
    tokenizer.kind: tokenizer for tokenizer in (CharTokenizer, BPETokenizer, WordTokenizer)
}
"""The tokenizer classes, by the name `kind` in their files."""


def decode_stream(tokenizer: Tokenizer, tokens: Iterable[int], before: Sequence[int] | Tokens = ()) -> Iterator[str]:
    """Decode tokens one by one; a character that consists of several tokens is yielded once it is complete.

    Joined, the pieces are the text that `tokens` add to that of the tokens `before`. Only the last of those matters: a
    word gets a space before it, unless it begins a text or a line.
    """
    pending = [int(token) for token in before[-1:]]
    n_yielded = len(tokenizer.decode(pending))  # how many characters of the pending tokens have been yielded
    for token in tokens:
        pending.append(token)
        text = tokenizer.decode(pending)
        end = len(text) - text.endswith("\ufffd")  # the last character may be incomplete
        if end > n_yielded:
            yield text[n_yielded:end]
            n_yielded = end
        if end == len(text):
            pending = pending[-1:]
            n_yielded = len(tokenizer.decode(pending))
    rest = tokenizer.decode(pending)[n_yielded:]
    if rest:
        yield rest


def load_tokenizer(path: str | os.PathLike[str]) -> CharTokenizer | BPETokenizer | WordTokenizer:
    """Read a tokenizer that `save` wrote.

    Raises:
        DataError: the file is missing, too large, not JSON, or not a tokenizer.
        UserError: a byte-pair tokenizer needs the package `tokenizers`, which is missing.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"{path}: is larger than {MAX_FILE_BYTES:,} bytes, the limit for a tokenizer")
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({shorten(str(error))})") from None
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(f"{path}: is not a tokenizer: kind must be one of {', '.join(KINDS)}")
    try:
        return KINDS[kind].from_document(document)
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise DataError(f"{path}: is not a tokenizer: {error}") from None


def _code_points(text: str) -> NDArray[np.uint32]:
    """Return the Unicode code point of each character, (N,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _library() -> Any:
    """Import the library `tokenizers`, which is optional.

    Raises:
        UserError: it is not installed.
    """
    try:
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise UserError(
            "byte-pair tokens need the package tokenizers: pip install 'chainrule[text]', or train on characters"
        ) from None
    return tokenizers
