"""Runs with each optimizer that has a name: they learn, resume to the same bits, and refuse what the optimizer lacks."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import nn, optim
from chainrule.errors import RunError
from chainrule.models import Recipe
from chainrule.training import experiment, run
from chainrule.training.optimizers import OPTIMIZERS, CombinedOptimizer, make_optimizer
from chainrule.training.resume import resume
from chainrule.training.trainer import Callback, Interrupted


class StopAfter(Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_step(self, trainer):
        trainer.interrupt = trainer.global_step == self.steps


def weights(this_run):
    return {name: tensor.numpy().tobytes() for name, tensor in this_run.load_network().state_dict().items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_learns_and_resumes_to_the_same_bits(name, digits, tmp_path):
    config = experiment.configure("mlp", digits, optimizer=name, epochs=4, batch_size=20)
    assert config["training"]["lr"] == (0.02 if name == "adamw" else OPTIMIZERS[name].settings["lr"])
    whole, halved = (run.create(config, tmp_path / folder) for folder in ("whole", "halved"))
    history = experiment.prepare(whole, digits).fit(4)
    assert history[-1]["train_loss"] < 0.9 * history[0]["train_loss"]
    with pytest.raises(Interrupted):
        experiment.prepare(halved, digits, [StopAfter(33)]).fit(4)
    trainer = experiment.prepare(halved, digits)
    resume(halved, trainer)
    trainer.fit(4)
    assert weights(halved) == weights(whole)


def test_every_optimizer_has_a_name():
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    recipe = {"epochs": 1, "batch_size": 1, "lr": 0.1}
    made = {type(make_optimizer(network, Recipe(optimizer=name, **recipe))) for name in OPTIMIZERS} - {
        CombinedOptimizer
    }
    public = {value for value in vars(optim).values() if isinstance(value, type)} - {optim.Optimizer, optim.Muon}
    assert made == public


class TestMuon:
    def recipe(self, **options):
        return Recipe(1, 1, "muon", 0.1, **{"momentum": 0.9, "weight_decay": 0.2, **options})

    def test_has_the_matrices_but_not_the_embeddings(self):
        network = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 5, bias=False))
        muon, adamw = make_optimizer(network, self.recipe()).optimizers
        assert [p.shape for p in muon.param_groups[0]["params"]] == [(2, 3), (5, 2)]
        assert [p.shape for p in adamw.param_groups[0]["params"]] == [(5, 3), (2,), (2,), (2,)]
        assert (type(muon), type(adamw)) == (optim.Muon, optim.AdamW)
        assert [o.param_groups[0]["weight_decay"] for o in (muon, adamw)] == [0.2, 0.2]
        only = make_optimizer(network[3], self.recipe())
        assert [type(o) for o in only.optimizers] == [optim.Muon]

    def test_needs_matrices(self):
        with pytest.raises(RunError, match="muon is for networks with matrices, such as the weights of linear layers"):
            make_optimizer(nn.LayerNorm(3), self.recipe())

    def test_a_combined_state_is_one_state(self):
        def make():
            network = nn.Sequential(nn.Linear(3, 2, generator=np.random.default_rng(1)), nn.BatchNorm1d(2))
            return network, make_optimizer(network, self.recipe())

        def train(network, optimizer, steps):
            for _ in range(steps):
                optimizer.zero_grad()
                for p in network.parameters():
                    (p**2).sum().backward()
                optimizer.step()

        whole, optimizer = make()
        train(whole, optimizer, 5)
        network, first = make()
        train(network, first, 2)
        state = first.state_dict()
        assert [group["params"] for group in state["param_groups"]] == [[0], [1, 2, 3]]
        assert {key: list(entries) for key, entries in state["state"].items()} == {
            0: ["momentum_buffer"],
            **{i: ["step", "exp_avg", "exp_avg_sq"] for i in (1, 2, 3)},
        }
        second = make_optimizer(network, self.recipe())
        second.load_state_dict({**state, "state": {str(key): entries for key, entries in state["state"].items()}})
        train(network, second, 3)
        for p, q in zip(whole.parameters(), network.parameters(), strict=True):
            assert p.detach().numpy().tobytes() == q.detach().numpy().tobytes()


@pytest.mark.parametrize(
    ("optimizer", "changes", "message"),
    [
        ("adamw", {"momentum": 0.9}, "momentum is a setting of sgd, rmsprop, muon, and this run's optimizer is adamw"),
        ("rprop", {"weight_decay": 0.1}, "rprop has no weight decay: set weight_decay to 0"),
        ("newton", {}, f"unknown optimizer 'newton'; choose from {', '.join(OPTIMIZERS)}"),
    ],
)
def test_what_an_optimizer_lacks_is_refused(digits, optimizer, changes, message):
    with pytest.raises(RunError, match=message):
        experiment.configure("mlp", digits, optimizer=optimizer, **changes)
