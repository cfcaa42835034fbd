"""The playground in the browser: its numbers are those of the same run without a page, and of the script that it gives."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from chainrule.studio.playground.run import PlaygroundRun
from chainrule.studio.playground.setup import read_setup

from .conftest import run_axe


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def settled(page: Any) -> Any:
    page.locator("#view [data-is-settled]").wait_for()
    return page


def click_plane(page: Any, across: float, down: float) -> None:
    """Click at a place in the plane, in shares of its sides, once the page no longer moves it."""
    plane = settled(page).locator("canvas.plane")
    box = None
    while box != (box := plane.bounding_box()):
        page.wait_for_timeout(200)
    plane.click(position={"x": box["width"] * across, "y": box["height"] * down})
    settled(page)


def step_of(page: Any) -> int:
    return int(settled(page).locator(".count .quiet").inner_text().removeprefix("step ").replace(",", ""))


def numbers(page: Any) -> dict[str, list[str]]:
    """The table beside the curves, by its rows."""
    rows = [row.split("\t") for row in settled(page).locator(".numbers tbody tr").all_inner_texts()]
    return {row[0]: row[1:] for row in rows}


def picture(page: Any, canvas: str = "canvas.plane") -> str:
    return settled(page).locator(canvas).first.evaluate("canvas => canvas.toDataURL()")


def expected(state: dict[str, Any], step: int) -> tuple[PlaygroundRun, dict[str, list[str]]]:
    """The run without a page, and its numbers as the page writes them."""
    run = PlaygroundRun(read_setup(state))
    run.train(step)
    result = run.evaluate()
    table = {"Loss": [f"{result.train_loss:.4f}", f"{result.validation_loss:.4f}"]}
    if not np.isnan(result.train_accuracy):
        table["Accuracy"] = [f"{result.train_accuracy:.1%}", f"{result.validation_accuracy:.1%}"]
    return run, table


def test_it_learns_and_its_numbers_are_those_of_the_run_and_of_its_script(view, tmp_path):
    opened = view("playground", "data=moons&noise=0.1&layers=3&activation=gelu")
    page = opened.page
    first = picture(page)
    press(page, "▶ Play")
    page.locator(".count strong", has_text=re.compile(r"Epoch \d\d")).wait_for()
    press(page, "❚❚ Pause")
    step = step_of(page)
    run, table = expected({"data": "moons", "noise": 0.1, "layers": "3", "activation": "gelu"}, step)
    assert numbers(page) == table
    assert picture(page) != first
    # The numbers of a weight, by the pointer and by the keyboard
    neuron = page.locator('[data-column="1"][data-row="1"]')
    neuron.hover()
    weights, bias = run.linears[0].weight.numpy()[1], run.linears[0].bias.numpy()[1]
    signs = ["-" if number < 0 else "+" for number in (weights[1], bias)]
    formula = f"gelu({weights[0]:.2f}·x₁ {signs[0]} {abs(weights[1]):.2f}·x₂ {signs[1]} {abs(bias):.2f})."
    assert page.locator(".formula").inner_text().replace("−", "-") == f"Neuron 2 of layer 1 = {formula}"
    box = neuron.bounding_box()
    page.mouse.move(box["x"] - 3, box["y"] + box["height"] / 2)  # where its wires end
    page.locator(".formula", has_text="Weight from x").wait_for()
    value = float(page.locator(".formula").inner_text().split(": ")[1].replace("−", "-"))
    assert min(abs(value - weight) for weight in weights) < 0.0051
    # The script
    page.locator("details.code summary").click()
    (tmp_path / "play.py").write_text(page.locator("details.code code").inner_text(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "play.py"], capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = [f"{part} {what} {number}" for i, part in enumerate(("training", "validation"))
             for what, number in (("loss", table["Loss"][i]), ("accuracy", table["Accuracy"][i]))]  # fmt: skip
    assert done.stdout.splitlines()[:4] == lines
    # The address shows the same in another page, and the same start gives the same again
    page.wait_for_url(re.compile(f"step={step}"))
    before = picture(page), picture(page, '[data-column="1"] canvas'), numbers(page)
    other = view("playground", page.url.partition("?")[2]).page
    assert step_of(other) == step
    assert (picture(other), picture(other, '[data-column="1"] canvas'), numbers(other)) == before
    press(page, "Start over")
    assert step_of(page) == 0
    assert picture(page) == first
    for number in range(1, 4):
        press(page, "One step")
        page.locator(".count .quiet", has_text=f"step {number}").wait_for()
    assert numbers(page) == expected({"data": "moons", "noise": 0.1, "layers": "3", "activation": "gelu"}, 3)[1]
    assert opened.complaints == []


def test_own_points_and_a_network_by_keyboard_alone(view):
    page = settled(view("playground").page)
    page.locator("canvas.plane").focus()
    page.keyboard.press("Space")  # one more than the circles'
    settled(page)
    page.wait_for_url(re.compile("data=points"))
    assert "201 points" in page.locator("canvas.plane").get_attribute("aria-label")
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    page.locator(".message", has_text="click into the picture to set points: the network needs two at least").wait_for()
    page.locator("canvas.plane").focus()
    for keys in (
        ["1", *["ArrowLeft"] * 5, "Space"],
        ["2", *["ArrowRight"] * 10, "ArrowUp", "Enter"],
        ["ArrowUp", "Space"],
        ["Backspace"],
    ):
        for key in keys:
            page.keyboard.press(key)
    page.get_by_role("button", name="Remove the last layer").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    for name in ("Add a layer", "One neuron more in layer 1"):
        page.get_by_role("button", name=name).focus()
        page.keyboard.press("Space")
    page.locator('.unit[tabindex="0"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")  # the third input
    page.locator('[data-column="0"][data-row="2"][aria-pressed="true"]').wait_for()
    page.keyboard.press("ArrowRight")
    page.locator(".formula", has_text="Neuron 3 of layer 1 = tanh(").wait_for()
    page.get_by_role("button", name="▶ Play").focus()
    page.keyboard.press("Enter")
    page.locator(".count strong", has_text=re.compile(r"Epoch \d\d")).wait_for()
    page.keyboard.press("Enter")
    step = step_of(page)
    page.wait_for_url(re.compile(f"step={step}"))
    query = dict(part.split("=") for part in page.url.partition("?")[2].split("&"))
    assert (query["layers"], query["features"]) == ("5", "x1-x2-x1x1")
    run, _ = expected({name: value for name, value in query.items() if name != "step"}, step)
    assert run.targets.tolist() == [0, 1]
    assert run.points == pytest.approx(np.array([[-0.5, 0], [0.5, 0.1]]), abs=1e-4)
    assert numbers(page)["Loss"][0] == f"{run.evaluate().train_loss:.4f}"


def test_points_by_pointer_and_from_a_csv_file_and_what_is_none(view, tmp_path):
    page = settled(view("playground", "data=points&own=").page)
    click_plane(page, 0.25, 0.25)
    press(page, "Class 2")
    click_plane(page, 0.75, 0.5)
    page.wait_for_url(re.compile("own=.{14}$"))
    run = PlaygroundRun(read_setup({"data": "points", "own": page.url[-14:]}))
    assert run.points == pytest.approx(np.array([[-0.6, 0.6], [0.6, 0]]), abs=0.02)
    assert run.targets.tolist() == [0, 1]
    (tmp_path / "trees.csv").write_text("width,height,kind\n10,200,oak\n20,100,elm\n15,125,oak\n", encoding="utf-8")
    page.set_input_files("input[type=file]", tmp_path / "trees.csv")
    page.locator(".message", has_text="3 points from trees.csv: x₁ is width, x₂ is height; elm is class 1").wait_for()
    settled(page)
    (tmp_path / "two.csv").write_text("0.5,0.5,7\n-0.5,0.5,8\n", encoding="utf-8")
    page.set_input_files("input[type=file]", tmp_path / "two.csv")
    page.locator(".message", has_text="2 points from two.csv: x₁ is column 1").wait_for()
    (tmp_path / "short.csv").write_text("a,b,c\n1,2\n", encoding="utf-8")
    page.set_input_files("input[type=file]", tmp_path / "short.csv")
    page.locator(".message", has_text="short.csv, line 2: has 2 fields, but the first line names 3").wait_for()
    (tmp_path / "large.csv").write_bytes(bytes(1_200_000))
    page.set_input_files("input[type=file]", tmp_path / "large.csv")
    page.locator(".message", has_text="large.csv: 1.2 MB are too many; 1 MB at most").wait_for()
    press(page, "One step")
    assert step_of(page) == 1


def test_it_stops_by_itself_and_says_where_numbers_break(view):
    page = settled(view("playground", "speed=fast").page)
    page.locator("label", has_text="Stop").locator("select").select_option("after this many epochs")
    page.get_by_label("The number to stop at").fill("100")
    page.get_by_label("The number to stop at").press("Tab")
    press(page, "▶ Play")
    page.locator(".message", has_text="Stopped after epoch 100.").wait_for()
    assert step_of(page) == 1000
    press(page, "A learning rate so large that the numbers break")
    settled(page)
    press(page, "▶ Play")
    page.locator(".message", has_text=re.compile(r"In step \d+ the answers? of .*layer.* became infinite")).wait_for()
    step = step_of(page)
    assert f"In step {step + 1} " in page.locator(".message").inner_text()
    assert re.fullmatch(r"\d.*", numbers(page)["Loss"][0])
    press(page, "Start over")
    assert step_of(page) == 0


def test_an_address_that_cannot_be(studio, view):
    page = view("playground").page
    for query, sentence in (
        ("activation=step", "activation is 'step'; choose from tanh"),
        ("layers=9-99999999", "the number of neurons in a layer must be a whole number from 1 to 8, not '9'"),
        ("classes=1000000000", "classes must be a whole number from 2 to 4, not 1000000000"),
        ("data=moons&step=1e9", "step must be a whole number from 0 to 1,000,000, not 1000000000"),
        ("own=%00&data=points", "the points in this address are damaged"),
    ):
        page.goto(f"{studio.base}#playground?{query}")
        page.locator(".message", has_text=sentence).wait_for()
        press(page, "Circles")  # whatever it said, the page still works


@pytest.mark.parametrize("width", [320, 390, 1400])
def test_it_fits_says_nothing_wrong_and_is_accessible(studio, view, width):
    opened = view("playground", "data=spirals&classes=4&layers=8-8-8-8-8-8&step=9", width=width)
    settled(opened.page)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.goto(f"{studio.base}#playground?data=spirals&classes=3&layers=3&step=40&noise=0.3")
    opened.page.get_by_text("step 40", exact=True).wait_for()
    for theme in ("light", "dark"):
        opened.page.emulate_media(color_scheme=theme)
        settled(opened.page)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        assert run_axe(opened.page) == []
    assert opened.complaints == []
    assert opened.elsewhere(studio.base) == []
