"""One ES module of a view and all that it imports, for hosts that load a widget from a single text: notebooks.

There is no build step: the module holds the sources of the others as text, makes a `blob:` address of each, those that
import nothing first, and writes these addresses in the place of the relative ones.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

STATIC = Path(__file__).parent / "static"
ADAPTER = "widget.js"
"""The module that lets a notebook's model stand for the studio's."""
SCOPE = "chainrule-studio"
"""The class of the element that the style is for."""
IMPORT = re.compile(r"""^((?:import|export)\s+(?:[\w$*{},\s]+\sfrom\s*)?)(["'])(\.{1,2}/[^"']+)\2""", re.MULTILINE)
_COMMENTS = re.compile(r"/\*.*?\*/|//.*?$", re.DOTALL | re.MULTILINE)
_MODULE = """const sources = %(sources)s;
const addresses = {};
for (const [name, text] of sources) {
  const linked = text.replace(/"studio:([^"]+)"/g, (_, other) => JSON.stringify(addresses[other]));
  addresses[name] = URL.createObjectURL(new Blob([linked], { type: "text/javascript" }));
}
const [view, { adapt }] = await Promise.all([import(addresses[%(view)s]), import(addresses[%(adapter)s])]);
for (const address of Object.values(addresses)) URL.revokeObjectURL(address);
export default adapt(%(name)s, view.default, view.defaults ?? {});
"""


def bundle(view: str, static: Path = STATIC) -> str:
    """Return the module of a view, under the contract of anywidget.

    Args:
        view: the view's name: its module is `views/NAME.js`.
        static: the folder of the modules.

    Raises:
        ValueError: a module imports itself in a circle, one outside of the folder, or one that is named when it runs.
        OSError: a module does not exist.
    """
    sources: dict[str, str] = {}
    for name in (f"views/{view}.js", ADAPTER):
        _collect(name, static, sources, ())
    values = {"sources": list(sources.items()), "view": f"views/{view}.js", "adapter": ADAPTER, "name": view}
    return _MODULE % {key: json.dumps(value) for key, value in values.items()}


def _collect(name: str, static: Path, sources: dict[str, str], importers: tuple[str, ...]) -> None:
    """Add a module's text to the sources, after those that it imports, whose names it then has as `studio:NAME`."""
    if name in importers:
        raise ValueError(f"{' imports '.join([*importers[importers.index(name) :], name])}")
    if name in sources:
        return
    text = (static / name).read_text(encoding="utf-8")

    def link(statement: re.Match[str]) -> str:
        other = _resolve(name, statement[3])
        _collect(other, static, sources, (*importers, name))
        return f'{statement[1]}"studio:{other}"'

    linked = IMPORT.sub(link, text)
    if re.search(r"(?<![\w.])import\(", _COMMENTS.sub("", linked)):
        raise ValueError(f"{name} imports a module when it runs, which a single module cannot")
    sources[name] = linked


def _resolve(importer: str, path: str) -> str:
    """Return the name of a module, relative to the static folder.

    Raises:
        ValueError: it is outside of the folder.
    """
    parts = list(PurePosixPath(importer).parent.parts)
    for part in PurePosixPath(path).parts:
        if part == ".." and not parts:
            raise ValueError(f"{importer} imports {path}, which is outside of the folder")
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def style(view: str, static: Path = STATIC) -> str:
    """Return the style sheets of the page and of a view, for the elements of the class `SCOPE` alone."""
    files = [static / "studio.css", static / "views" / f"{view}.css"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    return f"@scope (.{SCOPE}) {{\n{re.sub(r'(?m)^(:root|body)(?=[ ,{])', ':scope', text)}\n}}\n"
