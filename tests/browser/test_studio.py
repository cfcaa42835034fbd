"""The studio in the browser: what a person draws by mouse, finger or keyboard is read as `chainrule predict` reads it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from chainrule.data import mnist
from chainrule.data.handwriting.traces import Trace, mnist_traces
from chainrule.reading import DigitReader
from chainrule.training import run as runs

from .conftest import run_axe

DIGITS = 100


@pytest.fixture
def page(view: Any) -> Any:
    """The view Draw."""
    return view("draw").page


def strokes_of(trace: Trace) -> list[np.ndarray]:
    """The trace as strokes of a pen: walks along its links, each link once."""
    links = {tuple(sorted(link)) for link in trace.links.tolist()}
    neighbors: dict[int, set[int]] = {}
    for one, other in links:
        neighbors.setdefault(one, set()).add(other)
        neighbors.setdefault(other, set()).add(one)
    strokes = []
    while any(neighbors.values()):
        ends = [point for point, others in neighbors.items() if len(others) % 2]
        walk = [ends[0] if ends else next(point for point, others in neighbors.items() if others)]
        while neighbors[walk[-1]]:
            following = min(neighbors[walk[-1]])
            neighbors[walk[-1]].remove(following)
            neighbors[following].remove(walk[-1])
            walk.append(following)
        strokes.append(trace.points[walk])
    return strokes


def draw(page: Any, strokes: list[np.ndarray]) -> None:
    """Draw with the mouse, the digit in the middle of the canvas, three quarters as large as it."""
    box = page.locator("canvas.pad").bounding_box()
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    for stroke in strokes:
        places = (stroke - (low + high) / 2) * 0.75 / (high - low).max() + 0.5
        chosen = [*places[:-1:3], places[-1]]
        for number, (x, y) in enumerate(chosen):
            page.mouse.move(box["x"] + float(x) * box["width"], box["y"] + float(y) * box["height"])
            if not number:
                page.mouse.down()
        page.mouse.up()


def answer(page: Any) -> dict[str, float]:
    """The probabilities beside the bars, once the newest drawing has been read."""
    page.locator("#view [data-is-settled]").wait_for()
    rows = page.locator(".bars tr").all_inner_texts()
    return {row.split("\t")[0]: float(row.split("\t")[-1].rstrip("%")) / 100 for row in rows}


def test_the_first_digits_of_mnist_are_read_as_predict_reads_them(page, tmp_path):
    reader = DigitReader(runs.shipped())
    labels = mnist().test_labels[:DIGITS]
    right = 0
    for label, trace in zip(labels, mnist_traces(train=False, indices=range(DIGITS)), strict=True):
        draw(page, strokes_of(trace))
        found = answer(page)
        (tmp_path / "drawing.png").write_bytes(
            base64.b64decode(page.locator("canvas.pad").evaluate("canvas => canvas.toDataURL().split(',')[1]"))
        )
        reading = reader.read(tmp_path / "drawing.png")
        for name, probability in zip(reader.names, reading.probabilities, strict=True):
            assert found[name] == pytest.approx(probability, abs=0.00051), (label, name)
        right += reading.digit == label
        page.get_by_role("button", name="Clear").click()
    assert right >= 95


def test_by_keyboard_alone(page):
    page.locator("canvas.pad").focus()
    for key in [*["ArrowUp"] * 9, "Space", *["ArrowDown"] * 18, "Space"]:
        page.keyboard.press(key)
    page.locator("p.spoken", has_text="1, ").wait_for()
    assert answer(page)["1"] > 0.9
    page.keyboard.press("Backspace")
    assert page.locator(".answer").inner_text() == "Nothing yet."


def test_a_stroke_is_read_once_it_has_a_length_and_not_again_when_it_ends(page):
    messages = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda message: messages.append(message)))
    page.reload()
    box = page.locator("canvas.pad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4

    def reads() -> int:
        answer(page)
        return sum(b'"ask":"read"' in message for message in messages)

    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + box["height"] / 2)
    assert reads() == 1
    page.mouse.up()
    assert reads() == 1
    page.mouse.click(x + box["width"] / 4, y)  # a stroke of one point
    assert reads() == 2


def test_the_address_holds_the_drawing(page):
    draw(page, strokes_of(mnist_traces(train=False, indices=[0])[0]))
    found = answer(page)
    assert "#draw?strokes=" in page.url
    other = page.context.new_page()
    other.goto(page.url)
    assert answer(other) == found
    for address in (
        "#draw?strokes=",
        "#draw?strokes=-.-",
        "#draw?strokes=zzzzzz.1",
        "#draw?strokes=%00",
        "#none?strokes=1",
    ):
        other.goto(page.url.partition("#")[0] + address)
        other.reload()
        assert other.locator(".answer").inner_text() == "Nothing yet."


def test_a_sample_a_photo_and_what_is_none(page, tmp_path):
    page.get_by_role("button", name="Try an example").click()
    page.locator(".answer", has_text="7").wait_for()
    (tmp_path / "notes.txt").write_text("no picture")
    page.set_input_files("input[type=file]", tmp_path / "notes.txt")
    page.locator(".answer", has_text="not an image in one of the formats").wait_for()
    assert page.locator(".film li").count() == 0
    (tmp_path / "large.png").write_bytes(bytes(8_000_000))
    page.set_input_files("input[type=file]", tmp_path / "large.png")
    page.locator(".answer", has_text="8.0 MB are too many; 7.5 MB at most").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1400])
def test_it_fits_says_nothing_wrong_and_is_accessible(studio, view, width, theme):
    opened = view("draw", width=width, theme=theme)
    opened.page.get_by_role("button", name="Try an example").click()
    answer(opened.page)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.complaints == []
    assert opened.elsewhere(studio.base) == []
    assert run_axe(opened.page) == []
