"""Convolutions as modules; `chainrule.ops.convolution` says what they compute.

Weights and biases start evenly between ±1 / √fan_in, as in PyTorch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn import init
from chainrule.nn.module import Module, Parameter
from chainrule.ops.dtypes import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from chainrule.tensor import Tensor

    Pair = int | Sequence[int]


class _Convolution(Module):
    """What the three share: their numbers, and a weight and a bias that start alike."""

    def __init__(
        self, in_channels: int, out_channels: int, shape: tuple[int, ...], bias: bool, generator: Any, dtype: DTypeLike
    ) -> None:
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = Parameter(np.empty(shape, dtype))
        self.bias = Parameter(np.empty(out_channels, dtype)) if bias else None
        fan_in = math.prod(shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound, generator)

    def extra_repr(self) -> str:
        """The sizes."""
        numbers = {k: v for k, v in vars(self).items() if k in ("stride", "padding", "dilation", "groups")}
        usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        more = "".join(f", {k}={v}" for k, v in numbers.items() if v != usual[k])
        without = "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels}, {self.out_channels}, kernel_size={tuple(self.weight.shape[2:])}{more}{without}"


def _taps(kernel_size: Pair, ndim: int) -> tuple[int, ...]:
    return (kernel_size,) * ndim if isinstance(kernel_size, int) else tuple(kernel_size)


def _check_groups(name: str, in_channels: int, out_channels: int, groups: int) -> None:
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{name}: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
        )


class Conv2d(_Convolution):
    """A convolution over pictures: (N, C, H, W) to (N, O, H′, W′).

    Args:
        in_channels: C.
        out_channels: O, the number of filters.
        kernel_size: the filter's height and width, one number or two.
        stride, padding, dilation, groups: see `functional.conv2d`.
        bias: whether each filter has a bias.
        generator: where the starting values come from.
        dtype: of the parameters.

    Shapes: `weight` (O, C / groups, KH, KW), `bias` (O,).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:
        _check_groups("Conv2d", in_channels, out_channels, groups)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = (out_channels, in_channels // groups, *_taps(kernel_size, 2))
        super().__init__(in_channels, out_channels, shape, bias, generator, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H′, W′)."""
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv1d(_Convolution):
    """A convolution over sequences: (N, C, L) to (N, O, L′); arguments as in `Conv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:
        _check_groups("Conv1d", in_channels, out_channels, groups)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = (out_channels, in_channels // groups, *_taps(kernel_size, 1))
        super().__init__(in_channels, out_channels, shape, bias, generator, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) to (N, O, L′)."""
        return F.conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Convolution):
    """A convolution turned round: (N, C, H, W) to (N, O, H′, W′); see `functional.conv_transpose2d`.

    Shapes: `weight` (C, O / groups, KH, KW), `bias` (O,).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        *,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:
        _check_groups("ConvTranspose2d", in_channels, out_channels, groups)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.output_padding = output_padding
        shape = (in_channels, out_channels // groups, *_taps(kernel_size, 2))
        super().__init__(in_channels, out_channels, shape, bias, generator, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H′, W′)."""
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )
