"""Runs with random weights, and a reader of their weight files without chainrule."""

from __future__ import annotations

import json

import numpy as np

from chainrule import models, nn, safetensors_io
from chainrule.training import run as runs


def random_network(name):
    """A network whose biases and running statistics are random, too, as if it had been trained."""
    random = np.random.default_rng(sum(map(ord, name)))
    network = models.build(name, generator=random)
    for layer in network:
        for key, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
            if key == "running_var" or (key == "weight" and isinstance(layer, nn.BatchNorm2d)):
                tensor.detach().copy_(random.uniform(0.5, 2, tensor.shape))
            elif key in ("bias", "running_mean"):
                tensor.detach().copy_(random.normal(0, 0.2, tensor.shape))
    return network


def save_run(folder, name, **data):
    """Write a run of a model with the weights of `random_network`, on MNIST."""
    config = json.loads((runs.SHIPPED / "config.json").read_text())
    recipe = models.get(name).recipe
    config["model"] = {"name": name, "options": {"inputs": 784, "classes": 10}}
    config["data"] |= {"name": "mnist", "classes": list("0123456789"), **data}
    config["training"] |= {"optimizer": recipe.optimizer, "lr": recipe.lr, "weight_decay": recipe.weight_decay}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    safetensors_io.save(random_network(name).state_dict(), folder / "model.safetensors")
    return runs.Run(folder)


def read_weights(file):
    """The arrays of a safetensors file, float64: eight bytes for the length of a JSON header, the header, the data."""
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
    return {
        name: np.frombuffer(content[end + entry["data_offsets"][0] : end + entry["data_offsets"][1]],
        kinds[entry["dtype"]]) .reshape(entry["shape"]) .astype(np.float64) for name, entry in header.items() if name !=
        "__metadata__"
    }  # fmt: skip


def plain_layers(name, weights):
    """The layers of one of three models for `reference`, with the weights of a file."""

    def both(layer):
        return weights[f"{layer}.weight"], weights[f"{layer}.bias"]

    return {
        "mlp": lambda: [("flatten",), ("linear", *both(1)), ("relu",), ("linear", *both(3))],
        "sigmoid_mlp": lambda: [
            ("flatten",), ("linear", *both(1)), ("sigmoid",), ("linear", *both(3)), ("sigmoid",),
        ],
        "cnn": lambda: [
            ("channel",), ("conv", *both(1), 1, 2), ("relu",), ("pool", 2), ("conv", *both(4), 1, 2), ("relu",),
            ("pool", 2), ("flatten",), ("linear", *both(8)),
        ],
    }[name]()  # fmt: skip
