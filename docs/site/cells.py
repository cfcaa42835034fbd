"""Runs the cells of a lesson in the reader's browser; `static/worker.js` calls it there, as the module `cells`.

A cell's last expression is shown, as in a notebook. An error shows the reader's own lines, not those that ran them.
"""

from __future__ import annotations

import ast
import io
import linecache
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import figures

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[str, str], None]
    Draw = Callable[[str, float, bytes, bytes], None]

MOST_TEXT = 200_000
"""How many characters a cell may print: a page with an endless loop's output would not answer any more."""


class Notebook:
    """The cells' common namespace.

    Args:
        write: called with "out" or "error", and a text that was printed there.
        draw: called with a figure's title, its width in pixels, and its pictures for light and dark pages, PNG or GIF.
    """

    def __init__(self, write: Write, draw: Draw) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self._write, self._draw = write, draw

    def run(self, number: int, code: str) -> bool:
        """Run a cell, and show what it prints and draws; returns whether it ran without an error."""
        name = f"cell {number}"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # for tracebacks
        out, errors = _Stream("out", self._write), _Stream("error", self._write)
        with redirect_stdout(out), redirect_stderr(errors):
            try:
                value = self._execute(code, name)
                if value is not None:
                    out.write(f"{value!r}\n")
                self._show_figures()
            except BaseException as error:  # a learner's sys.exit() is none of the page's
                errors.write(describe(error))
                return False
        return True

    def _execute(self, code: str, name: str) -> Any:
        """Run code, and return the value of its last line if that is an expression."""
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), self.names)  # noqa: S102  # the reader's own code, in the reader's browser
        return None if last is None else eval(compile(ast.Expression(last.value), name, "eval"), self.names)  # noqa: S307

    def _show_figures(self) -> None:
        if "matplotlib.pyplot" in sys.modules:
            for title, width, light, dark in figures.pictures():
                self._draw(title, width, light, dark)


def describe(error: BaseException) -> str:
    """A traceback that begins with the cell's own line."""
    described = traceback.TracebackException.from_exception(error)
    frames = [number for number, frame in enumerate(described.stack) if frame.filename.startswith("cell ")]
    del described.stack[: frames[0] if frames else len(described.stack)]
    return "".join(described.format())


class _Stream(io.TextIOBase):
    """Hands on what is printed, up to `MOST_TEXT` characters."""

    def __init__(self, kind: str, write: Write) -> None:
        self._kind, self._write, self._left = kind, write, MOST_TEXT

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._left > 0:
            self._write(self._kind, text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._write("error", f"\n(more than {MOST_TEXT:,} characters: the rest is left out)\n")
        return len(text)
