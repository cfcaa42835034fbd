"""Named models, each with its loss and a training recipe."""

from chainrule.models.mlp import mlp
from chainrule.models.registry import (
    ALIASES,
    MOST_PARAMETERS,
    PIXEL,
    REGISTRY,
    Model,
    Recipe,
    build,
    get,
    images_to_inputs,
    register,
)
from chainrule.models.sigmoid_mlp import network, sigmoid_mlp
from chainrule.models.small_convnets import cnn, lenet5
from chainrule.models.tuned_convnet import best, quick

__all__ = [
    "ALIASES",
    "MOST_PARAMETERS",
    "PIXEL",
    "REGISTRY",
    "Model",
    "Recipe",
    "best",
    "build",
    "cnn",
    "get",
    "images_to_inputs",
    "lenet5",
    "mlp",
    "network",
    "quick",
    "register",
    "sigmoid_mlp",
]
