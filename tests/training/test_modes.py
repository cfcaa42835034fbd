"""Frozen parts stay frozen: nothing in training puts a module into a mode that its user did not choose."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import models, nn, optim, tensor
from chainrule.data import DataLoader, TensorDataset
from chainrule.nn import functional
from chainrule.training import Callback, Trainer, evaluate
from chainrule.training.modes import restore_modes

STEPS = 5


def make_network(seed=0):
    draws = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(6, 8, generator=draws),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Sequential(nn.Dropout(0.5, generator=draws), nn.BatchNorm1d(8)),
        nn.Linear(8, 3, generator=draws),
    )


def modes(network):
    return [module.training for module in network.modules()]


def running(layer):
    return [buffer.numpy().copy() for buffer in layer.buffers()]


def assert_same(arrays, others):
    for a, b in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def make_trainer():
    """A trainer and a plain loop of the same steps in the same order, to compare with."""

    def make(compiled=False, callbacks=(), validate=None):
        random = np.random.default_rng(3)
        inputs, labels = random.normal(size=(8 * STEPS, 6)).astype("f4"), random.integers(0, 3, 8 * STEPS)
        network = make_network()
        optimizer = optim.SGD(network.parameters(), 0.1, momentum=0.9)
        loader = DataLoader(TensorDataset(inputs, labels), 8)
        return Trainer(
            network, functional.cross_entropy, optimizer, loader,
            compiled=compiled, callbacks=callbacks, validate=validate and (lambda: validate(network)),
        )  # fmt: skip

    return make


def plain_loop(network, loader, epochs):
    optimizer = optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for _ in range(epochs):
        for inputs, labels in loader:
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()


# evaluate


@pytest.mark.parametrize("frozen", [(), (2,), (4,), (2, 4), (0, 1, 2, 3, 4, 5)], ids=str)
def test_evaluate_leaves_each_module_in_its_mode(frozen):
    network = make_network()
    for i in frozen:
        network[i].eval()
    before = modes(network)
    seen = []
    network[5].register_forward_hook(lambda module, inputs, output: seen.append(modes(network)))
    pictures, labels = np.zeros((5, 2, 3), np.uint8), np.zeros(5, np.uint8)
    evaluate(network, models.get("mlp"), pictures, labels, batch_size=2)
    assert modes(network) == before
    assert seen == [[False] * len(before)] * 3


def test_evaluate_leaves_the_modes_also_after_an_error():
    network = make_network()
    network[4].eval()
    before = modes(network)
    with pytest.raises(ValueError, match="linear"):
        evaluate(network, models.get("mlp"), np.zeros((5, 2, 2), np.uint8), np.zeros(5, np.uint8))
    assert modes(network) == before


def test_a_mixed_network_is_not_told_by_its_own_flag():
    """A network in evaluation mode, one part of which is learning."""
    network = make_network().eval()
    network[4].train()
    before = modes(network)
    with restore_modes(network):
        network.train()
    assert modes(network) == before


# Trainer


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("judge", [None, "evaluate", "eval and forget"])
def test_a_frozen_batch_norm_stays_frozen(make_trainer, compiled, judge):
    def validate(network):
        if judge == "evaluate":
            evaluate(network, models.get("mlp"), np.zeros((5, 2, 3), np.uint8), np.zeros(5, np.uint8))
        network.eval()
        return {}

    trainer = make_trainer(compiled, validate=judge and validate)
    twin = make_network()
    for network in (trainer.network, twin):
        network[2].running_mean += tensor(np.linspace(-1, 1, 8, dtype="f4"))
        network[2].eval()
    before, frozen, learning = modes(trainer.network), running(trainer.network[2]), running(trainer.network[4])
    trainer.fit(2)
    assert modes(trainer.network) == before
    assert_same(running(trainer.network[2]), frozen)
    assert not np.array_equal(running(trainer.network[4])[0], learning[0])  # the other one learns
    plain_loop(twin, trainer.loader, 2)
    for name, value in twin.state_dict().items():
        np.testing.assert_allclose(trainer.network.state_dict()[name].numpy(), value.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_what_a_callback_freezes_stays_frozen_and_what_it_thaws_learns(make_trainer, compiled):
    statistics = []

    class Freeze(Callback):
        def on_epoch(self, trainer, record):
            statistics.append(running(trainer.network[2]))
            trainer.network[2].train(record["epoch"] == 2)

    trainer = make_trainer(compiled, [Freeze()], validate=lambda network: (network.eval(), {})[1])
    trainer.fit(3)
    first, second, third = statistics
    assert_same(first, second)
    assert not np.array_equal(second[0], third[0])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_frozen_dropout_draws_nothing(make_trainer, compiled):
    trainer = make_trainer(compiled)
    trainer.network[4][0].eval()
    generator = trainer.network[4][0].generator
    before = generator.bit_generator.state
    trainer.fit(1)
    assert generator.bit_generator.state == before


def test_a_validation_that_fails_leaves_the_modes(make_trainer):
    def validate(network):
        network.eval()
        raise OSError("the disk is gone")

    trainer = make_trainer(validate=validate)
    trainer.network[2].eval()
    before = modes(trainer.network)
    with pytest.raises(OSError, match="gone"):
        trainer.fit(1)
    assert modes(trainer.network) == before


def test_a_network_in_evaluation_mode_is_trained_so_and_told(make_trainer):
    trainer = make_trainer()
    trainer.network.eval()
    frozen = running(trainer.network)
    with pytest.warns(UserWarning, match=r"Trainer: the network is trained in eval mode, .*network.train\(\)"):
        trainer.fit(1)
    assert_same(running(trainer.network), frozen)
    assert not any(modes(trainer.network))


def test_a_network_is_left_in_its_mode_when_training_is_stopped(make_trainer):
    class Stop(Callback):
        def on_step(self, trainer):
            raise KeyboardInterrupt

    trainer = make_trainer(callbacks=[Stop()])
    trainer.network[4].eval()
    before = modes(trainer.network)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(1)
    assert modes(trainer.network) == before
