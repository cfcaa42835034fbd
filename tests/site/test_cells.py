"""What runs the lessons' cells in a browser, and the package that it loads, tried here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from tests.site.test_site import SITE, load
from tests.test_platforms import BROWSER

sys.path.insert(0, str(SITE))  # where cells.py finds figures.py
try:
    cells = load("cells")
finally:
    sys.path.remove(str(SITE))
browser_package = load("browser_package")


@pytest.fixture
def notebook():
    """A notebook, with what it has written and drawn."""
    notebook = cells.Notebook(
        lambda kind, text: notebook.texts.append((kind, text)),
        lambda *figure: notebook.figures.append(figure),
    )
    notebook.texts, notebook.figures = [], []
    return notebook


def written(notebook, kind):
    return "".join(text for name, text in notebook.texts if name == kind)


def test_cells_share_names_and_show_their_last_value(notebook):
    assert notebook.run(1, "import sys\nx = 6\nprint('x is', x)")
    assert notebook.run(2, "x += 1; print('why', file=sys.stderr)\nx * 6")
    assert notebook.run(3, "None")
    assert notebook.run(4, "")
    assert written(notebook, "out") == "x is 6\n42\n"
    assert written(notebook, "error") == "why\n"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "def broken(x):\n    return 1 / x\n\nbroken(0)",
            'Traceback (most recent call last):\n  File "cell 7", line 4, in <module>\n    broken(0)\n'
            '  File "cell 7", line 2, in broken\n    return 1 / x\n',
        ),
        ("for", '  File "cell 7", line 1\n    for\n'),
        ("import sys; sys.exit(3)", 'Traceback (most recent call last):\n  File "cell 7", line 1, in <module>\n'),
    ],
    ids=["a traceback", "syntax", "exit"],
)
def test_an_error_shows_the_readers_own_lines(notebook, code, text):
    assert not notebook.run(7, code)
    shown = "\n".join(line for line in written(notebook, "error").split("\n") if "^" not in line)
    assert shown.startswith(text)
    assert "cells.py" not in shown
    assert written(notebook, "out") == ""


def test_the_end_of_what_never_ends_is_left_out(notebook, monkeypatch):
    monkeypatch.setattr(cells, "MOST_TEXT", 10)
    assert notebook.run(1, "for _ in range(1000): print('abc')")
    assert written(notebook, "out") == "abc\nabc\nab"
    assert written(notebook, "error") == "\n(more than 10 characters: the rest is left out)\n"


def test_a_figure_is_drawn_for_light_and_for_dark_pages(notebook):
    code = [
        "import matplotlib; matplotlib.use('agg')",
        "from chainrule.lessons import show",
        "from chainrule.plots import charts",
        "show(charts.lines({'y': [1, 2, 4]}, title='Growing', x_label='x', y_label='y'))",
    ]
    assert notebook.run(1, "\n".join(code)), notebook.texts
    [(title, width, light, dark)] = notebook.figures
    assert (title, width > 300) == ("Growing", True)
    assert light.startswith(b"\x89PNG")
    assert dark.startswith(b"\x89PNG")
    assert light != dark


PROGRAM = """
import json
import cells, figures
from chainrule import data, lessons, models, optim, plots, text, training
from chainrule.first_principles import network

texts = []
notebook = cells.Notebook(lambda kind, text: texts.append(text), print)
notebook.run(1, "from chainrule.data import mnist\\nx, y = mnist().split().train\\nlen(x), y[:5].tolist()")
print(json.dumps([texts, [len(part) for part in network.load_data_wrapper()]]))
"""


def test_the_package_works_where_everything_is_missing_that_browsers_lack(tmp_path, monkeypatch):
    monkeypatch.setattr(browser_package, "FOLDER", tmp_path / "site")
    package = browser_package.write()
    assert package == tmp_path / "site" / "browser" / "chainrule.zip"
    first = package.read_bytes()
    assert browser_package.write().read_bytes() == first  # the same files make the same package
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "packages")
    assert len(first) < 3_500_000  # a third is the network that reads digits
    assert not [name for name in names if "/cli/" in name or name.endswith(("mnist.xz", ".pyc"))]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", f"import matplotlib.pyplot\n{BROWSER}\n{PROGRAM}"],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(tmp_path / "packages"), "MPLBACKEND": "agg"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    texts, parts = json.loads(done.stdout)
    assert texts == ["(5000, [5, 0, 4, 1, 9])\n"]  # MNIST's first digits, as everybody has them
    assert parts == [5000, 1000, 1000]
    sample = np.load(tmp_path / "packages" / "chainrule" / "data" / "mnist_sample.npz")
    assert np.bincount(sample["y_test"]).tolist() == [85, 126, 116, 107, 110, 87, 87, 99, 89, 94]
