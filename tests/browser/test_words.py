"""The view Next word in the browser: the numbers are the model's own; by mouse, by keyboard, and by its address."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule.explain import attention_patterns
from chainrule.text import Sampler, load_tokenizer
from chainrule.training import run as runs

from .conftest import run_axe, tab_to

TEXT = "She went to the bakery to buy some"


@pytest.fixture(scope="module")
def model() -> Any:
    return runs.find("shipped_words").load_network()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(runs.SHIPPED_WORDS / "tokenizer.json")


def settled(page: Any) -> Any:
    page.locator(".words[data-is-settled]").wait_for()
    return page


def bars(page: Any) -> dict[str, float]:
    """The words beside the bars and their probabilities, "others" last."""
    settled(page)
    names = page.locator(".next .name").all_inner_texts()
    shares = page.locator(".next .share").all_inner_texts()
    widths = page.locator(".next rect").evaluate_all("all => all.map(bar => Number(bar.getAttribute('width')))")
    values = [float(share.rstrip("%")) / 100 for share in shares]
    np.testing.assert_allclose(np.divide(widths, 100), values, atol=0.00051)
    return dict(zip(names, values, strict=True))


def test_the_bars_and_the_wires_are_the_models(view, model, tokenizer):
    page = view("words", "text=She+went+to+the+bakery+to+buy+some&temperature=0.7").page
    tokens = tokenizer.encode(TEXT).astype(np.int64)
    with chainrule.no_grad():
        logits = model(chainrule.from_numpy(tokens[None]))[:, -1].numpy()
    layers = attention_patterns(model, tokens)
    chances = Sampler(0.7).probabilities(logits)[0]
    found = bars(page)
    assert found.pop("the 479 others") == pytest.approx(1 - np.sort(chances)[-15:].sum(), abs=0.00051)
    assert list(found) == [tokenizer.words[i] for i in np.argsort(-chances)[:15]]
    for word, value in found.items():
        assert value == pytest.approx(chances[tokenizer.words.index(word)], abs=0.00051)
    for layer, head, token in ((1, 1, 7), (2, 1, 4), (1, 2, 5)):
        page.locator("[name=layer]").select_option(str(layer))
        page.locator("[name=head]").select_option(str(head))
        page.locator(".wires button").nth(token).focus()  # the numbers are there on focus
        shares = page.locator(".wires ol").last.locator(".share").all_inner_texts()
        weights = layers[layer - 1][head - 1, token]
        assert shares[token + 1 :] == ["–"] * (7 - token)
        np.testing.assert_allclose(
            [float(share.rstrip("%")) / 100 for share in shares[: token + 1]], weights[: token + 1], atol=0.00051
        )
        assert page.locator(".wires line.chosen").count() == token + 1
    assert "layer=1" not in page.url
    assert "head=2" in page.url
    assert "token=6" in page.url


def test_by_keyboard_alone(view):
    page = settled(view("words").page)
    text = page.locator("textarea")
    page.keyboard.press("Tab")
    tab_to(page, "document.activeElement.matches('textarea')")
    page.keyboard.press("Control+a")
    page.keyboard.type("the children")
    page.locator("p.spoken", has_text="Next: ").wait_for()
    settled(page)
    goes_on = page.locator(".continuation span").inner_text().split()
    page.keyboard.press("Enter")  # it chooses
    assert text.input_value() == f"the children {goes_on[0]}"
    before = settled(page).locator(".next .name").all_inner_texts()
    tab_to(page, "document.activeElement.matches('.next button')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")  # the second bar
    assert text.input_value() == f"the children {goes_on[0]} {before[1]}"
    settled(page)
    tab_to(page, "document.activeElement.matches('.wires button')")
    page.keyboard.press("ArrowUp")
    assert page.locator(".wires button[aria-pressed=true]").inner_text() == goes_on[0]
    page.locator("button", has_text="Undo").focus()
    page.keyboard.press("Enter")
    assert text.input_value() == f"the children {goes_on[0]}"


def test_drawing_choosing_and_the_address(view):
    page = settled(view("words", "seed=3").page)
    page.get_by_role("button", name="Another way").click()
    settled(page)
    found, goes_on = bars(page), page.locator(".continuation").inner_text()
    assert page.url.endswith("#words?seed=4")
    other = page.context.new_page()  # the same address, the same text
    other.goto(page.url)
    assert bars(other) == found
    assert other.locator(".continuation").inner_text() == goes_on
    other.close()
    page.locator(".next button").nth(1).click()
    assert page.locator("textarea").input_value() == f"I am going to the bank to deposit some {list(found)[1]}"
    settled(page)
    page.locator("input[type=range]").fill("0")
    assert next(iter(bars(page).values())) == 1
    page.get_by_role("button", name="Write that").click()
    assert page.locator("textarea").input_value().endswith(".\n")


def test_unknown_words_another_model_and_wrong_addresses(view, studio):
    page = settled(view("words", "text=the+quark&layer=99&head=-3&token=77&temperature=x&seed=1.5&model=").page)
    page.locator(".error", has_text="seed must be an integer").wait_for()
    page.locator("input[type=number]").fill("2")
    page.keyboard.press("Tab")
    page.locator(".error", has_text="the text has 'quark', and the model has only the 494 words").wait_for()
    page.locator("textarea").fill("<b>the</b>")
    page.locator(".error", has_text="'<', 'b', '>', '/'").wait_for()
    page.locator("textarea").fill("the river")
    bars(page)
    assert page.locator(".wires button[aria-pressed=true]").inner_text() == "river"
    page.locator("[name=model]").select_option("lesson")
    page.get_by_text("This model has no attention").wait_for()
    assert next(iter(bars(page).values())) > 0
    assert page.locator(".wires").count() == 0
    shutil.copytree(runs.SHIPPED_WORDS, studio.runs / "mine")
    page.reload()
    settled(page).locator("[name=model]").select_option("mine")
    bars(page)
    assert page.locator("textarea").input_value() == ""
    assert page.locator(".wires button").all_inner_texts() == ["↵"]
    shutil.rmtree(studio.runs / "mine")  # other tests have this studio, too
    page.locator("textarea").fill("we")
    page.locator(".error", has_text="there is no run of this name").wait_for()
    page.goto(page.url.partition("#")[0] + "#words?model=none")
    page.locator(".error", has_text="there is no run of this name").wait_for()


def test_the_code_runs_and_prints_the_same(view, tmp_path):
    page = settled(view("words", "text=She+went+to+the&seed=7&temperature=0.9").page)
    page.get_by_text("The same in Python").click()
    (tmp_path / "code.py").write_text(page.locator(".code code").inner_text())
    done = subprocess.run([sys.executable, tmp_path / "code.py"], capture_output=True, text=True, check=True)
    *rows, last = done.stdout.splitlines()
    found = bars(page)
    assert [row.split()[1].strip("'") for row in rows] == list(found)[:15]
    assert [float(row.split("%")[0]) / 100 for row in rows] == pytest.approx(list(found.values())[:15], abs=0.00051)
    goes_on = page.locator(".continuation span").inner_text().replace("↵", "").strip()
    assert f"she went to the {goes_on}" in last


def test_it_fits_says_nothing_wrong_and_is_accessible(view, studio):
    opened = view("words")
    page = settled(opened.page)
    for width in (320, 390, 1400):
        for theme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=theme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert run_axe(page) == []
    assert opened.complaints == []
    assert opened.elsewhere(studio.base) == []
