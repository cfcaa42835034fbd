"""Neuron surgery: a network without some of its neurons, and how well it still reads.

A neuron is silent if the next layer hears nothing of it: the weights that lead out of it are 0.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn
from chainrule.autograd import no_grad
from chainrule.explain.layers import Layer, check_neurons, get_layer, layers
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training.evaluation import Evaluation, evaluate, evaluate_rows, images_per_batch
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from chainrule.models import Model

MOST_BYTES = 256_000_000
"""What `Surgery` keeps of the outputs of layers: a small convolutional network's, for 10,000 images."""


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
    for index, chosen in neurons.items():
        get_layer("silence", parts, index)
        if index == len(parts) - 1:
            raise ValueError("silence: no weights lead out of the network's outputs; choose a layer before them")
        _silence(parts, index, check_neurons("silence", parts[index], chosen))
    return result


class Surgery:
    """Measures a network without some of its neurons, quickly: what comes before them is computed once.

    The measurement is that of `training.evaluation.evaluate` for `silence(network, neurons)`, to the last bit. Here all
    neurons are silent, so all images get the same answer:

        import numpy as np

        from chainrule import explain, models

        images = np.random.default_rng(1).integers(0, 256, (30, 28, 28), np.uint8)
        network = models.build("mlp", generator=np.random.default_rng(0))
        surgery = explain.Surgery(network, models.get("mlp"), images, np.arange(30) % 10)
        surgery.evaluate({0: range(128)}).accuracy  # 0.1

    Args:
        network: see `layers`; it must not change afterwards.
        model: defines the loss and the probabilities.
        images: (N, height, width) or (N, channels, height, width), uint8.
        labels: (N,) integers.

    Raises:
        TypeError, ValueError: as `layers`, or there are no images.
    """

    def __init__(self, network: nn.Module, model: Model, images: NDArray[np.uint8], labels: NDArray[Any]) -> None:
        self.network, self.model, self.images, self.labels = network, model, images, labels
        self.layers = layers(network)
        self._outputs: dict[int, NDArray[Any]] = {}

    def evaluate(self, neurons: Mapping[int, Iterable[int]]) -> Evaluation:
        """Evaluate the network without some neurons; `neurons` as for `silence`.

        Raises:
            TypeError, ValueError, IndexError: as `silence`.
        """
        silenced = silence(self.network, neurons)
        first = min((index for index, chosen in neurons.items() if list(chosen)), default=len(self.layers) - 2)
        outputs = self._outputs_of(first)
        if outputs is None:
            return evaluate(silenced, self.model, self.images, self.labels)
        following = layers(silenced)[first + 1 :]
        rest = nn.Sequential(*(module for layer in following for module in (layer.weights, *layer.after)))
        return evaluate_rows(rest, self.model, outputs, self.labels, images_per_batch(self.images))

    def _outputs_of(self, index: int) -> NDArray[Any] | None:
        """Return what a layer hands on for all images; None if that is too large to keep, or there is no such layer."""
        if index < 0 or index in self._outputs:
            return self._outputs.get(index)
        layer = self.layers[index]
        part = nn.Sequential(*layer.before, layer.weights, *layer.after)
        step = images_per_batch(self.images)
        outputs = None
        with restore_modes(self.network), no_grad():
            self.network.eval()
            for start in range(0, len(self.images), step):
                batch = part(images_to_inputs(from_numpy(self.images[start : start + step]))).numpy()
                if outputs is None:
                    size = batch[0].nbytes * len(self.images)
                    if size > MOST_BYTES:
                        return None
                    if size + sum(array.nbytes for array in self._outputs.values()) > MOST_BYTES:
                        self._outputs.clear()
                    outputs = np.empty((len(self.images), *batch.shape[1:]), batch.dtype)
                outputs[start : start + step] = batch
        if outputs is not None:
            self._outputs[index] = outputs
        return outputs


def _silence(parts: list[Layer], index: int, neurons: list[int]) -> None:
    """Set the weights that lead out of neurons of a layer to 0."""
    weight = parts[index + 1].weights.weight  # (outputs, inputs, ...)
    blocks = weight.detach().numpy().reshape(len(weight), parts[index].size, -1)  # a view: (outputs, neurons, weights)
    blocks[:, neurons] = 0
