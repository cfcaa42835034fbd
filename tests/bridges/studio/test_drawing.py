"""The view Draw answers as `chainrule predict` does, and shows its steps."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

pytest.importorskip("starlette", reason="the studio's libraries are not installed: pip install '.[studio]'")

from chainrule import safetensors_io
from chainrule.cli import cli
from chainrule.data import mnist
from chainrule.errors import RunError, UserError
from chainrule.reading import DigitReader, Guess
from chainrule.studio.drawing import Drawing
from chainrule.studio.shelf import Shelf
from chainrule.training import run as runs


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    return Drawing(runs.shipped(), Shelf(tmp_path_factory.mktemp("runs")), mnist().test_images[:5])


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def drawn(number):
    """A test digit of MNIST, as the page draws one."""
    digit = Image.fromarray(255 - mnist().test_images[number])
    page = Image.new("L", (560, 560), 255)
    page.paste(digit.resize((480, 480), Image.Resampling.NEAREST), (40, 40))
    return page.convert("RGBA")


@pytest.mark.parametrize("number", range(100, 110))
def test_the_answer_is_that_of_predict(drawing, tmp_path, monkeypatch, number):
    picture = png(drawn(number))
    (told, stages) = drawing.answer({"ask": "read", "number": 4}, [picture])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawing.png").write_bytes(picture)
    (entry,) = json.loads(CliRunner().invoke(cli, ["predict", "drawing.png", "--json"]).output)
    assert told["tell"] == "reading"
    assert told["number"] == 4
    for name in ("digit", "confidence", "confidences", "no_digit"):
        assert told[name] == entry[name], name
    assert told["second"] == entry.get("second")
    assert [len(stage) for stage in stages] == [np.prod(stage["shape"]) for stage in told["stages"]]
    assert all(stage["about"] for stage in told["stages"])
    last = told["stages"][-1]
    assert (last["shape"], last["digit"], last["confidence"]) == ((28, 28), told["digit"], told["confidence"])


def test_two_digits_a_blank_picture_and_what_is_no_picture(drawing):
    two = Image.new("L", (560, 300), 255)
    pen = ImageDraw.Draw(two)
    for x in (150, 400):
        pen.line([(x, 60), (x, 240)], fill=0, width=30)
    assert drawing.answer({"ask": "read", "number": 1}, [png(two)])[0]["count"] == 2
    blank = drawing.answer({"ask": "read", "number": 2}, [png(Image.new("L", (99, 99), 255))])
    assert blank == ({"tell": "reading", "number": 2, "blank": True}, [])
    for picture in (b"", b"no picture", png(two)[:200]):
        told, stages = drawing.answer({"ask": "read", "number": 3}, [picture])
        assert told["error"].startswith("the picture")
        assert "drawing.png" not in told["error"]  # a file that the person has never seen
        assert stages == []


def test_samples_and_what_is_not_understood(drawing):
    told, (sample,) = drawing.answer({"ask": "sample", "number": 7}, [])
    assert told == {"tell": "sample", "side": 28}
    assert np.array_equal(np.frombuffer(sample, np.uint8).reshape(28, 28), mnist().test_images[2])
    told, nothing = drawing.answer({"ask": "network"}, [])
    assert (told["tell"], told["names"], nothing) == ("network", [*"0123456789"], [])
    assert told["about"].startswith("reader, the network in the package: reads 99.")
    for content, buffers in (
        ({}, []),
        ({"ask": "read"}, [b"1"]),
        ({"ask": "read", "number": "1"}, [b"1"]),
        ({"ask": "read", "number": 1}, []),
    ):
        assert drawing.answer(content, buffers) is None


def test_long_drawings_are_kept_under_a_key(drawing):
    text = "5.6.7.8-" * 2000
    told, _ = drawing.answer({"ask": "keep", "text": text}, [])
    assert told["tell"] == "kept"
    assert drawing.answer({"ask": "kept", "key": told["key"]}, []) == ({"tell": "strokes", "text": text}, [])
    for key in ("0" * 16, "../../secret", "", told["key"].upper()):
        with pytest.raises(UserError, match="not kept here"):
            drawing.answer({"ask": "kept", "key": key}, [])
    with pytest.raises(UserError, match="too many to keep"):
        drawing.answer({"ask": "keep", "text": "1" * 300_000}, [])


def test_the_code_gives_the_same_answer(drawing, tmp_path):
    (tmp_path / "drawing.png").write_bytes(png(drawn(17)))
    told, _ = drawing.answer({"ask": "read", "number": 1}, [(tmp_path / "drawing.png").read_bytes()])
    code = drawing.answer({"ask": "network"}, [])[0]["code"]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{Guess(told['digit'], told['confidence'])} {told['confidences']}\n"


def test_a_run_that_is_trained_further_is_opened_again(tmp_path):
    shutil.copytree(runs.SHIPPED, tmp_path / "run")
    view = Drawing(runs.Run(tmp_path / "run"), Shelf(tmp_path))
    before = view.answer({"ask": "read", "number": 1}, [png(drawn(17))])[0]
    file = tmp_path / "run" / "model.safetensors"
    state = {name: tensor * 0.5 for name, tensor in safetensors_io.load(file).items()}
    safetensors_io.save(state, file)
    after = view.answer({"ask": "read", "number": 2}, [png(drawn(17))])[0]
    (tmp_path / "drawing.png").write_bytes(png(drawn(17)))
    expected = DigitReader(runs.Run(tmp_path / "run")).read(tmp_path / "drawing.png").probabilities
    assert after["confidences"] == expected != before["confidences"]
    whole = file.read_bytes()
    file.write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(RunError, match="is not a complete safetensors file"):
            view.answer({"ask": "read", "number": 3}, [png(drawn(17))])
    file.write_bytes(whole)
    assert view.answer({"ask": "read", "number": 3}, [png(drawn(17))])[0]["confidences"] == after["confidences"]
    file.unlink()
    assert view.answer({"ask": "read", "number": 3}, [png(drawn(17))])[0]["confidences"] == after["confidences"]
