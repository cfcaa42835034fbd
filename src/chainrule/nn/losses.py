"""Losses as modules; the formulas are in `chainrule.ops.losses`.

A class weight belongs to the loss's state, as in PyTorch: it is a buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.errors import check
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Module, applies, options

if TYPE_CHECKING:
    from chainrule.tensor import Tensor

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss",
    "SmoothL1Loss",
]  # fmt: skip


class _Loss(Module):
    reductions: tuple[str, ...] = ("mean", "sum", "none")
    reduction: str

    if TYPE_CHECKING:  # `applies` makes it

        def forward(self, input: Tensor, target: Tensor) -> Tensor: ...

    def __post_init__(self) -> None:
        known = ", ".join(f'"{r}"' for r in self.reductions)
        check(self, self.reduction in self.reductions, f"reduction must be one of {known}, not {self.reduction!r}")

    def extra_repr(self) -> str:
        """The reduction."""
        return f"reduction={self.reduction!r}"


@options
class _PlainLoss(_Loss):
    reduction: str = "mean"


@options
class _WeightedLoss(_Loss):
    weight: Tensor | None = None
    _buffers = ("weight",)


@applies(F.cross_entropy)
class CrossEntropyLoss(_WeightedLoss):
    """-ln of the probability that softmax(input) gives to the target; see `functional.cross_entropy`.

    Shapes: scores (N, C) and class indices (N,), or probabilities (N, C), to the loss.
    """

    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0


@applies(F.nll_loss)
class NLLLoss(_WeightedLoss):
    """The negative of the target class's logarithm of probability; see `functional.nll_loss`.

    Shapes: logarithms of probabilities (N, C) and class indices (N,) to the loss.
    """

    ignore_index: int = -100
    reduction: str = "mean"


@applies(F.mse_loss)
class MSELoss(_PlainLoss):
    """The squared error of predictions and targets of one shape; see `functional.mse_loss`."""


@applies(F.l1_loss)
class L1Loss(_PlainLoss):
    """The absolute error of predictions and targets of one shape; see `functional.l1_loss`."""


@applies(F.smooth_l1_loss)
class SmoothL1Loss(_PlainLoss):
    """The squared error near 0, the absolute error farther away; see `functional.smooth_l1_loss`."""

    beta: float = 1.0


@applies(F.huber_loss)
class HuberLoss(_PlainLoss):
    """The squared error near 0, the absolute error farther away; see `functional.huber_loss`."""

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number = isinstance(self.delta, (int, float))
        check(self, number, f"delta must be an int or a float, not {self.delta!r}", TypeError)


@applies(F.binary_cross_entropy)
class BCELoss(_WeightedLoss):
    """`functional.binary_cross_entropy` of probabilities and targets of one shape."""

    reduction: str = "mean"


@applies(F.binary_cross_entropy_with_logits)
class BCEWithLogitsLoss(_Loss):
    """`functional.binary_cross_entropy_with_logits` of scores and targets of one shape."""

    weight: Tensor | None = None
    reduction: str = "mean"
    pos_weight: Tensor | None = None
    _buffers = ("weight", "pos_weight")


@applies(F.kl_div)
class KLDivLoss(_PlainLoss):
    """How much one distribution tells about another; see `functional.kl_div`.

    Shapes: logarithms of probabilities, and probabilities of the same shape, to the loss.
    """

    log_target: bool = False
    reductions = ("mean", "batchmean", "sum", "none")
