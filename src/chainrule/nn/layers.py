"""Layers with weights, and those that reshape or thin out what passes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from chainrule import ops
from chainrule.creation import zeros
from chainrule.errors import check
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn import init
from chainrule.nn.module import Layer, Module, Parameter, applies, options
from chainrule.ops.dtypes import DEFAULT
from chainrule.ops.shape import int_tuple

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import DTypeLike

    from chainrule.tensor import Tensor

__all__ = ["Dropout", "Dropout2d", "Flatten", "Linear", "Unflatten"]


def check_sizes(owner: Module, **sizes: Any) -> None:
    """Raise an error unless all sizes, each a whole number or several, are at least 0."""
    for what, size in sizes.items():
        given = int_tuple(size, f"{type(owner).__name__}: {what}")
        check(owner, min(given, default=0) >= 0, f"{what} must be at least 0, not {size}")


def weight_and_bias(
    shape: tuple[int, ...], outputs: int, bias: bool, generator: Generator | None, dtype: DTypeLike
) -> tuple[Parameter, Parameter | None]:
    """A weight of a shape (out, in, ...) and a bias, both evenly between ±1 / √fan_in."""
    fan_in = math.prod(shape[1:])
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    weight = init.uniform_(Parameter(zeros(shape, dtype=dtype)), -bound, bound, generator)
    return weight, init.uniform_(Parameter(zeros(outputs, dtype=dtype)), -bound, bound, generator) if bias else None


class Linear(Module):
    """A layer of neurons: y = x Wᵀ + b.

    Weights and biases start evenly between ±1 / √in_features, as in PyTorch.

    Args:
        in_features: how many numbers each neuron sees.
        out_features: how many neurons.
        bias: whether each neuron has a bias.
        generator: where the starting values come from.
        dtype: of the parameters.

    Shapes: (..., in_features) to (..., out_features); `weight` (out_features, in_features), `bias` (out_features,).
    """

    _parameter_names = ("weight", "bias")

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, generator: Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        check_sizes(self, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight, self.bias = weight_and_bias((out_features, in_features), out_features, bias, generator, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        without = "" if self.bias is not None else ", bias=False"
        return f"in_features={self.in_features}, out_features={self.out_features}{without}"


@applies(ops.flatten)
class Flatten(Layer):
    """Make one dimension of `start_dim` to `end_dim`: (N, 28, 28) to (N, 784)."""

    start_dim: int = 1
    end_dim: int = -1


class Dropout(Module):
    """While learning, set each element to zero with probability p and scale the rest by 1 / (1 - p).

    Args:
        p: the probability.
        generator: where the draws come from; a training run gives it one of its own, so that it can be resumed.
    """

    def __init__(self, p: float = 0.5, *, generator: Generator | None = None) -> None:
        F.check_probability(self, p)
        self.p, self.generator = p, generator

    def forward(self, input: Tensor) -> Tensor:
        """The input, thinned out if `training`."""
        return F.dropout(input, self.p, self.training, self.generator)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class Dropout2d(Dropout):
    """While learning, set whole channels of (N, C, ...) to zero with probability p; scale the rest by 1 / (1 - p)."""

    def forward(self, input: Tensor) -> Tensor:
        """The input, thinned out if `training`."""
        return F.dropout2d(input, self.p, self.training, self.generator)


@options
class Unflatten(Module):
    """Make several dimensions of one: `Unflatten(1, (28, 28))` makes (N, 28, 28) of (N, 784)."""

    dim: int
    unflattened_size: tuple[int, ...]

    def forward(self, input: Tensor) -> Tensor:
        """The input, unflattened."""
        return input.unflatten(self.dim, self.unflattened_size)
