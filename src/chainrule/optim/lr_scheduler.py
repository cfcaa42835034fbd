"""Learning-rate schedulers. Call `step()` after each `optimizer.step()`.

Most schedulers are multiplicative: `step()` scales the current learning rate. So several can act on one optimizer, and
a rate set by hand is scaled from there. In the formulas, η is the initial rate and t the step, counted from 0.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, SupportsFloat

from chainrule.autograd.mode import refuse_while_tracing
from chainrule.errors import check, require_numbers
from chainrule.optim.optimizer import Optimizer

Factor = Callable[[int], float]


class LRScheduler:
    """Sets each group's "lr" to `get_lr()` at each step, from step 0 on.

    A group that is added to the optimizer later joins at the scheduler's next step: its rate at that step becomes its
    initial rate, and options given once for all groups apply to it.

    Args:
        optimizer: the optimizer whose learning rates are set.
        last_epoch: the step to continue from; -1 to start.

    Raises:
        TypeError: not an optimizer.
        ValueError: continuing with an optimizer whose groups have no "initial_lr".
    """

    _is_first_step = False
    _shared_options: Mapping[str, Any] = {}  # options given once for all groups, which later groups get too

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer, self.last_epoch = _check_optimizer(self, optimizer), last_epoch
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            message = (
                f"continuing from step {last_epoch} needs each group's initial_lr: load the optimizer's state first"
            )
            check(self, "initial_lr" in group, message)
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._take_first_step()

    def _take_first_step(self) -> None:
        """Take step 0, at which most schedules keep the rate."""
        self._is_first_step = True
        self.step()
        del self._is_first_step

    def get_lr(self) -> Sequence[float]:
        """Return the learning rate of each group at step `last_epoch`; subclasses define this."""
        raise NotImplementedError

    def step(self) -> None:
        """Advance by one step, and set the learning rates."""
        refuse_while_tracing(f"the step of a {type(self).__name__}")
        self._advance()

    def _advance(self) -> None:
        """Advance by one step; SequentialLR overrides this."""
        self._add_new_groups(self.base_lrs)
        self.last_epoch += 1
        try:
            rates = self.get_lr()
        except Exception:
            self.last_epoch -= 1  # the step failed
            raise
        self._set_rates(rates)

    def _add_new_groups(self, values: list[float]) -> None:
        """Add the groups that the optimizer has gained since the last step; `values` has one entry per known group."""
        groups = self.optimizer.param_groups
        message = (
            f"the optimizer has {len(groups)} groups, but this scheduler was made for {len(values)}: make a new one"
        )
        check(self, len(groups) >= len(values), message)
        for group in groups[len(values) :]:
            self._add_group(group)

    def _add_group(self, group: dict[str, Any]) -> None:
        """Add one group."""
        self.base_lrs.append(group.setdefault("initial_lr", group["lr"]))

    def _shared_option(self, name: str) -> Any:
        """Return the value of an option for a new group.

        Raises:
            ValueError: the option was given per group.
        """
        message = f"{name} was given per group, and a group was added: make a new scheduler with a {name} per group"
        check(self, name in self._shared_options, message)
        return self._shared_options[name]

    def _set_rates(self, rates: Sequence[float]) -> None:
        self._last_lr = list(rates)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group, as last set."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Return the progress and the settings: numbers, lists and strings."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("optimizer", "lr_lambdas", "_shared_options")
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state; nothing is changed if it does not fit. The optimizer's state holds the learning rates."""
        refuse_while_tracing(f"loading the state of a {type(self).__name__}")
        self._check_state(state_dict)
        self._load(state_dict)

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state that fits."""
        vars(self).update(state_dict)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        differing = ", ".join(sorted(state_dict.keys() ^ self.state_dict().keys()))
        check(self, not differing, f"the state does not fit: the entries differ in {differing}")

    def _scaled_rates(self, factor: float = 1.0) -> list[float]:
        """Return the current rates times a factor."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _check_choice(self, name: str, value: str, *choices: str) -> str:
        check(self, value in choices, f'{name} must be "{choices[0]}" or "{choices[1]}", not {value!r}')
        return value


class LambdaLR(LRScheduler):
    """η λ(t): the initial rate times a function of the step.

    Args:
        optimizer: the optimizer whose learning rates are set.
        lr_lambda: a function from step to factor, or one per group. The state does not contain the functions.
        last_epoch: the step to continue from; -1 to start.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1) -> None:
        self.lr_lambdas = _per_group(self, optimizer, "lr_lambda", lr_lambda)
        check(self, all(map(callable, self.lr_lambdas)), f"lr_lambda must be a function, not {lr_lambda!r}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return η λ(t) for each group."""
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def _add_group(self, group: dict[str, Any]) -> None:
        self.lr_lambdas.append(self._shared_option("lr_lambda"))
        super()._add_group(group)


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


class ExponentialLR(LRScheduler):
    """η γᵗ: multiplies the rate by `gamma` at each step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        (self.gamma,) = require_numbers(self, gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """Return the current rates times γ."""
        return self._scaled_rates(1.0 if self._is_first_step else self.gamma)


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


class OneCycleLR(LRScheduler):
    """Raises the rate to `max_lr`, then lowers it to almost 0, while momentum moves the other way.

    Args:
        optimizer: the optimizer whose learning rates are set.
        max_lr: the highest rate, one for all groups or one per group.
        total_steps: the number of steps; alternatively give `epochs` and `steps_per_epoch`.
        epochs, steps_per_epoch: their product is the number of steps.
        pct_start: the fraction of steps in which the rate rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: move the momentum (for Adam, the first beta) from `max_momentum` to `base_momentum` and back.
        base_momentum, max_momentum: the range of the momentum, one for all groups or one per group.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last rate is the first / final_div_factor.
        three_phase: fall to the first rate in as many steps as the rise took, then to the last rate.
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
        has_momentum = {"betas", "momentum"} & _check_optimizer(self, optimizer).defaults.keys()
        (self.total_steps,) = require_numbers(self, total_steps=total_steps)
        require_numbers(self, pct_start=pct_start, div_factor=div_factor, final_div_factor=final_div_factor)
        check(self, div_factor > 0 and final_div_factor > 0, "div_factor and final_div_factor must be above 0")
        check(self, total_steps > 0, f"the number of steps must be at least 1, got {total_steps}")
        check(self, 0 <= pct_start <= 1, f"pct_start must be from 0 to 1, not {pct_start}")
        self.anneal_strategy = self._check_choice("anneal_strategy", anneal_strategy, "cos", "linear")
        check(
            self, has_momentum or not cycle_momentum, "the optimizer has no momentum to cycle; set cycle_momentum=False"
        )
        peaks = _per_group(self, optimizer, "max_lr", max_lr)
        max_momenta = _per_group(self, optimizer, "max_momentum", max_momentum)
        base_momenta = _per_group(self, optimizer, "base_momentum", base_momentum)
        # Each group's rate and momentum at the start (0), at the peak (1) and at the end (2)
        self.rates = [(peak / div_factor, peak, peak / div_factor / final_div_factor) for peak in peaks]
        self.momenta = (
            [(high, low, high) for high, low in zip(max_momenta, base_momenta, strict=True)] if cycle_momentum else []
        )
        # Each phase: its first and last step, and the indices of the values it starts and ends with
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
        start, end, a, b = next((phase for phase in self.phases if step <= phase[1]), self.phases[-1])
        progress = (step - start) / (end - start) if end != start else 1.0
        pairs = zip(self.optimizer.param_groups, self.momenta, strict=False)  # empty without cycle_momentum
        for group, momenta in pairs:
            momentum = self._interpolate(momenta[a], momenta[b], progress)
            group.update({"betas": (momentum, group["betas"][1])} if "betas" in group else {"momentum": momentum})
        return [self._interpolate(rates[a], rates[b], progress) for rates in self.rates]

    def _interpolate(self, start: float, end: float, progress: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * progress
        return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))


class SequentialLR(LRScheduler):
    """Runs schedules one after another; each starts at its milestone, with its own step 0.

    Args:
        optimizer: the optimizer whose learning rates are set.
        schedulers: schedulers of the same optimizer.
        milestones: the steps at which the second, third, ... start.
        last_epoch: the step to continue from; -1 to start.

    Raises:
        ValueError: no scheduler, one of another optimizer, one that cannot be restarted (ReduceLROnPlateau,
            SequentialLR), or a number of milestones other than one less than schedulers.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        _check_optimizer(self, optimizer)
        fits = 0 < len(schedulers) == len(milestones) + 1
        counts = f"{len(schedulers)} schedulers and {len(milestones)} milestones"
        check(self, fits, f"needs at least one scheduler, and one milestone fewer than schedulers, not {counts}")
        require_numbers(self, **{f"milestone {i}": step for i, step in enumerate(milestones)})
        check(
            self,
            list(milestones) == sorted(milestones),
            f"milestones must be in increasing order, not {list(milestones)}",
        )
        for position, scheduler in enumerate(schedulers):
            kind = type(scheduler).__name__
            check(self, isinstance(scheduler, LRScheduler), f"takes schedulers, not {kind}", TypeError)
            restartable = not isinstance(scheduler, (SequentialLR, ReduceLROnPlateau))
            check(self, restartable, f"scheduler {position} is a {kind}, which cannot be part of a sequence")
            check(self, scheduler.optimizer is optimizer, f"scheduler {position} belongs to another optimizer")
        self.optimizer, self.last_epoch = optimizer, last_epoch
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.step()

    def _advance(self) -> None:
        for scheduler in self._schedulers:
            scheduler._add_new_groups(scheduler.base_lrs)
        self.last_epoch += 1
        starts = [0, *self._milestones]
        position = bisect_right(starts, self.last_epoch) - 1
        scheduler = self._schedulers[position]
        if starts[position] == self.last_epoch:
            # At step 0, the groups' "initial_lr" instead of the first scheduler's `base_lrs`: a scheduler that was
            # created after it may have set "initial_lr"
            initial = [group["initial_lr"] for group in self.optimizer.param_groups]
            scheduler._set_rates(scheduler.base_lrs if self.last_epoch else initial)
            scheduler.last_epoch = -1
            scheduler._take_first_step()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the progress, with the states of the schedulers."""
        return super().state_dict() | {"_schedulers": [s.state_dict() for s in self._schedulers]}

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
        vars(self).update({**state_dict, "_schedulers": self._schedulers})

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        states = state_dict["_schedulers"]
        same_count = len(states) == len(self._schedulers)
        check(self, same_count, f"the state has {len(states)} schedulers, but this one has {len(self._schedulers)}")
        for scheduler, state in zip(self._schedulers, states, strict=True):
            scheduler._check_state(state)


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by `factor` when a metric has not improved for more than `patience` steps.

    Call `step(metric)`.

    Args:
        optimizer: the optimizer whose learning rates are set.
        mode: "min" if smaller is better (a loss), "max" if larger is (an accuracy).
        factor: below 1.
        patience: how many steps without improvement to allow.
        threshold: by how much a metric must beat the best one to count as an improvement.
        threshold_mode: "rel" for a threshold relative to the best metric, "abs" for an absolute one.
        cooldown: how many steps after a reduction do not count as bad.
        min_lr: the lowest rate, one for all groups or one per group.
        eps: a reduction by at most this is skipped.

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
        self.optimizer, self.last_epoch = _check_optimizer(self, optimizer), 0
        self.min_lrs = _per_group(self, optimizer, "min_lr", min_lr)
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


def _check_optimizer(scheduler: LRScheduler, optimizer: Optimizer) -> Optimizer:
    refuse_while_tracing(f"making a {type(scheduler).__name__}")
    kind = type(optimizer).__name__
    check(scheduler, isinstance(optimizer, Optimizer), f"takes an optimizer, not {kind}", TypeError)
    return optimizer


def _per_group(scheduler: LRScheduler, optimizer: Optimizer, name: str, option: Any) -> list[Any]:
    """Return a value per group, from one for all groups or a list with one per group."""
    groups = _check_optimizer(scheduler, optimizer).param_groups
    single = not isinstance(option, (list, tuple))
    values = [option] * len(groups) if single else list(option)
    for value in values:
        if not callable(value):
            require_numbers(scheduler, **{name: value})
    check(scheduler, len(values) == len(groups), f"{name} has {len(values)} values for {len(groups)} groups")
    if single:
        scheduler._shared_options = {**scheduler._shared_options, name: option}
    return values
