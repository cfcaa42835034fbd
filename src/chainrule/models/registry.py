"""The registry of named models: how each is built, its loss and its training recipe.

Files of a run contain names, never code: the registry maps a name such as "mlp" in `config.json` to a network.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from chainrule.errors import RunError
from chainrule.nn.functional import cross_entropy, softmax
from chainrule.nn.init import skip_init

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from chainrule.nn import Module
    from chainrule.tensor import Tensor

    NetworkBuilder = Callable[..., Module]

Task = Literal["images", "text", "pages", "tables with classes", "tables with numbers"]
"""What a model reads: images, to predict their class; texts, to predict the next token; pages, to find their digits; or
the rows of a table, to predict a class or a number."""


@dataclass(frozen=True)
class Recipe:
    """Default training settings of a model.

    Attributes:
        epochs: passes over the training examples; where these are drawn at random, see `steps_per_epoch`.
        batch_size: number of images, rows of a table or windows of a text per step.
        optimizer: a name in `training.optimizers.OPTIMIZERS`, such as "sgd" or "adamw".
        lr: the learning rate; with a schedule, its maximum.
        momentum: the momentum of "sgd", "rmsprop" or "muon".
        weight_decay: the weight decay of every optimizer except "rprop".
        schedule: "constant", "cosine", "one-cycle" or "warmup-cosine".
        augment: options of `data.Augment` for the training images; empty for none.
        epochs_without_augmentation: the number of last epochs without augmentation, to fit unaugmented images.
        eager: run each step operation by operation instead of compiled.
        steps_per_epoch: number of steps that count as an epoch where examples are drawn at random, such as windows of a
            text; else 0.
        shards: cut each batch into this number of shards, to train on several ranks (see `distributed`); 0 for none.
    """

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    augment: dict[str, float] = field(default_factory=dict)
    epochs_without_augmentation: int = 0
    eager: bool = False
    steps_per_epoch: int = 0
    shards: int = 0


@dataclass(frozen=True)
class Model:
    """A registered model.

    Attributes:
        name: the name on the command line.
        build: builds the network; its keyword-only parameters are `generator` and the options, which a run records.
        summary: a one-line description.
        recipe: the default training settings.
        loss: maps outputs and labels (N,), or logits (N, T, V) and next tokens (N, T), or predicted and true numbers
            (N, 1), to a scalar.
        probabilities: maps outputs to class probabilities (N, classes), or (N, T, V); predicted numbers remain.
        task: what the model reads, such as "images" (see `Task`).
    """

    name: str
    build: NetworkBuilder
    summary: str
    recipe: Recipe
    loss: Callable[[Tensor, Tensor], Tensor]
    probabilities: Callable[[Tensor], Tensor]
    task: Task = "images"
    confidences = property(lambda self: self.probabilities)  # the former name


REGISTRY: dict[str, Model] = {}

ALIASES = {"network": "sigmoid_mlp"}
"""Former names of models, still found in old runs and scripts, and their current names."""

MAX_PARAMETERS = 10_000_000
"""Limit for models built by name: an untrusted config or image folder must not allocate gigabytes.

An `mlp` with 128 hidden neurons is below it for images of up to 279×279 pixels."""

MOST_PARAMETERS = MAX_PARAMETERS  # the former name

MAX_INPUTS = 500_000
"""Limit on the pixels of an image: a convolution's outputs take memory that the number of parameters does not show."""


def register(
    summary: str,
    recipe: Recipe,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    probabilities: Callable[[Tensor], Tensor] = softmax,
    task: Task = "images",
) -> Callable[[NetworkBuilder], NetworkBuilder]:
    """Return a decorator that registers the function that builds a model, under its name; arguments as in `Model`."""

    def add(build: NetworkBuilder) -> NetworkBuilder:
        name = build.__name__
        if name in REGISTRY or name in ALIASES:
            raise ValueError(f"a model named {name!r} is already registered")
        REGISTRY[name] = Model(name, build, summary, recipe, loss, probabilities, task)
        return build

    return add


def get(name: str) -> Model:
    """Return a registered model by its name or a former one.

    Raises:
        RunError: there is no such model; the message lists the registered ones.
    """
    name = ALIASES.get(name, name)
    if name not in REGISTRY:
        raise RunError(f"unknown model {name!r}; choose from {', '.join(REGISTRY)}")
    return REGISTRY[name]


def build(
    name: str, options: Mapping[str, Any] | None = None, *, generator: np.random.Generator | None = None
) -> Module:
    """Build a model by name, with checked options.

    Args:
        name: the name of the model.
        options: keyword arguments of its builder, e.g. {"hidden": 128}.
        generator: source of the initial weights.

    Raises:
        RunError: there is no such model or option, a value has a type other than the default's or is below 1, or the
            network would exceed `MAX_PARAMETERS` or `MAX_INPUTS`.
    """
    model, options = get(name), options or {}
    defaults = {n: p.default for n, p in inspect.signature(model.build).parameters.items() if n != "generator"}
    for option, value in options.items():
        if option not in defaults:
            raise RunError(f"model {name!r} has no option {option!r}; it has {', '.join(defaults)}")
        if type(value) is not type(defaults[option]):
            expected = type(defaults[option]).__name__
            raise RunError(
                f"model {name!r}: option {option} must be of type {expected}, like {defaults[option]!r}, not {value!r}"
            )
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise RunError(f"model {name!r}: option {option} must be at least 1, not {value}")
    _check_size(model, options)
    return model.build(generator=generator, **options)


def _check_size(model: Model, options: Mapping[str, Any]) -> None:
    """Check the number of parameters and inputs, without allocating memory for them.

    Raises:
        RunError: there are too many.
    """
    remedy = "models by name are small; build a larger network with chainrule.nn"
    try:
        with skip_init():
            count = sum(parameter.numel() for parameter in model.build(**options).parameters())
    except (MemoryError, ValueError) as error:  # ValueError: NumPy refuses arrays that are too large to address
        if isinstance(error, RunError):
            raise
        count = MAX_PARAMETERS + 1
    if count > MAX_PARAMETERS:
        sizes = ", ".join(f"{name} {_short(value)}" for name, value in options.items())
        raise RunError(
            f"model {model.name!r} would have more than {MAX_PARAMETERS:,} parameters with {sizes}: {remedy}"
        )
    if options.get("inputs", 0) > MAX_INPUTS:
        raise RunError(
            f"model {model.name!r} would have more than {MAX_INPUTS:,} inputs, {options['inputs']:,}: {remedy}"
        )


def _short(value: object) -> str:
    """Format an option for a message."""
    return f"{value:,}" if isinstance(value, int) and value < 10**15 else "far too large"


PIXEL_SCALE = 1 / 255
"""Scale from a pixel value, 0 to 255, to a model's input, 0 to 1."""

PIXEL = PIXEL_SCALE  # the former name


def images_to_inputs(images: Tensor) -> Tensor:
    """Convert images (N, H, W), uint8 from 0 to 255, to the models' input, float32 from 0 to 1."""
    return images * PIXEL_SCALE
