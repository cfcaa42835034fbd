"""From a CSV table to predictions, with the command line: what docs/guides/table.md describes, and its errors."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from chainrule.data import load_table
from chainrule.training import run as runs
from chainrule.training.regression import predict_rows

QUICK = ("--epochs", "20", "--eager", "--quiet")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Files are not flushed to the disk itself, which takes longer than the training."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def write_homes(file, count=80, seed=0, separator=","):
    """Homes: a price and whether it was sold, of area, rooms and city; some fields are missing."""
    rng = np.random.default_rng(seed)
    lines = [["area", "rooms", "city", "sold", "price"]]
    for _ in range(count):
        area, rooms, city = rng.integers(30, 200), rng.integers(1, 7), ["Köln", "Ulm", "Jena"][rng.integers(3)]
        price = 2000 * area + 30000 * (city == "Köln") + rng.normal() * 1000
        sold = "yes" if area + 40 * (city == "Ulm") < 120 else "no"
        lines.append([area, "" if rng.random() < 0.1 else rooms, city, sold, f"{price:.0f}"])
    file.write_text("\n".join(separator.join(map(str, line)) for line in lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def homes(here):
    return write_homes(here / "homes.csv")


@pytest.fixture
def sold(command, homes):
    """A run that tells whether a home was sold."""
    done = command("train", "--data", "homes.csv", "--target", "sold", "--drop", "price", "--out", "sold", *QUICK)
    assert (done.code, done.err) == (0, "")
    return runs.find("sold")


@pytest.fixture
def priced(command, homes):
    """A run that predicts prices."""
    done = command("train", "--data", "homes.csv", "--target", "price", "--drop", "sold", "--out", "priced", *QUICK)
    assert (done.code, done.err) == (0, "")
    return runs.find("priced")


def test_train_says_what_it_reads(command, homes):
    done = command("train", "--data", "homes.csv", "--target", "sold", "--drop", "price", "--epochs", "1", "--out", "r")
    assert done.code == 0
    assert "mlp_classifier: a table's inputs-64-64-classes" in done.out
    assert f"{homes}: 56 training rows of 3 columns as 6 inputs, classification of sold: 2 classes, no, yes" in done.out
    assert "validation accuracy" in done.out
    assert "next: chainrule predict" in done.out
    done = command("train", "--data", "homes.csv", "--target", "price", "--epochs", "1", "--out", "p")
    assert "as 8 inputs, regression of price" in done.out
    assert "validation RMSE" in done.out
    assert "test R²" in done.out


def test_results_are_those_of_the_network(command, sold, priced):
    assert sold.result["test_accuracy"] > 0.75
    assert priced.result["test_r2"] > 0.9
    done = command("evaluate", "sold", "--json", "--confusion", "c.png")
    document = json.loads(done.out)
    assert document["accuracy"] == sold.result["test_accuracy"]
    assert [entry["class"] for entry in document["per_class"]] == ["no", "yes"]
    assert sum(entry["rows"] for entry in document["per_class"]) == sum(map(sum, document["confusion"]))
    done = command("evaluate", "priced", "--json")
    document = json.loads(done.out)
    assert document["rmse"] == priced.result["test_rmse"]
    assert document["rmse_of_mean"] > 3 * document["rmse"]
    assert "for always predicting the mean of the training rows" in command("evaluate", "priced").out
    assert "most often mistaken for" in command("evaluate", "sold").out


def test_same_seed_same_bits_and_resume(command, homes, sold):
    options = ("--data", "homes.csv", "--target", "sold", "--drop", "price", *QUICK)
    command("train", *options, "--out", "again")
    assert (homes.parent / "again" / "model.safetensors").read_bytes() == sold.weights_file.read_bytes()
    command("train", *options, "--out", "other", "--seed", "1")
    assert (homes.parent / "other" / "model.safetensors").read_bytes() != sold.weights_file.read_bytes()
    done = command("train", "--resume", "sold", "--epochs", "22", "--quiet")
    assert (done.code, len(runs.find("sold").history)) == (0, 22)
    done = command("train", "--resume", "sold", "--target", "price")
    assert (done.code, "leave out --target" in done.err) == (2, True)


def rows_of(text, separator=","):
    return list(csv.DictReader(io.StringIO(text), delimiter=separator))


def test_predict_adds_columns(command, here, sold, priced):
    """The predictions are those of the network on inputs that the loader makes."""
    done = command("predict", "homes.csv", "--run", "sold")
    table = load_table("homes.csv", "sold", encoder=sold.task.encoder(sold))
    outputs = predict_rows(sold.load_network(), table.test.inputs).astype(np.float64)
    probabilities = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    printed, original = rows_of(done.out), rows_of((here / "homes.csv").read_text(encoding="utf-8"))
    assert len(printed) == 80
    assert [{name: row[name] for name in original[0]} for row in printed] == original
    for line, row in zip(table.test.lines, probabilities, strict=True):
        assert printed[line - 2]["prediction"] == ["no", "yes"][int(row.argmax())]
        assert float(printed[line - 2]["confidence"]) == pytest.approx(row.max(), abs=6e-5)
    right = sum(row["prediction"] == row["sold"] for row in printed)
    assert done.err == f"{right} of the 80 rows with a sold are predicted correctly ({right / 80:.2%})\n"

    (here / "new.csv").write_text("city;area;rooms\nUlm;100,5;\nBonn;50;3\n", encoding="utf-8")
    done = command("predict", "new.csv", "--run", "priced", "--out", "out.csv")
    assert (done.code, done.out) == (0, "wrote out.csv: 2 rows with prediction\n")
    assert done.err == "chainrule: 1 row has a value that no training row has in city: 'Bonn'\n"
    rows = rows_of((here / "out.csv").read_text(encoding="utf-8"), ";")
    document = json.loads(command("predict", "new.csv", "--run", "priced", "--json").out)
    for row, entry in zip(rows, document, strict=True):
        assert float(row["prediction"].replace(",", ".")) == pytest.approx(entry["prediction"], rel=1e-6)
    assert rows[0]["area"] == "100,5"
    assert [entry["line"] for entry in document] == [2, 3]


def test_predict_reads_standard_input(process, sold, here):
    with (here / "homes.csv").open("rb") as stream:
        done = process("predict", "-", "--run", "sold", stdin=stream)
    assert done.code == 0
    assert len(rows_of(done.out)) == 80


def test_exports_compute_the_same(command, here, priced, sold):
    """Python, C and raw: in the units of the table, without chainrule."""
    for name, this_run in (("priced", priced), ("sold", sold)):
        encoder = this_run.task.encoder(this_run)
        target = encoder.target
        table = load_table("homes.csv", target.name, encoder=encoder)
        expected = predict_rows(this_run.load_network(), table.test.inputs)
        mean, std = encoder.scaling
        assert (mean != 0).sum() == 2
        rows = (table.test.inputs * std + mean).astype(np.float32)
        assert command("export", name, f"{name}.py").code == 0
        assert command("export", name, f"{name}_raw.py", "--raw").code == 0
        assert command("export", name, f"{name}.h").code == 0
        names, raw = {}, {}
        exec((here / f"{name}.py").read_text(encoding="utf-8"), names)  # noqa: S102  # the file that we wrote
        exec((here / f"{name}_raw.py").read_text(encoding="utf-8"), raw)  # noqa: S102
        assert names["INPUTS"] == [*encoder.input_names]
        np.testing.assert_allclose(raw["predict"](table.test.inputs), expected, rtol=1e-4, atol=1e-5)
        if name == "priced":
            np.testing.assert_allclose(names["predict"](rows)[:, 0], target.decode(expected), rtol=1e-4)
        else:
            exponentials = np.exp(expected.astype(np.float64))
            np.testing.assert_allclose(
                names["predict"](rows), exponentials / exponentials.sum(1, keepdims=True), atol=1e-5
            )
            assert names["CLASSES"] == ["no", "yes"]
        if shutil.which("cc"):
            numbers = ", ".join(f"{value:.9e}f" for value in rows[0])
            (here / "m.c").write_text(
                f'#include <stdio.h>\n#include "{name}.h"\nint main(void) {{ float x[] = {{{numbers}}}, y[8];\n'
                f"{name}_predict(x, y); printf(\"%.9g\", y[0]); return 0; }}\n", encoding="utf-8"
            )  # fmt: skip
            subprocess.run(["cc", "-std=c99", "m.c", "-o", "m", "-lm"], check=True)
            out = subprocess.run(["./m"], check=True, capture_output=True, text=True).stdout
            assert float(out) == pytest.approx(float(names["predict"](rows[:1])[0, 0]), rel=1e-4)


def test_runs_lists_and_sorts_both_kinds(command, sold, priced):
    done = command("runs", ".", "--sort", "test_rmse")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first.split()[:2] == ["priced", "mlp_regressor"]
    assert "test R²" in first
    assert second.split()[:2] == ["sold", "mlp_classifier"]


def test_fine_tuning_takes_the_columns_of_the_run(command, here, sold):
    write_homes(here / "more.csv", 40, seed=9)
    done = command("train", "--from", "sold", "--data", "more.csv", "--epochs", "2", "--out", "tuned", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert runs.find("tuned").config["data"]["columns"] == sold.config["data"]["columns"]
    done = command("train", "--from", "sold", "--data", "more.csv", "--drop", "city")
    assert (done.code, "--from keeps the columns of sold: leave out --drop" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "train --data homes.csv",
            "name the column to predict with --target COLUMN; the columns are area, rooms, city, sold",
        ),
        ("train --data homes.csv --target prize", "has no column 'prize'; did you mean 'price'?"),
        ("train --data nothing.csv --target x", "there is no file"),
        ("train --target sold", "--target is for a table in a CSV file, but mnist is not one"),
        ("train --data names --drop x", "--drop is for a table in a CSV file, but names is not one"),
        ("train --data homes.csv --target sold --model mlp", "model 'mlp' does not read tables with classes"),
        (
            "train --data homes.csv --target sold --model mlp_regressor",
            "sold is 'no', which is not a number, and regression",
        ),
        (
            "train --data homes.csv --target sold --image-size 8",
            "--image-size does not apply to a table such as homes.csv",
        ),
        ("train --data homes.csv --target sold --bpe 8", "--bpe does not apply to a table such as homes.csv"),
        ("train --data homes.csv --target sold --words", "--words does not apply to a table such as homes.csv"),
        (
            "train --data homes.csv --target sold --validation 9",
            "--validation is for images; for a table, the number of",
        ),
        ("train --model mlp_classifier", "name the table with --data FILE, and the column to predict with --target"),
        ("train --data homes.csv --target sold --block-size 8", "has no option 'block_size'"),
        ("predict homes.csv", "homes.csv is a table: name a run on a table with --run RUN"),
        ("predict photo.png --out x.csv", "--out is for the predictions of a run on a table"),
    ],
)
def test_what_is_refused_before_there_is_a_run(command, homes, arguments, message):
    done = command(*arguments.split(" "))
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) <= 2


def test_a_model_of_tables_reads_no_images(command, images):
    done = command("train", "--data", images, "--model", "mlp_classifier")
    assert (done.code, "model 'mlp_classifier' does not read images, and " in done.err) == (2, True)


def test_what_a_run_on_a_table_refuses(command, here, sold):
    (here / "letters.csv").write_text("area,rooms,city\nbig,2,Ulm\n", encoding="utf-8")
    (here / "few.csv").write_text("area,city\n50,Ulm\n", encoding="utf-8")
    (here / "taken.csv").write_text("area,rooms,city,confidence\n50,2,Ulm,1\n", encoding="utf-8")
    for arguments, message in (
        (
            ["predict", "letters.csv"],
            "letters.csv, line 2: area is 'big', which is not a number, and this is a column of",
        ),
        (["predict", "few.csv"], "few.csv has no column 'rooms'"),
        (["predict", "taken.csv"], "taken.csv already has a column 'confidence', which predict adds"),
        (["predict", "homes.csv", "--out", "homes.csv"], "homes.csv: this is the table itself; choose another output"),
        (["predict", "homes.csv", "--out", "x.txt"], "x.txt: '.txt' is not a supported table format; use .csv or .tsv"),
        (["predict", "homes.csv", "few.csv"], "sold is a run on a table: name one CSV file, or - for standard input"),
        (["predict"], "sold is a run on a table: name one CSV file, or - for standard input"),
        (["predict", "--sample"], "--sample, --clipboard and --page are for pictures, but sold is a run on a table"),
        (
            ["predict", "homes.csv", "--explain", "x.png"],
            "--explain shows how a digit is prepared, but sold is a run on",
        ),
        (
            ["read", "--sample"],
            "sold: mlp_classifier reads tables with classes, not pictures; for a table: chainrule",
        ),
    ):
        done = command(*arguments, "--run", "sold")
        assert (done.code, message in done.err) == (2, True), done
    done = command("generate", "sold")
    assert (done.code, "mlp_classifier reads tables with classes and cannot generate text" in done.err) == (2, True)
    done = command("evaluate", "sold", "--mistakes", "m.png")
    assert (done.code, "--mistakes is for images, but sold is a run on a table" in done.err) == (2, True)


def test_evaluate_says_that_the_table_has_changed(command, here, homes, sold):
    lines = homes.read_text(encoding="utf-8").split("\n")
    homes.write_text("\n".join([lines[0], *lines[2:]]), encoding="utf-8")
    done = command("evaluate", "sold")
    assert done.code == 0
    assert f"chainrule: the rows of {homes} have changed since sold was created" in done.err
    homes.write_text("\n".join(lines).replace(",no,", ",maybe,"), encoding="utf-8")
    done = command("evaluate", "sold")
    assert (done.code, "the values of sold have changed since sold was created" in done.err) == (2, True)


def test_exported_files_agree_on_large_numbers(command, here):
    """Neighbors of the time now, in seconds since 1970, differ by 128 s in float32."""
    rng = np.random.default_rng(3)
    times, noise = 1_760_000_000 + 10 * np.arange(120), rng.normal(size=120)
    target = 1_750_000_000 + 300 * np.sin(times / 200) + noise
    lines = [f"{time},{x:.6f},{y:.6f}" for time, x, y in zip(times, noise, target, strict=True)]
    (here / "times.csv").write_text("\n".join(["time,x,y", *lines]) + "\n", encoding="utf-8")
    assert command("train", "--data", "times.csv", "--target", "y", "--out", "times", *QUICK).code == 0
    predictions = [
        row["prediction"] for row in json.loads(command("predict", "times.csv", "--run", "times", "--json").out)
    ]
    printed = csv.DictReader(io.StringIO(command("predict", "times.csv", "--run", "times").out))
    np.testing.assert_allclose([float(row["prediction"]) for row in printed], predictions, rtol=0, atol=1e-3)
    done = command("export", "times", "times.py")
    assert done.out.splitlines()[1:3] == [
        "input   x           float64  (batch, 2)",
        "output  prediction  float64  (batch, 1)",
    ]
    names = {}
    exec((here / "times.py").read_text(encoding="utf-8"), names)  # noqa: S102  # the file that we wrote
    rows = np.stack([times, np.round(noise, 6)], 1)
    np.testing.assert_allclose(names["predict"](rows)[:, 0], predictions, rtol=0, atol=1e-3)
    onnxruntime = pytest.importorskip("onnxruntime")
    assert command("export", "times", "times.onnx").code == 0
    (outputs,) = onnxruntime.InferenceSession(here / "times.onnx").run(None, {"rows": rows})
    np.testing.assert_allclose(outputs[:, 0], predictions, rtol=0, atol=1e-3)
