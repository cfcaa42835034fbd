"""Standardisation: mean 0 and variance 1 over some dimensions, then scaled and shifted; and its gradients.

    y = (x - mean) / √(variance + eps)      out = w y + b

Batch, layer, group and instance normalisation are this over different dimensions. Arrays have any shape and lie in
memory in any order; results keep the order of x, and inputs that have it, without gaps, are not copied.
`loops.normalization` says how it is done and what limits it.

Source: Ioffe and Szegedy, Batch normalization (2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.compile import run
from chainrule.kernels.geometry import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Dims = int | tuple[int, ...]


def moments(x: Array, dims: Dims) -> tuple[Array, Array]:
    """The mean over `dims`, and the mean square of the distance from it; `dims` stay, as dimensions of size 1."""
    view = View(x, dims)
    mean, variance = np.full((2, *view.each), np.nan, x.dtype)
    if x.size:
        run("shares", "moments", view.of(x, view.whole), mean, variance)
    return view.back(mean), view.back(variance)


def standardize(x: Array, weight: Array | float, bias: Array | float, dims: Dims, eps: float) -> Array:
    """The result, of x's shape, to which weight and bias broadcast."""
    view = View(x, dims)
    numbers = view.of(x, view.whole)
    out, memory = view.new(numbers)
    scale = _scale(view, x.dtype, weight, bias)
    factors, shifts = scale or (np.ones(view.each, x.dtype), np.zeros(view.each, x.dtype))
    if out.size:
        run("shares", "standardize", numbers, factors, shifts, eps, memory)
    if scale is None:
        out *= weight
        out += bias
    return out


def standardize_gradient(
    grad: Array, x: Array, weight: Array | float, bias_shape: tuple[int, ...], dims: Dims, eps: float
) -> tuple[Array, Array, Array]:
    """From the gradient to the result, those to x, to the weight and to the bias.

    The last two may still have to be summed where weight and bias were broadcast.
    """
    view = View(x, dims)
    scale = _scale(view, x.dtype, weight, np.zeros(bias_shape))
    if scale is None:
        of_x, _, _ = standardize_gradient(grad * weight, x, 1.0, (), dims, eps)
        return of_x, grad * standardize(x, 1.0, 0.0, dims, eps), grad
    numbers, factors = view.of(x, view.whole), scale[0]
    out, memory = view.new(numbers)
    sums, products = np.zeros((2, *factors.shape), x.dtype)
    if out.size:
        upstream = view.of(grad, view.whole)
        run("shares", "standardize_gradient", numbers, upstream, factors, eps, memory, sums, products)
    return out, view.back(products), view.back(sums)


def _scale(view: View, dtype: Any, *given: Array | float) -> list[Array] | None:
    """Weight and bias as the kernels take them; None if they vary in another way."""
    for sizes in (view.each, view.line) if view.whole[2:] == (1, 1) else (view.each,):
        try:
            return [view.of(np.asarray(part, dtype), sizes) for part in given]
        except ValueError:  # they do not broadcast to that
            continue
    return None
