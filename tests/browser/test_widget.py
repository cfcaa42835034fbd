"""A view as a widget: one module in a page of another host; and in JupyterLab and marimo, with a kernel."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chainrule.studio.bundle import bundle, style
from chainrule.studio.shelf import Shelf
from chainrule.studio.views import VIEWS, Views

from .conftest import ROOT, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOST = """async ([text, sheet, state]) => {
  const css = document.createElement("style");
  css.textContent = sheet;
  document.head.append(css);
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const { default: widget } = await import(address);
  const values = { state };
  const listeners = {};
  window.host = {
    get: (key) => values[key],
    set: (key, value) => { values[key] = value; },
    save_changes: () => {},
    on: (event, listener) => (listeners[event] ??= []).push(listener),
    off: (event, listener) => { listeners[event] = (listeners[event] ?? []).filter((one) => one !== listener); },
    send: async (content, _, buffers = []) => {
      const asked = buffers.map((buffer) => [...new Uint8Array(buffer)]);
      const [told, arrays] = await window.ask(content, asked);
      const views = arrays.map((bytes) => new DataView(Uint8Array.from(bytes).buffer));
      for (const listener of listeners["msg:custom"] ?? []) listener(told, views);
    },
    fire: (event) => { for (const listener of listeners[event] ?? []) listener(); },
  };
  window.leave = await widget.render({ model: window.host, el: document.body });
}"""
"""A page that holds a widget as anywidget does, with a model of its own."""


@pytest.fixture
def open_widget(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a view's bundle in an empty page, over its Python side in this process."""
    contexts = []
    views = Views.of(Shelf(tmp_path))

    def open_page(name: str, state: str = "", body: str = "<body>", system: str = "light") -> Any:
        contexts.append(chromium.new_context(color_scheme=system))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))

        def ask(content: dict[str, Any], buffers: list[list[int]]) -> tuple[dict[str, Any], list[list[int]]]:
            told, arrays = views.answer(name, content, [bytes(buffer) for buffer in buffers])
            return told, [list(bytes(array)) for array in arrays]

        page.expose_function("ask", ask)
        page.goto(f"data:text/html,<!doctype html><title>host</title>{body}<p>A paragraph of the host</p>")
        page.evaluate(HOST, [bundle(name), style(name), state])
        return page

    yield open_page
    for context in contexts:
        context.close()
    views.close()


def test_a_bundle_runs_in_a_page_of_another_host(open_widget: Callable[..., Any]) -> None:
    page = open_widget("words", "text=She+went+to+the+bakery+to+buy+some&temperature=0.5")
    page.locator(".words[data-is-settled]").wait_for()
    told, _ = Views.of(Shelf()).answer(
        "words",
        {"ask": "read", "number": 1, "model": "shipped_words", "text": "She went to the bakery to buy some", "temperature": 0.5, "seed": 0},
        [],
    )  # fmt: skip
    assert page.locator(".next .name").all_inner_texts()[:-1] == told["words"]
    assert page.locator(".next .share").first.inner_text() == f"{told['probabilities'][0]:.1%}"
    page.locator(".next button").first.click()
    assert page.evaluate("host.get('state')").startswith("text=She+went+to+the+bakery+to+buy+some+")
    page.evaluate("host.set('state', 'text=the+river'); host.fire('change:state')")  # Python sets it
    page.locator(".wires button[aria-pressed=true]", has_text="river").wait_for()
    assert page.locator("textarea").input_value() == "the river"
    # The style is the widget's alone
    assert page.evaluate("getComputedStyle(document.querySelector('.words .next')).listStyleType") == "none"
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "none"
    page.evaluate("leave()")
    assert page.locator(".words").count() == 0


@pytest.mark.parametrize("name", VIEWS)
def test_each_view_is_a_widget(open_widget: Callable[..., Any], name: str) -> None:
    page = open_widget(name)
    page.locator(f".{name} :is(h2, button, select, .notice)").filter(visible=True).first.wait_for()


def test_the_microscope_shows_the_weight_that_python_sets(open_widget: Callable[..., Any]) -> None:
    page = open_widget("microscope", "run=untrained%2Fmlp&weight=3.bias&at=4&step=9")
    page.locator('[data-weight="3.bias,4"]').wait_for()
    page.evaluate(
        "host.set('state', 'run=untrained%2Fmlp&image=2&weight=1.weight&at=5%2C300'); host.fire('change:state')"
    )
    page.locator('[data-weight="1.weight,5,300"]').wait_for()
    page.locator(".answer", has_text="the right answer is 1").wait_for()
    page.locator(".graph strong", has_text="Forward, 1 of 5").wait_for()
    assert page.evaluate("host.get('state')").startswith("run=untrained%2Fmlp&image=2")


DARK = {
    "JupyterLab": '<body data-jp-theme-light="false">',
    "marimo": '<body data-theme="dark" class="dark dark-theme">',
    "Visual Studio Code": '<body class="vscode-dark">',
}


@pytest.mark.skipif(os.environ.get("CHAINRULE_BROWSER_LONG") != "1", reason="`make browser-long`: six pages")
def test_a_widget_is_as_dark_as_its_host(open_widget: Callable[..., Any]) -> None:
    def picture(body: str, system: str) -> tuple[str, ...]:
        page = open_widget("playground", "step=20", body, system)
        page.locator(".playground[data-is-settled]").wait_for()
        color = page.evaluate("getComputedStyle(document.querySelector('.playground h2')).color")
        page.wait_for_timeout(100)
        canvases = page.locator("canvas.wires, canvas.curves")
        return color, *canvases.evaluate_all("all => all.map((each) => each.toDataURL())")

    light, dark = (picture("<body>", system) for system in ("light", "dark"))
    assert all(one != other for one, other in zip(light, dark, strict=True))
    for name, body in DARK.items():
        assert picture(body, "light") == dark, name
    assert picture('<body data-theme="light">', "dark") == light


NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code", "execution_count": None, "id": "one", "metadata": {}, "outputs": [],
            "source": "import chainrule.studio\nw = chainrule.studio.widget('shipped_words', state='text=We+are+going+to+the')\nw",
        },
        {
            "cell_type": "code", "execution_count": None, "id": "two", "metadata": {}, "outputs": [],
            "source": "print('the state is', w.state)",
        },
    ],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip


@contextmanager
def serve(command: list[str], folder: Path, status: str, own: dict[str, str]) -> Iterator[None]:
    """Run a server until the end of the block, once it answers at an address."""
    log = folder / "log"
    with log.open("w") as stream:
        environment = {**os.environ, **own, "PYTHONPATH": str(ROOT / "src")}
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=stream, stderr=stream, env=environment)
        try:
            for _ in range(300):
                assert process.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(status, timeout=5)  # noqa: S310  # this machine's
                    break
                except OSError:
                    time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture
def notebooks(chromium: Any) -> None:
    """Both need this."""
    if os.environ.get("CHAINRULE_BROWSER_LONG") != "1":
        pytest.skip("`make browser-long` runs this, in JupyterLab and marimo")
    for library in ("anywidget", "jupyterlab", "marimo"):
        require(importlib.util.find_spec(library), library)


@pytest.fixture
def jupyter(notebooks: None, tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab on this machine, with a notebook."""
    (tmp_path / "notebook.ipynb").write_text(json.dumps(NOTEBOOK))
    port, token = 8899, "of-the-tests"
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own = {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "spaces")}
    command = ["jupyterlab", "--no-browser", "--allow-root", f"--IdentityProvider.token={token}", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={tmp_path}"]
    with serve(command, tmp_path, f"http://127.0.0.1:{port}/api/status?token={token}", {**folders, **own}):
        yield f"http://127.0.0.1:{port}/lab/tree/notebook.ipynb?token={token}"


def test_the_widget_runs_in_jupyterlab(chromium: Any, jupyter: str) -> None:
    page = chromium.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(120_000)
    page.goto(jupyter)
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.first.locator(".cm-content").click()
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    page.keyboard.press("Shift+Enter")
    page.locator(".words[data-is-settled]").wait_for()
    assert page.locator(".words textarea").input_value() == "We are going to the"
    word = page.locator(".words .next .name").first.inner_text()
    assert page.locator(".words .wires button").all_inner_texts() == ["we", "are", "going", "to", "the"]
    page.locator(".words .next button").first.click()
    page.locator(".words .wires button", has_text=word).wait_for()
    assert page.locator(".words textarea").input_value() == f"We are going to the {word}"
    cells.nth(1).locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    printed = cells.nth(1).locator(".jp-OutputArea-output")
    printed.wait_for()
    assert printed.inner_text().strip() == f"the state is text=We+are+going+to+the+{word}"
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/jupyterlab.png")
    page.context.close()


MARIMO = """import marimo

app = marimo.App()


@app.cell
def _():
    import chainrule.studio

    w = chainrule.studio.widget("shipped_words", state="text=We+are+going+to+the")
    w
    return (w,)


@app.cell
def _(w):
    print("the state is", w.state)
    return
"""


@pytest.fixture
def marimo(notebooks: None, tmp_path: Path) -> Iterator[str]:
    """The address of a marimo on this machine, with a notebook on a dark page."""
    (tmp_path / "notebook.py").write_text(MARIMO)
    settings = tmp_path / "config" / "marimo"
    settings.mkdir(parents=True)
    (settings / "marimo.toml").write_text('[display]\ntheme = "dark"\n')
    own = {f"XDG_{name.upper()}_HOME": str(tmp_path / name) for name in ("config", "cache", "state")}
    command = ["marimo", "--quiet", "edit", str(tmp_path / "notebook.py"), "--headless", "--skip-update-check"]
    command += ["--port=8898", "--token-password=of-the-tests"]
    address = "http://127.0.0.1:8898"
    with serve(command, tmp_path, f"{address}/health", {**own, "HOME": str(tmp_path)}):
        yield f"{address}/?access_token=of-the-tests"


def test_the_widget_runs_in_marimo(chromium: Any, marimo: str) -> None:
    page = chromium.new_context(viewport={"width": 1400, "height": 1200}).new_page()
    page.set_default_timeout(120_000)
    page.goto(marimo)
    cells = page.locator(".marimo-cell .cm-content")
    cells.first.click()
    page.keyboard.press("Control+Enter")
    page.locator(".words[data-is-settled]").wait_for()
    assert page.locator(".words textarea").input_value() == "We are going to the"
    assert page.locator(".chainrule-studio").evaluate("root => getComputedStyle(root).colorScheme") == "dark"
    word = page.locator(".words .next .name").first.inner_text()
    page.locator(".words .next button").first.click()
    page.locator(".words .wires button", has_text=word).wait_for()
    assert page.locator(".words textarea").input_value() == f"We are going to the {word}"
    cells.nth(1).click()
    page.keyboard.press("Control+Enter")
    page.get_by_text(f"the state is text=We+are+going+to+the+{word}", exact=True).wait_for()
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/marimo.png")
    page.context.close()
