"""`chainrule export` of a run on a table: onnxruntime computes what the network does, in the units of the table."""

from __future__ import annotations

import os

import numpy as np
import pytest

from chainrule import data
from chainrule.cli import main
from chainrule.training import experiment, run
from chainrule.training.regression import predict_rows

pytest.importorskip("onnx", reason="needs onnx: make test-bridges")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: make test-bridges")


@pytest.mark.parametrize("target", ["kind", "price"])
def test_export(tmp_path, monkeypatch, target):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    rng = np.random.default_rng(0)
    lines = [f"{200 * rng.normal() + 900:.2f},{rng.choice(['a', 'b'])},{'xy'[i % 2]},{i * 7.5}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["size,color,kind,price", *lines]), encoding="utf-8")
    table = data.load_table(tmp_path / "t.csv", target)
    model = "mlp_classifier" if target == "kind" else "mlp_regressor"
    this_run = run.create(experiment.configure(model, table, epochs=2), tmp_path / "run")
    experiment.prepare(this_run, table).fit(2)
    expected = predict_rows(this_run.load_network(), table.test.inputs).astype(np.float64)
    if target == "kind":
        expected = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    else:
        expected = expected * table.encoder.target.std + table.encoder.target.mean
    with pytest.raises(SystemExit) as end:
        main(["export", str(this_run.folder), str(tmp_path / "t.onnx")])
    assert end.value.code == 0
    session = onnxruntime.InferenceSession(tmp_path / "t.onnx")
    mean, std = table.encoder.scaling
    rows = (table.test.inputs * std + mean).astype(np.float32)
    for count in (1, 2, len(rows)):
        (found,) = session.run(None, {"rows": rows[:count]})
        np.testing.assert_allclose(found, expected[:count], rtol=1e-4)
