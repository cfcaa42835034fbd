"""Activations as modules, to stand in a `Sequential`; the formulas are in `chainrule.ops`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Module, options

if TYPE_CHECKING:
    from chainrule.tensor import Tensor

__all__ = [
    "ELU", "GELU", "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax",
    "Softplus", "Tanh",
]  # fmt: skip


class ReLU(Module):
    """max(x, 0)."""

    forward = staticmethod(F.relu)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)."""

    forward = staticmethod(F.sigmoid)


class Tanh(Module):
    """tanh(x)."""

    forward = staticmethod(F.tanh)


class SiLU(Module):
    """x σ(x)."""

    forward = staticmethod(F.silu)


class LogSigmoid(Module):
    """ln σ(x)."""

    forward = staticmethod(F.logsigmoid)


@options
class LeakyReLU(Module):
    """x if x > 0, else negative_slope · x."""

    negative_slope: float = 0.01

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.leaky_relu(input, negative_slope=self.negative_slope)


@options
class ELU(Module):
    """x if x > 0, else alpha (eˣ - 1)."""

    alpha: float = 1.0

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.elu(input, alpha=self.alpha)


@options
class GELU(Module):
    """x Φ(x); `approximate` is "none" or "tanh"."""

    approximate: str = "none"

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.gelu(input, approximate=self.approximate)


@options
class Softplus(Module):
    """ln(1 + e^(βx)) / β."""

    beta: float = 1.0
    threshold: float = 20.0

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.softplus(input, beta=self.beta, threshold=self.threshold)


@options
class Hardtanh(Module):
    """x, held between `min_val` and `max_val`."""

    min_val: float = -1.0
    max_val: float = 1.0

    def forward(self, input: Tensor) -> Tensor:
        """Element by element."""
        return F.hardtanh(input, min_val=self.min_val, max_val=self.max_val)


@options
class Softmax(Module):
    """eˣ / Σ eˣ along a dimension (PyTorch guesses `dim` if it is left out; here it is the last)."""

    dim: int = -1

    def forward(self, input: Tensor) -> Tensor:
        """Positive numbers that sum to 1 along `dim`."""
        return F.softmax(input, dim=self.dim)


class LogSoftmax(Softmax):
    """The logarithm of `Softmax`."""

    def forward(self, input: Tensor) -> Tensor:
        """Logarithms of positive numbers that sum to 1 along `dim`."""
        return F.log_softmax(input, dim=self.dim)
