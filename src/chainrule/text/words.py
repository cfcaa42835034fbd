"""A tokenizer of whole words, for small models of simple texts: each prediction is a readable word."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from chainrule.errors import DataError, join_names, shorten
from chainrule.files import write_text
from chainrule.text.tokens import check_tokens, token_type

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from chainrule.text.tokens import Tokens

PARTS = re.compile(r"\n|[^\W_]+(?:['’][^\W_]+)*|[^\s]")
"""A token: the end of a line, a word with its apostrophes, or any other character that is not a space."""

NO_SPACE_BEFORE = frozenset(".,;:!?)\n")
"""The tokens before which `decode` does not insert a space."""

MAX_NAMED_WORDS = 5
"""How many unknown words an error message names."""


class WordTokenizer:
    r"""One token per word, punctuation mark and end of a line; all text is converted to lower case.

    Spaces are not kept: decoding inserts a space between words.

    Args:
        words: the vocabulary, in lower case: the word of token 0, of token 1, and so on.

    Raises:
        ValueError: there are no words, one appears twice, or one is not a single token in lower case.

        from chainrule.text import WordTokenizer

        tokenizer = WordTokenizer.train("We eat. We drink.\n")
        tokenizer.words  # ['\n', '.', 'drink', 'eat', 'we']
        tokenizer.encode("We drink.")  # array([4, 2, 1], dtype=uint8)
        tokenizer.decode([4, 3, 1])  # 'we eat.'
    """

    kind: ClassVar[str] = "words"

    def __init__(self, words: Sequence[str]) -> None:
        if not words or len(set(words)) < len(words):
            raise ValueError("WordTokenizer: the vocabulary must be different words, and at least one")
        for word in words:
            if split(word) != [word]:
                raise ValueError(f"WordTokenizer: '{shorten(word)}' is not one word in lower case")
        self.words = list(words)
        self._index = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def train(cls, text: str) -> WordTokenizer:
        """Return a tokenizer of the words that a text contains, in the order of their code points.

        Raises:
            DataError: the text has no words.
        """
        words = sorted(set(split(text)))
        if not words:
            raise DataError("a tokenizer cannot be trained on an empty text")
        return cls(words)

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self.words)

    def encode(self, text: str, what: str = "the text") -> Tokens:
        """Return the token of each word, (N,), in the smallest type.

        Args:
            text: the text.
            what: the name of the text in error messages.

        Raises:
            DataError: the text has words that are not in the vocabulary; the message names them.
        """
        words = split(text)
        unknown = list(dict.fromkeys(word for word in words if word not in self._index))
        if unknown:
            names = join_names([f"'{shorten(word)}'" for word in unknown], limit=MAX_NAMED_WORDS)
            raise DataError(
                f"{what} has {names}, and the model has only the {self.vocab_size:,} words of the text that it was "
                f"trained on"
            )
        return np.array([self._index[word] for word in words], token_type(self.vocab_size))

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """Return the text of tokens, (N,), with spaces between words.

        Raises:
            ValueError: a token is not below `vocab_size`.
        """
        check_tokens(tokens, self.vocab_size)
        text = ""
        for token in tokens:
            word = self.words[token]
            text += word if not text or text[-1] == "\n" or word in NO_SPACE_BEFORE else f" {word}"
        return text

    def document(self) -> dict[str, Any]:
        """Return the content of the tokenizer's file."""
        return {"kind": self.kind, "words": self.words}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as JSON, atomically."""
        write_text(path, json.dumps(self.document()) + "\n")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> WordTokenizer:
        """Return the tokenizer of a parsed JSON document.

        Raises:
            ValueError: the document is not a vocabulary of words.
        """
        words = document.get("words")
        is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
        if document.keys() != {"kind", "words"} or not is_list:
            raise ValueError("it must have the entry words, a list of strings, and no other")
        return cls(document["words"])


def split(text: str) -> list[str]:
    """Split a text, in lower case, into words, punctuation marks and ends of lines.

    A letter and its accent become one character if Unicode has it (normal form C). Other accents and vowel signs are
    characters of their own; they belong to the word around them.
    """
    if text.isascii():
        return PARTS.findall(text.lower())
    parts: list[str] = []
    end, after_mark = -1, False
    for match in PARTS.finditer(unicodedata.normalize("NFC", text.lower())):
        is_mark = unicodedata.category(match[0][0]).startswith("M")
        continues_word = match.start() == end and (is_mark or (after_mark and match[0][0].isalnum()))
        if continues_word and parts[-1] != "\n":
            parts[-1] += match[0]
        else:
            parts.append(match[0])
        end, after_mark = match.end(), is_mark
    return parts
