"""`Trainer` and `chainrule train` in shards, in one process."""

import json

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.data import Augment, DataLoader, TensorDataset
from chainrule.distributed import ShardedStep, ShardError
from chainrule.distributed.world import set_threads
from chainrule.kernels import team
from chainrule.nn import functional as F  # noqa: N812
from chainrule.training import Callback, Interrupted, StopOnNaN, Trainer
from chainrule.training.trainer import DivergedError


def make(shards=4, callbacks=(), lr=0.05, compiled=False):
    generator = np.random.default_rng(2)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 12, generator=generator), nn.BatchNorm1d(12), nn.Dropout(0.3, generator=generator),
        nn.Linear(12, 3, generator=generator),
    )  # fmt: skip
    rng = np.random.default_rng(3)
    images, labels = rng.random((50, 6, 6)).astype(np.float32), rng.integers(0, 3, 50)
    loader = DataLoader(
        TensorDataset(images, labels), 16, shuffle=True, generator=np.random.default_rng(4), augment=Augment(shift=1)
    )
    optimizer = optim.SGD(network.parameters(), lr, momentum=0.9)
    options = {"callbacks": callbacks, "shards": shards, "compiled": compiled}
    return Trainer(network, F.cross_entropy, optimizer, loader, **options)


def bits(trainer):
    return [tensor.numpy().tobytes() for tensor in trainer.network.state_dict().values()]


@pytest.mark.parametrize("compiled", [False, True])
def test_it_takes_sharded_steps(compiled):
    trained, other = make(compiled=compiled), make()
    history = trained.fit(2)
    step = ShardedStep(other.network, F.cross_entropy, other.optimizer, batch_size=16, shards=4, compiled=compiled)
    losses = [[(step(x, y), len(y)) for x, y in other.loader] for _ in range(2)]
    assert bits(trained) == bits(other)
    means = [sum(loss * count for loss, count in epoch) / 50 for epoch in losses]
    assert [record["train_loss"] for record in history] == means


def test_without_shards_nothing_is_cut():
    assert make(shards=None).shards == 0
    assert make(shards=None)._sharded is None
    trained, cut = make(shards=None), make(shards=1)
    trained.fit(1)
    cut.fit(1)
    assert bits(trained) != bits(cut)  # dropout draws other numbers


class StopAfter(Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_step(self, trainer):
        trainer.interrupt = trainer.global_step == self.steps


def test_it_resumes_within_an_epoch_to_the_same_bits():
    never_stopped = make()
    never_stopped.fit(3)
    stopped = make(callbacks=[StopAfter(6)])
    with pytest.raises(Interrupted):
        stopped.fit(3)
    resumed = make()
    resumed.load_state_dict(stopped.state_dict())
    assert (resumed.epoch, resumed.step) == (1, 3)  # the step after the wish
    resumed.fit(3)
    assert bits(resumed) == bits(never_stopped)


def test_a_loss_that_is_nan_ends_before_the_update():
    trainer = make(callbacks=[StopOnNaN()])
    trainer.network[1].weight.detach().fill_(np.nan)
    bias = trainer.network[1].bias.detach().numpy().copy()
    with pytest.raises(DivergedError, match="the loss is nan; run with neither shards nor gradient acc"):
        trainer.fit(1)
    assert (trainer.network[1].bias.detach().numpy() == bias).all()


def test_refusals():
    with pytest.raises(ShardError, match="must be a power of two"):
        make(shards=5)
    with pytest.raises(ShardError, match="a batch of 16 cannot be cut into 32 shards, but into 16"):
        make(shards=32)


@pytest.fixture
def _same_threads():
    """Runs in shards set the number of threads of their process."""
    before = team.threads()
    yield
    set_threads(before)


@pytest.mark.usefixtures("_same_threads")
def test_the_command_line(tmp_path, monkeypatch, capfd, digits):
    from chainrule.cli import main
    from chainrule.data import idx
    from chainrule.data.image_data import FILES

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    arrays = (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels)
    for name, array in zip(FILES, arrays, strict=True):
        idx.write(tmp_path / "data" / name, array)

    def command(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["train", *arguments])
        return end.value.code, capfd.readouterr().err.strip()

    start = ["--data", "data", "--epochs", "1", "--batch-size", "40", "--quiet"]
    monkeypatch.setenv("CHAINRULE_THREADS", "1")
    assert command(*start, "--shards", "3") == (
        2, "chainrule: the number of shards must be a power of two, such as 2 or 4, not 3"
    )  # fmt: skip
    assert command(*start, "--shards", "64") == (
        2, "chainrule: a batch of 40 cannot be cut into 64 shards, but into 32"
    )  # fmt: skip
    assert command(*start, "--shards", "4", "--out", "run") == (0, "")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["training"]["shards"], config["threads"]) == (4, 1)
    code, error = command("--resume", "run", "--shards", "8")
    assert code == 2
    assert "leave out --shards; to change the setting: --override shards=VALUE" in error
    monkeypatch.setenv("CHAINRULE_THREADS", "2")
    chainrule.set_num_threads(2)
    assert command("--resume", "run", "--epochs", "2", "--quiet") == (
        2, "chainrule: run was started with 1 thread per rank, and CHAINRULE_THREADS is 2: set it to 1, or not at all"
    )  # fmt: skip
    monkeypatch.delenv("CHAINRULE_THREADS")
    assert command("--resume", "run", "--epochs", "3", "--override", "shards=8", "--quiet") == (0, "")
    change = json.loads((tmp_path / "run" / "config.json").read_text())["changes"][-1]
    assert change["settings"] == {"epochs": [1, 3], "shards": [4, 8]}
    assert "shards was 4 until then" in change["why"]


def test_a_loader_of_some_rows_cannot_be_divided_into_shards():
    network = nn.Linear(3, 2)
    loader = DataLoader(TensorDataset(np.zeros((8, 3), np.float32), np.zeros(8, int)), 4, rows=lambda n: slice(n // 2))
    optimizer = optim.SGD(network.parameters(), 0.1)
    with pytest.raises(
        ValueError, match="each batch is divided into shards, so the loader must not select a part of it"
    ):
        Trainer(network, F.cross_entropy, optimizer, loader, shards=2)
    Trainer(network, F.cross_entropy, optimizer, loader).fit(1)
