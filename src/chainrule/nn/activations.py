"""Activation functions as modules; the formulas are in `chainrule.ops`."""

from __future__ import annotations

from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Layer, applies

__all__ = [
    "ELU", "GELU", "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax",
    "Softplus", "Tanh",
]  # fmt: skip


@applies(F.relu)
class ReLU(Layer):
    """max(x, 0)."""


@applies(F.sigmoid)
class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ)."""


@applies(F.tanh)
class Tanh(Layer):
    """tanh(x)."""


@applies(F.silu)
class SiLU(Layer):
    """x σ(x)."""


@applies(F.logsigmoid)
class LogSigmoid(Layer):
    """ln σ(x)."""


@applies(F.leaky_relu)
class LeakyReLU(Layer):
    """x if x > 0, else negative_slope · x."""

    negative_slope: float = 0.01


@applies(F.elu)
class ELU(Layer):
    """x if x > 0, else alpha (eˣ - 1)."""

    alpha: float = 1.0


@applies(F.gelu)
class GELU(Layer):
    """x Φ(x); `approximate` is "none" or "tanh"."""

    approximate: str = "none"


@applies(F.softplus)
class Softplus(Layer):
    """ln(1 + e^(βx)) / β."""

    beta: float = 1.0
    threshold: float = 20.0


@applies(F.hardtanh)
class Hardtanh(Layer):
    """x, clamped to [min_val, max_val]."""

    min_val: float = -1.0
    max_val: float = 1.0


@applies(F.softmax)
class Softmax(Layer):
    """eˣ / Σ eˣ: positive values that sum to 1 along `dim`. The default is the last dimension; PyTorch guesses it."""

    dim: int = -1


@applies(F.log_softmax)
class LogSoftmax(Softmax):
    """The logarithm of `Softmax`."""
