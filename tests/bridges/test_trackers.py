"""docs/watching.md's ten lines for each experiment tracker upload what metrics.jsonl says, in their offline modes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from tests import documents
from tests.documents import ROOT

CONFIG = {"training": {"lr": 0.02, "optimizer": "adamw"}, "model": {"name": "mlp", "options": {}}, "seed": 3}
RECORDS = [
    {"epoch": 1, "train_loss": 0.1 + 0.2, "validation_accuracy": 0.5},
    {"epoch": 2, "train_loss": 1e-12, "validation_accuracy": 0.75},
]
READ_BACK = {
    "mlflow": """
(run,) = mlflow.search_runs(output_format="list")
client = mlflow.MlflowClient()
rows = {}
for name in run.data.metrics:
    for metric in client.get_metric_history(run.info.run_id, name):
        rows.setdefault(metric.step, {})[name] = metric.value
settings = [run.data.params["lr"], run.data.params["model"], run.info.run_name]
print(json.dumps([[rows[step] for step in sorted(rows)], settings]))
""",
    "wandb": """
import time
from wandb.proto import wandb_internal_pb2
(file,) = Path("wandb").glob("offline-run-*/*.wandb")

def read_records():
    content, position = file.read_bytes(), 7
    assert len(content) < 1 << 15  # one block of LevelDB's log format: checksum, length, type, record
    while position + 7 <= len(content):
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        if position + 7 + length > len(content):
            break
        assert content[position + 6] == 1  # a whole record
        yield wandb_internal_pb2.Record.FromString(content[position + 7 : position + 7 + length])
        position += 7 + length

records = []
while not records or records[-1].WhichOneof("record_type") != "exit":  # wandb's service still writes the file
    time.sleep(0.01)
    records = list(read_records())
rows, settings = [], []
for record in records:
    kind = record.WhichOneof("record_type")
    if kind == "history":
        items = {"".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
        rows.append({name: x for name, x in items.items() if not name.startswith("_")})
    elif kind == "run":
        values = {update.key: json.loads(update.value_json) for update in record.run.config.update}
        settings = [str(values["training"]["lr"]), values["model"]["name"], record.run.run_id]
print(json.dumps([rows, settings]))
""",
}


@pytest.mark.parametrize("tracker", READ_BACK)
def test_a_run_is_uploaded(tracker, tmp_path):
    if importlib.util.find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed: pip install {tracker}")
    folder = tmp_path / "runs" / "first-try"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    blocks = documents.blocks(ROOT / "docs" / "watching.md")
    (code,) = [block.code for block in blocks if f"import {tracker}\n" in block.code]
    assert len([line for line in code.splitlines() if line]) <= 12
    settings = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code + READ_BACK[tracker]],
        cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, named = json.loads(done.stdout.splitlines()[-1])
    assert [{**record, "epoch": int(record["epoch"])} for record in rows] == RECORDS
    assert named == ["0.02", "mlp", "first-try"]
