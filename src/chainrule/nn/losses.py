"""Loss functions as modules; the formulas are in `chainrule.ops.losses`.

`weight` and `pos_weight` are buffers, and so part of the state, as in PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.errors import check
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn.module import Module, applies, with_options

if TYPE_CHECKING:
    from chainrule.tensor import Tensor

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss",
    "SmoothL1Loss",
]  # fmt: skip


class _Loss(Module):
    """Base of the losses: checks that `reduction` is one of `reductions`."""

    reductions: tuple[str, ...] = ("mean", "sum", "none")
    reduction: str

    if TYPE_CHECKING:  # defined by `applies`

        def forward(self, input: Tensor, target: Tensor) -> Tensor: ...

    def __post_init__(self) -> None:
        options = ", ".join(f'"{r}"' for r in self.reductions)
        check(self, self.reduction in self.reductions, f"reduction must be one of {options}, not {self.reduction!r}")

    def extra_repr(self) -> str:
        """Return the reduction."""
        return f"reduction={self.reduction!r}"


@with_options
class _UnweightedLoss(_Loss):
    reduction: str = "mean"


@with_options
class _WeightedLoss(_Loss):
    weight: Tensor | None = None
    _buffers = ("weight",)


@applies(F.cross_entropy)
class CrossEntropyLoss(_WeightedLoss):
    """The negative logarithm of the target's probability under softmax(input); see `functional.cross_entropy`.

    Shapes: logits (N, C), with class indices (N,) or class probabilities (N, C).
    """

    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0


@applies(F.nll_loss)
class NLLLoss(_WeightedLoss):
    """The negative log-likelihood of the target class; see `functional.nll_loss`.

    Shapes: log-probabilities (N, C) and class indices (N,).
    """

    ignore_index: int = -100
    reduction: str = "mean"


@applies(F.mse_loss)
class MSELoss(_UnweightedLoss):
    """Squared error between predictions and targets of the same shape; see `functional.mse_loss`."""


@applies(F.l1_loss)
class L1Loss(_UnweightedLoss):
    """Absolute error between predictions and targets of the same shape; see `functional.l1_loss`."""


@applies(F.smooth_l1_loss)
class SmoothL1Loss(_UnweightedLoss):
    """Squared where the error is below `beta`, absolute error elsewhere; see `functional.smooth_l1_loss`."""

    beta: float = 1.0


@applies(F.huber_loss)
class HuberLoss(_UnweightedLoss):
    """Squared where the error is below `delta`, absolute error elsewhere; see `functional.huber_loss`."""

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        is_number = isinstance(self.delta, (int, float))
        check(self, is_number, f"delta must be an int or a float, not {self.delta!r}", TypeError)


@applies(F.binary_cross_entropy)
class BCELoss(_WeightedLoss):
    """Binary cross entropy of probabilities and targets of the same shape; see `functional.binary_cross_entropy`."""

    reduction: str = "mean"


@applies(F.binary_cross_entropy_with_logits)
class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of logits and targets; see `functional.binary_cross_entropy_with_logits`."""

    weight: Tensor | None = None
    reduction: str = "mean"
    pos_weight: Tensor | None = None
    _buffers = ("weight", "pos_weight")


@applies(F.kl_div)
class KLDivLoss(_UnweightedLoss):
    """How far one distribution is from another; see `functional.kl_div`.

    Shapes: log-probabilities, and probabilities of the same shape.
    """

    log_target: bool = False
    reductions = ("mean", "batchmean", "sum", "none")
