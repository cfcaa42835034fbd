"""The guides to data of one's own, from first to last line: what they say is typed, what they show is printed."""

from __future__ import annotations

import os
import shlex

import pytest
from tests import documents
from tests.documents import FENCE, ROOT, commands

PAGES = ("table.md", "photos.md")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Files are not flushed to the disk itself, which takes longer than the training."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page, command):
    text, names, shown = (ROOT / "docs" / "guides" / page).read_text(encoding="utf-8"), {"__name__": page}, 0
    output = ""
    for fence in FENCE.finditer(text):
        kind, content = fence[2], fence[3]
        if kind == "python":
            documents.run(content, names, page)
        elif kind == "text":
            for line in content.splitlines():
                assert line in output, f"{page}: {line!r} is not printed:\n{output}"
                shown += 1
        elif typed := commands(f"```\n{content}```\n"):
            output = ""
            for line in typed:
                done = command(*shlex.split(line)[1:])
                assert (done.code, done.err) == (0, ""), done
                output += done.out
    assert shown >= 4
