"""Layers with weights, and those that reshape or thin out what passes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn import init
from chainrule.nn.module import Module, Parameter
from chainrule.ops.dtypes import DEFAULT

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from chainrule.tensor import Tensor


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

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:
        if in_features < 0 or out_features < 0:
            raise ValueError(
                f"Linear: sizes must not be negative, got in_features={in_features}, out_features={out_features}"
            )
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.empty((out_features, in_features), dtype))
        self.bias = Parameter(np.empty(out_features, dtype)) if bias else None
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound, generator)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        without = "" if self.bias is not None else ", bias=False"
        return f"in_features={self.in_features}, out_features={self.out_features}{without}"


class Flatten(Module):
    """Make one dimension of `start_dim` to `end_dim`: (N, 28, 28) to (N, 784)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The input, flattened."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The dimensions."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Dropout(Module):
    """While learning, set each element to zero with probability p and scale the rest by 1 / (1 - p).

    Args:
        p: the probability.
        generator: where the draws come from; a training run gives it one of its own, so that it can be resumed.
    """

    def __init__(self, p: float = 0.5, *, generator: np.random.Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is a probability, 0 to 1, not {p}")
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


class Unflatten(Module):
    """Make several dimensions of one: `Unflatten(1, (28, 28))` makes (N, 28, 28) of (N, 784)."""

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """The input, unflattened."""
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """The dimension and sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
