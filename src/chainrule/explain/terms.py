"""The sums in the equations of backpropagation, for each kind of layer with weights.

For ∂C/∂w = Σ δ · a, these are the δ and the activations; for ∂C/∂a = Σ w · δ, the weights and the δ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.ops.convolution import pair
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = tuple[int, ...]


@dataclass(frozen=True)
class Factors:
    """One factor of each term of a sum.

    Attributes:
        values: (T,), the factors.
        indices: (T, D), the index of each in the array that it comes from.
    """

    values: Array
    indices: NDArray[np.int64]


def _at(array: Array, indices: NDArray[np.int64]) -> Factors:
    """Return the values of an array at indices (T, D)."""
    return Factors(np.asarray(array[tuple(indices.T)], np.float64), indices)


def _grid(*axes: Any) -> NDArray[np.int64]:
    """Return all combinations of indices, (T, D), the last axis fastest; an axis is a number or an array of indices."""
    parts = np.meshgrid(*[np.atleast_1d(axis) for axis in axes], indexing="ij")
    return np.stack([part.ravel() for part in parts], axis=-1).astype(np.int64)


class LayerTerms:
    """The sums of one layer.

    Attributes:
        mixes: whether each output is a weighted sum of several inputs. Otherwise, as in batch normalization, it is one
            input times a factor, plus a constant.
    """

    mixes = True

    def __init__(self, module: Any) -> None:
        self.module = module

    def check(self, path: str) -> None:
        """Raise a ValueError if the layer, at this path, cannot be written as such sums."""

    def gradient(self, parameter: str, at: Index, input: Array, delta: Array) -> tuple[Factors, Factors]:
        """Return the δ and the activations of a weight's gradient.

        Args:
            parameter: "weight" or "bias".
            at: the weight's index.
            input: the layer's input, without a dimension of examples.
            delta: ∂C/∂(its output).
        """
        raise NotImplementedError

    def error(self, at: Index, delta: Array) -> tuple[Factors, Factors]:
        """Return the weights and the δ of the gradient with respect to the input at an index."""
        raise NotImplementedError

    def _bias(self, deltas: Factors) -> tuple[Factors, Factors]:
        """Return the factors of a bias: each δ once."""
        return deltas, Factors(np.ones(len(deltas.values)), np.zeros((len(deltas.values), 0), np.int64))


class LinearTerms(LayerTerms):
    """Linear: (..., in) to (..., out)."""

    module: nn.Linear

    def gradient(self, parameter: str, at: Index, input: Array, delta: Array) -> tuple[Factors, Factors]:
        """δ[i] · a[j], for a weight [i, j]."""
        leading = [np.arange(size) for size in delta.shape[:-1]]
        deltas = _at(delta, _grid(*leading, at[0]))
        return self._bias(deltas) if parameter == "bias" else (deltas, _at(input, _grid(*leading, at[1])))

    def error(self, at: Index, delta: Array) -> tuple[Factors, Factors]:
        """w[k, j] · δ[k], over the outputs k."""
        outputs = np.arange(delta.shape[-1])
        weight = self.module.weight.detach().numpy()
        return _at(weight, _grid(outputs, at[-1])), _at(delta, _grid(*at[:-1], outputs))


class ConvolutionTerms(LayerTerms):
    """Conv2d: (C, H, W) to (O, H′, W′). Terms at positions in the padding, where a = 0, are left out."""

    module: nn.Conv2d

    def _geometry(self) -> list[tuple[int, int, int]]:
        """Return stride, padding at the start, and dilation, vertical and horizontal."""
        m = self.module
        stride, dilation = pair("Conv2d", "stride", m.stride, 1), pair("Conv2d", "dilation", m.dilation, 1)
        if m.padding == "same":
            kernel = m.weight.shape[2:]
            padding = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
        else:
            padding = pair("Conv2d", "padding", 0 if m.padding == "valid" else m.padding, 0)
        return list(zip(stride, padding, dilation, strict=True))

    def gradient(self, parameter: str, at: Index, input: Array, delta: Array) -> tuple[Factors, Factors]:
        """δ[o, y, x] · a[c, y s - p + k d, ...], over the positions y, x."""
        rows, columns = np.arange(delta.shape[1]), np.arange(delta.shape[2])
        if parameter == "bias":
            return self._bias(_at(delta, _grid(at[0], rows, columns)))
        outputs, inputs = [], []
        for (stride, padding, dilation), tap, positions, size in zip(
            self._geometry(), at[2:], (rows, columns), input.shape[1:], strict=True
        ):
            source = positions * stride - padding + tap * dilation
            inside = (source >= 0) & (source < size)
            outputs.append(positions[inside])
            inputs.append(source[inside])
        group = at[0] // (self.module.out_channels // self.module.groups)
        channel = group * self.module.weight.shape[1] + at[1]
        return _at(delta, _grid(at[0], *outputs)), _at(input, _grid(channel, *inputs))

    def error(self, at: Index, delta: Array) -> tuple[Factors, Factors]:
        """w[o, c, k, l] · δ[o, y, x], over the filters o and the positions y, x at which a tap k, l meets the input."""
        taps, positions = [], []
        for (stride, padding, dilation), where, kernel, size in zip(
            self._geometry(), at[1:], self.module.weight.shape[2:], delta.shape[1:], strict=True
        ):
            tap = np.arange(kernel)
            scaled = where + padding - tap * dilation
            meets = (scaled >= 0) & (scaled % stride == 0) & (scaled // stride < size)
            taps.append(tap[meets])
            positions.append(scaled[meets] // stride)
        channels, filters = self.module.weight.shape[1], self.module.out_channels // self.module.groups
        group, channel = divmod(at[0], channels)
        outputs = np.arange(group * filters, (group + 1) * filters)
        weight = self.module.weight.detach().numpy()
        return _at(weight, _grid(outputs, channel, *taps)), _at(delta, _grid(outputs, *positions))


class BatchNormTerms(LayerTerms):
    """BatchNorm1d and BatchNorm2d in eval mode: (C, ...) to the same shape, by the running mean and variance."""

    mixes = False
    module: nn.BatchNorm2d

    def check(self, path: str) -> None:
        """Check that there are running statistics: without them the output depends on the other examples."""
        if self.module.running_mean is None:
            kind = type(self.module).__name__
            raise ValueError(f"layer {path!r}, {kind}, keeps no running statistics, so one example alone has no values")

    def gradient(self, parameter: str, at: Index, input: Array, delta: Array) -> tuple[Factors, Factors]:
        """δ[c, ...] · the normalized input at the same position."""
        deltas = _at(delta, _grid(at[0], *[np.arange(size) for size in delta.shape[1:]]))
        if parameter == "bias":
            return self._bias(deltas)
        m = self.module
        assert m.running_mean is not None and m.running_var is not None  # noqa: S101, PT018  # see check
        normalized = F.batch_norm(from_numpy(input[None]), m.running_mean, m.running_var, eps=m.eps)
        return deltas, _at(normalized.numpy()[0], deltas.indices)


TERMS: dict[type[nn.Module], type[LayerTerms]] = {
    nn.Linear: LinearTerms,
    nn.Conv2d: ConvolutionTerms,
    nn.BatchNorm1d: BatchNormTerms,
    nn.BatchNorm2d: BatchNormTerms,
}
"""The layers with weights whose equations are known."""
