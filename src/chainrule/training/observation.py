"""Measures a network while it trains: magnitudes of gradients and weights, histograms, dead neurons, the loss curve.

Nothing here changes the network: the result of a run is bitwise identical whether or not it is observed between steps.

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

_ACTIVATION_LAYERS = (nn.ReLU, nn.Sigmoid, nn.Tanh)
"""The layers whose dead or saturated neurons are recognized."""

_MIN_SLOPE = 0.01
"""A sigmoid or tanh is saturated where its slope is below this fraction of its maximum."""


class InactiveNeurons(NamedTuple):
    """Which neurons of an activation layer are dead or saturated, so that hardly any gradient flows through them.

    Attributes:
        inactive: a mask with an entry for each neuron, or each channel of feature maps: whether it is dead or saturated
            for every example.
        kind: "dead" for ReLU, whose output is 0; "saturated" for sigmoid and tanh, whose slope is nearly 0.
    """

    inactive: NDArray[np.bool_]
    kind: str


class Histogram(NamedTuple):
    """Counts of the finite values of an array in bins of equal width, symmetric around 0.

    Attributes:
        limit: the largest absolute value; the bins reach from -limit to limit.
        counts: the number of values in each bin.
    """

    limit: float
    counts: NDArray[np.int64]


def layers(network: Module) -> dict[str, list[Parameter]]:
    """Return the parameters of each layer that has any of its own, by the layer's path."""
    by_path: dict[str, list[Parameter]] = {}
    for name, parameter in network.named_parameters():
        by_path.setdefault(name.rpartition(".")[0], []).append(parameter)
    return by_path


def rms(arrays: list[NDArray[Any]]) -> float:
    """Return the root mean square of all entries of some arrays; NaN if they have none.

    It is computed in float64: in float32, the square of a gradient of 1e-25 would be 0.
    """
    square_sum, n_values = 0.0, 0
    for array in arrays:
        values = array.astype(np.float64).ravel()
        square_sum += float(np.dot(values, values))
        n_values += values.size
    return float(np.sqrt(square_sum / n_values)) if n_values else float("nan")


def gradient_rms(network: Module) -> dict[str, float | None]:
    """Return the root mean square of the entries of each layer's gradients, by path; None if a layer has no gradients.

    As a mean, this number can be compared between layers of different sizes. After a step of a `Trainer`, the gradients
    are those of this step.
    """
    rms_by_path: dict[str, float | None] = {}
    for path, parameters in layers(network).items():
        gradients = [parameter.grad.numpy() for parameter in parameters if parameter.grad is not None]
        rms_by_path[path] = rms(gradients) if gradients else None
    return rms_by_path


def weight_rms(network: Module) -> dict[str, float]:
    """Return the root mean square of the entries of each layer's parameters, by path."""
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


def dead_neurons(network: Module, inputs: Tensor) -> dict[str, InactiveNeurons]:
    """Return which neurons of each activation layer are dead or saturated for all examples, in eval mode.

    Args:
        network: the network. Only layers of the classes `nn.ReLU`, `nn.Sigmoid` and `nn.Tanh` are examined.
        inputs: the examples.

    Returns:
        The inactive neurons of each of these layers, by its path. The neurons are along axis 1 of the layer's output if
        this is a matrix or feature maps (N, C, H, W), else along the last axis. A layer that is called several times
        has an entry for each call: "1", "1 (call 2)", ...
    """
    inactive_neurons: dict[str, InactiveNeurons] = {}
    if not any(isinstance(module, _ACTIVATION_LAYERS) for module in network.modules()):
        return inactive_neurons  # e.g. for a language model, whose activations are operations

    call_counts: Counter[str] = Counter()

    def record(path: str, module: Module, _: Any, output: Tensor) -> None:
        call_counts[path] += 1
        suffix = "" if call_counts[path] == 1 else f" (call {call_counts[path]})"
        inactive_neurons[path + suffix] = _find_inactive(module, output)

    # The hooks are added to a copy: a compiled step of the network itself would have to be compiled again
    network_copy = copy.deepcopy(network).eval()
    for path, module in network_copy.named_modules():
        if isinstance(module, _ACTIVATION_LAYERS):
            module.register_forward_hook(partial(record, path))
    with no_grad():
        network_copy(inputs)
    return inactive_neurons


def _find_inactive(module: Module, output: Tensor) -> InactiveNeurons:
    """Return which neurons of an activation layer are dead or saturated, given its output."""
    values = output.numpy()
    neuron_axis = 1 if values.ndim in (2, 4) else values.ndim - 1
    other_axes = tuple(axis for axis in range(values.ndim) if axis != neuron_axis)
    if isinstance(module, nn.ReLU):
        return InactiveNeurons(np.asarray((values <= 0).all(other_axes)), "dead")
    # The slopes as fractions of their maximum, which is 1/4 for sigmoid and 1 for tanh
    slopes = 4 * values * (1 - values) if isinstance(module, nn.Sigmoid) else 1 - values * values
    return InactiveNeurons(np.asarray((slopes < _MIN_SLOPE).all(other_axes)), "saturated")


class LossCurve:
    """A curve of bounded length: each point is the mean over a number of steps, which doubles as the curve gets longer.

    Args:
        max_points: an even number. When the curve has this number of points, adjacent points are merged in pairs.

    Attributes:
        steps_per_point: the current number of steps per point.
    """

    def __init__(self, max_points: int = 512) -> None:
        self.max_points, self.steps_per_point = max_points, 1
        self._points: list[tuple[float, float]] = []  # the last step of each point, and the mean
        self._sum, self._count = 0.0, 0  # of the values since the last point

    def add(self, step: int, value: float) -> None:
        """Add the value of a step."""
        self._sum, self._count = self._sum + value, self._count + 1
        if self._count < self.steps_per_point:
            return
        self._points.append((step, self._sum / self._count))
        self._sum, self._count = 0.0, 0
        if len(self._points) >= self.max_points:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [(last_step, (first + second) / 2) for (_, first), (last_step, second) in pairs]
            self.steps_per_point *= 2

    def cut(self, step: int) -> None:
        """Remove the points after a step, because training goes back to it."""
        self._points = [point for point in self._points if point[0] <= step]
        self._sum, self._count = 0.0, 0

    def array(self) -> NDArray[np.float32]:
        """Return the points (N, 2): the last step of each point, and the mean of its values."""
        return np.array(self._points, np.float32).reshape(-1, 2)
