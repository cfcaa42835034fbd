"""`chainrule models`, `data` and `runs`."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from chainrule import models


def table(done):
    return [re.split(r"  +", line) for line in done.out.splitlines()]


def test_models_with_their_recipes(command):
    done = command("models")
    assert (done.code, done.err) == (0, "")
    assert [row[:2] for row in table(done)] == [[model.name, model.summary] for model in models.REGISTRY.values()]
    assert table(done)[1][2] == "sgd, lr 3, batch size 10, 30 epochs"


def test_data_and_where_it_is_kept(command, tmp_path):
    done = command("data")
    assert (done.code, done.err) == (0, "")
    *entries, cache = table(done)
    sets, texts = entries[:4], entries[4:]
    assert [row[0] for row in sets] == ["mnist", "handwriting", "fashion-mnist", "kmnist"]
    assert [row[0] for row in texts] == ["everyday", "names", "shakespeare"]
    assert texts[0][1] == "installed"
    assert {row[1] for row in sets} == {"not cached"}
    assert cache[0] == f"cache: {tmp_path / 'cache'}"
    assert not (tmp_path / "cache").exists()  # listing does not create it


# runs


@pytest.fixture
def many(trained, here):
    """Three runs: one finished, one in progress, one just started."""
    folder = here / "runs"
    for name, created in (("done", "2026-03-03"), ("under way", "2026-03-02"), ("begun", "2026-03-01")):
        shutil.copytree(trained[0], folder / name)
        config = json.loads((folder / name / "config.json").read_text())
        config["created"] = f"{created}T10:00:00+01:00"
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "under way" / "result.json").unlink()
    (folder / "under way" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (folder / "begun" / "result.json").unlink()
    (folder / "begun" / "metrics.jsonl").unlink()
    (folder / "notes.txt").touch()
    return folder


def test_runs_the_newest_last(command, many, trained, images):
    done = command("runs")
    assert (done.code, done.err) == (0, "")
    accuracy = f"test {json.loads(trained[1].out)['test_accuracy']:.2%}"
    assert table(done) == [
        ["begun", "mlp", str(images), "seed 0", "0 of 2 epochs"],
        ["under way", "mlp", str(images), "seed 0", "1 of 2 epochs"],
        ["done", "mlp", str(images), "seed 0", accuracy],
    ]
    many.rename(many.parent / "elsewhere")
    assert command("runs", "elsewhere").out == done.out


def test_no_runs_yet(command, here):
    for _ in range(2):
        done = command("runs")
        assert (done.code, done.out) == (0, "")
        assert done.err == "no runs in runs yet; train one with: chainrule train\n"
        (here / "runs").mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "config.json: is not JSON"),
        ("config.json", "[]", "config.json: the content must be of type dict"),
        ("result.json", "{}", "result.json: lacks seconds, test_accuracy, test_loss"),
        ("metrics.jsonl", '{"epoch": 1}\nhalf a li', "metrics.jsonl, line 2: is not JSON"),
    ],
)
def test_a_run_that_cannot_be_read_does_not_hide_the_others(command, many, name, content, message):
    (many / "under way" / name).write_text(content)
    done = command("runs")
    assert done.code == 2
    assert [row[0] for row in table(done)] == ["begun", "done"]
    assert re.fullmatch(f"chainrule: runs/under way/{message}.*\n", done.err)


def test_a_run_of_a_model_that_is_no_more_is_listed(command, many):
    config = json.loads((many / "done" / "config.json").read_text())
    config["model"]["name"] = "perceptron"
    (many / "done" / "config.json").write_text(json.dumps(config))
    done = command("runs")
    assert done.code == 0
    assert table(done)[-1][1] == "perceptron"


def test_a_model_is_described(command):
    done = command("models", "cnn", "--batch-size", 2)
    assert (done.code, done.err) == (0, "")
    assert "  1: Conv2d     2×32×28×28         832" in done.out
    assert "parameters     83,466, of which 83,466 are trained" in done.out
    assert "unknown model 'cmm'" in command("models", "cmm").err


def test_a_step_is_profiled(command):
    done = command("profile", "--batch-size", 4, "--repeats", 1, "--optimizer", "lion")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("mlp: ")
    assert "lion, batch size 4" in done.out
    assert "1: Linear" in done.out
    assert "4×784 @ 784×128" in done.out
