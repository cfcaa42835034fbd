"""The choices that the page offers, and the experiments that it suggests."""

from __future__ import annotations

from typing import Any

from chainrule.studio.playground.setup import ACTIVATIONS, DATA, FEATURES, OPTIMIZERS

TITLES = {"xor": "XOR", "points": "My points", "plane": "Slope", "values": "My values"}
"""The titles of data sets that differ from their capitalized names."""
RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
DECAYS = (0, 0.0001, 0.001, 0.01, 0.1, 1)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 0)
"""Sizes of a batch; 0 is all points."""
STOPS = {
    "epochs": ("after this many epochs", 300), "loss": ("at a training loss of", 0.05),
    "accuracy": ("at an accuracy (%) of", 95),
}  # fmt: skip
"""The conditions at which a run stops by itself, by kind: the label, and the number that is proposed."""
TRIES: list[tuple[str, str, dict[str, Any]]] = [
    ("Circles, with the squares as inputs: one neuron is enough", "neurons", {"features": "x1x1-x2x2", "layers": ""}),
    ("XOR without a hidden layer: can it be learned?", "the-perceptron", {"data": "xor", "layers": ""}),
    ("Spirals, the hard one", "any-curve", {"data": "spirals", "layers": "8-8", "noise": 0.02}),
    (
        "Three spirals at once", "any-curve",
        {"data": "spirals", "classes": 3, "layers": "8-8", "noise": 0.02, "count": 300},
    ),
    (
        "Six layers of sigmoid: why does nothing happen?", "vanishing-gradients",
        {"activation": "sigmoid", "layers": "4-4-4-4-4-4", "optimizer": "sgd"},
    ),
    ("Neurons that die", "dead-neurons", {"activation": "relu", "layers": "8-8", "optimizer": "sgd", "rate": 3}),
    (
        "A learning rate so large that the numbers break", "rolling-downhill",
        {"data": "hills", "activation": "leaky_relu", "layers": "8-8", "optimizer": "sgd", "rate": 3},
    ),
    (
        "Few points, large network: it learns by heart", "learning-better",
        {"data": "moons", "count": 30, "noise": 0.25, "train": 50, "layers": "8-8"},
    ),
]  # fmt: skip
"""A question, the key of the lesson that answers it, and the settings that differ from the defaults."""


def choices() -> dict[str, Any]:
    """Return everything that the page's buttons and fields offer, by the names that the page expects."""
    return {
        "data": {name: TITLES.get(name, name.capitalize()) for name in DATA},
        "features": {name: feature.symbol for name, feature in FEATURES.items()},
        "activations": list(ACTIVATIONS),
        "optimizers": list(OPTIMIZERS),
        "rates": RATES,
        "decays": DECAYS,
        "batches": BATCHES,
        "stops": STOPS,
        "tries": TRIES,
    }
