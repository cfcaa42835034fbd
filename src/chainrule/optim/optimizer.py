"""What all optimizers share: groups of parameters, their options, and what is remembered of each parameter."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from chainrule.autograd import enable_grad
from chainrule.autograd.mode import mode, refuse_compiled
from chainrule.errors import check, check_not_negative, type_name
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Parameters: TypeAlias = "Iterable[Tensor] | Iterable[dict[str, Any]]"

# PyTorch's choices of how to run, not of what is computed: its states name them, ours need not.
_WAYS_TO_RUN = {"foreach", "fused", "capturable", "differentiable"}


def options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All but the parameters, by name: of a group, or of a constructor's arguments, which are its `locals()`."""
    return {name: value for name, value in arguments.items() if name not in ("self", "params", "__class__")}


class Optimizer:
    """Changes parameters in place, against their gradients (with the option "maximize", along them).

    Subclasses say in `start` what they remember of a parameter and in `update` how one changes.

    Args:
        params: the parameters, or dicts {"params": parameters, option: value, ...} for groups with options of their
            own. An option may be a Tensor of one element, which counts as its number.
        defaults: the options of groups that do not set them.

    Attributes:
        param_groups: a dict for each group: its "params" and its options; a schedule changes "lr" here.
        state: for each parameter (by position in all groups) what the optimizer remembers: arrays and numbers.

    Raises:
        ValueError: no parameters, one given twice, an option that a group does not have or that makes no sense.
        TypeError: something that is not a Tensor, or an option that is not a number where one is needed.
    """

    not_negative: ClassVar[tuple[str, ...]] = ()
    """The options that must be numbers from 0 on."""
    lazy_entries: ClassVar[tuple[str, ...]] = ()
    """Arrays of a parameter's shape in its state that `start` does not make: the first update that needs them does."""

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        check(self, not hasattr(params, "parameters"), "takes parameters: give the module's parameters()", TypeError)
        check(self, not isinstance(params, Tensor), "takes a list: put the single parameter in brackets", TypeError)
        check(self, _is_ordered(params), f"parameters need an order: give a list, not a {type_name(params)}", TypeError)
        given = list(params)
        check(self, given, "there are no parameters")
        groups: list[Any] = given if isinstance(given[0], dict) else [{"params": given}]
        self.defaults = self._checked(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, dict[str, Any]] = {}
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        if mode.trace is not None:
            mode.trace.check_group(self)
        check(self, isinstance(group, dict), "takes parameters or groups of them (dicts), not both", TypeError)
        given = group.get("params")
        check(self, _is_ordered(given), 'a group needs "params", in an order (a list, say)', TypeError)
        chosen = [given] if isinstance(given, Tensor) else list(given)  # type: ignore[arg-type]  # not None
        unknown = ", ".join(sorted(group.keys() - self.defaults.keys() - {"params", "initial_lr"}))
        check(self, not unknown, f"has no option {unknown}; it has {', '.join(self.defaults)}")
        known = {id(p) for p in self._parameters()}
        for p in chosen:
            check(self, isinstance(p, Tensor), f"takes Tensors, not {type(p).__name__}", TypeError)
            check(self, p.is_leaf, f"a result (shape {p.shape}) cannot be a parameter, only a leaf can")
            check(self, id(p) not in known, f"a parameter of shape {p.shape} is given twice")
            known.add(id(p))
        self.param_groups.append({"params": chosen, **self._checked({**self.defaults, **options(group)})})

    def _checked(self, given: dict[str, Any]) -> dict[str, Any]:
        """The options with plain numbers in the place of Tensors, if they make sense."""
        plain = dict(given)
        for option, value in given.items():
            if isinstance(value, Tensor):
                check(self, value.numel() == 1, f"{option} must be one number, not a tensor of shape {value.shape}")
                plain[option] = value.item()
        check_not_negative(self, **{option: plain[option] for option in self.not_negative})
        return plain

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or make them zeros, which a step then takes as gradients."""
        if not set_to_none:
            refuse_compiled("zero_grad(set_to_none=False)")
        for p in self._parameters():
            if mode.trace is not None:
                p.grad = None
            elif p.grad is not None:
                p.grad = None if set_to_none else p.grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, once.

        Args:
            closure: computes the loss and its gradients anew; called first.

        Returns:
            What the closure returns, if there is one.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        owned = [(p, group) for group in self.param_groups for p in group["params"]]
        with np.errstate(all="ignore"):  # infinities and NaN are results, as they are of operations
            for position, (p, group) in enumerate(owned):
                if (grad := p.grad) is None:
                    continue
                if mode.trace is not None:  # a compiled function is being made of this step
                    mode.trace.update(self, position, p, group)
                else:
                    if position not in self.state:
                        self.state[position] = self.start(p._data, group)
                    gradient = -grad._data if group.get("maximize") else grad._data
                    self.update(p._data, gradient, self.state[position], group)
                p._version[0] += 1
        return loss

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """What is remembered of a parameter before its first step: arrays of its shape and numbers, by name."""
        return {}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change one parameter's array in place.

        Args:
            value: the parameter, to be written into.
            gradient: dL/d(value), same shape; not to be written into.
            state: what is remembered of this parameter.
            group: the options.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What is remembered and the options, in PyTorch's form: parameters are named by their position."""
        if mode.trace is not None:
            mode.trace.refuse_value("an optimizer's state_dict()")
        state = {position: copy.deepcopy(kept) for position, kept in self.state.items() if kept}
        number = itertools.count()
        groups = [{**options(g), "params": [next(number) for _ in g["params"]]} for g in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state; nothing is changed unless it fits.

        Raises:
            ValueError: no state, other numbers of groups or parameters, arrays that are missing or of other shapes,
                or other options.
        """
        refuse_compiled("an optimizer's load_state_dict()")
        parameters = self._parameters()
        whole = isinstance(state_dict, Mapping) and state_dict.keys() >= {"state", "param_groups"}
        check(self, whole, "a state has the entries 'state' and 'param_groups', what was given has not")
        groups = state_dict["param_groups"]
        sizes, own = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        check(self, sizes == own, f"the state has groups of {sizes} parameters, this optimizer has {own}")
        chosen = [{k: v for k, v in options(saved).items() if k not in _WAYS_TO_RUN} for saved in groups]
        for found in chosen:
            differing = ", ".join(sorted(found.keys() - {"initial_lr"} ^ self.defaults.keys()))
            check(self, not differing, f"the state is another optimizer's, it differs in {differing}")
        chosen = [self._checked(found) for found in chosen]
        owners = [found for found, size in zip(chosen, sizes, strict=True) for _ in range(size)]
        state: dict[int, dict[str, Any]] = {}
        for key, entries in state_dict["state"].items():
            position = int(key) if str(key).isdecimal() else -1
            known = 0 <= position < len(parameters)
            check(self, known, f"the state has a parameter {key!r}, this optimizer has {len(parameters)}")
            p = parameters[position]
            begun = self.start(p._data, owners[position])
            missing = ", ".join(sorted(begun.keys() - entries.keys()))
            check(self, not missing, f"the state of parameter {key} has no {missing}")
            state[position] = {}
            for entry, value in entries.items():
                expected = entry in begun or entry in self.lazy_entries
                check(self, expected, f"the state of parameter {key} has an unknown {entry!r}")
                like = begun.get(entry, p)
                shape = np.shape(value)
                fits = shape == np.shape(like) and shape in ((), p.shape) and np.asarray(value).dtype.kind in "biuf"
                check(self, fits, f"the state's {entry} of parameter {key} {shape} does not fit {p.shape}")
                # PyTorch's step is a float32 array, which cannot count beyond 2²⁴
                kept = int(value) if entry == "step" else np.array(value, p.dtype) if hasattr(like, "shape") else value
                state[position][entry] = kept
        self.state = state
        for group, found in zip(self.param_groups, chosen, strict=True):
            group.update(found)

    def __repr__(self) -> str:
        groups = [", ".join(f"{k}={v}" for k, v in options(group).items()) for group in self.param_groups]
        return f"{type(self).__name__}({'; '.join(groups)})"


def _is_ordered(params: Any) -> bool:
    """Whether these are several things in an order."""
    return hasattr(params, "__iter__") and not isinstance(params, (set, frozenset))
