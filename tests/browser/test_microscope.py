"""The Microscope in the browser: every number on the page is what plain NumPy finds from the run's files."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.explain import reference
from tests.explain.saved import plain_layers, read_weights, save_run

from chainrule.data import mnist

from .conftest import run_axe

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = os.environ.get("CHAINRULE_BROWSER_LONG") == "1"
WEIGHTS = {name: 50 if LONG else few for name, few in {"mlp": 12, "sigmoid_mlp": 12, "cnn": 4}.items()}
MODELS = ["mlp", "sigmoid_mlp", "cnn"]
READ = """() => {
    const number = (element) => [element.dataset.what, Number(element.value)];
    const rows = (table) => [...table.tBodies[0].rows].map((row) =>
        [row.cells[0].textContent.trim(), ...[...row.querySelectorAll("data")].map((each) => Number(each.value))]);
    return {
        numbers: Object.fromEntries([...document.querySelectorAll("#view data")]
            .filter((each) => !each.closest("table, li")).map(number)),
        factors: [...document.querySelectorAll("#view li data")].map(number),
        sums: Object.fromEntries([...document.querySelectorAll("#view [data-sum]")].map((each) => [each.dataset.sum, rows(each.querySelector("table"))])),
        titles: [...document.querySelectorAll("#view h2")].map((each) => each.textContent.trim()),
    };
}"""


@pytest.fixture(scope="module")
def saved(studio: Any) -> dict[str, dict[str, np.ndarray]]:
    """The weights in the files of three runs, whose names are those of their models."""
    for name in MODELS:
        if not (studio.runs / name).exists():
            save_run(studio.runs / name, name)
    return {name: read_weights(studio.runs / name / "model.safetensors") for name in MODELS}


def go(page: Any, run: str, weight: str, at: list[int], more: str = "") -> None:
    """Choose a weight by the address, and wait for its numbers."""
    chosen = ",".join(map(str, at))
    page.evaluate("hash => { location.hash = hash; }", f"#microscope?run={run}&weight={weight}&at={chosen}{more}")
    page.locator(f'#view [data-weight="{weight},{chosen}"]').wait_for()
    page.locator("#view > [data-is-settled]").wait_for()


def close(actual: Any, expected: Any, what: str) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-12, err_msg=what)


def position_of(text: str) -> tuple[int, ...]:
    """The index that a row's name stands for: "neuron 5", "output “3”", "filter 4, row 5, column 7"."""
    return tuple(map(int, re.findall(r"\d+", text)))


class Plain:
    """One image's way through a run's network, in plain NumPy."""

    def __init__(self, name: str, weights: dict[str, np.ndarray], image: int) -> None:
        self.name, self.weights, self.layers = name, weights, plain_layers(name, weights)
        self.loss = reference.squared_error if name == "sigmoid_mlp" else reference.cross_entropy
        self.label = int(mnist().test_labels[image])
        self.values = reference.forward(self.layers, mnist().test_images[image] / 255)
        self.cost, gradient = self.loss(self.values[-1], self.label)
        self.slopes, self.gradients = reference.backward(self.layers, self.values, gradient)

    def cost_with(self, position: int, key: int, at: tuple[int, ...], change: float) -> float:
        """The cost after a change of one weight."""
        changed = list(self.layers[position])
        changed[key] = changed[key].copy()
        changed[key][at] += change
        layers = [tuple(changed), *self.layers[position + 1 :]]
        return float(self.loss(reference.forward(layers, self.values[position])[-1], self.label)[0])

    def step(self, weight: float, gradient: float) -> float:
        """The weight after the first step of the model's optimizer."""
        if self.name == "sigmoid_mlp":
            return weight - 3.0 * gradient
        rate, decay = {"mlp": (0.02, 0.01), "cnn": (0.002, 0.0)}[self.name]
        return weight * (1 - rate * decay) - rate * gradient / (abs(gradient) + 1e-8)


def check(page: Any, plain: Plain, weight: str, at: tuple[int, ...]) -> None:
    """Compare all numbers of the page with the plain ones."""
    seen = page.evaluate(READ)
    numbers, sums = seen["numbers"], seen["sums"]
    position, key = int(weight.partition(".")[0]), 2 if weight.endswith("bias") else 1
    delta, gradient = plain.slopes[position + 1], plain.gradients[position][key - 1][at]
    value = plain.layers[position][key][at]
    expected = {
        "cost": plain.cost, "w": value, "slope": gradient, "gradient": gradient, "before": value,
        "above": plain.cost_with(position, key, at, numbers["h"]),
        "below": plain.cost_with(position, key, at, -numbers["h"]),
        "after": plain.step(value, gradient),
    }  # fmt: skip
    for what, number in expected.items():
        close(numbers[what], number, what)
    np.testing.assert_allclose(numbers["slope-measured"], gradient, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(numbers["off"], numbers["slope-measured"] - gradient, rtol=1e-3, atol=1e-12)
    # the terms of the gradient
    image = plain.values[position]
    if delta.ndim == 1:
        close(numbers["δ"], delta[at[0]], "δ")
        close(numbers["a"], 1 if key == 2 else image[at[1]], "a")
        unit: tuple[int, ...] = (at[0],)
    else:
        rows = {position_of(name): found for name, *found in sums["slope"]}
        for (y, x), (d, a, term) in rows.items():
            row, column = (y + at[2] - 2, x + at[3] - 2) if key == 1 else (0, 0)
            close(d, delta[at[0], y, x], "δ")
            close(a, 1 if key == 2 else image[at[1], row, column], "a")
            close(term, d * a, "term")
        close(sum(term for *_, term in rows.values()), gradient, "the terms' sum")
        unit = position_of(seen["titles"][3].partition(" of layer")[0]) + position_of(
            seen["titles"][3].partition(", at")[2]
        )
    # the δ of one of them
    close(numbers["z"], plain.values[position + 1][unit], "z")
    close([numbers["delta"], numbers["delta-sum"]], [delta[unit]] * 2, "delta")
    for what, number in seen["factors"]:
        if what == "input":
            close(number, plain.values[position + 1][unit], "the activation's input")
    if "prediction" in numbers:
        output = plain.values[-1]
        shown = output if plain.name == "sigmoid_mlp" else np.exp(output) / np.exp(output).sum()
        close(numbers["prediction"], shown[unit], "p")
        close(numbers["target"], float(unit == (plain.label,)), "y")
    elif "arriving" in numbers:
        following = next(i for i in range(position + 1, len(plain.layers)) if plain.layers[i][0] in ("linear", "conv"))
        terms = []
        for name, w, d, term in sums["blame"]:
            to = position_of(name)
            close(d, plain.slopes[following + 1][to], "the next δ")
            if len(to) == 1 and len(unit) == 1:
                close(w, plain.layers[following][1][to[0], unit[0]], "the weight to it")
            close(term, w * d, "term")
            terms.append(term)
        close(sum(terms), numbers["arriving"], "what arrives")
        close(numbers["slopes"] * numbers["arriving"], delta[unit], "slope · arriving")
    else:
        assert delta[unit] == 0


@pytest.mark.parametrize("name", MODELS)
def test_every_number_of_random_weights_is_found_again(
    view: Callable[..., Any], saved: dict[str, dict[str, np.ndarray]], name: str
) -> None:
    page = view("microscope", f"run={name}").page
    random = np.random.default_rng(len(name))
    names, image = list(saved[name]), 3
    plain = Plain(name, saved[name], image)
    for number in range(WEIGHTS[name]):
        weight = names[number % len(names)]
        at = [int(random.integers(size)) for size in saved[name][weight].shape]
        go(page, name, weight, at, f"&image={image}")
        page.evaluate(
            "[...document.querySelectorAll('#view button')].filter((each) => /^All .* terms$/.test(each.textContent))"
            ".forEach((each) => each.click())"
        )
        check(page, plain, weight, tuple(at))


def state(page: Any) -> dict[str, str]:
    """The state in the address."""
    return dict(part.split("=") for part in page.url.partition("?")[2].replace("%2C", ",").split("&"))


def settle(page: Any) -> None:
    page.locator("#view > [data-is-settled]").wait_for()


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_by_keyboard_alone(view: Callable[..., Any], saved: dict[str, dict[str, np.ndarray]]) -> None:
    page = view("microscope", "run=mlp&image=3&weight=1.weight&at=9,405").page
    page.locator('#view [data-weight="1.weight,9,405"]').wait_for()
    page.locator("#skip").focus()
    for _ in range(60):  # to the picture of the weights
        if page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''").startswith(
            "The weights of neuron 9"
        ):
            break
        press(page, "Tab")
    press(page, "ArrowRight", "ArrowRight", "ArrowDown")
    page.locator('#view [data-weight="1.weight,9,435"]').wait_for()  # the focus has stayed
    settle(page)
    assert state(page)["at"] == "9,435"
    check(page, Plain("mlp", saved["mlp"], 3), "1.weight", (9, 435))
    press(page, "Shift+Tab", "Enter", "Tab", *["ArrowRight"] * 5)  # to the bias and away from it
    page.locator('#view [data-weight="1.weight,9,5"]').wait_for()
    for _ in range(60):  # to the δ of its slope
        press(page, "Tab")
        if page.evaluate("document.activeElement.className") == "factor":
            break
    press(page, "Enter")
    settle(page)
    assert (state(page)["layer"], state(page)["unit"]) == ("1", "9")
    assert "The blame δ of neuron 9 of layer 1" in page.locator("#blame-title").inner_text()
    page.get_by_role("button", name="Step on").focus()
    press(page, "Enter", "ArrowRight", "Tab", "Tab")  # "From the start", then the operation itself
    assert page.evaluate("document.activeElement.textContent").startswith("3 relu")
    press(page, "ArrowRight", "ArrowLeft")
    page.locator(".graph strong", has_text="Forward, 3 of 5: relu").wait_for()
    assert state(page)["step"] == "2"
    press(page, "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight")
    page.locator(".graph strong", has_text="Backward, 4 of 5: linear").wait_for()
    settle(page)
    plain = Plain("mlp", saved["mlp"], 3)
    numbers = page.evaluate(READ)["numbers"]
    for what, values in (("value", plain.values[4]), ("gradient", plain.slopes[4])):
        close([numbers[f"{what}-low"], numbers[f"{what}-high"]], [values.min(), values.max()], what)
    page.locator("canvas.gradient").wait_for()


def test_factors_lead_to_where_they_come_from_and_back(view: Callable[..., Any], saved: Any) -> None:
    page = view("microscope", "run=cnn&image=3&weight=1.weight&at=4,0,1,3").page
    page.locator('#view [data-weight="1.weight,4,0,1,3"]').wait_for()
    settle(page)
    row = page.locator("[data-sum=blame] tbody tr").first
    to = position_of(row.locator("th").inner_text())
    row.locator("button").nth(1).click()  # the δ of the next layer
    page.locator("#blame-title", has_text=f"filter {to[0]} of layer 4, at row {to[1]}, column {to[2]}").wait_for()
    assert page.locator("#slope-title").inner_text().startswith("④")
    page.locator("[data-sum=blame] tbody tr").first.locator("button").first.click()  # a weight of the last layer
    page.locator("#slope-title", has_text="②").wait_for()
    settle(page)
    assert state(page)["weight"] == "8.weight"
    page.locator("#slope-title ~ .equation button").nth(1).click()  # what comes along it
    page.locator("#blame-title", has_text="of layer 4, at row").wait_for()
    for weight in ("8.weight", "1.weight", "1.weight"):
        page.get_by_role("button", name="Back to where I was").click()
        settle(page)
        page.locator(f'#view [data-weight^="{weight},"]').wait_for()
    assert state(page) == {"run": "cnn", "image": "3", "weight": "1.weight", "at": "4,0,1,3"}
    box = page.locator("canvas.cells").nth(2).bounding_box()  # the places: 28 by 28
    page.locator("canvas.cells").nth(2).click(position={"x": box["width"] * 10.5 / 28, "y": box["height"] * 6.5 / 28})
    page.locator("#blame-title", has_text="filter 4 of layer 1, at row 6, column 10").wait_for()


def test_the_address_shows_the_same_in_a_fresh_browser(view: Callable[..., Any], saved: Any) -> None:
    page = view("microscope", "run=sigmoid_mlp&image=8&label=2&weight=3.weight&at=2,11&layer=1&unit=11&step=12").page
    page.locator("canvas.gradient").wait_for()
    other = view("microscope", page.url.partition("?")[2]).page
    other.locator("canvas.gradient").wait_for()
    script = "[document.querySelector('#view').innerText, [...document.querySelectorAll('canvas')].map((c) => c.toDataURL())]"
    assert other.evaluate(script) == page.evaluate(script)
    assert "The network says" in page.locator(".answer").inner_text()


def test_a_drawing_is_looked_at(view: Callable[..., Any]) -> None:
    page = view("microscope", "run=mlp&image=-1").page
    page.locator(".answer", has_text="nothing is drawn yet").wait_for()
    box = page.locator("canvas.pad").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    for share in (0.3, 0.5, 0.7, 0.8):
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + share * box["height"])
    page.mouse.up()
    page.locator(".answer", has_text="suppose that is right").wait_for()
    assert state(page)["strokes"].count(".") > 5
    assert "drawing.png" in page.locator("pre code").text_content()


def test_what_cannot_be_shown_gets_a_sentence(view: Callable[..., Any], studio: Any, saved: Any) -> None:
    page = view("microscope", "run=nobody").page
    page.locator(".answer", has_text="there is no run of this name").wait_for()
    for query, words in (
        ("run=mlp&image=99999", "there is no image 99,999: they are numbered from 0 to 9,999"),
        ("run=mlp&weight=1.weight&at=5", "1.weight has shape (128, 784), and no index (5,)"),
        ("run=mlp&weight=1.weight&at=a,b", "an index is a list of integers"),
        ("run=mlp&label=11", "there is no class 11"),
        ("run=untrained/gpt", "there is no image model of this name; choose from mlp,"),
    ):
        page.evaluate("hash => { location.hash = hash; }", f"#microscope?{query}")
        page.locator(".answer", has_text=words).wait_for()
        assert page.locator("#view data").count() == 0  # no numbers of something else
    page.get_by_label("Network").select_option("cnn")  # and one gets out of it
    page.locator(".answer", has_text="The network says").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_says_nothing_wrong_and_is_accessible(
    studio: Any, view: Callable[..., Any], saved: Any, theme: str
) -> None:
    opened = view("microscope", "run=cnn&image=3&weight=1.weight&at=4,0,1,3&step=20", theme=theme)
    page = opened.page
    page.locator("canvas.gradient").wait_for()
    for width in (320, 390, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if LONG or width == {"light": 1400, "dark": 390}[theme]:
            assert run_axe(page) == []
    assert opened.complaints == []
    assert opened.elsewhere(studio.base) == []
