"""The view Time machine in the browser: any step has the bits of a run stopped there; forks and races, by keyboard, too."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.data import mnist
from chainrule.studio.wire import pack, unpack
from chainrule.training import experiment
from chainrule.training import run as runs
from chainrule.training.fork import fork
from chainrule.training.replay import RunReplay, weights_digest
from chainrule.training.session import train
from chainrule.training.trainer import Callback, Trainer

from .conftest import run_axe, tab_to

SMALL = {"limit": 1000, "batch_size": 50, "epochs": 2}
LAST = 40
RUN = "time-mlp"


@pytest.fixture(scope="module")
def run(studio: Any) -> runs.Run:
    """A small trained network among the studio's runs."""
    made = runs.create(experiment.configure("mlp", mnist(), **SMALL), studio.runs / RUN)
    train(made, mnist())
    return made


def settled(page: Any) -> Any:
    page.locator(".time[data-is-settled]").wait_for()
    return page


def shown(page: Any) -> dict[str, Any]:
    """What the page says of the step that it shows."""
    settled(page)
    return {
        "title": page.locator("#time-step").inner_text(),
        "digest": page.locator(".digest").get_attribute("title"),
        "figures": page.locator(".figures").inner_text(),
        "bars": page.locator(".says + .bars").inner_text(),
        "answer": page.locator(".answer").inner_text(),
        "gradients": page.locator(".gradients").inner_text(),
        "weights": page.locator("canvas.sheet").evaluate("canvas => canvas.toDataURL()"),
        "image": page.locator("canvas.looked").evaluate("canvas => canvas.toDataURL()"),
    }


def stopped_at(step: int, folder: Any, model: str = "mlp", **settings: Any) -> Any:
    """The network of a fresh run that is stopped after a step."""
    made = runs.create(experiment.configure(model, mnist(), **settings), folder)
    return train(made, mnist(), until=step).network


def test_a_step_by_keyboard_is_a_fresh_run_stopped_there(view, run, tmp_path):
    page = view("time", f"run={RUN}&step=20").page
    settled(page)
    page.get_by_role("slider", name="Step").focus()
    for key in ["ArrowLeft"] * 3 + ["Home"] + ["ArrowRight"] * 13:
        page.keyboard.press(key)
    page.locator("#time-step", has_text="Step 13 of 40").wait_for()
    found = shown(page)
    assert "in epoch 1, after 13 of 20 steps" in found["title"]
    assert found["digest"] == weights_digest(stopped_at(13, tmp_path / "stopped", **SMALL))
    replay = RunReplay(run, mnist())
    replay.seek(13)
    metrics = replay.validate()
    assert f"{metrics['validation_accuracy']:.2%}" in found["figures"]
    for gradient, text in zip(
        replay.gradients().values(), page.locator(".gradients .number").all_inner_texts(), strict=True
    ):
        size = float(np.sqrt(np.square(gradient, dtype=np.float64).mean()))
        assert float(text) == pytest.approx(size, rel=0.06)
    other = page.context.new_page()
    other.goto(page.url)
    assert shown(other) == found
    page.get_by_role("button", name="Epoch on").click()
    page.locator("#time-step", has_text="Step 20 of 40 at the end of epoch 1").wait_for()
    page.get_by_role("button", name="Start").click()
    page.locator("#time-step", has_text="Step 0 of 40 before the first step").wait_for()
    page.get_by_role("button", name="Play").click()
    page.locator("#time-step", has_text="Step 40 of 40").wait_for()
    assert shown(page)["digest"] == weights_digest(RunReplay(run, mnist()).seek(40).network)


def test_a_drawing_at_a_step(view, run):
    page = settled(view("time", f"run={RUN}&step=40").page)
    page.get_by_text("Draw a digit of your own").click()
    page.locator("canvas.pad").focus()
    for key in [*["ArrowUp"] * 9, "Space", *["ArrowDown"] * 18, "Space"]:
        page.keyboard.press(key)
    page.locator(".answer", has_text="1, ").wait_for()
    assert "strokes=" in page.url
    found = shown(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.locator(".answer", has_text="1, ").wait_for()
    assert shown(other) == found
    page.get_by_role("button", name="Another image").click()
    page.get_by_text("It is 2.").wait_for()


def test_a_race_by_keyboard_gives_the_curves_of_two_separate_runs(view, run, studio, tmp_path):
    page = settled(view("time", f"run={RUN}&step=25").page)
    page.get_by_label("Learning rate", exact=True).focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("0.003")
    tab_to(page, "document.activeElement.textContent.startsWith('Race')")
    page.keyboard.press("Enter")
    page.locator("tr[data-state=finished]").nth(1).wait_for(timeout=60_000)
    names = page.locator("tr[data-run]").evaluate_all("rows => rows.map(row => row.dataset.run)")
    drawn = page.locator("canvas.race").get_attribute("aria-label")
    for name, settings in zip(names, [{}, {"lr": 0.003}], strict=True):
        alone = fork(RunReplay(run, mnist()), 25, settings, tmp_path / name)
        trainer = train(alone, mnist())
        assert weights_digest(RunReplay(runs.Run(studio.runs / name), mnist()).seek(LAST).network) == weights_digest(
            trainer.network
        )
        replay = RunReplay(runs.Run(alone.folder), mnist())
        replay._files.clear()
        replay.seek(LAST)
        assert f"{name}: {replay.losses[LAST]:.3g} at step {LAST}" in drawn
        assert json.loads((studio.runs / name / "config.json").read_text())["fork"]["step"] == 25
    assert f"forks={names[0]}%2F{names[1]}" in page.url
    row = page.locator(f"tr[data-run={names[1]}]")
    row.get_by_role("button", name="Open").click()
    page.get_by_text(f"forked from {RUN}, step 25").wait_for()
    assert "in epoch 2, after 5 of 20 steps" in shown(page)["title"]
    for name in names:
        shutil.rmtree(studio.runs / name)


def test_what_cannot_be_opened_is_a_sentence(view, run, studio):
    copy = studio.runs / "time-copy"
    shutil.copytree(run.folder, copy)
    (copy / "checkpoint" / "state.safetensors").write_bytes(b"damaged")
    page = settled(view("time", "run=time-copy&step=10").page)
    page.get_by_text("the replay does without it").wait_for()
    shutil.rmtree(copy)
    page.get_by_role("button", name="Step on").click()
    fault = page.get_by_role("alert").filter(has_text="there is no run of this name; it may have been deleted")
    fault.wait_for()
    page.reload()
    fault.wait_for()
    page.get_by_label("Run").select_option(RUN)
    assert "Step 40 of 40" in shown(page)["title"]
    page.get_by_label("Learning rate", exact=True).fill("-1")
    page.get_by_role("button", name="Fork and train").click()
    page.get_by_role("alert").filter(has_text="the learning rate must be a number above 0, not -1").wait_for()


def test_a_step_whose_outputs_are_not_finite(view, run, studio):
    huge = runs.create(
        experiment.configure("mlp", mnist(), **SMALL, optimizer="sgd", lr=1e30), studio.runs / "time-huge"
    )
    with np.errstate(all="ignore"):
        train(huge, mnist(), until=1)
    page = view("time", "run=time-huge").page
    settled(page)
    assert page.locator(".answer").inner_text() == "Its outputs are not finite"
    assert "not finite" in page.locator(".gradients").inner_text()
    assert "computing" not in page.locator("#time-step").inner_text()
    shutil.rmtree(huge.folder)


def test_a_fault_and_a_lost_connection_end_the_waiting(view, run):
    page = settled(view("time", f"run={RUN}&step=10").page)
    asked, sockets, is_faulty = [], [], True

    def connect(socket: Any) -> None:
        server = socket.connect_to_server()
        sockets.append(socket)

        def ask(message: bytes) -> None:
            content, _ = unpack(message)
            asked.append(content["ask"])
            if asked[-1] == "step" and is_faulty:
                head = {name: content[name] for name in ("view", "visit")}
                socket.send(pack({**head, "error": "a fault in the studio"}))
            elif asked[-1] != "fork":  # which is never answered
                server.send(message)

        socket.on_message(ask)

    page.route_web_socket("**/socket", connect)
    page.reload()
    page.get_by_role("alert").filter(has_text="a fault in the studio").wait_for()
    assert "computing" not in page.locator("#time-step").inner_text()
    count = asked.count("progress")
    page.wait_for_timeout(900)
    assert asked.count("progress") == count
    is_faulty = False
    page.get_by_role("button", name="Step back").click()
    assert "Step 9 of 40" in shown(page)["title"]
    fork = page.get_by_role("button", name="Fork and train")
    fork.click()
    page.get_by_text("Computing the state at this step").wait_for()
    assert fork.is_disabled()
    sockets[-1].close()
    page.locator("button:enabled", has_text="Fork and train").wait_for()
    settled(page)


LONG_NAME = """async () => {
    const [{ bars }, { render }] = await Promise.all(["elements", "template"].map((name) => import(`/static/parts/${name}.js`)));
    const place = document.querySelector(".gradients").parentElement.appendChild(document.createElement("div"));
    render(bars("sizes", [{ name: "blocks.0.attention.projection.weight", value: 0.5, text: "0.0476" }]), place);
}"""
"""Adds a bar of a weight that is named as those of a GPT."""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1400])
def test_it_fits_says_nothing_wrong_and_is_accessible(studio, view, run, width, theme):
    opened = view("time", f"run={RUN}&step=30", width=width, theme=theme)
    settled(opened.page)
    opened.page.locator(".explain summary").first.click()
    opened.page.evaluate(LONG_NAME)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.complaints == []
    assert opened.elsewhere(studio.base) == []
    assert run_axe(opened.page) == []


class Fingerprints(Callback):
    """Keeps the fingerprint of the weights after some steps.

    Args:
        steps: the steps, counted from the start of training.
    """

    def __init__(self, steps: list[int]) -> None:
        self.steps, self.found = set(steps), {}

    def on_step(self, trainer: Trainer) -> None:
        if trainer.global_step in self.steps:
            self.found[trainer.global_step] = weights_digest(trainer.network)


def seconds_of(process: int) -> float:
    """How long a process has computed."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(os.environ.get("CHAINRULE_BROWSER_LONG") != "1", reason="`make browser-long` trains whole networks")
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("model", "limit", "again"), [("mlp", 2.0, 20), ("cnn", 10.0, 3)])
def test_twenty_random_steps(view, studio, tmp_path, model, limit, again):
    """Each has the bits that the run had when it passed there; the first `again` of them those of a run stopped there."""
    name = f"time-whole-{model}"
    whole = runs.create(experiment.configure(model, mnist()), studio.runs / name)
    recipe = whole.config["training"]
    last = recipe["epochs"] * math.ceil(len(mnist().split().train[0]) / recipe["batch_size"])
    steps = np.random.default_rng(0).choice(np.arange(1, last), 20, replace=False).tolist()
    passing = Fingerprints(steps)
    assert train(whole, mnist(), callbacks=[passing]).global_step == last
    page = settled(view("time", f"run={name}&step={last}").page)
    waited = {}
    for step in steps:
        start, computed = time.perf_counter(), seconds_of(studio.process)
        page.get_by_label("Go to").fill(str(step))
        page.keyboard.press("Enter")
        page.locator(f".time[data-step='{step}']").wait_for(timeout=120_000)
        waited[step] = (time.perf_counter() - start, seconds_of(studio.process) - computed)
        page.locator("#time-step", has_text=f"Step {step:,} of {last:,}").wait_for()
        assert page.locator(".digest").get_attribute("title") == passing.found[step], step
    for step in sorted(steps)[:again]:
        fresh = stopped_at(step, tmp_path / str(step), model=model)
        assert weights_digest(fresh) == passing.found[step], step
        shutil.rmtree(tmp_path / str(step))
    walls = sorted(wall for wall, _ in waited.values())
    print(f"{model}, {last} steps: {np.median(walls):.2f} s to a step, {walls[-1]:.2f} s at most; {waited}")
    # What the studio computed in that time, if it is less: other processes may have waited for the same cores
    assert max(min(wall, computed) for wall, computed in waited.values()) <= limit, waited
    shutil.rmtree(whole.folder)
