"""Brings to the site what is written elsewhere: the pages of docs/, the lessons, and each source file as a page."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from chainrule import lessons
from chainrule.exercises.checking import exercises_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx

SITE = Path(__file__).parent
DOCS, ROOT = SITE.parent, SITE.parent.parent
SRC = ROOT / "src"
PAGES, SOURCE, SCRIPTS = SITE / "pages", SITE / "source", SITE / "scripts"  # made anew for each build
STYLES = ("a11y-high-contrast-light", "a11y-high-contrast-dark")  # installed with furo
SOURCE_LINK = re.compile(r"\[([^]]+)\]\(\.\./src/([^)#]+\.py)(?:#(\w+))?\)")
OTHER_LINK = re.compile(r"\[([^]]+)\]\(\.\./[^)]+\)")
SOURCE_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="stylesheet" href="{home}source/source.css"></head>
<body class="source">
<header><a href="{home}index.html">chainrule</a> · <a href="{home}reference/index.html">reference</a> ·
<strong>{title}</strong></header><main>{code}</main></body></html>
"""
SOURCE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: #fff; color: #1b1f24; }
header { padding: .7rem 1rem; border-bottom: 1px solid #d0d7de; position: sticky; top: 0; background: inherit; }
header a { color: #0550ae; }
main { overflow-x: auto; padding: 0 1rem 2rem; font-size: 13.5px; }
pre a { text-decoration: none; } .linenos { opacity: .6; padding-right: 1em; }
:target { outline: 2px solid #d55e00; }
@media (prefers-color-scheme: dark) {
  body { background: #15181d; color: #e8e8e8; } header { border-color: #343a42; } header a { color: #8fd0f5; }
"""


def bring_pages() -> None:
    """Copy the pages of docs/ here; links to source files, and to functions in them, lead to the source's pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.joinpath("guides").mkdir(parents=True)
    for page in sorted([*DOCS.glob("*.md"), *DOCS.glob("guides/*.md")]):
        text = SOURCE_LINK.sub(_to_source, page.read_text(encoding="utf-8"))
        if page.parent == DOCS:
            text = OTHER_LINK.sub(r"\1", text)  # to what is neither a page nor a source file
        if page.name == "glossary.md":
            text = _glossary(text)
        (PAGES / page.relative_to(DOCS)).write_text(text, encoding="utf-8")
    if (DOCS / "pictures").is_dir():
        shutil.copytree(DOCS / "pictures", PAGES / "pictures")


def _to_source(link: re.Match[str]) -> str:
    line = f"#L-{first_line(SRC / link[2], link[3])}" if link[3] else ""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", link[1])
    return f'<a href="../source/{link[2]}.html{line}">{text}</a>'  # an element: Markdown's link would ask for a page


def first_line(file: Path, name: str) -> int:
    """The line where a file defines a function or class, its decorators included."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    raise LookupError(f"a page links to {name} in {file.relative_to(ROOT)}, which does not define it")


def source_address(file: Path, line: int) -> str | None:
    """The address of a line of source code, from a page one folder deep; None for a file of another package."""
    package = Path(__import__("chainrule").__file__ or "").parent
    if not file.is_relative_to(package):
        return None
    return f"../source/chainrule/{file.relative_to(package).as_posix()}.html#L-{line}"


def show_source(files: Iterable[Path] | None = None) -> None:
    """Write each source file, or these alone, as a page whose lines can be linked to, with a way back."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    light, dark = (
        HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True, style=style) for style in STYLES
    )
    SOURCE.joinpath("source").mkdir(parents=True)
    style = f"{light.get_style_defs('main')}{SOURCE_STYLE}{dark.get_style_defs('main')} }}"
    SOURCE.joinpath("source", "source.css").write_text(style, encoding="utf-8")
    for file in sorted((SRC / "chainrule").rglob("*.py") if files is None else files):
        name = file.relative_to(SRC)
        page = SOURCE / "source" / f"{name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        text = SOURCE_PAGE.format(
            title=name,
            home="../" * len(name.parts),
            code=highlight(file.read_text(encoding="utf-8"), PythonLexer(), light),
        )
        page.write_text(text, encoding="utf-8")


def bring_lessons() -> None:
    """Copy the lessons' files, named by their keys so that a page keeps its address, and the head of their page.

    Titles have their numbers, references are links, and the prerequisites stand beside the time that it takes.
    """
    shutil.rmtree(SCRIPTS, ignore_errors=True)
    SCRIPTS.mkdir()
    shutil.copy(SITE / "lessons_header.rst", SCRIPTS / "README.rst")
    available = lessons.available()
    titles = {lesson.key: f"{lesson.number}. {lesson.title}" for lesson in available}
    for lesson in available:
        text = lesson.file.read_text(encoding="utf-8")
        title = titles[lesson.key]
        text = re.sub(r"\A\"\"\"\n.+\n=+\n", f'"""\n{title}\n{"=" * len(title)}\n', text)
        before = ", ".join(f":doc:`{titles[key]} <{key}>`" for key in lesson.prerequisites) or "none"
        about = f"*About {lesson.minutes} minutes.* Prerequisites: {before}."
        text = lessons.PREREQUISITES.sub(about.replace("\\", r"\\"), text, count=1)
        text = text.replace(READ_NEXT, _exercises(lesson) + READ_NEXT)
        text = lessons.replace_references(text, lambda words, key: f":doc:`{words} <{key}>`")
        text = _link_terms(text)
        (SCRIPTS / f"{lesson.key}.py").write_text(text, encoding="utf-8")


def prose(source: str) -> str:
    """The text of a lesson's file on one line, with its markup."""
    docstring = source.split('"""', 2)[1]
    return " ".join([docstring, *re.findall(r"^# (.*)", source, re.MULTILINE)])


def new_terms(source: str) -> list[str]:
    """The words that a lesson's file explains: those in bold in its text, in order."""
    return re.findall(r"\*\*([^*`]+)\*\*", prose(source))


def glossary_terms() -> list[str]:
    """The words that docs/glossary.md explains."""
    return re.findall(r"^## (.+)", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)


def _link_terms(source: str) -> str:
    """Link the bold words of a lesson's text to their entries of the glossary."""
    entries = {term.casefold(): term.casefold().replace(" ", "-") for term in glossary_terms()}

    def link(bold: re.Match[str]) -> str:
        words = " ".join(bold[1].replace("\n#", " ").split())
        entry = entries.get(words.casefold())
        return f"`{words} <../pages/glossary.html#{entry}>`__" if entry else bold[0]

    return re.sub(r"(?m)(?<=[^*])\*\*((?:[^*`\n]|\n# )+)\*\*(?=[^*])", link, source)


def _glossary(page: str) -> str:
    """The glossary, each entry with the lesson that explains the word, or that first has it if none does in bold."""
    sources = [(lesson, lesson.file.read_text(encoding="utf-8")) for lesson in lessons.available()]

    def add(entry: re.Match[str]) -> str:
        term = entry[1].casefold()
        explains = [lesson for lesson, source in sources if term in map(str.casefold, new_terms(source))]
        mentions = [
            lesson for lesson, source in sources if re.search(rf"\b{re.escape(term)}", prose(source), re.IGNORECASE)
        ]
        first = next(iter(explains or mentions), None)
        where = f"First in [{first.number}. {first.title}](../lessons/{first.key}.rst).\n" if first else ""
        return f"{entry[0].rstrip()}\n\n{where}\n"

    return re.sub(r"^## (.+)\n(?:(?!## ).*\n)+", add, page, flags=re.MULTILINE)


READ_NEXT = "# %%\n# Read next\n"
"""Where the last section of a lesson begins."""


def _exercises(lesson: lessons.Lesson) -> str:
    """The exercises of a lesson as a cell of its script, each hint to be unfolded; nothing if there are none."""
    found = exercises_of(lesson)
    if not found:
        return ""
    lines = [
        "Exercises",
        "---------",
        "",
        f"Check an answer in a terminal, ``chainrule check {lesson.key}.1 ANSWER``, or in",
    ]
    lines += [
        f'Python: ``from chainrule.exercises import check`` and ``check("{lesson.key}.1", answer)``. It says whether'
    ]
    lines += ["it is right, or what kind of slip it is; with ``--answer`` instead of an answer, it is shown.", ""]
    for number, exercise in enumerate(found, start=1):
        lines += [
            f"**{lesson.number}.{number}** {exercise.question.strip()}",
            "",
            f"*The answer is {exercise.wanted()}.*",
        ]
        for position, hint in enumerate(exercise.hints):
            lines += ["", f".. dropdown:: {('Hint', 'Another hint', 'The last hint')[position]}", "", f"   {hint}"]
        lines += [""]
    return "# %%\n" + "".join(f"# {line}".rstrip() + "\n" for line in "\n".join(lines).split("\n")) + "\n"


class LessonOrder:
    """The order of the lessons' pages: by number."""

    def __init__(self, folder: str) -> None:
        """Called by sphinx-gallery with the scripts' folder, which is not needed."""
        self.numbers = {f"{lesson.key}.py": lesson.number for lesson in lessons.available()}

    def __call__(self, name: str) -> int:
        """The number of the lesson in this file."""
        return self.numbers[name]


def level_captions(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the headings of the navigation the level that screen readers need."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


FORMULAS = ("tex-chtml.js", "output/chtml/fonts/woff-v2/*", "input/tex/extensions/*")
"""What the pages load of MathJax: its bundle for TeX and HTML, fonts, and extensions of TeX that formulas ask for."""


def keep_used_formulas(app: Sphinx, exception: Exception | None) -> None:
    """Remove MathJax's other input and output formats from the site: 22 of its 24 MB."""
    folder = Path(app.outdir) / "_static" / "mathjax"
    used = {path for pattern in FORMULAS for path in folder.glob(pattern)} - {*folder.glob("**/all-packages.js")}
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path not in used:
            path.unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
