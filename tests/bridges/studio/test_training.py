"""The view Train: a run is begun, steered and looked at; what a forged message asks for is refused by a sentence."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("starlette", reason="the studio's libraries are not installed: pip install '.[studio]'")

from chainrule import data as datasets
from chainrule.data import mnist
from chainrule.errors import UserError
from chainrule.reading import DigitReader
from chainrule.studio.shelf import Shelf
from chainrule.studio.training import Training
from chainrule.training import experiment
from chainrule.training import run as runs

SETTINGS = {"data": "mnist", "model": "mlp", "epochs": 2, "batch_size": 50, "limit": 300, "schedule": "constant"}


@pytest.fixture
def view(tmp_path):
    view = Training(Shelf(tmp_path / "runs"))
    yield view
    view.answer({"ask": "keep", "on": False}, [])
    view.close()


def until(view, run, *states):
    """The newest frame message once the training is in one of some states."""
    after, told = 0, None
    for _ in range(60):
        told, buffers = view.answer({"ask": "frame", "run": run, "after": after}, [])
        after = told["number"]
        if told["state"]["state"] in states:
            return told, buffers
    raise AssertionError(f"the training is {told['state']}")


def steer(view, run, what, **content):
    return view.answer({"ask": what, "run": run, **content}, [])


def test_a_training_from_the_page_and_its_program_print_the_same_numbers(view, tmp_path):
    told, _ = view.answer({"ask": "start", "settings": {**SETTINGS, "lr": 0.01, "optimizer": "sgd", "seed": 3}}, [])
    name = told["run"]
    assert told["is_training"]
    assert (told["lr"], told["optimizer"], told["records"]) == (0.01, "sgd", [])
    picture, (pixels,) = view.answer({"ask": "look", "run": name, "sample": 1}, [])
    assert (picture["label"], picture["shape"]) == ("2", [28, 28])
    assert np.array_equal(np.frombuffer(pixels, np.uint8).reshape(28, 28), mnist().test_images[1])
    steer(view, name, "pause")
    state = until(view, name, "paused", "finished")[0]["state"]
    if state["state"] == "paused":  # the machine was quick enough
        steer(view, name, "change", lr=0.02)
        steer(view, name, "go")
    finished, buffers = until(view, name, "finished")
    run = runs.Run(tmp_path / "runs" / name)
    assert finished["frame"]["completed"] == 2
    assert np.frombuffer(buffers[0], np.float32).reshape(-1, 2)[-1, 0] == 12  # the curve's last step
    assert view.answer({"ask": "history", "run": name}, [])[0]["records"] == run.history
    assert finished["state"]["result"] == run.result

    program = view.answer({"ask": "code", "run": name}, [])[0]["code"]
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    history, result = (json.loads(line.replace("'", '"')) for line in done.stdout.splitlines())
    assert history == {key: value for key, value in run.history[-1].items() if key != "seconds"}
    assert result == {key: value for key, value in run.result.items() if key != "seconds"}


@pytest.fixture
def own(tmp_path):
    """Data of one's own that come in one piece, and are split by the seed: an archive, and class folders."""
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (60, 12, 12), np.uint8)
    labels = np.arange(60) % 3
    np.savez(tmp_path / "own.npz", x=images, y=labels)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "pictures" / f"class {label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pictures" / f"class {label}" / f"{number}.png")
    return {"own": str(tmp_path / "own.npz"), "pictures": str(tmp_path / "pictures")}


@pytest.mark.parametrize("name", ["own", "pictures"])
def test_own_data_are_split_by_the_seed_as_the_training_splits_them(tmp_path, own, name):
    view = Training(Shelf(tmp_path / "runs", data=own))
    for seed in (7, 0):
        settings = {"data": name, "model": "mlp", "epochs": 1, "batch_size": 10, "seed": seed}
        run = view.answer({"ask": "start", "settings": settings}, [])[0]["run"]
        finished = until(view, run, "finished", "failed")[0]["state"]
        assert finished["state"] == "finished", finished
        assert runs.Run(tmp_path / "runs" / run).config["seed"] == seed
    with pytest.raises(UserError, match="the seed must be at least 0, not -1"):
        view.answer({"ask": "start", "settings": {**settings, "seed": -1}}, [])
    view.close()


def test_loading_data_holds_up_nothing_else(view, monkeypatch):
    """Pause, stop and frames of the present training are answered while the next one's data are read."""
    monkeypatch.setattr(datasets, "load", lambda *_, **__: loading.set() or (loaded.wait(20) and mnist()))
    loading, loaded = threading.Event(), threading.Event()
    settings = {**SETTINGS, "data": "mnist", "epochs": 1}
    starting = threading.Thread(target=view.answer, args=({"ask": "start", "settings": settings}, []))
    starting.start()
    assert loading.wait(10)
    answered = threading.Thread(target=view.answer, args=({"ask": "frame", "run": "none", "after": 0}, []))
    answered.start()
    answered.join(5)
    is_answered = not answered.is_alive()
    loaded.set()
    starting.join(30)
    assert is_answered
    name = view.shelf.runs()[0]
    monkeypatch.setattr(datasets, "load", None)  # a second training is refused before its data are read
    if until(view, name, "running", "finished")[0]["state"]["state"] == "running":
        with pytest.raises(UserError, match="is training; stop it first"):
            view.answer({"ask": "start", "settings": {**settings, "seed": 5}}, [])


def test_stopped_by_the_last_page_and_gone_on_later(view, tmp_path):
    settings = {**SETTINGS, "epochs": 400}
    name = view.answer({"ask": "start", "settings": settings}, [])[0]["run"]
    with pytest.raises(UserError, match=f"{name} is training; stop it first"):
        view.answer({"ask": "start", "settings": settings}, [])
    until(view, name, "running")
    view.answer({"ask": "keep", "on": True}, [])
    view.close()
    assert view.answer({"ask": "open", "run": name}, [])[0]["is_training"]
    view.answer({"ask": "keep", "on": False}, [])
    view.close()
    assert until(view, name, "stopped")
    assert not view.answer({"ask": "open", "run": name}, [])[0]["is_training"]
    run = runs.Run(tmp_path / "runs" / name)
    assert run.checkpoint_file.exists()
    steer(view, name, "step")  # goes on, and pauses at once
    assert until(view, name, "paused")[0]["state"]["step"] >= 1


def test_a_training_that_nobody_waits_for_does_not_begin(view, tmp_path, monkeypatch):
    load = view._load

    def close_meanwhile(*arguments):
        view.close()
        return load(*arguments)

    monkeypatch.setattr(view, "_load", close_meanwhile)
    with pytest.raises(UserError, match="the page has gone meanwhile, so no training has begun"):
        view.start(SETTINGS)
    assert view.shelf.runs() == ["shipped"]
    view.answer({"ask": "keep", "on": True}, [])
    run = view.start({**SETTINGS, "epochs": 400})
    assert view.answer({"ask": "open", "run": run.folder.name}, [])[0]["is_training"]


def test_a_drawing_is_what_predict_sees(view, tmp_path):
    name = runs.create(
        experiment.configure("mlp", mnist(), epochs=1, limit=300, batch_size=50), tmp_path / "runs" / "one"
    ).folder.name
    drawing = Image.new("L", (560, 560), 255)
    ImageDraw.Draw(drawing).line([(160, 110), (400, 110), (250, 470)], fill=0, width=40)
    file = io.BytesIO()
    drawing.save(file, "PNG")
    told, (pixels,) = view.answer({"ask": "look", "run": name}, [file.getvalue()])
    drawing.save(tmp_path / "drawing.png")
    *_, (_, expected) = DigitReader(runs.shipped()).read(tmp_path / "drawing.png").stages
    assert told["label"] is None
    assert np.array_equal(np.frombuffer(pixels, np.uint8).reshape(28, 28), expected)
    with pytest.raises(UserError, match="the drawing"):
        view.answer({"ask": "look", "run": name}, [b"no picture"])
    blank = io.BytesIO()
    Image.new("L", (560, 560), 255).save(blank, "PNG")
    with pytest.raises(UserError, match="there is nothing on the drawing"):
        view.answer({"ask": "look", "run": name}, [blank.getvalue()])


def test_what_there_is_to_train(view):
    told = view.answer({"ask": "choices"}, [])[0]
    assert {entry["name"]: entry["task"] for entry in told["data"]} == {"mnist": "images", "everyday": "text"}
    names = {entry["name"] for entry in told["models"]}
    assert {"mlp", "cnn", "sigmoid_mlp", "gpt"} <= names
    assert "mlp_classifier" not in names
    assert {"sgd", "adam"} <= {entry["name"] for entry in told["optimizers"]}
    assert told["schedules"] == ["constant", "cosine", "one-cycle", "warmup-cosine"]
    assert told["runs"] == []
    assert (told["training"], told["keep"]) == ("", False)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data": "../../etc"}, "there is no data set '../../etc'; choose from mnist, everyday"),
        ({"data": ["mnist"]}, r"data must be a name, not \['mnist'\]"),
        ({"model": "gpt"}, "model 'gpt' does not read images"),
        ({"model": "no"}, "unknown model 'no'"),
        ({"epochs": 2.5}, "epochs must be an integer, not 2.5"),
        ({"epochs": 0}, "the number of epochs must be at least 1, not 0"),
        ({"epochs": True}, "epochs must be an integer, not True"),
        ({"batch_size": 10**30}, "the batch size must be at most"),
        ({"lr": math.nan}, "lr must be a finite number, not nan"),
        ({"lr": math.inf}, "lr must be a finite number, not inf"),
        ({"lr": 10**400}, "lr must be a finite number, not 1000"),
        ({"lr": -1}, "the learning rate must be a number above 0, not -1.0"),
        ({"lr": "0.1"}, "lr must be a finite number, not '0.1'"),
        ({"seed": -1}, "the seed must be at least 0, not -1"),
        ({"limit": 70_000}, "the limit is 70,000, but mnist has 50,000 training images"),
        ({"optimizer": "magic"}, "unknown optimizer 'magic'"),
        ({"schedule": ""}, "unknown schedule ''"),
        ({"options": {"hidden": 10}}, "there is no setting 'options'"),
    ],
)
def test_invalid_settings_are_refused_and_nothing_is_written(view, tmp_path, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        view.answer({"ask": "start", "settings": {**SETTINGS, **settings}}, [])
    assert not (tmp_path / "runs").exists()


def test_what_is_no_message_of_the_page(view):
    for content, buffers in (
        ({}, []),
        ({"ask": "start"}, []),
        ({"ask": "start", "settings": []}, []),
        ({"ask": "frame", "run": "x"}, []),
        ({"ask": "frame", "run": 1, "after": 1}, []),
        ({"ask": "keep", "on": 1}, []),
        ({"ask": "keep", "on": True}, [b"1"]),
        ({"ask": "look", "run": "x", "sample": "1"}, []),
    ):
        assert view.answer(content, buffers) is None, content
    for what in ("go", "open", "history", "code", "step", "change"):
        with pytest.raises(UserError, match="there is no run of this name"):
            view.answer({"ask": what, "run": "../x"}, [])
    for content in ({"lr": math.nan}, {"lr": [1]}, {"epochs": 1.5}, {"lr": 0.1, "step": "1"}):
        with pytest.raises(UserError, match="must be a"):
            view.answer({"ask": "change", "run": "shipped", **content}, [])
    with pytest.raises(UserError, match="is a run shipped with chainrule"):
        view.answer({"ask": "go", "run": "shipped"}, [])
    assert view.answer({"ask": "frame", "run": "none", "after": 5}, [])[0]["state"] == {"state": "idle"}


def test_a_folder_of_runs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    view = Training(Shelf(tmp_path / "file" / "runs"))
    with pytest.raises(UserError, match="cannot create the run's folder"):
        view.answer({"ask": "start", "settings": SETTINGS}, [])
