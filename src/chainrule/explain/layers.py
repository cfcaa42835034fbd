"""The layers of a network, and the outputs of their neurons.

A network of images is a chain of modules. A layer, as people think of it, is one `Linear` or `Conv2d` with the modules
that follow it up to the next one: activation, normalization and pooling. So the output of a neuron, or the feature map
of a filter, is what the next layer receives.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn
from chainrule.autograd import no_grad
from chainrule.errors import check, check_integer, type_name
from chainrule.nn import activations as activation_modules
from chainrule.nn import normalization
from chainrule.tensor import Tensor, as_tensor
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

_FOLLOWERS: tuple[type[nn.Module], ...] = (
    *(getattr(activation_modules, name) for name in activation_modules.__all__),
    *(getattr(normalization, name) for name in normalization.__all__),
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Flatten, nn.Identity,
)  # fmt: skip
"""Modules that may follow the weights of a layer, since each keeps the outputs of different neurons apart."""

BATCH = 100
"""Images per pass: the feature maps of more images would not fit into the processor's caches."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a network.

    Attributes:
        path: the path of its `Linear` or `Conv2d`, whose parameters are `path`.weight and `path`.bias.
        weights: the `Linear` or `Conv2d`.
        before: all modules of the network before it.
        after: the modules behind it, up to the next layer.
    """

    path: str
    weights: nn.Linear | nn.Conv2d
    before: tuple[nn.Module, ...]
    after: tuple[nn.Module, ...]

    @property
    def size(self) -> int:
        """The number of its neurons, or of its filters."""
        return int(self.weights.weight.shape[0])

    @property
    def has_filters(self) -> bool:
        """Whether the layer is a convolution."""
        return isinstance(self.weights, nn.Conv2d)

    @property
    def prefix(self) -> nn.Sequential:
        """The network up to this layer's outputs: (N, size), or feature maps (N, size, height, width)."""
        after = (module for module in self.after if not isinstance(module, nn.Flatten))
        return nn.Sequential(*self.before, self.weights, *after)


def layers(network: nn.Module) -> list[Layer]:
    """Split a network into its layers.

        from chainrule import explain, models

        [(layer.path, layer.size) for layer in explain.layers(models.build("lenet5"))]
        # [('1', 6), ('4', 16), ('8', 120), ('10', 84), ('12', 10)]

    Args:
        network: a `Sequential` (or several, nested) of `Linear` and `Conv2d`, activations, normalizations, pooling,
            dropout and `Flatten`, as the models of images in `chainrule.models` are.

    Raises:
        TypeError: the network is not such a chain; the message names the module.
        ValueError: it has no layers, two share weights, a convolution has groups, or a layer's inputs are not the
            outputs of the one before: without a `Flatten` a `Linear` runs over each row of a feature map.
    """
    named = chain("layers", network)
    starts = [index for index, (_, module) in enumerate(named) if isinstance(module, nn.Linear | nn.Conv2d)]
    check("layers", starts, "there is no Linear and no Conv2d in the network")
    for index, (path, module) in enumerate(named):
        follows = isinstance(module, _FOLLOWERS) or (index < starts[0] and isinstance(module, nn.Unflatten))
        if not follows and index not in starts:
            raise TypeError(
                f"layers: {path} is a {type_name(module)}; only a chain of Linear and Conv2d with activations, "
                f"normalizations, pooling, dropout and Flatten can be taken apart"
            )
        grouped = isinstance(module, nn.Conv2d) and module.groups != 1
        check("layers", not grouped, f"{path} is a convolution in groups, whose filters do not see all channels")
    modules: list[Any] = [module for _, module in named]
    ends = [*starts[1:], len(named)]
    parts = [
        Layer(named[start][0], modules[start], tuple(modules[:start]), tuple(modules[start + 1 : end]))
        for start, end in zip(starts, ends, strict=True)
    ]
    for layer, following in pairwise(parts):
        _check_neighbors(layer, following)
    return parts


def chain(owner: str, network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules of a `Sequential`, and of those inside it, with their paths, in the order in which they run.

    Raises:
        TypeError: the network is not a `Sequential`, or is of a subclass with a `forward` of its own.
        ValueError: two of the modules share weights.
    """
    is_chain = isinstance(network, nn.Sequential)
    what = f"takes a Sequential, which runs its modules one after another, not {type_name(network)}"
    check(owner, is_chain, what, TypeError)
    modules = list(_leaves(owner, network, ""))
    owners: dict[int, str] = {}
    for path, module in modules:
        for parameter in module.parameters():
            first = owners.setdefault(id(parameter), path)
            check(owner, first == path, f"layers {first!r} and {path!r} share weights; each must have its own")
    return modules


def activations(network: nn.Module, inputs: ArrayLike | Tensor) -> list[NDArray[Any]]:
    """Return the outputs of each layer in eval mode.

    Args:
        network: see `layers`.
        inputs: images as the network takes them, (N, height, width) or (N, channels, height, width), floats.

    Returns:
        For each layer (N, neurons), or feature maps (N, filters, height, width): what the next layer receives. The last
        are the network's outputs.

    Raises:
        TypeError, ValueError: as `layers`; or the inputs do not fit the network, such as images a `Linear` without a
            `Flatten` before it.
    """
    x: Any = as_inputs("activations", inputs)
    outputs = []
    with restore_modes(network), no_grad():
        network.eval()
        parts = layers(network)
        x = nn.Sequential(*parts[0].before)(x)
        for layer in parts:
            _check_inputs(layer, x)
            x = layer.weights(x)
            shape = x.shape
            for module in layer.after:
                x = module(x)
                shape = shape if isinstance(module, nn.Flatten) or x.ndim < 4 else x.shape
            outputs.append(np.array(x.numpy().reshape(shape)))
    return outputs


def get_layer(owner: str, parts: list[Layer], index: int) -> Layer:
    """Return the layer with an index, which must not be negative."""
    check_integer(owner, "a layer", index)
    if not 0 <= index < len(parts):
        raise IndexError(f"{owner}: there is no layer {index}: the network has {len(parts)}, from 0 on")
    return parts[index]


def check_neurons(owner: str, layer: Layer, neurons: Iterable[int]) -> list[int]:
    """Check indices of neurons of a layer, and return them sorted, without duplicates."""
    try:
        indices = list(neurons.tolist() if isinstance(neurons, np.ndarray) else neurons)
    except TypeError:
        what = f"the neurons of layer {layer.path!r} must be a list of integers, not {neurons!r}"
        raise TypeError(f"{owner}: {what}") from None
    for index in indices:
        check_integer(owner, "a neuron", index)
        if not 0 <= index < layer.size:
            raise IndexError(f"{owner}: there is no neuron {index} in layer {layer.path!r}, which has {layer.size}")
    return sorted(set(indices))


def check_images(owner: str, images: NDArray[np.uint8]) -> None:
    """Raise an error unless there are images, in an array of uint8."""
    is_images = isinstance(images, np.ndarray) and images.dtype == np.uint8
    described = images.dtype if isinstance(images, np.ndarray) else type_name(images)
    check(owner, is_images, f"takes images as an array of uint8, not {described}", TypeError)
    check(owner, images.size, "there are no images")


def as_inputs(owner: str, values: ArrayLike | Tensor) -> Tensor:
    """Check that inputs of a network are finite floats, and return them as a detached Tensor."""
    tensor = as_tensor(values).detach()
    if tensor.dtype.kind != "f":
        raise TypeError(
            f"{owner}: takes inputs of the network, which are floats, not {tensor.dtype}: models by name take pixels "
            f"divided by 255"
        )
    check(owner, bool(np.isfinite(tensor.numpy()).all()), "the inputs hold values that are not finite")
    return tensor


def _leaves(owner: str, network: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of nested `Sequential`s in the order in which they run."""
    if not isinstance(network, nn.Sequential):
        yield path, network
        return
    kind = type(network)
    own = f"{kind.__name__} has a forward() of its own, so it need not be a chain"
    check(owner, kind.forward is nn.Sequential.forward, own, TypeError)
    for name, child in network._all_children():
        yield from _leaves(owner, child, f"{path}.{name}".lstrip("."))


def _check_neighbors(layer: Layer, following: Layer) -> None:
    """Check that what leads into a layer are the neurons or filters of the one before, a block of weights for each."""
    inputs, path = int(following.weights.weight.shape[1]), following.path
    if layer.has_filters and not following.has_filters:
        flattens = any(isinstance(m, nn.Flatten) and m.start_dim == 1 and m.end_dim in (-1, 3) for m in layer.after)
        what = f"put an nn.Flatten() between {layer.path}, a Conv2d, and {path}, a Linear, which takes (N, features)"
        check("layers", flattens, what)
        check("layers", inputs % layer.size == 0, f"{path} takes {inputs} inputs, no multiple of {layer.size} filters")
        return
    is_possible = layer.has_filters or not following.has_filters
    check("layers", is_possible, f"{path} is a Conv2d after {layer.path}, a Linear, whose outputs are no images")
    check("layers", inputs == layer.size, f"{path} takes {inputs} inputs, but {layer.path} puts out {layer.size}")


def _check_inputs(layer: Layer, x: Tensor) -> None:
    """Check that a layer gets images, or a matrix: of more dimensions a `Linear` takes the last one alone."""
    if layer.has_filters:
        what = f"{layer.path} is a Conv2d and takes (N, channels, height, width), not {x.shape}: put an Unflatten"
    else:
        what = f"{layer.path} is a Linear and takes (N, features), not {x.shape}: put a Flatten"
    check("activations", x.ndim == (4 if layer.has_filters else 2), f"{what} before it")
