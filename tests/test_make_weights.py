"""The script that puts a trained run into the package."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from chainrule.training import run as runs

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


@pytest.mark.slow
def test_a_good_run_is_copied_whole(make_weights, finished, tmp_path, capsys):
    make_weights(finished)
    for name in ("config.json", "model.safetensors", "result.json"):
        assert (tmp_path / "package" / name).read_bytes() == (finished / name).read_bytes()
    accuracy = json.loads((finished / "result.json").read_text())["test_accuracy"]
    assert f"reader, {accuracy:.2%} of the test images right" in capsys.readouterr().out


def test_a_run_that_will_not_do_is_refused(make_weights, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(make_weights.script, "MOST", 1_000)
    with pytest.raises(SystemExit, match="bytes are more than the 1,000 allowed"):
        make_weights(finished)
    (finished / "result.json").unlink()
    with pytest.raises(SystemExit, match="is no finished run on the data set handwriting"):
        make_weights(finished)
    assert not (tmp_path / "package").exists()
