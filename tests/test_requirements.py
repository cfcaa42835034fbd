"""`make test-oldest` installs the oldest version of each dependency, and the tests that it runs are there."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("oldest", ROOT / "scripts" / "oldest_requirements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_has_an_oldest_version(script):
    pins = dict(pin.split("==") for pin in script.oldest(["test"]))
    assert len(pins) == len(PROJECT["dependencies"]) + len(PROJECT["optional-dependencies"]["test"])
    assert pins["pooch"] == "1.8.2"
    assert pins["pytest-timeout"] == "2.3.1"


def test_a_dependency_without_a_lower_bound_is_an_error(script, tmp_path, monkeypatch):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["numpy>=2", "click"]\n')
    monkeypatch.setattr(script, "PROJECT", project)
    with pytest.raises(ValueError, match="'click' is not of the form name>=version"):
        script.oldest([])


def test_the_tests_that_make_names_exist():
    named = re.findall(r"(?<![\w.])tests/[\w/.]+", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
