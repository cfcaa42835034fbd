"""Tokenizers: round trips against Python's own strings and bytes, files that are checked, unknown characters named."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import DataError, UserError
from chainrule.text import BPETokenizer, CharTokenizer, WordTokenizer, decode_stream, load_tokenizer
from chainrule.text.tokenizers import token_type

TEXT = "the cat sat on the mat. the dog sat on the log.\nein Kätzchen saß auf der Matte — 猫\n" * 8


@settings(max_examples=40)
@given(st.text(min_size=1), st.data())
def test_characters_come_back(text, data):
    tokenizer = CharTokenizer.train(text)
    other = "".join(data.draw(st.lists(st.sampled_from(text))))
    for sample in (text, other):
        tokens = tokenizer.encode(sample)
        assert tokens.tolist() == [sorted(set(text)).index(character) for character in sample]
        assert tokenizer.decode(tokens) == sample
    assert tokenizer.vocab_size == len(set(text))


def test_the_order_of_a_vocabulary_is_its_own():
    tokenizer = CharTokenizer("zebra")
    assert tokenizer.encode("bazaar").tolist() == [2, 4, 0, 4, 4, 3]
    assert tokenizer.decode([3, 1]) == "re"


@pytest.mark.parametrize(
    ("size", "kind"), [(2, "uint8"), (256, "uint8"), (257, "int16"), (2**15, "int16"), (2**15 + 1, "int32")]
)
def test_tokens_have_the_smallest_type(size, kind):
    characters = "".join(map(chr, range(0x10000, 0x10000 + size)))
    tokens = CharTokenizer(characters).encode(characters[-1] + characters[0])
    assert tokens.dtype == token_type(size) == kind
    assert tokens.tolist() == [size - 1, 0]


def test_unknown_characters_are_named():
    with pytest.raises(DataError, match="the prompt has '!', 'é', and the model has only the 4 characters .* abcd"):
        CharTokenizer("dcba"[::-1]).encode("aé!bé", "the prompt")
    with pytest.raises(DataError, match=r"the text has '\\x1b', and"):
        CharTokenizer("a").encode("\x1b")
    with pytest.raises(DataError, match=r"the text has '\\xff'"):  # a byte of a command's argument that is not UTF-8
        CharTokenizer("a").encode("\udcff")


@pytest.mark.parametrize("tokens", [[5], [0, -1], np.array([1, 255], np.uint8)])
@pytest.mark.parametrize("tokenizer", [CharTokenizer("abcde")])
def test_a_token_outside_is_refused(tokenizer, tokens):
    with pytest.raises(ValueError, match=r"decode: the tokens must be from 0 to 4, not (5|-1|255)"):
        tokenizer.decode(tokens)


@pytest.mark.parametrize("characters", ["", "abca"])
def test_a_vocabulary_has_different_characters(characters):
    with pytest.raises(ValueError, match="must be different characters, and at least one"):
        CharTokenizer(characters)


@pytest.mark.parametrize(
    "train", [CharTokenizer.train, WordTokenizer.train, lambda text: BPETokenizer.train(text, 300)]
)
def test_an_empty_text_trains_nothing(train):
    with pytest.raises(DataError, match="cannot be trained on an empty text"):
        train("")


@settings(max_examples=40)
@given(st.text())
def test_byte_pairs_encode_any_text(text):
    assert BYTES.decode(BYTES.encode(text)) == text


BYTES = BPETokenizer.train(TEXT, 300)


def test_byte_pairs_are_the_frequent_ones():
    """The first merges by hand: the most frequent pair in the text, then the most frequent one with it."""
    tokenizer = BPETokenizer.train("ab ab ab ab abc abc", 258)
    assert tokenizer.vocab_size == 258
    assert len(tokenizer.encode("ab")) == 1  # a b, merged first
    assert len(tokenizer.encode(" ab")) == 1  # then with the space before it
    assert len(tokenizer.encode("ba")) == 2
    assert len(tokenizer.encode("猫")) == 3  # its bytes


def test_tokens_are_numbered_by_the_merges():
    """The bytes first; a merge that gives the bytes of another adds no token."""
    tokenizer = BPETokenizer([("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"), ("Ġ", "abc")])
    assert tokenizer.vocab_size == 256 + 4
    assert tokenizer.encode("abc abc").tolist() == [258, 259]
    assert tokenizer.decode([256, 257, 259]) == "abbc abc"


def test_byte_pairs_of_a_short_text_are_fewer():
    assert BPETokenizer.train("aaaa", 1000).vocab_size < 300


@pytest.mark.parametrize("size", [255, 0, 2_000_000])
def test_a_byte_pair_vocabulary_has_room_for_the_bytes(size):
    with pytest.raises(DataError, match=f"256 to 1,000,000 tokens, the first 256 for bytes: {size:,}"):
        BPETokenizer.train("text", size)


@pytest.mark.parametrize(
    "tokenizer",
    [CharTokenizer.train(TEXT), CharTokenizer("zyx\n\0"), BYTES, WordTokenizer.train(TEXT)],
    ids=["sorted", "own", "bpe", "words"],
)
def test_a_file_gives_the_same_tokenizer(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert type(loaded) is type(tokenizer)
    sample = "\n" if tokenizer.vocab_size < 6 else TEXT
    assert loaded.encode(sample).tolist() == tokenizer.encode(sample).tolist()
    assert loaded.document() == tokenizer.document()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "kind must be one of characters, bpe, words"),
        ({}, "kind must be one of characters, bpe, words"),
        ({"kind": []}, "kind must be one of characters, bpe, words"),
        ({"kind": "letters"}, "kind must be one of characters, bpe, words"),
        ({"kind": "words"}, "must have the entry words, a list of strings, and no other"),
        ({"kind": "words", "words": "ab"}, "must have the entry words, a list of strings"),
        ({"kind": "words", "words": ["a", 1]}, "must have the entry words, a list of strings"),
        ({"kind": "words", "words": ["a", "b"], "more": 1}, "must have the entry words, a list of strings"),
        ({"kind": "words", "words": []}, "must be different words, and at least one"),
        ({"kind": "words", "words": ["a", "a"]}, "must be different words, and at least one"),
        ({"kind": "words", "words": ["two words"]}, "'two words' is not one word in lower case"),
        ({"kind": "words", "words": ["Capital"]}, "'Capital' is not one word in lower case"),
        ({"kind": "words", "words": [" "]}, "' ' is not one word in lower case"),
        ({"kind": "characters"}, "must have the entry characters, a string, and no other"),
        ({"kind": "characters", "characters": ["a"]}, "must have the entry characters"),
        ({"kind": "characters", "characters": "ab", "more": 1}, "must have the entry characters"),
        ({"kind": "characters", "characters": "aba"}, "must be different characters"),
        ({"kind": "bpe", "merges": "x"}, "must have the entry merges, a list, and no other"),
        ({"kind": "bpe", "merges": [], "vocab": {}}, "must have the entry merges, a list, and no other"),
        ({"kind": "bpe", "merges": [["a"]]}, r"a merge must be a list of two strings, not \['a'\]"),
        ({"kind": "bpe", "merges": [["a", 1]]}, "a merge must be a list of two strings"),
        ({"kind": "bpe", "merges": ["ab"]}, "a merge must be a list of two strings, not ab"),
        ({"kind": "bpe", "merges": [["ab", "c"], ["a", "b"]]}, "ab and c are merged, but not both are tokens before"),
        ({"kind": "bpe", "merges": [["\ud800", "\x1b"]]}, r"\\ud800 and \\x1b are merged, but not both"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused(document, message, tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match=message) as refused:
        load_tokenizer(file)
    assert str(refused.value).startswith(str(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b" " * 32_000_001, "larger than"),
    ],
)
def test_a_damaged_file_is_refused(content, message, tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_tokenizer(file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_tokenizer(tmp_path / "none.json")


def test_without_the_library_the_command_is_named(monkeypatch, tmp_path):
    BYTES.save(tmp_path / "tokenizer.json")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for refused in (lambda: BPETokenizer.train("text", 300), lambda: load_tokenizer(tmp_path / "tokenizer.json")):
        with pytest.raises(UserError, match=r"pip install 'chainrule\[text\]', or train on characters"):
            refused()


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(DataError, match="the prompt is not UTF-8 at character 3"):
        BYTES.encode("ab\udcff", "the prompt")


@settings(max_examples=40)
@given(st.text())
def test_a_stream_is_the_text_in_pieces(text):
    for tokenizer in (BYTES, *([CharTokenizer.train(text)] if text else [])):
        pieces = list(decode_stream(tokenizer, iter(tokenizer.encode(text).tolist())))
        assert "".join(pieces) == text


def test_a_stream_of_tokens_that_end_inside_characters():
    straddling = BPETokenizer([("°", "Ð")])  # the last byte of an "а" and the first of the next, all along
    tokens = straddling.encode("аааааа").tolist()
    assert len(tokens) == 7
    assert "".join(decode_stream(straddling, tokens)) == "аааааа"
    trained = BPETokenizer.train("мама мыла раму, рама мыла маму. " * 20, vocab_size=300)
    text = "ум, мама, раму мыыла"
    assert "".join(decode_stream(trained, trained.encode(text).tolist())) == text
    random = np.random.default_rng(4)
    for _ in range(50):
        drawn = random.integers(0, trained.vocab_size, 12)
        assert "".join(decode_stream(trained, drawn.tolist())) == trained.decode(drawn)


def test_a_character_of_a_stream_is_never_cut():
    pieces = list(decode_stream(BYTES, BYTES.encode("a犬ß").tolist()))
    assert pieces == ["a", "犬", "ß"]
    assert list(decode_stream(BYTES, BYTES.encode("犬").tolist()[:2])) == ["\ufffd"]  # it ended too early


def test_words_are_the_tokens():
    """By hand: small and capital letters are the same, spaces are not kept, marks and ends of lines are tokens."""
    tokenizer = WordTokenizer.train("Don't stop,  Anna!\nStop the bus at 7.\n")
    assert tokenizer.words == ["\n", "!", ",", ".", "7", "anna", "at", "bus", "don't", "stop", "the"]
    tokens = tokenizer.encode("DON'T stop , anna!\n the bus")
    assert tokens.tolist() == [8, 9, 2, 5, 1, 0, 10, 7]
    assert tokens.dtype == np.uint8
    assert tokenizer.decode(tokens) == "don't stop, anna!\nthe bus"
    assert tokenizer.encode("  ").tolist() == []
    with pytest.raises(
        DataError, match="^the prompt has 'plane', 'car', and the model has only the 11 words of the text"
    ):
        tokenizer.encode("the plane, the car, the plane", "the prompt")
    with pytest.raises(DataError, match="'b', 'c', 'd', 'e' and 3 more"):
        tokenizer.encode("a b c d e f g h")
    with pytest.raises(ValueError, match="decode: the tokens must be from 0 to 10, not 11"):
        tokenizer.decode([11])


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["we", "eat", "it's", ".", ",", "\n"])))
def test_words_come_back_and_stream(words):
    tokenizer = WordTokenizer(["we", "eat", "it's", ".", ",", "\n"])
    tokens = [tokenizer.words.index(word) for word in words]
    text = tokenizer.decode(tokens)
    assert tokenizer.encode(text).tolist() == tokens
    assert "".join(decode_stream(tokenizer, tokens)) == text
    for i in range(len(tokens)):
        assert text == tokenizer.decode(tokens[:i]) + "".join(decode_stream(tokenizer, tokens[i:], tokens[:i]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cafe\u0301 noir", ["caf\u00e9", "noir"]),  # as macOS writes it
        ("x\u0303y, z", ["x\u0303y", ",", "z"]),  # there is no one character for it
        ("\u0130stanbul", ["i\u0307stanbul"]),  # a capital İ becomes two characters
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u0939\u0948", ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u0948"]),
        ("a!\n\u0301b", ["a", "!", "\n", "\u0301b"]),
    ],
)
def test_accents_and_vowel_signs_belong_to_their_words(text, words):
    tokenizer = WordTokenizer.train(text)
    assert tokenizer.words == sorted(set(words))
    assert [tokenizer.words[token] for token in tokenizer.encode(text)] == words
