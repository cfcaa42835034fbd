"""`chainrule runs`: sorting, conditions, curves, tables, JSON, deleting."""

from __future__ import annotations

import csv
import json
import re
import shutil

import pytest
from PIL import Image

from chainrule.cli.output import fit_widths, print_table


@pytest.fixture
def five(trained, here):
    """Five runs of known settings and results; the last has not finished its first epoch."""
    table = [  # name, learning rate, test accuracy, seconds, validation accuracies
        ("a", 0.1, 0.91, 30.0, [0.5, 0.8, 0.9]),
        ("b", 0.01, 0.97, 50.0, [0.6, 0.95]),
        ("c", 0.001, 0.88, 20.0, [0.7]),
        ("d", 0.01, 0.93, 10.0, [0.2, 0.4, None, 0.9]),
        ("new", 0.5, None, None, []),
    ]
    for number, (name, lr, accuracy, seconds, history) in enumerate(table):
        folder = here / "runs" / name
        shutil.copytree(trained[0], folder)
        config = json.loads((folder / "config.json").read_text())
        config["created"] = f"2026-03-0{number + 1}T10:00:00+00:00"
        config["training"]["lr"] = lr
        (folder / "config.json").write_text(json.dumps(config))
        records = [
            {"epoch": i, "train_loss": 1 / i, "validation_loss": 1.0, "validation_accuracy": value, "seconds": 1.0}
            for i, value in enumerate(history, 1)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        if accuracy is None:
            (folder / "result.json").unlink()
        else:
            result = {"test_accuracy": accuracy, "test_loss": 0.1, "seconds": seconds}
            (folder / "result.json").write_text(json.dumps(result))
    return here / "runs"


def names(done) -> str:
    return " ".join(line.split()[0] for line in done.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ([], "a b c d new"),
        (["--sort", "test_accuracy"], "b d a c new"),
        (["--sort", "-test_accuracy"], "c a d b new"),
        (["--sort", "seconds"], "d c a b new"),
        (["--sort", "name"], "a b c d new"),
        (["--sort", "-name"], "new d c b a"),
        (["--sort", "lr"], "new a b d c"),
        (["--where", "lr=0.01"], "b d"),
        (["--where", "lr<0.1", "--where", "test_accuracy>=93%"], "b d"),
        (["--where", "lr!=0.01"], "a c new"),
        (["--where", "name=[bc]"], "b c"),
        (["--where", "name!=n*", "--sort", "-lr"], "c b d a"),
        (["--where", "test_accuracy<0.9"], "c"),
    ],
    ids=" ".join,
)
def test_order_and_choice(command, five, arguments, order):
    done = command("runs", *arguments)
    assert (done.code, done.err) == (0, "")
    assert names(done) == order


def test_the_table_shows_what_it_is_sorted_by(command, five):
    lines = command("runs", "--sort", "seconds").out.splitlines()
    assert [re.search(r"seconds (\S+)$", line)[1] for line in lines] == ["10", "20", "30", "50", "-"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sort", "accuracy"], "invalid value for '--sort': no run has 'accuracy'; choose from batch_size,"),
        (["--where", "lr"], "invalid value for '--where': 'lr' is not of the form KEY=VALUE"),
        (["--where", "lr=small"], "invalid value for '--where': 'small' is not a number"),
        (["--where", "speed>1"], "invalid value for '--where': no run has 'speed'"),
        (["--plot", "curves.txt"], "curves.txt"),
        (["--where", "name=new", "--plot", "curves.png"], "--plot needs a run with at least one complete epoch"),
        (["--delete", "z"], "runs has no run 'z'; see: chainrule runs runs"),
        (["--delete", "../runs/a"], "runs has no run '../runs/a'"),
        (["--yes"], "--yes applies to --delete only"),
    ],
    ids=" ".join,
)
def test_what_is_refused(command, five, arguments, message):
    done = command("runs", *arguments)
    assert done.code == 2
    assert done.err.startswith("chainrule: ")
    assert message in done.err
    assert len(list(five.iterdir())) == 5
    assert [path.name for path in five.parent.iterdir()] == ["runs"]


def test_no_run_meets_the_conditions(command, five):
    done = command("runs", "--where", "lr>9", "--where", "seed=0")
    assert (done.code, done.out, done.err) == (0, "", "none of the 5 runs meets lr>9 and seed=0\n")


def test_the_document_has_everything(command, five):
    document = json.loads(command("runs", "--json", "--sort", "-test_accuracy").out)
    assert [entry["run"] for entry in document] == [f"runs/{name}" for name in "cadb"] + ["runs/new"]
    assert document[0]["config"]["training"]["lr"] == 0.001
    assert document[2]["result"] == {"test_accuracy": 0.93, "test_loss": 0.1, "seconds": 10.0}
    assert [record["validation_accuracy"] for record in document[2]["epochs"]] == [0.2, 0.4, None, 0.9]
    assert document[4]["result"] is None


def test_settings_and_results_as_a_table(command, five, here):
    done = command("runs", five, "--sort", "test_accuracy", "--csv", "runs.csv")
    assert (done.code, done.out.splitlines()[-1], done.err) == (0, "table: runs.csv", "")
    with (here / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["b", "d", "a", "c", "new"]
    assert [row["lr"] for row in rows] == ["0.01", "0.01", "0.1", "0.001", "0.5"]
    assert [row["test_accuracy"] for row in rows] == ["0.97", "0.93", "0.91", "0.88", ""]
    assert [row["validation_accuracy"] for row in rows] == ["0.95", "0.9", "0.9", "0.7", ""]
    assert next(iter(rows[0])) == "name"
    assert command("runs", five, "--where", "name=a", "--csv", "one.csv", "--json").out.startswith("[")
    assert len((here / "one.csv").read_text().splitlines()) == 2
    for file, message in {
        "runs.txt": "'.txt' is not a supported table format; use .csv",
        "no/a.csv": "does not exist",
    }.items():
        done = command("runs", five, "--csv", file)
        assert (done.code, done.out) == (2, "")
        assert message in done.err


def test_the_curves_of_several_runs(command, five, monkeypatch):
    drawn = {}
    from chainrule.plots import charts

    original = charts.lines
    monkeypatch.setattr(charts, "lines", lambda curves, **rest: drawn.update(curves) or original(curves, **rest))
    done = command("runs", "--plot", "curves.png", "--where", "lr<0.1")
    assert done.out.endswith("figure: curves.png\n")
    with Image.open(five.parent / "curves.png") as picture:
        assert picture.format == "PNG"
    assert {name: [str(value) for value in values] for name, values in drawn.items()} == {
        "b": ["60.0", "95.0", "nan", "nan"],
        "c": ["70.0", "nan", "nan", "nan"],
        "d": ["20.0", "40.0", "nan", "90.0"],
    }


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False), ("", False)])
def test_deleting_asks(command, five, monkeypatch, answer, gone):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    done = command("runs", "--delete", "a", "--delete", "c", "--delete", "a")
    assert "Delete runs/a, runs/c, runs/a for good? [y/N]:" in done.err
    assert (five / "a").exists() is (five / "c").exists() is not gone
    assert (five / "b").exists()


def test_deleting_without_a_question_is_all_or_nothing(command, five):
    assert command("runs", "--delete", "a", "--delete", "z", "--yes").code == 2
    assert (five / "a").exists()
    done = command("runs", "--delete", "a", "--yes")
    assert (done.code, done.out) == (0, "deleted: runs/a\n")
    assert not (five / "a").exists()


def test_a_link_is_not_followed(command, five):
    (five / "link").symlink_to(five / "a")
    done = command("runs", "--delete", "link", "--yes")
    assert done.code == 2
    assert "this is a link to another folder" in done.err
    assert (five / "a" / "config.json").exists()


@pytest.mark.parametrize(
    ("natural", "available", "widths"),
    [
        ([5, 10], 17, [5, 10]),
        ([5, 40], 30, [5, 23]),
        ([30, 40], 42, [20, 20]),
        ([30, 40], 10, [12, 12]),
        ([3], 80, [3]),
    ],
)
def test_the_widest_columns_are_narrowed(natural, available, widths):
    assert fit_widths(natural, available) == widths


def test_a_narrow_terminal_wraps_and_a_pipe_does_not(capsys, monkeypatch):
    row = ["mlp", "a network with one hidden layer of neurons", "seed 0"]
    print_table([row])
    assert capsys.readouterr().out == "mlp  a network with one hidden layer of neurons  seed 0\n"
    monkeypatch.setenv("COLUMNS", "36")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table([row])
    assert capsys.readouterr().out.splitlines() == [
        "mlp  a network with one       seed 0",
        "     hidden layer of neurons",
    ]
