"""The four equations of backpropagation, with the numbers of a network and one example.

For a chain of layers z = W a + b, with an activation after each, the cost C of one example, and δ = ∂C/∂z:

    1.  δ = ∂C/∂(output) · σ′(z)      the error of the last layer
    2.  ∂C/∂W = δ aᵀ, ∂C/∂b = δ       the gradients of its weights and biases
    3.  δ = Wᵀ δ(next) · σ′(z)        the error of a layer before it
    4.  ∂C/∂W = δ aᵀ, ∂C/∂b = δ       the gradients of that layer's weights and biases

In a convolution a weight is used at many positions, and its gradient is the sum over them. A layer between two layers
with weights (an activation, pooling, batch normalization) contributes one factor for each value that it passes on, such
as 1 or 0 for ReLU.

`Backpropagation` computes everything in float64, by the engine's backward pass. `GradientEquation` and `ErrorEquation`
are the equations for one weight and for one δ: the factors, the source of each, and their sum, beside the engine's
result.

Source: Rumelhart, Hinton and Williams, Learning representations by back-propagating errors (Nature, 1986); in this
form: Nielsen, Neural Networks and Deep Learning (2015), chapter 2. `first_principles.backprop` has them in plain NumPy.
"""

from __future__ import annotations

import copy
import functools
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.autograd import grad, no_grad
from chainrule.autograd.functional import vjp
from chainrule.errors import check, join_names, require_numbers
from chainrule.explain import recording
from chainrule.explain.layers import chain
from chainrule.explain.terms import TERMS, Factors, LayerTerms
from chainrule.func import jvp
from chainrule.nn.functional import cross_entropy, one_hot, softmax
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from chainrule.explain.recording import RecordedOperation
    from chainrule.nn import Module
    from chainrule.optim import Optimizer
    from chainrule.tensor import Tensor

    Array = NDArray[np.float64]

MAX_PATHS = 256
"""Limit on the paths from one value to the next layer with weights."""

STEP = float(np.cbrt(np.finfo(np.float64).eps))
"""Step of a central difference that balances the errors of rounding and truncation, for a weight of size 1: 6.1e-6."""


@dataclass(frozen=True)
class LayerPass:
    """A layer of the chain, with its values and gradients; the arrays have no batch dimension.

    Attributes:
        name: its path in the network, such as "1".
        module: the layer, in eval mode, its parameters in float64.
        input, output: the values; the output of a layer with weights is z.
        input_gradient, output_gradient: ∂C/∂(input) and ∂C/∂(output); the latter, of a layer with weights, is δ.
        terms: the equations of its weights; None for a layer without weights.
    """

    name: str
    module: Module
    input: Array
    output: Array
    input_gradient: Array
    output_gradient: Array
    terms: LayerTerms | None


@dataclass(frozen=True)
class GradientEquation:
    """Equation 2 or 4 for one weight or bias: ∂C/∂w = Σ δ · a.

    Attributes:
        name: the parameter, such as "1.weight".
        index: the weight's index in it.
        layer: the layer's name.
        is_output: whether no layer with weights follows: equation 2, otherwise 4.
        value: the weight w.
        deltas: each δ, at its index in the layer's output.
        activations: the factor of each δ, at its index in the layer's input: an activation; 1 for a bias; the
            normalized input for the weight of a batch normalization.
        gradient: ∂C/∂w by the engine's backward pass.
    """

    name: str
    index: tuple[int, ...]
    layer: str
    is_output: bool
    value: float
    deltas: Factors
    activations: Factors
    gradient: float

    @property
    def sum(self) -> float:
        """∂C/∂w by the equation."""
        return float(np.sum(self.deltas.values * self.activations.values))


@dataclass(frozen=True)
class PathStep:
    """A layer on the path from a z to the next layer with weights, and its slope there.

    Attributes:
        layer: its name.
        kind: its class, such as "ReLU".
        factor: d(its output at `index`) / d(its input): 0 where nothing passes.
        index: the index in its output.
        input, output: the values there.
    """

    layer: str
    kind: str
    factor: float
    index: tuple[int, ...]
    input: float
    output: float


@dataclass(frozen=True)
class ErrorPath:
    """A path from a z to an input of the next layer with weights, or to an output of the network.

    Attributes:
        steps: the layers in between; the last one has the factor 0 if the path ends there.
        weights, deltas: for a hidden layer, the weights that lead on from the path's end, and the δ of each.
        prediction, target: at the output, if the gradient of the loss is their difference: a probability by softmax for
            cross entropy, the output itself for the squared error, and its target; otherwise None.
        arriving: ∂C/∂(the end of the path): Σ weight · δ, or the gradient of the loss.
    """

    steps: tuple[PathStep, ...]
    weights: Factors | None
    deltas: Factors | None
    prediction: float | None
    target: float | None
    arriving: float

    @property
    def factor(self) -> float:
        """The product of the steps' factors."""
        return float(np.prod([step.factor for step in self.steps]))


@dataclass(frozen=True)
class ErrorEquation:
    """Equation 1 or 3 for one value z of a layer with weights: δ = Σ factor · arriving, over the paths from it.

    Attributes:
        layer: the layer's name.
        index: the value's index in its output.
        is_output: whether the paths lead to the loss: equation 1, otherwise 3.
        z: the value.
        paths: the paths; usually one.
        delta: ∂C/∂z by the engine's backward pass.
        next_layer: the name of the layer where the paths end; None at the output.
    """

    layer: str
    index: tuple[int, ...]
    is_output: bool
    z: float
    paths: tuple[ErrorPath, ...]
    delta: float
    next_layer: str | None

    @property
    def sum(self) -> float:
        """δ by the equation."""
        return float(sum(path.factor * path.arriving for path in self.paths))


@dataclass(frozen=True)
class FiniteDifference:
    """(C(w + h) - C(w - h)) / 2h, beside the gradient.

    Attributes:
        h: the step.
        above, below: the costs at w + h and at w - h.
        gradient: ∂C/∂w by the engine's backward pass.
        cost: the cost at w.
    """

    h: float
    above: float
    below: float
    gradient: float
    cost: float

    @property
    def slope(self) -> float:
        """The difference quotient."""
        return (self.above - self.below) / (2 * self.h)

    @property
    def one_sided(self) -> tuple[float, float]:
        """The slopes on both sides of w: from w - h to w, and from w to w + h.

        They differ if a ReLU or a maximum has its corner between the two: there the gradient is that of one side.
        """
        return (self.cost - self.below) / self.h, (self.above - self.cost) / self.h

    @property
    def difference(self) -> float:
        """How far the slope is from the gradient."""
        return self.slope - self.gradient


class Backpropagation:
    """The forward and backward pass of one example through a chain of layers, in float64.

        import numpy as np

        from chainrule import nn
        from chainrule.explain import Backpropagation

        network = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2))
        network[0].weight.detach().copy_([[0.5, -1.0], [1.0, 0.5], [-0.5, 1.0]])
        passed = Backpropagation(network, [1.0, 0.5], 1)
        weight = passed.weight("0.weight", (2, 1))  # from input 1 to hidden neuron 2
        weight.activations.values  # array([0.5])
        bool(np.isclose(weight.sum, weight.gradient, rtol=1e-12))  # True
        passed.error("0", (2,)).paths[0].steps[0].kind  # 'Sigmoid'

    The network is copied; the copy is in eval mode, so batch normalization uses its running statistics, and dropout
    passes everything on.

    Args:
        network: a Sequential, which may contain others. Layers with weights may be Linear, Conv2d, BatchNorm1d and
            BatchNorm2d; layers without weights may be of any kind.
        example: one input without a batch dimension, such as pixels (28, 28) from 0 to 1.
        target: the index of the right class, or an array of the output's shape for losses that take one.
        loss: maps outputs (1, ...) and targets (1, ...) to a scalar.

    Raises:
        TypeError: the network is not a Sequential, or a layer with weights is of another kind.
        ValueError: two layers share weights, or a batch normalization keeps no running statistics; the example or the
            cost is not finite; or the shapes do not fit.
        IndexError: the class does not exist.

    Attributes:
        layers: all layers in order.
        cost: C.
        output: the network's output.
        predictions, targets: if the gradient of the loss is their difference, the predictions p (probabilities by
            softmax for cross entropy, outputs for the squared error) and the targets y, in the output's shape;
            otherwise None.
        parameters: all weights and biases, by name.
        gradients: ∂C/∂(each of them).
        example_gradient: ∂C/∂(example).
    """

    def __init__(
        self,
        network: Module,
        example: ArrayLike,
        target: int | ArrayLike,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    ) -> None:
        owner = type(self).__name__
        copied = copy.deepcopy(network)
        modules = chain(owner, copied)
        self._network = copied.double().eval()
        _check_layers(owner, modules)
        recording.record_parameters(self._network)
        x = np.asarray(example, np.float64)
        check(owner, bool(np.isfinite(x).all()), "the example holds values that are not finite")
        self._loss, self._target = loss, recording.recorded(from_numpy(np.asarray(target)[None]))
        names = dict(self._network.named_parameters())
        values = [recording.recorded(from_numpy(x[None].copy())).requires_grad_()]
        with recording.recording() as results:
            for path, module in modules:
                with recording.in_layer(path):
                    values.append(module(values[-1]))
            cost = self._cost(values[-1])
        self.cost = float(cost)
        check(owner, bool(np.isfinite(self.cost)), f"the cost is {self.cost}: some weight or output is not finite")
        self.parameters = {name: parameter.detach().numpy() for name, parameter in names.items()}
        self._tape = (cost, results, {"example": values[0], **names})
        tensors = [*values, *names.values()]
        gradients = [
            np.zeros(tensor.shape) if gradient is None else gradient.numpy()
            for tensor, gradient in zip(tensors, grad(cost, tensors, retain_graph=True, allow_unused=True), strict=True)
        ]
        self.gradients = dict(zip(names, gradients[len(values) :], strict=True))
        arrays = [value.detach().numpy()[0] for value in values]
        slopes = [gradient[0] for gradient in gradients[: len(values)]]
        self.output, self.example_gradient = arrays[-1], slopes[0]
        self.predictions, self.targets = self._difference_form(arrays[-1], slopes[-1])
        self.layers = tuple(
            LayerPass(
                path, module, arrays[i], arrays[i + 1], slopes[i], slopes[i + 1],
                TERMS[type(module)](module) if type(module) in TERMS else None,
            )
            for i, (path, module) in enumerate(modules)
        )  # fmt: skip

    @functools.cached_property
    def operations(self) -> list[RecordedOperation]:
        """The operations that the tape recorded, with their values and gradients.

        Raises:
            ValueError: the loss combines Tensors that it makes itself, which were not recorded.
        """
        return recording.operations(*self._tape)

    def layer(self, name: str) -> LayerPass:
        """Return a layer by its name.

        Raises:
            ValueError: there is none.
        """
        return self.layers[self._position(name)]

    def weight(self, name: str, index: Sequence[int]) -> GradientEquation:
        """Return equation 2 or 4 for a weight or bias.

        Args:
            name: the parameter, such as "1.weight".
            index: the weight's index in it.

        Raises:
            ValueError: there is no such parameter.
            IndexError: it has no such index.
        """
        at = self._index(name, index)
        path, _, parameter = name.rpartition(".")
        layer = self.layer(path)
        assert layer.terms is not None  # noqa: S101  # a layer with parameters has them
        deltas, activations = layer.terms.gradient(parameter, at, layer.input, layer.output_gradient)
        is_output = self._next_weights(self._position(path)) is None
        value, gradient = self.parameters[name][at], self.gradients[name][at]
        return GradientEquation(name, at, path, is_output, float(value), deltas, activations, float(gradient))

    def error(self, name: str, index: Sequence[int]) -> ErrorEquation:
        """Return equation 1 or 3 for a value of a layer's output.

        Args:
            name: the layer's name.
            index: the value's index in its output.

        Raises:
            ValueError: there is no such layer, or the value reaches too many others (`MAX_PATHS`).
            IndexError: its output has no such index.
        """
        position = self._position(name)
        layer = self.layers[position]
        at = _checked(f"the output of layer {name!r}", index, layer.output.shape)
        following = self._next_weights(position)
        end = len(self.layers) if following is None else following
        paths = tuple(self._path(steps, at, following) for steps in self._step_sequences(position + 1, end, at))
        return ErrorEquation(
            name, at, following is None, float(layer.output[at]), paths, float(layer.output_gradient[at]),
            None if following is None else self.layers[following].name,
        )  # fmt: skip

    def origin(self, name: str, index: Sequence[int]) -> tuple[str, tuple[int, ...]] | None:
        """Return the z that an activation comes from: the layer's name, and the index in its output.

        If several contribute, as in average pooling, return the first; return None if the activation comes from the
        example or from padding.

        Args:
            name: the layer whose input the activation is.
            index: its index in the layer's input.

        Raises:
            ValueError: there is no such layer.
            IndexError: its input has no such index.
        """
        position = self._position(name)
        at = _checked(f"the input of layer {name!r}", index, self.layers[position].input.shape)
        for layer in reversed(self.layers[:position]):
            if layer.terms is not None and layer.terms.mixes:
                return layer.name, at
            source = _source(layer, at)
            if source is None:
                return None
            at = source
        return None

    def finite_difference(self, name: str, index: Sequence[int], h: float | None = None) -> FiniteDifference:
        """Compare a weight's gradient with the costs at w + h and w - h.

        Args:
            name: the parameter.
            index: the weight's index in it.
            h: the step; by default `STEP`, times the weight's size if that is above 1.

        Raises:
            TypeError: h is not a number.
            ValueError: there is no such parameter, or h is not above 0, or so small that w + h is w in float64.
            IndexError: it has no such index.
        """
        owner, at = "finite_difference", self._index(name, index)
        w = float(self.parameters[name][at])
        default = STEP * max(1.0, abs(w))
        (h,) = require_numbers(owner, h=default if h is None else h)
        check(owner, 0 < h < np.inf, f"h must be above 0, not {h}")
        h = float(h)
        moves = w - h < w < w + h
        check(owner, moves, f"h = {h} is too small to change {w} in float64; take one of about {default:.1e}")
        above, below = self._cost_with(name, at, h), self._cost_with(name, at, -h)
        return FiniteDifference(h, above, below, float(self.gradients[name][at]), self.cost)

    def updated(self, name: str, index: Sequence[int], make_optimizer: Callable[[Module], Optimizer]) -> float:
        """Return the weight after one step of an optimizer, on this example alone.

        Args:
            name: the parameter.
            index: the weight's index in it.
            make_optimizer: creates an optimizer of the network, such as `lambda n: optim.SGD(n.parameters(), lr=0.1)`.

        Raises:
            ValueError: there is no such parameter.
            IndexError: it has no such index.
        """
        at = self._index(name, index)
        network = copy.deepcopy(self._network)
        optimizer = make_optimizer(network)
        for path, parameter in network.named_parameters():
            parameter.grad = from_numpy(self.gradients[path].copy())
        optimizer.step()
        return float(dict(network.named_parameters())[name].detach().numpy()[at])

    def _cost(self, output: Tensor) -> Tensor:
        cost = self._loss(output, self._target)
        check("Backpropagation", cost.numel() == 1, f"the loss must be one number, not of shape {cost.shape}")
        return cost

    def _cost_with(self, name: str, at: tuple[int, ...], change: float) -> float:
        """Return the cost after a change of one weight."""
        path, _, parameter = name.rpartition(".")
        position = self._position(path)
        changed = copy.deepcopy(self.layers[position].module)
        with no_grad():
            getattr(changed, parameter)[at] = self.parameters[name][at] + change
            value = changed(from_numpy(self.layers[position].input[None]))
            for layer in self.layers[position + 1 :]:
                value = layer.module(value)
            return float(self._cost(value))

    def _difference_form(self, output: Array, gradient: Array) -> tuple[Array | None, Array | None]:
        """Return p and y with ∂C/∂(output) = p - y, if the loss is of that form for a softmax p or for the output."""
        if self._target.dtype.kind == "f":
            targets = self._target.numpy()[0]
        elif output.ndim == 1:
            targets = one_hot(self._target, output.shape[0]).numpy()[0].astype(np.float64)
        else:
            return None, None
        if targets.shape != output.shape:
            return None, None
        for predictions in (softmax(from_numpy(output), -1).numpy(), output):
            if np.allclose(predictions - targets, gradient, rtol=1e-9, atol=1e-14):
                return predictions, targets
        return None, None

    def _position(self, name: str) -> int:
        for position, layer in enumerate(self.layers):
            if layer.name == name:
                return position
        raise ValueError(f"there is no layer {name!r}; there are {join_names([layer.name for layer in self.layers])}")

    def _index(self, name: str, index: Sequence[int]) -> tuple[int, ...]:
        if name not in self.parameters:
            raise ValueError(f"there is no parameter {name!r}; there are {join_names(list(self.parameters))}")
        return _checked(name, index, self.parameters[name].shape)

    def _next_weights(self, position: int) -> int | None:
        """Return the position of the next layer that mixes its inputs by weights, or None."""
        rest = range(position + 1, len(self.layers))
        return next((i for i in rest if (terms := self.layers[i].terms) is not None and terms.mixes), None)

    def _step_sequences(self, position: int, end: int, at: tuple[int, ...]) -> Iterator[tuple[PathStep, ...]]:
        """Yield the steps of each path of a value from the input of one layer to that of a later one."""
        sequences: list[tuple[tuple[PathStep, ...], tuple[int, ...] | None]] = [((), at)]
        for layer in self.layers[position:end]:
            extended: list[tuple[tuple[PathStep, ...], tuple[int, ...] | None]] = []
            for steps, index in sequences:
                if index is None:  # the path has ended
                    extended.append((steps, None))
                else:
                    next_steps = _steps(layer, index)
                    extended.extend(((*steps, step), step.index if step.factor else None) for step in next_steps)
            sequences = extended
            if len(sequences) > MAX_PATHS:
                kind = type(layer.module).__name__
                raise ValueError(
                    f"one value reaches {len(sequences):,} others through layer {layer.name!r}, {kind}: too many to "
                    f"list; {MAX_PATHS} at most"
                )
        return (steps for steps, _ in sequences)

    def _path(self, steps: tuple[PathStep, ...], at: tuple[int, ...], following: int | None) -> ErrorPath:
        """Return the path with these steps, and what arrives at its end."""
        end = steps[-1].index if steps else at
        if steps and not steps[-1].factor:
            return ErrorPath(steps, None, None, None, None, 0.0)
        if following is None:
            p = None if self.predictions is None else float(self.predictions[end])
            y = None if self.targets is None else float(self.targets[end])
            return ErrorPath(steps, None, None, p, y, float(self.layers[-1].output_gradient[end]))
        layer = self.layers[following]
        assert layer.terms is not None  # noqa: S101  # `_next_weights` finds only layers with terms
        weights, deltas = layer.terms.error(end, layer.output_gradient)
        return ErrorPath(steps, weights, deltas, None, None, float(np.sum(weights.values * deltas.values)))


def _steps(layer: LayerPass, at: tuple[int, ...]) -> list[PathStep]:
    """Return a step to each output that depends on a value of a layer's input; one step of factor 0 if none does."""
    tangent = np.zeros((1, *layer.input.shape))
    tangent[0][at] = 1.0
    slopes = jvp(layer.module, (from_numpy(layer.input[None]),), (from_numpy(tangent),))[1].numpy()[0]
    reached = [tuple(map(int, index)) for index in np.argwhere(slopes)]
    kind, value = type(layer.module).__name__, float(layer.input[at])
    if not reached:
        output = float(layer.output[at]) if layer.output.shape == layer.input.shape else 0.0
        return [PathStep(layer.name, kind, 0.0, at, value, output)]
    return [
        PathStep(layer.name, kind, float(slopes[index]), index, value, float(layer.output[index])) for index in reached
    ]


def _source(layer: LayerPass, at: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the index in a layer's input from which a value of its output comes; None for padding."""
    if layer.input.shape == layer.output.shape:
        return at
    if layer.input.size == layer.output.size:  # the layer only changes the shape
        position = np.ravel_multi_index(at, layer.output.shape)
        return tuple(map(int, np.unravel_index(position, layer.input.shape)))
    seed = np.zeros((1, *layer.output.shape))
    seed[0][at] = 1.0
    slopes = vjp(layer.module, from_numpy(layer.input[None]), from_numpy(seed))[1].numpy()[0]
    return next((tuple(map(int, index)) for index in np.argwhere(slopes)), None)


def _check_layers(owner: str, modules: list[tuple[str, Module]]) -> None:
    """Check that each layer with weights has known equations."""
    kinds = join_names([kind.__name__ for kind in TERMS])
    for path, module in modules:
        kind = type(module).__name__
        fits = type(module) in TERMS or not list(module.parameters())
        check(owner, fits, f"layer {path!r} is a {kind}, whose weights have other equations; {kinds} fit", TypeError)
        if type(module) in TERMS:
            TERMS[type(module)](module).check(path)
        if hasattr(module, "inplace"):
            module.inplace = False  # its input values are needed


def _checked(what: str, index: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return an index as a tuple.

    Raises:
        TypeError: it is not a sequence of integers.
        IndexError: an array of this shape does not have it.
    """
    try:
        at = tuple(operator.index(i) for i in index)
    except TypeError:
        raise TypeError(f"{what}: an index must be integers, not {index!r}") from None
    if len(at) != len(shape) or not all(0 <= i < size for i, size in zip(at, shape, strict=True)):
        raise IndexError(f"{what} has shape {shape}, and no index {at}")
    return at
