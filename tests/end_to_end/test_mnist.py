"""What a stranger does: train on MNIST by the command line, then judge it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty folder."""
    return tmp_path_factory.mktemp("mnist")


@pytest.fixture(scope="module")
def chainrule(place):
    """Runs the command there, with an empty cache at first, and gives the JSON document that it prints."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "chainrule", *arguments, "--json"],
            cwd=place,
            env={**os.environ, "CHAINRULE_CACHE": str(place / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def trained(chainrule):
    return chainrule("train", "--epochs", "2")


def test_two_epochs_read_96_of_100_digits(trained, place):
    assert trained["model"] == "mlp"
    assert 0.96 <= trained["test_accuracy"] < 0.995
    first, second = trained["epochs"]
    assert second["train_loss"] < first["train_loss"]
    assert second["validation_accuracy"] > 0.96
    folder = place / trained["run"]
    assert (folder / "curves.png").read_bytes().startswith(PNG)
    assert json.loads((folder / "config.json").read_text())["model"]["options"] == {"inputs": 784, "classes": 10}


def test_the_newest_run_is_judged(trained, chainrule, place):
    found = chainrule("evaluate", "--confusion", "confusion.png", "--mistakes", "mistakes.png")
    assert found["run"] == trained["run"]
    assert (found["accuracy"], found["loss"]) == (trained["test_accuracy"], trained["test_loss"])
    assert sum(map(sum, found["confusion"])) == 10_000
    assert min(entry["accuracy"] for entry in found["per_class"]) > 0.9
    for name in ("confusion.png", "mistakes.png"):
        picture = (place / name).read_bytes()
        assert picture.startswith(PNG)
        assert len(picture) > 10_000


def test_the_shipped_network_reads_995_of_1000_digits_and_knows_how_sure_it_is(chainrule):
    found = chainrule("evaluate", "shipped")
    assert found["accuracy"] >= 0.995
    *digits, none = found["per_class"]
    assert min(entry["accuracy"] for entry in digits) > 0.985
    assert none == {"class": "none", "images": 0, "accuracy": None}
    assert found["expected_calibration_error"] < 0.01


def test_a_finished_run_is_told_again(trained, chainrule):
    assert chainrule("train", "--resume", trained["run"]) == trained
