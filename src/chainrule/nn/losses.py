"""Losses as modules; the formulas are in `chainrule.ops.losses`.

A class weight belongs to the loss's state, as in PyTorch: it is a buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Module, options

if TYPE_CHECKING:
    from chainrule.tensor import Tensor

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss",
    "SmoothL1Loss",
]  # fmt: skip


class _Loss(Module):
    reductions: tuple[str, ...] = ("mean", "sum", "none")
    reduction: str

    def __post_init__(self) -> None:
        if self.reduction not in self.reductions:
            known = ", ".join(f'"{r}"' for r in self.reductions)
            raise ValueError(f"{type(self).__name__}: reduction must be one of {known}, not {self.reduction!r}")

    def extra_repr(self) -> str:
        """The reduction."""
        return f"reduction={self.reduction!r}"


@options
class CrossEntropyLoss(_Loss):
    """-ln of the probability that softmax(input) gives to the target; see `functional.cross_entropy`."""

    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0
    _buffers = ("weight",)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Scores (N, C) and class indices (N,), or probabilities (N, C), to the loss."""
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


@options
class NLLLoss(_Loss):
    """The negative of the target class's logarithm of probability; see `functional.nll_loss`."""

    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    _buffers = ("weight",)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logarithms of probabilities (N, C) and class indices (N,) to the loss."""
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


@options
class MSELoss(_Loss):
    """The squared error; see `functional.mse_loss`."""

    reduction: str = "mean"

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Predictions and targets of one shape to the loss."""
        return F.mse_loss(input, target, self.reduction)


@options
class L1Loss(_Loss):
    """The absolute error; see `functional.l1_loss`."""

    reduction: str = "mean"

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Predictions and targets of one shape to the loss."""
        return F.l1_loss(input, target, self.reduction)


@options
class SmoothL1Loss(_Loss):
    """The squared error near 0, the absolute error farther away; see `functional.smooth_l1_loss`."""

    reduction: str = "mean"
    beta: float = 1.0

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Predictions and targets of one shape to the loss."""
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


@options
class HuberLoss(_Loss):
    """The squared error near 0, the absolute error farther away; see `functional.huber_loss`."""

    reduction: str = "mean"
    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.delta, (int, float)):
            raise TypeError(f"HuberLoss: delta must be an int or a float, not {self.delta!r}")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Predictions and targets of one shape to the loss."""
        return F.huber_loss(input, target, self.reduction, self.delta)


@options
class BCELoss(_Loss):
    """`functional.binary_cross_entropy` of probabilities."""

    weight: Tensor | None = None
    reduction: str = "mean"
    _buffers = ("weight",)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Probabilities and targets of one shape to the loss."""
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


@options
class BCEWithLogitsLoss(_Loss):
    """`functional.binary_cross_entropy_with_logits` of scores."""

    weight: Tensor | None = None
    reduction: str = "mean"
    pos_weight: Tensor | None = None
    _buffers = ("weight", "pos_weight")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Scores and targets of one shape to the loss."""
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


@options
class KLDivLoss(_Loss):
    """How much one distribution tells about another; see `functional.kl_div`."""

    reduction: str = "mean"
    log_target: bool = False
    reductions = ("mean", "batchmean", "sum", "none")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logarithms of probabilities, and probabilities, to the loss."""
        return F.kl_div(input, target, self.reduction, self.log_target)
