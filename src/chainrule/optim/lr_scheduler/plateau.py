"""A scheduler that depends on a metric."""

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat

from chainrule.autograd.mode import refuse_while_tracing
from chainrule.errors import check, require_numbers
from chainrule.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group
from chainrule.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by `factor` when a metric has not improved for more than `patience` steps.

    Call `step(metric)`.

    Args:
        optimizer: the optimizer whose learning rates are set.
        mode: "min" if smaller is better (a loss), "max" if larger is (an accuracy).
        factor: what the rate is multiplied by; below 1.
        patience: how many steps without improvement to allow.
        threshold: by how much a metric must beat the best one to count as an improvement.
        threshold_mode: "rel" for a threshold relative to the best metric, "abs" for an absolute one.
        cooldown: for how many steps after a reduction a lack of improvement does not count.
        min_lr: the lowest rate, one for all groups or one per group.
        eps: a reduction of the rate by at most this much is skipped.

    Raises:
        ValueError: a factor of 1 or more, an unknown mode, or a wrong number of min_lr.
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: float | Sequence[float] = 0.0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        require_numbers(self, factor=factor, patience=patience, threshold=threshold, cooldown=cooldown, eps=eps)
        check(self, factor < 1, f"factor must be below 1, got {factor}")
        self.mode = self._check_choice("mode", mode, "min", "max")
        self.threshold_mode = self._check_choice("threshold_mode", threshold_mode, "rel", "abs")
        self.factor, self.patience, self.threshold, self.cooldown, self.eps = factor, patience, threshold, cooldown, eps
        self.optimizer, self.last_epoch = check_optimizer(self, optimizer), 0
        self.min_lrs = per_group(self, optimizer, "min_lr", min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = 0
        self._last_lr = self._scaled_rates()

    def _add_group(self, group: dict[str, Any]) -> None:
        self.min_lrs.append(self._shared_option("min_lr"))

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]  # takes a metric
        """Advance by one step, with this step's metric."""
        refuse_while_tracing(f"the step of a {type(self).__name__}")
        metric = float(metrics)
        self._add_new_groups(self.min_lrs)
        self.last_epoch += 1
        is_better = self._is_better(metric)
        self.best = metric if is_better else self.best
        self.num_bad_epochs = 0 if is_better or self.cooldown_counter else self.num_bad_epochs + 1
        self.cooldown_counter = max(self.cooldown_counter - 1, 0)
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                rate = max(group["lr"] * self.factor, lowest)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
        self._last_lr = self._scaled_rates()

    def _is_better(self, metric: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1 + sign * self.threshold)
        return sign * metric > sign * self.best + self.threshold
