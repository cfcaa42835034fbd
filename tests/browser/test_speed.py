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
MINUTES = float(os.environ.get("CHAINRULE_BROWSER_MINUTES", "10"))
"""How long a training is watched."""
WATCH = """canvas => {
    const view = canvas.closest(".view");
    let begun = 0;
    window.times = [];
    canvas.addEventListener("pointerup", () => { begun = performance.now(); });
    new MutationObserver(() => {
        if (begun && view.hasAttribute("data-is-settled")) { window.times.push(performance.now() - begun); begun = 0; }
    }).observe(view, { attributes: true });
}"""
"""Measures from the end of a stroke to the answer to it, in milliseconds."""


def milliseconds_to_an_answer(page: Any) -> float:
    """The median of thirty strokes."""
    pad = page.locator("canvas.pad")
    pad.evaluate(WATCH)
    box = pad.bounding_box()
    for number in range(30):
        x, y = box["x"] + box["width"] * (0.3 + 0.01 * number), box["y"] + box["height"] * 0.2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 10, y + box["height"] * 0.6)
        page.mouse.up()
        while page.evaluate("window.times.length") <= number:
            page.wait_for_timeout(20)
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


def test_an_answer_is_there_at_once(view: Any) -> None:
    median = milliseconds_to_an_answer(view("draw").page)
    print(f"an answer: {median:.0f} ms")
    assert median <= 50


def test_an_answer_is_there_at_once_beside_a_training(view: Any) -> None:
    training = view("train", "model=cnn&epochs=50").page
    training.get_by_role("button", name="Start", exact=True).click()
    training.locator(".view.train[data-state=running]").wait_for()
    median = milliseconds_to_an_answer(view("draw").page)
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
