"""Functions that written Python files contain where NumPy has none: their source is copied from here, unchanged."""

import math

import numpy as np


def convolution(x, weight, stride, padding, dilation, groups):
    """Convolve images (N, C, H, W) with filters (O, C / groups, KH, KW)."""
    windows = sliding_windows(x, weight.shape[2:], stride, padding, dilation, 0)  # (N, C, H', W', KH, KW)
    parts = [
        np.tensordot(part, filters, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        for part, filters in zip(np.split(windows, groups, 1), np.split(weight, groups), strict=True)
    ]
    return np.concatenate(parts, 1)


def max_pool(x, kernel, stride, padding, dilation):
    """Return the maximum of each window of images (N, C, H, W)."""
    return sliding_windows(x, kernel, stride, padding, dilation, -np.inf).max((4, 5))


def avg_pool(x, kernel, stride, padding):
    """Return the mean of each window of images (N, C, H, W); the zeros of the padding count."""
    return sliding_windows(x, kernel, stride, padding, (1, 1), 0).mean((4, 5))


def sliding_windows(x, kernel, stride, padding, dilation, fill):
    """Return all windows of images (N, C, H, W), with `fill` around them: (N, C, H', W', KH, KW)."""
    x = np.pad(x, ((0, 0), (0, 0), *padding), constant_values=fill)
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, (2, 3))
    return windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def embedding(table, index):
    """Return the rows of a table at indices."""
    if index.size and not 0 <= index.min() <= index.max() < len(table):
        raise IndexError(f"indices are {index.min()} to {index.max()}, but must be 0 to {len(table) - 1}")
    return table[index]


def erf(x):
    """The error function."""
    return np.vectorize(math.erf, [x.dtype])(x)


NEEDS = {
    convolution: [sliding_windows],
    max_pool: [sliding_windows],
    avg_pool: [sliding_windows],
    embedding: [],
    erf: [],
}
"""The functions that a graph may contain, each with the other functions of this file that it calls."""
