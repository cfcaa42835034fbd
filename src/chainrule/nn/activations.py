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


class LogSoftmax(Softmax):
    """The logarithm of `Softmax`."""

    def forward(self, input: Tensor) -> Tensor:
        """Logarithms of positive numbers that sum to 1 along `dim`."""
        return F.log_softmax(input, dim=self.dim)


class ELU(Module):
    """x if x > 0, else alpha (eˣ - 1)."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.elu(input, alpha=self.alpha)

    def extra_repr(self) -> str:
        """The factor."""
        return f"alpha={self.alpha}"


class GELU(Module):
    """x Φ(x); `approximate` is "none" or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Which form."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x σ(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.silu(input)


class Softplus(Module):
    """ln(1 + e^(βx)) / β."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.softplus(input, beta=self.beta, threshold=self.threshold)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"beta={self.beta}, threshold={self.threshold}"


class LogSigmoid(Module):
    """ln σ(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.logsigmoid(input)


class Hardtanh(Module):
    """x, held between `min_val` and `max_val`."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val, self.max_val = min_val, max_val

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.hardtanh(input, min_val=self.min_val, max_val=self.max_val)

    def extra_repr(self) -> str:
        """The bounds."""
        return f"min_val={self.min_val}, max_val={self.max_val}"
