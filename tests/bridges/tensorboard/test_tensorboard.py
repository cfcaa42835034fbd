"""What TensorBoard's own reader reads is what metrics.jsonl says, also after a kill and a resume."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import chainrule
from chainrule import data, nn, optim
from chainrule.errors import RunError
from chainrule.training import TensorBoard, Trainer, event_files

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install 'chainrule[bridges]'")
reader = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="tensorboard is not installed: pip install 'chainrule[bridges]'",
)

EVERYTHING = {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}


def read(folder):
    events = reader.EventAccumulator(str(folder), size_guidance=EVERYTHING)
    events.Reload()
    return events


def scalars(folder):
    """All scalars as rows like those of metrics.jsonl, each with its wall time's order checked."""
    events, rows = read(folder), {}
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == list(range(1, len(steps) + 1)), f"{tag}: {steps}"
        for event in events.Scalars(tag):
            rows.setdefault(event.step, {"epoch": event.step})[tag] = event.value
    return [rows[step] for step in sorted(rows)]


def metrics(run):
    """The rows of metrics.jsonl, rounded to float32."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v if k == "epoch" else float(np.float32(v)) for k, v in row.items()} for row in rows]


@pytest.fixture
def train(tmp_path, monkeypatch, capfd, make_digits):
    """Run the command on a small data set in this process; return its exit code, output and error output."""
    digits = make_digits()
    (tmp_path / "data").mkdir()
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        np.save(tmp_path / "data" / f"{name.replace('_', '-')}.npy", getattr(digits, name))
    monkeypatch.chdir(tmp_path)

    def run(*arguments, kill=()):
        settings = ["--data", "data", "--batch-size", "64", "--lr", "0.01"] if "--resume" not in arguments else []
        command = ["train", *settings, *map(str, arguments)]
        if kill:
            script = Path(__file__).with_name("killed.py")
            done = subprocess.run([sys.executable, script, *map(str, kill), *command], capture_output=True, check=False)
            assert done.returncode == -9, done.stderr
            return None
        with pytest.raises(SystemExit) as end:
            chainrule_main(command)
        return (end.value.code, *capfd.readouterr())

    from chainrule.cli import main as chainrule_main

    return run


def test_everything_is_read_back(train, tmp_path):
    code, out, err = train("--epochs", 3, "--log", "tensorboard", "--log", "csv", "--out", "run")
    assert (code, err) == (0, "")
    assert "watch: tensorboard --logdir ." in out.splitlines()
    run = tmp_path / "run"
    assert scalars(run / "tensorboard") == metrics(run)
    assert len(metrics(run)) == 3
    events = read(run / "tensorboard")
    assert sorted(events.Tags()["histograms"]) == sorted(
        f"{kind}/{name}" for kind in ("weights", "gradients") for name in ("1.weight", "1.bias", "3.weight", "3.bias")
    )
    weights = chainrule.training.run.find(run).build_network(None).state_dict()
    for tag in ("weights/1.weight", "gradients/3.bias"):
        assert [event.step for event in events.Histograms(tag)] == [1, 2, 3]
        assert sum(events.Histograms(tag)[-1].histogram_value.bucket) == weights[tag.split("/")[1]].numel()
    for tag in ("predictions", "confusion"):
        assert [event.step for event in events.Images(tag)] == [1, 2, 3]
        picture = Image.open(io.BytesIO(events.Images(tag)[-1].encoded_image_string))
        assert picture.size == (events.Images(tag)[-1].width, events.Images(tag)[-1].height)
        assert min(picture.size) > 200


def test_logs_change_no_bit(train, tmp_path):
    for name, options in {"plain": (), "logged": ("--log", "tensorboard", "--log", "csv")}.items():
        assert train("--model", "cnn", "--epochs", 2, *options, "--out", name)[0] == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "logged")]
    assert weights[0] == weights[1]
    assert "log" not in json.loads((tmp_path / "plain" / "config.json").read_text())
    assert json.loads((tmp_path / "logged" / "config.json").read_text())["log"] == ["tensorboard", "csv"]


# The first events are the version, the session's start and the graph; then each epoch has scalars, histograms, pictures
@pytest.mark.parametrize("kill", [("event", 3), ("event", 5), ("event", 9), ("flush", 3), ("step", 6), ("step", 8)])
def test_killed_and_resumed(train, tmp_path, kill):
    """By SIGKILL: in the graph; in the histograms of epoch 1; in the pictures of 2; before its checkpoint; in a step."""
    train("--epochs", 3, "--log", "tensorboard", "--log", "csv", "--out", "run", kill=kill)
    assert not (tmp_path / "run" / "result.json").exists()
    code, _, err = train("--resume", "run")
    assert (code, err) == (0, "")
    run = tmp_path / "run"
    assert scalars(run / "tensorboard") == metrics(run)
    assert [row["epoch"] for row in metrics(run)] == [1, 2, 3]
    events = read(run / "tensorboard")
    for tag in ("weights/1.weight", "gradients/3.bias"):
        assert [event.step for event in events.Histograms(tag)] == [1, 2, 3]
    assert [event.step for event in events.Images("confusion")] == [1, 2, 3]
    assert len(events.Graph().node) > 5
    rows = (run / "metrics.csv").read_text().splitlines()
    assert len(rows) == 4


def test_going_back_removes_later_epochs(train, tmp_path):
    train("--epochs", 3, "--keep", 3, "--log", "tensorboard", "--out", "run")
    before = metrics(tmp_path / "run")
    code, _, err = train("--resume", "run", "--epoch", 1, "--override", "lr=0.02")
    assert (code, err) == (0, "")
    after = scalars(tmp_path / "run" / "tensorboard")
    assert after == metrics(tmp_path / "run")
    assert after[0] == before[0]
    assert after[1]["train_loss"] != before[1]["train_loss"]


def parts(classes=2, frozen=False):
    chainrule.manual_seed(3)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, classes))
    if frozen:
        network[0].requires_grad_(False)
    rng = np.random.default_rng(5)
    inputs, targets = rng.normal(0, 1, (12, 4)).astype(np.float32), rng.integers(0, classes, 12)
    loader = data.DataLoader(data.TensorDataset(chainrule.tensor(inputs), chainrule.tensor(targets)), 6)
    return network, nn.CrossEntropyLoss(), optim.SGD(network.parameters(), lr=0.1), loader


def test_the_gradients_are_those_of_the_first_batch(tmp_path):
    network, loss, optimizer, loader = parts(frozen=True)
    Trainer(network, loss, optimizer, loader, callbacks=[TensorBoard(tmp_path)]).fit(1)
    inputs, targets = loader.dataset[:6]
    network.eval()
    network.zero_grad()
    loss(network(inputs), targets).backward()
    events = read(tmp_path)
    tags = [tag for tag in events.Tags()["histograms"] if tag.startswith("gradients")]
    assert tags == ["gradients/3.weight", "gradients/3.bias"]
    for tag, parameter in zip(tags, network[3].parameters(), strict=True):
        values, (event,) = parameter.grad.numpy().astype(float), events.Histograms(tag)
        histogram = event.histogram_value
        np.testing.assert_allclose(
            [histogram.min, histogram.max, histogram.sum, histogram.sum_squares],
            [values.min(), values.max(), values.sum(), (values**2).sum()],
            rtol=1e-5, atol=1e-7,
        )  # fmt: skip
        for limit, count in zip(histogram.bucket_limit, np.cumsum(histogram.bucket), strict=True):
            assert (values < limit - 1e-9).sum() <= count <= (values < limit + 1e-9).sum()


def test_the_graph_has_each_operation_in_its_module(tmp_path):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            if x.sum().item() == x.sum().item():  # code that needs values
                x = x * chainrule.tensor([2.0])
            return self.linear(x).relu() + x

    network = nn.Sequential(Block(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    _, loss, _, loader = parts()
    trainer = Trainer(network, loss, optim.SGD(network.parameters(), lr=0.1), loader, callbacks=[TensorBoard(tmp_path)])
    trainer.fit(1)
    nodes = {node.name: node for node in read(tmp_path).Graph().node}
    linear = nodes["Sequential/0/linear/linear"]
    assert list(linear.input) == ["Sequential/0/mul", "Sequential/0/linear/weight", "Sequential/0/linear/bias"]
    assert [dim.size for dim in linear.attr["_output_shapes"].list.shape[0].dim] == [6, 4]
    assert list(nodes["Sequential/0/add"].input) == ["Sequential/0/relu", "Sequential/0/mul"]
    assert nodes["Sequential/0/linear/weight"].op == "Variable"
    assert list(nodes["output"].input) == ["Sequential/2/linear"]
    assert all(source in nodes for node in nodes.values() for source in node.input)


def test_a_graph_that_cannot_be_drawn_is_said_and_training_goes_on(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x):
            chainrule.manual_seed(0)
            return self.linear(x)

    network = Odd()
    _, loss, _, loader = parts()
    trainer = Trainer(network, loss, optim.SGD(network.parameters(), lr=0.1), loader, callbacks=[TensorBoard(tmp_path)])
    with pytest.warns(
        UserWarning,
        match=r"the network's graph cannot be drawn: its forward pass contains something that a graph cannot show: manual_seed\(\)",
    ):
        trainer.fit(1)
    assert len(scalars(tmp_path)) == 1


def test_fit_again_and_metrics_that_are_not_finite(tmp_path):
    network, loss, optimizer, loader = parts()
    values = iter([float("nan"), 1e300, 3.0])
    trainer = Trainer(
        network, loss, optimizer, loader, validate=lambda: {"odd": next(values)}, callbacks=[TensorBoard(tmp_path)]
    )
    trainer.fit(1)
    trainer.fit(3)
    rows = [event.value for event in read(tmp_path).Scalars("odd")]
    np.testing.assert_array_equal(rows, [np.nan, np.inf, 3.0])
    assert [file.name[20:26] for file in sorted(tmp_path.iterdir())] == ["000001", "000002"]


def test_a_folder_belongs_to_one_run(tmp_path):
    (tmp_path / "events.out.tfevents.123.other").write_bytes(b"of another program")
    for epochs in (3, 2):
        network, loss, optimizer, loader = parts()
        Trainer(network, loss, optimizer, loader, callbacks=[TensorBoard(tmp_path)]).fit(epochs)
    (tmp_path / "events.out.tfevents.123.other").unlink()  # it is still there
    assert len(scalars(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["zeros", "cut", "noise"])
def test_damaged_files_lose_nothing_but_histograms(tmp_path, damage):
    network, loss, optimizer, loader = parts()
    trainer = Trainer(network, loss, optimizer, loader, callbacks=[TensorBoard(tmp_path)])
    trainer.fit(3)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    half = len(content) // 2
    content[half:] = {"zeros": bytes(half), "cut": b"", "noise": np.random.default_rng(0).bytes(half)}[damage]
    file.write_bytes(content)
    trainer.fit(4)
    assert [row["epoch"] for row in scalars(tmp_path)] == [1, 2, 3, 4]
    assert scalars(tmp_path) == [
        {k: v if k == "epoch" else float(np.float32(v)) for k, v in row.items()} for row in trainer.history
    ]


def event_steps(folder):
    """The name of each file, and the kind and step of its events, as TensorBoard's own reader gives them."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    return {
        file.name: [(e.WhichOneof("what"), e.step) for e in loader.EventFileLoader(str(file)).Load()]
        for file in sorted(folder.iterdir())
    }


def test_a_log_that_starts_after_some_epochs_has_one_graph_and_each_epoch_once(tmp_path):
    """It then starts with the graph, at the next epoch's step, and with the epochs before."""
    network, loss, optimizer, loader = parts()
    trainer = Trainer(network, loss, optimizer, loader)
    trainer.fit(3)
    log = TensorBoard(tmp_path)
    for _ in range(2):  # the first process ends before an epoch is complete
        log.on_start(trainer)
        log.on_end(trainer)
    graphs = [event for events in event_steps(tmp_path).values() for event in events if event[0] == "graph_def"]
    assert graphs == [("graph_def", 4)]
    trainer.callbacks.append(log)
    trainer.fit(5)
    assert [row["epoch"] for row in scalars(tmp_path)] == [1, 2, 3, 4, 5]


def test_events_after_an_epoch_are_removed_in_any_order(tmp_path):
    from tensorboardX.proto import summary_pb2

    summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag="loss", simple_value=1.0)])
    for number, steps in enumerate([(4, 1, 5, 2), (3, 3), (6, 2), (4, 5)], 1):
        file = event_files.EventFile(tmp_path, number, 1)
        for step in steps:
            file.add(step, **({"graph_def": b""} if step == 4 else {"summary": summary}))
        file.close()
    (tmp_path / "events.out.tfevents.000007.other").write_bytes(b"of another program")
    assert event_files.remove_events_after(tmp_path, 3) == event_files.ExistingEvents(3, False, 4)
    (tmp_path / "events.out.tfevents.000007.other").unlink()  # it is still there
    kept = [[step for kind, step in events if kind == "summary"] for events in event_steps(tmp_path).values()]
    assert kept == [[1, 2], [3, 3], [2]]
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert event_files.remove_events_after(tmp_path, 3) == event_files.ExistingEvents(3, False, 3)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_event_that_its_checksum_does_not_fit_is_removed_and_all_after_it(tmp_path):
    """The damaged one can still be parsed: it is a different number."""
    from tensorboardX.proto import summary_pb2

    file = event_files.EventFile(tmp_path, 1, 1)
    for step in (1, 2, 3):
        value = summary_pb2.Summary.Value(tag="loss", simple_value=float(step))
        file.add(step, summary=summary_pb2.Summary(value=[value]))
    file.close()
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert content.count(np.float32(2).tobytes()) == 1
    (tmp_path / f".{path.name}.chainrule.0123abcd.tmp").write_bytes(content)  # of a process that was killed
    path.write_bytes(content.replace(np.float32(2).tobytes(), np.float32(7).tobytes()))
    assert event_files.remove_events_after(tmp_path, 3) == event_files.ExistingEvents(1, False, 1)
    assert list(tmp_path.iterdir()) == [path]
    assert [row["loss"] for row in scalars(tmp_path)] == [1.0]


def test_pictures_of_ones_own(tmp_path):
    network, loss, optimizer, loader = parts()
    drawn = {"gray": np.arange(6, dtype=np.uint8).reshape(2, 3), "figure": Figure(figsize=(2, 1))}
    trainer = Trainer(network, loss, optimizer, loader, callbacks=[TensorBoard(tmp_path, pictures=lambda: drawn)])
    trainer.fit(1)
    (event,) = read(tmp_path).Images("gray")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string))), drawn["gray"])
    assert read(tmp_path).Images("figure")[0].width == 160
    for wrong, message in {
        "floats": (np.zeros((2, 2)), r"picture 'floats' must be \(H, W\) or \(H, W, 3\) of type uint8"),
        "text": ("a", "picture 'text' must be a figure or an array, not str"),
    }.items():
        drawn.clear()
        drawn[wrong] = message[0]
        with pytest.raises(TypeError, match=message[1]):
            trainer.fit(trainer.epoch + 1)


def test_a_name_with_a_colon_is_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network, loss, optimizer, loader = parts()
    Trainer(network, loss, optimizer, loader, callbacks=[TensorBoard("s3:log")]).fit(1)
    assert len(scalars(tmp_path / "s3:log")) == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    network, loss, optimizer, loader = parts()
    with pytest.raises(RunError, match=r"file: cannot be written \(File exists\)"):
        Trainer(network, loss, optimizer, loader, callbacks=[TensorBoard(tmp_path / "file")]).fit(1)
    (tmp_path / "log" / "events.out.tfevents.000001.chainrule").mkdir(parents=True)
    with pytest.raises(RunError, match="cannot be changed"):
        event_files.remove_events_after(tmp_path / "log", 0)
