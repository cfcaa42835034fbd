"""Bundles a view and everything that it imports into one ES module, for notebooks, which load a widget from one text.

There is no build step: the bundle holds the sources of the modules as text. When it runs, it makes a `blob:` address of
each, imported modules first, and replaces the relative addresses in the importing modules by these.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

STATIC = Path(__file__).parent / "static"
ADAPTER = "widget.js"
"""The module that connects a view to a notebook's model instead of the studio's socket."""
SCOPE = "chainrule-studio"
"""The class of the element that contains the view, to which the style sheets are limited."""
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
    """Return a view and its imports as one module, with the default export that anywidget asks for.

    Args:
        view: the view's name: its module is `views/NAME.js`.
        static: the folder of the modules.

    Raises:
        ValueError: imports are circular, lead outside the folder, or are dynamic, with `import()`.
        OSError: a module does not exist.
    """
    sources: dict[str, str] = {}
    for name in (f"views/{view}.js", ADAPTER):
        _collect(name, static, sources, ())
    values = {"sources": list(sources.items()), "view": f"views/{view}.js", "adapter": ADAPTER, "name": view}
    return _MODULE % {key: json.dumps(value) for key, value in values.items()}


def _collect(name: str, static: Path, sources: dict[str, str], importers: tuple[str, ...]) -> None:
    """Add a module's text to the sources, after the modules that it imports; in it they are named `studio:NAME`."""
    if name in importers:
        raise ValueError(" imports ".join([*importers[importers.index(name) :], name]))
    if name in sources:
        return
    text = (static / name).read_text(encoding="utf-8")

    def link(statement: re.Match[str]) -> str:
        other = _resolve(name, statement[3])
        _collect(other, static, sources, (*importers, name))
        return f'{statement[1]}"studio:{other}"'

    linked = IMPORT.sub(link, text)
    if re.search(r"(?<![\w.])import\(", _COMMENTS.sub("", linked)):
        raise ValueError(f"{name} imports a module dynamically, which a bundle cannot do")
    sources[name] = linked


def _resolve(importer: str, path: str) -> str:
    """Return the name of a module, relative to the static folder.

    Raises:
        ValueError: the module is outside the folder.
    """
    parts = list(PurePosixPath(importer).parent.parts)
    for part in PurePosixPath(path).parts:
        if part == ".." and not parts:
            raise ValueError(f"{importer} imports {path}, which is outside the folder")
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def style(view: str, static: Path = STATIC) -> str:
    """Return the style sheets of the page and of a view, limited to elements of the class `SCOPE`."""
    files = [static / "studio.css", static / "views" / f"{view}.css"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    return f"@scope (.{SCOPE}) {{\n{re.sub(r'(?m)^(:root|body)(?=[ ,{])', ':scope', text)}\n}}\n"
