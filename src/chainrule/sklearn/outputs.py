"""Outputs: how the scores of the last layer become losses and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule import ops
from chainrule.nn import functional as F  # noqa: N812  # PyTorch's name

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.tensor import Tensor


@dataclass(frozen=True)
class Output:
    """One way to read the scores of a network.

    Attributes:
        name: the activation that turns scores into predictions, as in `out_activation_`.
        losses: maps scores (N, outputs) and targets to the loss of each example, (N,).
        predict: maps scores to predictions (N, outputs).
        is_averaged: whether the reported loss is the mean over the outputs; the minimized loss is always their sum.
    """

    name: str
    losses: Callable[[Tensor, Tensor], Tensor]
    predict: Callable[[Tensor], Tensor]
    is_averaged: bool = False


def _softmax_losses(scores: Tensor, classes: Tensor) -> Tensor:
    return F.cross_entropy(scores, classes, reduction="none")


def _logistic_losses(scores: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, labels, reduction="none").sum(1)


def _squared_losses(scores: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * F.mse_loss(scores, targets, reduction="none").sum(1)


def _poisson_losses(scores: Tensor, counts: Tensor) -> Tensor:
    """Half the Poisson deviance, y ln(y / ŷ) - y + ŷ with ŷ = exp(score)."""
    tiny = float(np.finfo(counts.dtype).tiny)  # y ln y is 0 at y = 0
    return (counts * (ops.log(counts.clamp(min=tiny)) - scores) - counts + ops.exp(scores)).sum(1)


SOFTMAX = Output("softmax", _softmax_losses, lambda scores: F.softmax(scores, dim=1))
LOGISTIC = Output("logistic", _logistic_losses, ops.sigmoid)
IDENTITY = Output("identity", _squared_losses, lambda scores: scores, is_averaged=True)
EXP = Output("exp", _poisson_losses, ops.exp)
