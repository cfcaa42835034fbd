"""Training with a compiled step: the same digits learned, and an exact resume."""

import numpy as np
import pytest

from chainrule import from_numpy, nn, optim
from chainrule.data import DataLoader, TensorDataset
from chainrule.nn import functional
from chainrule.optim.lr_scheduler import OneCycleLR
from chainrule.training import Trainer
from chainrule.training.trainer import Callback, Interrupted

EXAMPLES, BATCH = 44, 8  # five whole batches and a smaller one


def trainer(optimizer, compiled=True, *callbacks):
    rng = np.random.default_rng(0)
    images, labels = rng.random((EXAMPLES, 6), np.float32), rng.integers(0, 3, EXAMPLES)
    draws = np.random.default_rng(1)
    network = nn.Sequential(
        nn.Linear(6, 5, generator=draws), nn.ReLU(), nn.Dropout(0.2, generator=draws), nn.Linear(5, 3, generator=draws)
    )
    loader = DataLoader(
        TensorDataset(from_numpy(images), from_numpy(labels)), BATCH, shuffle=True, generator=np.random.default_rng(2)
    )
    learner = optimizer(network.parameters())
    return Trainer(
        network, functional.cross_entropy, learner, loader, compiled=compiled, callbacks=callbacks,
        scheduler=OneCycleLR(learner, 0.05, total_steps=20, cycle_momentum=True),
    )  # fmt: skip


OPTIMIZERS = pytest.mark.parametrize(
    "optimizer", [lambda p: optim.SGD(p, 0.05, momentum=0.9), lambda p: optim.AdamW(p, 0.05)], ids=["sgd", "adamw"]
)


def weights(trained):
    return {name: tensor.numpy().copy() for name, tensor in trained.network.state_dict().items()}


@OPTIMIZERS
def test_it_learns_what_the_eager_step_learns(optimizer):
    compiled, eager = trainer(optimizer), trainer(optimizer, compiled=False)
    for one in (compiled, eager):
        one.fit(3)
    assert compiled._compiled_step.specializations  # it did compile
    np.testing.assert_allclose(
        [record["train_loss"] for record in compiled.history],
        [record["train_loss"] for record in eager.history],
        rtol=1e-5,
    )
    for name, value in weights(eager).items():
        np.testing.assert_allclose(weights(compiled)[name], value, rtol=1e-3, atol=1e-5)


class StopAfter(Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_step(self, trainer):
        self.steps -= 1
        trainer.interrupt = self.steps == 1


@OPTIMIZERS
@pytest.mark.parametrize("steps", [2, 3, 6, 7])
def test_an_interrupted_run_goes_on_to_the_same_bits(optimizer, steps):
    whole = trainer(optimizer)
    whole.fit(2)
    first = trainer(optimizer, True, StopAfter(steps))
    with pytest.raises(Interrupted):
        first.fit(2)
    second = trainer(optimizer)
    second.load_state_dict(first.state_dict())
    second.fit(2)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(second)[name], value)
