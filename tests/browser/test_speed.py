"""How fast the studio is, and that it does not grow: on a machine that does nothing else, by `make browser-long`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    os.environ.get("CHAINRULE_BROWSER_LONG") != "1", reason="`make browser-long` measures on a quiet machine"
)
STROKES = pytest.mark.parametrize(("moves", "pause"), [(1, 0.0), (30, 0.01)], ids=["at once", "by hand"])
"""The moves of a stroke, and the pauses between them, in seconds: a mouse tells of a hundred moves a second."""
MINUTES = float(os.environ.get("CHAINRULE_BROWSER_MINUTES", "10"))
"""How long a training is watched."""
WATCH = """canvas => {
    const view = canvas.closest(".view");
    const isSettled = () => view.hasAttribute("data-is-settled");
    let lifted = 0;
    window.times = [];
    const note = (time) => { window.times.push(time); lifted = 0; };
    canvas.addEventListener("pointerup", (event) => {
        if (isSettled()) note(0);
        else lifted = event.timeStamp;
    });
    new MutationObserver(() => {
        if (lifted && isSettled()) note(performance.now() - lifted);
    }).observe(view, { attributes: true });
}"""
"""Measures from the end of a stroke to the answer to it, in milliseconds: 0 if that is there before."""
AWAIT = """number => new Promise((resolve) => {
    const look = () => window.times.length > number ? resolve() : setTimeout(look, 50);
    look();
})"""
"""Waits on the page, which messages from here would disturb."""


def milliseconds_to_an_answer(page: Any, moves: int, pause: float) -> float:
    """The median of thirty strokes of so many moves, with a pause in seconds before each and before the end."""
    pad = page.locator("canvas.pad")
    pad.evaluate(WATCH)
    box = pad.bounding_box()
    for number in range(30):
        x, y = box["x"] + box["width"] * (0.3 + 0.01 * number), box["y"] + box["height"] * 0.2
        page.mouse.move(x, y)
        page.mouse.down()
        for share in (move / moves for move in range(1, moves + 1)):
            time.sleep(pause)
            page.mouse.move(x - 10 * share, y + box["height"] * 0.6 * share)
        time.sleep(pause)
        page.mouse.up()
        page.evaluate(AWAIT, number)
        if number % 5 == 4:
            page.get_by_role("button", name="Clear").click()
    return statistics.median(page.evaluate("window.times"))


def test_the_page_is_there_in_a_second(chromium: Any, tmp_path: Path) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto("about:blank")  # the browser is there
    seconds = []
    for _ in range(5):
        begun = time.time()
        command = [sys.executable, "-u", "-m", "chainrule", "studio", "--no-browser", "--runs", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            page.goto(process.stdout.readline().strip())
            page.locator("canvas.pad").wait_for()
            painted = page.evaluate(
                "performance.timeOrigin + performance.getEntriesByName('first-contentful-paint')[0].startTime"
            )
            seconds.append(painted / 1000 - begun)
            process.terminate()
    context.close()
    print(f"first paint: {[round(each, 2) for each in seconds]} s")
    assert statistics.median(seconds) <= 1


@STROKES
def test_an_answer_is_there_at_once(view: Any, moves: int, pause: float) -> None:
    median = milliseconds_to_an_answer(view("draw").page, moves, pause)
    print(f"an answer: {median:.0f} ms")
    assert median <= 50


@STROKES
def test_an_answer_is_there_at_once_beside_a_training(view: Any, moves: int, pause: float) -> None:
    training = view("train", "model=cnn&epochs=50").page
    training.get_by_role("button", name="Start", exact=True).click()
    training.locator(".view.train[data-state=running]").wait_for()
    median = milliseconds_to_an_answer(view("draw").page, moves, pause)
    assert training.locator(".view.train[data-state=running]").count() == 1
    training.get_by_role("button", name="Stop", exact=True).click()
    print(f"an answer beside a training: {median:.0f} ms")
    assert median <= 150


def memory_of(process: int) -> float:
    """Megabytes that a process holds for itself."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def descendants(process: int) -> list[int]:
    """A process and those that it started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return [process, *(each for child in children for each in descendants(int(child)))]


@pytest.mark.timeout(60 * MINUTES + 300)
def test_memory_is_steady_while_a_training_is_watched(view: Any, studio: Any) -> None:
    page = view("train", "epochs=100000&schedule=constant").page
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator(".view.train[data-state=running]").wait_for()
    samples = []
    for _ in range(round(MINUTES * 6)):
        page.wait_for_timeout(10_000)
        server = sum(memory_of(each) for each in descendants(studio.process))
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
        samples.append((server, heap))
    steps = int(page.locator(".view.train").get_attribute("data-step"))
    page.get_by_role("button", name="Stop", exact=True).click()
    third = len(samples) // 3
    early, late = ([max(column) for column in zip(*part, strict=True)] for part in (samples[:third], samples[-third:]))
    print(f"{steps:,} steps; MB of the processes and of the page, first third {early}, last third {late}")
    assert late[0] <= early[0] * 1.05 + 10
    assert late[1] <= early[1] * 1.5 + 10
