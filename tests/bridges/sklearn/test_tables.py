"""Tables beside scikit-learn on its own data sets: the same inputs, the same metrics, and no worse a network."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest

from chainrule import data
from chainrule.training import experiment, run
from chainrule.training.regression import predict_rows

pytest.importorskip("sklearn", reason="scikit-learn is an extra")
from sklearn import datasets, metrics
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

pd = pytest.importorskip("pandas", reason="the bridges' tests install it")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Files are not flushed to the disk itself."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def write(folder, name):
    """Write a data set of scikit-learn as a CSV file; return the file and the arrays."""
    bunch = getattr(datasets, f"load_{name}")()
    is_regression = name == "diabetes"
    file = folder / f"{name}.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*bunch.feature_names, "target"])
        for x, y in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True):
            writer.writerow([*x, y if is_regression else bunch.target_names[y]])
    return file, bunch.data, bunch.target if is_regression else bunch.target_names[bunch.target]


def test_the_same_inputs_as_a_pipeline(tmp_path):
    """Median, indicator, mean and deviation, one-hot: fitted by scikit-learn to the training rows that we chose."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, 300).astype(float),
            "income": rng.lognormal(10, 1, 300),
            "city": rng.choice(["Rome", "Paris", "Oslo"], 300),
            "target": rng.normal(size=300),
        }
    )
    table.loc[rng.random(300) < 0.1, "age"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    own = data.load_table(tmp_path / "t.csv", "target")
    read = pd.read_csv(tmp_path / "t.csv")
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    theirs = ColumnTransformer([("n", numbers, ["age", "income"]), ("c", OneHotEncoder(), ["city"])])
    theirs.fit(read.iloc[own.train.lines - 2])
    names = own.encoder.input_names
    assert names == ("age", "age is missing", "income", "city = Oslo", "city = Paris", "city = Rome")
    for part in (own.train, own.validation, own.test):
        rows = read.iloc[part.lines - 2]
        expected = np.asarray(theirs.transform(rows), np.float32)
        np.testing.assert_allclose(np.delete(part.inputs, 1, axis=1), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(part.inputs[:, 1], rows["age"].isna())


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_classification(tmp_path, name):
    file, x, y = write(tmp_path, name)
    accuracies, theirs = [], []
    for seed in range(2):
        table = data.load_table(file, "target", seed=seed)
        this_run = run.create(
            experiment.configure("mlp_classifier", table, seed=seed, eager=True), tmp_path / str(seed)
        )
        experiment.prepare(this_run, table).fit(40)
        result = experiment.finish(this_run, table, 0.0)
        network = this_run.load_network()
        outputs = predict_rows(network, table.test.inputs).astype(np.float64)
        probabilities = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
        test = table.test.lines - 2
        assert [*table.classes] == sorted(set(y))
        assert result["test_accuracy"] == metrics.accuracy_score(y[test], np.array(table.classes)[outputs.argmax(1)])
        assert result["test_loss"] == pytest.approx(
            metrics.log_loss(y[test], probabilities, labels=table.classes), 1e-4
        )
        accuracies.append(result["test_accuracy"])
        rest = np.concatenate([table.train.lines, table.validation.lines]) - 2
        other = make_pipeline(StandardScaler(), MLPClassifier((64, 64), max_iter=2000, random_state=seed))
        theirs.append(other.fit(x[rest], y[rest]).score(x[test], y[test]))
    assert np.mean(accuracies) > np.mean(theirs) - 0.035, (accuracies, theirs)
    assert np.mean(accuracies) > 0.93


def test_regression(tmp_path):
    file, x, y = write(tmp_path, "diabetes")
    ours, theirs = [], []
    for seed in range(2):
        table = data.load_table(file, "target", seed=seed)
        this_run = run.create(experiment.configure("mlp_regressor", table, seed=seed, eager=True), tmp_path / str(seed))
        experiment.prepare(this_run, table).fit(40)
        result = experiment.finish(this_run, table, 0.0)
        test = table.test.lines - 2
        predictions = table.encoder.target.decode(predict_rows(this_run.load_network(), table.test.inputs))
        assert result["test_rmse"] == pytest.approx(metrics.root_mean_squared_error(y[test], predictions), rel=1e-5)
        assert result["test_r2"] == pytest.approx(metrics.r2_score(y[test], predictions), abs=1e-5)
        ours.append(result["test_r2"])
        rest = np.concatenate([table.train.lines, table.validation.lines]) - 2
        scale = y[rest].std()
        other = MLPRegressor(hidden_layer_sizes=(64, 64), early_stopping=True, max_iter=2000, random_state=seed)
        model = make_pipeline(StandardScaler(), other).fit(x[rest], (y[rest] - y[rest].mean()) / scale)
        theirs.append(model.score(x[test], (y[test] - y[rest].mean()) / scale))
    assert np.mean(ours) > max(np.mean(theirs) - 0.05, 0.4), (ours, theirs)
