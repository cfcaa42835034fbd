"""The script that puts a trained run into the package."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from chainrule.data import mnist
from chainrule.training import run as runs
from chainrule.training.evaluation import evaluate

FILE = Path(__file__).parent.parent / "scripts" / "make_weights.py"
SHIPPED = runs.SHIPPED


@pytest.fixture
def make_weights(monkeypatch, tmp_path):
    """Runs the script, with a folder of the test's own in the package's place."""
    spec = importlib.util.spec_from_file_location("make_weights", FILE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "package")

    def make(source):
        monkeypatch.setattr(sys, "argv", ["make_weights.py", str(source)])
        script.main()

    make.script = script
    return make


@pytest.fixture
def finished(tmp_path):
    return Path(shutil.copytree(SHIPPED, tmp_path / "finished"))


def test_a_good_run_is_copied_whole(make_weights, finished, tmp_path, capsys, monkeypatch):
    judged = []

    def judge_some(network, model, images, labels):
        """The first 500; tests/end_to_end judges the shipped network by all test images, which takes seconds."""
        np.testing.assert_array_equal(images, mnist().test_images)
        judged.append(evaluate(network, model, images[:500], labels[:500]).accuracy)
        return SimpleNamespace(accuracy=judged[-1])

    monkeypatch.setattr(make_weights.script, "evaluate", judge_some)
    make_weights(finished)
    for name in ("config.json", "model.safetensors", "result.json"):
        assert (tmp_path / "package" / name).read_bytes() == (finished / name).read_bytes()
    assert 0.995 <= judged[0] <= 1
    assert f"reader, {judged[0]:.2%} of the test images right" in capsys.readouterr().out
    monkeypatch.setattr(make_weights.script, "evaluate", lambda *_: SimpleNamespace(accuracy=0.9949))
    with pytest.raises(SystemExit, match=r"finished: reads 99\.49% of the test images right, too few"):
        make_weights(finished)


def test_a_run_that_will_not_do_is_refused(make_weights, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(make_weights.script, "MOST", 1_000)
    with pytest.raises(SystemExit, match="bytes are more than the 1,000 allowed"):
        make_weights(finished)
    (finished / "result.json").unlink()
    with pytest.raises(SystemExit, match="is no finished run on the data set handwriting"):
        make_weights(finished)
    assert not (tmp_path / "package").exists()
