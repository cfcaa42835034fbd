"""What holds in every view: its address shows the same in a fresh browser, its program prints the page's numbers, and a
run that cannot be shown is a sentence."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from chainrule.data import mnist
from chainrule.training import experiment
from chainrule.training import run as runs
from chainrule.training.session import train

from .conftest import ROOT, everything

if TYPE_CHECKING:
    from pathlib import Path

FIXTURES = ROOT / "tests" / "fixtures"
RUN = "every-view"
STROKES = "8c.46.7e.5z.64.8r.5h.bb-5p.7a.9k.7b"
READY = {
    "draw": ".draw[data-is-settled] .film canvas",
    "inside": ".inside[data-is-settled] .neuron canvas.top",
    "train": ".train:has(details.code) canvas.digit[width='28']",
    "microscope": ".microscope[data-is-settled] canvas.gradient",
    "playground": ".playground[data-is-settled] details.code summary",
    "words": ".words[data-is-settled] .next button",
    "time": ".time[data-is-settled] canvas.sheet",
}
"""What is there once a view shows all that it has."""
ADDRESSES = {
    "draw": [f"strokes={STROKES}", "sample=4"],
    "inside": [f"run={RUN}&image=8&map=occlusion&of=neuron&neuron=0.17&silent=0.3-0.17"],
    "train": [f"run={RUN}&sample=3&model=cnn&lr=0.3&epochs=9", f"run={RUN}&strokes={STROKES}"],
    "microscope": [f"run={RUN}&image=-1&strokes={STROKES}&label=4&weight=1.weight&at=9%2C405&step=7"],
    "playground": ["data=xor&layers=5-3&activation=sigmoid&features=x1-x2-x1x2&seed=3&start=2&step=90&large=1.3"],
    "words": ["text=we+are+going+to+the&temperature=0.6&seed=4&layer=2&head=2&token=3"],
    "time": [f"run={RUN}&step=13&strokes={STROKES}"],
}


long = pytest.mark.skipif(
    os.environ.get("CHAINRULE_BROWSER_LONG") != "1", reason="`make browser-long`; the views' own tests have most of it"
)
SHORT = ("draw", "playground", "train")
"""Views whose own tests do not compare all of two pages: `make test-browser` does it here, `make browser-long` with all."""
CASES = [
    pytest.param(name, query, marks=() if name in SHORT else long)
    for name, all_of_it in ADDRESSES.items()
    for query in all_of_it
]


@pytest.fixture(scope="module")
def run(studio: Any) -> Any:
    """A small trained network among the studio's runs."""
    made = runs.create(experiment.configure("mlp", mnist(), limit=1000, batch_size=50, epochs=2), studio.runs / RUN)
    train(made, mnist())
    experiment.finish(made, mnist(), 1.0)
    yield made
    shutil.rmtree(made.folder)


def ready(page: Any, name: str) -> Any:
    page.locator(READY[name]).first.wait_for(timeout=20_000)
    return page


def different(one: dict[str, Any], other: dict[str, Any]) -> list[Any]:
    """What differs, without the pixels."""
    assert one.keys() == other.keys()
    pairs = [pair for key in one for pair in itertools.zip_longest(one[key], other[key])]
    return [[str(each)[:60] for each in pair] for pair in pairs if pair[0] != pair[1]]


def draw(page: Any) -> None:
    """A stroke with the mouse, at places between those that an address can name."""
    box = page.locator("canvas.pad").bounding_box()
    for number, (x, y) in enumerate(((0.311, 0.313), (0.503, 0.297), (0.607, 0.499), (0.401, 0.811))):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        if not number:
            page.mouse.down()
    page.mouse.up()


@pytest.mark.parametrize(("name", "query"), CASES)
def test_an_address_shows_the_same_in_a_fresh_browser(view: Any, run: Any, name: str, query: str) -> None:
    page = ready(view(name, query).page, name)
    shown = everything(page)
    assert sum(len(text) for text in shown["text"]) > 100
    if name == "draw":
        draw(page)  # on with the mouse
        page.wait_for_url(re.compile("[-=][^-=&]{12,}$"))
    elif name == "playground":
        page.get_by_role("button", name="One step", exact=True).click()
        page.wait_for_url("**step=91*")
        page.locator('[data-column="2"][data-row="1"]').click()
        page.wait_for_url("**large=2.1*")
    elif name == "train":
        before = page.locator("canvas.digit").evaluate("canvas => canvas.toDataURL()")
        page.get_by_text("Draw one yourself").click()
        draw(page)
        while page.locator("canvas.digit").evaluate("canvas => canvas.toDataURL()") == before:
            page.wait_for_timeout(50)
    elif name == "time":
        page.get_by_role("button", name="Step on").click()
        page.locator(".time[data-step='14']").wait_for()
    elif name == "inside":
        page.locator('[data-key="0.9"]').click()
    elif name == "microscope":
        page.get_by_role("button", name="Step on").click()
    else:
        page.locator(".next button").nth(1).click()
    changed = everything(ready(page, name))
    assert changed != shown
    other = ready(view(name, page.url.partition("?")[2]).page, name)
    assert different(everything(other), changed) == []


# The program below each view


def program(page: Any, name: str, folder: Path) -> list[str]:
    """What the page's program prints, run in a folder."""
    (folder / "program.py").write_text(ready(page, name).locator("details.code code").text_content(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def percentages(page: Any, selector: str) -> list[float]:
    return [float(text.rstrip("%")) / 100 for text in page.locator(selector).all_inner_texts()]


def save(page: Any, folder: Path) -> None:
    """The drawing, as the program reads it."""
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("^Save")).click()
    download.value.save_as(folder / "drawing.png")


@long
def test_the_program_of_draw_reads_the_saved_picture(view: Any, tmp_path: Path) -> None:
    page = ready(view("draw", f"strokes={STROKES}").page, "draw")
    save(page, tmp_path)
    (line,) = program(page, "draw", tmp_path)
    printed = ast.literal_eval(line[line.index("[") : line.index("]") + 1])
    assert percentages(page, ".draw .bars .number")[:10] == pytest.approx(printed[:10], abs=0.00051)
    assert max(printed) > 0.1


@long
def test_the_program_of_inside_prints_its_numbers(view: Any, run: Any, tmp_path: Path) -> None:
    page = ready(view("inside", f"run={RUN}&image=8&neuron=0.17&silent=0.3-0.17").page, "inside")
    printed = dict(re.fullmatch(r"(.*?) ([\[\d].*)", line).groups() for line in program(page, "inside", tmp_path))
    assert percentages(page, ".bars .number") == pytest.approx(json.loads(printed["probabilities"]), abs=0.00051)
    shown = [float(each) / 100 for each in re.findall(r"([\d.]+)%", page.locator(".accuracy").inner_text())]
    assert shown == pytest.approx([float(printed["accuracy"]), float(printed["without"])], abs=0.00005)
    output = float(page.locator(".neuron strong").inner_text().replace("−", "-"))
    assert output == pytest.approx(float(printed["the neuron puts out"]), rel=0.006)


@long
def test_the_program_of_the_microscope_prints_its_numbers(view: Any, run: Any, tmp_path: Path) -> None:
    page = ready(
        view("microscope", f"run={RUN}&image=-1&strokes={STROKES}&weight=3.weight&at=2%2C7&step=7").page, "microscope"
    )
    save(page, tmp_path)
    printed = " ".join(program(page, "microscope", tmp_path))
    for what, name in (("cost", "cost"), ("w", "weight"), ("gradient", "gradient"), ("after", "after one step")):
        assert float(page.locator(f"data[data-what={what}]").first.get_attribute("value")) == float(
            re.search(rf"\b{name} (-?[\d.e-]+)", printed)[1]
        ), what


@long
def test_the_program_of_train_trains_the_same(view: Any, run: Any, tmp_path: Path) -> None:
    page = ready(view("train", f"run={RUN}").page, "train")
    history, result = map(ast.literal_eval, program(page, "train", tmp_path))
    page.get_by_text("The numbers of each epoch").click()
    last = page.locator(".epochs tbody tr").last.inner_text().split("\t")
    names = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
    assert [float(text) for text in last] == [pytest.approx(history[name], rel=1e-5) for name in names]
    assert f"{result['test_accuracy']:.2%} of the test images" in page.locator(".status").inner_text()


@long
def test_the_program_of_the_time_machine_prints_its_numbers(view: Any, run: Any, tmp_path: Path) -> None:
    page = ready(view("time", f"run={RUN}&step=27").page, "time")
    digest, metrics = program(page, "time", tmp_path)
    assert page.locator(".digest").get_attribute("title") == digest
    assert f"{ast.literal_eval(metrics)['validation_accuracy']:.2%}" in page.locator(".figures").inner_text()


# Runs that are not as they were


SAYS = {"inside": ".notice", "microscope": ".answer", "time": ".notice", "train": "[role=alert]", "words": ".error"}
"""Where each view that opens runs says what is wrong."""


@pytest.fixture
def broken(studio: Any, run: Any) -> Any:
    """Copies of the run, each with another fault: their names, and what is said of them."""

    def change(name: str, **settings: Any) -> None:
        file = studio.runs / name / "config.json"
        config = json.loads(file.read_text())
        config["model"].update(settings.pop("model", {}))
        file.write_text(json.dumps({**config, **settings}))

    faults = {
        "every-lost": "there is no run of this name; it may have been deleted",
        "every-foreign": "config.json: unknown model 'my_net'; choose from mlp",
        "every-newer": "config.json: has unknown colors",
        "every-torn": "config.json: is not JSON",
    }
    for name in faults:
        shutil.copytree(run.folder, studio.runs / name)
    shutil.rmtree(studio.runs / "every-lost")
    change("every-foreign", model={"name": "my_net"})
    change("every-newer", colors=3)
    (studio.runs / "every-torn" / "config.json").write_text('{"model": ')
    yield faults
    for name in faults:
        shutil.rmtree(studio.runs / name, ignore_errors=True)


@pytest.mark.parametrize("name", SAYS)
def test_a_run_that_cannot_be_shown_is_a_sentence(view: Any, studio: Any, broken: Any, name: str) -> None:
    opened = view(name)
    page, key = opened.page, "model" if name == "words" else "run"
    for run, sentence in broken.items():
        page.evaluate("hash => { location.hash = hash; }", f"#{name}?{key}={run}")
        page.locator(f"{SAYS[name]}:visible", has_text=sentence).wait_for()
    good = "shipped_words" if name == "words" else RUN
    page.evaluate("hash => { location.hash = hash; }", f"#{name}?{key}={good}")  # and nothing is lost
    page.locator(f".{name}[data-is-settled], .{name} details.code").first.wait_for()
    assert page.locator(f"{SAYS[name]}:visible", has_text=re.compile("run|config")).count() == 0
    assert opened.complaints == []


@pytest.mark.parametrize("name", ["inside", "microscope"])
def test_a_run_that_is_deleted_while_it_is_shown(view: Any, studio: Any, run: Any, name: str) -> None:
    copy = f"every-{name}"
    shutil.copytree(run.folder, studio.runs / copy)
    page = view(name, f"run={copy}").page
    page.locator(f".{name}[data-is-settled]").wait_for()
    shutil.rmtree(studio.runs / copy)
    page.get_by_role("button", name=re.compile("^(Next|Next image)$")).first.click()
    page.locator(f"{SAYS[name]}:visible", has_text="there is no run of this name; it may have been deleted").wait_for()


def test_a_run_of_an_older_version_is_shown(view: Any, studio: Any) -> None:
    """Of the first version: its images have 6×6 pixels and 4 classes."""
    folder = studio.runs / "every-older"
    shutil.copytree(FIXTURES / "0.1.0" / "runs" / "mlp", folder)
    config = json.loads((folder / "config.json").read_text())
    config["data"]["name"] = str(FIXTURES / "0.1.0" / "digits")
    (folder / "config.json").write_text(json.dumps(config))
    older = runs.Run(folder)
    assert older.config["versions"]["chainrule"] == "0.1.0"
    page = view("time", "run=every-older").page
    page.locator(".time[data-is-settled]").wait_for()
    assert "Step 15 of 15" in page.locator("#time-step").inner_text()
    for name, words in (
        ("inside", "Layer 1: 6 neurons"), ("microscope", "The network says"),
        ("train", f"{older.result['test_accuracy']:.2%} of the test images are read right"),
        ("words", "every-older: mlp reads images and predicts no words"),
    ):  # fmt: skip
        key = "model" if name == "words" else "run"
        page.evaluate("hash => { location.hash = hash; }", f"#{name}?{key}=every-older")
        page.locator(f".{name}", has_text=words).wait_for()
    shutil.rmtree(folder)
