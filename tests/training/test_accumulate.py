"""Gradient accumulation: the step of the whole batch, in the memory of a part, resumed exactly at any step."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from chainrule import nn, optim
from chainrule.data.dataset import TensorDataset
from chainrule.data.loader import DataLoader
from chainrule.distributed.sharded import ShardError
from chainrule.training import Callback, DivergedError, StopOnNaN, Trainer
from chainrule.training.trainer import Interrupted


def trainer(callbacks=(), batch_size=16, width=6, examples=40, dropout=0.0, **options):
    """40 examples in batches of 16: the last has 8."""
    random = np.random.default_rng(3)
    inputs = random.standard_normal((examples, 5)).astype(np.float32)
    data = TensorDataset(inputs, (inputs[:, :3] @ np.ones((3, 3), "f")).argmax(1))
    network = nn.Sequential(
        nn.Linear(5, width, generator=random),
        nn.Tanh(),
        nn.Dropout(dropout, generator=np.random.default_rng(9)),
        nn.Linear(width, 3, generator=random),
    )
    optimizer = optim.Adam(network.parameters(), 0.01)
    loader = DataLoader(data, batch_size, shuffle=True, generator=np.random.default_rng(4))
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)
    loss = nn.functional.cross_entropy
    return Trainer(network, loss, optimizer, loader, scheduler=schedule, callbacks=callbacks, **options)


def weights(trained):
    return {name: tensor.numpy().copy() for name, tensor in trained.network.state_dict().items()}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("parts", [2, 4, 16])
def test_equals_the_step_of_the_whole_batch(parts, compiled):
    whole, accumulated = trainer(compiled=compiled), trainer(compiled=compiled, accumulate=parts)
    histories = [one.fit(3) for one in (whole, accumulated)]
    losses = [[record["train_loss"] for record in history] for history in histories]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for name, value in weights(whole).items():
        np.testing.assert_allclose(weights(accumulated)[name], value, rtol=1e-4, atol=1e-6)


class StopAfter(Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_step(self, trainer):
        trainer.interrupt = trainer.global_step == self.steps - 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("steps", [2, 4, 8])
def test_resumes_to_the_same_bits_at_any_step(steps, compiled):
    options = {"compiled": compiled, "accumulate": 4, "dropout": 0.3}
    whole = trainer(**options)
    whole.fit(3)
    first = trainer([StopAfter(steps)], **options)
    with pytest.raises(Interrupted):
        first.fit(3)
    assert first.global_step == steps
    second = trainer(**options)
    second.load_state_dict(first.state_dict())
    second.fit(3)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(second)[name], value)


def test_needs_the_memory_of_a_part():
    peaks = []
    for parts in (1, 16):
        one = trainer(batch_size=2048, width=256, examples=2048, accumulate=parts)
        inputs, targets = next(iter(one.loader))
        step = one._take_step if parts == 1 else one._sharded
        step(inputs, targets)  # whatever is compiled or imported on first use is not the step's
        tracemalloc.start()
        step(inputs, targets)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"accumulate": 0}, ValueError, "Trainer: accumulate must be at least 1, not 0"),
        ({"accumulate": 2.0}, TypeError, "Trainer: accumulate must be an integer, not 2.0"),
        (
            {"accumulate": 2, "shards": 4},
            ValueError,
            "accumulate=2 cannot be combined with 4 shards, which also accumulate",
        ),
        ({"accumulate": 3}, ShardError, "must be a power of two, such as 2 or 4, not 3"),
        ({"accumulate": 32}, ShardError, "a batch of 16 cannot be cut into 32 shards, but into 16"),
    ],
)
def test_what_makes_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        trainer(**options)


@pytest.mark.parametrize(
    ("compiled", "advice"),
    [
        (False, "run with neither shards nor gradient accumulation to find the layer"),
        (True, "run with neither shards nor gradient accumulation and without compiling (--eager) to find the layer"),
    ],
)
def test_a_loss_that_is_nan_advises_only_what_would_help(compiled, advice):
    diverging = trainer(callbacks=[StopOnNaN()], accumulate=4, compiled=compiled)
    diverging.network[0].weight.detach().fill_(np.nan)
    with pytest.raises(DivergedError) as caught:
        diverging.fit(1)
    assert f"the loss is nan; {advice};" in str(caught.value)
