"""The base class of learning-rate schedulers."""

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.autograd.mode import refuse_while_tracing
from chainrule.errors import check, require_numbers
from chainrule.optim.optimizer import Optimizer


class LRScheduler:
    """Sets each group's "lr" to `get_lr()` at each step, from step 0 on.

    A group that is added to the optimizer later joins at the next `step()`: its rate at that time becomes its initial
    rate, and options that were passed once for all groups apply to it.

    Args:
        optimizer: the optimizer whose learning rates are set.
        last_epoch: the step to continue from; -1 to start.

    Raises:
        TypeError: not an optimizer.
        ValueError: `last_epoch` is not -1, and a group of the optimizer has no "initial_lr".
    """

    _is_first_step = False
    _shared_options: Mapping[str, Any] = {}  # options passed once for all groups; they apply to later groups, too

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer, self.last_epoch = check_optimizer(self, optimizer), last_epoch
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
        """Take step 0, at which most schedulers keep the rate."""
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
        """Add the groups that the optimizer has gained since the last step; `values` has an entry per earlier group."""
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
        """Return the progress and the settings, but not functions: numbers, lists and strings."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("optimizer", "lr_lambdas", "_scale_fn", "_shared_options")
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state; nothing is changed if it does not fit. The optimizer's state holds the learning rates."""
        refuse_while_tracing(f"loading the state of a {type(self).__name__}")
        self._check_state(state_dict)
        self._load(state_dict)

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state that `_check_state` has accepted."""
        vars(self).update(state_dict)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        differing = ", ".join(sorted(state_dict.keys() ^ self.state_dict().keys()))
        check(self, not differing, f"the state does not fit: the entries differ in {differing}")

    def _scaled_rates(self, factor: float = 1.0) -> list[float]:
        """Return the current rates times a factor."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _check_choice(self, name: str, value: str, *choices: str) -> str:
        *first, last = (f'"{choice}"' for choice in choices)
        check(self, value in choices, f"{name} must be {', '.join(first)} or {last}, not {value!r}")
        return value


def check_optimizer(scheduler: LRScheduler, optimizer: Optimizer | None) -> Optimizer:
    """Return the optimizer; raise a TypeError if it is not one."""
    refuse_while_tracing(f"making a {type(scheduler).__name__}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(scheduler).__name__}: takes an optimizer, not {type(optimizer).__name__}")
    return optimizer


def per_group(scheduler: LRScheduler, optimizer: Optimizer, name: str, option: Any) -> list[Any]:
    """Return a list of one value per group; `option` is one value for all groups, or a sequence of one per group."""
    groups = check_optimizer(scheduler, optimizer).param_groups
    single = not isinstance(option, (list, tuple))
    values = [option] * len(groups) if single else list(option)
    for value in values:
        if not callable(value):
            require_numbers(scheduler, **{name: value})
    check(scheduler, len(values) == len(groups), f"{name} has {len(values)} values for {len(groups)} groups")
    if single:
        scheduler._shared_options = {**scheduler._shared_options, name: option}
    return values


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set a group's momentum: for Adam and its variants the first beta."""
    group.update({"betas": (momentum, group["betas"][1])} if "betas" in group else {"momentum": momentum})


def check_momentum(scheduler: LRScheduler, optimizer: Optimizer) -> None:
    """Raise an error if the optimizer has no momentum to cycle."""
    has_momentum = {"betas", "momentum"} & check_optimizer(scheduler, optimizer).defaults.keys()
    check(scheduler, has_momentum, "the optimizer has no momentum to cycle; set cycle_momentum=False")
