"""Weight initialization. Each function fills a Tensor in place and returns it.

Sources: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks (2010), for
xavier; He et al., Delving deep into rectifiers (2015), for kaiming; Saxe et al., Exact solutions to the nonlinear
dynamics of learning in deep linear neural networks (2014), for orthogonal.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from math import prod, sqrt
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from chainrule.autograd import no_grad
from chainrule.errors import check, check_not_negative, check_numbers, type_name
from chainrule.random import draw, draw_with
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

T = TypeVar("T", bound=Tensor)

_skip: ContextVar[bool] = ContextVar("skip_init", default=False)


@contextmanager
def skip_init() -> Iterator[None]:
    """Build modules without initial values, for weights that are loaded afterwards.

    Parameters stay as `np.zeros` creates them; the operating system allocates that memory only on the first write. So
    the parameters of a network can be counted even if it does not fit into memory.
    """
    token = _skip.set(True)
    try:
        yield
    finally:
        _skip.reset(token)


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> T:
    """Fill with values drawn uniformly between a and b.

    Raises:
        ValueError: a is above b, or one of them is not finite.
    """
    check_numbers("uniform_", a, b)
    check("uniform_", -np.inf < a <= b < np.inf, f"needs finite bounds with a <= b, got {a=}, {b=}")
    return _fill("uniform_", tensor, lambda: a + (b - a) * Tensor._wrap(draw("random", tensor.shape, generator)))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> T:
    """Fill from the normal distribution N(mean, std²).

    Raises:
        ValueError: std is negative or NaN.
    """
    check_not_negative("normal_", std=std)
    return _fill("normal_", tensor, lambda: mean + std * Tensor._wrap(draw("standard_normal", tensor.shape, generator)))


def trunc_normal_(
    tensor: T, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Generator | None = None
) -> T:
    """Fill from the normal distribution, truncated to [a, b] (values, not multiples of std).

    Raises:
        ValueError: a >= b, or std <= 0.
    """
    check_numbers("trunc_normal_", mean, std, a, b)
    check("trunc_normal_", a < b and std > 0, f"needs a < b and std > 0, got {a=}, {b=}, {std=}")

    def values(rng: Generator) -> NDArray[Any]:
        from scipy.stats import truncnorm  # imported here because it is slow

        low, high = (a - mean) / std, (b - mean) / std
        return np.asarray(np.clip(truncnorm.rvs(low, high, mean, std, size=tensor.shape, random_state=rng), a, b))

    return _fill("trunc_normal_", tensor, lambda: Tensor._wrap(draw_with(values, "trunc_normal_", generator)))


def constant_(tensor: T, val: float) -> T:
    """Fill with one value."""
    return _fill("constant_", tensor, lambda: val, kinds="biuf")


def zeros_(tensor: T) -> T:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Fill with values uniform in ±gain √(6 / (fan_in + fan_out)).

    Keeps the variances of activations and gradients roughly constant from layer to layer; for tanh and sigmoid.
    """
    check_not_negative("xavier_uniform_", gain=gain)
    bound = gain * sqrt(6 / max(sum(fans(tensor)), 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Fill from N(0, std²) with std = gain √(2 / (fan_in + fan_out))."""
    check_not_negative("xavier_normal_", gain=gain)
    return normal_(tensor, 0.0, gain * sqrt(2 / max(sum(fans(tensor)), 1)), generator)


def kaiming_uniform_(
    tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> T:  # fmt: skip
    """Fill with values uniform in ±gain √(3 / fan).

    Keeps the variance of activations constant from layer to layer; for relu and leaky_relu.

    Args:
        tensor: the weight.
        a: the negative slope, for "leaky_relu".
        mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
        nonlinearity: the activation that follows; see `calculate_gain`.
        generator: source of the random numbers.
    """
    bound = calculate_gain(nonlinearity, a) * sqrt(3 / _fan("kaiming_uniform_", tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> T:  # fmt: skip
    """Fill from N(0, std²) with std = gain / √fan; arguments as in `kaiming_uniform_`."""
    return normal_(
        tensor, 0.0, calculate_gain(nonlinearity, a) / sqrt(_fan("kaiming_normal_", tensor, mode)), generator
    )


def orthogonal_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Fill with a (semi-)orthogonal matrix, scaled by `gain`; dimensions after the first are flattened into one.

    All such matrices are equally likely: a matrix of normally distributed numbers is decomposed into Q R, and each
    column of Q is multiplied by the sign of R's diagonal element.

    Source: Mezzadri, How to generate random matrices from the classical compact groups (2007).

    Raises:
        ValueError: fewer than two dimensions.
    """
    _check_tensor("orthogonal_", tensor)
    check("orthogonal_", tensor.ndim > 1, f"a weight needs at least two dimensions, got shape {tensor.shape}")
    check_numbers("orthogonal_", gain)
    if not tensor.numel():
        return tensor

    def values(rng: Generator) -> NDArray[Any]:
        gaussian = rng.standard_normal(tensor.shape).reshape(tensor.shape[0], -1)
        is_wide = gaussian.shape[0] < gaussian.shape[1]
        q, r = np.linalg.qr(gaussian.T if is_wide else gaussian)
        q *= np.sign(np.diag(r))
        return gain * (q.T if is_wide else q).reshape(tensor.shape)

    return _fill("orthogonal_", tensor, lambda: Tensor._wrap(draw_with(values, "orthogonal_", generator)))


def calculate_gain(nonlinearity: str, param: float = 0.01) -> float:
    """Return the factor that offsets an activation's loss of variance; `param` is the negative slope of leaky_relu."""
    check_numbers("calculate_gain", param)
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "leaky_relu": sqrt(2 / (1 + param**2))}
    message = f"nonlinearity must be one of {', '.join(gains)}, not {nonlinearity!r}"
    check("calculate_gain", nonlinearity in gains, message)
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return fan_in and fan_out of a weight (out, in, ...)."""
    _check_tensor("fans", tensor)
    check("fans", tensor.ndim > 1, f"a weight needs at least two dimensions to have a fan, got shape {tensor.shape}")
    receptive_field = prod(tensor.shape[2:])
    return tensor.shape[1] * receptive_field, tensor.shape[0] * receptive_field


def _check_tensor(name: str, tensor: Any) -> None:
    check(name, isinstance(tensor, Tensor), f"can only fill a Tensor, not {type_name(tensor)}", TypeError)


def _fill(name: str, tensor: T, values: Callable[[], Tensor | float], kinds: str = "f") -> T:
    """Fill a Tensor with `values()`, unless inside `skip_init`; its dtype must be of one of these kinds."""
    _check_tensor(name, tensor)
    check(name, tensor.dtype.kind in kinds, f"needs a Tensor of floats, not {tensor.dtype}", TypeError)
    if _skip.get():
        return tensor
    with no_grad():
        return tensor.copy_(values())


def _fan(name: str, tensor: Tensor, mode: str) -> int:
    """Return fan_in or fan_out, as `mode` says, and at least 1; `name` is the calling function's, for the error."""
    check(name, mode in ("fan_in", "fan_out"), f'mode must be "fan_in" or "fan_out", not {mode!r}')
    return max(fans(tensor)[0 if mode == "fan_in" else 1], 1)  # a fan is 0 if the weight is empty
