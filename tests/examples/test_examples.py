"""The examples run and print what their docstrings say."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED = {"minitorch_mnist.py", "side_by_side.py"}


def load(name: str) -> dict:
    """The namespace of an example."""
    return runpy.run_path(str(EXAMPLES / name), run_name="example")


def table(text: str) -> dict[str, list[float]]:
    """The numbers of each row, by the row's first word."""
    rows = (line.split() for line in text.splitlines())
    numbers = {row[0]: [float(n.rstrip("%")) for n in row[1:] if re.fullmatch(r"[\d.e-]+%?", n)] for row in rows if row}
    return {name: row for name, row in numbers.items() if row and re.fullmatch(r"\d+|mean", name)}


def promised(name: str) -> dict[str, list[float]]:
    """The table in an example's docstring."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8")))
    return table(docstring.partition("Output:")[2])


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED


def test_minitorch(capsys):
    load("minitorch_mnist.py")["main"]([])
    printed = table(capsys.readouterr().out)
    assert list(printed) == ["0", "1", "2", "3", "4", "mean"]
    assert printed["mean"][0] >= 83
    for row, numbers in promised("minitorch_mnist.py").items():
        # rounding differs from one machine's NumPy to another's, and an image is half a percent
        assert printed.pop(row)[:-1] == pytest.approx(numbers[:-1], rel=0.01)
    assert not printed


def test_minitorch_options(capsys):
    main = load("minitorch_mnist.py")["main"]
    main(["--seed", "3"])
    alone = table(capsys.readouterr().out)
    assert list(alone) == ["3", "mean"]
    main(["--seeds", "1"])
    assert list(table(capsys.readouterr().out)) == ["0", "mean"]
    with pytest.raises(SystemExit) as ended:
        main(["--seeds", "0"])
    assert ended.value.code == 2
    assert "--seeds must be at least 1" in capsys.readouterr().err


def test_side_by_side(capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
    load("side_by_side.py")["main"](["--batches", "50"])
    out = capsys.readouterr().out
    printed = table(out)
    assert list(printed) == ["1", "2", "3", *map(str, range(5, 51, 5))]
    for row in ("1", "2", "3", "50"):
        assert printed[row] == pytest.approx(promised("side_by_side.py")[row], rel=1e-9)
    differences = [float(n) for n in re.findall(r"largest difference of .*: (\S+)", out)]
    assert len(differences) == 2
    assert max(differences) < 1e-12
    assert printed["50"][0] < printed["1"][0] / 2  # and it learns


def test_side_by_side_without_pytorch():
    script = str(EXAMPLES / "side_by_side.py")
    code = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path({script!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "PyTorch, which is not installed: pip install 'chainrule[torch]'" in done.stderr
