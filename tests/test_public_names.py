"""What type checkers and editors see of a package is what Python sees: no public name is missing, none is made up."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "chainrule"
FACES = ["chainrule", "chainrule.nn", "chainrule.nn.functional", "chainrule.ops", "chainrule.plots"]


def parsed(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def list_of(module: str) -> list[str] | None:
    """A module's `__all__` as type checkers read it, a literal; None without one that they see."""
    for node in parsed(module).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    return None


def visible(module: str) -> set[str]:
    """What type checkers take for public: `__all__`, or else what is imported by `import *` or as its own name."""
    if (names := list_of(module)) is not None:
        return set(names)
    found = set()
    for node in ast.walk(parsed(module)):
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if alias.name == "*":
                found |= visible(node.module)
            elif alias.asname == alias.name:
                found.add(alias.name)
    return found


@pytest.mark.parametrize("face", FACES)
def test_what_type_checkers_see_is_what_there_is(face):
    module = importlib.import_module(face)
    names = visible(face)
    assert [name for name in sorted(names) if not hasattr(module, name)] == []
    if hasattr(module, "__all__"):
        assert names == set(module.__all__)
        assert len(module.__all__) == len(names), "a name stands twice"


@pytest.mark.parametrize("package", ["nn", "ops"])
def test_no_file_is_left_out(package):
    """Every name that a file lists as public is handed on by its package."""
    handed_on = visible(f"chainrule.{package}")
    for file in (ROOT / package).glob("[a-z]*.py"):
        names = list_of(f"chainrule.{package}.{file.stem}") or []
        assert file.stem in handed_on or handed_on >= set(names), file.name


def test_a_module_getattr_does_not_hide_misspelled_names():
    for file in ROOT.rglob("__init__.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            assert not (isinstance(node, ast.FunctionDef) and node.name == "__getattr__"), file
