"""Activation functions as modules; the formulas are in `chainrule.ops`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.creation import full
from chainrule.errors import check_integer
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Layer, Module, Parameter, applies
from chainrule.ops.dtypes import DEFAULT

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from chainrule.tensor import Tensor

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softsign",
    "Tanh",
]  # fmt: skip


@applies(F.relu)
class ReLU(Layer):
    """max(x, 0); with `inplace`, here and in the other activations, the result is also written into the input."""

    inplace: bool = False


@applies(F.relu6)
class ReLU6(Layer):
    """x, clamped to [0, 6]."""

    inplace: bool = False


@applies(F.sigmoid)
class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ)."""


@applies(F.tanh)
class Tanh(Layer):
    """tanh(x)."""


@applies(F.silu)
class SiLU(Layer):
    """x σ(x)."""

    inplace: bool = False


@applies(F.mish)
class Mish(Layer):
    """x tanh(ln(1 + eˣ))."""

    inplace: bool = False


@applies(F.softsign)
class Softsign(Layer):
    """x / (1 + |x|)."""


@applies(F.logsigmoid)
class LogSigmoid(Layer):
    """ln σ(x)."""


@applies(F.leaky_relu)
class LeakyReLU(Layer):
    """x if x > 0, else negative_slope · x."""

    negative_slope: float = 0.01
    inplace: bool = False


@applies(F.elu)
class ELU(Layer):
    """x if x > 0, else alpha (eˣ - 1)."""

    alpha: float = 1.0
    inplace: bool = False


@applies(F.celu)
class CELU(Layer):
    """x if x > 0, else alpha (e^(x / alpha) - 1)."""

    alpha: float = 1.0
    inplace: bool = False


@applies(F.selu)
class SELU(Layer):
    """λ x if x > 0, else λ α (eˣ - 1), with constants λ and α that keep mean 0 and variance 1 from layer to layer."""

    inplace: bool = False


@applies(F.gelu)
class GELU(Layer):
    """x Φ(x), with Φ the distribution function of N(0, 1); `approximate` is "none" or "tanh"."""

    approximate: str = "none"


@applies(F.softplus)
class Softplus(Layer):
    """ln(1 + e^(beta x)) / beta; x itself where beta x > threshold."""

    beta: float = 1.0
    threshold: float = 20.0


@applies(F.hardtanh)
class Hardtanh(Layer):
    """x, clamped to [min_val, max_val]."""

    min_val: float = -1.0
    max_val: float = 1.0
    inplace: bool = False


@applies(F.hardsigmoid)
class Hardsigmoid(Layer):
    """(x + 3) / 6, clamped to [0, 1]."""

    inplace: bool = False


@applies(F.hardswish)
class Hardswish(Layer):
    """x · hardsigmoid(x)."""

    inplace: bool = False


class PReLU(Module):
    """x if x > 0, else weight · x, with a learned weight.

    Args:
        num_parameters: 1 for a single weight, or the number of channels C for one weight per channel.
        init: the initial weight.
        dtype: the type of the weight.

    Shapes: (N, C, ...) to the same shape; `weight` (num_parameters,).
    """

    _parameter_names = ("weight",)

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: DTypeLike = DEFAULT) -> None:
        check_integer(self, "num_parameters", num_parameters, minimum=1)
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full(num_parameters, float(init), dtype))

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, ...) to the same shape."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Return the number of weights."""
        return f"num_parameters={self.num_parameters}"


@applies(F.softmax)
class Softmax(Layer):
    """eˣ / Σ eˣ: positive values that sum to 1 along `dim`. By default, `dim` is the last dimension."""

    dim: int = -1


@applies(F.log_softmax)
class LogSoftmax(Softmax):
    """The logarithm of `Softmax`."""


@applies(F.softmin)
class Softmin(Softmax):
    """`Softmax` of -x: the smallest element gets the largest weight."""
