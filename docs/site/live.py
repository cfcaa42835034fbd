"""Answers the view Next word in the reader's browser: `static/worker.js` calls it there, as the module `live`."""

from __future__ import annotations

import json
from pathlib import Path

from chainrule.studio.shelf import Shelf
from chainrule.studio.views import Views

VIEWS = Views.of(Shelf(Path("runs")))


def answer(view: str, text: str) -> tuple[str, list[bytes]]:
    """The answer to a view's message, both in JSON, and its buffers."""
    content, buffers = VIEWS.answer(view, json.loads(text), [])
    return json.dumps(content), buffers
