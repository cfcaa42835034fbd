"""Runs on tables: same seed, same bits; a killed run resumes to the same bits; metrics, diagnosis, fine-tuning."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule import data
from chainrule.data.tables import NumberTarget
from chainrule.errors import DataError, RunError
from chainrule.training import experiment, run
from chainrule.training.fine_tuning import write_start
from chainrule.training.regression import Regression, evaluate_regression
from chainrule.training.resume import resume
from chainrule.training.table_task import CLASSIFICATION, REGRESSION

from .killing import KillAt, Killed


def write_table(file, count=90, seed=0, noise=0.0):
    """Classes and a number that follow from two numbers and a category, with gaps."""
    rng = np.random.default_rng(seed)
    lines = ["x,y,color,kind,price"]
    for _ in range(count):
        x, y = rng.normal(size=2)
        color = "red blue green".split()[rng.integers(3)]
        kind = "big" if x + (color == "red") + noise * rng.normal() > 0.3 else "small"
        price = 100 + 20 * x - 10 * y + 15 * (color == "red")
        lines.append(f"{'' if rng.random() < 0.05 else round(x, 3)},{y:.3f},{color},{kind},{price:.2f}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def classes(tmp_path):
    return data.load_table(write_table(tmp_path / "t.csv"), "kind", drop=["price"])


@pytest.fixture
def prices(tmp_path):
    return data.load_table(write_table(tmp_path / "t.csv"), "price", drop=["kind"])


def create(folder, table, source=None, model=None, **changes):
    name = model or ("mlp_regressor" if isinstance(table.encoder.target, NumberTarget) else "mlp_classifier")
    config = experiment.configure(name, table, source=source, **changes)
    return run.create(config, folder, None if source is None else lambda target: write_start(source, target))


def bits(this_run):
    return {name: tensor.numpy().tobytes() for name, tensor in this_run.load_network().state_dict().items()}


def test_the_network_learns(tmp_path, classes, prices):
    results = []
    for name, table in (("c", classes), ("p", prices)):
        this_run = create(tmp_path / name, table, epochs=25, eager=True)
        experiment.prepare(this_run, table).fit(25)
        results.append(experiment.finish(this_run, table, 0.0))
        assert this_run.result == results[-1]
        assert run.Run(this_run.folder).task.diagnose(this_run, table) is None
    assert results[0]["test_accuracy"] >= 14 / 15
    assert results[1]["test_r2"] > 0.8
    assert CLASSIFICATION.headline(results[0]).startswith("test ")
    assert REGRESSION.headline({"test_r2": 0.87654}) == "test R² 0.8765"


@pytest.mark.parametrize("which", ["classes", "prices"])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, which, request):
    table = request.getfixturevalue(which)
    whole, again, killed = (create(tmp_path / name, table, seed=3, epochs=4) for name in ("whole", "again", "killed"))
    for this_run in (whole, again):
        experiment.prepare(this_run, table).fit(4)
    assert bits(whole) == bits(again)
    with pytest.raises(Killed):
        experiment.prepare(killed, table, [KillAt(9)]).fit(4)  # in the third epoch of 4 steps
    reloaded = killed.task.load(killed)
    np.testing.assert_array_equal(reloaded.train.inputs, table.train.inputs)
    trainer = experiment.prepare(killed, reloaded)
    resume(killed, trainer)
    trainer.fit(4)
    assert bits(killed) == bits(whole)
    assert [{**record, "seconds": 0} for record in killed.history] == [
        {**record, "seconds": 0} for record in whole.history
    ]
    other = create(tmp_path / "other", table, seed=4, epochs=4)
    experiment.prepare(other, table).fit(4)
    assert bits(other) != bits(whole)


def test_a_table_that_changed_is_noticed(tmp_path, classes):
    this_run = create(tmp_path / "run", classes, epochs=1)
    file, lines = tmp_path / "t.csv", (tmp_path / "t.csv").read_text(encoding="utf-8").split("\n")
    assert this_run.task.changed_part(this_run, this_run.task.load(this_run)) is None
    for part, expected in ((classes.train, "rows"), (classes.test, "test rows")):
        changed = list(lines)
        changed[part.lines[0] - 1] = (
            "9.5"
            + changed[part.lines[0] - 1].partition(",")[1:][0]
            + ",".join(changed[part.lines[0] - 1].split(",")[1:])
        )
        file.write_text("\n".join(changed), encoding="utf-8")
        loaded = this_run.task.load(this_run)
        assert this_run.task.changed_part(this_run, loaded) == expected
        with pytest.raises(DataError, match=f"the {expected} have changed since"):
            experiment.prepare(this_run, loaded)


def test_error_and_r2(tmp_path, prices):
    """Against the formulas, on numbers worked out by hand: errors 1, -2, 3 about the mean 4 of 2, 4, 6."""
    result = Regression(0.0, np.array([3.0, 2.0, 9.0]), np.array([2.0, 4.0, 6.0]))
    assert result.rmse == pytest.approx((14 / 3) ** 0.5)
    assert result.r2 == pytest.approx(1 - 14 / 8)
    constant = np.array([5.0, 5.0])
    assert Regression(0.0, constant, constant).r2 == 1
    assert Regression(0.0, constant + 1, constant).r2 == 0
    tenths = np.full(3, 0.1)  # whose mean is not 0.1
    assert tenths.mean() != 0.1
    assert Regression(0.0, tenths, tenths).r2 == 1
    assert Regression(0.0, tenths + 1, tenths).r2 == 0
    this_run = create(tmp_path / "run", prices, epochs=1)
    network, target = this_run.build_network(np.random.default_rng(0)), prices.encoder.target
    found = evaluate_regression(network, this_run.model, prices.test.inputs, prices.test.targets, target)
    lines = (tmp_path / "t.csv").read_text(encoding="utf-8").split("\n")
    true = [float(lines[line - 1].split(",")[-1]) for line in prices.test.lines]
    np.testing.assert_allclose(found.targets, true, rtol=1e-6)
    scaled = (found.predictions - found.targets) / target.std
    assert found.loss == pytest.approx(float(np.mean(scaled**2)), rel=1e-5)


def test_pictures_for_logs(tmp_path, classes, prices):
    for name, table, names in (("c", classes, ["confusion"]), ("p", prices, [])):
        this_run = create(tmp_path / name, table, epochs=1)
        validator = this_run.task.validator(this_run.build_network(), this_run.model, table, compiled=False)
        assert validator.figures() == {}
        validator()
        assert [*validator.figures()] == names


def test_what_says_nothing_is_told(tmp_path):
    rng = np.random.default_rng(1)
    lines = [f"{rng.normal():.3f},{'yes' if i % 4 else 'no'},{rng.normal():.3f}" for i in range(60)]
    file = tmp_path / "noise.csv"
    file.write_text("\n".join(["x,answer,number", *lines]), encoding="utf-8")
    answers = data.load_table(file, "answer", drop=["number"])
    this_run = create(tmp_path / "c", answers, epochs=1, lr=1e-6)
    experiment.prepare(this_run, answers).fit(1)
    advice = this_run.task.diagnose(this_run, answers)
    accuracy = this_run.history[0]["validation_accuracy"]
    counts = np.bincount(answers.validation.targets)
    assert (advice is not None) == (accuracy <= counts.max() / counts.sum())
    numbers = data.load_table(file, "number", drop=["answer"])
    this_run = create(tmp_path / "n", numbers, epochs=30)
    (this_run.folder / "metrics.jsonl").write_text(
        json.dumps(
            {"epoch": 1, "train_loss": 1.0, "validation_loss": 1.2, "validation_rmse": 1.1, "validation_r2": -0.2}
        )
    )
    assert this_run.task.diagnose(this_run, numbers) == (
        "the best epoch's validation R², -0.2, is no better than that of the mean; the columns may say nothing about number,"
        " or try more epochs than 30"
    )


def test_fine_tuning_keeps_the_columns_and_takes_new_classes(tmp_path, classes):
    base = create(tmp_path / "base", classes, epochs=2)
    experiment.prepare(base, classes).fit(2)
    file = write_table(tmp_path / "more.csv", count=60, seed=5)
    file.write_text(file.read_text(encoding="utf-8").replace("green,big", "green,odd"), encoding="utf-8")
    table = data.load_table(file, "kind", encoder=classes.encoder)
    assert table.encoder.columns == classes.encoder.columns
    this_run = create(tmp_path / "tuned", table, base, freeze=["0"], epochs=2)
    assert this_run.config["start"]["replaced"] == ["4.weight", "4.bias"]
    experiment.prepare(this_run, table).fit(2)
    old, new = base.load_network().state_dict(), this_run.load_network().state_dict()
    np.testing.assert_array_equal(old["0.weight"].numpy(), new["0.weight"].numpy())
    assert new["4.weight"].shape == (3, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps_per_epoch": 5}, "an epoch is a pass over the rows, so steps_per_epoch must be 0, not 5"),
        ({"augment": {"shift": 2}}, "augmentation is for images; a table has none"),
        ({"limit": 10_000}, "the limit is 10,000, but .*t.csv has 62 training rows"),
        ({"options": {"size": "huge"}}, "unknown size 'huge'; choose from small, medium, large"),
        (
            {"model": "mlp"},
            "model 'mlp' does not read tables with classes, and .* is a table with classes to predict; choose from",
        ),
        ({"model": "mlp_regressor"}, "model 'mlp_regressor' does not read tables with classes"),
        (
            {"options": {"classes": 7}},
            "model 'mlp_classifier' has outputs \\(1, 7\\) for one row, which must be \\(1, 2\\)",
        ),
        ({"options": {"inputs": 2}}, "model 'mlp_classifier' does not take rows of 5 inputs"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, classes, changes, message):
    with pytest.raises(RunError, match=message):
        create(tmp_path / "run", classes, **changes)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("columns", [], "data.columns must not be empty"),
        ("columns", [{"name": "x"}], r"data.columns\[0\].kind must be number or category"),
        (
            "target",
            {"name": "y", "kind": "regression", "mean": 0.0, "std": 1.0},
            "kind does not fit model 'mlp_classifier'",
        ),
        ("target", {"name": "y", "kind": "classification", "classes": ["a", "b", "c"]}, r"which must be \(1, 3\)"),
    ],
)
def test_a_damaged_config_is_refused(tmp_path, classes, entry, value, message):
    this_run = create(tmp_path / "run", classes, epochs=1)
    experiment.prepare(this_run, classes).fit(1)
    this_run.config["data"][entry] = value
    this_run.config_file.write_text(json.dumps(this_run.config), encoding="utf-8")
    with pytest.raises(RunError, match=rf"config.json: .*{message}"):
        run.Run(this_run.folder).load_network()
