"""The web site: lessons, guides, the API reference and the source. Built by `make docs`.

`pages` brings what is written elsewhere, `api_reference` writes the API reference, `cheat_sheet` sets one page to
print, `figures` draws each figure of a lesson for light and for dark pages, `browser_package` packs what runs the
lessons' cells in the reader's browser, `recorded` the studio's view that a page shows.
"""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

import chainrule

SITE = Path(__file__).parent
sys.path.insert(0, str(SITE))

import api_reference
import browser_package
import cheat_sheet
import pages
import recorded

project = "chainrule"
author = "the chainrule developers"
copyright = "the chainrule developers, MIT license"  # noqa: A001  # Sphinx's name
version = release = chainrule.__version__
extensions = [
    "myst_parser",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
]
highlight_language = "text"  # of blocks that name no language: commands and what they print
html_theme = "furo"
html_title = "chainrule"
html_static_path = ["static"]
html_favicon = "static/favicon.svg"
html_css_files = ["chainrule.css", "cells.css", "studio.css"]
# Python for browsers, loaded when a reader runs a cell: an address, or a folder of the site, to serve it oneself. It is
# of the version that tests/browser runs.
pyodide = os.environ.get("PYODIDE", "https://cdn.jsdelivr.net/pyodide/v0.27.7/full/")
html_js_files = [
    ("page.js", {"defer": "defer"}),
    ("cells.js", {"defer": "defer", "data-pyodide": pyodide}),
    ("studio.js", {"defer": "defer", "data-pyodide": pyodide}),
]
html_extra_path = ["source", "browser"]
html_show_sourcelink = False
html_copy_source = False
exclude_patterns = [
    "source",
    "browser",
    "scripts",
    "lessons_header.rst",
    "sg_execution_times*",
    "lessons/sg_execution_times*",
]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
copybutton_exclude = ".linenos, .gp, .go"  # what is typed, without prompts and results
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

sphinx_gallery_conf = {
    "examples_dirs": "scripts",
    "gallery_dirs": "lessons",
    "filename_pattern": r"/[a-z-]+\.py$",
    "within_subsection_order": "pages.LessonOrder",
    "plot_gallery": os.environ.get("RUN_LESSONS", "1") == "1",
    "abort_on_example_error": True,
    "min_reported_time": 1000,
    "image_scrapers": ("figures",),
}

pages.bring_pages()
cheat_sheet.write(pages.DOCS / "cheat-sheet.md", pages.PAGES / "cheat-sheet.pdf")
pages.bring_lessons()
pages.show_source()
browser_package.write()
recorded.write()
api_reference.Reference(SITE / "reference", pages.source_address).write()


def setup(app: Sphinx) -> None:
    """Leave out what no page needs, and add what the theme leaves out."""
    app.connect("html-page-context", pages.level_captions, priority=900)  # after the theme's own
    app.connect("build-finished", pages.keep_used_formulas)
