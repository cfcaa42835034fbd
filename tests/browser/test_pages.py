"""The site's pages in a real browser: for screen readers, phones, dark rooms and keyboards, and all from one host."""

from __future__ import annotations

import pytest

PAGES = (
    "index.html",
    "start/install.html",
    "start/next-word.html",
    "lessons/index.html",
    "lessons/rolling-downhill.html",
    "reference/index.html",
    "reference/init.html",
    "search.html",
)
"""One of each kind."""


def all_pages(site):
    """The addresses of all pages but those of the source code, which are alike."""
    pages = [file.relative_to(site.folder).as_posix() for file in site.folder.rglob("*.html")]
    return sorted(page for page in pages if not page.startswith(("source/", "_static/", "_modules/")))


def test_it_is_built_within_three_minutes(site):
    if site.seconds is None:
        pytest.skip("SITE names a site that was built before")
    assert site.seconds < 180


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(path, visit):
    from axe_playwright_python.sync_playwright import Axe

    page, found = visit(path).page, {}
    for width in (390, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            for violation in Axe().run(page).response["violations"]:
                found[width, theme, violation["id"]] = [node["html"][:200] for node in violation["nodes"][:5]]
    assert found == {}


def test_every_page_fits_a_phone_asks_no_other_host_and_complains_of_nothing(visit, site, address):
    opened = visit("index.html", width=390)
    wide = {}
    for path in all_pages(site):
        opened.page.goto(address + path)
        opened.page.wait_for_function(
            "!window.MathJax || MathJax.startup?.promise?.then(() => true)"
        )  # formulas are set
        excess = opened.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if excess > 0:
            wide[path] = excess
    assert wide == {}
    assert opened.elsewhere(address) == []
    assert not [url for url in opened.requests if "/pyodide/" in url or url.endswith(".zip")]  # before any click
    assert opened.complaints == []


def test_from_a_folder_pages_work_too(visit, site):
    base = f"file://{site.folder}/"
    opened = visit("index.html", base=base)
    for path in PAGES:
        opened.page.goto(base + path)
        assert opened.page.locator("article").get_by_role("heading").first.inner_text()
    assert opened.elsewhere(base) == []


@pytest.mark.parametrize(
    ("words", "page"),
    [("Adam", "reference/optim.html"), ("install", "start/install.html"), ("dropout", "reference/")],
)
def test_the_search_finds(words, page, visit):
    opened = visit("index.html")
    search = opened.page.get_by_role("textbox", name="Search").or_(opened.page.get_by_role("searchbox", name="Search"))
    search.first.fill(words)
    search.first.press("Enter")
    results = opened.page.locator("#search-results li a")
    results.first.wait_for()
    assert page in " ".join(results.nth(number).get_attribute("href") for number in range(min(10, results.count())))
    assert opened.complaints == []


def test_the_keyboard_skips_to_the_text_and_reaches_the_search(visit):
    page = visit("lessons/rolling-downhill.html").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#furo-main-content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('article') !== null")
    page.goto(page.url.partition("#")[0])
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.sidebar-search')"):
            break
    assert page.evaluate("document.activeElement.matches('.sidebar-search:focus-visible')")
