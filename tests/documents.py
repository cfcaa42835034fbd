"""Extract what documents and docstrings promise: Python to run, the values it prints, and commands to type.

A Python block in a Markdown file runs with the names that earlier blocks of the file have defined. If a block also
needs the names of a module, an HTML comment on the line before the block says so:

    <!-- run: in chainrule.ops.activations -->          the block runs with the names of that module
    <!-- run: excerpt of chainrule.ops.activations -->  and its functions must be equal to the module's

A comment after a statement that begins like a value, as in `x.grad  # tensor([2., 4.])`, must be equal to what the
statement prints or, if it prints nothing, to the value of the expression.
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
INLINE_COMMAND = re.compile(r"`((?:chainrule|make|python3?|pip) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A block of Python in a document.

    Attributes:
        needs: the text after `run:` in the comment before it, or "".
        code: its text.
        line: the number of its first line in the document.
    """

    needs: str
    code: str
    line: int


def markdown() -> list[Path]:
    """The Markdown files of the root folder, docs/ and lessons/."""
    site = ROOT / "docs" / "site"  # its other folders hold copies, made by the site builder
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "lessons").glob("*.md")]
    return sorted(path for path in paths if path.parent in (site, site / "start") or site not in path.parents)


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
    """The docstrings in a file, each with the name of its function or class ("" for the module)."""
    named_texts: list[tuple[str, str]] = []
    nodes: list[ast.AST] = [ast.parse(source.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                named_texts.append((getattr(node, "name", ""), text))
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            nodes += getattr(node, field, [])  # not the expressions, which are most of the nodes
    return named_texts


def examples(source: Path) -> Iterator[tuple[str, str]]:
    """The indented blocks of a file's docstrings that are valid Python, with the name of the function or class."""
    for name, text in docstrings(source):
        for match in INDENTED.finditer(text):
            code = textwrap.dedent(match[1])
            with contextlib.suppress(SyntaxError):
                ast.parse(code)
                yield name, code


def commands(text: str) -> list[str]:
    """The commands in a document or docstring: in blocks, and between backquotes in the text."""
    fenced = [match[3] for match in FENCE.finditer(text) if match[2] in ("", "sh", "bash")]
    block_lines = [line for block in fenced for line in block.splitlines()]
    block_lines += [line for match in INDENTED.finditer(FENCE.sub("", text)) for line in match[1].splitlines()]
    lines = [re.split(r"  +|\s#", line.strip())[0] for line in block_lines]
    return [line for line in lines if COMMAND.match(line)] + INLINE_COMMAND.findall(FENCE.sub("", text))


def comments(code: str) -> dict[int, str]:
    """The comments in Python code, by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def run(code: str, names: dict[str, Any], where: str) -> int:
    """Run Python statement by statement, and compare values with the comments that give them.

    Returns:
        How many comments were compared.
    """
    comment_at_line, compared_count = comments(code), 0
    for statement in ast.parse(code).body:
        expected = comment_at_line.get(statement.end_lineno or 0, "")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), where, "eval"), names)  # noqa: S307  # our own
            else:
                value = exec(compile(ast.Module([statement], []), where, "exec"), names)  # noqa: S102
        if VALUE.match(expected):
            compared_count += 1
            actual = printed.getvalue().strip() or repr(value)
            assert agrees(actual, expected), f"{where}: {ast.unparse(statement)} gives {actual}, not {expected}"
    return compared_count


def agrees(actual: str, expected: str) -> bool:
    """Whether a comment gives the printed value; a number that prose follows may be off by one in its last digit."""
    number = re.match(r"-?\d+\.\d+(?= )", expected)
    if number is None:
        return actual == expected
    scalar = re.fullmatch(r"(?:tensor\()?(-?[\d.]+(?:e-?\d+)?)\)?", actual)
    return scalar is not None and abs(float(scalar[1]) - float(number[0])) <= 10.0 ** -len(number[0].partition(".")[2])


def names_for(needs: str) -> dict[str, Any]:
    """The names of the module that a block needs, if any."""
    module = re.fullmatch(r"(?:in|excerpt of) ([\w.]+)", needs)
    if needs and module is None:
        raise ValueError(f"a block needs {needs!r}, which is neither `in` nor `excerpt of` a module")
    return dict(vars(importlib.import_module(module[1]))) if module else {}


def plain(code: str) -> list[str]:
    """The functions in Python code as text, without annotations and comments, to compare an excerpt with its module."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                argument.annotation = None
    return [ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef)]
