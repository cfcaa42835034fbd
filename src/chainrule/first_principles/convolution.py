"""Convolution and pooling as plain loops: a small window slides over the image.

A filter is a small image of the pattern it detects. At each position the window shows a patch; the output there is the
sum of the patch times the filter, plus a bias: large where the patch resembles the filter.

    forward     out[f, i, j] = Σ_c,u,v  image[c, i s + u, j s + v] · filters[f, c, u, v] + bias[f]
                (s is the stride: how far the window moves at a time)

    backward    each product above passes the error on to its two factors:
                image[c, i s + u, j s + v]  gets  error[f, i, j] · filters[f, c, u, v]
                filters[f, c, u, v]         gets  error[f, i, j] · image[c, i s + u, j s + v]
                bias[f]                     gets  error[f, i, j]

Pooling keeps the largest number of each 2×2 square; backward, only that one gets the error, since it alone contributed.
(Strictly, the forward formula is a cross-correlation: a mathematical convolution flips the filter.)

Images are (C, H, W): C channels, such as colors or the outputs of C filters, of height H and width W.

Source: Fukushima, Neocognitron (1980); LeCun et al., Gradient-based learning applied to document recognition (1998); a
guide to the arithmetic: Dumoulin and Visin (2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.first_principles import Array


def convolve(image: Array, filters: Array, bias: Array, stride: int = 1, padding: int = 0) -> Array:
    """Slide every filter over the image.

    Args:
        image: (C, H, W).
        filters: (F, C, U, V).
        bias: (F,).
        stride: step of the window.
        padding: rows and columns of zeros around the image.

    Returns:
        (F, (H + 2 padding - U) // stride + 1, (W + 2 padding - V) // stride + 1).

    Raises:
        ValueError: the numbers of channels differ, or the filter is larger than the padded image.
    """
    if image.ndim != 3 or filters.ndim != 4:
        raise ValueError(
            f"convolve: needs image (C, H, W) and filters (F, C, U, V), got {image.shape}, {filters.shape}"
        )
    padded = _pad(image, padding)
    (count, channels, u, v), (depth, height, width) = filters.shape, padded.shape
    if depth != channels or bias.shape != (count,) or u > height or v > width:
        raise ValueError(
            f"convolve: filters {filters.shape} and bias {bias.shape} do not fit image {image.shape}, "
            f"padded by {padding}; expected (F, {depth}, at most {height}, at most {width}) and (F,)"
        )
    out = np.zeros((count, (height - u) // stride + 1, (width - v) // stride + 1))
    for f, i, j in np.ndindex(*out.shape):
        patch = padded[:, i * stride : i * stride + u, j * stride : j * stride + v]  # (C, U, V)
        out[f, i, j] = np.sum(patch * filters[f]) + bias[f]
    return out


def convolve_backward(
    error: Array, image: Array, filters: Array, stride: int = 1, padding: int = 0
) -> tuple[Array, Array, Array]:
    """The gradients of image, filters and bias, given the gradient of the output, (F, H′, W′)."""
    padded = _pad(image, padding)
    grad_padded, grad_filters = np.zeros(padded.shape), np.zeros(filters.shape)
    u, v = filters.shape[2:]
    for f, i, j in np.ndindex(*error.shape):
        window = (slice(None), slice(i * stride, i * stride + u), slice(j * stride, j * stride + v))
        grad_padded[window] += error[f, i, j] * filters[f]
        grad_filters[f] += error[f, i, j] * padded[window]
    height, width = image.shape[1:]
    # Drop the gradient of the padding
    grad_image = grad_padded[:, padding : padding + height, padding : padding + width]
    return grad_image, grad_filters, error.sum(axis=(1, 2))


def max_pool(image: Array, size: int = 2) -> Array:
    """The maximum of each size × size square: (C, H, W) to (C, H // size, W // size); the remainder is dropped.

    Raises:
        ValueError: image is not (C, H, W), or smaller than one square.
    """
    if image.ndim != 3 or min(image.shape[1:]) < size:
        raise ValueError(f"max_pool: needs image (C, H, W) of at least {size}×{size}, got {image.shape}")
    channels, height, width = image.shape
    out = np.zeros((channels, height // size, width // size))
    for c, i, j in np.ndindex(*out.shape):
        out[c, i, j] = image[c, i * size : (i + 1) * size, j * size : (j + 1) * size].max()
    return out


def max_pool_backward(error: Array, image: Array, size: int = 2) -> Array:
    """The gradient of image (C, H, W), given that of the output: all of it goes to the first maximum."""
    grad_image = np.zeros(image.shape)
    for c, i, j in np.ndindex(*error.shape):
        square = image[c, i * size : (i + 1) * size, j * size : (j + 1) * size]
        row, column = divmod(int(square.argmax()), size)
        grad_image[c, i * size + row, j * size + column] = error[c, i, j]
    return grad_image


def _pad(image: Array, padding: int) -> Array:
    """Pad (C, H, W) with zeros to (C, H + 2 padding, W + 2 padding)."""
    return np.pad(image, ((0, 0), (padding, padding), (padding, padding)))


def main() -> None:
    """Detect the edges of a square; then print the shapes in a network for digits."""
    picture = np.zeros((1, 8, 8))
    picture[0, 2:6, 2:6] = 1
    edge_filter = np.array([[[[-1.0, 1.0]] * 3]])  # dark to the left, bright to the right: (1, 1, 3, 2)
    edges = convolve(picture, edge_filter, np.zeros(1))
    for name, image in (("a square", picture), ("its left and right edges", edges), ("pooled", max_pool(edges))):
        print(f"{name}, {image.shape[1]}×{image.shape[2]}")
        print("\n".join("    " + " ".join(f"{number:2.0f}" for number in row) for row in image[0]))
    random, image = np.random.default_rng(0), np.random.default_rng(0).random((1, 28, 28))
    print("through a network for digits:", image.shape, end="")
    for count in (32, 64):
        filters = random.normal(size=(count, len(image), 5, 5))
        image = max_pool(np.maximum(convolve(image, filters, np.zeros(count), padding=2), 0))
        print(" →", image.shape, end="")
    print(f" → {image.size} → {(random.normal(size=(10, image.size)) @ image.ravel()).size}")


if __name__ == "__main__":
    main()
