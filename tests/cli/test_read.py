"""`chainrule read`: the digits of a page, printed line by line, as JSON, or drawn on the photo."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

JPEG = b"\xff\xd8\xff"


@pytest.fixture
def page(here, write):
    """Draw rows of digits on a page: 100×150 pixels each, with a margin of 100 pixels."""

    def page(rows, name="page.png", ink=30, paper=225, **options):
        picture = Image.new("L", (200 + 100 * max([4, *map(len, rows)]), 200 + 150 * max(2, len(rows))), paper)
        for down, row in enumerate(rows):
            for across, digit in enumerate(row):
                write(picture, digit, ink, 100 + 100 * across, 100 + 150 * down)
        picture.save(here / name, **options)
        return name

    return page


# Reading


def test_digits_line_by_line_and_nothing_else(command, page):
    done = command("read", page(["4071", "17"]))
    assert (done.code, done.out, done.err) == (0, "4071\n17\n", "")


def test_json_has_exactly_the_promised_form(command, page):
    done = command("read", page(["4071", "17"]), "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert list(document) == ["file", "lines"]
    assert document["file"] == "page.png"
    assert [[entry["digit"] for entry in line] for line in document["lines"]] == [[4, 0, 7, 1], [1, 7]]
    for down, line in enumerate(document["lines"]):
        for across, entry in enumerate(line):
            assert set(entry) - {"second"} == {"digit", "confidence", "box"}
            assert 0.5 <= entry["confidence"] <= 1
            left, top, right, bottom = entry["box"]
            assert all(type(side) is int for side in entry["box"])
            assert 100 + 100 * across < left < right < 200 + 100 * across
            assert 110 + 150 * down < top < bottom < 195 + 150 * down


def test_json_has_a_second_guess_that_is_near(command, page, monkeypatch):
    rows = np.array([[0.0] * 4 + [0.7, 0.3] + [0.0] * 4, [0.0] * 4 + [0.98, 0.02] + [0.0] * 4])
    monkeypatch.setattr("chainrule.cli.read.classifier", lambda run: lambda images: rows[: len(images)])
    monkeypatch.setattr("chainrule.images.classification.DETECTOR_WEIGHT", 0)
    monkeypatch.setattr("chainrule.images.classification.PROBABILITY_FLOOR", 0)
    monkeypatch.setattr("chainrule.images.page.UNSURE_CLASS_PROBABILITY", 0)  # each is read once
    entries = [e for line in json.loads(command("read", page(["44"]), "--json").out)["lines"] for e in line]
    near, sure = sorted(entries, key=lambda entry: "second" not in entry)
    assert list(near) == ["digit", "confidence", "box", "second"]
    assert near["second"] == {"digit": 5, "confidence": pytest.approx(near["confidence"] * 3 / 7)}
    assert list(sure) == ["digit", "confidence", "box"]


def test_what_it_is_not_sure_of_is_a_question_mark_and_null(command, page):
    file = page(["4071", "17"])
    assert command("read", file, "--min-confidence", "0").out == "4071\n17\n"
    sure = [entry["confidence"] for line in json.loads(command("read", file, "--json").out)["lines"] for entry in line]
    assert len(set(sure)) > 1
    least = sorted(sure)[3]
    done = command("read", file, "--min-confidence", least)
    assert done.code == 0
    assert done.out.count("?") == sum(confidence < least for confidence in sure) > 0
    document = json.loads(command("read", file, "--json", "--min-confidence", least).out)
    for entry in (entry for line in document["lines"] for entry in line):
        assert (entry["digit"] is None) == (entry["confidence"] < least)


def test_an_empty_page_is_an_answer(command, page):
    done = command("read", page([]))
    assert (done.code, done.out, done.err) == (0, "", "page.png: no digits found\n")
    done = command("read", "page.png", "--json")
    assert (done.code, json.loads(done.out), done.err) == (0, {"file": "page.png", "lines": []}, "")


def test_a_photo_that_lies_on_its_side_is_turned_upright(command, page, here):
    picture = Image.open(here / page(["4071", "17"]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated clockwise by 90°
    picture.transpose(Image.Transpose.ROTATE_90).save(here / "turned.jpg", exif=exif)
    upright, rotated = (json.loads(command("read", file, "--json").out)["lines"] for file in ("page.png", "turned.jpg"))
    assert command("read", "turned.jpg").out == "4071\n17\n"
    for one, other in zip(upright, rotated, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            assert ours["box"] == pytest.approx(theirs["box"], abs=3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1", "I;16", "LA"])
def test_pictures_of_any_mode(command, page, here, mode):
    gray = Image.open(here / page(["4071"]))
    picture = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257) if mode == "I;16" else gray.convert(mode)
    file = "other.tif" if mode in ("CMYK", "I;16") else "other.png"
    picture.save(here / file)
    assert command("read", file).out == "4071\n"


def test_a_run_of_ones_own(command, page, here, make_digits):
    from chainrule.training import experiment, run

    data = make_digits("my digits", train=60, test=10, side=28)
    trained = run.create(experiment.configure("mlp", data, epochs=1), here / "runs" / "mine")
    experiment.prepare(trained, data).fit(1)
    done = command("read", page(["4071", "17"]), "--run", "mine", "--min-confidence", "0")
    assert (done.code, done.err) == (0, "")
    assert [len(line) for line in done.out.splitlines()] == [4, 2]


# Drawing


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".TIFF"])
def test_the_drawing_is_the_photo_with_boxes(command, page, here, ending):
    file = page(["4071", "17"])
    done = command("read", file, "--out", "read" + ending)
    assert (done.code, done.out, done.err) == (0, "4071\n17\n", f"photo: read{ending}\n")
    drawn = np.asarray(Image.open(here / ("read" + ending)).convert("RGB")).astype(int)
    photo = np.asarray(Image.open(here / file).convert("RGB")).astype(int)
    assert drawn.shape == photo.shape
    for line in json.loads(command("read", file, "--json").out)["lines"]:
        for entry in line:
            left, top, right, bottom = entry["box"]
            inside = np.abs(drawn - photo)[top + 2 : bottom - 2, left + 2 : right - 2]
            assert np.median(inside) <= 8  # the digit is still visible
            edge = drawn[top:bottom, left - 1]
            assert np.median(edge[:, 2] - edge[:, 0]) > 60  # blue
    assert (np.abs(drawn - photo).max(axis=2) < 30).mean() > 0.85


def test_what_is_not_read_has_another_color(command, page, here):
    command("read", page(["4071", "17"]), "--out", "sure.png")
    command("read", "page.png", "--out", "unsure.png", "--min-confidence", "1")
    sure, unsure = (np.asarray(Image.open(here / name)).astype(int) for name in ("sure.png", "unsure.png"))
    assert ((unsure[..., 0] - unsure[..., 2]) > 150).any()
    assert not ((sure[..., 0] - sure[..., 2]) > 150).any()


def test_json_stays_alone_beside_a_drawing(command, page, here):
    done = command("read", page(["4071"]), "--json", "--out", "read.jpg")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["file"] == "page.png"
    assert (here / "read.jpg").read_bytes().startswith(JPEG)


# Errors


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_bad_pictures_are_one_sentence(command, page, here, json_too):
    (here / "empty.png").touch()
    (here / "text.png").write_text("this is no picture")
    (here / "folder.png").mkdir()
    (here / "cut.png").write_bytes((here / page(["40"])).read_bytes()[:300])
    for name in ("missing.png", "empty.png", "text.png", "folder.png", "cut.png"):
        done = command("read", name, *json_too)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"chainrule: {name}: ")
        assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a picture, a folder, or - for standard input; or use --clipboard or --sample"),
        (["a.png", "b.png", "--out", "c.png"], "--out takes a single PHOTO"),
        (["-", "-"], "standard input can be read only once"),
        (["a.png", "--min-confidence", "1.5"], "1.5 is not in the range 0<=x<=1"),
        (["a.png", "--min-confidence", "nan"], "nan is not a number from 0 to 1"),
    ],
    ids=str,
)
def test_a_command_line_that_is_wrong(command, arguments, message):
    done = command("read", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("read.txt", "'.txt' is not a supported photo format; use .png, .jpg, .jpeg, .webp, .bmp, .tif or .tiff"),
        ("read", "'' is not a supported photo format"),
        ("none/read.png", "the folder none does not exist"),
        ("page.png", "this is the input photo"),
    ],
)
def test_a_place_where_nothing_can_be_drawn(command, page, here, name, message):
    before = (here / page(["40"])).read_bytes()
    done = command("read", "page.png", "--out", name)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert (here / "page.png").read_bytes() == before


def test_the_drawing_never_takes_the_place_of_a_photo_of_two_names(command, page, here):
    before = (here / page(["40"])).read_bytes()
    (here / "other.png").hardlink_to(here / "page.png")
    done = command("read", "page.png", "--out", "other.png")
    assert (done.code, done.out) == (2, "")
    assert done.err == "chainrule: other.png: this is the input photo; choose another output file\n"
    assert (here / "other.png").read_bytes() == (here / "page.png").read_bytes() == before


def test_runs_that_do_not_fit(command, page, trained):
    done = command("read", page(["40"]), "--run", "nowhere")
    assert (done.code, done.out, done.err) == (2, "", "chainrule: nowhere: there is no such run\n")
    done = command("read", "page.png", "--run", trained[0])
    assert (done.code, done.out) == (2, "")
    assert "reading digits needs a network trained on 28×28 images" in done.err
