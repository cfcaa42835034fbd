"""Convolutions: a small filter slides over a picture and takes the weighted sum of what it sees at each place.

Three operations, each made of the other two when it is differentiated: `convolution`, the gradient to its input
(a convolution turned round: `conv_transpose2d` is made of it), and the gradient to its weight. All are linear in both
inputs. The loops are in `chainrule.kernels`.

Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.kernels import convolution as kernels
from chainrule.ops.indexing import put
from chainrule.ops.operation import Array, operation
from chainrule.ops.shape import reshape, squeeze, unsqueeze

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.tensor import Tensor

    Pair = int | Sequence[int]

__all__ = ["conv1d", "conv2d", "conv_transpose2d"]


@operation
def convolution(input: Array, weight: Array, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
    """(N, C, H, W) by (O, C / groups, KH, KW) to (N, O, H′, W′)."""
    return kernels.convolve(input, weight, stride, padding, dilation, groups)


@convolution.derivative
def _(grad: Array, input: Array, weight: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Both gradients are convolutions in their turn."""
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (
        lambda: convolution_to_input(grad, weight, shape=tuple(input.shape), **how),
        lambda: convolution_to_weight(input, grad, shape=tuple(weight.shape), **how),
    )


@operation
def convolution_to_input(
    input: Array, weight: Array, *, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """(N, O, H′, W′) by (O, C / groups, KH, KW) to `shape` (N, C, H, W): each place gives to all it was made of."""
    return kernels.convolve_input_gradient(input, weight, shape, stride, padding, dilation, groups)


@convolution_to_input.derivative
def _(grad: Array, input: Array, weight: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The convolution itself, and its gradient to the weight."""
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (
        lambda: convolution(grad, weight, **how),
        lambda: convolution_to_weight(grad, input, shape=tuple(weight.shape), **how),
    )


@operation
def convolution_to_weight(
    input: Array, out_grad: Array, *, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """(N, C, H, W) and (N, O, H′, W′) to `shape` (O, C / groups, KH, KW): each tap sums what passed through it."""
    return kernels.convolve_weight_gradient(input, out_grad, shape, stride, padding, dilation, groups)


@convolution_to_weight.derivative
def _(grad: Array, input: Array, out_grad: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The gradient to the input, and the convolution itself."""
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (
        lambda: convolution_to_input(out_grad, grad, shape=tuple(input.shape), **how),
        lambda: convolution(input, grad, **how),
    )


def conv2d(
    input: Array,
    weight: Array,
    bias: Array = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
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
    input: Array,
    weight: Array,
    bias: Array = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
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
    name, single = f"conv{ndim}d", input.ndim == ndim + 1
    _check(name, input, weight, bias, groups, ndim, channels=1, out=0)
    stride, dilation = _pair(name, "stride", stride, ndim, 1), _pair(name, "dilation", dilation, ndim, 1)
    size, taps = tuple(input.shape[-ndim:]), tuple(weight.shape[2:])
    if isinstance(padding, str):
        if padding not in ("same", "valid") or (padding == "same" and any(s != 1 for s in stride)):
            raise ValueError(
                f'{name}: padding is a number, "valid", or "same" with stride 1, not {padding!r} with {stride}'
            )
        spans = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation[-ndim:], taps, strict=True)]
        around = [(span // 2, span - span // 2) for span in spans]
    else:
        around = [(p, p) for p in _pair(name, "padding", padding, ndim, 0)[-ndim:]]
    for n, (before, after), k, d in zip(size, around, taps, dilation[-ndim:], strict=True):
        if n + before + after < d * (k - 1) + 1:
            raise ValueError(
                f"{name}: the filter {taps} (dilation {dilation[-ndim:]}) is larger than the padded input, {size} with "
                f"padding {tuple(around)}"
            )
    x, w = (unsqueeze(input, 0) if single else input), weight
    if ndim == 1:  # one row
        x, w, around = unsqueeze(x, 2), unsqueeze(w, 2), [(0, 0), *around]
    out = convolution(x, w, stride=stride, padding=tuple(around), dilation=dilation, groups=groups)
    return _finish(out, bias, single, ndim)


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
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
    name, single = "conv_transpose2d", input.ndim == 3
    _check(name, input, weight, bias, groups, 2, channels=0, out=1)
    stride, dilation = _pair(name, "stride", stride, 2, 1), _pair(name, "dilation", dilation, 2, 1)
    cut, more = _pair(name, "padding", padding, 2, 0), _pair(name, "output_padding", output_padding, 2, 0)
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        raise ValueError(f"{name}: output_padding {more} must be smaller than stride {stride} or dilation {dilation}")
    x = unsqueeze(input, 0) if single else input
    size = [
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, s, p, d, k, m in zip(x.shape[2:], stride, cut, dilation, weight.shape[2:], more, strict=True)
    ]
    if min(size) < 1:
        raise ValueError(f"{name}: the result would have the size {tuple(size)}: padding {cut} cuts all of it away")
    shape = (x.shape[0], weight.shape[1] * groups, *size)
    # A convolution of the result may see more places than the input has, if output_padding reaches so far: zeros there
    seen = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, s, p, d, k in zip(size, stride, cut, dilation, weight.shape[2:], strict=True)
    ]
    if seen != list(x.shape[2:]):
        height, width = x.shape[2:]
        x = put(x, index=(..., slice(height), slice(width)), shape=(*x.shape[:2], *seen))
    how = {"stride": stride, "padding": tuple((p, p) for p in cut), "dilation": dilation, "groups": groups}
    return _finish(convolution_to_input(x, weight, shape=shape, **how), bias, single, 2)


def _finish(out: Tensor, bias: Array, single: bool, ndim: int) -> Tensor:
    if bias is not None:
        out = out + reshape(bias, shape=(1, -1, 1, 1))
    if ndim == 1:
        out = squeeze(out, 2)
    return squeeze(out, 0) if single else out


def _pair(name: str, what: str, value: Any, ndim: int, least: int) -> tuple[int, int]:
    """One number for both dimensions, or one for each; what stands for the missing one changes nothing."""
    given = (value,) * ndim if isinstance(value, int) else tuple(value)
    given = given * ndim if len(given) == 1 else given
    if len(given) != ndim or any(v < least for v in given):
        form = "one number" if ndim == 1 else "a number or two"
        raise ValueError(f"{name}: {what} must be {form}, at least {least}, not {value}")
    return (given[0], given[1]) if ndim == 2 else (least, given[0])


def _check(
    name: str, input: Array, weight: Array, bias: Array, groups: int, ndim: int, channels: int, out: int
) -> None:
    """Whether input, weight and bias fit; `channels` and `out` say which of the weight's dimensions is which."""
    if weight.ndim != ndim + 2 or input.ndim not in (ndim + 1, ndim + 2):
        form = {1: "(N, C, L) and weight (O, C / groups, K)", 2: "(N, C, H, W) and weight (O, C / groups, KH, KW)"}[
            ndim
        ]
        raise ValueError(f"{name}: takes input {form}, not {tuple(input.shape)} and {tuple(weight.shape)}")
    if input.dtype != weight.dtype or input.dtype.kind != "f":
        raise TypeError(f"{name}: input and weight must have one floating type, not {input.dtype} and {weight.dtype}")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} must be at least 1 and divide the weight's {weight.shape[0]}")
    if any(k < 1 for k in weight.shape[2:]):
        raise ValueError(f"{name}: the filter must have at least one tap, its shape is {tuple(weight.shape[2:])}")
    wanted = weight.shape[channels] * (groups if channels else 1)
    if input.shape[-ndim - 1] != wanted:
        raise ValueError(
            f"{name}: input {tuple(input.shape)} has {input.shape[-ndim - 1]} channels, "
            f"weight {tuple(weight.shape)} with groups={groups} takes {wanted}"
        )
    results = weight.shape[out] * (groups if out else 1)
    if bias is not None and tuple(bias.shape) != (results,):
        raise ValueError(f"{name}: bias {tuple(bias.shape)} must be ({results},)")
    if bias is not None and bias.dtype != input.dtype:
        raise TypeError(f"{name}: the bias must have the input's type {input.dtype}, not {bias.dtype}")
