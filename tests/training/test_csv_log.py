"""metrics.csv is metrics.jsonl as a table."""

from __future__ import annotations

import csv
import json
import math

import numpy as np

import chainrule
from chainrule import data, nn, optim
from chainrule.training import CSV, History, Trainer


def trainer(callbacks, validate=None):
    network = nn.Linear(3, 2)
    examples = data.TensorDataset(chainrule.ones(8, 3), chainrule.zeros(8, dtype="int64"))
    optimizer = optim.SGD(network.parameters(), lr=1 / 3)
    loader = data.DataLoader(examples, 4)
    return Trainer(network, nn.CrossEntropyLoss(), optimizer, loader, validate=validate, callbacks=callbacks)


def read(path):
    """The rows without their empty cells, as numbers."""
    with path.open(newline="") as file:
        return [{k: json.loads(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def rows(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if value is not None} for line in lines]


def test_it_equals_the_history(tmp_path):
    metrics = iter([{"b": 0.1}, {"a": math.nan, "b": 1e-300}, {"a": np.float32(0.1), "b": -math.inf}, {"c": 1e22}])
    fitted = trainer(
        [History(tmp_path / "metrics.jsonl"), CSV(tmp_path / "metrics.csv")], validate=lambda: next(metrics)
    )
    fitted.fit(4)
    assert read(tmp_path / "metrics.csv") == rows(tmp_path / "metrics.jsonl")
    header, *_ = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header == "epoch,train_loss,b,seconds,learning_rate,a,c"  # later columns behind the first ones
    assert read(tmp_path / "metrics.csv")[2]["a"] == float(np.float32(0.1))


def test_a_state_that_is_loaded_repeats_no_line(tmp_path):
    first = trainer([CSV(tmp_path / "metrics.csv")])
    first.fit(2)
    state = first.state_dict()
    first.fit(3)  # killed after the log, before the checkpoint
    again = trainer([CSV(tmp_path / "metrics.csv")])
    again.load_state_dict(state)
    again.fit(4)
    assert [row["epoch"] for row in read(tmp_path / "metrics.csv")] == [1, 2, 3, 4]
    assert read(tmp_path / "metrics.csv") == again.history


def test_without_an_epoch(tmp_path):
    trainer([CSV(tmp_path / "metrics.csv")]).fit(0)
    assert (tmp_path / "metrics.csv").read_text() == "epoch\n"
