"""Describes a weight and a δ for the Microscope."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import UserError
from chainrule.studio.microscope.code import program
from chainrule.training.optimizers import CombinedOptimizer, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.explain.backpropagation import (
        Backpropagation,
        ErrorEquation,
        GradientEquation,
        LayerPass,
    )
    from chainrule.explain.terms import Factors
    from chainrule.studio.microscope.subjects import Subject

    Answer = tuple[dict[str, Any], list[bytes]]

MAX_MAPS = 64
"""The most channels of an operation's value that are shown."""


@dataclass(frozen=True)
class Specimen:
    """A network and an image, with the passes forward and backward.

    Attributes:
        subject: the network, and the images to choose from.
        image: the image's number.
        pixels: the image's raw pixels.
        target: the class that is taken for right.
        is_assumed: whether `target` is the network's prediction, because the right class is not known.
        passed: the forward and the backward pass.
    """

    subject: Subject
    image: int
    pixels: NDArray[np.uint8]
    target: int
    is_assumed: bool
    passed: Backpropagation


def look(specimen: Specimen, weight: str, at: Sequence[object], layer: str, unit: Sequence[object]) -> Answer:
    """Describe a weight and a δ; an empty name stands for the weight or the δ that is shown first.

    The arrays of the answer: the image, the weights of the unit that the weight belongs to, the terms of the weight's
    gradient, and for each path of the δ the terms that arrive on it.

    Args:
        specimen: the network and the image.
        weight: the name of the parameter.
        at: the weight's index in the parameter.
        layer: the layer of the δ.
        unit: the index of the δ in the layer's output.

    Raises:
        UserError: there is no such weight or δ, or a number is not finite.
    """
    subject, passed = specimen.subject, specimen.passed
    if not weight:
        weight, at = _first_weight(passed, specimen.target)
    try:
        gradient = passed.weight(weight, _integers(at))
        if not layer:
            layer, unit = gradient.layer, _largest(gradient)
        error = passed.error(layer, _integers(unit)) if len(unit) else None
    except (ValueError, IndexError, TypeError) as fault:
        raise UserError(str(fault)) from fault
    description = {
        "image": {
            "shape": specimen.pixels.shape,
            "number": specimen.image,
            "count": len(subject.images),
            "target": specimen.target,
            "isAssumed": specimen.is_assumed,
        },
        "network": {
            "name": subject.name,
            "about": _about(subject),
            "classes": subject.classes,
            "layers": [_layer(passed, each) for each in passed.layers if each.terms is not None],
        },
        "cost": passed.cost,
        "says": int(np.argmax(passed.output)),
        "weight": _weight(subject, passed, gradient),
        "unit": None if error is None else _unit(passed, error),
        "operations": [
            {
                "name": each.name,
                "layer": each.layer,
                "inputs": each.inputs,
                "shape": each.value.shape,
                "value": _range(each.value),
                "gradient": _range(each.gradient),
            }
            for each in passed.operations
        ],
        "code": program(
            subject.name,
            subject.run,
            specimen.image,
            specimen.target,
            weight,
            gradient.index,
            error,
            digits=subject.takes_digits,
        ),
    }
    if not _is_finite(description):
        raise UserError(f"{subject.name}: a number is beyond those of float64; the network's weights are too large")
    arrays = [specimen.pixels.astype(np.float64), _unit_weights(passed, gradient)]
    arrays += [*_terms(gradient.deltas), *_terms(gradient.activations)]
    for path in [] if error is None else error.paths:
        if path.weights is not None and path.deltas is not None:
            arrays += [*_terms(path.weights), *_terms(path.deltas)]
    return description, [array.tobytes() for array in arrays]


def _weight(subject: Subject, passed: Backpropagation, gradient: GradientEquation) -> dict[str, Any]:
    """Describe a weight: its slope, the finite difference, and the step that the optimizer would take."""
    difference = passed.finite_difference(gradient.name, gradient.index)
    left, right = difference.one_sided
    after = passed.updated(gradient.name, gradient.index, lambda network: make_optimizer(network, subject.recipe))
    return {
        "name": gradient.name,
        "index": gradient.index,
        "layer": gradient.layer,
        "value": gradient.value,
        "gradient": gradient.gradient,
        "sum": gradient.sum,
        "equation": 2 if gradient.is_output else 4,
        "isBias": gradient.name.endswith(".bias"),
        "origin": _origin(passed, gradient),
        "difference": {
            **asdict(difference),
            "slope": difference.slope,
            "off": difference.difference,
            "left": left,
            "right": right,
        },
        "update": {**_rule(subject, gradient.name), "after": after},
    }


def _unit(passed: Backpropagation, error: ErrorEquation) -> dict[str, Any]:
    """Describe a δ and the paths that lead from its neuron to the next layer."""
    return {
        "layer": error.layer,
        "index": error.index,
        "z": error.z,
        "delta": error.delta,
        "sum": error.sum,
        "equation": 1 if error.is_output else 3,
        "next": error.next_layer,
        "ways": [
            {
                "factor": path.factor,
                "arriving": path.arriving,
                "prediction": path.prediction,
                "target": path.target,
                "isSoftmax": passed.predictions is not passed.output,
                "steps": [asdict(step) for step in path.steps],
                "count": 0 if path.weights is None else len(path.weights.values),
            }
            for path in error.paths
        ],
    }


def operation(passed: Backpropagation, position: int) -> Answer:
    """Return the value and the gradient of an operation, as pictures: at most `MAX_MAPS` channels, float32."""
    if not 0 <= position < len(passed.operations):
        raise UserError(f"there is no operation {position:,}: they are numbered from 0 to {len(passed.operations) - 1}")
    chosen = passed.operations[position]
    maps = [_maps(array) for array in (chosen.value, chosen.gradient)]
    return {"operation": position, "shape": maps[0].shape}, [array.astype(np.float32).tobytes() for array in maps]


def _maps(array: NDArray[Any]) -> NDArray[Any]:
    """Return an operation's value of one example as maps (C, H, W)."""
    if array.ndim > 2:
        return array.reshape(-1, *array.shape[-2:])[:MAX_MAPS]
    return array.reshape(1, 1, -1)


def _integers(index: Sequence[object]) -> list[int]:
    if not all(type(i) is int for i in index):
        raise UserError(f"an index is a list of integers, not {str(index)[:60]}")
    return list(index)  # type: ignore[arg-type]  # checked above


def _first_weight(passed: Backpropagation, target: int) -> tuple[str, list[int]]:
    """Return the weight to show first: in the last layer that sums, to the right class, from the largest activation."""
    for layer in reversed(passed.layers):
        if layer.terms is not None and layer.terms.mixes:
            weight = passed.parameters[f"{layer.name}.weight"]
            if weight.ndim == 2:
                return f"{layer.name}.weight", [min(target, len(weight) - 1), int(np.argmax(np.abs(layer.input)))]
            return f"{layer.name}.weight", [0] * weight.ndim
    raise UserError("this network has no layer with weights")


def _largest(gradient: GradientEquation) -> tuple[int, ...]:
    """Return the index of the δ in the largest term of a gradient; () if there are no terms."""
    products = np.abs(gradient.deltas.values * gradient.activations.values)
    return tuple(map(int, gradient.deltas.indices[int(np.argmax(products))])) if products.size else ()


def _unit_weights(passed: Backpropagation, gradient: GradientEquation) -> NDArray[np.float64]:
    """Return the weights of the neuron or filter that a weight belongs to; for batch normalization, all weights."""
    weights = passed.parameters[f"{gradient.layer}.weight"]
    return np.ascontiguousarray(weights[gradient.index[0]] if weights.ndim > 1 else weights)


def _layer(passed: Backpropagation, layer: LayerPass) -> dict[str, Any]:
    """Describe a layer with weights; `from` is the shape that its inputs had before they were flattened."""
    shape = layer.input.shape
    for before in reversed(passed.layers[: passed.layers.index(layer)]):
        if len(shape) > 1 or before.terms is not None or before.input.size != layer.input.size:
            break
        shape = before.input.shape
    bias = passed.parameters.get(f"{layer.name}.bias")
    return {
        "name": layer.name,
        "kind": type(layer.module).__name__,
        "mixes": layer.terms is not None and layer.terms.mixes,
        "weight": passed.parameters[f"{layer.name}.weight"].shape,
        "bias": bias is not None,
        "input": layer.input.shape,
        "from": shape,
        "output": layer.output.shape,
    }


def _origin(passed: Backpropagation, gradient: GradientEquation) -> dict[str, Any] | None:
    """Return the z that the first term's activation is computed from; None for a bias, and for a pixel of the image."""
    if gradient.name.endswith(".bias") or not len(gradient.activations.indices):
        return None
    origin = passed.origin(gradient.layer, gradient.activations.indices[0].tolist())
    return None if origin is None else {"layer": origin[0], "index": origin[1]}


def _terms(factors: Factors) -> list[NDArray[Any]]:
    return [factors.values.astype(np.float64), factors.indices.astype(np.int32)]


def _range(array: NDArray[Any]) -> list[float]:
    return [float(array.min()), float(array.max())]


def _is_finite(description: Any) -> bool:
    if isinstance(description, dict):
        return all(map(_is_finite, description.values()))
    if isinstance(description, (list, tuple)):
        return all(map(_is_finite, description))
    return not isinstance(description, float) or math.isfinite(description)


def _about(subject: Subject) -> str:
    if subject.run is None:
        return f"{subject.model.name} before any training, with random weights"
    result = subject.run.result
    if result is None or "test_accuracy" not in result:
        return subject.model.name
    return f"{subject.model.name}, which reads {result['test_accuracy']:.2%} of its test images right"


def _rule(subject: Subject, name: str) -> dict[str, Any]:
    """Return the name, the learning rate and the rule of a parameter's optimizer; the rule is from its docstring."""
    optimizer = make_optimizer(subject.network, subject.recipe)
    parameter = dict(subject.network.named_parameters())[name]
    if isinstance(optimizer, CombinedOptimizer):
        owners = {id(p): part for part in optimizer.optimizers for g in part.param_groups for p in g["params"]}
        optimizer = owners.get(id(parameter), optimizer)
    rule = (type(optimizer).__doc__ or "").partition("\n\n")[0]
    return {"optimizer": type(optimizer).__name__, "rate": subject.recipe.lr, "rule": " ".join(rule.split())}
