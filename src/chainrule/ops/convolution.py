"""Convolutions: a small filter slides over an image and computes a weighted sum at each position.

Three operations are primitive: `convolution`, its gradient with respect to the input (which also computes the
transposed convolution, `conv_transpose2d`), and its gradient with respect to the weight. Each is linear in both of its
inputs, and its derivatives are the other two operations. The loops are in `chainrule.kernels`.

Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016).
"""

from typing import Any, NamedTuple

from chainrule.errors import check_floats
from chainrule.kernels import convolution as convolution_kernels
from chainrule.ops.indexing import add_at
from chainrule.ops.operation import Array, Input, Ints, Tensor, check_tensors, operation
from chainrule.ops.shape import int_tuple, reshape, squeeze, unsqueeze

__all__ = ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]


class ConvParams(NamedTuple):
    """The parameters of a two-dimensional convolution; pairs are (vertical, horizontal)."""

    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
    dilation: tuple[int, int]
    groups: int


@operation
def convolution(input: Array, weight: Array, *, params: ConvParams) -> Array:
    """Convolve an input (N, C, H, W) with a weight (O, C / groups, KH, KW), giving (N, O, H′, W′)."""
    check_floats("convolution", input)  # kernels cannot be compiled for integers
    return convolution_kernels.convolve(input, weight, *params)


@convolution.derivative
def _(grad: Array, input: Array, weight: Array, params: ConvParams) -> Any:
    """The gradients with respect to input and weight, which are the next two operations."""
    return (
        lambda: convolution_input_gradient(grad, weight, shape=input.shape, params=params),
        lambda: convolution_weight_gradient(input, grad, shape=weight.shape, params=params),
    )


@operation
def convolution_input_gradient(out_grad: Array, weight: Array, *, shape: Any, params: ConvParams) -> Array:
    """The gradient of a convolution with respect to its input, of `shape` (N, C, H, W).

    It is computed from the gradient of the result of the convolution, `out_grad` (N, O, H′, W′), and the weight.
    `conv_transpose2d` passes its own input as `out_grad`.
    """
    check_floats("convolution_input_gradient", out_grad)
    return convolution_kernels.convolve_input_gradient(out_grad, weight, shape, *params)


@convolution_input_gradient.derivative
def _(grad: Array, out_grad: Array, weight: Array, params: ConvParams) -> Any:
    """The convolution, and its gradient with respect to the weight."""
    return (
        lambda: convolution(grad, weight, params=params),
        lambda: convolution_weight_gradient(grad, out_grad, shape=weight.shape, params=params),
    )


@operation
def convolution_weight_gradient(input: Array, out_grad: Array, *, shape: Any, params: ConvParams) -> Array:
    """The gradient of a convolution with respect to its weight, of `shape` (O, C / groups, KH, KW).

    It is computed from the input (N, C, H, W) and the gradient of the result of the convolution, `out_grad`
    (N, O, H′, W′).
    """
    check_floats("convolution_weight_gradient", input)
    return convolution_kernels.convolve_weight_gradient(input, out_grad, shape, *params)


@convolution_weight_gradient.derivative
def _(grad: Array, input: Array, out_grad: Array, params: ConvParams) -> Any:
    """The convolution's gradient with respect to the input, and the convolution."""
    return (
        lambda: convolution_input_gradient(out_grad, grad, shape=input.shape, params=params),
        lambda: convolution(input, grad, params=params),
    )


def conv2d(
    input: Input, weight: Input, bias: Input | None = None, stride: Ints = 1,
    padding: Ints | str = 0, dilation: Ints = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """A two-dimensional convolution.

    Args:
        input: (N, C, H, W), or one image (C, H, W).
        weight: the filters, (O, C / groups, KH, KW).
        bias: (O,), or None.
        stride: the distance between the filter's positions, a number or (vertical, horizontal).
        padding: zeros on each side of the image, a number or (vertical, horizontal); "same" to keep the size, which
            requires stride 1; "valid" for no padding.
        dilation: the distance between the filter's elements, a number or (vertical, horizontal).
        groups: the number of groups of channels, which are convolved separately.

    Returns:
        (N, O, H′, W′), where H′ = ⌊(H + 2 padding - dilation (KH - 1) - 1) / stride⌋ + 1, and W′ accordingly.

    Raises:
        ValueError: the shapes or parameters do not fit.
    """
    return _convolve(input, weight, bias, stride, padding, dilation, groups, 2)


def conv1d(
    input: Input, weight: Input, bias: Input | None = None, stride: Ints = 1,
    padding: Ints | str = 0, dilation: Ints = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """A one-dimensional convolution; see `conv2d`.

    Args:
        input: (N, C, L) or (C, L).
        weight: (O, C / groups, K).
        bias: (O,), or None.
        stride: the distance between the filter's positions.
        padding: zeros at each end, or "same" or "valid".
        dilation: the distance between the filter's elements.
        groups: the number of groups of channels.

    Raises:
        ValueError: the shapes or parameters do not fit.
    """
    return _convolve(input, weight, bias, stride, padding, dilation, groups, 1)


def _convolve(
    input: Array, weight: Array, bias: Array, stride: Any, padding: Any, dilation: Any, groups: int, ndim: int
) -> Tensor:
    """Implement `conv1d` and `conv2d`."""
    name = f"conv{ndim}d"
    _check(name, input, weight, bias, groups, ndim)
    stride, dilation = pair(name, "stride", stride, 1, ndim), pair(name, "dilation", dilation, 1, ndim)
    x = unsqueeze(input, 0) if input.ndim == ndim + 1 else input
    if ndim == 1:  # a sequence is an image of one row
        x, weight = unsqueeze(x, 2), unsqueeze(weight, 2)
    # the distance from the filter's first element to its last
    spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if padding == "same" and stride == (1, 1):
        pads = [(span // 2, span - span // 2) for span in spans]
    elif isinstance(padding, str) and padding != "valid":
        requirement = 'a number, "valid", or "same" with stride 1'
        raise ValueError(f"{name}: padding must be {requirement}, not {padding!r} with stride {stride[-ndim:]}")
    else:
        pads = [(p, p) for p in pair(name, "padding", 0 if padding == "valid" else padding, 0, ndim)]
    if any(n + sum(edges) <= span for n, edges, span in zip(x.shape[2:], pads, spans, strict=True)):
        filter_text = f"{weight.shape[-ndim:]} (dilation {dilation[-ndim:]})"
        raise ValueError(f"{name}: the filter {filter_text} is larger than {input.shape} with padding {pads[-ndim:]}")
    out = convolution(x, weight, params=ConvParams(stride, (pads[0], pads[1]), dilation, groups))
    return _finish(out, bias, input.ndim, ndim)


def conv_transpose2d(
    input: Input, weight: Input, bias: Input | None = None, stride: Ints = 1,
    padding: Ints = 0, output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution: each input position adds the filter, scaled by its value, to the output.

    Args:
        input: (N, C, H, W), or one image (C, H, W).
        weight: (C, O / groups, KH, KW).
        bias: (O,), or None.
        stride: the distance between the filter's positions in the output.
        padding: rows and columns removed on each side of the output.
        output_padding: rows and columns added at the end of the output; less than stride or dilation.
        groups: the number of groups of channels.
        dilation: the distance between the filter's elements.

    Returns:
        (N, O, H′, W′), where H′ = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1, and W′
        accordingly.

    Raises:
        ValueError: the shapes or parameters do not fit.
    """
    return _convolve_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, 2)


def conv_transpose1d(
    input: Input, weight: Input, bias: Input | None = None, stride: Ints = 1,
    padding: Ints = 0, output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1,
) -> Tensor:  # fmt: skip
    """A one-dimensional transposed convolution; see `conv_transpose2d`.

    Args:
        input: (N, C, L) or (C, L).
        weight: (C, O / groups, K).
        bias: (O,), or None.
        stride: the distance between the filter's positions in the output.
        padding: elements removed at each end of the output.
        output_padding: elements added at the end of the output; less than stride or dilation.
        groups: the number of groups of channels.
        dilation: the distance between the filter's elements.

    Raises:
        ValueError: the shapes or parameters do not fit.
    """
    return _convolve_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, 1)


def _convolve_transposed(
    input: Array, weight: Array, bias: Array, stride: Any, padding: Any, output_padding: Any, groups: int,
    dilation: Any, ndim: int,
) -> Tensor:  # fmt: skip
    """Implement `conv_transpose1d` and `conv_transpose2d`."""
    name = f"conv_transpose{ndim}d"
    _check(name, input, weight, bias, groups, ndim, transposed=True)
    stride, dilation = pair(name, "stride", stride, 1, ndim), pair(name, "dilation", dilation, 1, ndim)
    crop, extra = pair(name, "padding", padding, 0, ndim), pair(name, "output_padding", output_padding, 0, ndim)
    if any(m >= max(s, d) for m, s, d in zip(extra, stride, dilation, strict=True)):
        limits = f"stride {stride[-ndim:]} or dilation {dilation[-ndim:]}"
        raise ValueError(f"{name}: output_padding {extra[-ndim:]} must be smaller than {limits}")
    x = unsqueeze(input, 0) if input.ndim == ndim + 1 else input
    if ndim == 1:  # a sequence is an image of one row
        x, weight = unsqueeze(x, 2), unsqueeze(weight, 2)
    height, width = x.shape[2:]
    size = [
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, s, p, d, k, m in zip(x.shape[2:], stride, crop, dilation, weight.shape[2:], extra, strict=True)
    ]
    if min(size) < 1:
        output = tuple(size[-ndim:])
        raise ValueError(f"{name}: the output would have size {output}: padding {crop[-ndim:]} removes all of it")
    # if output_padding is at least the stride, the filter fits into the output at more positions than the input has
    # elements: append zeros to the input
    padded_size = height + extra[0] // stride[0], width + extra[1] // stride[1]
    if padded_size != (height, width):
        x = add_at(x, index=(..., slice(height), slice(width)), shape=(*x.shape[:2], *padded_size))
    params = ConvParams(stride, ((crop[0], crop[0]), (crop[1], crop[1])), dilation, groups)
    out = convolution_input_gradient(x, weight, shape=(x.shape[0], weight.shape[1] * groups, *size), params=params)
    return _finish(out, bias, input.ndim, ndim)


def _finish(out: Tensor, bias: Array, input_ndim: int, ndim: int) -> Tensor:
    """Add the bias, and remove the dimensions that the input did not have."""
    if bias is not None:
        out = out + reshape(bias, shape=(1, -1, 1, 1))
    added_dims = ([0] if input_ndim == ndim + 1 else []) + ([2] if ndim == 1 else [])
    return squeeze(out, added_dims) if added_dims else out


def pair(name: str, what: str, value: Any, minimum: int, ndim: int = 2) -> tuple[int, int]:
    """Return (vertical, horizontal), given one number or a number per dimension, each at least `minimum`.

    If `ndim` is 1, the image has a single row, and the vertical entry is `minimum`, which has no effect. `name` and
    `what` begin the error messages.
    """
    numbers = int_tuple(value, f"{name}: {what}")
    numbers = numbers * ndim if len(numbers) == 1 else numbers
    if len(numbers) != ndim or min(numbers) < minimum:
        requirement = "one number" if ndim == 1 else "one or two numbers"
        raise ValueError(f"{name}: {what} must be {requirement}, at least {minimum}, not {value}")
    return (numbers[0], numbers[1]) if ndim == 2 else (minimum, numbers[0])


def _check(
    name: str, input: Array, weight: Array, bias: Array, groups: int, ndim: int, transposed: bool = False
) -> None:
    """Check that input, weight and bias fit; a transposed convolution exchanges input and output channels."""
    check_tensors(name, input, weight, optional=[bias])
    if weight.ndim != ndim + 2 or input.ndim not in (ndim + 1, ndim + 2) or 0 in weight.shape[2:]:
        sizes, filter_sizes = ("L", "K") if ndim == 1 else ("H, W", "KH, KW")
        channels = "C, O / groups" if transposed else "O, C / groups"
        form = f"(N, C, {sizes}) and weight ({channels}, {filter_sizes}) with at least one element"
        raise ValueError(f"{name}: takes input {form}, not {input.shape} and {weight.shape}")
    dtypes = [array.dtype for array in (input, weight, bias) if array is not None]
    if len(set(dtypes)) > 1 or input.dtype.kind != "f":
        types = ", ".join(map(str, dtypes))
        raise TypeError(f"{name}: input, weight and bias must have the same floating type, not {types}")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} must be positive and divide the first size of weight {weight.shape}")
    out_channels, in_channels = weight.shape[0], weight.shape[1] * groups
    if transposed:
        out_channels, in_channels = in_channels, out_channels
    if input.shape[-ndim - 1] != in_channels:
        requirement = f"{in_channels} channels for weight {weight.shape} with groups={groups}"
        raise ValueError(f"{name}: input {input.shape} must have {requirement}")
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"{name}: bias {bias.shape} must be ({out_channels},)")
