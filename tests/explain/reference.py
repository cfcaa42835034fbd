"""Forward and backward pass through networks for images in plain NumPy, one example at a time, without chainrule.

`layers` is a list of tuples: ("linear", W, b), ("conv", W, b, stride, padding), ("norm", weight, bias, mean, var, eps),
("relu",), ("sigmoid",), ("pool", size), ("flatten",), ("channel",) for a dimension of channels, ("dropout",).
"""

from __future__ import annotations

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def conv(x, weight, bias, stride, padding):
    """Convolution from (C, H, W) to (O, H', W'), one tap of the filter at a time."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height, width = ((n + 2 * padding - k) // stride + 1 for n, k in zip(x.shape[1:], weight.shape[2:], strict=True))
    out = np.zeros((len(weight), height, width)) + (0 if bias is None else bias[:, None, None])
    for i, j in np.ndindex(*weight.shape[2:]):
        seen = padded[:, i : i + stride * height : stride, j : j + stride * width : stride][:, :height, :width]
        out += np.tensordot(weight[:, :, i, j], seen, 1)
    return out


def conv_back(x, weight, stride, padding, delta):
    """The gradients of a convolution's weight and input."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height, width = delta.shape[1:]
    weight_gradient, back = np.zeros_like(weight), np.zeros_like(padded)
    for i, j in np.ndindex(*weight.shape[2:]):
        rows, columns = (slice(k, k + stride * (n - 1) + 1, stride) for k, n in ((i, height), (j, width)))
        weight_gradient[:, :, i, j] = np.einsum("oyx,cyx->oc", delta, padded[:, rows, columns])
        back[:, rows, columns] += np.einsum("oc,oyx->cyx", weight[:, :, i, j], delta)
    return weight_gradient, back[:, padding : padding + x.shape[1], padding : padding + x.shape[2]]


def forward(layers, x):
    """The example, and the output of each layer."""
    values = [x]
    for kind, *rest in layers:
        x = values[-1]
        if kind == "linear":
            weight, bias = rest
            x = np.array([sum(w * a for w, a in zip(row, x, strict=True)) for row in weight]) + bias
        elif kind == "conv":
            x = conv(x, *rest)
        elif kind == "norm":
            weight, bias, mean, var, eps = (r if np.ndim(r) == 0 else r[:, None, None] for r in rest)
            x = (x - mean) / np.sqrt(var + eps) * weight + bias
        elif kind == "relu":
            x = np.where(x > 0, x, 0)
        elif kind == "sigmoid":
            x = sigmoid(x)
        elif kind == "pool":
            (size,) = rest
            channels, height, width = x.shape
            out = np.zeros((channels, height // size, width // size))
            for c, i, j in np.ndindex(*out.shape):
                out[c, i, j] = max(x[c, size * i + k, size * j + m] for k in range(size) for m in range(size))
            x = out
        elif kind == "flatten":
            x = x.reshape(-1)
        elif kind == "channel":
            x = x[None]
        values.append(x)
    return values


def cross_entropy(output, label):
    """The loss, and its gradient."""
    p = np.exp(output - output.max())
    p /= p.sum()
    gradient = p.copy()
    gradient[label] -= 1
    return -np.log(p[label]), gradient


def squared_error(output, label):
    """½ Σ (a - y)², and its gradient."""
    error = output - np.eye(len(output))[label]
    return 0.5 * np.sum(error**2), error


def backward(layers, values, gradient):
    """The gradients of all values, and for each layer a tuple of the gradients of its weight and bias, or None."""
    slopes, weights = [gradient], [None] * len(layers)
    for position in range(len(layers) - 1, -1, -1):
        (kind, *rest), x, delta = layers[position], values[position], slopes[0]
        if kind == "linear":
            weights[position] = (np.outer(delta, x), delta)
            back = rest[0].T @ delta
        elif kind == "conv":
            weight_gradient, back = conv_back(x, rest[0], *rest[2:], delta)
            weights[position] = (weight_gradient, delta.sum((1, 2)))
        elif kind == "norm":
            weight, _, mean, var, eps = (r if np.ndim(r) == 0 else r[:, None, None] for r in rest)
            normalized = (x - mean) / np.sqrt(var + eps)
            weights[position] = ((delta * normalized).sum((1, 2)), delta.sum((1, 2)))
            back = delta * weight / np.sqrt(var + eps)
        elif kind == "relu":
            back = np.where(x > 0, delta, 0)
        elif kind == "sigmoid":
            back = delta * sigmoid(x) * (1 - sigmoid(x))
        elif kind == "pool":
            (size,) = rest
            back = np.zeros_like(x)
            for c, i, j in np.ndindex(*delta.shape):
                window = x[c, size * i : size * (i + 1), size * j : size * (j + 1)]
                k, m = np.unravel_index(np.argmax(window), window.shape)  # the first of several equal ones
                back[c, size * i + k, size * j + m] = delta[c, i, j]
        else:
            back = delta.reshape(x.shape)
        slopes.insert(0, back)
    return slopes, weights
