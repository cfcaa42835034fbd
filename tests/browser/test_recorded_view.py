"""The page of the site with the view Next word: it answers from a record, and after a click with Python in the browser."""

from __future__ import annotations

import os
from typing import Any

import pytest

from chainrule.studio.shelf import Shelf
from chainrule.studio.words import Words

PAGE = "start/next-word.html"
BEGINNING = "I am going to the bank to deposit some"


def answer(text: str) -> dict[str, Any]:
    question = {"ask": "read", "number": 1, "model": "shipped_words", "text": text, "temperature": 1, "seed": 0}
    reply = Words(Shelf()).answer(question, [])
    assert reply
    return reply[0]


def check_bars(page: Any, text: str) -> None:
    """The bars are those of the Python side here."""
    expected = answer(text)
    page.locator(f".words .wires button >> text=/^{expected['tokens'][-1]}$/").last.wait_for()
    page.locator(".words[data-is-settled]").wait_for()
    assert page.locator(".words textarea").input_value() == text
    assert page.locator(".words .next .name").all_inner_texts()[:15] == expected["words"]
    shares = [float(share.rstrip("%")) for share in page.locator(".words .next .share").all_inner_texts()]
    assert shares[:15] == pytest.approx([100 * chance for chance in expected["probabilities"]], abs=0.06)


def test_the_record_answers_what_the_buttons_ask(visit, address):
    opened = visit(PAGE)
    page = opened.page
    check_bars(page, BEGINNING)
    page.locator(".words .next button").nth(2).click()
    check_bars(page, f"{BEGINNING} {answer(BEGINNING)['words'][2]}")
    page.locator(".examples button").nth(1).click()
    check_bars(page, "She went to the bakery to buy some")
    for label in ("Another way", "Let it choose a word", "Undo", "Write that"):
        page.get_by_role("button", name=label).click()
        page.locator(".words[data-is-settled]").wait_for()
        assert page.locator(".words .error").count() == 0, label
    page.locator(".words textarea").fill("the quick brown fox")
    page.locator(".words .error", has_text="This page answers from a record").wait_for()
    page.locator(".explain summary").first.click()
    lesson = page.get_by_role("link", name="The lesson about it").first.get_attribute("href")
    assert lesson.startswith(f"{address}lessons/")
    assert (page.request.get(lesson)).status == 200
    assert opened.elsewhere(address) == []
    assert not [url for url in opened.requests if "/pyodide/" in url or url.endswith(".zip")]  # before its click
    assert opened.complaints == []


def test_from_a_folder_it_works_too(visit, site):
    opened = visit(PAGE, base=f"file://{site.folder}/")
    check_bars(opened.page, BEGINNING)
    opened.page.get_by_role("button", name="Load Python").click()
    opened.page.get_by_text("Python could not be loaded").wait_for()
    assert opened.complaints == [text for text in opened.complaints if "worker" in text.lower()]


@pytest.mark.skipif(
    os.environ.get("CHAINRULE_BROWSER_LONG") != "1", reason="`make browser-long` runs this: it loads Python"
)
def test_python_in_the_page_answers_to_everything(visit, pyodide, address):
    opened = visit(PAGE)
    check_bars(opened.page, BEGINNING)
    opened.page.get_by_role("button", name="Load Python").click()
    opened.page.get_by_text("Python is here: ask anything.").wait_for(timeout=240_000)
    opened.page.locator(".words textarea").fill("my brother went to the market to buy some")
    check_bars(opened.page, "my brother went to the market to buy some")
    opened.page.locator(".words textarea").fill("the quick brown fox")
    opened.page.locator(".words .error", has_text="and the model has only the 494 words").wait_for()
    assert opened.elsewhere(address) == []
