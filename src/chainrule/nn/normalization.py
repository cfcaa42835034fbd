"""Normalization layers; the formulas are in `chainrule.ops.normalization`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import check
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.layers import check_sizes
from chainrule.nn.module import Module, Parameter
from chainrule.ops.dtypes import DEFAULT
from chainrule.ops.shape import int_tuple
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "LayerNorm", "RMSNorm"]


class _BatchNorm(Module):
    """Base of batch and instance normalization; subclasses set the numbers of dimensions that an input may have."""

    allowed_ndims: tuple[int, ...] = ()
    _buffers = ("running_mean", "running_var", "num_batches_tracked")
    _parameter_names = ("weight", "bias")

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, *, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        check_sizes(self, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.track_running_stats = track_running_stats
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        self.running_mean = Tensor(np.zeros(num_features, dtype)) if track_running_stats else None
        self.running_var = Tensor(np.ones(num_features, dtype)) if track_running_stats else None
        self.num_batches_tracked = Tensor(np.array(0)) if track_running_stats else None

    def reset_running_stats(self) -> None:
        """Set the running statistics to their initial values: mean 0, variance 1, and no batches counted."""
        for tensor, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if tensor is not None:
                tensor.fill_(value)

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, ...) to the same shape."""
        name = type(self).__name__
        if input.ndim not in self.allowed_ndims:
            ndims = " or ".join(map(str, self.allowed_ndims))
            raise ValueError(f"{name}: input must have {ndims} dimensions, not shape {input.shape}")
        if input.shape[1] != self.num_features:
            raise ValueError(f"{name}: input {input.shape} must have {self.num_features} channels in dimension 1")
        tracking = self.training and self.track_running_stats
        count = self.num_batches_tracked if tracking else None
        momentum = self.momentum
        if momentum is None:
            momentum = 0.0 if count is None else 1 / (int(count) + 1)
        use_batch = self.training or (self.running_mean is None and self.running_var is None)
        statistics = (self.running_mean, self.running_var) if tracking or not use_batch else (None, None)
        out = F.batch_norm(input, *statistics, self.weight, self.bias, use_batch, momentum, self.eps)
        if count is not None:
            count += 1
        return out

    def extra_repr(self) -> str:
        """Return the size and the options."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L); arguments and buffers as in `BatchNorm2d`."""

    allowed_ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (N, C, H, W): per channel, by batch statistics in training, running statistics in eval.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics; None for their mean over all batches.
        affine: whether to scale by a learned `weight` (C,) and shift by a learned `bias` (C,).
        track_running_stats: whether to keep running statistics; otherwise batch statistics are always used.
        dtype: the type of parameters and statistics.

    Buffers: `running_mean` (C,), `running_var` (C,), `num_batches_tracked`.
    """

    allowed_ndims = (4,)


class InstanceNorm2d(_BatchNorm):
    """Normalize each channel of each image (N, C, H, W) or (C, H, W) to mean 0 and variance 1; then scale and shift.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.
        affine: whether to scale by a learned `weight` (C,) and shift by a learned `bias` (C,).
        track_running_stats: whether to keep running statistics, which are used in evaluation; otherwise the statistics
            of the input are always used.
        dtype: the type of parameters and statistics.

    Buffers, with `track_running_stats`: `running_mean` (C,), `running_var` (C,), `num_batches_tracked`.
    """

    allowed_ndims = (3, 4)

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, *, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, ...) or (C, ...) to the same shape."""
        name, (unbatched, batched) = type(self).__name__, self.allowed_ndims
        if input.ndim not in self.allowed_ndims:
            raise ValueError(f"{name}: input must have {unbatched} or {batched} dimensions, not shape {input.shape}")
        x = input if input.ndim == batched else input.unsqueeze(0)
        if x.shape[1] != self.num_features:
            raise ValueError(f"{name}: input {input.shape} must have {self.num_features} channels")
        use_input = self.training or not self.track_running_stats
        statistics, momentum = (self.running_mean, self.running_var), self.momentum or 0.0
        out = F.instance_norm(x, *statistics, self.weight, self.bias, use_input, momentum, self.eps)
        return out if input.ndim == batched else out.squeeze(0)


class InstanceNorm1d(InstanceNorm2d):
    """Normalize each channel of each signal (N, C, L) or (C, L); arguments and buffers as in `InstanceNorm2d`."""

    allowed_ndims = (2, 3)


class _LastDimensionsNorm(Module):
    """Base of LayerNorm and RMSNorm: stores `normalized_shape` and creates a weight of that shape."""

    _parameter_names = ("weight", "bias")

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True, *,
        dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        check_sizes(self, normalized_shape=normalized_shape)
        self.normalized_shape = int_tuple(normalized_shape, type(self).__name__)
        self.eps: Any = eps
        self.weight = Parameter(np.ones(self.normalized_shape, dtype)) if elementwise_affine else None

    def extra_repr(self) -> str:
        """Return the shape and eps."""
        return f"{self.normalized_shape}, eps={self.eps}"


class LayerNorm(_LastDimensionsNorm):
    """Normalize over the last dimensions, of sizes `normalized_shape`, to mean 0 and variance 1; then scale and shift.

    Args:
        normalized_shape: sizes of the dimensions to normalize over.
        eps: added to the variance.
        elementwise_affine: whether to scale by a learned `weight` and shift by a learned `bias` of that shape.
        bias: whether to add a learned `bias`; ignored unless `elementwise_affine`.
        dtype: the type of the parameters.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, *, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        super().__init__(normalized_shape, eps, elementwise_affine, dtype=dtype)
        self.bias = Parameter(np.zeros(self.normalized_shape, dtype)) if elementwise_affine and bias else None

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., *normalized_shape) to the same shape."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(_LastDimensionsNorm):
    """Divide by the root mean square over the last dimensions, of sizes `normalized_shape`; then scale.

    Args:
        normalized_shape: sizes of the dimensions to normalize over.
        eps: added to the mean square; the machine epsilon of the input's type if None.
        elementwise_affine: whether to scale by a learned `weight` of that shape.
        dtype: the type of the weight.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., *normalized_shape) to the same shape."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """Normalize each of `num_groups` groups of channels to mean 0 and variance 1; then scale and shift per channel.

    Args:
        num_groups: the number of groups; must divide C.
        num_channels: C.
        eps: added to the variance.
        affine: whether to scale by a learned `weight` (C,) and shift by a learned `bias` (C,).
        dtype: the type of the parameters.
    """

    _parameter_names = ("weight", "bias")

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, dtype: DTypeLike = DEFAULT
    ) -> None:
        check_sizes(self, num_groups=num_groups, num_channels=num_channels)
        check(self, num_groups > 0 and not num_channels % num_groups, f"{num_groups=} must divide {num_channels=}")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter(np.ones(num_channels, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_channels, dtype)) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, ...) to the same shape."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes and eps."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"
