"""Which images excite a neuron most, and which weights connect it to the layer before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import check_integer
from chainrule.explain.layers import BATCH, activations, check_images, get_layer, layers
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training.evaluation import images_per_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.nn import Module


@dataclass(frozen=True)
class TopImages:
    """The images that excite each neuron of a layer most, the strongest first.

    Attributes:
        indices: (neurons, count), the indices of the images.
        values: (neurons, count), the outputs of the neuron; of a filter, the largest values of its feature maps.
    """

    indices: NDArray[np.int64]
    values: NDArray[Any]


def top_images(network: Module, images: NDArray[np.uint8], count: int = 9) -> list[TopImages]:
    """Find the images that excite each neuron most.

    In deeper layers, where the weights no longer show what a neuron responds to, the mean of its top images does.

        import numpy as np

        from chainrule import explain, models

        images = np.random.default_rng(1).integers(0, 256, (100, 28, 28), np.uint8)
        top = explain.top_images(models.build("mlp", generator=np.random.default_rng(0)), images, count=3)
        top[0].indices.shape  # (128, 3)

    Args:
        network: see `layers`.
        images: (N, height, width) or (N, channels, height, width), uint8.
        count: number of images for each neuron; all N if there are fewer.

    Returns:
        For each layer its top images. Among images that excite a neuron equally, earlier ones come first: a ReLU neuron
        that is never active has the first images, with values of 0.

    Raises:
        TypeError: the images are not uint8; or as `layers`.
        ValueError: there are no images, or they do not fit the network.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014), figure 2.
    """
    check_integer("top_images", "count", count, minimum=1)
    check_images("top_images", images)
    best: list[TopImages] = []
    step = min(BATCH, images_per_batch(images))
    for start in range(0, len(images), step):
        inputs = images_to_inputs(from_numpy(images[start : start + step]))
        new = [_excitement(maps).T for maps in activations(network, inputs)]  # (neurons, B)
        indices = np.arange(start, start + len(inputs))
        best = best or [TopImages(np.empty((len(v), 0), np.int64), np.empty((len(v), 0), v.dtype)) for v in new]
        best = [_merge(old, indices, values, count) for old, values in zip(best, new, strict=True)]
    return best


def connections(network: Module, layer: int) -> NDArray[Any]:
    """Return how strongly each neuron of a layer is connected to each of the layer before: (neurons, sources).

    A connection by a single weight is that weight, with its sign. A connection by several weights (the taps of a
    filter, or one for each pixel of a feature map) is their length √Σw². The sources of the first layer are the pixels,
    or in a convolution the channels.

    Args:
        network: see `layers`.
        layer: the layer's index in `layers(network)`.

    Raises:
        TypeError, ValueError, IndexError: as `layers`, or there is no such layer.
    """
    parts = layers(network)
    weights = np.array(get_layer("connections", parts, layer).weights.weight.detach().numpy())
    sources = parts[layer - 1].size if layer else weights.shape[1]
    blocks = weights.reshape(len(weights), sources, -1)  # (neurons, sources, weights of each pair)
    return blocks[:, :, 0] if blocks.shape[2] == 1 else np.sqrt(np.square(blocks).sum(2))


def _excitement(maps: NDArray[Any]) -> NDArray[Any]:
    """Return one number for each image and neuron: (N, neurons, ...) to (N, neurons)."""
    return maps if maps.ndim == 2 else maps.reshape(*maps.shape[:2], -1).max(2)


def _merge(best: TopImages, indices: NDArray[np.int64], values: NDArray[Any], count: int) -> TopImages:
    """Return the best of the images so far and those of a batch: indices (B,), values (neurons, B)."""
    all_values = np.concatenate([best.values, values], axis=1)
    all_indices = np.concatenate([best.indices, np.broadcast_to(indices, values.shape)], axis=1)
    order = np.argsort(-all_values, axis=1, kind="stable")[:, :count]
    return TopImages(np.take_along_axis(all_indices, order, 1), np.take_along_axis(all_values, order, 1))
