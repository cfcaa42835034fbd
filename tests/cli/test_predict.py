"""`chainrule predict`: the digit in each image, by the pretrained network or by a run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageFilter

from chainrule import models, safetensors_io
from chainrule.errors import PictureError
from chainrule.training import experiment, run

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def draw(here, write):
    """Draw a digit to a file, dark on light by default."""

    def draw(digit, name=None, ink=30, paper=225):
        picture = Image.new("L", (100, 100), paper)
        write(picture, digit, ink)
        file = here / (name or f"{digit}.png")
        picture.save(file)
        return file.name

    return draw


@pytest.fixture
def own(here, make_digits):
    """A run trained on 28×28 images, without useful accuracy."""
    data = make_digits("my digits", train=60, test=10, side=28)
    trained = run.create(experiment.configure("mlp", data, epochs=1), here / "runs" / "mine")
    experiment.prepare(trained, data).fit(1)
    return trained


def edit(trained, part, key, value):
    config = json.loads(trained.config_file.read_text())
    config[part][key] = value
    trained.config_file.write_text(json.dumps(config))


@pytest.fixture
def copy(here):
    """A copy of the pretrained run, which a test may modify."""
    return run.Run(shutil.copytree(run.shipped().folder, here / "copy"))


# Reading


@pytest.mark.parametrize("digit", ["0", "1", "4", "7"])
@pytest.mark.parametrize(("ink", "paper"), [(30, 225), (240, 20)], ids=["dark on light", "light on dark"])
def test_the_shipped_network_reads_without_any_run(command, draw, digit, ink, paper):
    done = command("predict", draw(digit, ink=ink, paper=paper))
    assert (done.code, done.err) == (0, "")
    first, *bars, last = done.out.splitlines()
    assert first.startswith(f"{digit}.png: {digit}  (")
    assert first.endswith("%)")
    assert len(bars) == 10
    assert last.startswith("model: reader, the pretrained network, 99.")


def test_charts_are_no_wider_than_the_terminal(command, draw, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = command("predict", draw("4")).out.splitlines()
    assert [len(line) for line in lines[1:11]] == [40] * 10


def test_a_run_of_ones_own_does_not_take_its_place_unless_chosen(command, draw, own):
    file = draw("1")
    assert "the pretrained network" in command("predict", file).out
    for name in ("runs", "mine", "runs/mine"):
        done = command("predict", file, "--run", name)
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines()[-1] == "model: mlp from runs/mine"


def test_json_is_one_document_and_nothing_else(command, draw):
    done = command("predict", draw("1"), draw("7"), "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert [(entry["file"], entry["digit"]) for entry in document] == [("1.png", 1), ("7.png", 7)]
    for entry in document:
        assert list(entry) == ["file", "digit", "confidence", "confidences", "no_digit"]
        assert len(entry["confidences"]) == 10
        assert sum(entry["confidences"]) + entry["no_digit"] == pytest.approx(1, abs=1e-12)
        assert entry["confidence"] == max(entry["confidences"]) == entry["confidences"][entry["digit"]]


def test_the_classes_of_a_run_name_what_is_read(command, draw, copy):
    edit(copy, "data", "classes", [*(f"number {digit}" for digit in range(10)), "none"])
    assert command("predict", draw("7"), "--run", "copy").out.startswith("7.png: number 7  (")


def test_the_steps_are_drawn(command, draw, here):
    done = command("predict", draw("4"), "--explain", "steps.png")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "figure: steps.png"
    assert (here / "steps.png").read_bytes().startswith(PNG)


def test_a_near_second_guess_is_printed(command, draw, here, monkeypatch):
    row = np.array([0, 0.35, 0, 0, 0, 0, 0, 0.62, 0, 0.02, 0.01], np.float32)
    monkeypatch.setattr("chainrule.reading.classifier", lambda run: lambda images: np.tile(row, (len(images), 1)))
    done = command("predict", draw("7"))
    assert done.out.startswith("7.png: 7  (62.0%), or 1 (35.0%)\n")
    (entry,) = json.loads(command("predict", "7.png", "--json").out)
    assert entry["second"] == {"digit": 1, "confidence": pytest.approx(0.35)}


def test_a_network_with_a_class_for_no_digit(command, draw, monkeypatch):
    none = 0.8

    def stub(run):
        return lambda images: np.tile(
            np.array([0, 0, 0, 0, 0, 0, 0, 1 - none, 0, 0, none], np.float32), (len(images), 1)
        )

    monkeypatch.setattr("chainrule.reading.classifier", stub)
    monkeypatch.setattr("chainrule.cli.predict.class_names", lambda run: [*"0123456789", "none"])
    done = command("predict", draw("7"))
    assert done.out.startswith("7.png: no digit  (80.0%), or 7 (20.0%)\n")
    (entry,) = json.loads(command("predict", "7.png", "--json").out)
    assert (entry["digit"], entry["second"]["digit"], len(entry["confidences"])) == (None, 7, 10)
    assert entry["confidence"] == entry["no_digit"] == pytest.approx(0.8)
    none = 0.4
    (entry,) = json.loads(command("predict", "7.png", "--json").out)
    assert (entry["digit"], entry["confidence"], entry["no_digit"]) == (7, pytest.approx(0.6), pytest.approx(0.4))


def test_two_digits_are_noticed(command, here, write):
    picture = Image.new("L", (220, 120), 225)
    write(picture, "4", 30, 10, 10)
    write(picture, "7", 30, 110, 10)
    picture.save(here / "two.png")
    done = command("predict", "two.png")
    message = "two.png: there are 2 digits in this picture, but predict reads only one; to read them all: chainrule read two.png"
    assert (done.code, done.err) == (2, f"chainrule: {message}\n")
    assert done.out.startswith("two.png: ")
    done = command("predict", "two.png", "--json")
    (entry,) = json.loads(done.out)
    assert (done.code, done.err, entry["digits"], entry["error"]) == (2, "", 2, message)
    assert entry["confidence"] == max(*entry["confidences"], entry["no_digit"])


def test_where_no_digit_fills_the_picture_a_page_is_noticed(command, here, write):
    """A page with small digits is blank to `predict`, or no digit; the detector counts them."""
    picture = Image.new("L", (1600, 1200), 225)
    for across, digit in enumerate("471"):
        small = Image.new("L", (100, 100), 225)
        write(small, digit, 60)
        picture.paste(small.resize((36, 36), Image.Resampling.BOX), (300 + 60 * across, 500))
    picture = picture.filter(ImageFilter.GaussianBlur(1))
    picture.paste(30, (0, 700, 1600, 1200))  # a table
    picture.save(here / "page.png")
    assert command("read", "page.png").out == "471\n"
    done = command("predict", "page.png", "--json")
    (entry,) = json.loads(done.out)
    assert (done.code, entry["digits"]) == (2, 3)
    assert entry["error"].startswith(
        "page.png: there are 3 digits in this picture, but predict reads only one; to read them"
    )


@pytest.mark.parametrize("answer", ["none", "blank"])
def test_in_doubt_digits_are_counted(command, draw, here, monkeypatch, answer):
    """One digit, or none, changes nothing; several do."""
    count = 1
    monkeypatch.setattr("chainrule.cli.predict._count_on_page", lambda picture, classify: count)
    row = np.array([[0.0] * 10 + [1.0]], np.float32)
    monkeypatch.setattr("chainrule.reading.classifier", lambda run: lambda images: np.tile(row, (len(images), 1)))
    file = draw("7")
    if answer == "blank":
        file = "blank.png"
        Image.new("L", (50, 50), 200).save(here / file)
    done = command("predict", file, "--json")
    (entry,) = json.loads(done.out)
    assert (done.code, "digits" in entry) == (2 if answer == "blank" else 0, False)
    assert ("the image is blank" in entry.get("error", "")) == (answer == "blank")
    count = 4
    done = command("predict", file)
    assert done.code == 2
    assert f"chainrule: {file}: there are 4 digits in this picture" in done.err
    assert done.out.startswith(f"{file}: no digit") == (answer == "none")


def test_a_picture_too_large_to_be_read_as_a_page_does_not_stop_the_others(command, draw, here, monkeypatch):
    def refuse(path, name):
        raise PictureError(f"{name}: the image is too large")

    Image.new("L", (50, 50), 200).save(here / "blank.png")
    monkeypatch.setattr("chainrule.images.open_gray_photo", refuse)
    done = command("predict", "blank.png", draw("7"))
    assert done.code == 2
    assert done.err == "chainrule: blank.png: no digit found; the image is blank\n"
    assert done.out.startswith("7.png: 7  (")


# Errors


def test_bad_pictures_are_named_and_good_ones_still_read(command, draw, here):
    (here / "empty.png").touch()
    (here / "text.png").write_text("this is no picture")
    (here / "folder.png").mkdir()
    Image.new("L", (50, 50), 200).save(here / "blank.png")
    (here / "cut.png").write_bytes((here / draw("0")).read_bytes()[:150])
    bad = ["missing.png", "empty.png", "text.png", "folder.png", "blank.png", "cut.png"]
    done = command("predict", *bad[:3], draw("1"), *bad[3:])
    assert done.code == 2
    assert done.out.startswith("1.png: 1  (")
    complaints = done.err.splitlines()
    assert len(complaints) == len(bad)
    for name, line in zip(bad, complaints, strict=True):
        assert line.startswith(f"chainrule: {name}: ")

    done = command("predict", *bad, "--json")
    assert (done.code, done.err) == (2, "")
    assert [list(entry) for entry in json.loads(done.out)] == [["file", "error"]] * len(bad)
    assert "the network" not in command("predict", *bad).out  # nothing was read


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a picture, a folder, or - for standard input; or use --clipboard or --sample"),
        (["a.png", "b.png", "--explain", "steps.png"], "--explain takes a single IMAGE"),
        (["a.png", "--run"], "option '--run' requires an argument"),
    ],
    ids=str,
)
def test_a_command_line_that_is_wrong(command, arguments, message):
    done = command("predict", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize(
    ("name", "message"),
    [("figure.txt", "'.txt' is not a supported figure format"), ("none/figure.png", "the folder none does not exist")],
)
def test_steps_that_cannot_be_drawn(command, draw, name, message):
    done = command("predict", draw("1"), "--explain", name)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("name", ["4.png", "./4.png", "link.png", "hard link.png"])
def test_the_steps_never_take_the_place_of_the_picture(command, draw, here, name):
    before = (here / draw("4")).read_bytes()
    (here / "link.png").symlink_to("4.png")
    (here / "hard link.png").hardlink_to(here / "4.png")
    done = command("predict", "4.png", "--explain", name)
    message = f"chainrule: {name}: this is the input photo; choose another output file\n"
    assert (done.code, done.out, done.err) == (2, "", message)
    assert (here / "4.png").read_bytes() == before
    assert (here / "link.png").is_symlink()


def test_where_the_steps_go_is_seen_before_a_picture_is_read(command, here):
    done = command("predict", "missing.png", "--explain", "steps.txt")
    assert (done.code, done.out) == (2, "")
    assert done.err == "chainrule: steps.txt: '.txt' is not a supported figure format; use .png, .svg or .pdf\n"


def test_a_run_that_is_none(command, draw, here):
    file = draw("1")
    for path, message in (("nowhere", "there is no such run"), ("runs", "there is no such run"), (".", "holds no run")):
        done = command("predict", file, "--run", path)
        assert (done.code, done.out, done.err) == (2, "", f"chainrule: {path}: {message}\n")


def test_a_run_that_learned_other_pictures(command, draw, trained):
    done = command("predict", draw("1"), "--run", trained[0])
    assert (done.code, done.out) == (2, "")
    assert "reading digits needs a network trained on 28×28 images" in done.err


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("data", "classes", list("012345678"), "has 9 classes, but its model has 11 outputs"),
        ("data", "classes", [*"0123456789", "none", "x"], "has 12 classes, but its model has 11 outputs"),
        ("data", "classes", [], "has 0 classes, but its model has 11 outputs"),
        ("model", "name", "resnet", "unknown model 'resnet'"),
    ],
    ids=["too few classes", "too many classes", "no class", "unknown model"],
)
def test_a_config_that_does_not_fit_is_one_sentence(command, draw, copy, part, key, value, message):
    edit(copy, part, key, value)
    for arguments in (["predict", draw("1"), "--run", "copy"], ["predict", draw("1"), "--run", "copy", "--json"]):
        done = command(*arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"chainrule: copy/config.json: {message}")
        assert done.err.count("\n") == 1


def test_a_model_that_does_not_take_28x28_is_one_sentence(command, draw, own):
    options = {"inputs": 144, "classes": 10}
    safetensors_io.save(models.build("mlp", options).state_dict(), own.weights_file)
    edit(own, "model", "options", options)
    done = command("predict", draw("1"), "--run", "mine")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("chainrule: runs/mine/config.json: model 'mlp' does not take images of 28×28: ")


def test_damaged_weights_are_one_sentence(command, draw, copy):
    copy.weights_file.write_bytes(copy.weights_file.read_bytes()[:-10])
    done = command("predict", draw("1"), "--run", "copy")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("chainrule: copy/model.safetensors: is not a complete safetensors file")


def test_a_network_that_gives_no_numbers_reads_nothing(command, draw, own, here):
    file = own.weights_file
    safetensors_io.save({name: np.full(t.shape, 1e38, "f4") for name, t in safetensors_io.load(file).items()}, file)
    for arguments in (["predict", draw("4"), "--run", own.folder], ["read", draw("4"), "--run", own.folder]):
        done = command(*arguments)
        assert (done.code, done.out) == (2, "")
        assert f"chainrule: {file}: the network outputs NaN for " in done.err
