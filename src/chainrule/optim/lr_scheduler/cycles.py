"""Schedulers that lower the rate along a cosine, or raise and lower it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from chainrule.autograd.mode import refuse_while_tracing
from chainrule.errors import check, check_integer, require_numbers
from chainrule.optim.lr_scheduler.base import LRScheduler, check_momentum, check_optimizer, per_group, set_momentum
from chainrule.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """η_min + (η - η_min) (1 + cos(π t / T_max)) / 2: half a cosine from η down to `eta_min`, then up again.

    Source: Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts (2017), equation 5.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:  # noqa: N803
        self.T_max, self.eta_min = require_numbers(self, T_max=T_max, eta_min=eta_min)
        check(self, T_max >= 1, f"T_max must be at least 1, got {T_max}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Scale the current rates' distance from eta_min by the ratio of this step's factor to the previous one."""
        step, floor = self.last_epoch, self.eta_min
        if self._is_first_step:
            return self._scaled_rates()
        factor, previous_factor = (1 + math.cos(math.pi * t / self.T_max) for t in (step, step - 1))
        if (step - 1) % (2 * self.T_max) == self.T_max:  # the previous factor was 0, so the ratio is undefined
            return [
                rate + (base - floor) * factor / 2
                for rate, base in zip(self._scaled_rates(), self.base_lrs, strict=True)
            ]
        return [floor + (rate - floor) * factor / previous_factor for rate in self._scaled_rates()]


class CosineAnnealingWarmRestarts(LRScheduler):
    """η_min + (η - η_min) (1 + cos(π T_cur / T_i)) / 2, restarted at η when T_cur reaches the period T_i.

    Args:
        optimizer: the optimizer whose learning rates are set.
        T_0: the number of steps to the first restart.
        T_mult: the factor by which each period is longer than the previous one.
        eta_min: the lowest rate.
        last_epoch: the step to continue from; -1 to start.

    Raises:
        ValueError: a T_0 or T_mult below 1.
        TypeError: a T_0 or T_mult that is not an integer.

    Source: Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts (2017).
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1,  # noqa: N803
    ) -> None:  # fmt: skip
        check_integer(self, "T_0", T_0, minimum=1)
        check_integer(self, "T_mult", T_mult, minimum=1)
        (self.eta_min,) = require_numbers(self, eta_min=eta_min)
        self.T_0, self.T_mult = T_0, T_mult
        self.T_cur: float
        self.T_cur, self.T_i = (-1, T_0) if last_epoch < 0 else self._position(last_epoch)
        super().__init__(optimizer, last_epoch)

    def _position(self, epoch: float) -> tuple[float, int]:
        """Return T_cur and T_i at a step: the number of steps since the last restart, and the length of the period."""
        start, length = 0, self.T_0
        if self.T_mult == 1:
            return epoch % length, length
        while epoch >= start + length:
            start, length = start + length, length * self.T_mult
        return epoch - start, length

    def step(self, epoch: float | None = None) -> None:
        """Advance by one step, or to step `epoch`, which may be fractional: 3.5 is halfway between steps 3 and 4.

        Raises:
            ValueError: a negative epoch.
        """
        refuse_while_tracing("the step of a CosineAnnealingWarmRestarts")
        if epoch is None:
            self._advance()
            return
        require_numbers(self, epoch=epoch)
        check(self, 0 <= epoch < math.inf, f"epoch must be a finite number of at least 0, got {epoch}")
        self.T_cur, self.T_i = self._position(epoch)
        self._add_new_groups(self.base_lrs)
        self.last_epoch = math.floor(epoch)
        self._set_rates(self.get_lr())

    def _advance(self) -> None:
        self.T_cur = 0 if self.last_epoch < 0 else self.T_cur + 1  # -1 also when a SequentialLR restarts it
        if self.last_epoch < 0:
            self.T_i = self.T_0
        elif self.T_cur >= self.T_i:
            self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        super()._advance()

    def get_lr(self) -> Sequence[float]:
        """Return the rates at T_cur of T_i steps."""
        factor = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]


class CyclicLR(LRScheduler):
    """Raises the rate linearly from `base_lr` to `max_lr` and lowers it again, over and over.

    The height max_lr - base_lr is multiplied by a factor: 1 in mode "triangular", 1 / 2ⁿ⁻¹ for the n-th triangle in
    mode "triangular2", and gammaᵗ at step t in mode "exp_range".

    Args:
        optimizer: the optimizer whose learning rates are set.
        base_lr: the lowest rate, one for all groups or one per group.
        max_lr: the highest rate of the first triangle, one for all groups or one per group.
        step_size_up: the number of steps up.
        step_size_down: the number of steps down; step_size_up if None.
        mode: "triangular", "triangular2" or "exp_range".
        gamma: see the formula of "exp_range".
        scale_fn: computes the factor of the height, in place of the mode's. The state does not contain the function.
        scale_mode: the argument of `scale_fn`: "cycle", the number of the triangle, from 1; or "iterations", the step.
        cycle_momentum: whether to move the momentum (for Adam, the first beta) in the opposite direction, from
            `max_momentum` to `base_momentum` and back.
        base_momentum, max_momentum: the range of the momentum, one for all groups or one per group.
        last_epoch: the step to continue from; -1 to start.

    Raises:
        ValueError: an unknown mode, a step size that is not above 0, or no momentum to cycle.

    Source: Smith, Cyclical learning rates for training neural networks (2017).
    """

    def __init__(
        self, optimizer: Optimizer, base_lr: float | Sequence[float], max_lr: float | Sequence[float],
        step_size_up: int = 2000, step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle", cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8, max_momentum: float | Sequence[float] = 0.9, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        down = step_size_up if step_size_down is None else step_size_down
        require_numbers(self, step_size_up=step_size_up, step_size_down=down, gamma=gamma)
        check(self, min(step_size_up, down) > 0, f"the steps up and down must be above 0, got {step_size_up}, {down}")
        self.step_size_up, self.step_size_down, self.gamma = step_size_up, down, gamma
        if scale_fn is None:
            self.mode = self._check_choice("mode", mode, *_SCALES)
            scale_mode = _SCALES[mode][0]
        else:
            check(self, callable(scale_fn), f"scale_fn must be a function, not {scale_fn!r}")
        self._scale_fn = scale_fn
        self.scale_mode = self._check_choice("scale_mode", scale_mode, "cycle", "iterations")
        base_lrs = per_group(self, optimizer, "base_lr", base_lr)
        self.max_lrs = per_group(self, optimizer, "max_lr", max_lr)
        self.momenta: list[tuple[float, float]] = []  # per group, the lowest and the highest
        if cycle_momentum:
            check_momentum(self, optimizer)
            lowest = per_group(self, optimizer, "base_momentum", base_momentum)
            self.momenta = list(zip(lowest, per_group(self, optimizer, "max_momentum", max_momentum), strict=True))
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = group["initial_lr"] = rate
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def _add_group(self, group: dict[str, Any]) -> None:
        names = ("base_lr", "max_lr", *(("base_momentum", "max_momentum") if self.momenta else ()))
        base_lr, max_lr, *momenta = [self._shared_option(name) for name in names]
        group["lr"] = group["initial_lr"] = base_lr
        self.max_lrs.append(max_lr)
        self.momenta += [(momenta[0], momenta[1])] if momenta else []
        super()._add_group(group)

    def get_lr(self) -> Sequence[float]:
        """Return the rates at this step, and set the momenta."""
        step, total = self.last_epoch, self.step_size_up + self.step_size_down
        cycle, position = 1 + math.floor(step / total), step % total
        rising = position <= self.step_size_up
        height = position / self.step_size_up if rising else (total - position) / self.step_size_down
        argument = cycle if self.scale_mode == "cycle" else step
        height *= _SCALES[self.mode][1](self.gamma, argument) if self._scale_fn is None else self._scale_fn(argument)
        pairs = zip(self.optimizer.param_groups, self.momenta, strict=False)  # empty without cycle_momentum
        for group, (low, high) in pairs:
            set_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]


_SCALES: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "triangular": ("cycle", lambda gamma, cycle: 1.0),
    "triangular2": ("cycle", lambda gamma, cycle: 1 / 2.0 ** (cycle - 1)),
    "exp_range": ("iterations", lambda gamma, step: gamma**step),
}
"""For each mode of CyclicLR: its `scale_mode`, and the factor of the height, from gamma and the triangle or step."""


class OneCycleLR(LRScheduler):
    """Raises the rate to `max_lr`, then lowers it to almost 0, while the momentum moves in the opposite direction.

    Args:
        optimizer: the optimizer whose learning rates are set.
        max_lr: the highest rate, one for all groups or one per group.
        total_steps: the number of steps; alternatively give `epochs` and `steps_per_epoch`.
        epochs, steps_per_epoch: their product is the number of steps.
        pct_start: the fraction of the steps during which the rate rises, from 0 to 1.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether to move the momentum (for Adam, the first beta) from `max_momentum` to `base_momentum`
            and back.
        base_momentum, max_momentum: the range of the momentum, one for all groups or one per group.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last rate is the first rate / final_div_factor.
        three_phase: whether to fall to the first rate in as many steps as the rise takes, and then to the last rate.
        last_epoch: the step to continue from; -1 to start.

    Raises:
        ValueError: no number of steps, a fraction outside [0, 1], an unknown strategy, no momentum to cycle, or a step
            after `total_steps`. (`step()` may be called `total_steps` times, once after each update.)

    Source: Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates (2019).
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | Sequence[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if total_steps is None and epochs is not None and steps_per_epoch is not None:
            total_steps = epochs * steps_per_epoch
        if total_steps is None:
            raise ValueError("OneCycleLR: needs total_steps, or epochs and steps_per_epoch")
        check_optimizer(self, optimizer)
        (self.total_steps,) = require_numbers(self, total_steps=total_steps)
        require_numbers(self, pct_start=pct_start, div_factor=div_factor, final_div_factor=final_div_factor)
        check(self, div_factor > 0 and final_div_factor > 0, "div_factor and final_div_factor must be above 0")
        check(self, total_steps > 0, f"the number of steps must be at least 1, got {total_steps}")
        check(self, 0 <= pct_start <= 1, f"pct_start must be from 0 to 1, not {pct_start}")
        self.anneal_strategy = self._check_choice("anneal_strategy", anneal_strategy, "cos", "linear")
        if cycle_momentum:
            check_momentum(self, optimizer)
        peaks = per_group(self, optimizer, "max_lr", max_lr)
        max_momenta = per_group(self, optimizer, "max_momentum", max_momentum)
        base_momenta = per_group(self, optimizer, "base_momentum", base_momentum)
        # Each group's rate and momentum at the start (0), at the peak (1) and at the end (2)
        self.rates = [(peak / div_factor, peak, peak / div_factor / final_div_factor) for peak in peaks]
        self.momenta = (
            [(high, low, high) for high, low in zip(max_momenta, base_momenta, strict=True)] if cycle_momentum else []
        )
        # Each phase: its first and last step, and the indices of its first and last value in `rates` and `momenta`
        peak_step, last_step = pct_start * total_steps - 1, total_steps - 1
        self.phases = [(0, peak_step, 0, 1), (peak_step, last_step, 1, 2)]
        if three_phase:
            self.phases = [(0, peak_step, 0, 1), (peak_step, 2 * peak_step, 1, 0), (2 * peak_step, last_step, 0, 2)]
        if last_epoch == -1:
            for group, (first, _, _) in zip(optimizer.param_groups, self.rates, strict=True):
                group["initial_lr"] = first
        super().__init__(optimizer, last_epoch)

    def _add_group(self, group: dict[str, Any]) -> None:
        for name in ("max_lr", "max_momentum", "base_momentum") if self.momenta else ("max_lr",):
            self._shared_option(name)
        self.rates.append(self.rates[0])
        self.momenta += self.momenta[:1]
        group["initial_lr"] = self.rates[0][0]
        super()._add_group(group)

    def get_lr(self) -> Sequence[float]:
        """Return the rates at this step, and set the momenta."""
        step = self.last_epoch
        check(self, step <= self.total_steps, f"step {step} is after the last of {self.total_steps} steps")
        begin, end, first, last = next((phase for phase in self.phases if step <= phase[1]), self.phases[-1])
        progress = (step - begin) / (end - begin) if end != begin else 1.0
        pairs = zip(self.optimizer.param_groups, self.momenta, strict=False)  # empty without cycle_momentum
        for group, momenta in pairs:
            set_momentum(group, self._interpolate(momenta[first], momenta[last], progress))
        return [self._interpolate(rates[first], rates[last], progress) for rates in self.rates]

    def _interpolate(self, start: float, end: float, progress: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * progress
        return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))
