"""Convolutions: a small filter slides over a picture and takes the weighted sum of what it sees at each place.

Three operations, each made of the other two when it is differentiated: `convolution`, the gradient to its input
(a convolution turned round: `conv_transpose2d` is made of it), and the gradient to its weight. All are linear in both
inputs. The loops are in `chainrule.kernels`.

Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016).
"""

from typing import Any, NamedTuple

from chainrule.kernels import convolution as kernels
from chainrule.ops.indexing import scatter_add
from chainrule.ops.operation import Array, Ints, Tensor, only_tensors, operation
from chainrule.ops.shape import int_tuple, reshape, squeeze, unsqueeze

__all__ = ["conv1d", "conv2d", "conv_transpose2d"]


class ConvParams(NamedTuple):
    """How a filter moves over a picture, numbers (down, across)."""

    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
    dilation: tuple[int, int]
    groups: int


@operation
def convolution(input: Array, weight: Array, *, params: ConvParams) -> Array:
    """(N, C, H, W) by (O, C / groups, KH, KW) to (N, O, H′, W′)."""
    return kernels.convolve(input, weight, *params)


@convolution.derivative
def _(grad: Array, input: Array, weight: Array, params: ConvParams) -> Any:
    """Both gradients are convolutions in their turn."""
    return (
        lambda: convolution_to_input(grad, weight, shape=input.shape, params=params),
        lambda: convolution_to_weight(input, grad, shape=weight.shape, params=params),
    )


@operation
def convolution_to_input(input: Array, weight: Array, *, shape: Any, params: ConvParams) -> Array:
    """(N, O, H′, W′) by (O, C / groups, KH, KW) to `shape` (N, C, H, W): each place gives to all it was made of."""
    return kernels.convolve_input_gradient(input, weight, shape, *params)


@convolution_to_input.derivative
def _(grad: Array, input: Array, weight: Array, params: ConvParams) -> Any:
    """The convolution itself, and its gradient to the weight."""
    return (
        lambda: convolution(grad, weight, params=params),
        lambda: convolution_to_weight(grad, input, shape=weight.shape, params=params),
    )


@operation
def convolution_to_weight(input: Array, out_grad: Array, *, shape: Any, params: ConvParams) -> Array:
    """(N, C, H, W) and (N, O, H′, W′) to `shape` (O, C / groups, KH, KW): each tap sums what passed through it."""
    return kernels.convolve_weight_gradient(input, out_grad, shape, *params)


@convolution_to_weight.derivative
def _(grad: Array, input: Array, out_grad: Array, params: ConvParams) -> Any:
    """The gradient to the input, and the convolution itself."""
    return (
        lambda: convolution_to_input(out_grad, grad, shape=input.shape, params=params),
        lambda: convolution(input, grad, params=params),
    )


def conv2d(
    input: Array, weight: Array, bias: Array = None, stride: Ints = 1, padding: Ints | str = 0, dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """A convolution over pictures.

    Args:
        input: (N, C, H, W), or one picture (C, H, W).
        weight: the filters, (O, C / groups, KH, KW).
        bias: added to each filter's result, (O,), or None.
        stride: how far the filter moves, a number or (down, across).
        padding: zeros around the picture, a number or (down, across); "same" for as many as keep the size, "valid" for
            none.
        dilation: how far apart the filter's taps lie.
        groups: channels in so many groups, each convolved by itself.

    Returns:
        (N, O, H′, W′), H′ = ⌊(H + 2 padding - dilation (KH - 1) - 1) / stride⌋ + 1, and W′ likewise.

    Raises:
        ValueError: shapes or numbers that do not fit.
    """
    return _convolve(input, weight, bias, stride, padding, dilation, groups, 2)


def conv1d(
    input: Array, weight: Array, bias: Array = None, stride: Ints = 1, padding: Ints | str = 0, dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """A convolution over sequences: as `conv2d`, without the H.

    Args:
        input: (N, C, L) or (C, L).
        weight: (O, C / groups, K).
        bias: (O,) or None.
        stride: how far the filter moves.
        padding: zeros at both ends, or "same" or "valid".
        dilation: how far apart the filter's taps lie.
        groups: channels in so many groups.

    Raises:
        ValueError: shapes or numbers that do not fit.
    """
    return _convolve(input, weight, bias, stride, padding, dilation, groups, 1)


def _convolve(
    input: Array, weight: Array, bias: Array, stride: Any, padding: Any, dilation: Any, groups: int, ndim: int
) -> Tensor:
    name = f"conv{ndim}d"
    _check(name, input, weight, bias, groups, ndim)
    stride, dilation = pair(name, "stride", stride, 1, ndim), pair(name, "dilation", dilation, 1, ndim)
    x = unsqueeze(input, 0) if input.ndim == ndim + 1 else input
    if ndim == 1:  # a sequence is one row
        x, weight = unsqueeze(x, 2), unsqueeze(weight, 2)
    spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]  # from first tap to last
    if padding == "same" and stride == (1, 1):
        around = [(span // 2, span - span // 2) for span in spans]
    elif isinstance(padding, str) and padding != "valid":
        raise ValueError(f'{name}: padding is a number, "valid" or "same" with stride 1, not {padding!r} with {stride}')
    else:
        around = [(p, p) for p in pair(name, "padding", 0 if padding == "valid" else padding, 0, ndim)]
    if any(n + sum(edges) <= span for n, edges, span in zip(x.shape[2:], around, spans, strict=True)):
        taps = f"{weight.shape[-ndim:]} (dilation {dilation[-ndim:]})"
        raise ValueError(f"{name}: the filter {taps} is larger than {input.shape} with padding {around[-ndim:]}")
    out = convolution(x, weight, params=ConvParams(stride, (around[0], around[1]), dilation, groups))
    return _finish(out, bias, input.ndim, ndim)


def conv_transpose2d(
    input: Array, weight: Array, bias: Array = None, stride: Ints = 1, padding: Ints = 0, output_padding: Ints = 0,
    groups: int = 1, dilation: Ints = 1,
) -> Tensor:  # fmt: skip
    """A convolution turned round: each place of the input lays the filter, times its value, into the result.

    Args:
        input: (N, C, H, W), or one picture (C, H, W).
        weight: (C, O / groups, KH, KW).
        bias: (O,), or None.
        stride: how far apart the filters are laid.
        padding: how much of the result's border is cut away.
        output_padding: rows and columns added at the result's end; less than stride or dilation.
        groups: channels in so many groups.
        dilation: how far apart the filter's taps lie.

    Returns:
        (N, O, H′, W′), H′ = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1, and W′ likewise.

    Raises:
        ValueError: shapes or numbers that do not fit.
    """
    name = "conv_transpose2d"
    _check(name, input, weight, bias, groups, 2, turned=True)
    stride, dilation = pair(name, "stride", stride, 1), pair(name, "dilation", dilation, 1)
    cut, more = pair(name, "padding", padding, 0), pair(name, "output_padding", output_padding, 0)
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        raise ValueError(f"{name}: output_padding {more} must be smaller than stride {stride} or dilation {dilation}")
    x = unsqueeze(input, 0) if input.ndim == 3 else input
    height, width = x.shape[2:]
    size = [
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, s, p, d, k, m in zip(x.shape[2:], stride, cut, dilation, weight.shape[2:], more, strict=True)
    ]
    if min(size) < 1:
        raise ValueError(f"{name}: the result would have the size {tuple(size)}: padding {cut} cuts all of it away")
    # A convolution of the result sees, at its end, further places if output_padding reaches so far: zeros there
    seen = height + more[0] // stride[0], width + more[1] // stride[1]
    if seen != (height, width):
        x = scatter_add(x, index=(..., slice(height), slice(width)), shape=(*x.shape[:2], *seen))
    params = ConvParams(stride, ((cut[0], cut[0]), (cut[1], cut[1])), dilation, groups)
    out = convolution_to_input(x, weight, shape=(x.shape[0], weight.shape[1] * groups, *size), params=params)
    return _finish(out, bias, input.ndim, 2)


def _finish(out: Tensor, bias: Array, given: int, ndim: int) -> Tensor:
    """Add the bias, and take away the dimensions that the input, of `given` dimensions, did not have."""
    if bias is not None:
        out = out + reshape(bias, shape=(1, -1, 1, 1))
    added = ([0] if given == ndim + 1 else []) + ([2] if ndim == 1 else [])
    return squeeze(out, added) if added else out


def pair(name: str, what: str, value: Any, least: int, ndim: int = 2) -> tuple[int, int]:
    """One number for both dimensions, or one for each; what stands for the missing one changes nothing."""
    given = int_tuple(value, f"{name}: {what}")
    given = given * ndim if len(given) == 1 else given
    if len(given) != ndim or min(given) < least:
        form = "one number" if ndim == 1 else "a number or two"
        raise ValueError(f"{name}: {what} must be {form}, at least {least}, not {value}")
    return (given[0], given[1]) if ndim == 2 else (least, given[0])


def _check(name: str, input: Array, weight: Array, bias: Array, groups: int, ndim: int, turned: bool = False) -> None:
    """Whether input, weight and bias fit; a convolution that is turned round takes what another one gives."""
    only_tensors(name, input, weight, optional=[bias])
    if weight.ndim != ndim + 2 or input.ndim not in (ndim + 1, ndim + 2) or 0 in weight.shape[2:]:
        sizes, taps = ("L", "K") if ndim == 1 else ("H, W", "KH, KW")
        form = f"(N, C, {sizes}) and weight (O, C / groups, {taps}) with at least one tap"
        raise ValueError(f"{name}: takes input {form}, not {input.shape} and {weight.shape}")
    types = [part.dtype for part in (input, weight, bias) if part is not None]
    if len(set(types)) > 1 or input.dtype.kind != "f":
        raise TypeError(f"{name}: input, weight and bias must have one floating type, not {', '.join(map(str, types))}")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} must be at least 1 and divide the weight's {weight.shape[0]}")
    results, channels = weight.shape[0], weight.shape[1] * groups
    if turned:
        results, channels = channels, results
    if input.shape[-ndim - 1] != channels:
        wanted = f"{channels} channels for weight {weight.shape} with groups={groups}"
        raise ValueError(f"{name}: input {input.shape} must have {wanted}")
    if bias is not None and bias.shape != (results,):
        raise ValueError(f"{name}: bias {bias.shape} must be ({results},)")
