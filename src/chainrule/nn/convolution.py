"""Convolution, pooling and padding as modules; the formulas are in `chainrule.ops`.

Convolution weights and biases are initialized uniformly in ±1 / √fan_in, as in PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.errors import check
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.layers import check_sizes, weight_and_bias
from chainrule.nn.module import Layer, Module, applies, with_options
from chainrule.ops.convolution import pair
from chainrule.ops.dtypes import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import DTypeLike

    from chainrule.tensor import Tensor

    Pair = int | Sequence[int]

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "CircularPad2d", "Conv1d", "Conv2d", "ConvTranspose1d",
    "ConvTranspose2d", "MaxPool1d", "MaxPool2d", "ReflectionPad2d", "ReplicationPad2d", "Upsample", "ZeroPad2d",
]  # fmt: skip


class _Convolution(Module):
    """Base of the convolutions: checks the arguments and creates weight and bias."""

    _parameter_names = ("weight", "bias")
    ndim = 2  # spatial dimensions
    transposed = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair | str = 0,
        dilation: Pair = 1, groups: int = 1, bias: bool = True, *, generator: Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        check_sizes(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        kernel = pair(name, "kernel_size", kernel_size, 1, self.ndim)[-self.ndim :]
        for option, value in (("stride", stride), ("dilation", dilation)):
            pair(name, option, value, 1, self.ndim)
        if isinstance(padding, str) and not self.transposed:
            has_stride_1 = pair(name, "stride", stride, 1, self.ndim) == (1, 1)
            is_supported = padding == "valid" or (padding == "same" and has_stride_1)
            requirement = 'padding must be a number, "valid", or "same" with stride 1'
            check(self, is_supported, f"{requirement}, not {padding!r} with stride {stride}")
        else:
            pair(name, "padding", padding, 0, self.ndim)
        divides = groups > 0 and not in_channels % groups and not out_channels % groups
        check(self, divides, f"{groups=} must divide {in_channels=} and {out_channels=}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.stride, self.dilation, self.groups = stride, dilation, groups
        self.padding: Any = padding  # also "valid" or "same", except in a transposed convolution
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (first, second // groups, *kernel)
        self.weight, self.bias = weight_and_bias(shape, out_channels, bias, generator, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, O, H′, W′), or (N, C, L) to (N, O, L′)."""
        convolve = F.conv1d if self.ndim == 1 else F.conv2d
        return convolve(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Return the sizes, and the options that differ from their defaults."""
        defaults = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
        options = "".join(f", {k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k, v) != v)
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.weight.shape[2:]}{options}{bias}"


class Conv2d(_Convolution):
    """2-d convolution: (N, C, H, W) to (N, O, H′, W′).

    Args:
        in_channels: C.
        out_channels: O, the number of filters.
        kernel_size: the height and width of a filter: one number for both, or two.
        stride, padding, dilation, groups: see `functional.conv2d`.
        bias: whether to add a bias.
        generator: source of the initial values.
        dtype: the type of the parameters.

    Shapes: `weight` (O, C / groups, KH, KW), `bias` (O,).
    """


class Conv1d(_Convolution):
    """1-d convolution: (N, C, L) to (N, O, L′); arguments as in `Conv2d`."""

    ndim = 1


class ConvTranspose2d(_Convolution):
    """Transposed 2-d convolution: (N, C, H, W) to (N, O, H′, W′); see `functional.conv_transpose2d`.

    Shapes: `weight` (C, O / groups, KH, KW), `bias` (O,).
    """

    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0,
        output_padding: Pair = 0, groups: int = 1, bias: bool = True, dilation: Pair = 1, *,
        generator: Generator | None = None, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        arguments = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*arguments, generator=generator, dtype=dtype)
        pair(type(self).__name__, "output_padding", output_padding, 0, self.ndim)
        self.output_padding = output_padding

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, O, H′, W′)."""
        options = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        convolve = F.conv_transpose1d if self.ndim == 1 else F.conv_transpose2d
        return convolve(input, self.weight, self.bias, *options)


class ConvTranspose1d(ConvTranspose2d):
    """Transposed 1-d convolution: (N, C, L) to (N, O, L′); see `functional.conv_transpose1d`.

    Shapes: `weight` (C, O / groups, K), `bias` (O,).
    """

    ndim = 1


@with_options
class _Pool(Layer):
    """Base of the pooling layers: the common options; by default, the stride is the kernel size."""

    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0

    def __post_init__(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride


@applies(F.max_pool2d)
class MaxPool2d(_Pool):
    """Maximum of each window: (N, C, H, W) to (N, C, H′, W′); arguments as in `functional.max_pool2d`."""

    dilation: Pair = 1
    return_indices: bool = False
    ceil_mode: bool = False


@applies(F.avg_pool2d)
class AvgPool2d(_Pool):
    """Mean of each window: (N, C, H, W) to (N, C, H′, W′); arguments as in `functional.avg_pool2d`."""

    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


@applies(F.max_pool1d)
class MaxPool1d(_Pool):
    """Maximum of each window: (N, C, L) to (N, C, L′); arguments as in `functional.max_pool1d`."""

    dilation: Pair = 1
    return_indices: bool = False
    ceil_mode: bool = False


@applies(F.avg_pool1d)
class AvgPool1d(_Pool):
    """Mean of each window: (N, C, L) to (N, C, L′); arguments as in `functional.avg_pool1d`."""

    ceil_mode: bool = False
    count_include_pad: bool = True


@applies(F.interpolate)
class Upsample(Layer):
    """Resize signals (N, C, L) or images (N, C, H, W); arguments as in `functional.interpolate`."""

    size: Pair | None = None
    scale_factor: Any = None
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None


@applies(F.adaptive_avg_pool2d)
class AdaptiveAvgPool2d(Layer):
    """Mean of each window, with windows that give the output size: (N, C, H, W) to (N, C, *output_size)."""

    output_size: int | Sequence[int | None]


class _Pad(Module):
    """Base of the padding layers; `mode` is that of `functional.pad`."""

    mode = "constant"

    def __init__(self, padding: Pair) -> None:
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        """Pad the height and width of (N, C, H, W)."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """Return the padding."""
        return str(self.padding)


class ZeroPad2d(_Pad):
    """Zero padding: one number or (left, right, top, bottom)."""


class ReflectionPad2d(_Pad):
    """Padding that mirrors the image: one number or (left, right, top, bottom)."""

    mode = "reflect"


class ReplicationPad2d(_Pad):
    """Padding that repeats the edge pixels: one number or (left, right, top, bottom)."""

    mode = "replicate"


class CircularPad2d(_Pad):
    """Padding that wraps around to the opposite side: one number or (left, right, top, bottom)."""

    mode = "circular"
