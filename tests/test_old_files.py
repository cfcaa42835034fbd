"""Every version loads what earlier ones wrote: runs, weights, optimizer states and the data cache (tests/fixtures)."""

import hashlib
import importlib.util
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule import data, safetensors_io, text
from chainrule.cli import main
from chainrule.data import cache, idx
from chainrule.data.tables import read_csv
from chainrule.errors import RunError
from chainrule.training import checkpoint
from chainrule.training.replay import RunReplay, weights_digest
from chainrule.training.run import Run

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = ("0.1.0", "0.2.0")


def load_script(version):
    spec = importlib.util.spec_from_file_location("make_fixtures", FIXTURES / version / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = {version: load_script(version) for version in VERSIONS}
OPTIMIZERS = [(version, name) for version in VERSIONS for name in MAKE[version].optimizers()]
IMAGE_RUNS = [("0.1.0", "mlp"), ("0.1.0", "network"), ("0.2.0", "fork"), ("0.2.0", "fine-tuned")]
TWINS = [  # a run that was stopped, and the same one that was not
    ("0.1.0", "stopped", "not-stopped"),
    ("0.2.0", "stopped", "not-stopped"),
    ("0.2.0", "text-stopped", "text"),
    ("0.2.0", "table-stopped", "table"),
]
STOPPED = [(version, name) for version, name, _ in TWINS]
FINISHED = [(version, name) for version, _, name in TWINS]
pytestmark = pytest.mark.filterwarnings("ignore:.*has no checksum, like files of older versions")


@pytest.fixture
def version():
    """The version whose files a test loads, unless it is parametrized by versions."""
    return "0.1.0"


@pytest.fixture(autouse=True)
def files(version, tmp_path, monkeypatch):
    """A copy to work in: runs name their data relative to this folder."""
    shutil.copytree(FIXTURES / version, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def command(*words):
    """Run `chainrule`; warnings do not end it, as for users: versions differ from the run's on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.raises(SystemExit) as end:
            main(list(words))
    return end.value.code


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fixtures_stay_small(version):
    folder = FIXTURES / version
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 200_000


def test_every_folder_is_tested():
    assert {folder.name for folder in FIXTURES.iterdir() if folder.is_dir()} == set(VERSIONS)


@pytest.mark.parametrize(("version", "name"), [*IMAGE_RUNS, *STOPPED])
def test_any_step_of_an_old_run(version, name):
    """Its last state is its own; steps that this version computes otherwise are told."""
    replay = RunReplay(Run(f"runs/{name}"))
    saved = checkpoint.load(f"runs/{name}/checkpoint/state.safetensors")["network"]
    for key, tensor in replay.seek(replay.last_step).network.state_dict().items():
        assert np.array_equal(tensor.numpy(), saved[key])
    digest = weights_digest(replay.trainer.network)
    shutil.rmtree(f"runs/{name}/checkpoint")
    again = RunReplay(Run(f"runs/{name}"))
    step = min(replay.last_step, again.last_step)
    equal = weights_digest(again.seek(step).network) == digest or step < replay.last_step
    assert equal or again.notes
    assert all(f"with chainrule {version}" in note for note in again.notes)


@pytest.mark.parametrize(("version", "name"), [*IMAGE_RUNS, *FINISHED, ("0.2.0", "numbers")])
def test_evaluate_gives_the_recorded_result(name, capsys):
    assert command("evaluate", f"runs/{name}", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    recorded = Run(f"runs/{name}").result
    del recorded["seconds"]
    assert recorded
    for measure, value in recorded.items():
        tolerance = 0 if measure == "test_accuracy" else 1e-5
        name_there = "loss" if measure == "validation_loss" else measure.removeprefix("test_")
        assert found[name_there] == pytest.approx(value, rel=tolerance), measure


@pytest.mark.parametrize(("version", "name"), [*IMAGE_RUNS, *STOPPED])
def test_a_run_can_be_read(version, name, capsys):
    run = Run(f"runs/{name}")
    assert run.config["versions"]["chainrule"] == version
    assert run.history
    assert run.load_network()
    assert command("runs", "runs") == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(("version", "name", "twin"), TWINS)
def test_a_stopped_run_resumes_to_the_same_end(version, name, twin, capsys):
    assert command("train", "--resume", f"runs/{name}", "--json") == 0
    captured = capsys.readouterr()
    assert (f"was started with chainrule {version}" in captured.err) == (version != chainrule.__version__)
    recorded, run = Run(f"runs/{twin}"), Run(f"runs/{name}")
    for epoch, expected in zip(run.history, recorded.history, strict=True):
        assert epoch.keys() >= expected.keys()
        assert epoch.get("train_accuracy") == expected.get("train_accuracy") or version == "0.1.0"
        for measure in ("train_loss", "validation_loss", "learning_rate"):
            assert epoch[measure] == pytest.approx(expected[measure], rel=1e-4), measure
    assert run.result.get("test_accuracy") == recorded.result.get("test_accuracy")
    if (log := Path(f"runs/{name}/metrics.csv")).exists():
        columns, *rows = log.read_text().splitlines()
        assert columns == Path(f"runs/{twin}/metrics.csv").read_text().splitlines()[0]
        assert [row.split(",")[0] for row in rows] == [str(epoch["epoch"]) for epoch in run.history]


@pytest.mark.parametrize(("version", "name"), IMAGE_RUNS)
def test_a_finished_run_goes_on_for_more_epochs(name):
    assert command("train", "--resume", f"runs/{name}", "--epochs", "5", "--quiet") == 0
    assert [epoch["epoch"] for epoch in Run(f"runs/{name}").history] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("version", VERSIONS)
def test_layers_load_their_weights_and_give_the_same(version):
    make = MAKE[version]
    modules = make.layers()
    modules.load_state_dict(safetensors_io.load("layers.safetensors"))
    recorded = safetensors_io.load("outputs.safetensors")
    for name, output in make.outputs(modules).items():
        np.testing.assert_allclose(output.detach().numpy(), recorded[name].numpy(), rtol=2e-5, atol=1e-6, err_msg=name)
    assert make.outputs(modules).keys() == recorded.keys()


def test_every_type_loads():
    found = safetensors_io.load("types.safetensors")
    assert len(found) == 9
    for kind, tensor in found.items():
        assert tensor.numpy().dtype == kind
        assert (tensor.numpy() == np.array([0, 1, 3]).astype(kind)).all()


@pytest.mark.parametrize(("version", "name"), OPTIMIZERS)
def test_optimizers_and_schedules_go_on(version, name):
    make = MAKE[version]
    state = checkpoint.load("optimizers.safetensors")[name]
    weight, optimizer, schedule = make.optimizers()[name]
    with chainrule.no_grad():
        weight.copy_(chainrule.from_numpy(state["weight"]))
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    make.step(weight, optimizer, schedule)
    np.testing.assert_allclose(weight.detach().numpy(), state["next_weight"], rtol=1e-6)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(state["next_lr"])


def test_a_cached_data_set_is_not_made_again(files):
    content = (files / "cache" / "toy" / "numbers-idx2-ubyte").read_bytes()
    published = {"numbers-idx2-ubyte": hashlib.sha256(content).hexdigest()}

    def refuse(names):
        assert not list(names), "made again"
        return []

    (array,) = cache.load("toy", published, refuse, 1.0)
    assert (array == np.arange(12).reshape(3, 4)).all()


def test_the_data_set_loads():
    digits = data.load("digits")
    assert digits.train_images.shape == (60, 6, 6)
    assert idx.read(Path("digits") / "t10k-labels-idx1-ubyte").max() == 3


@pytest.mark.parametrize("version", ["0.2.0"])
class TestNewIn020:
    """What 0.1.0 could not write."""

    @pytest.mark.parametrize(("kind", "number"), [("epoch", 2), ("step", 14)])
    def test_a_run_goes_back_to_a_state_that_was_kept(self, kind, number):
        run, twin = Run("runs/stopped"), Run("runs/not-stopped")
        assert set(run.kept_states) == {("epoch", 2), ("step", 14)}
        assert [change["settings"] for change in run.changes] == [{"lr": [0.01, 0.02]}]
        run.checkpoint_file.write_bytes(b"")  # only the kept state is read
        assert command("train", "--resume", "runs/stopped", f"--{kind}", str(number), "--quiet") == 0
        losses, expected = [[epoch["train_loss"] for epoch in Run(r.folder).history] for r in (run, twin)]
        assert losses == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize(
        "file", ["model.safetensors", "checkpoint/state.safetensors", "checkpoint/step-14.safetensors"]
    )
    def test_damage_is_found_by_the_checksum(self, file):
        path = Path("runs/stopped") / file
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(RunError, match="does not match its checksum"):
            safetensors_io.load(path)

    def test_a_text_is_continued_as_before(self):
        run = Run("runs/text")
        tokenizer = run.task.load_tokenizer(run)
        prompt = tokenizer.encode(MAKE["0.2.0"].SENTENCE)
        tokens = text.generate(run.load_network(), prompt, 20, temperature=0)
        assert [tokenizer.decode(list(tokens))] == answers()["text"]

    @pytest.mark.parametrize("name", ["table", "numbers"])
    def test_rows_of_a_table_get_the_same_outputs(self, name):
        run, recorded = Run(f"runs/{name}"), answers()[name]
        rows, _ = run.task.encoder(run).encode(read_csv("table.csv"))
        with chainrule.no_grad():
            outputs = run.load_network()(chainrule.from_numpy(rows[: len(recorded)]))
        np.testing.assert_allclose(outputs.numpy(), recorded, rtol=2e-5, atol=1e-6)

    @pytest.mark.parametrize("name", MAKE["0.2.0"].TOKENIZERS)
    def test_tokenizers_give_the_same_tokens(self, name):
        if name == "byte_pairs":
            pytest.importorskip("tokenizers", reason="byte pairs need the package tokenizers")
        assert MAKE["0.2.0"].encoded(name) == answers()[name]


def answers():
    """What `make.py` recorded beside the files of 0.2.0."""
    return json.loads(Path("answers.json").read_text(encoding="utf-8"))
