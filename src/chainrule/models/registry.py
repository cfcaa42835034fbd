"""The models that the command line knows by name: how each is built, what it learns by, and a recipe that works.

A file never names code: a run's `config.json` says "mlp", and this is where that becomes a network.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chainrule.errors import RunError
from chainrule.nn.functional import cross_entropy, softmax
from chainrule.nn.init import skip_init

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from chainrule.nn import Module
    from chainrule.tensor import Tensor

    Build = Callable[..., Module]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained unless told otherwise.

    Attributes:
        epochs: passes through the training images.
        batch_size: images a step.
        optimizer: "sgd", "adam" or "adamw".
        lr: the learning rate; with a schedule, the highest.
        momentum: of "sgd".
        weight_decay: of any.
        schedule: "constant", "cosine" or "one-cycle".
        augment: the settings of `data.Augment`, by which each picture is changed a little before it is learned from.
        plain_epochs: so many epochs at the end are without it, for the pictures to be read later will be plain, too.
        eager: whether each step runs operation by operation instead of compiled.
    """

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    augment: dict[str, float] = field(default_factory=dict)
    plain_epochs: int = 0
    eager: bool = False


@dataclass(frozen=True)
class Model:
    """A model by name.

    Attributes:
        name: as on the command line.
        build: makes the network; its keyword-only parameters are the options a run may record, and `generator`.
        summary: one line about it.
        recipe: how it is trained.
        loss: from outputs and labels (N,) to one number.
        probabilities: from outputs to probabilities (N, classes) that sum to 1.
    """

    name: str
    build: Build
    summary: str
    recipe: Recipe
    loss: Callable[[Tensor, Tensor], Tensor]
    probabilities: Callable[[Tensor], Tensor]


REGISTRY: dict[str, Model] = {}

ALIASES = {"network": "sigmoid_mlp"}
"""Old names of models, which old runs and command lines hold, with the new ones."""

MOST_PARAMETERS = 10_000_000
"""Of a model built by name: a run's config and a folder of images come from outside, and must not take gigabytes.

An `mlp` of 128 neurons comes to it with images of 279×279."""

MOST_INPUTS = 500_000
"""Pixels of an image, for a convolution's outputs take memory that no parameter tells of."""


def register(
    summary: str,
    recipe: Recipe,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    probabilities: Callable[[Tensor], Tensor] = softmax,
) -> Callable[[Build], Build]:
    """Make a model known by the name of the function below, which builds it; the arguments are those of `Model`."""

    def add(build: Build) -> Build:
        name = build.__name__
        if name in REGISTRY or name in ALIASES:
            raise ValueError(f"a model named {name!r} is registered already")
        REGISTRY[name] = Model(name, build, summary, recipe, loss, probabilities)
        return build

    return add


def get(name: str) -> Model:
    """The model of a name.

    Raises:
        RunError: there is none; the message lists those that there are.
    """
    name = ALIASES.get(name, name)
    if name not in REGISTRY:
        raise RunError(f"there is no model {name!r}; there are {', '.join(REGISTRY)}")
    return REGISTRY[name]


def build(
    name: str, options: Mapping[str, Any] | None = None, *, generator: np.random.Generator | None = None
) -> Module:
    """Build a model by name, with checked options.

    Args:
        name: of the model.
        options: what its builder takes, e.g. {"hidden": 128}; those left out are its defaults.
        generator: where its starting weights come from.

    Raises:
        RunError: no such model, an option it does not have, a value of another type than the option's default, or more
            than `MOST_PARAMETERS` or `MOST_INPUTS`.
    """
    model, options = get(name), options or {}
    known = {n: p.default for n, p in inspect.signature(model.build).parameters.items() if n != "generator"}
    for option, value in options.items():
        if option not in known:
            raise RunError(f"model {name!r} has no option {option!r}; it has {', '.join(known)}")
        if type(value) is not type(known[option]):
            wanted = type(known[option]).__name__
            raise RunError(
                f"model {name!r}: option {option} must be of type {wanted}, like {known[option]!r}, not {value!r}"
            )
        if isinstance(value, int) and value < 1:
            raise RunError(f"model {name!r}: option {option} must be at least 1, not {value}")
    _check_size(model, options)
    return model.build(generator=generator, **options)


def _check_size(model: Model, options: Mapping[str, Any]) -> None:
    """Count the parameters of a network that has not got any memory for them yet.

    Raises:
        RunError: they are too many, or its inputs are.
    """
    own = "models by name are for small images; build a larger network of your own with chainrule.nn"
    try:
        with skip_init():
            count = sum(parameter.numel() for parameter in model.build(**options).parameters())
    except (MemoryError, ValueError) as error:  # as NumPy says it of arrays that no memory could hold
        if isinstance(error, RunError):
            raise
        count = MOST_PARAMETERS + 1
    if count > MOST_PARAMETERS:
        sizes = ", ".join(f"{name} {_short(value)}" for name, value in options.items())
        raise RunError(f"model {model.name!r} would have more than {MOST_PARAMETERS:,} parameters with {sizes}: {own}")
    if options.get("inputs", 0) > MOST_INPUTS:
        raise RunError(
            f"model {model.name!r} would have more than {MOST_INPUTS:,} inputs, {options['inputs']:,}: {own}"
        )


def _short(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and value < 10**15 else "far too large"


PIXEL = 1 / 255
"""What makes of a pixel, 0 to 255, what the models want."""


def images_to_inputs(images: Tensor) -> Tensor:
    """Pixels as the models want them: (N, H, W) uint8, 0 to 255, to float32, 0 to 1."""
    return images * PIXEL
