"""The Python of docs/sklearn.md and of the docstrings runs and prints what they say."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: make test-bridges")

from tests import documents
from tests.documents import ROOT

PACKAGE = ROOT / "src" / "chainrule" / "sklearn"


def test_document():
    names = {"__name__": "a document"}
    compared = sum(
        documents.run(block.code, names, "sklearn.md") for block in documents.blocks(ROOT / "docs/sklearn.md")
    )
    assert compared >= 5


def test_docstrings():
    codes = [code for source in PACKAGE.glob("*.py") for _, code in documents.examples(source)]
    assert len(codes) >= 2
    for code in codes:
        documents.run(code, {}, "a docstring")
