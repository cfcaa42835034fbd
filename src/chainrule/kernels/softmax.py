"""Softmax along one dimension, its logarithm, the loss of a class, and their gradients.

    p[i] = exp(x[i]) / Σ exp(x)      y[i] = ln p[i]      loss = -ln p[class]

The largest x is taken off first, so that nothing overflows. Arrays have any shape, with the classes along `dim`, and
lie in memory in any order; results keep the order of the first argument, and inputs that have it, without gaps, are not
copied. `loops.softmax` says how it is done and what limits it.

Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.compile import run
from chainrule.kernels.geometry import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Places = NDArray[np.int64]


def softmax(x: Array, dim: int) -> Array:
    """p, of x's shape."""
    view = View(x, dim)
    return _scaled(view, x, np.ones(view.each, x.dtype), np.full(view.each, -1))


def log_softmax(x: Array, dim: int) -> Array:
    """y, of x's shape."""
    return _alike("log_softmax", dim, x)


def class_loss(x: Array, classes: Places, dim: int) -> Array:
    """The losses (N, d1, ...), say, of x (N, C, d1, ...) and classes (N, d1, ...); 0 for those not from 0 to C - 1."""
    view = View(x, dim)
    out = np.zeros(view.each, x.dtype)
    if x.size:
        run("shares", "class_loss", view.of(x, view.whole), view.of(np.expand_dims(classes, dim), view.each), out)
    return view.back(out).squeeze(dim)


def class_loss_gradient(grad: Array, x: Array, classes: Places, dim: int) -> Array:
    """The gradient to x from that to the losses: G (p - 1) for the class, G p for the others."""
    view = View(x, dim)
    return _scaled(view, x, *(view.of(np.expand_dims(each, dim), view.each) for each in (grad, classes)))


def softmax_gradient(grad: Array, p: Array, dim: int) -> Array:
    """The gradient to x from that to p: p (G - Σ G p)."""
    return _alike("softmax_gradient", dim, p, grad)


def log_softmax_gradient(grad: Array, y: Array, dim: int) -> Array:
    """The gradient to x from that to y: G - p Σ G."""
    return _alike("log_softmax_gradient", dim, y, grad)


def _scaled(view: View, x: Array, factors: Array, classes: Places) -> Array:
    """f (p - [class]), with a factor and a class for each line along `dim`."""
    given = view.of(x, view.whole)
    out, memory = view.new(given)
    if out.size:
        run("shares", "softmax", given, factors, classes, memory)
    return out


def _alike(name: str, dim: int, *arrays: Array) -> Array:
    """What a kernel makes of arrays of one shape."""
    view = View(arrays[0], dim)
    given = [view.of(array, view.whole) for array in arrays]
    out, memory = view.new(given[0])
    if out.size:
        run("shares", name, *given, memory)
    return out
