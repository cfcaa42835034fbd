"""Neuron surgery: the accuracy of a network without some of its neurons.

A neuron is silent if it has no effect on the next layer: the weights that lead out of it are 0.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn
from chainrule.autograd import no_grad
from chainrule.capture import jit
from chainrule.errors import check
from chainrule.explain.layers import Layer, check_images, check_neurons, get_layer, layers
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training.evaluation import Evaluation, evaluate, evaluate_rows, images_per_batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from chainrule.models import Model
    from chainrule.tensor import Tensor

MAX_BYTES = 128_000_000
"""Limit on the outputs of layers that `Surgery` keeps: enough for 10,000 images in a small convolutional network."""

_EXACT = (
    nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.BatchNorm2d, nn.Dropout, nn.Flatten, nn.Identity,
)  # fmt: skip
"""Modules with which a compiled convolutional network is bitwise identical to the network itself. With others it need
not be: for few elements, NumPy computes the exponential function, and differs in the last bit."""


def silence(network: nn.Module, neurons: Mapping[int, Iterable[int]]) -> nn.Module:
    """Return a copy of a network in which some neurons are silent: the weights that lead out of them are 0.

        import numpy as np

        from chainrule import explain, models

        network = models.build("mlp", generator=np.random.default_rng(0))
        explain.silence(network, {0: [5, 7]})[3].weight[2, 5].item()  # 0.0

    Args:
        network: see `layers`; it is not changed.
        neurons: for the index of a layer, the neurons or filters to silence.

    Raises:
        TypeError, ValueError, IndexError: as `layers`; there is no such neuron, or it is an output, which no weights
            lead out of.
    """
    result = copy.deepcopy(network)
    parts = layers(result)
    for index, indices in _check("silence", parts, neurons).items():
        _silence(parts, index, indices)
    return result


class Surgery:
    """Measures a network without some of its neurons fast: compiled, and with the layers before them computed once.

    The result is bitwise identical to that of `training.evaluation.evaluate` for `silence(network, neurons)`. Here all
    neurons are silent, so all images get the same answer:

        import numpy as np

        from chainrule import explain, models

        images = np.random.default_rng(1).integers(0, 256, (30, 28, 28), np.uint8)
        network = models.build("mlp", generator=np.random.default_rng(0))
        surgery = explain.Surgery(network, models.get("mlp"), images, np.arange(30) % 10)
        surgery.evaluate({0: range(128)}).accuracy  # 0.1

    Args:
        network: see `layers`; it is copied.
        model: defines the loss and the probabilities.
        images: (N, height, width) or (N, channels, height, width), uint8.
        labels: (N,) integers.

    Raises:
        TypeError: as `layers`; or the images are not uint8, or the labels not integers.
        ValueError: as `layers`; or there are no images, or not one label for each.
    """

    def __init__(self, network: nn.Module, model: Model, images: NDArray[np.uint8], labels: NDArray[Any]) -> None:
        check_images("Surgery", images)
        self.model, self.images, self.labels = model, images, np.asarray(labels)
        shape, dtype = self.labels.shape, self.labels.dtype
        check("Surgery", dtype.kind in "iu", f"takes labels that are integers, not {dtype}", TypeError)
        check("Surgery", shape == (len(images),), f"takes a label for each of {len(images):,} images, not {shape}")
        self.layers = layers(copy.deepcopy(network).eval())  # a copy, whose weights are set to 0 and restored
        self._weights = [np.array(layer.weights.weight.detach().numpy()) for layer in self.layers]
        self._programs: dict[tuple[int, int], _Program] = {}
        self._outputs: dict[int, NDArray[Any]] = {}

    def evaluate(self, neurons: Mapping[int, Iterable[int]]) -> Evaluation:
        """Evaluate the network without some neurons; `neurons` as for `silence`.

        Raises:
            TypeError, ValueError, IndexError: as `silence`.
        """
        silent = _check("Surgery", self.layers, neurons)
        first = min(silent, default=len(self.layers) - 2)
        outputs = self._outputs_of(first)
        step = images_per_batch(self.images)
        try:
            for index, indices in silent.items():
                _silence(self.layers, index, indices)
            if outputs is None:
                return evaluate(self._program(0, len(self.layers)), self.model, self.images, self.labels, step)
            return evaluate_rows(self._program(first + 1, len(self.layers)), self.model, outputs, self.labels, step)
        finally:
            for index in silent:
                self.layers[index + 1].weights.weight.detach().numpy()[...] = self._weights[index + 1]

    def _outputs_of(self, index: int) -> NDArray[Any] | None:
        """Return the outputs of a layer for all images; None if they are too large to keep or the index is negative."""
        if index < 0 or index in self._outputs:
            return self._outputs.get(index)
        step = images_per_batch(self.images)
        outputs = np.empty(0)
        with no_grad():
            for start in range(0, len(self.images), step):
                inputs = images_to_inputs(from_numpy(self.images[start : start + step]))
                batch = self._program(0, index + 1)(inputs).numpy()
                if not start:
                    size = batch[0].nbytes * len(self.images)
                    if size > MAX_BYTES:
                        return None
                    if size + sum(array.nbytes for array in self._outputs.values()) > MAX_BYTES:
                        self._outputs.clear()
                    outputs = np.empty((len(self.images), *batch.shape[1:]), batch.dtype)
                outputs[start : start + step] = batch
        self._outputs[index] = outputs
        return outputs

    def _program(self, start: int, stop: int) -> _Program:
        """Return the layers from `start` to before `stop`, compiled."""
        if (start, stop) not in self._programs:
            before = () if start else self.layers[0].before
            chosen = self.layers[start:stop]
            following = [module for layer in chosen for module in layer.after]
            modules = [module for layer in chosen for module in (layer.weights, *layer.after)]
            compiled = chosen[0].has_filters and all(isinstance(module, _EXACT) for module in following)
            self._programs[start, stop] = _Program(nn.Sequential(*before, *modules), compiled)
        return self._programs[start, stop]


class _Program(nn.Module):
    """A part of a network, compiled or not; the values of weights are read in each call, so they may change."""

    def __init__(self, part: nn.Sequential, compiled: bool) -> None:
        self.part = part
        self.run = jit(part.forward) if compiled else part.forward

    def forward(self, x: Tensor) -> Tensor:
        """Run the part."""
        return self.run(x)


def _check(owner: str, parts: list[Layer], neurons: Mapping[int, Iterable[int]]) -> dict[int, list[int]]:
    """Check the neurons to silence, and return them by layer, sorted, without empty entries."""
    is_mapping = isinstance(neurons, Mapping)
    check(owner, is_mapping, f"takes a dict of neurons by layer, such as {{0: [5, 7]}}, not {neurons!r}", TypeError)
    silent = {}
    for index, chosen in neurons.items():
        layer = get_layer(owner, parts, index)
        if index == len(parts) - 1:
            raise ValueError(f"{owner}: no weights lead out of the network's outputs; choose a layer before them")
        silent[index] = check_neurons(owner, layer, chosen)
    return {index: indices for index, indices in silent.items() if indices}


def _silence(parts: list[Layer], index: int, neurons: list[int]) -> None:
    """Set the weights that lead out of neurons of a layer to 0."""
    weight = parts[index + 1].weights.weight  # (outputs, inputs, ...)
    blocks = weight.detach().numpy().reshape(len(weight), parts[index].size, -1)  # a view: (outputs, neurons, weights)
    blocks[:, neurons] = 0
