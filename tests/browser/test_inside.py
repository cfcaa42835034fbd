"""The view Inside in the browser: its numbers are the library's, by mouse and by keyboard, and its address holds them."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from chainrule import explain
from chainrule.data import mnist
from chainrule.training import run as runs
from chainrule.training.evaluation import evaluate

from .conftest import run_axe

IMAGE, NEURON = 11, 40


@pytest.fixture(scope="module")
def network(studio: Any) -> Any:
    """A network in the studio's folder of runs."""
    folder = studio.runs / "first"
    command = [sys.executable, "-m", "chainrule", "train", "--limit", "1500", "--epochs", "1", "--batch-size", "32"]
    subprocess.run([*command, "--out", str(folder)], check=True, capture_output=True)
    return runs.find(folder).load_network()


@pytest.fixture
def page(network: Any, view: Any) -> Any:
    """The view with that network."""
    return settled(view("inside", f"run=first&image={IMAGE}").page)


def settled(page: Any) -> Any:
    page.locator("#view [data-is-settled]").wait_for()
    return page


def bars(page: Any) -> list[float]:
    return [float(text.rstrip("%")) / 100 for text in page.locator(".bars .number").all_inner_texts()]


def accuracies(page: Any) -> list[float]:
    text = page.locator(".accuracy", has_text="now").inner_text()
    return [float(number) / 100 for number in re.findall(r"([\d.]+)%", text)]


def measured(network: Any, silent: dict[int, list[int]]) -> float:
    silenced = explain.silence(network, silent)
    return evaluate(silenced, runs.models.get("mlp"), *mnist().split().test).accuracy


def pixels(page: Any, selector: str) -> np.ndarray:
    script = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    return np.array(page.locator(selector).first.evaluate(script)).reshape(-1, 4)


def test_its_numbers_are_the_librarys_and_surgery_is_evaluates(page, network):
    image = mnist().test_images[IMAGE] / np.float32(255)
    hidden, scores = explain.activations(network, image[None])
    exponentials = np.exp(scores[0].astype(float) - scores.max())
    np.testing.assert_allclose(bars(page), exponentials / exponentials.sum(), atol=0.00051)
    assert np.array_equal(pixels(page, "canvas.seen")[:, 0], mnist().test_images[IMAGE].ravel())

    page.locator(f'[data-key="0.{NEURON}"]').click()
    page.get_by_role("heading", name=f"Layer 1, neuron {NEURON}").wait_for()
    output = float(page.locator(".neuron strong").inner_text().replace("−", "-"))
    assert output == pytest.approx(hidden[0, NEURON], rel=0.006)
    page.locator(".neuron canvas.top").first.wait_for()
    images = mnist().train_images[:5000]
    best = explain.top_images(network, images, 1)[0].indices[NEURON, 0]
    assert np.array_equal(pixels(page, ".neuron canvas.top")[:, 0], images[best].ravel())

    page.get_by_role("button", name="Silence it").click()
    assert accuracies(page) == pytest.approx([measured(network, {}), measured(network, {0: [NEURON]})], abs=0.00005)
    page.locator('[data-key="0.7"]').click()
    page.get_by_role("button", name="Silence it").click()
    page.locator(".accuracy", has_text="2 silent").wait_for()
    assert accuracies(page)[1] == pytest.approx(measured(network, {0: [7, NEURON]}), abs=0.00005)
    assert "silent=0.40-0.7" in page.url
    page.get_by_role("button", name="Undo").click()
    page.locator(".accuracy", has_text="1 silent").wait_for()
    page.get_by_role("button", name="Let all speak").click()
    assert page.locator(".accuracy").inner_text() == "No neuron is silent."


@pytest.mark.parametrize("name", ["gradient", "occlusion"])
def test_maps_and_the_address(page, network, name):
    page.get_by_label("Which pixels decided?").select_option(name)
    page.locator("p", has_text="Strongest: ").wait_for()
    page.get_by_label("For which class").select_option("3")
    settled(page)
    function = explain.gradient_map if name == "gradient" else explain.occlusion_map
    values = function(network, mnist().test_images[IMAGE] / np.float32(255), 3).ravel()
    strongest = float(re.search(r"Strongest: ([\d.e-]+)\.", page.locator("p", has_text="Strongest: ").inner_text())[1])
    assert strongest == pytest.approx(abs(values).max(), rel=0.006)
    red, blue = pixels(page, "canvas.seen")[:, [0, 2]].T
    largest = np.argsort(-abs(values))[:5]
    assert ((red > blue)[largest] == (values > 0)[largest]).all()

    page.locator(f'[data-key="0.{NEURON}"]').click()
    page.locator(".neuron canvas.top").first.wait_for()
    page.mouse.move(0, 0)
    other = page.context.new_page()
    other.goto(page.url)
    other.locator(".neuron canvas.top").first.wait_for()
    settled(other)
    assert other.locator("#view").inner_text() == page.locator("#view").inner_text()
    for selector in ("canvas.seen", ".neuron canvas.weights", ".neuron canvas.mean"):
        assert np.array_equal(pixels(other, selector), pixels(page, selector))


def test_by_keyboard_alone(page, network):
    page.get_by_label("Test image").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Next
    page.locator(".answer").wait_for()
    assert f"image={IMAGE + 1}" in page.url
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.key") == "0.0":
            break
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "End", "Home", "ArrowRight"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.key") == "0.1"
    page.get_by_role("heading", name="Layer 1, neuron 1", exact=True).wait_for()
    page.keyboard.press("Enter")
    assert "neuron=0.1" in page.url
    page.keyboard.press("Delete")
    assert accuracies(page)[1] == pytest.approx(measured(network, {0: [1]}), abs=0.00005)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").endswith(", silent")
    page.keyboard.press("Delete")
    page.locator(".accuracy", has_text="No neuron").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.key") == "1.0"


def test_a_drawing_is_looked_into(page):
    page.get_by_role("button", name="Draw a digit").click()
    assert page.locator(".answer").inner_text() == "Draw a digit."
    assert not page.locator("canvas.seen").is_visible()  # the test image that was there before
    page.locator("canvas.pad").focus()
    for key in [*["ArrowUp"] * 9, "Space", *["ArrowDown"] * 18, "Space"]:
        page.keyboard.press(key)
    page.locator(".answer", has_text="%").wait_for()
    assert "strokes=" in page.url
    assert pixels(page, "canvas.seen")[:, 0].reshape(28, 28)[14].max() == 255
    page.get_by_role("button", name="Test images").click()
    page.locator(".answer", has_text="Right.").or_(page.locator(".answer", has_text="It is")).wait_for()


def test_attention_and_what_cannot_be_shown(view, page):
    words = view("inside", "run=shipped_words&text=the+bank&token=1").page
    words.locator(".tokens button").first.wait_for()
    assert sum(bars(words)) == pytest.approx(1, abs=0.003)
    assert len(bars(words)) == 2
    lost = view("inside", "run=nothing").page
    lost.locator(".notice", has_text="there is no run of this name; it may have been deleted").wait_for()
    lost.get_by_label("Network").select_option("first")
    assert len(bars(settled(lost))) == 10
    for query in ("run=first&neuron=9.9", "run=first&neuron=x", "run=first&image=-3", "run=first&image=1e99"):
        forged = settled(view("inside", query).page)
        assert forged.locator(".answer", has_text="%").count() == 1
    forged = view("inside", "run=first&silent=0.999").page
    forged.locator(".notice", has_text="a neuron of layer 0 has a number from 0 to 127").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_says_nothing_wrong_and_is_accessible(studio, network, view, theme):
    for query in (f"run=first&map=gradient&neuron=0.{NEURON}&silent=0.2", "run=shipped_words"):
        opened = view("inside", query, theme=theme)
        opened.page.locator(".neuron canvas.top, .tokens button").first.wait_for()
        for width in (320, 390, 1400) if "map" in query else (390,):
            opened.page.set_viewport_size({"width": width, "height": 900})
            assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
            assert run_axe(opened.page) == []
        assert opened.complaints == []
        assert opened.elsewhere(studio.base) == []
