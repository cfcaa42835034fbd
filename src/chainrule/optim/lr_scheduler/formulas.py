"""Schedulers that multiply the initial or the current rate by a factor."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chainrule.errors import check, require_numbers
from chainrule.optim.lr_scheduler.base import LRScheduler, per_group
from chainrule.optim.optimizer import Optimizer

Factor = Callable[[int], float]


class LambdaLR(LRScheduler):
    """η λ(t): the initial rate times a function of the step.

    Args:
        optimizer: the optimizer whose learning rates are set.
        lr_lambda: a function from step to factor, or one per group. The state does not contain the functions.
        last_epoch: the step to continue from; -1 to start.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1) -> None:
        self.lr_lambdas = per_group(self, optimizer, "lr_lambda", lr_lambda)
        check(self, all(map(callable, self.lr_lambdas)), f"lr_lambda must be a function, not {lr_lambda!r}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return η λ(t) for each group."""
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def _add_group(self, group: dict[str, Any]) -> None:
        self.lr_lambdas.append(self._shared_option("lr_lambda"))
        super()._add_group(group)


class MultiplicativeLR(LambdaLR):
    """Multiplies the rate by μ(t) at each step t from 1 on.

    In a SequentialLR it starts from the initial rate, as all schedulers do. (PyTorch's starts from the current rate.)

    Args:
        optimizer: the optimizer whose learning rates are set.
        lr_lambda: a function from step to factor, or one per group. The state does not contain the functions.
        last_epoch: the step to continue from; -1 to start.
    """

    def get_lr(self) -> Sequence[float]:
        """Return the current rates times μ(t)."""
        rates = self._scaled_rates()
        if self._is_first_step:
            return rates
        return [rate * factor(self.last_epoch) for rate, factor in zip(rates, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """η γ^⌊t / step_size⌋: multiplies the rate by `gamma` every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = require_numbers(self, step_size=step_size, gamma=gamma)
        check(self, step_size >= 1, f"step_size must be at least 1, got {step_size}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return the current rates, times γ at each multiple of step_size."""
        return self._scaled_rates(1.0 if self.last_epoch == 0 or self.last_epoch % self.step_size else self.gamma)


class MultiStepLR(LRScheduler):
    """Multiplies the rate by `gamma` at each milestone; twice at a milestone listed twice."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        require_numbers(self, gamma=gamma, **{f"milestone {i}": step for i, step in enumerate(self.milestones)})
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return the current rates, times γ at a milestone."""
        return self._scaled_rates(self.gamma ** self.milestones.count(self.last_epoch))


class ConstantLR(LRScheduler):
    """η `factor` for the first `total_iters` steps, then η.

    Raises:
        ValueError: a factor outside (0, 1]. (PyTorch takes 0, and divides by it after `total_iters` steps.)
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        self.factor, self.total_iters = require_numbers(self, factor=factor, total_iters=total_iters)
        check(self, 0 < factor <= 1, f"factor must be above 0 and at most 1, got {factor}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return the current rates, times the factor at step 0, divided by it at step total_iters."""
        if self.last_epoch == 0:
            return self._scaled_rates(self.factor)
        return self._scaled_rates(1.0 / self.factor if self.last_epoch == self.total_iters else 1.0)


class LinearLR(LRScheduler):
    """η (a + (b - a) t / T) for the first T = `total_iters` steps, with a = `start_factor`, b = `end_factor`; then η b.

    Raises:
        ValueError: a start_factor outside (0, 1] or an end_factor outside [0, 1].
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        require_numbers(self, start_factor=start_factor, end_factor=end_factor, total_iters=total_iters)
        check(self, 0 < start_factor <= 1, f"start_factor must be above 0 and at most 1, got {start_factor}")
        check(self, 0 <= end_factor <= 1, f"end_factor must be between 0 and 1, got {end_factor}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return the current rates, times the ratio of this step's factor to the previous one."""
        step, rise = self.last_epoch, self.end_factor - self.start_factor
        if self._is_first_step or step > self.total_iters:
            return self._scaled_rates(self.start_factor if step == 0 else 1.0)
        previous = self.total_iters * self.start_factor + (step - 1) * rise  # the previous factor, times total_iters
        return self._scaled_rates(1 + rise / previous)


class ExponentialLR(LRScheduler):
    """η γᵗ: multiplies the rate by `gamma` at each step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        (self.gamma,) = require_numbers(self, gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return the current rates times γ."""
        return self._scaled_rates(1.0 if self._is_first_step else self.gamma)


class PolynomialLR(LRScheduler):
    """η (1 - t / T)^power for the first T = `total_iters` steps, then 0.

    Raises:
        ValueError: a total_iters below 1, or a negative power.
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = require_numbers(self, total_iters=total_iters, power=power)
        check(self, total_iters >= 1, f"total_iters must be at least 1, got {total_iters}")
        check(self, power >= 0, f"power must not be negative, got {power}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return the current rates, times the ratio of this step's factor to the previous one."""
        step, total = self.last_epoch, self.total_iters
        if self._is_first_step or step > total:
            return self._scaled_rates()
        return self._scaled_rates(((1.0 - step / total) / (1.0 - (step - 1) / total)) ** self.power)
