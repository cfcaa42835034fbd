"""The base class of optimizers: parameter groups, their options, and per-parameter state."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, overload

import numpy as np

from chainrule.autograd import enable_grad
from chainrule.autograd.mode import mode, refuse_while_tracing
from chainrule.errors import check, check_not_negative, type_name
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Loss = TypeVar("Loss")
Parameters: TypeAlias = "Iterable[Tensor] | Iterable[dict[str, Any]]"

# Options in PyTorch's states that select an implementation and do not change the result; `load_state_dict` ignores them
_IMPLEMENTATION_OPTIONS = {"foreach", "fused", "capturable", "differentiable"}


def options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in a parameter group or in a constructor's `locals()`, without the parameters."""
    return {name: value for name, value in arguments.items() if name not in ("self", "params", "__class__")}


class Optimizer:
    """Updates parameters in place from their gradients.

    Subclasses define `start`, which creates the state of a parameter, and `update`, which changes it.

    Args:
        params: the parameters, or dicts {"params": parameters, option: value, ...}, one for each group with its own
            options. An option may be a Tensor of one element, which is converted to a number.
        defaults: the values of all options, for groups that do not set them.

    Attributes:
        param_groups: a dict for each group, with "params" and all options; schedulers change "lr" here.
        state: for each parameter, by its position across all groups, a dict of arrays and numbers. If the user edits
            `param_groups`, the next step moves each state to the new position of its parameter.

    Raises:
        ValueError: no parameters, a parameter listed twice, an unknown option or an invalid value.
        TypeError: a parameter that is not a Tensor, or an option that must be a number and is not.
    """

    not_negative: ClassVar[tuple[str, ...]] = ()
    """Options that must be numbers of at least 0."""
    decay_factors: ClassVar[tuple[str, ...]] = ()
    """Options that must be pairs of numbers in [0, 1)."""
    lazy_entries: ClassVar[tuple[str, ...]] = ()
    """State entries of a parameter's shape that the first update creates, instead of `start`."""

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        is_module, is_tensor = hasattr(params, "parameters"), isinstance(params, Tensor)
        check(self, not is_module, "takes parameters, not a module: pass module.parameters()", TypeError)
        check(self, not is_tensor, "takes a list of parameters, not a single Tensor: pass [parameter]", TypeError)
        unordered = f"parameters must be ordered: pass a list, not a {type_name(params)}"
        check(self, _is_ordered(params), unordered, TypeError)
        items = list(params)
        check(self, items, "there are no parameters")
        groups: list[Any] = items if isinstance(items[0], dict) else [{"params": items}]
        self.defaults = self._validate(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, dict[str, Any]] = {}
        self._owners: dict[int, Tensor] = {}  # the parameter of each position for which `state` is arranged
        self._absent: dict[Tensor, dict[str, Any]] = {}  # the states of parameters that were removed from the groups
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group of parameters with its own options."""
        if mode.trace is not None:
            mode.trace.check_group(self)
        check(self, isinstance(group, dict), "takes parameters or groups of them (dicts), not both", TypeError)
        params = group.get("params")
        check(self, _is_ordered(params), 'a group needs "params", an ordered collection such as a list', TypeError)
        parameters = [params] if isinstance(params, Tensor) else list(params)  # type: ignore[arg-type]  # not None
        unknown = ", ".join(sorted(group.keys() - self.defaults.keys() - {"params", "initial_lr"}))
        check(self, not unknown, f"has no option {unknown}; it has {', '.join(self.defaults)}")
        ids = {id(p) for p in self._parameters()}
        for p in parameters:
            check(self, isinstance(p, Tensor), f"takes Tensors, not {type(p).__name__}", TypeError)
            check(self, p.is_leaf, f"a parameter must be a leaf, not the result of an operation (shape {p.shape})")
            check(self, id(p) not in ids, f"a parameter of shape {p.shape} is given twice")
            ids.add(id(p))
        self.param_groups.append({"params": parameters, **self._validate({**self.defaults, **options(group)})})
        self._arrange_state()

    def _validate(self, options: dict[str, Any]) -> dict[str, Any]:
        """Check the options, and return them with Tensors converted to numbers."""
        numbers = dict(options)
        for option, value in options.items():
            if isinstance(value, Tensor):
                check(self, value.numel() == 1, f"{option} must be one number, not a tensor of shape {value.shape}")
                numbers[option] = value.item()
        check_not_negative(self, **{option: numbers[option] for option in self.not_negative})
        for option in self.decay_factors:
            numbers[option] = self._pair(option, numbers[option])
            for factor in numbers[option]:
                check(self, 0 <= factor < 1, f"{option} must be at least 0 and below 1, got {factor}")
        return numbers

    def _pair(self, option: str, value: Any) -> tuple[Any, Any]:
        """Return an option as a tuple of two numbers; raise a TypeError if it is anything else."""
        are_numbers = isinstance(value, (tuple, list)) and [isinstance(part, Real) for part in value] == [True, True]
        check(self, are_numbers, f"{option} must be two numbers, not {value}", TypeError)
        return value[0], value[1]

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _arrange_state(self) -> None:
        """Move the state of each parameter to its position, which changes if the user edits `param_groups`."""
        owners = dict(enumerate(self._parameters()))
        if [*map(id, owners.values())] != [*map(id, self._owners.values())]:
            self._absent |= {p: self.state.pop(i) for i, p in self._owners.items() if i in self.state}
            self.state |= {i: self._absent.pop(p) for i, p in owners.items() if p in self._absent}
            self._owners = owners

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to None; `step` then skips the parameters. Set them to zeros if `set_to_none` is False."""
        if not set_to_none:
            refuse_while_tracing("zero_grad(set_to_none=False)")
        for p in self._parameters():
            if mode.trace is not None:
                p.grad = None
            elif p.grad is not None:
                p.grad = None if set_to_none else p.grad.detach().zero_()

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], Loss]) -> Loss: ...

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update each parameter that has a gradient.

        Args:
            closure: computes the loss and the gradients; called before the update.

        Returns:
            The result of the closure, or None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if mode.trace is None:
            self._arrange_state()
        entries = [(p, group) for group in self.param_groups for p in group["params"]]
        with np.errstate(all="ignore"):  # infinities and NaN are valid results, as in operations
            for position, (p, group) in enumerate(entries):
                if (grad := p.grad) is None:
                    continue
                if mode.trace is not None:  # this step is being compiled
                    mode.trace.update(self, position, p, group)
                else:
                    if position not in self.state:
                        self.state[position] = self.start(p._data, group)
                    gradient = -grad._data if group.get("maximize") else grad._data
                    self.update(p._data, gradient, self.state[position], group)
                p._version[0] += 1
        return loss

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the initial state of a parameter, by name: arrays of the parameter's shape, and numbers."""
        return {}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter's array in place.

        Args:
            value: the parameter's array, changed in place.
            gradient: dL/d(value), same shape; must not be changed.
            state: the parameter's state, changed in place.
            group: the options.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the state and the options in PyTorch's format, which identifies parameters by position."""
        if mode.trace is not None:
            mode.trace.refuse_value("an optimizer's state_dict()")
        self._arrange_state()
        state = {position: copy.deepcopy(entries) for position, entries in self.state.items() if entries}
        positions = itertools.count()
        groups = [{**options(g), "params": [next(positions) for _ in g["params"]]} for g in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state; nothing is changed if it does not fit.

        Raises:
            ValueError: this is not a state, the number of groups or parameters differs, entries are missing, unknown or
                of the wrong shape, or the options differ.
        """
        refuse_while_tracing("an optimizer's load_state_dict()")
        parameters = self._parameters()
        is_state = isinstance(state_dict, Mapping) and state_dict.keys() >= {"state", "param_groups"}
        check(self, is_state, "a state must be a dict with the entries 'state' and 'param_groups'")
        groups = state_dict["param_groups"]
        sizes, own_sizes = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        problem = f"the state has groups of {sizes} parameters, but this optimizer has {own_sizes}"
        check(self, sizes == own_sizes, problem)
        new_options = [{k: v for k, v in options(g).items() if k not in _IMPLEMENTATION_OPTIONS} for g in groups]
        for group_options in new_options:
            differing = ", ".join(sorted(group_options.keys() - {"initial_lr"} ^ self.defaults.keys()))
            problem = f"the state belongs to another kind of optimizer: the options differ in {differing}"
            check(self, not differing, problem)
        new_options = [self._validate(group_options) for group_options in new_options]
        options_by_position = [g for g, size in zip(new_options, sizes, strict=True) for _ in range(size)]
        state: dict[int, dict[str, Any]] = {}
        for key, entries in state_dict["state"].items():
            position = int(key) if str(key).isdecimal() else -1
            in_range = 0 <= position < len(parameters)
            check(self, in_range, f"the state has a parameter {key!r}, but this optimizer has {len(parameters)}")
            p = parameters[position]
            initial = self.start(p._data, options_by_position[position])
            missing = ", ".join(sorted(initial.keys() - entries.keys()))
            check(self, not missing, f"the state of parameter {key} has no {missing}")
            state[position] = {}
            for entry, value in entries.items():
                expected = entry in initial or entry in self.lazy_entries
                check(self, expected, f"the state of parameter {key} has an unknown entry {entry!r}")
                like = initial.get(entry, p)
                shape = np.shape(value)
                fits = shape == np.shape(like) and shape in ((), p.shape) and np.asarray(value).dtype.kind in "biuf"
                requirement = f"must be numeric, of shape {np.shape(like)}; got shape {shape}"
                check(self, fits, f"{entry} of parameter {key} {requirement}")
                if entry == "step":  # a float32 tensor in PyTorch, which cannot count beyond 2²⁴
                    state[position][entry] = int(value)
                elif hasattr(like, "shape"):
                    state[position][entry] = np.array(value, p.dtype)
                else:  # PyTorch stores numbers as tensors
                    state[position][entry] = value.item() if hasattr(value, "item") else value
        self._arrange_state()
        self.state, self._absent = state, {}
        for group, group_options in zip(self.param_groups, new_options, strict=True):
            group.update(group_options)

    def __repr__(self) -> str:
        groups = [", ".join(f"{k}={v}" for k, v in options(group).items()) for group in self.param_groups]
        return f"{type(self).__name__}({'; '.join(groups)})"


def _is_ordered(params: Any) -> bool:
    """Return whether this is an ordered collection."""
    return hasattr(params, "__iter__") and not isinstance(params, (set, frozenset))
