"""Schedules: how the learning rate changes from step to step. Call `step()` after each `optimizer.step()`.

Most schedulers are multiplicative: `step()` scales the current learning rate. So several can act on one optimizer, and
a rate that was changed by hand stays changed.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, SupportsFloat

from chainrule.autograd.mode import refuse_compiled
from chainrule.errors import check, named_numbers
from chainrule.optim.optimizer import Optimizer

Factor = Callable[[int], float]


class LRScheduler:
    """Sets each group's "lr" to what `get_lr` says for the present step, from step 0 on.

    A group that is added to the optimizer later is taken in at the next step: the rate that it comes with is its
    initial one, and what was given for all groups holds for it too.

    Args:
        optimizer: whose learning rates to set.
        last_epoch: the step to go on from; -1 to start.

    Raises:
        TypeError: not an optimizer.
        ValueError: going on with an optimizer whose groups have no "initial_lr".
    """

    _beginning = False
    _for_all: Mapping[str, Any] = {}  # what holds for all groups, a later one too

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer, self.last_epoch = _optimizer(self, optimizer), last_epoch
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            needed = f"going on from step {last_epoch} needs each group's initial_lr: load the optimizer's state first"
            check(self, "initial_lr" in group, needed)
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._begin()

    def _begin(self) -> None:
        """The first step, which most schedules do not let change the rate."""
        self._beginning = True
        self.step()
        del self._beginning

    def get_lr(self) -> Sequence[float]:
        """The learning rate of each group at step `last_epoch`; subclasses say it."""
        raise NotImplementedError

    def step(self) -> None:
        """Go on by one step."""
        refuse_compiled(f"the step of a {type(self).__name__}")
        self._advance()

    def _advance(self) -> None:
        self._take_in_groups(self.base_lrs)
        self.last_epoch += 1
        try:
            rates = self.get_lr()
        except Exception:
            self.last_epoch -= 1  # the step was not taken
            raise
        self._set(rates)

    def _take_in_groups(self, known: list[float]) -> None:
        """Take in the groups that were added to the optimizer after the `known` ones."""
        groups = self.optimizer.param_groups
        fewer = f"the optimizer has {len(groups)} groups, this schedule was made for {len(known)}: make a new one"
        check(self, len(groups) >= len(known), fewer)
        for group in groups[len(known) :]:
            self._take_in(group)

    def _take_in(self, group: dict[str, Any]) -> None:
        """Take in one group."""
        self.base_lrs.append(group.setdefault("initial_lr", group["lr"]))

    def _of_new_group(self, name: str) -> Any:
        """What was given for all groups, for one that was added.

        Raises:
            ValueError: it was given group by group.
        """
        one_by_one = f"{name} was given for each group, and one was added to the optimizer: make a new schedule"
        check(self, name in self._for_all, f"{one_by_one} with a {name} for each")
        return self._for_all[name]

    def _set(self, rates: Sequence[float]) -> None:
        self._last_lr = list(rates)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group, as it was last set."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, and its settings: numbers, lists and texts."""
        return {
            name: value for name, value in vars(self).items() if name not in ("optimizer", "lr_lambdas", "_for_all")
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state; nothing is changed unless it fits. The rates themselves are in the optimizer's."""
        refuse_compiled(f"loading the state of a {type(self).__name__}")
        self._fits(state_dict)
        self._load(state_dict)

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state that fits."""
        vars(self).update(state_dict)

    def _fits(self, state_dict: Mapping[str, Any]) -> None:
        differing = ", ".join(sorted(state_dict.keys() ^ self.state_dict().keys()))
        check(self, not differing, f"the state does not fit, it differs in {differing}")

    def _times(self, factor: float = 1.0) -> list[float]:
        """The present rates times a factor."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _one_of(self, name: str, chosen: str, *known: str) -> str:
        check(self, chosen in known, f'{name} must be "{known[0]}" or "{known[1]}", not {chosen!r}')
        return chosen


class LambdaLR(LRScheduler):
    """The optimizer's rate times what a function says of the step.

    Args:
        optimizer: whose learning rates to set.
        lr_lambda: a function from the step to a factor, or one for each group. Functions are not part of the state.
        last_epoch: the step to go on from; -1 to start.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1) -> None:
        self.lr_lambdas = _for_each_group(self, optimizer, "lr_lambda", lr_lambda)
        check(self, all(map(callable, self.lr_lambdas)), f"lr_lambda must be a function, not {lr_lambda!r}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """η λ(t)."""
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def _take_in(self, group: dict[str, Any]) -> None:
        self.lr_lambdas.append(self._of_new_group("lr_lambda"))
        super()._take_in(group)


class StepLR(LRScheduler):
    """η γ^⌊t / step_size⌋: times `gamma` every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = named_numbers(self, step_size=step_size, gamma=gamma)
        check(self, step_size >= 1, f"step_size must be at least 1, got {step_size}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """The present rates, times γ at every multiple of step_size."""
        return self._times(1.0 if self.last_epoch == 0 or self.last_epoch % self.step_size else self.gamma)


class MultiStepLR(LRScheduler):
    """Times `gamma` at each of the `milestones`; twice if one is named twice."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        named_numbers(self, gamma=gamma, **{f"milestone {i}": step for i, step in enumerate(self.milestones)})
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """The present rates, times γ at a milestone."""
        return self._times(self.gamma ** self.milestones.count(self.last_epoch))


class ExponentialLR(LRScheduler):
    """η γᵗ: times `gamma` at every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        (self.gamma,) = named_numbers(self, gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """The present rates times γ."""
        return self._times(1.0 if self._beginning else self.gamma)


class LinearLR(LRScheduler):
    """η (a + (b - a) t / T) for the first T = `total_iters` steps, a = `start_factor`, b = `end_factor`; then η b.

    Raises:
        ValueError: a start_factor outside (0, 1] or an end_factor outside [0, 1].
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        named_numbers(self, start_factor=start_factor, end_factor=end_factor, total_iters=total_iters)
        check(self, 0 < start_factor <= 1, f"start_factor must be above 0 and at most 1, got {start_factor}")
        check(self, 0 <= end_factor <= 1, f"end_factor must be between 0 and 1, got {end_factor}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """The present rates, times the share at this step over the share at the step before."""
        step, rise = self.last_epoch, self.end_factor - self.start_factor
        if self._beginning or step > self.total_iters:
            return self._times(self.start_factor if step == 0 else 1.0)
        before = self.total_iters * self.start_factor + (step - 1) * rise  # times total_iters
        return self._times(1 + rise / before)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the optimizer's rate η down to `eta_min` in `T_max` steps, then up again.

    η_min + (η - η_min) (1 + cos(π t / T_max)) / 2.

    Source: Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts (2017), equation 5.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:  # noqa: N803
        self.T_max, self.eta_min = named_numbers(self, T_max=T_max, eta_min=eta_min)
        check(self, T_max >= 1, f"T_max must be at least 1, got {T_max}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Sequence[float]:
        """The present rates' heights above the floor, times this step's share over the one before."""
        step, floor = self.last_epoch, self.eta_min
        if self._beginning:
            return self._times()
        share, before = (1 + math.cos(math.pi * t / self.T_max) for t in (step, step - 1))
        if (step - 1) % (2 * self.T_max) == self.T_max:  # the share before was 0: up from the floor
            return [rate + (base - floor) * share / 2 for rate, base in zip(self._times(), self.base_lrs, strict=True)]
        return [floor + (rate - floor) * share / before for rate in self._times()]


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
        base_momentum, max_momentum: its range, for all groups or one for each.
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
        has_momentum = {"betas", "momentum"} & _optimizer(self, optimizer).defaults.keys()
        (self.total_steps,) = named_numbers(self, total_steps=total_steps)
        named_numbers(self, pct_start=pct_start, div_factor=div_factor, final_div_factor=final_div_factor)
        check(self, div_factor > 0 and final_div_factor > 0, "div_factor and final_div_factor must be above 0")
        check(self, total_steps > 0, f"the number of steps must be at least 1, got {total_steps}")
        check(self, 0 <= pct_start <= 1, f"pct_start is a share, 0 to 1, not {pct_start}")
        self.anneal_strategy = self._one_of("anneal_strategy", anneal_strategy, "cos", "linear")
        check(self, has_momentum or not cycle_momentum, "there is no momentum to cycle; set cycle_momentum=False")
        peaks = _for_each_group(self, optimizer, "max_lr", max_lr)
        highest = _for_each_group(self, optimizer, "max_momentum", max_momentum)
        lowest = _for_each_group(self, optimizer, "base_momentum", base_momentum)
        # Each group's rate and momentum at first (0), at the top (1) and at last (2)
        self.rates = [(peak / div_factor, peak, peak / div_factor / final_div_factor) for peak in peaks]
        self.momenta = [(high, low, high) for high, low in zip(highest, lowest, strict=True)] if cycle_momentum else []
        # Where each phase starts and ends, and from which of the three to which it goes
        top, end = pct_start * total_steps - 1, total_steps - 1
        self.phases = [(0, top, 0, 1), (top, end, 1, 2)]
        if three_phase:
            self.phases = [(0, top, 0, 1), (top, 2 * top, 1, 0), (2 * top, end, 0, 2)]
        if last_epoch == -1:
            for group, (first, _, _) in zip(optimizer.param_groups, self.rates, strict=True):
                group["initial_lr"] = first
        super().__init__(optimizer, last_epoch)

    def _take_in(self, group: dict[str, Any]) -> None:
        for name in ("max_lr", "max_momentum", "base_momentum") if self.momenta else ("max_lr",):
            self._of_new_group(name)
        self.rates.append(self.rates[0])
        self.momenta += self.momenta[:1]
        group["initial_lr"] = self.rates[0][0]
        super()._take_in(group)

    def get_lr(self) -> Sequence[float]:
        """The rates at this step; momenta are set on the way."""
        step = self.last_epoch
        check(self, step <= self.total_steps, f"step {step} is past the last of {self.total_steps}")
        start, end, a, b = next((phase for phase in self.phases if step <= phase[1]), self.phases[-1])
        done = (step - start) / (end - start) if end != start else 1.0
        for group, momenta in zip(self.optimizer.param_groups, self.momenta, strict=False):  # there may be none
            momentum = self._between(momenta[a], momenta[b], done)
            group.update({"betas": (momentum, group["betas"][1])} if "betas" in group else {"momentum": momentum})
        return [self._between(rates[a], rates[b], done) for rates in self.rates]

    def _between(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


class SequentialLR(LRScheduler):
    """One schedule after the other: each starts anew, from its own step 0, at the milestone before it.

    Args:
        optimizer: whose learning rates to set.
        schedulers: the schedules, made for this optimizer.
        milestones: the steps at which the second, the third, ... take over.
        last_epoch: the step to go on from; -1 to start.

    Raises:
        ValueError: no schedule, one of another optimizer, one that cannot start anew by itself (ReduceLROnPlateau,
            SequentialLR), or other than one milestone between two of them.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        _optimizer(self, optimizer)
        counts = f"not {len(schedulers)} and {len(milestones)}"
        fitting = 0 < len(schedulers) == len(milestones) + 1
        check(self, fitting, f"needs schedules and one milestone between each two, {counts}")
        named_numbers(self, **{f"milestone {i}": step for i, step in enumerate(milestones)})
        check(self, list(milestones) == sorted(milestones), f"milestones must rise, not {list(milestones)}")
        for position, scheduler in enumerate(schedulers):
            kind = type(scheduler).__name__
            check(self, isinstance(scheduler, LRScheduler), f"takes schedules, not {kind}", TypeError)
            alone = isinstance(scheduler, (SequentialLR, ReduceLROnPlateau))
            check(self, not alone, f"a {kind} (number {position}) cannot be one of many")
            check(self, scheduler.optimizer is optimizer, f"schedule number {position} is another optimizer's")
        self.optimizer, self.last_epoch = optimizer, last_epoch
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.step()

    def _advance(self) -> None:
        for scheduler in self._schedulers:
            scheduler._take_in_groups(scheduler.base_lrs)
        self.last_epoch += 1
        starts = [0, *self._milestones]
        position = bisect_right(starts, self.last_epoch) - 1
        scheduler = self._schedulers[position]
        if starts[position] == self.last_epoch:
            first = [group["initial_lr"] for group in self.optimizer.param_groups]  # a later one may change it
            scheduler._set(scheduler.base_lrs if self.last_epoch else first)
            scheduler.last_epoch = -1
            scheduler._begin()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, with the states of its schedules."""
        return super().state_dict() | {"_schedulers": [s.state_dict() for s in self._schedulers]}

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
        vars(self).update({**state_dict, "_schedulers": self._schedulers})

    def _fits(self, state_dict: Mapping[str, Any]) -> None:
        super()._fits(state_dict)
        states = state_dict["_schedulers"]
        fitting = len(states) == len(self._schedulers)
        check(self, fitting, f"the state has {len(states)} schedules, this has {len(self._schedulers)}")
        for scheduler, state in zip(self._schedulers, states, strict=True):
            scheduler._fits(state)


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a measure has not become better for more than `patience` steps. Call `step(measure)`.

    Args:
        optimizer: whose learning rates to set.
        mode: "min" if a smaller measure is better (a loss), "max" if a larger one is (an accuracy).
        factor: below 1.
        patience: how many steps without a better measure are let pass.
        threshold: by how much a measure must be better than the best to count.
        threshold_mode: whether the threshold is a share of the best, "rel", or a difference, "abs".
        cooldown: how many steps after a reduction are not counted.
        min_lr: the rate to stop at, for all groups or one for each.
        eps: a reduction by no more than this is left out.

    Raises:
        ValueError: a factor of 1 or more, an unknown mode, or other than one min_lr a group.
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: float | Sequence[float] = 0.0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        named_numbers(self, factor=factor, patience=patience, threshold=threshold, cooldown=cooldown, eps=eps)
        check(self, factor < 1, f"factor must be below 1, got {factor}")
        self.mode = self._one_of("mode", mode, "min", "max")
        self.threshold_mode = self._one_of("threshold_mode", threshold_mode, "rel", "abs")
        self.factor, self.patience, self.threshold, self.cooldown, self.eps = factor, patience, threshold, cooldown, eps
        self.optimizer, self.last_epoch = _optimizer(self, optimizer), 0
        self.min_lrs = _for_each_group(self, optimizer, "min_lr", min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = 0
        self._last_lr = self._times()

    def _take_in(self, group: dict[str, Any]) -> None:
        self.min_lrs.append(self._of_new_group("min_lr"))

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]  # this schedule goes by a measure
        """Go on by one step, of which the measure is told."""
        refuse_compiled(f"the step of a {type(self).__name__}")
        measure = float(metrics)
        self._take_in_groups(self.min_lrs)
        self.last_epoch += 1
        better = self._is_better(measure)
        self.best = measure if better else self.best
        self.num_bad_epochs = 0 if better or self.cooldown_counter else self.num_bad_epochs + 1
        self.cooldown_counter = max(self.cooldown_counter - 1, 0)
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                rate = max(group["lr"] * self.factor, lowest)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
        self._last_lr = self._times()

    def _is_better(self, measure: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * measure > sign * self.best * (1 + sign * self.threshold)
        return sign * measure > sign * self.best + self.threshold


def _optimizer(scheduler: LRScheduler, optimizer: Optimizer) -> Optimizer:
    refuse_compiled(f"making a {type(scheduler).__name__}")
    kind = type(optimizer).__name__
    check(scheduler, isinstance(optimizer, Optimizer), f"takes an optimizer, not {kind}", TypeError)
    return optimizer


def _for_each_group(scheduler: LRScheduler, optimizer: Optimizer, name: str, option: Any) -> list[Any]:
    """One value for each group."""
    groups = _optimizer(scheduler, optimizer).param_groups
    single = not isinstance(option, (list, tuple))
    values = [option] * len(groups) if single else list(option)
    for value in values:
        if not callable(value):
            named_numbers(scheduler, **{name: value})
    check(scheduler, len(values) == len(groups), f"{name} has {len(values)} values for {len(groups)} groups")
    if single:
        scheduler._for_all = {**scheduler._for_all, name: option}
    return values
