"""Named models, each with its loss and a training recipe."""

from chainrule.models.mlp import mlp
from chainrule.models.registry import (
    ALIASES,
    MAX_PARAMETERS,
    MOST_PARAMETERS,
    PIXEL,
    PIXEL_SCALE,
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
from chainrule.models.tuned_convnet import best, quick, reader

from chainrule.models.table_mlp import mlp_classifier, mlp_regressor  # isort: skip  # after the models of images
from chainrule.models.gpt import GPT, gpt  # isort: skip  # the last in the registry, after the models of images
from chainrule.models.digit_detector import digit_detector, load_detector  # isort: skip
from chainrule.models.gpt_weights import from_pretrained, save_pretrained  # isort: skip
from chainrule.models.transformer import GPTConfig  # isort: skip

__all__ = [
    "ALIASES",
    "GPT",
    "MAX_PARAMETERS",
    "MOST_PARAMETERS",
    "PIXEL",
    "PIXEL_SCALE",
    "REGISTRY",
    "GPTConfig",
    "Model",
    "Recipe",
    "best",
    "build",
    "cnn",
    "digit_detector",
    "from_pretrained",
    "get",
    "gpt",
    "images_to_inputs",
    "lenet5",
    "load_detector",
    "mlp",
    "mlp_classifier",
    "mlp_regressor",
    "network",
    "quick",
    "reader",
    "register",
    "save_pretrained",
    "sigmoid_mlp",
]
