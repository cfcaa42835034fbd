"""Activations as modules, to stand in a `Sequential`; the formulas are in `chainrule.ops`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Module

if TYPE_CHECKING:
    from chainrule.tensor import Tensor


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.relu(input)


class LeakyReLU(Module):
    """x if x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.leaky_relu(input, negative_slope=self.negative_slope)

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.sigmoid(input)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.tanh(input)


class Softmax(Module):
    """eˣ / Σ eˣ along a dimension (PyTorch guesses `dim` if it is left out; here it is the last)."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Positive numbers that sum to 1 along `dim`."""
        return F.softmax(input, dim=self.dim)

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"
