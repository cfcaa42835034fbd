"""Losses as modules; the formulas are in `chainrule.ops.losses`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Module

if TYPE_CHECKING:
    from chainrule.tensor import Tensor


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f'{type(self).__name__}: reduction must be "mean", "sum" or "none", not {reduction!r}')
        self.reduction = reduction

    def extra_repr(self) -> str:
        """The reduction."""
        return f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """-ln of the probability that softmax(input) gives to the target; see `functional.cross_entropy`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Scores (N, C) and class indices (N,), or probabilities (N, C), to the loss."""
        return F.cross_entropy(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """The squared error; see `functional.mse_loss`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Predictions and targets of one shape to the loss."""
        return F.mse_loss(input, target, self.reduction)
