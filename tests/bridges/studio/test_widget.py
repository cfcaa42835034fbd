"""A view as a widget: its Python side answers over a notebook's connection (which is faked here), and its module is one."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("anywidget", reason="the widget's library is not installed: pip install '.[widget]'")

import comm

import chainrule.studio
from chainrule.errors import MissingLibraryError, RunError, UserError
from chainrule.studio.bundle import STATIC, bundle, style
from chainrule.studio.shelf import Shelf
from chainrule.studio.views import VIEWS
from chainrule.studio.words import Words
from chainrule.training import run as runs

QUESTION = {"ask": "read", "number": 7, "model": "shipped_words", "text": "we eat", "temperature": 1, "seed": 0}


class Connection(comm.base_comm.BaseComm):
    """A notebook's connection to a widget, which remembers what it is given."""

    def __init__(self, *arguments, **options):
        self.published, self.news = [], threading.Condition()
        super().__init__(*arguments, **options)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        with self.news:
            self.published.append((msg_type, data, buffers or []))
            self.news.notify_all()

    def answer(self, content, buffers=()):
        """Send a message as the page does, and wait for the one that follows."""
        before = len(self.published)
        message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": list(buffers)}
        self.handle_msg(message)
        with self.news:
            assert self.news.wait_for(lambda: len(self.published) > before, timeout=30)
        _, data, arrays = self.published[before]
        assert data["method"] == "custom"
        return data["content"], arrays


@pytest.fixture
def connect(monkeypatch):
    """Makes a widget, and gives it with its connection."""
    monkeypatch.setattr(comm, "create_comm", Connection)
    made = []

    def make(*arguments, **options):
        widget = chainrule.studio.widget(*arguments, **options)
        made.append(widget)
        return widget, widget.comm

    yield make
    for widget in made:
        widget.close()


def test_a_widget_answers_as_the_studio_does(connect):
    widget, connection = connect(runs.SHIPPED_WORDS)
    told, arrays = connection.answer(QUESTION)
    expected, (weights,) = Words(Shelf()).answer(QUESTION, [])
    assert told == expected
    assert bytes(arrays[0]) == weights
    assert widget.state == ""
    opened = connection.published[0]
    assert opened[0] == "comm_open"
    assert opened[1]["state"]["_esm"] == bundle("words")
    assert opened[1]["state"]["_css"] == style("words")


def test_buffers_are_handed_on(connect):
    """The view Draw gets a picture's file as a memoryview, as ipywidgets has it."""
    drawing, file = Image.new("L", (280, 280), 255), io.BytesIO()
    ImageDraw.Draw(drawing).line([(140, 40), (140, 240)], fill=0, width=24)
    drawing.save(file, "PNG")
    _, connection = connect()
    told, stages = connection.answer({"ask": "read", "number": 1}, [memoryview(file.getvalue())])
    assert told["digit"] == 1
    assert [len(bytes(stage)) for stage in stages] == [int(np.prod(stage["shape"])) for stage in told["stages"]]


@pytest.mark.parametrize("content", [{}, {"ask": "read"}, {"ask": ["read"]}, [], "read", None, {"view": "draw"}])
def test_what_is_not_understood_gets_a_sentence(connect, content):
    _, connection = connect(runs.SHIPPED_WORDS)
    told, arrays = connection.answer(content)
    assert "does not understand this message" in told["error"]
    assert arrays == []


def test_the_state_is_that_of_the_address(connect):
    widget, connection = connect("shipped", "words", "text=the+bank&seed=3")
    assert widget.state == "text=the+bank&seed=3"
    update = {"method": "update", "state": {"state": "seed=4"}, "buffer_paths": []}
    connection.handle_msg({"content": {"data": update}, "buffers": []})
    assert widget.state == "seed=4"
    widget.state = "seed=5"
    assert connection.published[-1][1]["state"] == {"state": "seed=5"}


def test_closing_tells_the_python_side(connect, monkeypatch):
    widget, connection = connect("shipped_words")
    connection.answer(QUESTION)
    closed = []
    monkeypatch.setattr(Words, "close", lambda self: closed.append(self))
    widget.close()
    widget.close()
    assert len(closed) == 1


def test_runs_and_views_by_name(connect, tmp_path):
    shutil.copytree(runs.SHIPPED_WORDS, tmp_path / "sentences")
    for model in (tmp_path / "sentences", tmp_path, runs.Run(tmp_path / "sentences"), str(tmp_path / "sentences")):
        widget, connection = connect(model)
        assert widget.name == "words"
        assert connection.answer({"ask": "models"})[0]["chosen"] == "sentences"
    assert connect("shipped")[0].name == connect()[0].name == "draw"
    with pytest.raises(RunError, match="there is no such run"):
        chainrule.studio.widget(tmp_path / "none")
    with pytest.raises(UserError, match=r"there is no view 'paint'; the views are draw, .*words"):
        chainrule.studio.widget(view="paint")
    with pytest.raises(UserError, match="there is no view 3"):
        chainrule.studio.widget(view=3)


def test_without_the_library_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "chainrule.studio.notebook", None)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "chainrule.studio.notebook")
    with pytest.raises(
        MissingLibraryError, match=r"needs the library anywidget, .*: pip install 'chainrule\[widget\]'"
    ):
        chainrule.studio.widget()


# One module of many


@pytest.mark.parametrize("view", VIEWS)
def test_a_bundle_holds_each_module_once_after_those_it_imports(view):
    module = bundle(view)
    sources = json.loads(re.match(r"const sources = (.*);\n", module)[1])
    names = [name for name, _ in sources]
    assert len(set(names)) == len(names)
    assert names[-1] == "widget.js"
    assert f"views/{view}.js" in names
    for position, (_, text) in enumerate(sources):
        linked = re.findall(r'"studio:([^"]+)"', text)
        assert set(linked) <= set(names[:position])
        assert not re.search(r'from "\.', text)
    by_hand = {f"views/{view}.js", "widget.js"}
    while True:  # what the files import, read in another way
        more = {
            str((STATIC / name).parent.joinpath(path).resolve().relative_to(STATIC))
            for name in by_hand
            for path in re.findall(r'from "(\.[^"]+)";', (STATIC / name).read_text())
        }
        if more <= by_hand:
            break
        by_hand |= more
    assert set(names) == by_hand


def folder_of(tmp_path, **files):
    for name, text in {"widget": "export const adapt = 1;", **files}.items():
        file = tmp_path / f"{name.replace('__', '/')}.js"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_imports_of_all_kinds_and_in_dependency_order(tmp_path):
    """The bundle runs in a browser; here a few lines stand for its `blob:` addresses."""
    static = folder_of(
        tmp_path,
        views__one='// @ts-check\n/** @typedef {import("./other.js").T} T */\nimport { b,\n  c } from "../parts/b.js";\n'
        "import * as d from '../parts/d.js';\nexport { e } from \"../parts/e.js\";\nexport default [b, c, d];\n",
        parts__b='import "./d.js";\nexport const b = `import { x } from "y"`, c = 2;',
        parts__d="export const f = 'image/*';",
        parts__e="export const e = 1;",
    )
    sources = dict(json.loads(re.match(r"const sources = (.*);\n", bundle("one", static))[1]))
    assert list(sources) == ["parts/d.js", "parts/b.js", "parts/e.js", "views/one.js", "widget.js"]
    assert 'c } from "studio:parts/b.js"' in sources["views/one.js"]
    assert 'import * as d from "studio:parts/d.js"' in sources["views/one.js"]
    assert 'import "studio:parts/d.js"' in sources["parts/b.js"]
    assert 'import("./other.js").T' in sources["views/one.js"]
    assert 'import { x } from "y"' in sources["parts/b.js"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"views__one": 'import "../a.js";', "a": 'import "./b.js";', "b": 'import "./a.js";'}, "a.js imports b.js imports a.js"),
        ({"views__one": 'import "../../server.js";'}, "imports ../../server.js, which is outside the folder"),
        ({"views__one": 'const a = await import("./two.js");'}, "views/one.js imports a module dynamically"),
    ],
)  # fmt: skip
def test_what_cannot_be_one_module_is_refused(tmp_path, files, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        bundle("one", folder_of(tmp_path, **files))


def test_the_style_is_for_the_widget_alone():
    sheet = style("words")
    assert sheet.startswith("@scope (.chainrule-studio) {")
    assert sheet.rstrip().endswith("}")
    assert sheet.count("{") == sheet.count("}")
    assert not re.search(r"(?m)^(:root|body|html)\b", sheet)
    assert ".words {" in sheet


def test_the_widget_needs_no_server():
    blocked = "import sys; sys.modules.update(dict.fromkeys(['starlette', 'uvicorn', 'websockets']));"
    code = f"{blocked} import chainrule.studio as s; print(s.widget('shipped_words').name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "words"
