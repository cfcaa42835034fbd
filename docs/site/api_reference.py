"""Writes the API reference: a Markdown page for each part of the library, built from signatures and docstrings.

`PARTS` lists the pages. A page shows every public name of its module, grouped by the file that defines it, whose first
sentence is the heading. A name that stands on an earlier page is a link to it there.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shutil
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from chainrule.ops import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = {  # page: its title and its modules
    "tensor": ("Tensors", ["chainrule.tensor", "chainrule.creation", "chainrule.random", "chainrule.safetensors_io"]),
    "operations": ("Operations", ["chainrule.ops"]),
    "autograd": ("Derivatives", ["chainrule.autograd", "chainrule.autograd.functional"]),
    "nn": ("Layers and losses", ["chainrule.nn"]),
    "functional": ("Functions of nn", ["chainrule.nn.functional"]),
    "init": ("Initial values", ["chainrule.nn.init", "chainrule.nn.utils"]),
    "optim": ("Optimizers", ["chainrule.optim"]),
    "schedulers": ("Schedulers and averages", ["chainrule.optim.lr_scheduler", "chainrule.optim.swa_utils"]),
    "jit": ("Compiled steps", ["chainrule.capture"]),
    "data": ("Data", ["chainrule.data", "chainrule.data.idx", "chainrule.data.npy", "chainrule.data.toys"]),
    "text": ("Text", ["chainrule.text"]),
    "models": ("Models by name", ["chainrule.models"]),
    "training": ("Training", ["chainrule.training", "chainrule.training.run"]),
    "images": ("Photos of digits", ["chainrule.images", "chainrule.images.page", "chainrule.images.drawing"]),
    "explain": ("Inside a network", ["chainrule.explain"]),
    "plots": ("Figures", ["chainrule.plots"]),
    "distributed": ("Several processes", ["chainrule.distributed"]),
    "torch": ("To and from PyTorch", ["chainrule.torch"]),
    "onnx": ("To and from ONNX", ["chainrule.onnx"]),
    "sklearn": ("Estimators for scikit-learn", ["chainrule.sklearn"]),
    "sweep": ("Searching for settings", ["chainrule.sweep"]),
    "source": ("Networks as source code", ["chainrule.source"]),
    "exercises": ("Exercises of the lessons", ["chainrule.exercises"]),
    "errors": ("Errors", ["chainrule.errors"]),
}
PUBLIC_NAMES = {  # whose modules list none, because the package hands on what is public
    "chainrule.exercises": ["check", "question", "hint", "solution", "Verdict"],
    "chainrule.tensor": ["Tensor", "tensor", "as_tensor", "from_numpy"],
    "chainrule.creation": [
        "arange", "eye", "full", "linspace", "ones", "ones_like", "rand", "randint", "randn", "zeros", "zeros_like",
    ],
    "chainrule.random": ["default_generator", "manual_seed"],
    "chainrule.safetensors_io": ["load", "save"],
}  # fmt: skip
BRIDGED = ["torch", "onnx", "sklearn"]  # libraries that a page's module needs and building the site does not
LAST = ["chainrule.ops.operation"]  # for those who write operations, not for those who use them
SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes|Sources?|Shapes?|Examples?):(?: +(.*))?")
MAX_DEFAULT = 40  # characters of a default value that a signature shows


@dataclass
class Reference:
    """Writes the pages into a folder.

    Attributes:
        folder: where the pages go; emptied first.
        source_link: from a file below src/chainrule and a name in it to the address of its source page.
    """

    folder: Path
    source_link: Any
    documented: dict[int, str] = field(default_factory=dict)
    """The full name of each object that has its entry, by identity."""

    def write(self) -> None:
        """Write all pages and the list of them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for page, (title, modules) in PARTS.items():
            text = "\n\n".join(block for name in modules for block in self._module(name, len(modules) > 1))
            (self.folder / f"{page}.md").write_text(f"# {title}\n\n{text}\n", encoding="utf-8")
        rows = "\n".join(PARTS)
        (self.folder / "index.md").write_text(
            f"# Reference\n\nEvery public name, by the part of the library that it belongs to.\n\n"
            f"```{{toctree}}\n:maxdepth: 2\n\n{rows}\n```\n",
            encoding="utf-8",
        )

    def _module(self, name: str, with_heading: bool) -> Iterator[str]:
        """The text of a module: its own docstring, then its names, file by file."""
        module = import_without(BRIDGED, name)
        if with_heading:
            yield f"## `{name}`"
        yield as_markdown(inspect.getdoc(module) or "")
        groups: dict[str, list[str]] = {}
        for public in sorted(public_names(module), key=lambda public: is_constant(getattr(module, public))):
            groups.setdefault(defining_module(getattr(module, public), name), []).append(public)
        for file, names in sorted(groups.items(), key=lambda group: group[0] in LAST):
            if len(groups) > 1:
                yield f"{'###' if with_heading else '##'} {heading(file)}"
            for public in names:
                yield self._entry(f"{name}.{public}".replace("chainrule.ops.", "chainrule."), getattr(module, public))

    def _entry(self, name: str, value: Any) -> str:
        """The entry of one public name."""
        earlier = self.documented.setdefault(id(value), name)
        short = name.rpartition(".")[2]
        if earlier != name:
            return f"`{short}`: {{py:obj}}`{earlier}`"
        if isinstance(value, type):
            return directive("py:class", name + signature(value), self._class_body(name, value))
        body = as_markdown(inspect.getdoc(value) or "") if callable(value) else f"`{shorten(repr(value))}`"
        kind = "py:function" if callable(value) else "py:data"
        return directive(kind, name + (signature(value) if callable(value) else ""), self._with_source(value, body))

    def _class_body(self, name: str, kind: type) -> str:
        """The docstring of a class and its public methods and properties, those that it defines itself."""
        blocks = [self._with_source(kind, as_markdown(inspect.getdoc(kind) or ""))]
        for member, value in vars(kind).items():
            if member.startswith("_") or member == "extra_repr" or not inspect.getdoc(value):
                continue
            text = as_markdown(inspect.getdoc(value) or "")
            if isinstance(value, property):
                blocks.append(directive("py:property", member, text, colons=4))
            elif callable(value) or isinstance(value, classmethod | staticmethod):
                function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                blocks.append(directive("py:method", member + signature(function, drop_first=True), text, colons=4))
        return "\n\n".join(blocks)

    def _with_source(self, value: Any, body: str) -> str:
        """The text with a link to the source in front."""
        function = inspect.unwrap(getattr(value, "formula", value))
        try:
            file = Path(inspect.getsourcefile(function) or "")
            line = inspect.getsourcelines(function)[1]
        except (TypeError, OSError):
            return body
        address = self.source_link(file, line)
        return f'<a class="to-source" href="{address}">source</a>\n\n{body}' if address else body


def import_without(libraries: list[str], name: str) -> ModuleType:
    """Import a module, with stand-ins for libraries that are not installed."""
    from sphinx.ext.autodoc.mock import mock  # the tests of this file do without Sphinx

    with mock([library for library in libraries if importlib.util.find_spec(library) is None]):
        return importlib.import_module(name)


def public_names(module: ModuleType) -> list[str]:
    """The public names of a module that are neither modules nor former names."""
    names = PUBLIC_NAMES.get(module.__name__) or getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and f"{defining_module(value, '')}.".startswith(f"{module.__name__}.")
        ]
    return [name for name in names if not isinstance(getattr(module, name), ModuleType)]


def is_constant(value: Any) -> bool:
    """Whether a public name is a value, which comes after the functions and classes."""
    return not callable(value)


def defining_module(value: Any, default: str) -> str:
    """The module whose file defines a value."""
    return str(getattr(getattr(value, "formula", value), "__module__", None) or default)


def heading(module: str) -> str:
    """The first clause of a module's docstring."""
    text = inspect.getdoc(importlib.import_module(module)) or module
    return re.split(r"[.:;] ", " ".join(text.partition("\n\n")[0].split()))[0].rstrip(".:")


def signature(value: Any, drop_first: bool = False) -> str:
    """The parameters with their defaults, without types: `(input, dim=-1, *, dtype=None)`."""
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return "(...)"
    if drop_first:
        parameters = parameters[1:]
    plain = []
    for parameter in parameters:
        changed = parameter.replace(annotation=inspect.Parameter.empty)
        if parameter.default is not inspect.Parameter.empty:
            changed = changed.replace(default=_Shown(shorten(default_text(parameter.default))))
        plain.append(changed)
    return str(inspect.Signature(plain))


class _Shown:
    """A default value that prints as a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def default_text(value: Any) -> str:
    """How a signature shows a default value."""
    if inspect.isroutine(value) or isinstance(value, type | Operation):
        return str(getattr(value, "__name__", "..."))
    text = repr(value)
    return "..." if text.startswith("<") else re.sub(r"^dtype\('(\w+)'\)$", r"\1", text)


def shorten(text: str) -> str:
    """A text without line breaks, cut if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_DEFAULT else "..."


def directive(kind: str, argument: str, body: str, colons: int = 6) -> str:
    """A directive of MyST; an inner one needs fewer colons than the one around it."""
    fence = ":" * colons
    return f"{fence}{{{kind}}} {argument}\n{body}\n{fence}"


def as_markdown(docstring: str) -> str:
    """A docstring as Markdown: its sections become lists, its indented and interactive code is fenced."""
    blocks, lines = [], docstring.splitlines()
    while lines:
        section = SECTION.fullmatch(lines[0])
        if section:
            end = 1
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            blocks.append(_section(section[1], section[2] or "", textwrap.dedent("\n".join(lines[1:end])).strip("\n")))
        else:
            is_code = lines[0].startswith((">>> ", "    "))
            end = 1
            while end < len(lines) and not SECTION.fullmatch(lines[end]) and lines[end].strip():
                if is_code != lines[end].startswith((">>> ", "... ", "    ")) and not lines[0].startswith(">>> "):
                    break
                end += 1
            text = "\n".join(lines[:end])
            blocks.append(_code(text) if is_code else text)
        lines = lines[end:]
    return _merge_code("\n".join(blocks))


def _code(text: str) -> str:
    text = textwrap.dedent(text)
    try:
        ast.parse(text)
        language = "python"
    except SyntaxError:
        language = "pycon" if text.startswith(">>> ") else "text"
    return f"```{language}\n{text}\n```"


def _merge_code(text: str) -> str:
    """Code blocks that only an empty line separates are one."""
    return re.sub(r"\n```\n\n```python\n", "\n\n", text)


def _section(title: str, first: str, body: str) -> str:
    """A section of a docstring: entries of the form `name: text` become a list, anything else a paragraph."""
    if title in ("Example", "Examples"):
        return f"**{title}**\n\n{as_markdown(textwrap.dedent(body))}\n"
    entries = re.split(r"\n(?=\S)", body) if body else []
    if title in ("Args", "Raises", "Attributes") and entries:
        items = []
        for entry in entries:
            names, colon, text = entry.partition(":")
            text = " ".join(text.split())
            items.append(f"- `{names.strip()}`: {text}" if colon else f"- {' '.join(entry.split())}")
        return f"**{title}**\n\n" + "\n".join(items) + "\n"
    return f"**{title}**: {' '.join([first, *body.split()]).strip()}\n"
