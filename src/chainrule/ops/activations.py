"""Activation functions, elementwise: relu and its relatives, sigmoid, softplus, mish, GELU.

Each derivative follows its formula. `inplace=True` also writes the result into the input, as in PyTorch, but it
does not save memory: the values that the derivative needs are kept.
"""

import math
from typing import Any

import numpy as np

from chainrule.errors import check, check_floats
from chainrule.ops.elementwise import erf, tanh
from chainrule.ops.operation import Array, Input, Tensor, check_tensors, operation
from chainrule.ops.shape import reshape

__all__ = [
    "celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "prelu",
    "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign",
]  # fmt: skip


@operation(promote="floating", fused=True)
def sigmoid(input: Input) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ). Where e⁻ˣ overflows to infinity, the result is 0, its limit."""
    return 1 / (1 + np.exp(-input))


@sigmoid.derivative
def _(grad: Array, out: Array) -> Array:
    """dσ(x)/dx = σ(x) (1 - σ(x))."""
    return grad * (out * (1 - out))


@operation(input_count=1, fused=True)
def relu(input: Input, inplace: bool = False) -> Array:
    """max(x, 0).

    Raises:
        TypeError: the input is boolean.
    """
    _check_numbers("relu", input)
    return np.maximum(input, 0)


@relu.derivative
def _(grad: Array, out: Array) -> Array:
    """d relu(x)/dx = 1 if x > 0, else 0 (0 at 0, as in PyTorch); 1 for NaN."""
    return np.where(out <= 0, 0, grad)


def _check_numbers(name: str, input: Array) -> None:
    """Raise a TypeError if the input is boolean."""
    check(name, input.dtype.kind != "b", "takes numbers, not booleans: convert it with .float()", TypeError)


@operation(input_count=1, fused=True)
def relu6(input: Input, inplace: bool = False) -> Array:
    """x limited to [0, 6]. Source: Krizhevsky, Convolutional deep belief networks on CIFAR-10 (2010).

    Raises:
        TypeError: the input is boolean.
    """
    _check_numbers("relu6", input)
    return np.clip(input, 0, 6)


@relu6.derivative
def _(grad: Array, out: Array) -> Array:
    """1 between 0 and 6, 0 elsewhere (also at 0 and 6, as in PyTorch); 1 for NaN."""
    return np.where((out <= 0) | (out >= 6), 0, grad)


@operation(input_count=1, promote="floating_only", fused=True)
def leaky_relu(input: Input, negative_slope: float = 0.01, inplace: bool = False) -> Array:
    """x if x > 0, else negative_slope · x."""
    return np.where(input > 0, input, input * negative_slope)


@leaky_relu.derivative
def _(grad: Array, input: Array, negative_slope: float) -> Array:
    """d leaky_relu(x)/dx = 1 if x > 0, else negative_slope."""
    return np.where(input > 0, grad, grad * negative_slope)


@operation(input_count=1, promote="floating_only", fused=True)
def softplus(input: Input, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """ln(1 + e^(βx)) / β, a smooth relu.

    Where βx is above `threshold`, the result is x itself, too small by at most e^-threshold / β.
    """
    beta_x = input * beta
    return np.where(beta_x > threshold, input, (np.maximum(beta_x, 0) + np.log1p(np.exp(-np.absolute(beta_x)))) / beta)


@softplus.derivative
def _(grad: Array, input: Array, beta: float, threshold: float) -> Array:
    """d softplus(x)/dx = σ(βx); 1 if βx is above `threshold`."""
    return np.where(input * beta > threshold, grad, grad * sigmoid(input * beta))


@operation(promote="floating_only", fused=True)
def logsigmoid(input: Input) -> Array:
    """ln σ(x), computed as min(x, 0) - ln(1 + e^-|x|), which does not overflow."""
    return np.minimum(input, 0) - np.log1p(np.exp(-np.absolute(input)))


@logsigmoid.derivative
def _(grad: Array, input: Array) -> Array:
    """d ln σ(x)/dx = σ(-x)."""
    return grad * sigmoid(-input)


@operation(input_count=1, promote="floating_only", fused=True)
def elu(input: Input, alpha: float = 1.0, inplace: bool = False) -> Array:
    """x if x > 0, else α (eˣ - 1). Source: Clevert et al., Fast and accurate deep network learning by ELUs (2016)."""
    return np.where(input > 0, input, alpha * np.expm1(np.minimum(input, 0)))


@elu.derivative
def _(grad: Array, input: Array, alpha: float) -> Array:
    """d elu(x)/dx = 1 if x > 0, else α eˣ."""
    return np.where(input > 0, grad, grad * (alpha * np.exp(np.minimum(input, 0))))


@operation(input_count=1, promote="floating_only", fused=True)
def silu(input: Input, inplace: bool = False) -> Array:
    """x σ(x). Source: Elfwing et al., Sigmoid-weighted linear units (2018)."""
    return input * sigmoid(input)


@silu.derivative
def _(grad: Array, input: Array) -> Array:
    """d(x σ(x))/dx = σ(x) (1 + x (1 - σ(x)))."""
    gate = sigmoid(input)
    return grad * (gate * (1 + input * (1 - gate)))


@operation(input_count=1, promote="floating", fused=True)
def hardtanh(input: Input, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Array:
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} must not be above max_val {max_val}")
    return np.clip(input, min_val, max_val)


@hardtanh.derivative
def _(grad: Array, input: Array, min_val: float, max_val: float) -> Array:
    """1 between the bounds, 0 elsewhere (also at the bounds, as in PyTorch); 1 for NaN."""
    return np.where((input <= min_val) | (input >= max_val), 0, grad)


@operation(input_count=1, promote="floating_only", fused=True)
def hardsigmoid(input: Input, inplace: bool = False) -> Array:
    """(x + 3) / 6 limited to [0, 1], a piecewise linear approximation of the sigmoid."""
    return np.clip(input + 3, 0, 6) / 6


@hardsigmoid.derivative
def _(grad: Array, input: Array) -> Array:
    """1/6 between -3 and 3, 0 elsewhere."""
    return np.where((input > -3) & (input < 3), grad / 6, 0)


@operation(input_count=1, promote="floating_only", fused=True)
def hardswish(input: Input, inplace: bool = False) -> Array:
    """x · hardsigmoid(x). Source: Howard et al., Searching for MobileNetV3 (2019)."""
    return input * (np.clip(input + 3, 0, 6) / 6)  # 6 x may overflow


@hardswish.derivative
def _(grad: Array, input: Array) -> Array:
    """0 if x ≤ -3, 1 if x ≥ 3, else x / 3 + ½."""
    return np.where(input <= -3, 0, np.where(input >= 3, grad, grad * (input / 3 + 0.5)))


@operation(input_count=1, promote="floating_only", fused=True)
def mish(input: Input, inplace: bool = False) -> Array:
    """x tanh(ln(1 + eˣ)). Source: Misra, Mish: a self regularized non-monotonic activation function (2020)."""
    return input * np.tanh(np.logaddexp(0, input))


@mish.derivative
def _(grad: Array, input: Array) -> Array:
    """t + x σ(x) (1 - t²), where t = tanh(ln(1 + eˣ))."""
    t = np.tanh(np.logaddexp(0, input))
    return grad * (t + input * sigmoid(input) * (1 - t * t))


@operation(input_count=1, promote="floating_only", fused=True)
def celu(input: Input, alpha: float = 1.0, inplace: bool = False) -> Array:
    """x if x > 0, else α (e^(x/α) - 1). The derivative is continuous for every α.

    Raises:
        ValueError: α is 0.

    Source: Barron, Continuously differentiable exponential linear units (2017).
    """
    check("celu", alpha != 0, "alpha must not be 0")
    return np.where(input > 0, input, alpha * np.expm1(np.minimum(input, 0) / alpha))


@celu.derivative
def _(grad: Array, input: Array, alpha: float) -> Array:
    """d celu(x)/dx = 1 if x > 0, else e^(x/α)."""
    return np.where(input > 0, grad, grad * np.exp(np.minimum(input, 0) / alpha))


_SELU_ALPHA = 1.6732632423543772
"""α of `selu`, called α₀₁ in its source."""
_SELU_SCALE = 1.0507009873554805
"""λ of `selu`, called λ₀₁ in its source."""


@operation(input_count=1, promote="floating_only", fused=True)
def selu(input: Input, inplace: bool = False) -> Array:
    """λ elu(x) with α = 1.6733 and λ = 1.0507, which keep activations near mean 0 and variance 1 in deep networks.

    Source: Klambauer et al., Self-normalizing neural networks (2017).
    """
    return _SELU_SCALE * np.where(input > 0, input, _SELU_ALPHA * np.expm1(np.minimum(input, 0)))


@selu.derivative
def _(grad: Array, input: Array) -> Array:
    """d selu(x)/dx = λ if x > 0, else λ α eˣ."""
    return grad * np.where(input > 0, _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA * np.exp(np.minimum(input, 0)))


@operation(promote="floating", fused=True)
def softsign(input: Input) -> Array:
    """x / (1 + |x|)."""
    return input / (1 + np.absolute(input))


@softsign.derivative
def _(grad: Array, input: Array) -> Array:
    """d softsign(x)/dx = 1 / (1 + |x|)²."""
    return grad / np.square(1 + np.absolute(input))


@operation(fused=True)
def gelu(input: Input, *, approximate: str = "none") -> Array:
    """x Φ(x), where Φ is the cumulative distribution function of the standard normal distribution.

    Args:
        input: any shape.
        approximate: "none" to compute Φ with erf; "tanh" to approximate it with tanh.

    Raises:
        ValueError: `approximate` is unknown.

    Source: Hendrycks and Gimpel, Gaussian error linear units (2016).
    """
    check_floats("gelu", input)
    check("gelu", approximate in ("none", "tanh"), f'approximate must be "none" or "tanh", not {approximate!r}')
    return input * _normal_cdf(input, approximate)


@gelu.derivative
def _(grad: Array, input: Array, approximate: str) -> Array:
    """d(x Φ(x))/dx = Φ(x) + x φ(x), where φ is the derivative of Φ: e^(-x²/2) / √2π, or that of the approximation."""
    cdf = _normal_cdf(input, approximate)
    if approximate == "none":
        density = np.exp(-0.5 * input * input) / math.sqrt(2 * math.pi)
    else:
        # clipped, because x² may overflow where the density is 0
        density = cdf * (1 - cdf) * (math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * np.square(np.clip(input, -30, 30))))
    return grad * (cdf + input * density)


def _normal_cdf(x: Array, approximate: str) -> Any:
    """Φ(x), or its approximation with tanh."""
    if approximate == "none":
        return 0.5 * (1 + erf(x * math.sqrt(0.5)))
    return 0.5 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


@operation(promote="floating_only", fused=True)
def sloped_relu(input: Array, weight: Array) -> Array:
    """x if x > 0, else weight · x; see `prelu`."""
    return np.where(input > 0, input, weight * input)


@sloped_relu.derivative
def _(grad: Array, input: Array, weight: Array) -> Array:
    """For x, 1 if x > 0, else the weight; for the weight, 0 if x > 0, else x."""
    return lambda: np.where(input > 0, grad, weight * grad), lambda: np.where(input > 0, 0, grad * input)


def prelu(input: Input, weight: Input) -> Tensor:
    """x if x > 0, else weight · x, with one learned weight or one for each channel.

    Args:
        input: (N, C, ...) if there is one weight per channel; otherwise any shape.
        weight: (C,), (1,) or ().

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the types differ, or are not floating.

    Source: He et al., Delving deep into rectifiers (2015).
    """
    check_tensors("prelu", input, weight)
    check_floats("prelu", input)
    if weight.dtype != input.dtype:
        raise TypeError(f"prelu: both must have the same type, not {input.dtype} and {weight.dtype}")
    weight_count = math.prod(weight.shape)
    if weight.ndim > 1 or (weight_count != 1 and input.shape[1:2] != (weight_count,)):
        requirement = "it must be (1,), or (C,) with one weight for each channel"
        raise ValueError(f"prelu: weight {weight.shape} does not fit input {input.shape}: {requirement}")
    if input.ndim > 1:
        broadcast_shape: tuple[int, ...] = (1, -1, *(1,) * (input.ndim - 2))
    else:
        broadcast_shape = (1,) * input.ndim
    return sloped_relu(input, reshape(weight, shape=broadcast_shape))
