"""Schedulers that combine other schedulers."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.errors import check, require_numbers
from chainrule.optim.lr_scheduler.base import LRScheduler, check_optimizer
from chainrule.optim.lr_scheduler.plateau import ReduceLROnPlateau
from chainrule.optim.optimizer import Optimizer


class _Combined(LRScheduler):
    """Base of combined schedulers, whose state includes those of their parts."""

    _schedulers: list[LRScheduler]

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


class SequentialLR(_Combined):
    """Runs schedulers one after another; each starts at its milestone, with its own step 0.

    Args:
        optimizer: the optimizer whose learning rates are set.
        schedulers: schedulers of the same optimizer.
        milestones: the steps at which the second, third, ... scheduler start.
        last_epoch: the step to continue from; -1 to start.

    Raises:
        ValueError: no scheduler, a scheduler of a different optimizer, one that cannot be restarted (ReduceLROnPlateau,
            SequentialLR, ChainedScheduler), decreasing milestones, or not one milestone fewer than schedulers.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        check_optimizer(self, optimizer)
        fits = 0 < len(schedulers) == len(milestones) + 1
        counts = f"{len(schedulers)} schedulers and {len(milestones)} milestones"
        check(self, fits, f"needs at least one scheduler, and one milestone fewer than schedulers, not {counts}")
        require_numbers(self, **{f"milestone {i}": step for i, step in enumerate(milestones)})
        is_sorted = list(milestones) == sorted(milestones)
        check(self, is_sorted, f"milestones must be in increasing order, not {list(milestones)}")
        _check_schedulers(self, schedulers, optimizer, (_Combined, ReduceLROnPlateau), "sequence")
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
            # At step 0, use the groups' "initial_lr" instead of the first scheduler's `base_lrs`: a scheduler that was
            # created later may have set it
            initial = [group["initial_lr"] for group in self.optimizer.param_groups]
            scheduler._set_rates(scheduler.base_lrs if self.last_epoch else initial)
            scheduler.last_epoch = -1
            scheduler._take_first_step()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Combined):
    """Steps several schedulers of one optimizer together; their factors multiply.

    Args:
        schedulers: schedulers of the same optimizer.
        optimizer: the optimizer; if None, that of the first scheduler.

    Raises:
        ValueError: no scheduler, one of a different optimizer, or a ReduceLROnPlateau, whose step needs a metric.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        check(self, schedulers, "needs at least one scheduler")
        if optimizer is None and isinstance(schedulers[0], LRScheduler):
            optimizer = schedulers[0].optimizer
        _check_schedulers(self, schedulers, optimizer, (ReduceLROnPlateau,), "chain")
        self.optimizer = check_optimizer(self, optimizer)
        self._schedulers, self._last_lr = list(schedulers), self._scaled_rates()

    def _advance(self) -> None:
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._scaled_rates()


def _check_schedulers(
    owner: LRScheduler, schedulers: Sequence[Any], optimizer: Any, excluded: tuple[type, ...], whole: str
) -> None:
    """Raise an error unless all are schedulers of the optimizer, and none of an excluded type.

    `whole` is what the schedulers are combined into, for the message: "sequence" or "chain".
    """
    for position, scheduler in enumerate(schedulers):
        kind = type(scheduler).__name__
        check(owner, isinstance(scheduler, LRScheduler), f"takes schedulers, not {kind}", TypeError)
        allowed = not isinstance(scheduler, excluded)
        check(owner, allowed, f"scheduler {position} is a {kind}, which cannot be part of a {whole}")
        check(owner, scheduler.optimizer is optimizer, f"scheduler {position} belongs to another optimizer")
