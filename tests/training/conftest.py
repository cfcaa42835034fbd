"""A trainer of a small network, which tests can build several times with bitwise identical results."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chainrule import nn, no_grad, optim
from chainrule.data.dataset import TensorDataset
from chainrule.data.loader import DataLoader
from chainrule.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from chainrule.tensor import Tensor
from chainrule.training import Callback, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EPOCHS, STEPS = 3, 4  # 22 examples in batches of 6: the last one is smaller

RECIPES: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    "momentum": (lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-3), None),
    "momentum, one cycle": (
        lambda p: optim.SGD(p, 0.05, momentum=0.9),
        lambda o: OneCycleLR(o, 0.1, total_steps=EPOCHS * STEPS + 1),
    ),
    "adam, one cycle": (
        lambda p: optim.Adam(p, 0.01),
        lambda o: OneCycleLR(o, 0.05, total_steps=EPOCHS * STEPS + 1),
    ),
    "adamw, cosine": (lambda p: optim.AdamW(p, 0.02), lambda o: CosineAnnealingLR(o, T_max=EPOCHS * STEPS)),
}


def _examples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(count, 6)).astype(np.float32)
    return inputs, (inputs[:, :3] + random.normal(0, 0.5, (count, 3))).argmax(axis=1)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not flush files to disk, which takes time; the tests of `chainrule.files` cover it."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def make_trainer() -> Callable[..., Trainer]:
    """Build a trainer; the same arguments give bitwise identical results. `seed` is the seed of all random numbers."""

    def make(recipe: str = "momentum", callbacks: Sequence[Callback] = (), seed: int = 0, **options: Any) -> Trainer:
        seeds = np.random.SeedSequence(seed).spawn(3)
        draws, thinning, order = (np.random.default_rng(s) for s in seeds)
        network = nn.Sequential(
            nn.Linear(6, 8, generator=draws),
            nn.ReLU(),
            nn.Dropout(0.3, generator=thinning),
            nn.Linear(8, 3, generator=draws),
        )
        make_optimizer, make_schedule = RECIPES[recipe]
        optimizer = make_optimizer(network.parameters())
        inputs, labels = _examples(40, seed=3)

        def validate() -> dict[str, float]:
            network.eval()
            with no_grad():
                outputs = network(Tensor(inputs))
            right = outputs.argmax(1).numpy() == labels
            loss = nn.functional.cross_entropy(outputs, Tensor(labels))
            return {"validation_loss": loss.item(), "validation_accuracy": float(right.mean())}

        options = {"validate": validate, "scheduler": make_schedule and make_schedule(optimizer), **options}
        loader = DataLoader(TensorDataset(*_examples(22, seed=2)), 6, shuffle=True, generator=order)
        return Trainer(network, nn.functional.cross_entropy, optimizer, loader, callbacks=callbacks, **options)

    return make
