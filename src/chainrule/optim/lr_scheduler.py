"""Schedules: how the learning rate changes from step to step. Call `step()` after each `optimizer.step()`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chainrule.optim.optimizer import Optimizer


class LRScheduler:
    """Sets each group's "lr" to what `rates` says for the present step, from step 0 on.

    Args:
        optimizer: whose learning rates to set.
        last_epoch: the step to go on from; -1 to start.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer, self.last_epoch = optimizer, last_epoch
        if last_epoch == -1:
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    def rates(self) -> Sequence[float]:
        """The learning rate of each group at step `last_epoch`; subclasses say it."""
        raise NotImplementedError

    def step(self) -> None:
        """Go on by one step."""
        self.last_epoch += 1
        self._last_lr = list(self.rates())
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, and its settings: numbers, lists and texts."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state."""
        unknown = state_dict.keys() ^ self.state_dict().keys()
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: the state does not fit, it differs in {', '.join(sorted(unknown))}"
            )
        vars(self).update(state_dict)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the optimiser's rate down to `eta_min` in `T_max` steps, then up again.

    Source: Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts (2017), equation 5.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:  # noqa: N803
        if T_max <= 0:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rates(self) -> Sequence[float]:
        """η_min + (η - η_min) (1 + cos(π t / T_max)) / 2."""
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """Up from a small rate to `max_lr`, then down to almost nothing, while momentum goes the other way.

    Args:
        optimizer: whose learning rates to set.
        max_lr: the highest rate, for all groups or one for each.
        total_steps: the number of steps in all; or `epochs` and `steps_per_epoch`.
        epochs, steps_per_epoch: their product is the number of steps.
        pct_start: the share of steps that go up.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: let the momentum (Adam: its first beta) go from `max_momentum` to `base_momentum` and back.
        base_momentum, max_momentum: its range.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last is the first / final_div_factor.
        three_phase: come down to the first rate at the speed of going up, then to the last.
        last_epoch: the step to go on from; -1 to start.

    Raises:
        ValueError: no number of steps, a share outside 0 to 1, an unknown strategy, no momentum to cycle,
            or a step after `total_steps` (the last `step()` of a loop is allowed, though its rate is of no more use).

    Source: Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates (2019).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: needs total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0:
            raise ValueError(f"OneCycleLR: the number of steps must be at least 1, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start is a share, 0 to 1, not {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'OneCycleLR: anneal_strategy must be "cos" or "linear", not {anneal_strategy!r}')
        groups = optimizer.param_groups
        if cycle_momentum and not all("betas" in group or group.get("momentum") for group in groups):
            raise ValueError("OneCycleLR: there is no momentum to cycle; set cycle_momentum=False")
        peaks = [max_lr] * len(groups) if isinstance(max_lr, (int, float)) else list(max_lr)
        if len(peaks) != len(groups):
            raise ValueError(f"OneCycleLR: {len(peaks)} rates for {len(groups)} groups")
        self.total_steps, self.max_lrs, self.anneal_strategy = total_steps, peaks, anneal_strategy
        self.momenta = [max_momentum, base_momentum] if cycle_momentum else None
        self.first = 1 / div_factor
        self.last = self.first / final_div_factor
        # Where each phase ends, and between which two shares of the highest rate it goes: 0 first, 1 highest, 2 last
        top = pct_start * total_steps - 1
        phases = [(top, 0, 1), (total_steps - 1, 1, 2)]
        self.phases = [(top, 0, 1), (2 * top, 1, 0), (total_steps - 1, 0, 2)] if three_phase else phases
        if last_epoch == -1:
            for group, peak in zip(groups, peaks, strict=True):
                group["lr"] = peak * self.first
        super().__init__(optimizer, last_epoch)

    def rates(self) -> Sequence[float]:
        """The rates at this step; momenta are set on the way."""
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {self.last_epoch} is past the last of {self.total_steps}")
        shares = (self.first, 1.0, self.last)
        start = 0.0
        for end, a, b in self.phases:  # noqa: B007  # the phase found is used below
            if self.last_epoch <= end or end == self.phases[-1][0]:
                break
            start = end
        done = (self.last_epoch - start) / (end - start) if end != start else 1.0
        if self.momenta is not None:
            self._set_momentum(self._between(self.momenta[a == 1], self.momenta[b == 1], done))
        return [self._between(peak * shares[a], peak * shares[b], done) for peak in self.max_lrs]

    def _between(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))

    def _set_momentum(self, momentum: float) -> None:
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum
