"""What a network looks like while it trains: the size of its gradients, its weights' histograms, its dead neurons.

Nothing here changes the network: a run that is observed between its steps has the same bits as one that is not.

    import numpy as np
    from chainrule import nn, randn
    from chainrule.training.observation import dead_neurons, gradient_rms

    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    network(randn(8, 4)).square().mean().backward()
    # The layers with parameters, and the layers of neurons that can die
    [*gradient_rms(network)]  # ['0', '2']
    [*dead_neurons(network, randn(8, 4))]  # ['1']
"""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import nn
from chainrule.autograd import no_grad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.nn import Module, Parameter
    from chainrule.tensor import Tensor

_MIN_SLOPE = 0.01
"""A sigmoid or tanh is saturated where its slope is below this fraction of its maximum."""


class Neurons(NamedTuple):
    """The neurons of a layer through which no gradient flows.

    Attributes:
        inactive: whether each neuron, or each channel of a convolution, is dead or saturated for every example.
        kind: "dead" for ReLU, whose output is 0; "saturated" for sigmoid and tanh, whose slope is nearly 0.
    """

    inactive: NDArray[np.bool_]
    kind: str


class Histogram(NamedTuple):
    """Counts of the finite values of an array in bins of equal width, symmetric around 0.

    Attributes:
        limit: the bins reach from -limit to limit, the largest absolute value.
        counts: the number of values in each bin.
    """

    limit: float
    counts: NDArray[np.int64]


def layers(network: Module) -> dict[str, list[Parameter]]:
    """Return the layers that have parameters of their own, by path, with these parameters."""
    by_path: dict[str, list[Parameter]] = {}
    for name, parameter in network.named_parameters():
        by_path.setdefault(name.rpartition(".")[0], []).append(parameter)
    return by_path


def rms(arrays: list[NDArray[Any]]) -> float:
    """Return the root mean square of all entries of some arrays, computed in float64; NaN if there is none.

    The square of 1e-25, as a gradient may be, is 0 in float32.
    """
    total, count = 0.0, 0
    for array in arrays:
        values = array.astype(np.float64).ravel()
        total += float(np.dot(values, values))
        count += values.size
    return float(np.sqrt(total / count)) if count else float("nan")


def gradient_rms(network: Module) -> dict[str, float | None]:
    """Return the root mean square of each layer's gradient, per weight; None for a layer without a gradient.

    Unlike a sum, it can be compared between layers of different sizes. After a step of a `Trainer`, the gradients are
    those of this step.
    """
    sizes: dict[str, float | None] = {}
    for path, parameters in layers(network).items():
        gradients = [parameter.grad.numpy() for parameter in parameters if parameter.grad is not None]
        sizes[path] = rms(gradients) if gradients else None
    return sizes


def weight_rms(network: Module) -> dict[str, float]:
    """Return the root mean square of each layer's parameters."""
    return {path: rms([p.numpy() for p in parameters]) for path, parameters in layers(network).items()}


def histogram(array: NDArray[Any], bins: int = 41) -> Histogram:
    """Count the finite values of an array in bins of equal width, symmetric around 0."""
    values = array[np.isfinite(array)].astype(np.float64)
    limit = float(np.abs(values).max(initial=0.0))
    if limit == 0:
        counts = np.zeros(bins, np.int64)
        counts[bins // 2] = values.size
        return Histogram(0.0, counts)
    indices = ((values / limit + 1) * (bins / 2)).astype(np.int64)
    return Histogram(limit, np.bincount(np.minimum(indices, bins - 1), minlength=bins))


def dead_neurons(network: Module, inputs: Tensor) -> dict[str, Neurons]:
    """Return which neurons of each activation layer are dead or saturated for all examples, in evaluation mode.

    Args:
        network: the network. Its activations count if they are layers: `nn.ReLU`, `nn.Sigmoid`, `nn.Tanh`.
        inputs: the examples.

    Returns:
        The neurons of each layer, by its path. They lie along axis 1 of a matrix or of feature maps (N, C, H, W), else
        along the last axis. A layer that is called several times has an entry for each call: "1", "1 (call 2)", ...
    """
    layers_of_neurons: dict[str, Neurons] = {}
    if not any(isinstance(module, _ACTIVATIONS) for module in network.modules()):
        return layers_of_neurons  # such as a language model, whose activations are operations

    calls: Counter[str] = Counter()

    def record(path: str, module: Module, _: Any, output: Tensor) -> None:
        calls[path] += 1
        call = "" if calls[path] == 1 else f" (call {calls[path]})"
        layers_of_neurons[path + call] = _find_inactive(module, output)

    # A copy, because a compiled step would be compiled again after a hook was added to its modules
    copied = copy.deepcopy(network).eval()
    for path, module in copied.named_modules():
        if isinstance(module, _ACTIVATIONS):
            module.register_forward_hook(partial(record, path))
    with no_grad():
        copied(inputs)
    return layers_of_neurons


_ACTIVATIONS = (nn.ReLU, nn.Sigmoid, nn.Tanh)


def _find_inactive(module: Module, output: Tensor) -> Neurons:
    values = output.numpy()
    axis = 1 if values.ndim in (2, 4) else values.ndim - 1
    others = tuple(number for number in range(values.ndim) if number != axis)
    if isinstance(module, nn.ReLU):
        return Neurons(np.asarray((values <= 0).all(others)), "dead")
    slopes = 4 * values * (1 - values) if isinstance(module, nn.Sigmoid) else 1 - values * values
    return Neurons(np.asarray((slopes < _MIN_SLOPE).all(others)), "saturated")


class LossCurve:
    """A curve of bounded length: each point is the mean over a number of steps, which doubles when it gets too long.

    Args:
        max_points: at this number of points, each two are merged into one; an even number.
    """

    def __init__(self, max_points: int = 512) -> None:
        self.max_points, self.steps_per_point = max_points, 1
        self._points: list[tuple[float, float]] = []  # last step, mean
        self._sum, self._count = 0.0, 0

    def add(self, step: int, value: float) -> None:
        """Add the value of a step."""
        self._sum, self._count = self._sum + value, self._count + 1
        if self._count < self.steps_per_point:
            return
        self._points.append((step, self._sum / self._count))
        self._sum, self._count = 0.0, 0
        if len(self._points) >= self.max_points:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [(later, (one + other) / 2) for (_, one), (later, other) in pairs]
            self.steps_per_point *= 2

    def cut(self, step: int) -> None:
        """Remove the points after a step, because training goes back to it."""
        self._points = [point for point in self._points if point[0] <= step]
        self._sum, self._count = 0.0, 0

    def array(self) -> NDArray[np.float32]:
        """Return the points (N, 2): the last step of each, and the mean of its values."""
        return np.array(self._points, np.float32).reshape(-1, 2)
