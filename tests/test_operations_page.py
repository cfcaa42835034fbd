"""docs/operations.md lists every operation, with its file, its derivative and PyTorch's name for it."""

import ast
import functools
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from chainrule import ops
from chainrule.ops import Operation

from .naming import naming

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "operations.md"
LINK = re.compile(r"\]\((\.\./src/[^)#]+)#(\w+)\)")
ROW = re.compile(r"^\| \(?\[`(\w+)`\]\(\.\./src/chainrule/ops/(\w+)\.py#(\w+)\)\)? \| (.*) \| (.*) \| (.*) \|$", re.M)


def script():
    spec = importlib.util.spec_from_file_location("list_operations", ROOT / "scripts" / "list_operations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows():
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


@functools.cache
def functions(file: Path) -> list[ast.FunctionDef]:
    """The functions that a file defines, in its order, without the signatures of overloads."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    return [f for f in functions if "overload" not in map(ast.unparse, f.decorator_list)]


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == script().page(), "run `make operations`"


def test_lines_that_move_do_not_change_the_page():
    assert not re.search(r"#L\d", PAGE.read_text(encoding="utf-8"))


def test_every_public_operation_is_listed_once():
    names = [name for name, *_ in rows()]
    assert len(names) == len(set(names))
    assert set(names) >= set(ops.__all__) - {"NUMPY_FUNCTIONS", "Operation", "operation"}


def test_the_links_lead_to_the_operations_and_their_derivatives():
    for row in rows():
        with naming(row[0]):
            check_links(row)


def check_links(row):
    name, family, anchor, _, derivative, _ = row
    defined = functions(ROOT / "src" / "chainrule" / "ops" / f"{family}.py")
    names = [function.name for function in defined]
    assert anchor == name
    assert names.count(name) == 1
    operation = vars(importlib.import_module(f"chainrule.ops.{family}"))[name]
    if not isinstance(operation, Operation):
        assert derivative == "*composed*"
    elif operation.rule is None:
        assert derivative == "none"
    elif operation.rule.__name__ == "_":  # right below the formula
        rule = defined[names.index(name) + 1]
        assert rule.name == "_"
        assert [ast.unparse(decorator) for decorator in rule.decorator_list] == [f"{name}.derivative"]
    else:  # shared, with a link of its own
        ((path, rule),) = LINK.findall(derivative)
        assert (PAGE.parent / path).resolve() == ROOT / "src" / "chainrule" / "ops" / f"{family}.py"
        assert rule == operation.rule.__name__
        assert names.count(rule) == 1


def test_the_names_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name, *_, theirs in rows():
        for path in re.findall(r"\[`torch\.([\w.]+)`\]", theirs):
            assert callable(functools.reduce(getattr, path.split("."), torch)), name
