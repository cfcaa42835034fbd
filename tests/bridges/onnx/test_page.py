"""The list of operators in docs/export.md is the list of those that there are."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[bridges]'")

from chainrule.onnx.nodes import OPERATIONS  # needs onnx
from chainrule.onnx.operators import OPERATORS
from chainrule.onnx.symbol import FUNCTIONS, UFUNCS

PAGE = Path(__file__).parents[3] / "docs" / "export.md"


def listing(names):
    return textwrap.fill(", ".join(sorted(names)) + ".", 120, break_long_words=False)


def expected():
    """The part of the page between its two marks."""
    operations = {operation.name for operation in OPERATIONS}
    functions = {f"`np.{function.__name__}`" for function in (*UFUNCS, *FUNCTIONS)}
    return (
        f"**Read by `load`**, {len(OPERATORS)} operators:\n{{}}\n\n"
        "**Written by `export`**: every operation whose formula consists of these NumPy functions:\n{}\n\n"
        "Operations with a node of their own:\n{}"
    ).format(*(listing(names) for names in (OPERATORS, functions, {f"`{name}`" for name in operations})))


def test_the_page_lists_the_operators():
    marked = re.search(
        r"<!-- operators -->\n(.*)<!-- end of the operators -->", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert marked[1].strip() == expected(), "write this there:\n" + expected()
