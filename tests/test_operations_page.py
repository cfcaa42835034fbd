"""docs/operations.md says what the source says, and its links lead to the right lines."""

import ast
import functools
import importlib.util
import re
from pathlib import Path

import pytest

from chainrule import ops
from chainrule.ops import Operation

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "operations.md"
LINK = re.compile(r"\((\.\./src/[^)#]+)#L(\d+)-L(\d+)\)")
ROW = re.compile(
    r"^\| \(?\[`(\w+)`\]\(\.\./src/chainrule/ops/(\w+)\.py#L(\d+)-L(\d+)\)\)? \| (.*) \| (.*) \| (.*) \|$", re.M
)


def script():
    spec = importlib.util.spec_from_file_location("list_operations", ROOT / "scripts" / "list_operations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows():
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def functions_in(file: Path, first: int, last: int) -> list[ast.FunctionDef]:
    """The functions whose lines are exactly the stretch from first to last."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = [node for node in tree.body if first <= start(node) and node.end_lineno <= last]
    assert inside, "no function there"
    assert (start(inside[0]), inside[-1].end_lineno) == (first, last)
    assert all(isinstance(node, ast.FunctionDef) for node in inside)
    return inside


def start(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == script().page(), "run `make operations`"


def test_every_public_operation_is_listed_once():
    names = [name for name, *_ in rows()]
    assert len(names) == len(set(names))
    assert set(names) >= set(ops.__all__) - {"NUMPY", "Operation", "operation"}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_lines_hold_the_operation(row):
    name, family, first, last, _, derivative, _ = row
    file = ROOT / "src" / "chainrule" / "ops" / f"{family}.py"
    formula, *rest = functions_in(file, int(first), int(last))
    assert formula.name == name
    found = vars(importlib.import_module(f"chainrule.ops.{family}"))[name]
    if not isinstance(found, Operation):
        assert (derivative, rest) == ("*composed*", [])
    elif found.rule is None:
        assert (derivative, rest) == ("none", [])
    elif rest:  # the rule stands below
        assert [ast.unparse(d) for d in rest[0].decorator_list] == [f"{name}.derivative"]
        assert len(rest) == 1
    else:  # it is shared, and has a link of its own
        ((path, start, end),) = LINK.findall(derivative)
        (rule,) = functions_in(PAGE.parent / path, int(start), int(end))
        assert rule.name == found.rule.__name__


def test_the_names_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name, *_, theirs in rows():
        for path in re.findall(r"\[`torch\.([\w.]+)`\]", theirs):
            assert callable(functools.reduce(getattr, path.split("."), torch)), name
