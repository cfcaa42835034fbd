"""The cheat sheet as one page to print: `docs/cheat-sheet.md`, set in three columns by Typst."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typst

if TYPE_CHECKING:
    from pathlib import Path

SECTION = re.compile(r"^## (.+?)\n+```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = """
#set document(title: "chainrule: cheat sheet")
#set page(paper: "a4", flipped: true, margin: (x: 1cm, y: 0.9cm))
#set text(size: 8.2pt)
#show raw: set text(size: 7.1pt, font: "DejaVu Sans Mono")
#show raw.where(block: true): block.with(fill: luma(244), inset: 5pt, radius: 2pt, width: 100%, breakable: false)
#show heading: set text(size: 9pt, fill: rgb("#0b5d87"))
#set block(spacing: 8pt)
#text(size: 14pt, weight: "bold")[chainrule] #h(1em) neural networks on NumPy, with PyTorch's names
#columns(3, gutter: 10pt)[
"""


def write(source: Path, pdf: Path) -> None:
    """Set the sections of a Markdown file, each a heading and a block of code, as a PDF of one page.

    Raises:
        ValueError: it does not fit on one page.
    """
    text = source.read_text(encoding="utf-8")
    sections = [
        f"== {title}\n````{language or 'text'}\n{code.rstrip()}\n````\n"
        for title, language, code in SECTION.findall(text)
    ]
    page = pdf.with_suffix(".typ")
    page.write_text(PAGE + "\n".join(sections) + "]\n", encoding="utf-8")
    try:
        drawn = typst.compile(page, format="svg")  # a list, if there are several pages
        if isinstance(drawn, list):
            raise ValueError(f"{source}: takes {len(drawn)} pages to print, not one")
        typst.compile(page, output=pdf, format="pdf")
    finally:
        page.unlink()
