"""`chainrule evaluate`: numbers, table and figures."""

from __future__ import annotations

import json
import math
import re
import shutil

import numpy as np
import pytest

from chainrule import safetensors_io
from chainrule.data import idx
from chainrule.training import evaluate
from chainrule.training import run as runs
from chainrule.training.evaluation import expected_calibration_error

PNG = b"\x89PNG\r\n\x1a\n"


def test_json_is_one_document_and_nothing_else(process, trained, digits):
    done = process("evaluate", trained[0], "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert list(document) == ["run", "accuracy", "loss", "expected_calibration_error", "per_class", "confusion"]
    said = json.loads(trained[1].out)
    assert (document["accuracy"], document["loss"]) == (said["test_accuracy"], said["test_loss"])
    assert document["run"] == str(trained[0])
    trained_run = runs.find(trained[0])
    result = evaluate(trained_run.load_network(), trained_run.model, digits.test_images, digits.test_labels)
    assert document["expected_calibration_error"] == expected_calibration_error(
        result.probabilities, digits.test_labels
    )

    confusion = np.array(document["confusion"])
    assert confusion.shape == (10, 10)
    assert confusion.sum() == len(digits.test_labels)
    assert confusion.trace() / confusion.sum() == document["accuracy"]
    assert confusion.sum(axis=1).tolist() == np.bincount(digits.test_labels).tolist()
    for i, entry in enumerate(document["per_class"]):
        assert entry == {"class": str(i), "images": 6, "accuracy": confusion[i, i] / 6}


def test_the_table_says_the_same(command, trained):
    document = json.loads(command("evaluate", trained[0], "--json").out)
    done = command("evaluate", trained[0])
    assert (done.code, done.err) == (0, "")
    first, second, third, empty, header, *rows = done.out.splitlines()
    assert (
        first
        == f"{trained[0]}: mlp on the 60 test images of {json.loads((trained[0] / 'config.json').read_text())['data']['name']}"
    )
    wrong = round(60 * (1 - document["accuracy"]))
    assert second == f"test accuracy  {document['accuracy']:.2%}  ({wrong} mistakes, loss {document['loss']:.4f})"
    off = document["expected_calibration_error"]
    assert third == f"calibration    confidence is off by {off:.2%} on average (ECE, 15 bins)"
    assert empty == ""
    assert re.split(r"  +", header) == ["class", "images", "correct", "accuracy", "most often mistaken for"]
    for i, row in enumerate(rows):
        cells = re.split(r"  +", row.strip())
        counts = document["confusion"][i]
        assert cells[:4] == [str(i), "6", str(counts[i]), f"{counts[i] / 6:.2%}"]
        others = [count if j != i else 0 for j, count in enumerate(counts)]
        most = f"{int(np.argmax(others))} ({max(others)} time{'s' * (max(others) != 1)})" if any(others) else "-"
        assert cells[4] == most


def test_left_out_it_is_the_newest_run(command, trained, here):
    shutil.copytree(trained[0], here / "runs" / "mine")
    assert json.loads(command("evaluate", "--json").out)["run"] == "runs/mine"
    assert json.loads(command("evaluate", "mine", "--json").out)["run"] == "runs/mine"


def test_pictures_are_drawn(command, trained, here):
    done = command("evaluate", trained[0], "--confusion", "confusion.png", "--mistakes", "my mistakes.svg")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("figure: confusion.png\nfigure: my mistakes.svg\n")
    assert (here / "confusion.png").read_bytes().startswith(PNG)
    assert b"<svg" in (here / "my mistakes.svg").read_bytes()[:1000]
    done = command("evaluate", trained[0], "--mistakes", "quiet.png", "--json")
    assert json.loads(done.out)
    assert (here / "quiet.png").read_bytes().startswith(PNG)


def test_a_class_without_test_images_has_no_accuracy(command, write_images, make_digits):
    data = make_digits(test=7)  # none of 7, 8 and 9
    command("train", "--data", write_images("few", data), "--epochs", "1", "--out", "run", "--quiet")
    document = json.loads(command("evaluate", "run", "--json").out)
    assert [entry["accuracy"] for entry in document["per_class"][7:]] == [None] * 3
    assert command("evaluate", "run").out.splitlines()[-1].split() == ["9", "0", "0", "-", "-"]


# Errors


def test_what_is_no_run(command, here):
    for arguments, message in (
        ([], "there is no run in runs yet: train one first, with: chainrule train"),
        (["nowhere"], "nowhere: there is no such run"),
        ([here], f"{here}: holds no run"),
    ):
        done = command("evaluate", *arguments)
        assert (done.code, done.out, done.err) == (2, "", f"chainrule: {message}\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [("figure.txt", "'.txt' is not a supported figure format"), ("none/figure.png", "the folder none does not exist")],
)
@pytest.mark.parametrize("option", ["--confusion", "--mistakes"])
def test_a_picture_that_cannot_be_written(command, trained, option, name, message):
    done = command("evaluate", trained[0], option, name)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"chainrule: {name}: ")
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "holds no run"),
        (
            lambda run: (run / "config.json").write_text("{}"),
            "config.json: lacks created, data, model, seed, training, versions",
        ),
        (lambda run: (run / "config.json").write_text("{"), "config.json: is not JSON"),
        (lambda run: (run / "model.safetensors").unlink(), "model.safetensors: is missing"),
        (
            lambda run: (run / "model.safetensors").write_bytes(b"half"),
            "model.safetensors: is not a complete safetensors file",
        ),
        (
            lambda run: spoil_weights(run / "model.safetensors"),
            "model.safetensors: 1.weight holds values that are not finite",
        ),
        (
            lambda run: edit(run, "model", "name", "os.system"),
            "config.json: unknown model 'os.system'; choose from mlp, sigmoid_mlp",
        ),
        (
            lambda run: edit(run, "model", "name", "sigmoid_mlp"),
            "model.safetensors: does not fit model 'sigmoid_mlp': .*wrong shape: 1.weight",
        ),
        (
            lambda run: edit(run, "model", "options", {"hidden": "64"}),
            "config.json: model 'mlp': option hidden must be of type int",
        ),
        (
            lambda run: edit(run, "model", "options", {"hidden": 64}),
            "model.safetensors: does not fit model 'mlp': .*wrong shape",
        ),
        (lambda run: edit(run, "model", "options", {"code": "1"}), "config.json: model 'mlp' has no option 'code'"),
    ],
    ids=[
        "no config",
        "empty config",
        "damaged config",
        "no weights",
        "damaged weights",
        "weights that are not numbers",
        "unknown model",
        "another model",
        "option of wrong type",
        "option of wrong value",
        "unknown option",
    ],
)
def test_a_damaged_run(command, copy, spoil, message):
    spoil(copy)
    done = command("evaluate", copy)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(f"chainrule: {copy}.*{message}.*\n", done.err)


def spoil_weights(file):
    tensors = safetensors_io.load(file)
    safetensors_io.save({**tensors, "1.weight": tensors["1.weight"] * math.nan}, file)


def edit(run, part, key, value):
    config = json.loads((run / "config.json").read_text())
    config[part][key] = value
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("change", [{"side": 11}, {"classes": 12}], ids=str)
def test_images_that_are_not_what_was_learned(command, write_images, make_digits, change):
    folder = write_images("changing", make_digits(train=60, test=24))
    assert command("train", "--data", folder, "--epochs", "1", "--out", "run", "--quiet").code == 0
    shutil.rmtree(folder)
    write_images("changing", make_digits(train=60, test=24, **change))
    done = command("evaluate", "run")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"chainrule: {folder}: the image size or the classes differ from those that run was trained on\n"


def test_other_test_images_of_the_same_kind_are_welcome(command, write_images, make_digits):
    folder = write_images("changing", make_digits(train=60, test=24))
    command("train", "--data", folder, "--epochs", "1", "--out", "run", "--quiet")
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        idx.write(folder / name, idx.read(folder / name)[:20])
    done = command("evaluate", "run", "--json")
    assert np.sum(json.loads(done.out)["confusion"]) == 20
    assert (done.code, done.err) == (
        0, f"chainrule: the test images of {folder} have changed since run was created\n",
    )  # fmt: skip


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("other", ["x.png", "./x.png", "link.png"])
def test_two_drawings_do_not_go_to_one_file(command, trained, here, other, there):
    (here / "link.png").symlink_to("x.png")
    if there:
        (here / "x.png").write_bytes(b"before")
    before = set(here.iterdir())
    done = command("evaluate", trained[0], "--confusion", "x.png", "--mistakes", other)
    message = f"chainrule: {other}: both figures would be written to this file; choose another file for one of them\n"
    assert (done.code, done.out, done.err) == (2, "", message)
    assert set(here.iterdir()) == before
    assert not there or (here / "x.png").read_bytes() == b"before"


@pytest.mark.parametrize("option", ["--confusion", "--mistakes"])
def test_where_a_drawing_goes_is_seen_before_anything_is_judged(command, trained, monkeypatch, option):
    monkeypatch.setattr("chainrule.cli.image_report.evaluate", lambda *_: pytest.fail("it was judged"))
    assert command("evaluate", trained[0], option, "figure.txt").code == 2


def test_a_picture_on_a_full_disk(command, trained, here, fill_disk):
    fill_disk()
    done = command("evaluate", trained[0], "--confusion", "c.png")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch("chainrule: c.png: .*No space left on device.*\n", done.err)
    assert not list(here.iterdir())


def test_a_network_that_gives_no_numbers_is_not_judged(command, copy, here):
    """The weights are finite, but the outputs are not: argmax of NaN would be the first class."""
    safetensors_io.save(
        {name: np.full(t.shape, 1e38, "f4") for name, t in safetensors_io.load(copy / "model.safetensors").items()},
        copy / "model.safetensors",
    )
    before = set(here.iterdir())
    for options in ([], ["--json"], ["--confusion", "c.png"], ["--mistakes", "m.png"]):
        done = command("evaluate", copy, *options)
        assert (done.code, done.out) == (2, "")
        assert done.err == (
            f"chainrule: {copy / 'model.safetensors'}: the network outputs NaN for 60 of 60 images: its "
            "weights are too large; train with a smaller learning rate\n"
        )
    assert set(here.iterdir()) == before
