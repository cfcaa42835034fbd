"""A lesson as a notebook for Jupyter: `chainrule lesson backpropagation --notebook backpropagation.ipynb`.

Source of the format: nbformat 4.5, https://nbformat.readthedocs.io.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from chainrule.lessons import MARKUP, replace_references, sources, split_heading, split_paragraphs

if TYPE_CHECKING:
    from chainrule.lessons import Lesson

FIRST = "%matplotlib inline"
"""The first line of a notebook's code."""


def notebook(lesson: Lesson) -> dict[str, Any]:
    """Return a lesson as the content of a notebook's file: text with formulas, and code without results.

    from chainrule import lessons
    from chainrule.notebooks import notebook

    cells = notebook(lessons.find("the-bowl"))["cells"]
    cells[0]["source"].splitlines()[0]  # '# The bowl'
    """
    cells: list[dict[str, Any]] = []
    for number, (text, code, _) in enumerate(sources(lesson)):
        heading, rest = split_heading(text)
        title = [f"{'##' if number else '#'} {to_markdown(heading)}"] if heading else []
        words = "\n\n".join([*title, *map(to_markdown, split_paragraphs(rest))])
        cells.append({"cell_type": "markdown", "id": f"text-{number}", "metadata": {}, "source": words})
        if code.strip():
            lines = code.strip("\n") if number else f"{FIRST}\n\n{code.strip()}"
            results: dict[str, Any] = {"execution_count": None, "outputs": []}
            cells.append({"cell_type": "code", "id": f"code-{number}", "metadata": {}, "source": lines, **results})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def to_markdown(paragraph: str) -> str:
    """Turn a paragraph, an item of a list or a formula from reStructuredText into Markdown."""
    if paragraph.startswith(".. math::"):
        formula = "\n".join(line.strip() for line in paragraph.removeprefix(".. math::").strip().splitlines())
        is_aligned = ("&" in formula or "\\\\" in formula) and "\\begin{" not in formula
        return f"$$\n{_begin_aligned(formula) if is_aligned else formula}\n$$"
    text = replace_references(paragraph.strip(), lambda words, key: f"{words} (`chainrule lesson {key}`)")

    def convert(part: re.Match[str]) -> str:
        formula, code, strong, emphasis = part.groups()
        return f"${formula}$" if formula else f"`{code}`" if code else f"**{strong}**" if strong else f"*{emphasis}*"

    text = re.sub(r"`([^`<]+?)\s*<([^>`]+)>`_+", r"[\1](\2)", text)
    return re.compile(MARKUP.pattern, re.DOTALL).sub(convert, text)


def _begin_aligned(formula: str) -> str:
    """Return lines in the environment that aligns them at &, which Sphinx adds by itself."""
    return f"\\begin{{aligned}}\n{formula}\n\\end{{aligned}}"
