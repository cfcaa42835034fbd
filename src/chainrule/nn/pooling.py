"""Pooling and borders as modules; `chainrule.ops` says what they compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Module, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.tensor import Tensor

    Pair = int | Sequence[int]

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool2d", "CircularPad2d", "MaxPool2d", "ReflectionPad2d", "ReplicationPad2d", "ZeroPad2d",
]  # fmt: skip


@options
class _Pool(Module):
    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0

    def __post_init__(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


@options
class MaxPool2d(_Pool):
    """The largest number of each window; arguments as in `functional.max_pool2d`."""

    dilation: Pair = 1
    return_indices: bool = False
    ceil_mode: bool = False

    def forward(self, input: Tensor) -> Any:
        """(N, C, H, W) to (N, C, H′, W′), and the indices if asked for."""
        how = (self.padding, self.dilation, self.ceil_mode, self.return_indices)
        return F.max_pool2d(input, self.kernel_size, self.stride, *how)


@options
class AvgPool2d(_Pool):
    """The mean of each window; arguments as in `functional.avg_pool2d`."""

    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H′, W′)."""
        how = (self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override)
        return F.avg_pool2d(input, self.kernel_size, self.stride, *how)


@options
class AdaptiveAvgPool2d(Module):
    """The mean over as many windows as the result is to have, `output_size`."""

    output_size: int | Sequence[int | None]

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, *output_size)."""
        return F.adaptive_avg_pool2d(input, self.output_size)


class _Border(Module):
    mode = "constant"

    def __init__(self, padding: Pair) -> None:
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) with its border."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """The border."""
        return str(self.padding)


class ZeroPad2d(_Border):
    """A border of zeros, one number or (left, right, top, bottom)."""


class ReflectionPad2d(_Border):
    """A border that mirrors the picture, one number or (left, right, top, bottom)."""

    mode = "reflect"


class ReplicationPad2d(_Border):
    """A border that repeats the picture's edge, one number or (left, right, top, bottom)."""

    mode = "replicate"


class CircularPad2d(_Border):
    """A border that goes on at the other side, one number or (left, right, top, bottom)."""

    mode = "circular"
