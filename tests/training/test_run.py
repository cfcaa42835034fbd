"""Run folders: made, found, and read without trust in what stands in them."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from chainrule import models, safetensors_io
from chainrule.errors import RunError
from chainrule.training import experiment, run


@pytest.fixture
def config(digits):
    return experiment.configure("mlp", digits, seed=3, epochs=2)


@pytest.fixture
def folder(config, tmp_path):
    return run.create(config, tmp_path / "run").folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The present folder is an empty one."""
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def at(config, created):
    return {**config, "created": created}


# Made


def test_a_run_is_made_from_its_config(config, tmp_path):
    created_run = run.create(config, tmp_path / "a" / "b" / "my run")
    assert created_run.folder == tmp_path / "a" / "b" / "my run"
    assert [file.name for file in created_run.folder.iterdir()] == ["config.json"]
    assert (
        json.loads((created_run.folder / "config.json").read_text())
        == config
        == created_run.config
        == run.Run(created_run.folder).config
    )


def test_left_out_its_folder_is_named_by_day_model_and_letters(config, here):
    first, second = run.create(config), run.create(config)
    assert first.folder.parent == Path("runs")
    for created_run in (first, second):
        assert created_run.folder.match("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]-mlp-????")
        assert (here / created_run.folder / "config.json").is_file()
    assert first.folder != second.folder


def test_an_empty_folder_is_taken(config, tmp_path):
    (tmp_path / "empty").mkdir()
    assert run.create(config, tmp_path / "empty").folder == tmp_path / "empty"


def test_a_folder_that_holds_something_is_not(config, folder, tmp_path):
    before = (folder / "config.json").read_bytes()
    message = f"{folder}: already holds a run; resume it with --resume, or choose another folder"
    with pytest.raises(RunError, match=message):
        run.create({**config, "seed": 4}, folder)
    assert (folder / "config.json").read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(RunError, match="full: is not empty; choose another folder for the run"):
        run.create(config, tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["letter.txt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
@pytest.mark.parametrize("folder", ["run", None], ids=["named", "in runs"])
def test_a_run_that_was_killed_before_its_config_was_there_is_begun_again(config, here, monkeypatch, folder):
    child = os.fork()
    if child == 0:
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        run.create(config, folder)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = here.rglob("*.tmp")
    created_run = run.create(config, folder)
    assert not left.exists()
    assert [path.name for path in created_run.folder.iterdir()] == ["config.json"]
    assert [path for path in here.rglob("*") if path.is_dir()] in ([created_run.folder], [here / "runs", here / created_run.folder],
                                                                  [here / created_run.folder])  # fmt: skip


def test_other_folders_without_a_config_stay(config, here):
    (here / "runs" / "notes").mkdir(parents=True)
    (here / "runs" / "mine").mkdir()
    (here / "runs" / "mine" / ".diary.01234567.tmp").touch()
    (here / "runs" / "mine" / "diary").touch()
    run.create(config)
    assert (here / "runs" / "notes").is_dir()
    assert (here / "runs" / "mine" / "diary").exists()


def test_a_place_that_cannot_be_a_folder_is_named(config, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match=f"{path}: cannot create the run's folder"):
            run.create(config, path)


def test_configs_from_before_augmentation_are_read_and_mean_none(folder, digits):
    config = json.loads((folder / "config.json").read_text())
    del config["training"]["augment"], config["training"]["epochs_without_augmentation"]
    (folder / "config.json").write_text(json.dumps(config))
    again = run.Run(folder)
    recipe = models.Recipe(**again.config["training"])
    assert (recipe.augment, recipe.epochs_without_augmentation) == ({}, 0)
    assert experiment.prepare(again, digits).loader.augment is None


def test_settings_under_a_former_name_are_read_under_the_present_one(folder):
    config = json.loads((folder / "config.json").read_text())
    config["training"]["plain_epochs"] = config["training"].pop("epochs_without_augmentation") + 2
    config["changes"] = [
        {
            "created": config["created"], "epoch": 0, "step": 0, "settings": {"plain_epochs": [0, 2]},
            "own_bits": False, "why": "",
        }
    ]  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    again = run.Run(folder)
    assert models.Recipe(**again.config["training"]).epochs_without_augmentation == 2
    assert again.changes[0]["settings"] == {"epochs_without_augmentation": [0, 2]}


# The one that comes with chainrule


def test_the_shipped_run_is_found_by_its_name_where_no_folder_has_it(config, tmp_path):
    created_run = run.shipped()
    assert created_run.folder == Path(models.__file__).parent / "shipped"
    assert run.find("shipped").folder == created_run.folder
    own = run.create(config, "runs/shipped")
    assert run.find("shipped").folder == own.folder
    here = run.create(config, "shipped")
    assert run.find("shipped").folder == here.folder


def test_the_shipped_language_model_is_found_likewise(config):
    assert run.find("shipped_words").folder == run.SHIPPED_WORDS
    assert run.find("shipped_words").load_network().block_size == 16
    own = run.create(config, "runs/shipped_words")
    assert run.find("shipped_words").folder == own.folder


def test_the_shipped_run_is_small_and_fits_its_model():
    created_run = run.shipped()
    assert created_run.weights_file.stat().st_size <= 1_500_000
    assert created_run.config["data"]["name"] == "handwriting"
    assert created_run.config["data"]["classes"] == [*"0123456789", "none"]
    assert created_run.model.name == "reader"
    assert created_run.result["test_accuracy"] >= 0.995
    network = created_run.load_network()
    assert not network.training
    assert sum(p.numel() for p in network.parameters()) <= 1_500_000


# Found


def test_found_by_its_folder(folder):
    assert run.find(folder).folder == folder
    assert run.find(str(folder)).folder == folder


def test_the_newest_in_a_folder_of_runs(config, tmp_path):
    for name, created in (
        ("b", "2026-03-01T10:00:00+00:00"),
        ("c", "2026-03-01T09:59:59+00:00"),
        ("a", "2026-02-28T23:00:00+00:00"),
    ):
        run.create(at(config, created), tmp_path / "many" / name)
    (tmp_path / "many" / "notes").mkdir()
    (tmp_path / "many" / "file").touch()
    assert [this_run.folder.name for this_run in run.all_runs(tmp_path / "many")] == ["a", "c", "b"]
    assert run.find(tmp_path / "many").folder.name == "b"


def test_newer_by_the_clock_of_the_world_not_of_the_place(config, tmp_path):
    """In an autumn night, half past two comes twice."""
    run.create(at(config, "2026-10-25T02:50:00+02:00"), tmp_path / "many" / "first")
    run.create(at(config, "2026-10-25T02:10:00+01:00"), tmp_path / "many" / "second")
    assert [this_run.folder.name for this_run in run.all_runs(tmp_path / "many")] == ["first", "second"]


def test_left_out_it_is_the_newest_in_runs(config):
    run.create(at(config, "2026-03-01T10:00:00+00:00"), "runs/old")
    run.create(at(config, "2026-03-02T10:00:00+00:00"), "runs/new")
    assert run.find().folder == Path("runs/new")
    assert run.find("old").folder == Path("runs/old")  # by the name that the list shows


def test_none_is_found(tmp_path):
    with pytest.raises(RunError, match="there is no run in runs yet: train one first, with: chainrule train"):
        run.find()
    (tmp_path / "here" / "runs").mkdir()
    with pytest.raises(RunError, match="there is no run in runs/ yet"):
        run.find()
    with pytest.raises(RunError, match="nowhere: there is no such run"):
        run.find("nowhere")
    with pytest.raises(RunError, match=f"{tmp_path}: holds no run"):
        run.find(tmp_path)
    assert run.all_runs("nowhere") == []


def test_one_that_cannot_be_read_is_an_error_or_a_fault_among_others(config, tmp_path):
    run.create(config, tmp_path / "many" / "good")
    (tmp_path / "many" / "bad").mkdir()
    (tmp_path / "many" / "bad" / "config.json").write_text("{")
    with pytest.raises(RunError, match="bad/config.json: is not JSON"):
        run.find(tmp_path / "many")
    faults: list[RunError] = []
    assert [this_run.folder.name for this_run in run.all_runs(tmp_path / "many", faults)] == ["good"]
    assert [str(fault).startswith(str(tmp_path / "many" / "bad" / "config.json")) for fault in faults] == [True]


# Read: config.json


def spoiled(config, path, value):
    """A copy of the config with one entry changed, or taken out, or put in."""
    config = copy.deepcopy(config)
    *outer, last = path.split(".")
    inner = config
    for key in outer:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return config


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"not JSON", b"\xff\xfe\x00", b"[" * 100_000],
    ids=["empty", "half", "text", "bytes", "deep"],
)
def test_a_config_that_is_not_json_is_named(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=f"{folder / 'config.json'}: is not (JSON|text)"):
        run.Run(folder)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"', "true"])
def test_a_config_that_is_no_object_is_named(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config.json: the content must be of type dict, not \w+$"):
        run.Run(folder)


@pytest.mark.parametrize(
    "entry",
    "created seed versions model model.name model.options data data.name data.crc32 data.classes "
    "training training.epochs training.lr training.schedule".split(),
)
def test_a_missing_entry_is_named(config, folder, entry):
    (folder / "config.json").write_text(json.dumps(spoiled(config, entry, ...)))
    with pytest.raises(RunError, match=f"{folder / 'config.json'}: lacks {entry}$"):
        run.Run(folder)


@pytest.mark.parametrize("entry", ["color", "model.module", "data.url", "training.nesterov"])
def test_an_unknown_entry_is_named(config, folder, entry):
    (folder / "config.json").write_text(json.dumps(spoiled(config, entry, 1)))
    with pytest.raises(RunError, match=f"{folder / 'config.json'}: has unknown {entry}$"):
        run.Run(folder)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("seed", "3", "seed must be of type int, not str"),
        ("seed", 3.0, "seed must be of type int, not float"),
        ("seed", True, "seed must be of type int, not bool"),
        ("created", 7, "created must be of type str, not int"),
        ("created", "yesterday", "created must be a date and time"),
        ("model", "mlp", "model must be of type dict, not str"),
        ("model.name", ["mlp"], "model.name must be of type str, not list"),
        ("model.options", [], "model.options must be of type dict, not list"),
        ("data.limit", "all", r"data.limit must be of type int \| None, not str"),
        ("data.image_shape", [28, "28"], r"data.image_shape\[1\] must be of type int, not str"),
        ("data.classes", None, "data.classes must be of type list, not NoneType"),
        ("training.epochs", None, "training.epochs must be of type int, not NoneType"),
        ("training.lr", "0.1", "training.lr must be of type float, not str"),
        ("training.batch_size", 12.5, "training.batch_size must be of type int, not float"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_entry_of_another_type_is_named(config, folder, entry, value, message):
    (folder / "config.json").write_text(json.dumps(spoiled(config, entry, value)))
    with pytest.raises(RunError, match=f"{folder / 'config.json'}: {message}"):
        run.Run(folder)


def test_a_number_may_be_written_without_its_point(config, folder):
    (folder / "config.json").write_text(json.dumps(spoiled(config, "training.lr", 1)))
    assert run.Run(folder).config["training"]["lr"] == 1


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(RunError, match=f"{path}: there is no such run"):
            run.Run(path)
    (tmp_path / "config.json").mkdir()
    with pytest.raises(RunError, match="config.json: cannot be read"):
        run.Run(tmp_path)


@pytest.mark.parametrize("name", ["nobody", "os.system", "chainrule.models.mlp", "../mlp", "__import__", "", "MLP"])
def test_a_models_name_never_leads_to_code(config, folder, name):
    (folder / "config.json").write_text(json.dumps(spoiled(config, "model.name", name)))
    this_run = run.Run(folder)  # a run of a later version is still listed
    message = f"{folder / 'config.json'}: unknown model {name!r}; choose from mlp, sigmoid_mlp"
    for use in (lambda: this_run.model, this_run.build_network, this_run.untrained, this_run.network):
        with pytest.raises(RunError, match=message):
            use()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": "128"}, "option hidden must be of type int, like 128, not '128'"),
        ({"hidden": 12.0}, "option hidden must be of type int"),
        ({"hidden": True}, "option hidden must be of type int"),
        ({"hidden": 0}, "option hidden must be at least 1, not 0"),
        ({"classes": None}, "option classes must be of type int"),
        ({"depth": 3}, "has no option 'depth'; it has inputs, hidden, classes"),
        ({"generator": 3}, "has no option 'generator'"),
        ({"name": "mlp"}, "has no option 'name'"),
    ],
    ids=str,
)
def test_a_models_options_are_checked(config, folder, options, message):
    (folder / "config.json").write_text(json.dumps(spoiled(config, "model.options", options)))
    with pytest.raises(RunError, match=f"{folder / 'config.json'}: model 'mlp'.* {message}"):
        run.Run(folder).load_network()


# Read: the other files


def test_a_run_not_trained_yet(folder):
    this_run = run.Run(folder)
    assert this_run.history == []
    assert this_run.result is None
    with pytest.raises(RunError, match=f"{this_run.weights_file}: does not exist yet: the first epoch is not complete"):
        this_run.load_network()


def test_weights_come_back_ready_to_be_used(config, folder):
    this_run = run.Run(folder)
    network = this_run.build_network(np.random.default_rng(5))
    safetensors_io.save(network.state_dict(), this_run.weights_file)
    again = this_run.load_network()
    assert not again.training
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    assert this_run.model is models.get("mlp")


def test_weights_that_went_missing(folder):
    (folder / "metrics.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(RunError, match="model.safetensors: is missing"):
        run.Run(folder).load_network()


def test_weights_that_do_not_fit_are_named(folder):
    this_run = run.Run(folder)
    good = this_run.build_network().state_dict()
    for name, state in {
        "missing: 3.bias": {key: value for key, value in good.items() if key != "3.bias"},
        r"unknown: 4.bias \(10,\)": {**good, "4.bias": good["3.bias"]},
        r"wrong shape: 1.weight is \(144, 128\), must be \(128, 144\)": {**good, "1.weight": np.zeros((144, 128))},
    }.items():
        safetensors_io.save(state, this_run.weights_file)
        with pytest.raises(RunError, match=f"{this_run.weights_file}: does not fit model 'mlp': .*{name}"):
            this_run.load_network()


def test_weights_of_before_checksums_are_read_with_one_line(folder):
    """And those that PyTorch has written, who may stand in their place, without any."""
    this_run = run.Run(folder)
    state = {name: tensor.numpy() for name, tensor in this_run.build_network().state_dict().items()}
    save_file(state, this_run.weights_file)
    with pytest.warns(
        safetensors_io.ChecksumWarning, match="model.safetensors: has no checksum, like files of older versions"
    ):
        assert this_run.load_network()
    save_file(state, this_run.weights_file, {"format": "pt"})
    assert this_run.load_network()


def test_a_flipped_bit_in_the_weights_is_noticed(folder):
    this_run = run.Run(folder)
    safetensors_io.save(this_run.build_network().state_dict(), this_run.weights_file)
    content = bytearray(this_run.weights_file.read_bytes())
    content[-1000] ^= 1
    this_run.weights_file.write_bytes(content)
    with pytest.raises(RunError, match="model.safetensors: does not match its checksum"):
        this_run.load_network()


def test_weights_that_are_damaged_are_named_once(folder):
    this_run = run.Run(folder)
    safetensors_io.save(this_run.build_network().state_dict(), this_run.weights_file)
    this_run.weights_file.write_bytes(this_run.weights_file.read_bytes()[:-100])
    with pytest.raises(RunError) as caught:
        this_run.load_network()
    assert str(caught.value).startswith(f"{this_run.weights_file}: is not a complete safetensors file")
    assert str(caught.value).count(str(this_run.weights_file)) == 1


@pytest.mark.parametrize("line", ["{", "3", "", "\x00"])
def test_a_damaged_history_is_named_with_its_line(folder, line):
    (folder / "metrics.jsonl").write_text('{"epoch": 1}\n' + line + '\n{"epoch": 3}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2: (is not JSON|the content must be of type dict)"):
        _ = run.Run(folder).history


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "lacks epoch"),
        ('{"epoch": "2"}', "epoch must be of type int, not str"),
        ('{"epoch": 2.0}', "epoch must be of type int, not float"),
        ('{"epoch": 2, "train_loss": "low"}', "train_loss must be of type float, not str"),
        ('{"epoch": 2, "train_loss": [1]}', "train_loss must be of type float, not list"),
        ('{"epoch": 2, "seconds": true}', "seconds must be of type float, not bool"),
        (f'{{"epoch": 2, "validation_accuracy": {"9" * 400}}}', "validation_accuracy has 400 digits"),
        (f'{{"epoch": 2, "validation_accuracy": -{"9" * 400}}}', "validation_accuracy has 400 digits"),
    ],
    ids=lambda value: value[:40],
)
def test_an_epoch_that_is_no_numbers_is_named_with_its_line(folder, line, message):
    (folder / "metrics.jsonl").write_text('{"epoch": 1}\n' + line + "\n")
    with pytest.raises(RunError, match=rf"metrics.jsonl, line 2: {message}"):
        _ = run.Run(folder).history


def test_null_in_the_history_is_no_number(folder):
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "validation_accuracy": null, "train_loss": 2}\n')
    (record,) = run.Run(folder).history
    assert np.isnan(record["validation_accuracy"])
    assert record["train_loss"] == 2


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "{", '{"test_accuracy": "high", "test_loss": 1, "seconds": 1}', '{"test_accuracy": null}'],
)
def test_a_damaged_result_is_named(folder, content):
    (folder / "result.json").write_text(content)
    with pytest.raises(RunError, match=f"{folder / 'result.json'}: "):
        _ = run.Run(folder).result


def test_a_run_may_be_moved(config, folder, tmp_path):
    safetensors_io.save(run.Run(folder).build_network().state_dict(), folder / "model.safetensors")
    shutil.move(folder, tmp_path / "elsewhere")
    assert run.find(tmp_path / "elsewhere").load_network()
