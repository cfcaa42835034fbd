"""Linear, dropout and reshaping layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from chainrule import ops
from chainrule.creation import zeros
from chainrule.errors import check
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn import init
from chainrule.nn.module import Layer, Module, Parameter, applies, with_options
from chainrule.ops.dtypes import DEFAULT
from chainrule.ops.shape import int_tuple

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import DTypeLike

    from chainrule.tensor import Tensor

__all__ = ["Dropout", "Dropout2d", "Flatten", "Linear", "Unflatten"]


def check_sizes(owner: Module, **sizes: Any) -> None:
    """Raise an error unless each size is an integer of at least 0, or a sequence of such integers."""
    for name, size in sizes.items():
        numbers = int_tuple(size, f"{type(owner).__name__}: {name}")
        check(owner, min(numbers, default=0) >= 0, f"{name} must be at least 0, not {size}")


def weight_and_bias(
    shape: tuple[int, ...], outputs: int, bias: bool, generator: Generator | None, dtype: DTypeLike
) -> tuple[Parameter, Parameter | None]:
    """Create a weight of shape (out, in, ...) and perhaps a bias of length `outputs`, both uniform in ±1 / √fan_in."""
    fan_in = math.prod(shape[1:])
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    weight = init.uniform_(Parameter(zeros(shape, dtype=dtype)), -bound, bound, generator)
    return weight, init.uniform_(Parameter(zeros(outputs, dtype=dtype)), -bound, bound, generator) if bias else None


class Linear(Module):
    """Fully connected layer: y = x Wᵀ + b.

    Weights and biases are initialized uniformly in ±1 / √in_features, as in PyTorch.

    Args:
        in_features: size of the last dimension of the input.
        out_features: size of the last dimension of the output.
        bias: whether to add a bias.
        generator: source of the initial values.
        dtype: the type of the parameters.

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
        """Map (..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        bias = "" if self.bias is not None else ", bias=False"
        return f"in_features={self.in_features}, out_features={self.out_features}{bias}"


@applies(ops.flatten)
class Flatten(Layer):
    """Flatten the dimensions from `start_dim` to `end_dim` into one: (N, 28, 28) to (N, 784)."""

    start_dim: int = 1
    end_dim: int = -1


class Dropout(Module):
    """In training, set each element to zero with probability p and scale the rest by 1 / (1 - p).

    Args:
        p: the probability.
        inplace: whether to write the result into the input, too.
        generator: source of the random numbers. A run can be resumed exactly only if the states of its generators are
            part of its checkpoint.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None) -> None:
        F.check_probability(self, p)
        self.p, self.inplace, self.generator = p, inplace, generator

    def forward(self, input: Tensor) -> Tensor:
        """Apply dropout in training; return the input otherwise."""
        return F.dropout(input, self.p, self.training, self.inplace, self.generator)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"


class Dropout2d(Dropout):
    """In training, set each channel of (N, C, ...) to zero with probability p; scale the rest by 1 / (1 - p)."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply dropout in training; return the input otherwise."""
        return F.dropout2d(input, self.p, self.training, self.inplace, self.generator)


@with_options
class Unflatten(Module):
    """Split one dimension into several: `Unflatten(1, (28, 28))` turns (N, 784) into (N, 28, 28)."""

    dim: int
    unflattened_size: tuple[int, ...]

    def forward(self, input: Tensor) -> Tensor:
        """Unflatten the input."""
        return input.unflatten(self.dim, self.unflattened_size)
