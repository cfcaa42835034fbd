"""The site's own code: links to the source survive, docstrings become Markdown, every public name has an entry."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from chainrule import plots
from chainrule.first_principles.descent import descend, parabola, parabola_gradient
from chainrule.lessons import show
from chainrule.plots.style import DARK, LIGHT

SITE = Path(__file__).parents[2] / "docs" / "site"


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


pages, reference, figures = load("pages"), load("api_reference"), load("figures")


def test_figures_and_animations_are_drawn_for_light_and_dark_pages(tmp_path):
    plt.switch_backend("agg")
    roll = descend(parabola, parabola_gradient, 10.0, 0.1, 3)
    show(plots.lines({"a": [1, 2]}, title="Still", x_label="x", y_label="y"))
    show(plots.animate_descent(roll, parabola, title="Rolling"))
    (tmp_path / "images").mkdir()
    names = iter([str(tmp_path / "images" / "1.png"), str(tmp_path / "images" / "2.png")])
    text = figures.scrape(None, {"image_path_iterator": names}, {"src_dir": str(tmp_path)})
    shown = re.findall(r"\.\. image:: /(\S+)\n   :alt: (.*)\n   :class: (\S+) lesson-figure", text)
    assert shown == [
        ("images/1.png", "Still", "only-light"),
        ("images/1_dark.png", "Still", "only-dark"),
        ("images/2.gif", "Rolling: step 3, f = 26.2", "only-light"),
        ("images/2_dark.gif", "Rolling: step 3, f = 26.2", "only-dark"),
    ]
    assert (tmp_path / "images" / "2.png").exists(), "the thumbnail is made from it"
    for file, _, theme in shown:
        with Image.open(tmp_path / file) as image:
            assert getattr(image, "n_frames", 1) == (4 if file.endswith(".gif") else 1)
            color = to_hex(np.array(image.convert("RGB").getpixel((2, 2))) / 255)
        assert color == (LIGHT if theme == "only-light" else DARK).background
    assert plt.get_fignums() == []


def test_links_to_the_source_lead_to_its_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "PAGES", tmp_path / "pages")
    monkeypatch.setattr(pages, "SOURCE", tmp_path / "source")
    monkeypatch.setattr(pages, "STYLES", ("default", "monokai"))
    pages.bring_pages()
    links = []
    for page in (SITE.parent).glob("*.md"):
        wanted = len(re.findall(r"\]\(\.\./src/[^)]+\.py(?:#\w+)?\)", page.read_text(encoding="utf-8")))
        written = (tmp_path / "pages" / page.name).read_text(encoding="utf-8")
        found = re.findall(r'<a href="\.\./source/([^"#]+)(?:#(L-\d+))?">', written)
        assert len(found) == wanted, page.name
        assert "../src/" not in written
        links += found
    assert len(links) > 20
    pages.show_source({pages.SRC / file.removesuffix(".html") for file, _ in links})
    for file, anchor in links:
        text = (tmp_path / "source" / "source" / file).read_text(encoding="utf-8")
        assert not anchor or f'id="{anchor}"' in text or f'name="{anchor}"' in text, (file, anchor)
        home = re.search(r'href="([./]+)index\.html"', text)[1]
        assert home.count("../") == file.count("/") + 1  # from source/chainrule/… to the root


def test_a_function_that_is_gone_fails_the_build():
    with pytest.raises(LookupError, match="a page links to nowhere in src/chainrule/tensor.py, which does not define"):
        pages.first_line(pages.SRC / "chainrule" / "tensor.py", "nowhere")


def test_a_docstring_becomes_markdown():
    text = reference.as_markdown(
        "Do it.\n\n    x = f(1)\n\n    y = x\n\nArgs:\n    one: the first,\n        in two lines.\n    two: 2.\n\n"
        "Returns:\n    A sum.\n\nRaises:\n    ValueError: wrong.\n\nSource: A book (1999).\n\n>>> f(1)\n1"
    )
    assert text == (
        "Do it.\n\n```python\nx = f(1)\n\ny = x\n```\n\n**Args**\n\n- `one`: the first, in two lines.\n- `two`: 2.\n\n"
        "**Returns**: A sum.\n\n**Raises**\n\n- `ValueError`: wrong.\n\n**Source**: A book (1999).\n\n"
        "```pycon\n>>> f(1)\n1\n```"
    )


def test_a_signature_has_defaults_and_no_types():
    def function(first: int, *rest: int, kind: type = float, order=sorted, text: str = "a") -> None:
        """Nothing."""

    assert reference.signature(function) == "(first, *rest, kind=float, order=sorted, text='a')"


@pytest.mark.parametrize("name", sorted({module for _, modules in reference.PARTS.values() for module in modules}))
def test_every_public_name_of_a_part_has_a_docstring(name):
    library = {"chainrule.torch": "torch", "chainrule.onnx": "onnx", "chainrule.sklearn": "sklearn"}.get(name)
    if library is not None:
        pytest.importorskip(library)
    module = importlib.import_module(name)
    names = reference.public_names(module)
    assert names
    for public in names:
        value = getattr(module, public)
        assert not callable(value) or value.__doc__, f"{name}.{public}"
