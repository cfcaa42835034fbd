"""The table of operations, continued: inverse functions, remainders, activations, each compared with plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops

from .cases import anything, case, off_zero, positive, small


def inside(*shape: int) -> np.ndarray:
    return small(*shape) * 0.9


def above_one(*shape: int) -> np.ndarray:
    return 1 + positive(*shape)


def wide(*shape: int) -> np.ndarray:
    """Values on both sides of the kinks at -3, 0, 3 and 6, so far off that finite differences do not cross them."""
    return np.resize([-4.3, -3.4, -2.2, -0.6, 0.7, 2.1, 3.6, 5.2, 6.9], shape) + 0.01 * small(*shape)


def sigmoid(x: Any) -> Any:
    return np.exp(x) / (1 + np.exp(x))


SELU = (1.0507009873554805, 1.6732632423543772)

for operation, plain, draw in [
    (ops.exp2, lambda x: x.dtype.type(2) ** x, anything),
    (ops.log10, lambda x: np.log(x) / np.log(x.dtype.type(10)), positive),
    (ops.asin, lambda x: np.angle(np.sqrt(1 - x * x) + 1j * x), inside),
    (ops.acos, lambda x: np.angle(x + 1j * np.sqrt(1 - x * x)), inside),
    (ops.asinh, lambda x: np.log(x + np.sqrt(x * x + 1)), anything),
    (ops.acosh, lambda x: np.log(x + np.sqrt(x * x - 1)), above_one),
    (ops.atanh, lambda x: (np.log(1 + x) - np.log(1 - x)) / 2, inside),
    (ops.relu6, lambda x: np.where(x > 6, 6, x * (x > 0)).astype(x.dtype), wide),
    (ops.hardsigmoid, lambda x: np.where(x > 3, 1, (x + 3) * (x > -3) / 6).astype(x.dtype), wide),
    (ops.hardswish, lambda x: np.where(x > 3, x, x * (x + 3) * (x > -3) / 6), wide),
    (ops.mish, lambda x: x * (1 - 2 / ((1 + np.exp(x)) ** 2 + 1)), anything),
    (ops.celu, lambda x: np.where(x > 0, x, np.exp(x) - 1), off_zero),
    (ops.selu, lambda x: x.dtype.type(SELU[0]) * np.where(x > 0, x, x.dtype.type(SELU[1]) * (np.exp(x) - 1)), off_zero),
    (ops.softsign, lambda x: x / (1 + x * np.sign(x)), off_zero),
]:
    for shape in [(), (9,), (2, 5), (0,), (2, 0, 3)]:
        case(operation, f"{operation.__name__}{shape}", operation, plain, draw(*shape))
case(
    ops.celu,
    "celu alpha",
    lambda x: ops.celu(x, alpha=0.4),
    lambda x: np.where(x > 0, x, 2 * (np.exp(5 * x / 2) - 1) / 5),
    off_zero(5),
)

for first, second in [((), ()), ((4,), ()), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0, 3), (3,))]:
    label = f"{first}{second}"
    x, y = 3 * off_zero(*first), off_zero(*second) * 0.7
    case(ops.remainder, f"remainder {label}", ops.remainder, lambda x, y: x - y * np.floor(x / y), x, y)
    case(ops.fmod, f"fmod {label}", ops.fmod, lambda x, y: x - y * np.trunc(x / y), x, y)
    case(
        ops.logaddexp,
        f"logaddexp {label}",
        ops.logaddexp,
        lambda x, y: np.log(np.exp(x) + np.exp(y)),
        anything(*first),
        anything(*second),
    )
case(ops.remainder, "remainder of a number", lambda y: 5.3 % y, lambda y: y.dtype.type(5.3) % y, off_zero(4))
case(
    ops.remainder,
    "remainder by a number",
    lambda x: x % -0.75,
    lambda x: x + np.ceil(x / -0.75 - 1) * 0.75,
    anything(7),
)

for shape, weight in [((), (1,)), ((6,), (1,)), ((2, 3), (3,)), ((2, 3, 4), (3,)), ((2, 3, 4), (1,)), ((0, 3), (3,))]:
    x, w = off_zero(*shape), positive(*weight)
    columns = (1, -1, *(1,) * (len(shape) - 2)) if len(shape) > 1 else shape and (1,)
    for operation, sizes in [(ops.prelu, weight), (ops.activations.sloped_relu, columns)]:
        if operation is ops.prelu or len(shape) > 1:
            case(
                operation,
                f"{operation.__name__} {shape}{weight}",
                operation,
                lambda x, w, columns=columns: np.where(x > 0, x, x * w.reshape(columns)),
                x,
                w.reshape(sizes),
            )
case(
    ops.softmin,
    "softmin",
    lambda x: ops.softmin(x, 0),
    lambda x: np.exp(-x) / np.exp(-x).sum(0),
    anything(3, 2),
)
