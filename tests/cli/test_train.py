"""`chainrule train`: output, the run folder, and errors."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import sys
import warnings

import numpy as np
import pytest

from chainrule import models, safetensors_io
from chainrule.data import idx, load
from chainrule.errors import DataError, RunError
from chainrule.files import folder_lock
from chainrule.tensor import from_numpy
from chainrule.training import run as runs
from chainrule.training.progress import ACCURACY_COLUMNS
from chainrule.training.trainer import Trainer

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def train(command, images):
    """Train on the small data set in this process."""
    return lambda *arguments: command("train", "--data", images, "--epochs", "2", *arguments)


def bits(folder):
    return (folder / "model.safetensors").read_bytes()


def test_another_optimizer_by_name(train, here):
    done = train("--optimizer", "muon", "--batch-size", 20, "--out", "run", "--quiet")
    assert (done.code, done.err) == (0, "")
    training = json.loads((here / "run" / "config.json").read_text())["training"]
    assert (training["optimizer"], training["lr"], training["momentum"]) == ("muon", 0.01, 0.95)
    assert "'lion', 'muon'" in train("--optimizer", "newton").err


def test_fine_tuning_says_what_it_starts_from(train, command, images, here):
    train("--out", "base", "--quiet")
    done = train("--from", "base", "--freeze", "1", "--out", "new")
    assert (done.code, done.err) == (0, "")
    assert "starting from the weights of base; frozen: 1" in done.out.splitlines()
    assert "use it with --from RUN" in train("--freeze", "1").err
    assert "--from and --freeze are for a new run" in command("train", "--resume", "new", "--from", "base").err
    assert "there is no such run" in train("--from", "nothing").err


def test_logs_are_part_of_a_run(train, command, here):
    done = train("--log", "csv", "--log", "csv", "--out", "run", "--quiet")
    assert (done.code, done.err) == (0, "")
    config = json.loads((here / "run" / "config.json").read_text())
    assert config["log"] == ["csv"]
    names, *rows = (here / "run" / "metrics.csv").read_text().splitlines()
    assert names.split(",")[:3] == ["epoch", "train_loss", "train_accuracy"]
    assert len(rows) == 2
    (here / "run" / "metrics.csv").unlink()
    assert command("train", "--resume", "run", "--epochs", 3).code == 0
    assert len((here / "run" / "metrics.csv").read_text().splitlines()) == 4
    assert "--resume continues the run's logs" in command("train", "--resume", "run", "--log", "csv").err
    assert "leave out --log" in train("--find-lr", "--log", "csv").err
    assert "'paper' is not one of 'csv', 'tensorboard'" in train("--log", "paper").err
    (here / "run" / "config.json").write_text(json.dumps({**config, "log": ["paper"]}))
    done = command("train", "--resume", "run", "--epochs", 4)
    assert done.code == 2
    assert "unknown log 'paper'; choose from csv, tensorboard" in done.err


def test_a_log_whose_library_is_missing(train, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    done = train("--log", "tensorboard", "--out", "run")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "chainrule: TensorBoard needs the library tensorboardX, which is not installed: "
        "pip install 'chainrule[tensorboard]'\n"
    )
    assert not any(here.iterdir())


def test_the_learning_rate_finder(train, here):
    done = train("--find-lr")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^suggestion: --lr \S+  \(instead of 0.02\)$", done.out, re.MULTILINE)
    assert (here / "learning_rates.png").read_bytes().startswith(PNG)
    assert [file.name for file in here.iterdir()] == ["learning_rates.png"]
    assert "learning_rate" in json.loads(train("--find-lr", "--json").out)
    assert "--find-lr does not keep a run: leave out --out" in train("--find-lr", "--out", "run").err


# Output


def test_json_is_one_document_and_nothing_else(trained):
    _, done = trained
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert list(document) == ["run", "model", "seed", "test_accuracy", "test_loss", "seconds", "epochs"]
    assert (document["run"], document["model"], document["seed"]) == ("a run", "mlp", 0)
    assert 0.5 < document["test_accuracy"] <= 1  # a fraction, of a trained model
    assert document["test_loss"] > 0
    keys = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds"]
    assert [list(epoch) for epoch in document["epochs"]] == [keys] * 2
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1, 2]
    assert all(0 <= epoch["validation_accuracy"] <= 1 for epoch in document["epochs"])
    assert document["seconds"] == pytest.approx(sum(epoch["seconds"] for epoch in document["epochs"]))


def test_lines_without_a_bar_where_there_is_no_terminal(train, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some CI services do
    done = train("--out", "my run")
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert "\r" not in done.out
    lines = done.out.splitlines()
    assert lines[0].startswith("mlp: 784-128-10, ReLU, cross entropy: the default; 19,850 parameters")
    assert re.search(r"my images: 250 training images; adamw, lr 0.02 \(one-cycle\), batch size 256, seed 0", lines[1])
    table = lines.index(ACCURACY_COLUMNS.header)
    assert [line.split()[0] for line in lines[table + 1 : table + 3]] == ["1", "2"]
    assert re.search(r"^best epoch     [12] of 2, by validation accuracy; its weights are saved$", done.out, re.M)
    assert re.search(r"^test accuracy  \d+\.\d\d%  \(loss \d\.\d{4}\)$", done.out, re.M)
    assert re.search(r"^time           \d+\.\d s$", done.out, re.M)
    assert re.search("^run            my run$", done.out, re.M)
    assert lines[-1] == "next: chainrule evaluate 'my run' --mistakes mistakes.png"
    assert "validation accuracy, %" in done.out  # the curves, small


def test_the_curves_are_no_wider_than_the_terminal(command, images, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = command("train", "--data", images, "--epochs", 2, "--limit", 1).out.splitlines()
    assert "my images: 1 training image; " in lines[1]
    curves = [line for line in lines if "┤" in line or "│" in line]
    assert len(curves) == 8
    assert 35 < max(map(len, curves)) <= 40


def test_augmentation_is_told(command, images):
    done = command("train", "--data", images, "--model", "best", "--epochs", "1", "--out", "run")
    assert (done.code, done.err) == (0, "")
    line = "augmentation: shift 2, rotation 10, scale 0.1, shear 5, elastic 1"
    assert done.out.splitlines()[2] == f"{line}, except in the last epoch"
    training, recipe = runs.Run("run").config["training"], models.get("best").recipe
    assert (training["augment"], training["epochs_without_augmentation"]) == (
        recipe.augment,
        recipe.epochs_without_augmentation,
    )


def test_quiet_prints_the_result_only(train):
    done = train("--out", "run", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert [line.split("  ")[0] for line in done.out.splitlines()] == ["test accuracy", "time", "run"]


def test_a_terminal_of_few_characters_gets_what_it_can_show(process, images):
    done = process("train", "--data", images, "--epochs", "2", "--out", "run", env={"PYTHONIOENCODING": "ascii"})
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()
    assert re.search(r"\|\*+", done.out)  # the curves


# The run folder


def test_the_runs_folder(trained, images):
    folder, done = trained
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert names == [
        "checkpoint",
        "checkpoint/state.safetensors",
        "config.json",
        "curves.png",
        "metrics.jsonl",
        "model.safetensors",
        "result.json",
    ]
    document = json.loads(done.out)
    result = json.loads((folder / "result.json").read_text())
    assert result == {key: document[key] for key in ("test_accuracy", "test_loss", "seconds")}
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [{key: record[key] for key in epoch} for record, epoch in zip(metrics, document["epochs"], strict=True)] == (
        document["epochs"]
    )
    assert (folder / "curves.png").read_bytes().startswith(PNG)
    config = json.loads((folder / "config.json").read_text())
    assert config["data"]["name"] == str(images)  # an absolute path, valid from any folder
    assert config["training"]["epochs"] == 2
    assert safetensors_io.load(folder / "model.safetensors")["1.weight"].shape == (128, 144)


def test_left_out_the_folder_is_a_new_one_in_runs(train, here):
    first, second = train("--json"), train("--json")
    folders = [json.loads(done.out)["run"] for done in (first, second)]
    assert folders[0] != folders[1]
    assert all(re.fullmatch(r"runs/\d{4}-\d\d-\d\d-mlp-[0-9a-f]{4}", folder) for folder in folders)
    assert sorted(f"runs/{path.name}" for path in (here / "runs").iterdir()) == sorted(folders)


def test_the_same_seed_gives_the_same_bits_and_another_others(train, trained, here):
    train("--out", "same", "--quiet")
    train("--out", "other", "--seed", 1, "--quiet")
    assert bits(here / "same") == bits(trained[0])
    assert bits(here / "other") != bits(trained[0])


def test_an_old_name_of_a_model_is_understood(command, images, here):
    """On the command line, where the run is of the new one, and in the config of an old run."""
    done = command("train", "--data", images, "--model", "network", "--epochs", 1, "--out", "run", "--quiet")
    assert done.code == 0, done.err
    config = json.loads((here / "run" / "config.json").read_text())
    assert config["model"]["name"] == "sigmoid_mlp"
    config["model"]["name"] = "network"
    (here / "run" / "config.json").write_text(json.dumps(config))
    done = command("evaluate", "run")
    assert done.code == 0, done.err


def test_every_option_reaches_the_run(command, images, here):
    options = {
        "--model": "sigmoid_mlp",
        "--epochs": 1,
        "--batch-size": 7,
        "--lr": 0.5,
        "--optimizer": "adam",
        "--seed": 3,
        "--limit": 33,
        "--validation": 21,
    }
    done = command(
        "train",
        "--data",
        images,
        "--out",
        "run",
        "--quiet",
        "--eager",
        *(part for pair in options.items() for part in pair),
    )
    assert done.code == 0, done.err
    config = runs.Run("run").config
    assert config["model"] == {"name": "sigmoid_mlp", "options": {"inputs": 144, "classes": 10}}
    recipe = {
        "epochs": 1,
        "batch_size": 7,
        "optimizer": "adam",
        "lr": 0.5,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "augment": {},
        "epochs_without_augmentation": 0,
        "eager": True,
        "steps_per_epoch": 0,
        "shards": 0,
    }
    assert (config["training"], config["seed"]) == (recipe, 3)
    assert (config["data"]["limit"], config["data"]["validation"]) == (33, 21)


def test_the_last_images_are_held_back(command, images, here):
    done = command("train", "--data", images, "--epochs", "1", "--validation", "8", "--out", "run", "--json")
    assert (done.code, done.err) == (0, "")
    run, data = runs.Run("run"), load(images)
    outputs = run.load_network()(models.images_to_inputs(from_numpy(data.train_images[292:].copy()))).numpy()
    right = int((outputs.argmax(axis=1) == data.train_labels[292:]).sum())
    assert json.loads(done.out)["epochs"][0]["validation_accuracy"] == right / 8
    assert "292 training images" in command("train", "--data", images, "--validation", "8", "--epochs", "1").out
    assert command("evaluate", "run").code == 0
    assert "leave out --validation" in command("train", "--resume", "run", "--validation", "9").err


def test_a_run_with_other_validation_images_is_not_resumed(command, images, here):
    """Not if its config was changed by hand: other images would have been trained on."""
    command("train", "--data", images, "--epochs", "1", "--validation", "8", "--out", "run")
    file = here / "run" / "config.json"
    config = json.loads(file.read_text())
    for validation in (9, None):
        changed = {**config["data"], "validation": validation} if validation else {**config["data"]}
        if validation is None:
            del changed["validation"]
        file.write_text(json.dumps({**config, "data": changed}))
        done = command("train", "--resume", "run", "--epochs", "2")
        assert (done.code, done.out) == (2, "")
        assert f"validation was 8 and is now {validation}" in done.err


def test_of_a_text_a_tenth_is_held_back(command, here):
    (here / "story.txt").write_text("once upon a time " * 200)
    done = command("train", "--data", "story.txt", "--validation", "5")
    assert (done.code, done.out) == (2, "")
    assert "--validation is for images; for a text such as story.txt, the last tenth is always held out" in done.err


def test_images_of_another_size_and_other_classes(command, write_images, make_digits, here):
    folder = write_images("small", make_digits(train=60, test=9, side=5, classes=3))
    done = command("train", "--data", folder, "--epochs", "1", "--out", "run", "--json")
    assert done.code == 0, done.err
    assert safetensors_io.load(here / "run" / "model.safetensors")["3.bias"].shape == (3,)


def test_a_data_sets_name_comes_before_a_folder(command, write_images, make_digits, here, monkeypatch):
    """A name in the list of data sets takes precedence; the folder is ./mnist."""
    (here / "mnist").mkdir()
    asked = []
    digits = make_digits()
    monkeypatch.setattr("chainrule.data.load", lambda name, **reading: (asked.append(name), digits)[1])
    assert command("train", "--data", "mnist", "--epochs", "1", "--quiet", "--out", "a").code == 0
    assert command("train", "--epochs", "1", "--quiet", "--out", "b").code == 0
    assert command("train", "--data", "./mnist", "--epochs", "1", "--quiet", "--out", "c").code == 0
    assert asked == ["mnist", "mnist", here / "mnist"]


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "the number of epochs must be at least 1, not 0"),
        (["--batch-size", "-3"], "the batch size must be at least 1, not -3"),
        (["--lr", "nan"], "the learning rate must be a number above 0, not nan"),
        (["--lr", "inf"], "the learning rate must be a number above 0, not inf"),
        (["--lr", "0"], "the learning rate must be a number above 0, not 0.0"),
        (["--lr", "-0.1"], "the learning rate must be a number above 0, not -0.1"),
        (["--seed", "-1"], "the seed must be at least 0, not -1"),
        (["--limit", "0"], "the limit must be at least 1, not 0"),
        (["--limit", "251"], "the limit is 251, but .*my images has 250 training images"),
        (["--limit", "293", "--validation", "8"], "the limit is 293, but .*my images has 292 training images"),
        *(
            (["--validation", value], f"of the 300 training images of .*, 1 to 299 can be held back .*, not {value}")
            for value in ("0", "-2", "300")
        ),
    ],
    ids=" ".join,
)
def test_numbers_that_make_no_sense(train, here, options, message):
    done = train(*options)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(f"chainrule: {message}\n", done.err)
    assert not list(here.iterdir())


def test_an_unknown_data_set(command, here):
    done = command("train", "--data", "emnist")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "chainrule: there is no data set or folder 'emnist': the data sets are mnist, handwriting, fashion-mnist, kmnist\n"
    )
    assert not list(here.iterdir())


def test_a_data_set_of_no_name_is_not_taken_for_mnist(command, here):
    """As in `--data "$UNSET"`."""
    done = command("train", "--data", "")
    assert (done.code, done.out) == (2, "")
    assert "invalid value for '--data': the path is empty" in done.err
    with pytest.raises(DataError, match="the name of the data set is empty: the data sets are mnist"):
        load("")
    assert list(here.iterdir()) == []


def test_a_folder_that_lacks_a_file(command, write_images, digits, here):
    folder = write_images("incomplete", digits)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    done = command("train", "--data", folder)
    assert done.code == 2
    assert re.fullmatch(f"chainrule: {folder} has no test labels: .*t10k-labels-idx1-ubyte.*\n", done.err)
    assert not list(here.iterdir())


def test_a_folder_of_too_few_images(command, write_images, make_digits):
    done = command("train", "--data", write_images("few", make_digits(train=5)))
    assert done.code == 2
    assert re.fullmatch("chainrule: .*few has too few training images, 5: at least 6 are needed\n", done.err)


def test_a_folder_that_holds_a_run(train, copy):
    before = bits(copy)
    done = train("--out", copy, "--seed", 5)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"chainrule: {copy}: already holds a run; resume it with --resume, or choose another folder\n"
    assert bits(copy) == before


def test_a_folder_that_holds_something_else(train, here):
    (here / "letter.txt").touch()
    done = train("--out", here)
    assert (done.code, done.err) == (2, f"chainrule: {here}: is not empty; choose another folder for the run\n")


def test_a_folder_that_cannot_be_written(train, here):
    (here / "locked").mkdir(mode=0o500)
    if os.access(here / "locked", os.W_OK):
        pytest.skip("this user may write anywhere")
    done = train("--out", "locked/run")
    assert (done.code, done.err) == (2, "chainrule: locked/run: cannot create the run's folder (Permission denied)\n")


@pytest.mark.parametrize(("model", "lr"), [("mlp", "1e30"), ("mlp", "1e300"), ("sigmoid_mlp", "1e300")])
def test_a_training_that_diverges(process, images, model, lr):
    """One sentence, no NumPy warnings, and a run without weights."""
    done = process("train", "--data", images, "--model", model, "--lr", lr, "--out", "run", "--json")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(
        r"chainrule: training diverged in epoch 1, at (step \d+|its last step): .* try a smaller learning rate .*\n",
        done.err,
    )
    assert not runs.Run("run").weights_file.exists()
    with pytest.raises(RunError, match="does not exist yet: the first epoch is not complete"):
        runs.Run("run").load_network()


@pytest.mark.parametrize("options", [[], ["--json"], ["--quiet"]], ids=" ".join)
def test_a_training_that_came_to_nothing_says_so(command, images, options):
    """It has a result, which is no better than guessing, and a sentence about it on standard error."""
    done = command(
        "train", "--data", images, "--epochs", "3", "--batch-size", "50", "--lr", "3e3", "--out", "run", *options
    )
    assert done.code == 0
    assert re.fullmatch(
        r"chainrule: training did not work: the loss rose from 2\.\d+ before training to [\d.e+]+ in epoch \d, and the "
        r"best validation accuracy, \d+\.00%, is no better than guessing; try a smaller learning rate than 3000, such as "
        r"0\.02\n",
        done.err,
    )
    assert "training did not work" not in done.out
    if "--json" in options:
        assert json.loads(done.out)["test_accuracy"] < 0.4


# --resume of runs that were not interrupted (see test_interrupted.py for others)


@pytest.mark.parametrize(
    "options",
    [
        ["--lr", "0.1"],
        ["--batch-size", "8"],
        ["--eager"],
        ["--optimizer", "sgd"],
        ["--out", "x"],
        ["--seed", "0"],
        ["--model", "mlp"],
        ["--data", "mnist"],
        ["--limit", "5"],
        ["--validation", "5"],
    ],
    ids=" ".join,
)
def test_resume_goes_on_as_the_run_was_begun(command, copy, options):
    before = bits(copy)
    done = command("train", "--resume", copy, *options)
    assert (done.code, done.out) == (2, "")
    assert f"--resume keeps the run's settings: leave out {options[0]}" in done.err
    hints = {"--lr": "lr", "--batch-size": "batch_size", "--eager": "eager", "--optimizer": "optimizer"}
    hint = hints.get(options[0])
    assert ("; to change the setting: --override" in done.err) == (hint is not None)
    assert hint is None or f"--override {hint}=VALUE\n" in done.err
    assert bits(copy) == before


def test_resume_of_a_finished_run_prints_its_result_again(command, copy, trained):
    files = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    done = command("train", "--resume", copy, "--json")
    assert (done.code, done.err) == (0, "")
    assert {**json.loads(done.out), "run": "a run"} == json.loads(trained[1].out)
    assert {path: path.read_bytes() for path in files} == files


def test_resume_of_a_finished_run_says_so(command, copy):
    done = command("train", "--resume", copy)
    assert (done.code, done.err) == (0, "")
    assert "all 2 epochs are complete; evaluating again" in done.out
    assert "resuming" not in done.out
    assert done.out.count(ACCURACY_COLUMNS.header) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of POSIX")
def test_resume_of_a_run_that_is_trained_elsewhere(command, copy):
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    for options in ([], ["--epochs", 4], ["--override", "lr=0.5"]):
        with folder_lock(copy) as is_free:
            done = command("train", "--resume", copy, *options)
        sentence = f"chainrule: {copy}: this run is being trained already; stop that first, or wait for its end\n"
        assert (is_free, done.code, done.out, done.err) == (True, 2, "", sentence)
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before
    assert command("train", "--resume", copy, "--epochs", 4, "--quiet").code == 0


def test_a_new_run_is_locked_while_it_trains(train, here, monkeypatch):
    fit, locked = Trainer.fit, []

    def look(trainer, epochs):
        with folder_lock("run") as is_free:
            locked.append(not is_free)
        return fit(trainer, epochs)

    monkeypatch.setattr(Trainer, "fit", look)
    assert train("--out", "run", "--quiet").code == 0
    assert locked == [hasattr(os, "fork")]
    with folder_lock("run") as is_free:
        assert is_free


def test_resume_of_what_is_no_run(command, here, tmp_path):
    (here / "empty").mkdir()
    (here / "file").touch()
    for path, message in (
        ("nowhere", "nowhere: there is no such run"),
        ("empty", "empty: holds no run"),
        ("file", "file: there is no such run"),
    ):
        done = command("train", "--resume", path)
        assert (done.code, done.out, done.err) == (2, "", f"chainrule: {message}\n")


def test_resume_leaves_the_shipped_run_as_it_is(command, copy, monkeypatch):
    """On a copy, to protect the real one if this test fails."""
    for room in ("run", "experiment"):
        monkeypatch.setattr(f"chainrule.training.{room}.SHIPPED", copy)
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file()}
    done = command("train", "--resume", copy)
    assert (done.code, done.out) == (2, "")
    message = f"{copy}: is a run shipped with chainrule; train your own with: chainrule train --model mlp"
    assert done.err == f"chainrule: {message}\n"
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file()} == files


def test_resume_takes_a_name_in_runs_or_the_newest_of_a_folder(command, copy, here):
    (here / "runs").mkdir()
    copy.rename(here / "runs" / "mine")
    for path in ("mine", "runs", "runs/mine"):
        done = command("train", "--resume", path, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["run"] == "runs/mine"


def test_resume_with_changed_images(command, write_images, digits, here):
    folder = write_images("changing", digits)
    assert command("train", "--data", folder, "--epochs", "1", "--out", "run", "--quiet").code == 0
    file = folder / "train-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    done = command("train", "--resume", "run")
    assert (done.code, done.out) == (2, "")
    assert (
        done.err == f"chainrule: {folder}: the images have changed since run was started; the run cannot be resumed\n"
    )
    shutil.rmtree(folder)
    done = command("train", "--resume", "run")
    assert done.code == 2
    assert done.err.startswith(f"chainrule: there is no data set or folder '{folder}'")


# --resume with changed settings


def test_more_epochs(command, copy, images):
    done = command("train", "--resume", copy, "--epochs", "4")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[2] == (
        "from epoch 3, step 1: epochs 4 instead of 2; not bit-identical to a new run with these "
        "settings (the one-cycle schedule spanned 2 epochs until then)"
    )
    assert lines[3] == "resuming from epoch 3, step 1 of 1"
    table = lines.index(ACCURACY_COLUMNS.header)
    assert [line.split()[0] for line in lines[table + 1 : table + 5]] == ["1", "2", "3", "4"]
    config = runs.Run(copy).config
    assert config["training"]["epochs"] == 4
    assert config["changes"][0]["settings"] == {"epochs": [2, 4]}
    assert command("runs", copy.parent).out.split()[-2:] == ["test", f"{runs.Run(copy).result['test_accuracy']:.2%}"]

    document = json.loads(command("train", "--resume", copy, "--json").out)  # it is still reported
    assert document["changes"] == config["changes"]
    assert len(document["epochs"]) == 4
    assert lines[2] in command("train", "--resume", copy).out.splitlines()


def test_more_epochs_at_a_constant_rate_keep_their_bits(command, images, here):
    options = ["--data", images, "--model", "sigmoid_mlp", "--quiet"]
    assert command("train", *options, "--epochs", 2, "--out", "short").code == 0
    assert command("train", *options, "--epochs", 3, "--out", "long").code == 0
    done = command("train", "--resume", "short", "--epochs", 3)
    assert (done.code, done.err) == (0, "")
    assert "from epoch 3, step 1: epochs 3 instead of 2; bit-identical to a new run with these settings" in done.out
    assert bits(here / "short") == bits(here / "long")


def test_other_settings_and_a_way_back(command, images, here):
    done = command("train", "--data", images, "--epochs", 3, "--keep", 2, "--out", "run", "--quiet")
    assert (done.code, done.err) == (0, "")
    states = sorted(path.name for path in (here / "run" / "checkpoint").iterdir())
    assert states == ["epoch-2.safetensors", "epoch-3.safetensors", "state.safetensors"]
    done = command("train", "--resume", "run", "--epoch", 2, "--override", "lr=0.5", "--override", "weight-decay=0")
    assert (done.code, done.err) == (0, "")
    change = (
        "from epoch 3, step 1: lr 0.5 instead of 0.02, weight_decay 0.0 instead of 0.01; not bit-identical to a new "
        "run with these settings (lr was 0.02 until then; weight_decay was 0.01 until then)"
    )
    assert change in done.out.splitlines()
    done = command("train", "--resume", "run", "--step", 2)
    assert change in done.out.splitlines()
    assert len(runs.Run("run").changes) == 1
    done = command("train", "--resume", "run", "--step", 2, "--override", "lr=0.02", "--override", "weight-decay=0.01")
    assert "restarted from epoch 3, step 1" in done.out.splitlines()
    assert len(runs.Run("run").changes) == 1
    assert len(runs.Run("run").history) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "1"], "1 epochs are too few: 2 are complete"),
        (["--epochs", "0"], "the number of epochs must be at least 1, not 0"),
        (["--epoch", "1"], "copy: the state of epoch 1 was not kept; there are no kept states; train with --keep N"),
        (["--step", "1"], "copy: the state of step 1 was not kept; there are no kept states; train with --keep N"),
        (["--override", "lr=0.1"], "all 2 epochs are complete, so lr would have no effect; give --epochs as well"),
        (["--override", "rate=0.1"], "'rate=0.1' is not a setting that can be changed; write NAME=VALUE, .*"),
        (["--override", "lr=fast"], "lr must be a number, not 'fast'"),
        (["--keep", "-1"], "the number of states to keep must be at least 0, not -1"),
    ],
    ids=" ".join,
)
def test_a_change_that_is_not_possible(command, copy, options, message):
    files = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    done = command("train", "--resume", copy, *options)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(f"chainrule: (.*/)?{message}\n", done.err)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epoch", "1"], "--epoch changes an existing run: use it with --resume RUN"),
        (["--step", "1"], "--step changes an existing run: use it with --resume RUN"),
        (["--override", "lr=1"], "--override changes an existing run: use it with --resume RUN"),
        (["--resume", "x", "--epoch", "1", "--step", "3"], "--epoch and --step are mutually exclusive"),
        (["--resume", "x", "--epochs", "3", "--override", "epochs=4"], "--epochs 3 and --override epochs=4 contradict"),
    ],
    ids=" ".join,
)
def test_options_that_contradict_each_other(command, here, options, message):
    done = command("train", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not list(here.iterdir())


def test_a_fork_at_any_step(command, images, here):
    assert command("train", "--data", images, "--epochs", 2, "--keep", 2, "--out", "run", "--quiet").code == 0
    forked = command("train", "--from", "run", "--epoch", 1, "--lr", 0.5, "--out", "forked", "--json")
    assert (forked.code, forked.err) == (0, "")
    shutil.copytree(here / "run", here / "resumed")
    resumed = command("train", "--resume", "resumed", "--epoch", 1, "--override", "lr=0.5", "--json")
    assert (resumed.code, resumed.err) == (0, "")
    assert bits(here / "forked") == bits(here / "resumed")
    assert json.loads((here / "forked" / "config.json").read_text())["fork"]["run"] == "run"
    (here / "run" / "checkpoint" / "epoch-1.safetensors").write_bytes(b"damaged")
    done = command("train", "--from", "run", "--step", 1, "--optimizer", "sgd", "--epochs", 3, "--out", "sgd")
    assert done.code == 0
    assert "forked from run at step 1\n" in done.out
    assert "epochs 3 instead of 2, optimizer sgd instead of adamw, lr 0.1 instead of 0.02" in done.out


def test_another_optimizer_by_override(command, images, here):
    """A resumed run and a fork, which begin with the same defaults of the new optimizer as `--optimizer` of a fork."""
    assert command("train", "--data", images, "--epochs", 2, "--keep", 2, "--out", "run", "--quiet").code == 0
    shutil.copytree(here / "run", here / "resumed")
    calls = [
        ("--from", "run", "--optimizer", "sgd", "--out", "fork"),
        ("--from", "run", "--override", "optimizer=sgd", "--out", "other-fork"),
        ("--resume", "resumed", "--override", "optimizer=sgd"),
    ]
    for call in calls:
        done = command("train", *call, "--epoch", 1, "--quiet")
        assert (done.code, done.err) == (0, "")
    assert bits(here / "fork") == bits(here / "other-fork") == bits(here / "resumed")
    training = runs.Run("resumed").config["training"]
    assert (training["optimizer"], training["lr"], training["momentum"]) == ("sgd", 0.1, 0.9)
    done = command("train", "--resume", "resumed", "--epoch", 1, "--override", "optimizer=newton")
    assert done.code == 2
    assert "newton" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--step", "-1"], "copy: a step must be an integer from 0 to {last}, not -1"),
        (["--step", "99999"], "copy: a step must be an integer from 0 to {last}, not 99999"),
        (
            ["--epoch", "2", "--lr", "0.1"],
            "step {last} ends the last of 2 epochs: give more epochs, or an earlier step",
        ),
        (["--step", "0", "--lr", "nan"], "the learning rate must be a number above 0, not nan"),
        (["--step", "0", "--model", "cnn"], "--model cannot be changed in a fork"),
        (["--step", "0", "--freeze", "1"], "--freeze cannot be changed in a fork"),
        (["--step", "0", "--shards", "2"], "--shards cannot be changed in a fork"),
        (["--step", "0", "--eager"], "--eager is for a new run; to change the setting: --override eager=VALUE\n"),
        (["--step", "0", "--model", "cnn", "--eager"], "--model cannot be changed in a fork\n"),
        (["--step", "0", "--epoch", "0"], "--epoch and --step are mutually exclusive: give one of them"),
        (["--step", "0", "--lr", "1", "--override", "lr=1"], "--lr and --override lr are both given: give one of them"),
        (["--step", "0", "--override", "seed=1"], "'seed=1' is not a setting that can be changed"),
    ],
    ids=" ".join,
)
def test_a_fork_that_is_not_possible(command, copy, here, options, message):
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    done = command("train", "--from", copy, *options)
    assert (done.code, done.out) == (2, "")
    expected = re.escape(message).replace(re.escape("{last}"), r"\d+")
    assert re.search(expected, done.err)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_other_versions_are_one_sentence(command, images, here, monkeypatch):
    assert command("train", "--data", images, "--epochs", 1, "--out", "run", "--quiet").code == 0
    config = json.loads((here / "run" / "config.json").read_text())
    config["versions"]["numpy"] = "1.0"
    (here / "run" / "config.json").write_text(json.dumps(config))
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # instead of errors
        done = command("train", "--resume", "run", "--epochs", 2, "--json")
    assert done.code == 0
    assert (
        done.err
        == f"chainrule: run was started with numpy 1.0 (now {np.__version__}): its result may differ slightly\n"
    )


def test_a_changed_test_set_is_noticed(command, write_images, make_digits):
    folder = write_images("changing", make_digits(train=60, test=24))
    assert command("train", "--data", folder, "--epochs", 1, "--out", "run", "--quiet").code == 0
    labels = folder / "t10k-labels-idx1-ubyte"
    idx.write(labels, (idx.read(labels) + 1) % 10)
    done = command("train", "--resume", "run")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"chainrule: {folder}: the test images have changed since run was started; the run cannot be resumed\n"
    )


@pytest.mark.parametrize("keep", [0, 1])
def test_a_training_that_diverges_later_names_a_way_back(command, images, here, keep):
    """The suggested command works."""
    done = command("train", "--data", images, "--epochs", 1, "--keep", keep, "--out", "my run", "--quiet")
    assert done.code == 0
    done = command("train", "--resume", "my run", "--epochs", 3, "--override", "lr=1e300")
    assert done.code == 2
    back = r"chainrule train --resume 'my run'( --epoch 1)? --override lr=1e\+299"
    assert re.fullmatch(f"chainrule: training diverged in epoch 2, .*; recover with: {back}\n", done.err)
    assert (" --epoch 1" in done.err) == bool(keep)
    words = shlex.split(done.err.rpartition("recover with: chainrule ")[2])
    words[-1] = "lr=0.01"
    done = command(*words, "--json")
    assert (done.code, done.err) == (0, "")
    assert len(json.loads(done.out)["epochs"]) == 3


# Untrusted runs


def leaves(value, path=()):
    yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from leaves(part, (*path, key))


OTHERS = (
    None,
    True,
    "\x1b[31m\n",
    "",
    -1,
    1.5,
    10**18,
    10**400,
    1e308,
    math.nan,
    [],
    {},
    ["a"],
    {"a": 1},
)


@pytest.mark.slow
def test_whatever_stands_in_a_runs_files_it_is_one_sentence(command, copy, monkeypatch):
    """Each entry of config.json, metrics.jsonl and result.json, replaced by values of each type."""
    other = shutil.copytree(copy, copy.parent / "other")
    for name in ("config.json", "metrics.jsonl", "result.json"):
        text = (copy / name).read_text()
        lines = text.splitlines() if name == "metrics.jsonl" else [text]
        document = [json.loads(line) for line in lines]
        for path in leaves(document):
            for value in OTHERS:
                changed = json.loads(json.dumps(document))
                if path:
                    inner = changed
                    for key in path[:-1]:
                        inner = inner[key]
                    inner[path[-1]] = value
                else:
                    changed = [value]
                (copy / name).write_text("\n".join(map(json.dumps, changed)) + "\n")
                for arguments in (["runs", copy.parent], ["evaluate", copy], ["train", "--resume", copy]):
                    done = command(*arguments)
                    message = (name, path, value, arguments, done)
                    assert done.code in (0, 2), message
                    assert "Traceback" not in done.err, message
                    assert "\x1b" not in done.out + done.err, message
                    assert done.code == 0 or done.err.startswith(("chainrule: ", "Usage: ")), message
                    if arguments[0] == "runs":
                        assert other.name in done.out, message
        (copy / name).write_text(text)


@pytest.mark.parametrize(
    "options", [{"hidden": 10**18}, {"hidden": 10**30}, {"inputs": 10**18}, {"classes": 2**62}], ids=str
)
def test_a_model_too_large_to_build_is_one_sentence(command, copy, options):
    config = json.loads((copy / "config.json").read_text())
    config["model"]["options"].update(options)
    (copy / "config.json").write_text(json.dumps(config))
    for arguments in (["evaluate", copy], ["train", "--resume", copy]):
        done = command(*arguments)
        assert (done.code, done.out) == (2, "")
        assert re.fullmatch(r"chainrule: .*\n", done.err)


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-01", "now"])
def test_a_date_out_of_range_is_one_sentence_and_the_other_runs_are_listed(command, copy, created):
    shutil.copytree(copy, copy.parent / "good")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "created": created}))
    done = command("runs", copy.parent)
    assert done.code == 2
    assert done.out.startswith("good ")
    assert done.err.startswith(f"chainrule: {copy / 'config.json'}: created must be a date and time, like 2026-")


def test_a_folder_whose_name_is_no_text(process, images, here):
    """A name with a byte that is not UTF-8."""
    name = os.fsdecode(b"r\xffn")
    done = process("train", "--data", images, "--epochs", "1", "--out", name)
    assert (done.code, done.err) == (0, "")
    assert "run            r\\xffn" in done.out
    for arguments in (["runs", "."], ["evaluate", name], ["evaluate", name, "--json"], ["train", "--resume", name]):
        done = process(*arguments)
        assert (done.code, done.err) == (0, ""), arguments
    assert (here / name / "curves.png").exists()


DAMAGE = {
    "config.json": (b"{", "config.json: is not JSON"),
    "checkpoint/state.safetensors": (b"\0" * 40, "state.safetensors: is not a complete safetensors file"),
    "model.safetensors": (b"\0" * 40, "model.safetensors: is not a complete safetensors file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_resume_of_a_damaged_run(command, copy, name):
    content, message = DAMAGE[name]
    (copy / name).write_bytes(content)
    done = command("train", "--resume", copy, "--json")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(f"chainrule: {copy}/.*{message}.*\n", done.err)


@pytest.mark.parametrize("name", ["checkpoint/state.safetensors", "model.safetensors"])
def test_resume_of_an_incomplete_run(command, copy, name):
    (copy / name).unlink()
    done = command("train", "--resume", copy)
    assert done.code == 2
    assert re.fullmatch(f"chainrule: {copy / name}: (no such file|is missing)\n", done.err)


def test_nan_in_the_checkpoint_is_told_not_trained_on(command, copy):
    from chainrule.training import checkpoint

    file = copy / "checkpoint" / "state.safetensors"
    state = checkpoint.load(file)
    state["network"]["1.weight"][:] = np.nan
    checkpoint.save(state, file)
    before = bits(copy)
    done = command("train", "--resume", copy, "--epochs", 3, "--quiet")
    assert done.code == 2
    assert re.fullmatch(
        r"chainrule: training diverged in epoch 3, at step 1: .*the weight of layer '1', Linear.*\n", done.err
    )
    assert bits(copy) == before
