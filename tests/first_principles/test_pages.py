"""Every module runs as a script, quickly and without warnings, and imports only NumPy."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule.first_principles

FOLDER = Path(chainrule.first_principles.__file__).parent
PAGES = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
SHOWN = {  # output that proves that the module works
    "activations": "0.2350",
    "backprop": "equation 4  ∂C/∂W¹ [[",
    "convolution": "(1, 28, 28) → (32, 14, 14) → (64, 7, 7) → 3136 → 10",
    "descent": "Iteration 10: x = 1.0737, f(x) = 1.1529, Gradient = 2.6844",
    "finite_difference": "  6,902         6,903 ",
    "language": "money",
    "network": "Accuracy: 9",
    "neuron": "Mean squared error in the first ten epochs: 0.2446, 0.1811",
    "perceptron": "XOR with a hidden layer of two perceptrons: [0 1 1 0], wanted [0 1 1 0]",
    "sgd": "256",
    "tape": "slope 8.0000, by hand 2x + 2 = 8.0000",
}


@pytest.mark.parametrize("page", PAGES)
def test_shows_itself(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module(f"chainrule.first_principles.{page}").main()
    assert SHOWN[page] in capsys.readouterr().out


def test_runs_as_a_module() -> None:
    command = [sys.executable, "-W", "error", "-m", "chainrule.first_principles.descent"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Starting x: 10.0, f(x): 100.0000\nIteration 1: x = 8.0000")
    assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES)
def test_every_function_says_what_it_does(page: str) -> None:
    tree = ast.parse((FOLDER / f"{page}.py").read_text(encoding="utf-8"))
    assert "Source:" in (ast.get_docstring(tree) or "")
    public = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []
    assert "main" in [node.name for node in public]
