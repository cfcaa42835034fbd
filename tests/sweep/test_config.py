"""The config file of a sweep: what it means, and one sentence that names the key and the value if it is wrong."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path

import pytest

from chainrule.cli import main
from chainrule.errors import RunError
from chainrule.sweep import Choices, Range, read_config
from chainrule.sweep import config as config_module

from .. import documents
from ..documents import ROOT

TOML = """
model = "mlp"
trials = 7
limit = 100
[training]
epochs = 3
momentum = 0.5
lr = { low = 1e-3, high = 1, log = true }
batch_size = { low = 16, high = 64, step = 16 }
optimizer = ["adam", "sgd"]
eager = [true, false]
augment.rotation = { low = 0, high = 10 }
augment.shift = 2
[options]
hidden = [8, 16]
"""


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, name="sweep.toml"):
        (tmp_path / name).write_text(text)
        return read_config(tmp_path / name)

    return write_and_read


def test_values_choices_and_ranges(read):
    config = read(TOML)
    assert (config.model, config.data, config.trials, config.limit, config.seed) == ("mlp", None, 7, 100, 0)
    assert config.searched == {
        "training.optimizer": Choices(("adam", "sgd")),
        "training.lr": Range(0.001, 1.0, log=True),
        "training.batch_size": Range(16, 64, step=16, is_integer=True),
        "training.eager": Choices((True, False)),
        "training.augment.rotation": Range(0.0, 10.0),
        "options.hidden": Choices((8, 16)),
    }
    assert config.fixed == {"training.epochs": 3, "training.momentum": 0.5, "training.augment.shift": 2.0}
    proposed = {"training.optimizer": "sgd", "training.augment.rotation": 3.5, "options.hidden": 8}
    assert config.settings(proposed) == (
        {"epochs": 3, "momentum": 0.5, "augment": {"shift": 2.0, "rotation": 3.5}, "optimizer": "sgd"},
        {"hidden": 8},
    )


def test_a_momentum_is_for_optimizers_that_have_one(read):
    config = read(TOML)
    assert config.settings({"training.optimizer": "adam"})[0] == {
        "epochs": 3, "augment": {"shift": 2.0}, "optimizer": "adam",
    }  # fmt: skip
    config = read('[training]\noptimizer = ["rprop", "sgd"]\nweight_decay = [0.1, 0.2]\nmomentum = [0.3, 0.4]')
    first = {"training.optimizer": "rprop", "training.weight_decay": 0.1, "training.momentum": 0.3}
    assert config.applicable(first) == {"training.optimizer": "rprop"}
    assert config.applicable({**first, "training.optimizer": "sgd"}) == {**first, "training.optimizer": "sgd"}


def test_the_examples_of_the_guide_and_of_the_docstring(read):
    page = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")
    first, augment = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    config = read(first + augment)
    assert config.searched["training.augment.rotation"] == Range(0.0, 20.0)
    assert config.searched["training.augment.shift"] == Choices((0.0, 1.0, 2.0))
    assert config.searched["options.hidden"] == Range(32, 256, step=32, is_integer=True)
    (docstring,) = [text for name, text in documents.docstrings(Path(config_module.__file__)) if not name]
    example = "\n".join(line for line in docstring.splitlines() if line.startswith("    ") or not line)
    assert read(textwrap.dedent(example)).describe() == read(first).describe()


def test_json_is_the_same(read):
    document = {"trials": 3, "training": {"lr": {"low": 0.1, "high": 1}}, "options": {"hidden": [8]}}
    config = read(json.dumps(document), "sweep.json")
    assert config.searched == {"training.lr": Range(0.1, 1.0), "options.hidden": Choices((8,))}
    assert config.describe() == read(json.dumps({**document, "trials": 4}), "sweep.json").describe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing is searched: give a setting of [training] or [options] a range or a list of choices"),
        ("models = 1", "there is no key 'models'; the keys are trials, "),
        ('model = "resnet"', "unknown model 'resnet'; choose from "),
        ("trials = 0", "trials must be from 1 to 100,000, not 0"),
        ('trials = "many"', "trials must be an integer, not 'many'"),
        ("trials = true", "trials must be an integer, not True"),
        ('pruning = "hard"', "pruning must be one of median, hyperband, none, not 'hard'"),
        ('sampler = "best"', "sampler must be one of tpe, random, not 'best'"),
        ("training = 3", "training must be a table, not 3"),
        ("[training]\nrate = [1]", "there is no key 'training.rate'; the settings are epochs, batch_size, "),
        ("[training]\nlr = []", "training.lr has no choices"),
        ("[training]\nlr = [0.1, 0.2, 0.1]", "training.lr has the choice 0.1 twice"),
        ('[training]\nlr = [0.1, "high"]', "training.lr[1] must be a number, not 'high'"),
        ("[training]\nlr = nan", "training.lr must be a number, not nan"),
        ("[training]\nlr = {low = 1, high = inf}", "training.lr.high must be a number, not inf"),
        ("[training]\nlr = {low = 1}", "training.lr lacks high: a range has low and high"),
        ("[training]\nlr = {low = 1, high = 2, steps = 1}", "training.lr has unknown steps"),
        ("[training]\nlr = {low = 2, high = 1}", "training.lr: low must be below high, not 2.0 and 1.0"),
        (
            "[training]\nlr = {low = 0, high = 1, log = true}",
            "training.lr: low must be above 0 with log = true, not 0.0",
        ),
        ("[training]\nlr = {low = 1, high = 2, log = 1}", "training.lr.log must be true or false, not 1"),
        (
            "[training]\nlr = {low = 1, high = 2, log = true, step = 1}",
            "training.lr: a range has log or step, not both",
        ),
        (
            "[training]\nlr = {low = 1, high = 2, step = 3}",
            "training.lr: step must be above 0 and at most 1.0, not 3.0",
        ),
        ("[training]\nepochs = {low = 1, high = 2.5}", "training.epochs.high must be an integer, not 2.5"),
        ("[training]\neager = {low = 0, high = 1}", "training.eager cannot be a range, as its values are of type bool"),
        ("[training]\naugment = [1]", "training.augment must be a table, not [1]"),
        ("[options]\ndepth = [1, 2]", "there is no key 'options.depth'; model 'mlp' has inputs, hidden, classes"),
        ("[options]\nhidden = [1.5]", "options.hidden[0] must be an integer, not 1.5"),
    ],
)
def test_a_wrong_key_or_value_is_named(read, tmp_path, text, message):
    with pytest.raises(RunError) as error:
        read(text)
    assert str(error.value).startswith(f"{tmp_path / 'sweep.toml'}: {message}")


def test_files_that_are_none(read, tmp_path):
    for name, text, message in [
        ("a.toml", "a =", "is not TOML ("),
        ("a.json", "{", "is not JSON ("),
        ("a.json", "[1]", "must hold an object, not list"),
        ("a.json", "[" * 100_000, "is not JSON ("),
        ("a.yaml", "", "a sweep's config is a file in TOML or JSON, named .toml or .json"),
    ]:
        with pytest.raises(RunError) as error:
            read(text, name)
        assert str(error.value).startswith(f"{tmp_path / name}: {message}")
    with pytest.raises(RunError, match="nothing.toml: cannot be read"):
        read_config(tmp_path / "nothing.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(RunError, match=r"folder.toml: cannot be read \(Is a directory\)"):
        read_config(tmp_path / "folder.toml")


def test_without_optuna(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["sweep", "sweep.toml"])
    assert (end.value.code, *capfd.readouterr()) == (
        2,
        "",
        "chainrule: chainrule sweep needs the library optuna, which is not installed: pip install 'chainrule[sweep]'\n",
    )
