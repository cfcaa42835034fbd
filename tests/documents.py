"""What documents and docstrings promise, taken out of them: Python to run, what it prints, commands to type.

A Python block in a Markdown file runs in the names that the file's blocks before it left. A comment of HTML on the line
before the fence says what else a block needs, where a reader has it from the text:

    <!-- run: in chainrule.ops.activations -->          as a part of that module: with its names
    <!-- run: excerpt of chainrule.ops.activations -->  the same, and it says what the module says

A comment behind an expression that begins like a value, `x.grad  # tensor([2., 4.])`, is what the expression prints.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"(?:^<!-- run: (.*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|\n\n)((?:    .*\n?|\n(?=    ))+)")
VALUE = re.compile(r"tensor\(|array\(|[\[({'\"]|-?[\d.]+|True\b|False\b|None\b")
COMMAND = re.compile(r"^(?:chainrule|make|python3?|pip) ")
LOOK = re.compile(r"`((?:chainrule|make|python3?|pip) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A piece of Python in a document: what it needs, its text, and its first line there."""

    needs: str
    code: str
    line: int


def markdown() -> list[Path]:
    """Every document that a person reads on the way."""
    site = ROOT / "docs" / "site"  # the builder puts copies into other folders of it
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "lessons").glob("*.md")]
    return sorted(path for path in found if path.parent in (site, site / "start") or site not in path.parents)


def blocks(document: Path) -> list[Block]:
    """The Python blocks of a Markdown file, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(match[1] or "", match[3], text.count("\n", 0, match.start(3)) + 1)
        for match in FENCE.finditer(text)
        if match[2] == "python"
    ]


@functools.cache
def docstrings(source: Path) -> list[tuple[str, str]]:
    """Each docstring in a file, with the name of what it describes."""
    found: list[tuple[str, str]] = []
    waiting: list[ast.AST] = [ast.parse(source.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                found.append((getattr(node, "name", ""), text))
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):  # not into expressions, which are most of it
            waiting += getattr(node, part, [])
    return found


def examples(source: Path) -> Iterator[tuple[str, str]]:
    """The indented pieces of a file's docstrings that are Python, with the name of what they describe."""
    for name, text in docstrings(source):
        for match in INDENTED.finditer(text):
            code = textwrap.dedent(match[1])
            with contextlib.suppress(SyntaxError):
                ast.parse(code)
                yield name, code


def commands(text: str) -> list[str]:
    """The commands in a document or docstring: on lines of their own that are set apart, and in the text."""
    apart = [line for match in FENCE.finditer(text) if match[2] in ("", "sh", "bash") for line in match[3].splitlines()]
    apart += [line for match in INDENTED.finditer(FENCE.sub("", text)) for line in match[1].splitlines()]
    lines = [re.split(r"  +|\s#", line.strip())[0] for line in apart]
    return [line for line in lines if COMMAND.match(line)] + LOOK.findall(FENCE.sub("", text))


def comments(code: str) -> dict[int, str]:
    """The comments of a piece of Python, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def run(code: str, names: dict[str, Any], where: str) -> int:
    """Run Python statement by statement, and compare what it prints with what its comments say.

    Returns:
        How many comments were compared.
    """
    told, compared = comments(code), 0
    for statement in ast.parse(code).body:
        expected = told.get(statement.end_lineno or 0, "")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), where, "eval"), names)  # noqa: S307  # our own
            else:
                value = exec(compile(ast.Module([statement], []), where, "exec"), names)  # noqa: S102
        if VALUE.match(expected):
            compared += 1
            found = printed.getvalue().strip() or repr(value)
            assert agrees(found, expected), f"{where}: {ast.unparse(statement)} gives {found}, not {expected}"
    return compared


def agrees(found: str, expected: str) -> bool:
    """Whether a comment says what was printed; a number in prose is right to its last digit."""
    number = re.match(r"-?\d+\.\d+(?= )", expected)
    if number is None:
        return found == expected
    inside = re.fullmatch(r"(?:tensor\()?(-?[\d.]+(?:e-?\d+)?)\)?", found)
    return inside is not None and abs(float(inside[1]) - float(number[0])) <= 10.0 ** -len(number[0].partition(".")[2])


def names_for(needs: str) -> dict[str, Any]:
    """What a block needs besides the blocks before it."""
    module = re.fullmatch(r"(?:in|excerpt of) ([\w.]+)", needs)
    if needs and module is None:
        raise ValueError(f"a block needs {needs!r}, which is neither `in` nor `excerpt of` a module")
    return dict(vars(importlib.import_module(module[1]))) if module else {}


def plain(code: str) -> list[str]:
    """Each function of a piece of Python as text, without annotations and comments, by which excerpts are compared."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                argument.annotation = None
    return [ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef)]
