"""A playground's settings: read from the page's state and checked, and the tables of values to choose from."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data import toys
from chainrule.errors import UserError, join_names, shorten
from chainrule.studio.playground.points import decode_points

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

MAX_CLASSES = 4
MAX_COUNT = 1000  # points, in the data and in a batch
MAX_LAYERS = 6  # hidden layers
MAX_WIDTH = 8  # neurons in a hidden layer
MAX_STEPS = 1_000_000
"""The most steps of a run: a run that was dropped is repeated from its start."""


@dataclass(frozen=True)
class Data:
    """A kind of data.

    Attributes:
        function: the function of `chainrule.data.toys`, or None for the person's own points.
        has_classes: whether the targets are classes; otherwise they are values.
        has_class_count: whether the number of classes can be chosen.
    """

    function: Callable[..., Any] | None
    has_classes: bool = True
    has_class_count: bool = False


@dataclass(frozen=True)
class Feature:
    """An input of the network.

    Attributes:
        symbol: its name on the page.
        code: the expression for it in Python.
        function: computes it from x₁ and x₂.
    """

    symbol: str
    code: str
    function: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


DATA = {
    "circles": Data(toys.circles, has_class_count=True),
    "spirals": Data(toys.spirals, has_class_count=True),
    "xor": Data(toys.xor),
    "moons": Data(toys.moons),
    "blobs": Data(toys.blobs, has_class_count=True),
    "points": Data(None, has_class_count=True),
    "plane": Data(toys.plane, has_classes=False),
    "hills": Data(toys.hills, has_classes=False),
    "values": Data(None, has_classes=False),
}
FEATURES = {
    "x1": Feature("x₁", "x1", lambda x1, x2: x1),
    "x2": Feature("x₂", "x2", lambda x1, x2: x2),
    "x1x1": Feature("x₁²", "x1 * x1", lambda x1, x2: x1 * x1),
    "x2x2": Feature("x₂²", "x2 * x2", lambda x1, x2: x2 * x2),
    "x1x2": Feature("x₁x₂", "x1 * x2", lambda x1, x2: x1 * x2),
    "sin1": Feature("sin πx₁", "np.sin(np.pi * x1)", lambda x1, x2: np.sin(np.pi * x1)),
    "sin2": Feature("sin πx₂", "np.sin(np.pi * x2)", lambda x1, x2: np.sin(np.pi * x2)),
}
ACTIVATIONS = {
    "tanh": "Tanh", "relu": "ReLU", "sigmoid": "Sigmoid", "leaky_relu": "LeakyReLU", "gelu": "GELU", "elu": "ELU",
    "selu": "SELU", "silu": "SiLU", "mish": "Mish", "softplus": "Softplus", "softsign": "Softsign",
    "linear": "Identity",
}  # fmt: skip
"""The classes of `chainrule.nn`."""
OPTIMIZERS: dict[str, tuple[str, dict[str, float]]] = {
    "adam": ("Adam", {}), "sgd": ("SGD", {}), "momentum": ("SGD", {"momentum": 0.9}), "adamw": ("AdamW", {}),
    "rmsprop": ("RMSprop", {}), "nadam": ("NAdam", {}), "radam": ("RAdam", {}), "adamax": ("Adamax", {}),
    "adagrad": ("Adagrad", {}), "adadelta": ("Adadelta", {}), "lion": ("Lion", {}),
}  # fmt: skip
"""The classes of `chainrule.optim`, with their options."""


@dataclass(frozen=True)
class Setup:
    """Everything that determines a run: equal settings give bitwise identical results.

    Attributes:
        data: a key of `DATA`.
        classes: number of classes; 0 if the targets are values.
        count: number of points of generated data.
        noise: the noise of generated data, as in `chainrule.data.toys`.
        train: percentage of the points that the network trains on; the others are for validation.
        seed: seed of the data and of their split.
        own: the person's own points, as `points.encode_points` writes them.
        features: keys of `FEATURES`, the network's inputs.
        layers: the widths of the hidden layers.
        activation: a key of `ACTIVATIONS`.
        start: seed of the initial weights and of the order of the batches.
        optimizer: a key of `OPTIMIZERS`.
        rate: the learning rate.
        decay: the weight decay.
        batch: number of points in a batch; 0 for all.
    """

    data: str = "circles"
    classes: int = 2
    count: int = 200
    noise: float = 0.05
    train: int = 80
    seed: int = 0
    own: str = ""
    features: tuple[str, ...] = ("x1", "x2")
    layers: tuple[int, ...] = (4, 2)
    activation: str = "tanh"
    start: int = 0
    optimizer: str = "adam"
    rate: float = 0.03
    decay: float = 0.0
    batch: int = 16

    @property
    def outputs(self) -> int:
        """Number of output neurons: one for two classes or for a value; otherwise one for each class."""
        return self.classes if self.classes > 2 else 1

    def points(self) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Return the points, (N, 2), their targets, (N,), and the indices for training and for validation."""
        generator = np.random.default_rng(self.seed)
        data = DATA[self.data]
        if data.function is None:
            points, targets = decode_points(self.own, self.classes)
        else:
            classes = {"classes": self.classes} if data.has_class_count else {}
            points, targets = data.function(self.count, **classes, noise=self.noise, generator=generator)
        order = generator.permutation(len(points))
        end = self.training_count(len(points))
        return points, targets, order[:end], order[end:]

    def training_count(self, count: int) -> int:
        """Return how many of `count` points are for training."""
        return max(1, count * self.train // 100)

    def inputs(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's inputs for points (N, 2): (N, features)."""
        x1, x2 = points.T
        return np.stack([FEATURES[name].function(x1, x2) for name in self.features], axis=1)


def read_setup(state: Mapping[str, Any]) -> Setup:
    """Read the page's state, which may leave out settings that have their default.

    Raises:
        UserError: a value is invalid; the message says which values are valid.
    """
    unknown = sorted(str(name) for name in state.keys() - {field.name for field in dataclasses.fields(Setup)})
    if unknown:
        raise UserError(f"the playground has no setting {shorten(unknown[0], 40)!r}")
    default = Setup()
    data = _choice("data", state.get("data", default.data), DATA)
    kind = DATA[data]
    setup = Setup(
        data=data,
        classes=_integer("classes", state.get("classes", 2), 2, MAX_CLASSES) if kind.has_classes else 0,
        count=_integer("count", state.get("count", default.count), 2, MAX_COUNT),
        noise=_number("noise", state.get("noise", default.noise), 0, 1),
        train=_integer("train", state.get("train", default.train), 1, 100),
        seed=_integer("seed", state.get("seed", default.seed), 0, 2**31),
        own=_text("own", state.get("own", default.own)),
        features=_features(state.get("features", default.features)),
        layers=_layers(state.get("layers", default.layers)),
        activation=_choice("activation", state.get("activation", default.activation), ACTIVATIONS),
        start=_integer("start", state.get("start", default.start), 0, 2**31),
        optimizer=_choice("optimizer", state.get("optimizer", default.optimizer), OPTIMIZERS),
        rate=_number("rate", state.get("rate", default.rate), 0, 1e6),
        decay=_number("decay", state.get("decay", default.decay), 0, 1e6),
        batch=_integer("batch", state.get("batch", default.batch), 0, MAX_COUNT),
    )
    if kind.has_classes and setup.classes > 2 and not kind.has_class_count:
        raise UserError(f"{data} has two classes, not {setup.classes}")
    if kind.function is None:
        decode_points(setup.own, setup.classes)
    return setup


def _choice(name: str, value: object, choices: Mapping[str, Any]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{name} is {_shown(value)}; choose from {join_names(list(choices), limit=20)}")
    return value


def _shown(value: object) -> str:
    return shorten(repr(value), 40)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name} must be text, not {_shown(value)}")
    return value


def _number(name: str, value: object, low: float, high: float) -> float:
    """Read a number, which may be written as text, as in an address."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # raises TypeError
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise UserError(f"{name} must be a number from {low:g} to {high:,.12g}, not {_shown(value)}")
    return number


def _integer(name: str, value: object, low: int, high: int) -> int:
    try:
        number = _number(name, value, low, high)
        if number != int(number):
            raise UserError
    except UserError:
        raise UserError(f"{name} must be a whole number from {low} to {high:,}, not {_shown(value)}") from None
    return int(number)


def _features(value: object) -> tuple[str, ...]:
    """Read the features, in the order of the table: "x1-x2"."""
    names = value.split("-") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [""]
    wrong = [name for name in names if not isinstance(name, str) or name not in FEATURES]
    if wrong:
        choices = f"choose from {', '.join(FEATURES)}"
        if names == [""]:
            raise UserError(f"the network has no inputs; {choices}")
        raise UserError(f"there is no input {_shown(wrong[0])}; {choices}")
    return tuple(name for name in FEATURES if name in names)


def _layers(value: object) -> tuple[int, ...]:
    """Read the widths of the hidden layers: "4-2", or "" for none."""
    parts = value.split("-") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    widths = [] if parts == [""] else parts
    if len(widths) > MAX_LAYERS:
        raise UserError(f"a network has at most {MAX_LAYERS} hidden layers here, not {len(widths)}")
    return tuple(_integer("the number of neurons in a layer", width, 1, MAX_WIDTH) for width in widths)
