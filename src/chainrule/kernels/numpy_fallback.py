"""Convolution, pooling and attention in NumPy, for machines where LLVM cannot be used: the same formulas, more slowly.

Convolution and pooling loop over the taps of the filter or window; for each tap, one NumPy operation handles all pixels
that the tap reads.

`machine.with_numpy_fallback` calls these functions in place of the compiled ones. `attention_gradients` also takes
Tensors: it is the version of the derivative that can itself be differentiated (see `ops.attention`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.geometry import channels_first, channels_last, output_size
from chainrule.kernels.sums import SHORT_SUM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]


def convolve(x: Array, weight: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
    """See `convolution.convolve`."""
    out_channels, _, *kernel = weight.shape
    positions = [output_size(x.shape[2 + a], padding[a], kernel[a], stride[a], dilation[a]) for a in (0, 1)]
    padded = _by_group(np.pad(channels_last(x), ((0, 0), *padding, (0, 0))), groups)
    filters = _filters(weight, groups)
    out = np.zeros((len(x), *positions, groups, 1, out_channels // groups), x.dtype)
    for row, column, window in _windows(kernel, positions, stride, dilation):
        out += padded[window] @ filters[row, column]
    return channels_first(out.reshape(len(x), *positions, out_channels))


def convolve_input_gradient(
    grad: Array, weight: Array, input_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """See `convolution.convolve_input_gradient`."""
    images, channels, height, width = input_shape
    (top, bottom), (left, right) = padding
    padded = np.zeros((images, height + top + bottom, width + left + right, groups, 1, channels // groups), grad.dtype)
    upstream = _by_group(channels_last(grad), groups)
    filters = _filters(weight, groups).swapaxes(-1, -2)
    for row, column, window in _windows(weight.shape[2:], grad.shape[2:], stride, dilation):
        padded[window] += upstream @ filters[row, column]
    inside = padded[:, top : top + height, left : left + width]
    return channels_first(np.ascontiguousarray(inside).reshape(images, height, width, channels))


def convolve_weight_gradient(
    x: Array, grad: Array, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """See `convolution.convolve_weight_gradient`."""
    out_channels, group_channels, *kernel = weight_shape
    padded = _by_group(np.pad(channels_last(x), ((0, 0), *padding, (0, 0))), groups)[..., 0, :]
    upstream = _by_group(channels_last(grad), groups)[..., 0, :]
    out = np.empty((*kernel, groups, out_channels // groups, group_channels), x.dtype)
    for row, column, window in _windows(kernel, grad.shape[2:], stride, dilation):
        out[row, column] = np.einsum("nijgo,nijgc->goc", upstream, padded[window], optimize=True)
    return np.ascontiguousarray(out.transpose(2, 3, 4, 0, 1)).reshape(weight_shape)


def max_pool(x: Array, out: Array, argmax: Array, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """See `pooling.max_pool`; takes the arguments of `pooling._max_pool`, channels last."""
    is_first = np.ones((*out.shape[1:3], 1), bool)  # whether no tap has been inside the image so far
    for tap, pixels, positions in _taps(x.shape, out.shape, kernel, stride, padding, dilation):
        value, largest = x[pixels], out[positions]
        is_larger = is_first[positions[1:]] | (value > largest) | (value != value)  # the last term: NaN
        out[positions] = np.where(is_larger, value, largest)
        argmax[positions] = np.where(is_larger, tap, argmax[positions])
        is_first[positions[1:]] = False


def max_pool_gradient(
    grad: Array, argmax: Array, out: Array, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    """See `pooling.max_pool_gradient`; takes the arguments of `pooling._max_pool_gradient`, channels last."""
    out[:] = 0
    for tap, pixels, positions in _taps(out.shape, grad.shape, kernel, stride, padding, dilation):
        out[pixels] += np.where(argmax[positions] == tap, grad[positions], 0)


def avg_pool(x: Array, divisors: Array, out: Array, kernel: Any, stride: Any, padding: Any) -> None:
    """See `pooling.avg_pool`; takes the arguments of `pooling._avg_pool`, channels last."""
    total = np.zeros(out.shape, out.dtype if kernel[0] * kernel[1] <= SHORT_SUM else np.float64)
    for _, pixels, positions in _taps(x.shape, out.shape, kernel, stride, padding, (1, 1)):
        total[positions] += x[pixels]
    out[:] = total / divisors[:, :, None]


def avg_pool_gradient(grad: Array, divisors: Array, out: Array, kernel: Any, stride: Any, padding: Any) -> None:
    """See `pooling.avg_pool_gradient`; takes the arguments of `pooling._avg_pool_gradient`, channels last."""
    pixel_grad = grad / divisors[:, :, None]  # of each pixel in a window
    out[:] = 0
    for _, pixels, positions in _taps(out.shape, grad.shape, kernel, stride, padding, (1, 1)):
        out[pixels] += pixel_grad[positions]


def attention(query: Array, key: Array, value: Array, is_causal: bool, scale: float) -> tuple[Array, Array]:
    """See `attention.attention`."""
    scores = _scores(query, key, is_causal, scale)
    maxima = np.max(scores, axis=-1, keepdims=True)
    powers = np.exp(scores - maxima)
    totals = np.sum(powers, axis=-1, keepdims=True)
    return powers / totals @ value, (maxima + np.log(totals))[..., 0]


def attention_gradients(
    grad: Array, query: Array, key: Array, value: Array, out: Any, logsumexp: Any, is_causal: bool, scale: float
) -> tuple[Array, Array, Array]:
    """See `attention.attention_gradients`.

    Everything is computed from the inputs, so that the result can be differentiated with respect to them. `out` and
    `logsumexp` are not used.
    """
    scores = _scores(query, key, is_causal, scale)
    powers = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    weights = powers / np.sum(powers, axis=-1, keepdims=True)
    weight_grads = grad @ np.swapaxes(value, -1, -2)
    score_grads = scale * weights * (weight_grads - np.sum(weight_grads * weights, axis=-1, keepdims=True))
    return score_grads @ key, np.swapaxes(score_grads, -1, -2) @ query, np.swapaxes(weights, -1, -2) @ grad


def _scores(query: Array, key: Array, is_causal: bool, scale: float) -> Array:
    scores = query * scale @ np.swapaxes(key, -1, -2)
    return np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf) if is_causal else scores


def _by_group(x: Array, groups: int) -> Array:
    """Reshape (N, H, W, C) to (N, H, W, groups, 1, C / groups)."""
    return x.reshape(*x.shape[:3], groups, 1, x.shape[3] // groups if groups else 0)


def _filters(weight: Array, groups: int) -> Array:
    """Rearrange weights (O, C / groups, KH, KW) as (KH, KW, groups, C / groups, O / groups)."""
    out_channels, group_channels, *kernel = weight.shape
    return weight.reshape(groups, out_channels // groups, group_channels, *kernel).transpose(3, 4, 0, 2, 1)


def _windows(kernel: Any, positions: Any, stride: Any, dilation: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield, for each tap of a filter: its row, its column, and the index of the pixels that it reads in padded images.

    Args:
        kernel: the size of the filter.
        positions: the size of the result.
        stride: (down, across), as is `dilation`.
        dilation: the distance between taps.
    """
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            first = row * dilation[0], column * dilation[1]
            pixels = [slice(first[a], first[a] + (positions[a] - 1) * stride[a] + 1, stride[a]) for a in (0, 1)]
            yield row, column, (slice(None), *pixels)


def _taps(
    image_shape: Any, result_shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> Iterator[tuple[int, Any, Any]]:
    """Yield, for each tap of a pooling window: its number, the pixels that it reads, the positions that need them.

    Pixels are indexed in images (N, H, W, C), positions in results (N, H′, W′, C).
    """
    for tap in range(kernel[0] * kernel[1]):
        pixels, positions = [slice(None)], [slice(None)]
        for a, tap_index in enumerate(divmod(tap, kernel[1])):  # the tap's row, then its column
            first = tap_index * dilation[a] - padding[a]  # the pixel that the tap reads for position 0
            # for positions begin … end - 1, the tap is inside the image
            begin = max(0, -(first // stride[a]))
            end = min(result_shape[1 + a], -(-(image_shape[1 + a] - first) // stride[a]))
            first_pixel = first + begin * stride[a]
            pixels.append(slice(first_pixel, first_pixel + max(0, end - begin) * stride[a], stride[a]))
            positions.append(slice(begin, max(begin, end)))
        yield tap, tuple(pixels), tuple(positions)
