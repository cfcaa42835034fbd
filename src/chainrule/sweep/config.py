"""The config file of a sweep, in TOML or JSON.

    model = "mlp"
    data = "mnist"
    limit = 5000
    trials = 20

    [training]                                        # as in a run's config.json
    epochs = 4
    lr = { low = 0.001, high = 0.1, log = true }      # a range
    batch_size = [64, 128, 256]                       # choices
    optimizer = ["adamw", "sgd"]
    momentum = { low = 0.0, high = 0.95 }             # proposed only with an optimizer that has one

    [options]                                         # of the model
    hidden = { low = 32, high = 256, step = 32 }

A list is always a list of choices; what is neither a list nor a range is the same in all trials.
"""

from __future__ import annotations

import inspect
import json
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from chainrule import models
from chainrule.errors import RunError, join_names, shorten
from chainrule.files import open_regular
from chainrule.models import Recipe
from chainrule.training.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

FORMATS = (".toml", ".json")
PRUNING = ("median", "hyperband", "none")
SAMPLERS = ("tpe", "random")
_MAX_BYTES = 1_000_000
_MAX_TRIALS = 100_000

Number = int | float


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included.

    Attributes:
        low: the lowest number.
        high: the highest number.
        log: whether the logarithm of the number is uniformly distributed, instead of the number.
        step: the distance between neighbors, counted from `low`; None for all numbers.
        is_integer: whether the numbers are integers.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None
    is_integer: bool = False

    @property
    def samples(self) -> tuple[Any, ...]:
        """The two ends, by which a range is checked."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """A list of values, of which each trial gets one."""

    values: tuple[Any, ...]

    @property
    def samples(self) -> tuple[Any, ...]:
        """All values."""
        return self.values


@dataclass(frozen=True)
class SweepConfig:
    """The settings of a sweep.

    Attributes:
        file: the config file.
        trials: the number of trials.
        model: the name of the model.
        data: as `--data` of `chainrule train`; None for the model's default.
        seed: seed of the proposals, and of each trial's training.
        limit: train on the first `limit` images or tokens; None for all.
        image_size: for a folder of pictures: the side in pixels.
        validation: how many of the training images are held back for validation; None for the usual number.
        bpe: for a text: the number of byte-pair tokens.
        sampler: "tpe" (tree-structured Parzen estimator) or "random".
        pruning: "median", "hyperband" or "none".
        fixed: the settings that are the same in all trials, by path: "training.epochs", "options.hidden".
        searched: the settings that differ, by path.
    """

    file: str
    trials: int
    model: str
    data: str | None
    seed: int
    limit: int | None
    image_size: int | None
    validation: int | None
    bpe: int | None
    sampler: str
    pruning: str
    fixed: Mapping[str, Any]
    searched: Mapping[str, Range | Choices]

    def describe(self) -> dict[str, Any]:
        """Return the config without the number of trials, as JSON: it must be the same when a sweep is continued."""
        searched = {
            path: list(space.values) if isinstance(space, Choices) else {**vars(space)}
            for path, space in self.searched.items()
        }
        names = ("model", "data", "seed", "limit", "image_size", "validation", "bpe", "sampler", "pruning")
        description = {name: getattr(self, name) for name in names} | dict(self.fixed) | searched
        stored: dict[str, Any] = json.loads(json.dumps(description))  # as it is read back
        return stored

    def applies(self, path: str, proposed: Mapping[str, Any]) -> bool:
        """Whether a setting has an effect together with a trial's other settings: an optimizer may have no momentum.

        Args:
            path: the setting, momentum or weight decay for example.
            proposed: the settings proposed so far, by path.
        """
        name = proposed.get("training.optimizer", self.fixed.get("training.optimizer"))
        optimizer = OPTIMIZERS[models.get(self.model).recipe.optimizer if name is None else name]
        has = {"training.momentum": optimizer.has_momentum, "training.weight_decay": optimizer.has_weight_decay}
        return has.get(path, True)

    def applicable(self, proposed: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of a trial's settings, by path, that have an effect together."""
        return {path: value for path, value in proposed.items() if self.applies(path, proposed)}

    def settings(self, proposed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a trial's changes to the recipe and its options of the model, from the proposed settings by path."""
        training: dict[str, Any] = {}
        options: dict[str, Any] = {}
        everything = {**self.fixed, **proposed}
        if "training.optimizer" in self.searched:
            everything = self.applicable(everything)  # a fixed momentum is for the optimizers that have one
        for path, value in everything.items():
            group, name, *rest = path.split(".")
            if rest:  # training.augment.NAME
                training.setdefault(name, {})[rest[0]] = value
            else:
                (training if group == "training" else options)[name] = value
        return training, options


def read_config(path: str | os.PathLike[str]) -> SweepConfig:
    """Read the config file of a sweep.

    Raises:
        RunError: the file cannot be read, or a key or a value is wrong; the message names them.
    """
    path = Path(path)
    content = _parse(path)
    try:
        return _config(str(path), content)
    except RunError as error:
        raise RunError(f"{path}: {error}") from None


def _parse(path: Path) -> dict[str, Any]:
    if path.suffix.lower() not in FORMATS:
        raise RunError(f"{path}: a sweep's config is a file in TOML or JSON, named .toml or .json")
    try:
        with open_regular(path) as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > _MAX_BYTES:
        raise RunError(f"{path}: is larger than {_MAX_BYTES:,} bytes")
    try:
        text = content.decode("utf-8")
        parsed = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = path.suffix[1:].upper()
        raise RunError(f"{path}: is not {kind} ({shorten(str(error))})") from None
    if not isinstance(parsed, dict):
        raise RunError(f"{path}: must hold an object, not {type(parsed).__name__}")
    return parsed


def _config(file: str, content: dict[str, Any]) -> SweepConfig:
    kinds: dict[str, Any] = {
        **dict.fromkeys(("trials", "seed", "limit", "image_size", "validation", "bpe"), int),
        **dict.fromkeys(("model", "data", "sampler", "pruning"), str),
        **dict.fromkeys(("training", "options"), dict),
    }
    for name, value in content.items():
        if name not in kinds:
            raise RunError(f"{_hint(name)}; the keys are {', '.join(kinds)}")
        _check_kind(name, value, kinds[name])
    if not 1 <= content.get("trials", 1) <= _MAX_TRIALS:
        raise RunError(f"trials must be from 1 to {_MAX_TRIALS:,}, not {content['trials']:,}")
    for name, choices in (("sampler", SAMPLERS), ("pruning", PRUNING)):
        if content.get(name, choices[0]) not in choices:
            raise RunError(f"{name} must be one of {', '.join(choices)}, not {content[name]!r}")
    model = models.get(content.get("model", "mlp"))
    defaults = {n: p.default for n, p in inspect.signature(model.build).parameters.items() if n != "generator"}
    recipe_kinds = {name: kind for name, kind in get_type_hints(Recipe).items() if name != "augment"}
    option_kinds = {name: type(default) for name, default in defaults.items()}
    fixed: dict[str, Any] = {}
    searched: dict[str, Range | Choices] = {}
    for path, value, kind in _settings(content, model.name, recipe_kinds, option_kinds):
        space = _space(path, value, kind)
        if isinstance(space, (Range, Choices)):
            searched[path] = space
        else:
            fixed[path] = space
    if not searched:
        raise RunError("nothing is searched: give a setting of [training] or [options] a range or a list of choices")
    first = "training.optimizer"  # others depend on it
    searched = {path: searched[path] for path in sorted(searched, key=lambda path: path != first)}
    return SweepConfig(
        file=file,
        trials=content.get("trials", 20),
        model=model.name,
        data=content.get("data"),
        seed=content.get("seed", 0),
        limit=content.get("limit"),
        image_size=content.get("image_size"),
        validation=content.get("validation"),
        bpe=content.get("bpe"),
        sampler=content.get("sampler", SAMPLERS[0]),
        pruning=content.get("pruning", PRUNING[0]),
        fixed=fixed,
        searched=searched,
    )


def _settings(
    content: Mapping[str, Any], model: str, recipe_kinds: Mapping[str, Any], option_kinds: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield each setting of the file: its path, its value, a range or choices, and the type of its values."""
    for name, value in content.get("training", {}).items():
        if name == "augment":
            _check_kind("training.augment", value, dict)
            yield from ((f"training.augment.{part}", number, float) for part, number in value.items())
        elif name in recipe_kinds:
            yield f"training.{name}", value, recipe_kinds[name]
        else:
            names = ", ".join(field.name for field in fields(Recipe))
            raise RunError(f"{_hint(f'training.{name}')}; the settings are {names}")
    for name, value in content.get("options", {}).items():
        if name not in option_kinds:
            raise RunError(f"{_hint(f'options.{name}')}; model {model!r} has {join_names(list(option_kinds))}")
        yield f"options.{name}", value, option_kinds[name]


def _hint(name: str) -> str:
    return f"there is no key {shorten(name)!r}"


_RANGE_KEYS = ("low", "high", "log", "step")


def _space(path: str, value: Any, kind: Any) -> Any:
    """Return a range, choices, or the one value of all trials."""
    if isinstance(value, dict):
        return _range(path, value, kind)
    if not isinstance(value, list):
        return _typed(path, value, kind)
    values = tuple(_typed(f"{path}[{i}]", part, kind) for i, part in enumerate(value))
    if not values:
        raise RunError(f"{path} has no choices")
    for i, part in enumerate(values):
        if part in values[:i]:
            raise RunError(f"{path} has the choice {part!r} twice")
    return Choices(values)


def _range(path: str, value: dict[str, Any], kind: Any) -> Range:
    unknown = [name for name in value if name not in _RANGE_KEYS]
    missing = [name for name in ("low", "high") if name not in value]
    if unknown or missing:
        fault = f"has unknown {join_names(unknown)}" if unknown else f"lacks {join_names(missing)}"
        raise RunError(f"{path} {fault}: a range has low and high, and may have log or step")
    if kind not in (int, float):
        raise RunError(f"{path} cannot be a range, as its values are of type {kind.__name__}: give a list of choices")
    low, high = (_typed(f"{path}.{name}", value[name], kind) for name in ("low", "high"))
    log, step = value.get("log", False), value.get("step")
    _check_kind(f"{path}.log", log, bool)
    if step is not None:
        step = _typed(f"{path}.step", step, kind)
    if not low < high:
        raise RunError(f"{path}: low must be below high, not {low} and {high}")
    if log and not low > 0:
        raise RunError(f"{path}: low must be above 0 with log = true, not {low}")
    if log and step is not None:
        raise RunError(f"{path}: a range has log or step, not both")
    if step is not None and not 0 < step <= high - low:
        raise RunError(f"{path}: step must be above 0 and at most {high - low}, not {step}")
    return Range(low, high, log, step, kind is int)


def _typed(path: str, value: Any, kind: Any) -> Any:
    """Return a value of a type; an integer is also a float."""
    _check_kind(path, value, kind)
    return float(value) if kind is float else value


_WORDS = {int: "an integer", float: "a number", str: "a text", bool: "true or false", dict: "a table"}


def _check_kind(path: str, value: Any, kind: Any) -> None:
    fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if fits and kind is float:
        fits = abs(value) <= sys.float_info.max  # neither NaN nor infinite, nor an integer too large for a float
    if not fits:
        raise RunError(f"{path} must be {_WORDS.get(kind, kind.__name__)}, not {shorten(repr(value))}")
