"""Train small networks with `Trainer` on all ranks, and print a hash of each result.

`cases.py` trains all cases, `cases.py "cnn adam compiled"` only that case. Each output line has the case, for each rank
a hash of weights, buffers, optimizer state and history, and the number of epochs.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

import numpy as np

from chainrule import nn, optim
from chainrule.data import Augment, DataLoader, TensorDataset
from chainrule.distributed.world import world
from chainrule.nn import functional as F  # noqa: N812
from chainrule.training import EarlyStopping, Trainer

SHARDS = 8


class Cnn(nn.Module):
    def __init__(self, generator: np.random.Generator) -> None:
        self.convolution = nn.Conv2d(1, 4, 3, generator=generator)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(100, 5, generator=generator)

    def forward(self, x):
        x = self.norm(self.convolution(x.reshape(-1, 1, 12, 12))).relu()
        return self.linear(F.max_pool2d(x, 2).flatten(1))


def mlp(generator: np.random.Generator) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(144, 32, generator=generator), nn.ReLU(), nn.Dropout(0.2, generator=generator),
        nn.Linear(32, 5, generator=generator),
    )  # fmt: skip


CASES = {
    f"{network} {optimizer} {'compiled' if compiled else 'eager'}": (network, optimizer, compiled)
    for network, optimizer in (("mlp", "momentum"), ("cnn", "adam"))
    for compiled in (False, True)
}


def trainer(network_name: str, optimizer_name: str, compiled: bool, callbacks=()) -> Trainer:
    generator = np.random.default_rng(3)
    network = (mlp if network_name == "mlp" else Cnn)(generator)
    if optimizer_name == "adam":
        optimizer = optim.Adam(network.parameters(), 0.01)
    else:
        optimizer = optim.SGD(network.parameters(), 0.1, momentum=0.9)
    rng = np.random.default_rng(8)
    images = rng.random((101, 12, 12)).astype(np.float32)  # the last batch has 5
    labels = rng.integers(0, 5, 101)
    loader = DataLoader(
        TensorDataset(images, labels), 24, shuffle=True, generator=np.random.default_rng(9),
        augment=Augment(shift=1, elastic=0.5),
    )  # fmt: skip
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=16)
    # Only rank 0 validates. The draw puts its generator ahead of the other ranks' generators, which must not matter.
    return Trainer(
        network, F.cross_entropy, optimizer, loader, scheduler=scheduler, callbacks=callbacks, compiled=compiled,
        validate=lambda: {"validation_accuracy": float(generator.random() < 0)}, shards=SHARDS,
    )  # fmt: skip


def digest(trained: Trainer) -> str:
    arrays = [tensor.numpy() for tensor in trained.network.state_dict().values()]
    arrays += [value for state in trained.optimizer.state.values() for value in state.values()]
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in trained.history]
    parts = [np.asarray(array).tobytes() for array in arrays] + [json.dumps(history).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


if __name__ == "__main__":
    os.environ.setdefault("CHAINRULE_THREADS", "1")
    for case in sys.argv[1:] or CASES:
        trained = trainer(*CASES[case], callbacks=[EarlyStopping(2)])
        trained.fit(5)  # early stopping, on which only rank 0 decides, ends the training after 3
        digests = world().gather(digest(trained))
        if world().rank == 0:
            print(case, *digests, len(trained.history))
    sys.stdout.flush()
