"""Resamples images at arbitrary positions, with bilinear interpolation.

Loop order: images (divided among threads), then pixels of the result. Each pixel reads four neighbors from anywhere in
its image, which fits into the L1 cache; arithmetic is the limit, about 6 ns for each pixel.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels.calling import DescriptorLayout, stage_kernel
from chainrule.kernels.job import KernelTemplate
from chainrule.kernels.machine import with_numpy_fallback
from chainrule.kernels.tree import F4, F8, I8, Kernel, Type, type_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.kernels.tree import Array, Expr

WARP_FIELDS = DescriptorLayout("images maps field out", "height width")


def warp(images: NDArray[Any], maps: NDArray[np.float64], field: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each position (i, j) of the result: the image's value at (y, x) = maps · (i, j, 1) + field[:, i, j].

    The value is interpolated bilinearly: with the fractions d = y - ⌊y⌋ and r = x - ⌊x⌋, the pixel above and to the
    left has the weight (1 - d) (1 - r), the pixel above and to the right (1 - d) r, and so on. Outside its borders, an
    image is 0.

    Args:
        images: (N, H, W).
        maps: (N, 2, 3), an affine map for each image; its rows give y and x.
        field: (N, 2, H, W), the displacements in pixels that are added to y and x.

    Returns:
        (N, H, W) float32.
    """
    out = np.empty(images.shape, np.float32)
    if out.size:
        images, maps, field = (np.ascontiguousarray(x) for x in (images, maps, field))
        _warp(images, maps, field, out)
    return out


def _warp_in_numpy(images: Any, maps: Any, field: Any, out: Any) -> None:
    count, *size = images.shape
    pixels = np.stack([*np.indices(size), np.ones(size)])  # (3, H, W): i, j and 1 of each position
    positions = np.einsum("nrk,kij->rnij", maps, pixels) + field.swapaxes(0, 1)  # (2, N, H, W)
    # positions far outside, and NaN, become positions just outside the image: background
    y, x = (np.where(np.isnan(p), -1, p.clip(-1, s)) for p, s in zip(positions, size, strict=True))
    top, left = (np.floor(p).astype(np.intp) for p in (y, x))
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))  # background, so that every position has four neighbors
    image_indices = np.arange(count)[:, None, None]
    out[:] = 0
    for i, down in enumerate((1 - (y - top), y - top)):
        for j, right in enumerate((1 - (x - left), x - left)):
            out += down * right * padded[image_indices, top + i + 1, left + j + 1]


@with_numpy_fallback(_warp_in_numpy)
def _warp(images: Any, maps: Any, field: Any, out: Any) -> None:
    types = [type_of(x.dtype) for x in (images, maps, field)]
    count, height, width = out.shape
    WARP.job(types, row_count=count, iterations=10 * out.size, height=height, width=width).run(images, maps, field, out)


@cache
def warp_kernel(image_type: Type, map_type: Type, field_type: Type) -> Kernel:
    """Resample images first … last - 1."""
    kernel = stage_kernel(f"warp_{image_type}_{map_type}_{field_type}")
    d = WARP_FIELDS.read(kernel)
    images, maps, field = d.array("images", image_type), d.array("maps", map_type), d.array("field", field_type)
    out, size = d.array("out", F4), d.height * d.width
    with kernel.loop(kernel["first"], kernel["last"]) as n:
        image, map_, shifts = images.at(n * size), maps.at(n * 6), field.at(n * 2 * size)
        with kernel.loop(0, d.height) as i, kernel.loop(0, d.width) as j:
            index = i * d.width + j
            y, x = (
                map_[3 * row].to(F8) * i.to(F8) + map_[3 * row + 1].to(F8) * j.to(F8) + map_[3 * row + 2].to(F8)
                + shifts[index + size * row].to(F8)
                for row in (0, 1)
            )  # fmt: skip
            value = kernel.variable(F8, 0.0)
            is_near = (y > -1.0) & (y < d.height.to(F8)) & (x > -1.0) & (x < d.width.to(F8))
            with kernel.when(is_near):
                top, left = y.apply("floor"), x.apply("floor")
                down, right = y - top, x - left
                for h, row_weight in ((0, 1.0 - down), (1, down)):
                    for w, column_weight in ((0, 1.0 - right), (1, right)):
                        pixel = _pixel(image, top.to(I8) + h, left.to(I8) + w, d.height, d.width)
                        value.set(value.value + row_weight * column_weight * pixel)
            out.at(n * size)[index] = value.value.to(F4)
    return kernel


def _pixel(image: Array, i: Expr, j: Expr, height: Expr, width: Expr) -> Expr:
    """A pixel, or 0 if it is outside the borders."""
    kernel = image.kernel
    value = kernel.variable(F8, 0.0)
    with kernel.when((i >= 0) & (i < height) & (j >= 0) & (j < width)):
        value.set(image[i * width + j].to(F8))
    return value.value


WARP = KernelTemplate(WARP_FIELDS, warp_kernel)
