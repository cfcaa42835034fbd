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
from chainrule import data, safetensors_io
from chainrule.cli import main
from chainrule.data import cache, idx
from chainrule.training import checkpoint
from chainrule.training.replay import RunReplay, weights_digest
from chainrule.training.run import Run

OLD = Path(__file__).parent / "fixtures" / "0.1.0"


def load_script():
    spec = importlib.util.spec_from_file_location("make_fixtures", OLD / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = load_script()
pytestmark = pytest.mark.filterwarnings("ignore:.*has no checksum, like files of older versions")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A copy to work in: runs name their data relative to this folder."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
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


def test_the_fixtures_stay_small():
    assert sum(path.stat().st_size for path in OLD.rglob("*") if path.is_file()) < 200_000


@pytest.mark.parametrize("name", ["mlp", "network", "stopped"])
def test_any_step_of_an_old_run(name):
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
    assert all("with chainrule 0.1.0" in note for note in again.notes)


@pytest.mark.parametrize("name", ["mlp", "network", "not-stopped"])
def test_evaluate_gives_the_recorded_result(name, capsys):
    assert command("evaluate", f"runs/{name}", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    recorded = Run(f"runs/{name}").result
    assert found["accuracy"] == recorded["test_accuracy"]
    assert found["loss"] == pytest.approx(recorded["test_loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["mlp", "network", "stopped"])
def test_a_run_can_be_read(name, capsys):
    run = Run(f"runs/{name}")
    assert run.config["versions"]["chainrule"] == "0.1.0"
    assert run.history
    assert run.load_network()
    assert command("runs", "runs") == 0
    assert name in capsys.readouterr().out


def test_a_stopped_run_resumes_to_the_same_end(capsys):
    assert command("train", "--resume", "runs/stopped", "--json") == 0
    captured = capsys.readouterr()
    assert "was started with chainrule 0.1.0" in captured.err
    recorded = Run("runs/not-stopped")
    run = Run("runs/stopped")
    for epoch, expected in zip(run.history, recorded.history, strict=True):
        assert epoch.keys() >= expected.keys()
        for measure in ("train_loss", "validation_loss", "learning_rate"):
            assert epoch[measure] == pytest.approx(expected[measure], rel=1e-4), measure
    assert run.result["test_accuracy"] == recorded.result["test_accuracy"]


@pytest.mark.parametrize("name", ["mlp", "network"])
def test_a_finished_run_goes_on_for_more_epochs(name):
    assert command("train", "--resume", f"runs/{name}", "--epochs", "5", "--quiet") == 0
    assert [epoch["epoch"] for epoch in Run(f"runs/{name}").history] == [1, 2, 3, 4, 5]


def test_layers_load_their_weights_and_give_the_same():
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


@pytest.mark.parametrize("name", make.optimizers())
def test_optimizers_and_schedules_go_on(name):
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
