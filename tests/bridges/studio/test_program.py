"""Copy as code: the program of a run, run in a folder of its own, prints the run's numbers, whatever it was trained on."""

from __future__ import annotations

import json
import runpy

import numpy as np
import pytest
from PIL import Image

from chainrule import data as datasets
from chainrule import text
from chainrule.models import get
from chainrule.studio.program import program
from chainrule.training import experiment, tasks
from chainrule.training import run as runs
from chainrule.training.changes import change_run
from chainrule.training.session import train

SENTENCES = "".join(f"The {a} sees a {b}.\n" for a in ("cat", "dog", "owl", "cow") for b in ("mouse", "bird", "ball"))


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Trains a run, and its program in another folder; compares what they measure, and returns the program."""

    def check(model, examples, change=None, **settings):
        config = experiment.configure(model, examples, **settings)
        write_files = tasks.of(get(model)).write_files
        run = runs.create(config, tmp_path / "runs" / "own", lambda folder: write_files(examples, folder))
        if change:
            train(run, examples, until=2)
            run = change_run(run, examples, change)
        train(run, examples)
        result = run.task.evaluate_run(run, examples)
        told = program(run, run.task.load(run))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "program.py").write_text(told, encoding="utf-8")
        capsys.readouterr()
        runpy.run_path("program.py")
        printed = [json.loads(line.replace("'", '"')) for line in capsys.readouterr().out.splitlines()]
        assert printed == [{key: value for key, value in run.history[-1].items() if key != "seconds"}, result]
        return told

    return check


GPT = {"epochs": 1, "steps_per_epoch": 4, "batch_size": 4, "options": {"size": "tiny", "block_size": 8}}


@pytest.mark.parametrize("reading", [{}, {"words": True}, {"bpe": 260}], ids=["characters", "words", "byte pairs"])
@pytest.mark.parametrize("source", ["everyday", "own"])
def test_of_a_text(check, tmp_path, source, reading):
    if "bpe" in reading:
        pytest.importorskip("tokenizers", reason="byte pairs need the package tokenizers")
    if source == "own":
        source = tmp_path / "own.txt"
        source.write_text(20 * SENTENCES, encoding="utf-8")
    told = check("gpt", text.load(source, **reading), change={"lr": 0.0004}, seed=2, **GPT)
    assert "load_tokenizer" not in told
    assert "runs.Run" not in told


def test_of_a_text_whose_tokenizer_is_another_texts(check, tmp_path):
    """It cannot be trained again from this text: the program reads it where the run has it."""
    (tmp_path / "own.txt").write_text(20 * SENTENCES, encoding="utf-8")
    tokenizer = text.CharTokenizer.train(SENTENCES + "0123456789")
    told = check("gpt", text.load(tmp_path / "own.txt", tokenizer), **GPT)
    assert f"runs.Run({str(tmp_path / 'runs' / 'own')!r})" in told


@pytest.mark.parametrize("kind", ["archive", "pictures"])
def test_of_own_images_split_by_the_seed(check, tmp_path, kind):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 255, (90, 12, 12), np.uint8), np.arange(90) % 3
    source = tmp_path / "own.npz"
    if kind == "archive":
        np.savez(source, x=images, y=labels)
    else:
        source = tmp_path / "pictures"
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            (source / f"class {label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(source / f"class {label}" / f"{number}.png")
    examples = datasets.load(source, seed=5, image_size=10 if kind == "pictures" else None)
    check("mlp", examples, change={"lr": 0.004}, seed=5, epochs=1, batch_size=10)


@pytest.mark.parametrize(("target", "dropped"), [("kind", "price"), ("price", "kind")])
def test_of_a_table(check, tmp_path, target, dropped):
    random = np.random.default_rng(1)
    lines = ["x,shelf,kind,price"]
    for x, shelf in zip(random.normal(size=60), random.integers(1, 4, 60), strict=True):
        lines.append(f"{x:.3f},{shelf},{'big' if x > 0 else 'small'},{100 + 20 * x + shelf:.2f}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    table = datasets.load_table(tmp_path / "t.csv", target, drop=[dropped], categorical=["shelf"], seed=4)
    model = "mlp_classifier" if target == "kind" else "mlp_regressor"
    check(model, table, seed=4, epochs=1, batch_size=8)
