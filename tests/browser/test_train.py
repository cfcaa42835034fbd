"""The view Train in the browser: a training is begun, steered and watched; what goes wrong is a sentence on the page."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chainrule.data import mnist
from chainrule.files import folder_lock
from chainrule.training import checkpoint, experiment
from chainrule.training import run as runs
from chainrule.training.session import train

from .conftest import run_axe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = "epochs=2&limit=2000&batch_size=50&schedule=constant"  # 40 steps an epoch
SECONDS = "epochs=8&limit=50000&batch_size=10&schedule=constant"  # time enough to press Pause
LONG = "epochs=900&limit=2000&batch_size=50&schedule=constant"


def press(page: Any, name: str) -> None:
    """Press a button, as the keyboard does."""
    page.get_by_role("button", name=name, exact=True, disabled=False).focus()
    page.keyboard.press("Enter")


def wait_for(page: Any, state: str) -> None:
    page.locator(f".view.train[data-state={state}]").wait_for(timeout=240_000)  # also on a machine that does much else


@pytest.fixture(autouse=True)
def nothing_trains(studio: Any) -> Iterator[None]:
    """What trains ends with the test's pages, not in the next test's: that would show it in the place of its own."""
    yield
    for folder in studio.runs.iterdir() if studio.runs.exists() else ():
        for _ in range(600):
            with folder_lock(folder) as is_free:
                if is_free:
                    break
            time.sleep(0.1)


def wait_for_step(page: Any, step: int) -> None:
    for _ in range(600):
        if int(page.locator(".view.train").get_attribute("data-step") or 0) >= step:
            return
        page.wait_for_timeout(50)
    raise AssertionError(page.locator(".status").inner_text())


def run_of(page: Any, folder: Path) -> runs.Run:
    return runs.Run(folder / page.url.rpartition("run=")[2].partition("&")[0])


def epochs_of(page: Any) -> list[list[float]]:
    """The numbers of each epoch, off the page."""
    page.get_by_text("The numbers of each epoch").click()
    page.locator(".epochs td").first.wait_for()
    rows = [row.split("\t") for row in page.locator(".epochs tbody tr").all_inner_texts()]
    return [[float(cell) for cell in row] for row in rows]


def test_start_pause_step_and_another_rate_by_keyboard_alone(view, studio):
    opened = view("train", SECONDS)
    page = opened.page
    press(page, "Start")
    wait_for_step(page, 2)
    press(page, "Pause")
    wait_for(page, "paused")
    before = int(page.locator(".view.train").get_attribute("data-step"))
    press(page, "One step")
    page.locator(f".view.train[data-state=paused][data-step='{before + 1}']").wait_for()
    assert page.locator(".status").inner_text() == f"Paused after step {before + 1}."
    bars = [
        float(text.rstrip("%"))
        for text in page.locator("section[aria-labelledby=digit-title] .number").all_inner_texts()
    ]
    assert sum(bars) == pytest.approx(100, abs=0.6)

    # The thermometer shows the gradient of that very step
    run = run_of(page, studio.runs)
    fresh = runs.create(run.config, studio.runs.parent / f"fresh-{before}")
    network = train(fresh, mnist(), until=before + 1).network
    shown = page.locator("section[aria-labelledby=heat-title] .number").all_inner_texts()
    for text, layer in zip(shown, (network[1], network[3]), strict=True):
        gradient = np.concatenate([p.grad.numpy().ravel() for p in layer.parameters()]).astype(np.float64)
        assert float(text) == pytest.approx(np.sqrt(np.square(gradient).mean()), rel=0.006)  # three digits

    page.locator(".rate input").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("0.003")
    page.keyboard.press("Enter")
    page.get_by_text(f"From step {before + 2}: 0.003 instead of 0.02.").wait_for()
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width in (320, 390, 1400):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(100)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert run_axe(page) == []
    press(page, "Go on")
    wait_for(page, "finished")

    run = run_of(page, studio.runs)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    keys = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
    assert epochs_of(page) == [[pytest.approx(line[key], rel=1e-5) for key in keys] for line in lines]
    label = page.locator("canvas.loss").get_attribute("aria-label")
    assert f"validation: {lines[-1]['validation_loss']:.3g}" in label
    assert f"{run.result['test_accuracy']:.2%} of the test images" in page.locator(".status").inner_text()
    assert opened.complaints == []
    assert opened.elsewhere(studio.base) == []

    other = view("train", page.url.partition("?")[2]).page
    wait_for(other, "finished")
    assert other.locator(".status").inner_text() == page.locator(".status").inner_text()
    assert epochs_of(other) == [[pytest.approx(line[key], rel=1e-5) for key in keys] for line in lines]


def test_nan_names_the_step_and_the_layer_and_there_is_a_way_back(view, studio):
    page = view("train", f"{SMALL}&optimizer=sgd&lr=1e8").page
    press(page, "Start")
    wait_for(page, "diverged")
    text = page.locator(".rescue").inner_text()
    assert "layer" in text
    step = int(text.partition("In step ")[2].split(" ")[0])
    rate = int(text.partition("Go back to step ")[2].split(",")[0])
    assert step - rate in (1, 2)
    assert run_axe(page) == []
    button = page.get_by_role("button", name="Start over with rate")
    assert button.inner_text() == "Start over with rate 10000000"
    before = run_of(page, studio.runs)
    page.get_by_role("button", name="Go back to step").click()
    for _ in range(1200):
        changed = runs.Run(before.folder)
        if changed.changes:
            break
        page.wait_for_timeout(50)
    assert changed.changes[0]["settings"] == {"lr": [1e8, 1e7]}


def test_what_is_not_there_and_what_is_refused(view, studio):
    page = view("train", "run=gone").page
    page.get_by_role("alert").get_by_text("there is no run of this name; it may have been deleted").wait_for()
    page = view("train", "limit=70000&optimizer=sgd").page
    press(page, "Start")
    page.get_by_role("alert").get_by_text("the limit is 70,000, but mnist has 50,000 training images").wait_for()
    page = view("train", LONG).page
    press(page, "Start")
    wait_for(page, "running")  # until then, the run before may be shown
    wait_for_step(page, 2)
    shutil.rmtree(run_of(page, studio.runs).folder, ignore_errors=True)
    page.locator(".status", has_text="its folder was deleted while it trained").wait_for()


def test_a_studio_that_is_killed_loses_nothing(chromium, visit, tmp_path):
    command = [sys.executable, "-u", "-m", "chainrule", "studio", "--no-browser", "--runs", str(tmp_path / "runs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        page = visit("", base=address).page
        page.goto(f"{address.partition('?')[0]}#train?{LONG}")
        press(page, "Start")
        wait_for_step(page, 45)
        process.kill()
    page.get_by_text("The studio has ended, or cannot be reached.").wait_for()
    (folder,) = (tmp_path / "runs").iterdir()
    run = runs.Run(folder)
    is_free = False
    while not is_free:  # until its training has noticed, and has saved
        time.sleep(0.1)
        with folder_lock(folder) as is_free:
            pass
    progress = checkpoint.load(run.checkpoint_file)["progress"]
    step = progress["epoch"] * 40 + progress["step"] + 3
    assert step > 40
    plain = runs.create(run.config, tmp_path / "plain")
    for each in (run, plain):
        train(each, mnist(), until=step)
    one, other = (checkpoint.load(each.checkpoint_file)["network"] for each in (run, plain))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_the_settings_stand_in_the_address(view):
    page = view("train", "model=cnn&lr=0.5&sample=3").page
    assert page.locator("[name=model]").input_value() == "cnn"
    assert page.locator("[name=lr]").input_value() == "0.5"
    page.locator("[name=data]").select_option("everyday")
    assert page.locator("[name=model]").input_value() == "gpt"
    page.locator("[name=epochs]").fill("4")
    page.locator("[name=epochs]").press("Enter")
    query = page.url.partition("?")[2]
    found = dict(pair.split("=") for pair in query.split("&"))
    found.pop("run", None)  # that of a training before, which is still shown
    assert found == {
        "data": "everyday", "model": "gpt", "lr": "0.5", "epochs": "4", "sample": "3",
    }  # fmt: skip
    assert experiment.SCHEDULES[0] in page.locator("[name=schedule]").inner_text()
