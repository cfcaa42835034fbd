"""The cells of the lessons run in the reader's browser: the same text and figures as here, and nothing from elsewhere."""

from __future__ import annotations

import io
import os
import re
import zipfile
from contextlib import redirect_stdout
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from chainrule import lessons
from chainrule.data import catalog, mnist
from chainrule.data.packed_mnist import SAMPLE

LESSONS = {lesson.key: lesson for lesson in lessons.available()}
IN_EACH_RUN = (
    "neurons", "the-perceptron", "rolling-downhill", "the-bowl", "one-neuron-learns", "the-chain-rule", "backpropagation",
    "your-own-tape", "why-it-is-fast", "learning-better", "your-own-photo", "the-next-word",
)  # fmt: skip
"""Those that `make test-browser` runs; `make browser-long` runs all."""
TIMED = ("why-it-is-fast", "four-ways")
"""Those that print times."""
DIVERGING = {
    "any-curve": 0.95, "the-convolutional-network": 0.9, "vanishing-gradients": 0.95, "dead-neurons": 0.5,
    "deeper-networks": 0.7,
}  # fmt: skip
"""Those that train at rates where a difference in the last bit grows, and what part of their lines is the same yet."""
WARNING = re.compile(r"cell \d+:\d+: RuntimeWarning: LLVM cannot be used here.*\n.*\n")
"""What the first compiled function says where there is no compiler."""
PROGRAM = re.compile(r"^stage +what it does.*?\nmemory for intermediate results[^\n]*\n", re.DOTALL | re.MULTILINE)
"""A compiled program; in a browser, which compiles nothing, this stands in its place:"""
NO_PROGRAM = "nothing is compiled here: it runs in NumPy\n"
SECONDS = 900 if os.environ.get("CHAINRULE_BROWSER_LONG") == "1" else 240
"""How long a page may take to load Python and to run a lesson, on a machine that does other things as well."""
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@pytest.fixture
def as_in_a_browser(site, tmp_path, monkeypatch):
    """MNIST is the part of it that the site gives to browsers."""
    with zipfile.ZipFile(site.folder / "browser" / "chainrule.zip") as packed:
        name = next(name for name in packed.namelist() if name.endswith(SAMPLE.name))
        sample = Path(packed.extract(name, tmp_path))
    source = replace(catalog.MNIST, sample=sample)
    monkeypatch.setattr(catalog, "MNIST", source)
    monkeypatch.setitem(catalog.SOURCES, "mnist", source)
    assert len(mnist().train_images) < 10_000


def run_here(lesson):
    """What each cell prints, and how many figures it shows."""
    import matplotlib.pyplot as plt

    cells, names = [], {"__name__": "__main__"}
    plt.switch_backend("agg")
    for cell in lessons.cells(lesson):
        if cell.code.strip():
            with redirect_stdout(io.StringIO()) as printed:
                exec(compile(cell.code, lesson.file, "exec"), names)  # noqa: S102  # our own lessons
            cells.append((printed.getvalue(), len(plt.get_fignums())))
            plt.close("all")
    return cells


def differ_in_the_last_digit(one, two):
    """Whether two texts are the same but for numbers, and those but for one in the last digit that is printed."""
    first, second = NUMBER.findall(one), NUMBER.findall(two)
    if NUMBER.split(one) != NUMBER.split(two) or len(first) != len(second):
        return False
    return all(
        abs(a - b) <= Decimal(1).scaleb(a.as_tuple().exponent)
        for a, b in zip(map(Decimal, first), map(Decimal, second), strict=True)
    )


def words(text):
    """What a text says besides numbers."""
    return "".join(NUMBER.split(text)).split()


def run_all(page, cells=None):
    """Run a page's cells up to one, the last by default, as a reader does."""
    bars = page.locator(".cell-bar")
    bar = bars.nth((bars.count() if cells is None else cells) - 1)
    bar.get_by_role("button", name="Run").click()
    wait_until_done(page, bar)
    return bar


def wait_until_done(page, bar):
    """Until a cell's status says how it ended."""
    status = bar.locator(".cell-status").element_handle()
    page.wait_for_function(
        "s => /^(Done|An error|Cell|Stopped|Python)/.test(s.textContent)", arg=status, timeout=SECONDS * 1000
    )
    return status.text_content()


def results(page):
    """What each cell printed, its warnings or errors, and its figures."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".cell-output")].map((output) => ({
            out: [...output.querySelectorAll(".cell-out")].map((e) => e.textContent).join(""),
            error: [...output.querySelectorAll(".cell-error")].map((e) => e.textContent).join(""),
            figures: [...output.querySelectorAll("img.only-light")].filter((e) => e.naturalWidth > 300).length,
            dark: output.querySelectorAll("img.only-dark").length,
            named: [...output.querySelectorAll("img")].every((e) => e.alt.length > 3),
        }))"""
    )


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_prints_in_the_browser_what_it_prints_here(name, visit, address, pyodide, as_in_a_browser):
    if name not in IN_EACH_RUN and os.environ.get("CHAINRULE_BROWSER_LONG") != "1":
        pytest.skip("`make browser-long` runs this lesson, too")
    lesson = LESSONS[name]
    opened = visit(f"lessons/{name}.html")
    assert not [url for url in opened.requests if "pyodide" in url or "chainrule.zip" in url]  # before the first click
    bar = run_all(opened.page)
    found = results(opened.page)
    assert bar.locator(".cell-status").text_content() == "Done.", [cell["error"] for cell in found]
    assert opened.elsewhere(address) == []
    assert any(url.startswith(f"{address}pyodide/") for url in opened.requests)
    expected = run_here(lesson)
    assert len(found) == len(expected)
    for number, (cell, (_, figures)) in enumerate(zip(found, expected, strict=True), 1):
        assert (cell["figures"], cell["dark"], cell["named"]) == (figures, figures, True), number
        assert WARNING.sub("", cell["error"]) == "", number
    assert opened.complaints == []
    lines = [line for cell in found for line in cell["out"].splitlines()]
    expected_lines = [line for printed, _ in expected for line in PROGRAM.sub(NO_PROGRAM, printed).splitlines()]
    assert len(lines) == len(expected_lines)
    if name in TIMED:
        return
    pairs = list(zip(lines, expected_lines, strict=True))
    others = [(one, two) for one, two in pairs if one != two and not differ_in_the_last_digit(one, two)]
    assert len(others) <= (1 - DIVERGING.get(name, 1)) * len(lines), others
    for one, two in others:
        assert words(one) == words(two), (one, two)


def test_two_texts_differ_in_the_last_digit_or_in_more():
    assert differ_in_the_last_digit("cost 0.1234 at -2.5e-07", "cost 0.1235 at -2.4e-07")
    assert not differ_in_the_last_digit("cost 0.1234", "cost 0.1236")
    assert not differ_in_the_last_digit("cost 0.1234", "price 0.1234")
    assert not differ_in_the_last_digit("1 2", "1")


def test_a_reader_changes_a_cell_makes_a_mistake_and_stops_a_loop(visit, pyodide):
    page = visit("lessons/rolling-downhill.html").page
    bars, outputs = page.locator(".cell-bar"), page.locator(".cell-output")

    def button(cell, label):
        return page.get_by_role("button", name=f"{label} cell {cell}", exact=True)

    def edit(cell, code):
        editor = page.get_by_role("textbox", name=f"Code of cell {cell}", exact=True)
        editor.fill(code)
        editor.press("Control+Enter")
        return wait_until_done(page, bars.nth(cell - 1))

    button(2, "Edit").click()
    original = page.get_by_role("textbox", name="Code of cell 2").input_value()
    assert original.startswith("for x in (10.0, 1.0, -3.0):\n    ")
    assert edit(2, "answer = 6 * 7\nprint('text', np.arange(3).sum())\nanswer") == "Done."  # np: cell 1 ran first
    assert outputs.nth(1).inner_text().strip() == "text 3\n42"

    assert edit(2, "def broken():\n    return 1 / 0\n\nbroken()") == "An error."
    text = outputs.nth(1).inner_text()
    assert text.startswith('Traceback (most recent call last):\n  File "cell 2", line 4, in <module>\n    broken()')
    assert text.strip().endswith("ZeroDivisionError: division by zero")
    assert "cells.py" not in text
    button(3, "Run").click()
    assert wait_until_done(page, bars.nth(2)) == "Cell 2, which comes first, has an error."
    assert edit(2, "if x") == "An error."
    assert outputs.nth(1).inner_text().strip().endswith("SyntaxError: expected ':'")

    editor = page.get_by_role("textbox", name="Code of cell 2")
    editor.fill("import time\nwhile True:")
    editor.press("End")
    editor.press("Enter")  # goes on four to the right, and Tab leaves
    editor.type("time.sleep(0)")
    assert editor.input_value() == "import time\nwhile True:\n    time.sleep(0)"
    editor.press("Control+Enter")
    button(2, "Stop").click()
    assert wait_until_done(page, bars.nth(1)).startswith("Stopped. Names and values are gone")
    button(2, "Reset").click()
    assert page.get_by_role("textbox", name="Code of cell 2").count() == 0
    button(2, "Run").click()
    assert wait_until_done(page, bars.nth(1)) == "Done."  # with a new Python, cell 1 first
    assert "(h = 1)" in outputs.nth(1).inner_text()


def test_python_that_cannot_be_loaded_is_said_and_tried_again(visit, pyodide):
    page = visit("lessons/neurons.html").page
    page.context.route("**/pyodide.js", lambda route: route.abort())
    bar = run_all(page, 1)
    assert bar.locator(".cell-status").text_content().startswith("Python cannot be loaded or has ended: ")
    page.context.unroute("**/pyodide.js")
    assert run_all(page, 1).locator(".cell-status").text_content() == "Done."


def test_the_keyboard_is_enough(visit, pyodide):
    page = visit("lessons/rolling-downhill.html").page
    run = page.get_by_role("button", name="Run cell 1", exact=True)
    for _ in range(120):
        page.keyboard.press("Tab")
        if run.evaluate("e => e === document.activeElement"):
            break
    assert run.evaluate("e => e === document.activeElement && e.matches(':focus-visible')")
    page.keyboard.press("Enter")
    assert wait_until_done(page, page.locator(".cell-bar").first) == "Done."
    assert run.evaluate("e => e === document.activeElement")  # it was on Stop meanwhile
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Edit"


def test_from_a_folder_it_is_said_what_runs_python(visit, site):
    page = visit("lessons/neurons.html", base=f"file://{site.folder}/").page
    page.get_by_role("button", name="Run cell 1", exact=True).click()
    assert "needs this page from a server" in page.locator(".cell-status").first.text_content()
