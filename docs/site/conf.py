"""The web site: the lessons with what they print and draw, the pages of docs/, and the source. Built by `make docs`."""

import ast
import os
import re
import shutil
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

import chainrule

SITE = Path(__file__).parent
DOCS, ROOT = SITE.parent, SITE.parent.parent
PAGES, SOURCE, SCRIPTS = SITE / "pages", SITE / "source", SITE / "scripts"  # made anew for each build

project = "chainrule"
author = "the chainrule developers"
copyright = "the chainrule developers, MIT license"  # noqa: A001  # Sphinx's name
version = release = chainrule.__version__
extensions = ["myst_parser", "sphinx_gallery.gen_gallery", "sphinx-mathjax-offline"]
html_theme = "furo"
html_title = f"chainrule {release}"
html_extra_path = ["source"]
html_show_sourcelink = False
exclude_patterns = ["source", "scripts", "lessons_header.rst", "sg_execution_times*", "lessons/sg_execution_times*"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "scripts",
    "gallery_dirs": "lessons",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "plot_gallery": os.environ.get("RUN_LESSONS", "1") == "1",
    "abort_on_example_error": True,
    "min_reported_time": 1000,
}


def bring_pages() -> None:
    """Copy the pages of docs/ here; their links to source files, and to functions in them, lead to the pages below."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir()
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"\]\(\.\./src/([^)#]+\.py)(?:#(\w+))?\)", _to_source, text)
        text = re.sub(r"\[([^]]+)\]\(\.\./[^)]+\)", r"\1", text)  # what is neither a page nor a source file
        (PAGES / page.name).write_text(text, encoding="utf-8")
    if (DOCS / "pictures").is_dir():
        shutil.copytree(DOCS / "pictures", PAGES / "pictures")


def _to_source(link: re.Match[str]) -> str:
    line = f"#L-{first_line(ROOT / 'src' / link[1], link[2])}" if link[2] else ""
    return f"](../source/{link[1]}.html{line})"


def first_line(file: Path, name: str) -> int:
    """The line where a file defines a function or class, its decorators included."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    raise LookupError(f"a page links to {name} in {file.relative_to(ROOT)}, which does not define it")


def show_source() -> None:
    """Each source file as a page whose lines can be linked to."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    package = ROOT / "src" / "chainrule"
    for file in sorted(package.rglob("*.py")):
        place = SOURCE / "source" / file.relative_to(package.parent).with_suffix(".py.html")
        place.parent.mkdir(parents=True, exist_ok=True)
        title = str(file.relative_to(package.parent))
        form = HtmlFormatter(full=True, title=title, linenos="inline", lineanchors="L", anchorlinenos=True)
        place.write_text(highlight(file.read_text(encoding="utf-8"), PythonLexer(), form), encoding="utf-8")


def bring_lessons() -> None:
    """The lessons' files, with the head of their page."""
    shutil.rmtree(SCRIPTS, ignore_errors=True)
    SCRIPTS.mkdir()
    shutil.copy(SITE / "lessons_header.rst", SCRIPTS / "README.rst")
    for lesson in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py")):
        shutil.copy(lesson, SCRIPTS / lesson.name)


bring_pages()
bring_lessons()
show_source()
