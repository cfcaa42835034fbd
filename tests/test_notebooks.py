"""Lessons as notebooks: the text is Markdown with its formulas, and the code gives what the lesson prints."""

from __future__ import annotations

import contextlib
import io
import json
import re
import webbrowser

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from chainrule import lessons
from chainrule.cli import cli
from chainrule.cli import docs as site
from chainrule.notebooks import FIRST, notebook, to_markdown

LESSONS = lessons.available()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_every_lesson_becomes_a_notebook(lesson):
    content = json.loads(json.dumps(notebook(lesson)))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    written = lesson.file.read_text(encoding="utf-8")
    text = "\n".join(cell["source"] for cell in content["cells"] if cell["cell_type"] == "markdown")
    code = "\n".join(cell["source"] for cell in content["cells"] if cell["cell_type"] == "code")
    assert text.startswith(f"# {lesson.title}\n")
    assert not re.findall(r":\w+:`|^\.\. |``|[^`]`_(?!_)", text, re.MULTILINE)
    assert text.count("$$") == 2 * written.count(".. math::")
    assert len(re.findall(r"(?<!\$)\$(?!\$)", text)) == 2 * written.count(":math:`")
    for cell in content["cells"]:
        assert set(cell) >= {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    statements = [line for line in code.splitlines() if line.strip() and line != FIRST]
    assert statements == [line for cell in lessons.cells(lesson) for line in cell.code.splitlines() if line.strip()]


def test_its_code_prints_what_the_lesson_prints():
    lesson = lessons.find("the-bowl")
    expected = io.StringIO()
    with contextlib.redirect_stdout(expected):
        lessons.run(lesson, lambda cell: None, lambda figure: None)
    printed, names = io.StringIO(), {"__name__": "__main__"}
    with contextlib.redirect_stdout(printed):
        for cell in notebook(lesson)["cells"]:
            if cell["cell_type"] == "code":
                exec(cell["source"].replace(FIRST, ""), names)  # noqa: S102  # our own lessons
    plt.close("all")
    assert printed.getvalue() == expected.getvalue()
    assert printed.getvalue()


def test_text_becomes_markdown():
    assert to_markdown("The slope :math:`f'(x)`, in ``code``: **new** and *old*.") == (
        "The slope $f'(x)$, in `code`: **new** and *old*."
    )
    assert to_markdown("As in :lesson:`the-bowl`.") == "As in lesson 4 (`chainrule lesson the-bowl`)."
    assert to_markdown(".. math:: a\n   = b") == "$$\na\n= b\n$$"
    assert to_markdown(".. math::\n\n   a &= b \\\\\n   &= c") == (
        "$$\n\\begin{aligned}\na &= b \\\\\n&= c\n\\end{aligned}\n$$"
    )


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    done = run(cli, ["lesson", "4", "--notebook", "bowl.ipynb"])
    assert (done.exit_code, done.output) == (0, "wrote bowl.ipynb; open it with: jupyter lab bowl.ipynb\n")
    assert json.loads((tmp_path / "bowl.ipynb").read_text(encoding="utf-8")) == notebook(lessons.find("4"))
    for arguments, sentence in (
        (["lesson", "4", "--notebook", "bowl.txt"], "must end in .ipynb: bowl.txt"),
        (["lesson", "--notebook", "bowl.ipynb"], "give its number or key"),
        (["lesson", "--open"], "give its number or key"),
        (["lesson", "4", "--open", "--show"], "leave out the other options"),
        (["lesson", "4", "--open", "--notebook", "bowl.ipynb"], "leave out the other options"),
    ):
        done = run(cli, arguments)
        assert done.exit_code == 2
        assert sentence in done.output


def test_its_page_is_opened(tmp_path, monkeypatch):
    built = tmp_path / "build" / "site"
    for file in (tmp_path / "docs" / "site" / "conf.py", built / "index.html", built / "lessons" / "the-bowl.html"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(site, "CHECKOUT", tmp_path)
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    assert CliRunner().invoke(cli, ["lesson", "the-bowl", "--open"]).exit_code == 0
    assert opened == [(built / "lessons" / "the-bowl.html").as_uri()]
    done = CliRunner().invoke(cli, ["lesson", "neurons", "--open"])
    assert "the site has no such page" in str(done.exception)
