"""What `predict` and `read` take: files, folders, standard input, the clipboard, pages of PDF documents, the sample."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import pytest
from PIL import Image, ImageGrab

from chainrule import images
from chainrule.cli import inputs


@pytest.fixture
def draw(here, write):
    """Draw a digit to a file."""

    def draw(digit, name, **options):
        picture = Image.new("L", (100, 100), 225)
        write(picture, digit, 30)
        picture.save(here / name, **options)
        return name

    return draw


@pytest.fixture
def pipe(monkeypatch):
    """Set the bytes of standard input."""

    def pipe(data, terminal=False):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal))

    return pipe


def answers(done):
    return [(entry["file"], entry.get("digit", entry.get("error"))) for entry in json.loads(done.out)]


def test_the_sample(command):
    done = command("predict", "--sample")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("sample.jpg: 7  (")
    assert inputs.SAMPLE.samefile(images.SAMPLE)
    assert inputs.SAMPLE.stat().st_size < 30_000


def test_a_folder_is_its_pictures_in_order(command, draw, here):
    (here / "photos").mkdir()
    draw("7", "photos/b.png")
    draw("1", "photos/a.PNG")
    (here / "photos" / "notes.txt").write_text("none")
    (here / "photos" / "list.csv").write_text("none")
    done = command("predict", "photos", "--json")
    assert (done.code, done.err) == (0, "photos: skipped 2 files that are not pictures\n")
    assert answers(done) == [("photos/a.PNG", 1), ("photos/b.png", 7)]
    done = command("read", "photos", "--min-confidence", "0", "--json")
    assert (done.code, [entry["file"] for entry in json.loads(done.out)]) == (0, ["photos/a.PNG", "photos/b.png"])


def test_a_folder_without_pictures(command, here):
    (here / "empty").mkdir()
    for name in ("predict", "read"):
        done = command(name, "empty")
        assert (done.code, done.out) == (2, "")
        assert done.err == "chainrule: empty: this folder contains no pictures\n"


def test_standard_input(command, draw, here, pipe):
    draw("4", "4.png")
    pipe((here / "4.png").read_bytes())
    done = command("predict", "-")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("standard input: 4  (")
    pipe((here / "4.png").read_bytes())
    done = command("read", "-", "--json")
    assert json.loads(done.out)["file"] == "standard input"


@pytest.mark.parametrize(
    ("data", "terminal", "message"),
    [
        (b"", False, "standard input: the file is empty"),
        (b"nothing", False, "standard input: not an image in one of the formats"),
        (b"", True, "standard input: there is no picture; pipe one in"),
        (b"12345", False, "standard input: the picture is too large"),
    ],
)
def test_standard_input_that_is_no_picture(command, pipe, monkeypatch, data, terminal, message):
    if data == b"12345":
        monkeypatch.setattr(inputs, "MAX_INPUT_BYTES", 4)
    for name in ("predict", "read"):
        pipe(data, terminal)
        done = command(name, "-")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"chainrule: {message}")
        assert done.err.count("\n") == 1


def test_the_clipboard(command, draw, here, monkeypatch):
    draw("7", "7.png")
    monkeypatch.setattr(ImageGrab, "grabclipboard", lambda: Image.open(here / "7.png"))
    assert command("predict", "--clipboard").out.startswith("clipboard: 7  (")
    monkeypatch.setattr(ImageGrab, "grabclipboard", lambda: [str(here / "7.png")])
    assert answers(command("predict", "--clipboard", "--json")) == [(str(here / "7.png"), 7)]


@pytest.mark.parametrize("missing", [True, False])
def test_a_clipboard_without_a_picture(command, monkeypatch, missing):
    def grab():
        if missing:
            raise NotImplementedError("wl-paste or xclip is required for ImageGrab.grabclipboard() on Linux")

    monkeypatch.setattr(ImageGrab, "grabclipboard", grab)
    message = "it cannot be read; on Linux, this needs wl-paste" if missing else "it contains no picture\n"
    for name in ("predict", "read"):
        done = command(name, "--clipboard")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"chainrule: clipboard: {message}")


# PDF documents


@pytest.fixture
def document(here, write):
    """A PDF document with a 4 on its first page and a 7 on its second."""
    pytest.importorskip("pypdfium2", reason="the extra pdf is not installed")
    pages = []
    for digit in "47":
        page = Image.new("L", (300, 400), 255)
        write(page, digit, 20, 100, 150)
        pages.append(page)
    pages[0].save(here / "pages.pdf", save_all=True, append_images=pages[1:])
    return "pages.pdf"


def test_a_page_of_a_document(command, document, here, pipe):
    assert answers(command("predict", document, "--json")) == [("pages.pdf, page 1 of 2", 4)]
    assert answers(command("predict", document, "--page", "2", "--json")) == [("pages.pdf, page 2 of 2", 7)]
    done = command("predict", document, "--page", "3")
    assert (done.code, done.out) == (2, "")
    assert done.err == "chainrule: pages.pdf: there is no page 3; the document has 2 pages\n"
    pipe((here / document).read_bytes())
    assert answers(command("predict", "-", "--page", "2", "--json")) == [("standard input, page 2 of 2", 7)]


def test_a_document_that_is_damaged(command, document, here):
    (here / "cut.pdf").write_bytes((here / document).read_bytes()[:300])
    done = command("predict", "cut.pdf")
    assert (done.code, done.out, done.err) == (2, "", "chainrule: cut.pdf: the PDF document is damaged\n")


def test_a_document_without_its_library(command, here, monkeypatch):
    (here / "page.pdf").write_bytes(b"%PDF-1.7\n")
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    for name in ("predict", "read"):
        done = command(name, "page.pdf")
        assert (done.code, done.out) == (2, "")
        message = "this is a PDF document; reading its pages needs pypdfium2: pip install 'chainrule[pdf]'"
        assert done.err == f"chainrule: page.pdf: {message}\n"


# Several at once


def test_read_takes_several_photos(command, here, write):
    for name, digits in (("one.png", "40"), ("two.png", "17")):
        picture = Image.new("L", (600, 500), 225)
        for across, digit in enumerate(digits):
            write(picture, digit, 30, 100 + 150 * across, 200)
        picture.save(here / name)
    done = command("read", "one.png", "missing.png", "two.png")
    assert done.code == 2
    assert done.out == "one.png:\n40\ntwo.png:\n17\n"
    assert done.err == "chainrule: missing.png: there is no such file\n"
    document = json.loads(command("read", "one.png", "missing.png", "--json").out)
    assert [list(entry) for entry in document] == [["file", "lines"], ["file", "error"]]
