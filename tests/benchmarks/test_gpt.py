"""benchmarks/gpt.py: the same batches, learning rates and losses in both libraries; runs that stop; the report."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_are_found():
    """The scripts import each other as they do when they are run."""
    folders = [str(FOLDER), str(FOLDER / "programs")]
    sys.path[:0] = folders
    yield
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture
def job(tmp_path):
    from gpt_job import Job

    np.save(tmp_path / "train.npy", np.arange(100))
    np.save(tmp_path / "validation.npy", np.arange(100, 150))
    return Job(
        str(tmp_path / "train.npy"), str(tmp_path / "validation.npy"), "", {"block_size": 8}, 3, 300, 2, 60, 0
    )  # fmt: skip


def test_the_learning_rate_rises_and_falls(job):
    rates = [job.lr(step) for step in range(301)]
    assert rates[0] == pytest.approx(1e-3 / 101)
    assert max(rates) == rates[100] == 1e-3
    assert rates[200] == pytest.approx((1e-3 + 1e-4) / 2)
    assert rates[300] == pytest.approx(1e-4)
    assert rates == sorted(rates[:101]) + sorted(rates[101:], reverse=True)
    assert replace(job, steps=50).lr(49) < 1e-3  # a run that ends while the rate rises


def test_batches_are_windows_from_anywhere_and_those_one_token_later(job):
    batches = list(job.batches())
    assert len(batches) == 300
    for inputs, targets in batches:
        assert inputs.shape == targets.shape == (3, 8)
        np.testing.assert_array_equal(targets, inputs + 1)
        np.testing.assert_array_equal(np.diff(inputs), 1)
    starts = {int(start) for inputs, _ in batches for start in inputs[:, 0]}
    assert starts == set(range(92))  # the last window's last target is token 99
    again = list(job.batches())
    assert all(np.array_equal(a, b) for pair in zip(batches, again, strict=True) for a, b in zip(*pair, strict=True))


def test_validation_is_the_whole_text(job, monkeypatch):
    [(inputs, targets)] = job.evaluation_batches()
    np.testing.assert_array_equal(inputs.ravel(), np.arange(100, 148))
    np.testing.assert_array_equal(targets, inputs + 1)
    monkeypatch.setattr("gpt_job.EVALUATION_BATCH", 4)
    assert [inputs.shape for inputs, _ in job.evaluation_batches()] == [(4, 8)]  # two windows do not fill a batch


def test_a_run_stops_at_its_limit(job, capsys):
    from gpt_job import Record

    Record(replace(job, limit=0)).train(lambda batch, lr: 2.0, lambda batch: 3.0, "1.0", "jit")
    record = json.loads(capsys.readouterr().out)
    assert record["steps"] == 1
    assert record["evaluations"] == [[1, 3.0]]

    import gpt

    line = gpt.described({"library": "chainrule", "process_seconds": 1.0, **record}, 300)
    assert line.startswith("chainrule 1.0 jit: 1 steps (stopped by --limit before step 300) in 0.0 s")
    assert line.endswith("loss 2.0000 to 2.0000; validation 3.0000 at 1")


def test_losses_are_recorded(job, capsys):
    from gpt_job import Record

    losses = iter(range(300))
    Record(job).train(lambda batch, lr: next(losses), lambda batch: float(batch[0].mean()), "1.0", "jit")
    record = json.loads(capsys.readouterr().out)
    assert record["loss"] == np.mean(range(200, 300))
    assert record["initial_loss"] == 0
    assert record["evaluations"] == [[150, 123.5], [300, 123.5]]


@pytest.mark.slow
def test_both_libraries_learn_the_same(tmp_path, capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
    import gpt

    gpt.main(
        ["train", "--quick", "--data", "everyday", "--size", "tiny", "--steps", "4", "--evaluations", "1",
         "--json", str(tmp_path / "gpt.json")]
    )  # fmt: skip
    ours, theirs = json.loads((tmp_path / "gpt.json").read_text())["training"]
    assert (ours["library"], theirs["library"]) == ("chainrule", "PyTorch")
    assert ours["steps"] == theirs["steps"] == 4
    for name in ("initial_loss", "loss"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    assert ours["evaluations"][0][1] == pytest.approx(theirs["evaluations"][0][1], rel=1e-5)
    assert ours["evaluations"][0][1] < ours["initial_loss"]
    assert capsys.readouterr().out.count("4 steps in") == 2


@pytest.mark.parametrize(("arguments", "message"), [
    (["speed"], "there is no part speed; there are step, generate, memory, train"),
    (["--steps", "0"], "--steps must be at least 1"),
])  # fmt: skip
def test_wrong_arguments_are_refused(arguments, message, capsys):
    import gpt

    with pytest.raises(SystemExit) as caught:
        gpt.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_job_survives_its_file(job, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(asdict(job)))
    assert type(job).read(str(tmp_path / "job.json")) == job
