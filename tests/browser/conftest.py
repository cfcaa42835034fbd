"""Fixtures to open the built site and the studio in Chromium, with Pyodide served from this machine.

Only `make test-browser`, which installs what the tests need, runs them; elsewhere they are skipped. There, a missing part is
a failure. The environment variable SITE may name the folder of a built site, such as that of `make docs`.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PYODIDE = Path(os.environ.get("PYODIDE_FOLDER", ROOT / "build" / "pyodide"))
"""Where scripts/get_pyodide.py unpacks Python for browsers."""
WITHDRAWN = "withdrawn"
"""The file that the script writes if the index no longer has Pyodide; tests that need Pyodide are then skipped."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests more time: the first of them also builds the site and starts the browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1200 if os.environ.get("CHAINRULE_BROWSER_LONG") == "1" else 600))


def require(condition: object, what: str) -> None:
    """Fail if something is missing that `make test-browser` installs."""
    if not condition:
        pytest.fail(f"needs {what}: run `make test-browser`")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The installed Chromium or Chrome; Playwright does not download its own."""
    if os.environ.get("CHAINRULE_BROWSER") != "1":
        pytest.skip("`make test-browser` runs these, in Chromium")
    require(importlib.util.find_spec("playwright"), "playwright")
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require(program, "chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass(frozen=True)
class Site:
    """The built site.

    Attributes:
        folder: its files.
        seconds: the time that the build took; None if the site had been built already.
    """

    folder: Path
    seconds: float | None


@pytest.fixture(scope="session")
def site(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site, built without the outputs of lessons, with Pyodide from the server of these tests."""
    folder = tmp_path_factory.mktemp("built") / "site"
    if built := os.environ.get("SITE"):
        shutil.copytree(built, folder)
        for page in folder.rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            page.write_text(re.sub(r'data-pyodide="[^"]*"', 'data-pyodide="pyodide/"', text), encoding="utf-8")
        return Site(folder, None)
    require(importlib.util.find_spec("furo"), "the extra docs")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", ROOT / "docs" / "site", folder],
        env={**os.environ, "RUN_LESSONS": "0", "PYODIDE": "pyodide/"},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Site(folder, time.monotonic() - start)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serve the site, and the files of Pyodide below /pyodide/."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".wasm": "application/wasm"}

    def translate_path(self, path: str) -> str:
        name = urlsplit(path).path
        if name.startswith("/pyodide/"):
            return str(PYODIDE / Path(name).name)
        return super().translate_path(path)

    def log_message(self, *_: Any) -> None:
        """Do not log requests."""


@pytest.fixture(scope="session")
def address(site: Site) -> Iterator[str]:
    """The address of the site on a server in this process."""
    handler = functools.partial(_Handler, directory=str(site.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def pyodide(chromium: Any) -> Path:
    """The folder of Pyodide, which is Python for browsers."""
    if (PYODIDE / WITHDRAWN).exists():
        pytest.skip("the package index no longer has the package that holds Pyodide")
    require((PYODIDE / "pyodide.js").exists(), "Pyodide")
    return PYODIDE


@dataclass
class Visit:
    """A page in the browser, the addresses it requested, and its errors and warnings."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def elsewhere(self, base: str) -> list[str]:
        """The requests to other addresses than those below the site's."""
        own = "blob:null/" if base.startswith("file:") else f"blob:{base}"
        return [url for url in self.requests if not url.startswith((base, own, "data:"))]


@pytest.fixture
def visit(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visit]]:
    """Open a page of the site in a fresh browser context: `visit("index.html", width=390, theme="dark")`."""
    contexts = []

    def open_page(path: str, *, width: int = 1400, theme: str = "light", base: str | None = None) -> Visit:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        opened = Visit(page)
        context.on("request", lambda request: opened.requests.append(request.url))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                opened.complaints.append(f"{message.text} ({message.location.get('url')})")
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.goto((request.getfixturevalue("address") if base is None else base) + path)
        return opened

    yield open_page
    for context in contexts:
        context.close()


@dataclass(frozen=True)
class Studio:
    """A studio in a separate process.

    Attributes:
        address: the address that it printed, with the token.
        runs: its folder of runs.
        process: its process id.
    """

    address: str
    runs: Path
    process: int

    @property
    def base(self) -> str:
        """The address without the token."""
        return self.address.partition("?")[0]


@pytest.fixture(scope="session")
def studio(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio for all tests except those that end one."""
    require(importlib.util.find_spec("starlette"), "the extra studio")
    runs = tmp_path_factory.mktemp("studio") / "runs"
    command = [sys.executable, "-u", "-m", "chainrule", "studio", "--no-browser", "--runs", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        yield Studio(address, runs, process.pid)
        process.terminate()


@pytest.fixture
def view(studio: Studio, visit: Callable[..., Visit]) -> Callable[..., Visit]:
    """Open a view of the studio in a fresh context: `view("draw", "strokes=5.5.9.9", width=390, theme="dark")`."""

    def open_view(name: str, query: str = "", **options: Any) -> Visit:
        opened = visit(f"#{name}{'?' * bool(query)}{query}", base=studio.address, **options)
        opened.page.locator(f"#view .{name}").wait_for()
        return opened

    return open_view


def tab_to(page: Any, condition: str) -> None:
    """Press Tab until an expression of JavaScript on the page is true."""
    for _ in range(80):
        if page.evaluate(condition):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"no press of Tab made this true: {condition}")


ALL = """() => {
    const view = document.querySelector("#view");
    const all = (selector, read) => [...view.querySelectorAll(selector)].map(read);
    const words = view.cloneNode(true);
    words.querySelectorAll(".spoken, canvas").forEach((each) => each.remove()); // announcements for screen readers, and pictures
    return {
        text: words.textContent.trim().split(/\\s*\\n\\s*|\\s{2,}/),
        canvases: all("canvas", (each) => [each.className, each.width, each.height, each.toDataURL()]),
        drawings: all("svg", (each) => each.outerHTML.replace(/<!--.*?-->/g, "")),
        values: all("input, select, textarea, meter", (each) => each.type === "checkbox" ? each.checked : each.value),
    };
}"""


def everything(page: Any) -> dict[str, Any]:
    """All that a view shows, including the pixels of its canvases, once it has not changed for 150 ms."""
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    before, seen = None, page.evaluate(ALL)
    for _ in range(100):
        if before == seen:
            return seen
        page.wait_for_timeout(150)
        before, seen = seen, page.evaluate(ALL)
    pytest.fail("the view keeps changing")


def run_axe(page: Any) -> list[str]:
    """The accessibility violations that axe finds."""
    from axe_playwright_python.base import AXE_SCRIPT

    found = page.evaluate(f"() => {{ {AXE_SCRIPT}; return axe.run(); }}")
    return [f"{item['id']}: {node['target']}" for item in found["violations"] for node in item["nodes"]]
