"""What all optimisers share: groups of parameters, their options, and what is remembered of each parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Array = NDArray[Any]


class Optimizer:
    """Changes parameters in place, against their gradients.

    Subclasses say in `update` how one parameter changes; what they remember of it lives in its `state`.

    Args:
        params: the parameters, or dicts {"params": parameters, option: value, ...} for groups with options of their
            own.
        defaults: the options of groups that do not set them.

    Attributes:
        param_groups: a dict for each group: its "params" and its options; a schedule changes "lr" here.
        state: for each parameter (by position in all groups) what the optimiser remembers: arrays and numbers.

    Raises:
        ValueError: no parameters, one given twice, or an option that a group does not have.
        TypeError: something that is not a Tensor.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{type(self).__name__}: takes a list of parameters; put the single one in brackets")
        given = list(params)
        if not given:
            raise ValueError(f"{type(self).__name__}: there are no parameters")
        groups: list[Any] = given if isinstance(given[0], dict) else [{"params": given}]
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, dict[str, Any]] = {}
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own."""
        if not isinstance(group, dict):
            raise TypeError(f"{type(self).__name__}: takes parameters or groups of them (dicts), not both")
        chosen = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        unknown = group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: has no option {', '.join(sorted(unknown))}; it has {', '.join(self.defaults)}"
            )
        known = {id(p) for p in self._parameters()}
        for p in chosen:
            if not isinstance(p, Tensor):
                raise TypeError(f"{type(self).__name__}: takes Tensors, not {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(
                    f"{type(self).__name__}: a result (shape {p.shape}) cannot be a parameter, only a leaf can"
                )
            if id(p) in known:
                raise ValueError(f"{type(self).__name__}: a parameter of shape {p.shape} is given twice")
            known.add(id(p))
        self.param_groups.append(
            {"params": chosen, **self.defaults, **{k: v for k, v in group.items() if k != "params"}}
        )

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self._parameters():
            if p.requires_grad:
                p.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient, once."""
        position = 0
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    gradient = p.grad._data
                    self.update(p._data, gradient, self.state.setdefault(position, {}), group)
                    p._version[0] += 1
                position += 1

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change one parameter's array in place.

        Args:
            value: the parameter, to be written into.
            gradient: dL/d(value), same shape; not to be written into.
            state: what is remembered of this parameter; empty at first.
            group: the options.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What is remembered and the options, in PyTorch's form: parameters are named by their position."""
        positions = iter(range(len(self._parameters())))
        return {
            "state": {
                i: {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in s.items()}
                for i, s in self.state.items()
            },
            "param_groups": [
                {
                    **{k: v for k, v in group.items() if k != "params"},
                    "params": [next(positions) for _ in group["params"]],
                }
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state; nothing is changed unless it fits.

        Raises:
            ValueError: other numbers of groups or parameters, arrays of other shapes, or other options.
        """
        name, groups, parameters = type(self).__name__, state_dict["param_groups"], self._parameters()
        sizes, own = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            raise ValueError(f"{name}: the state has groups of {sizes} parameters, this optimiser has {own}")
        for saved in groups:
            differing = saved.keys() - {"params", "initial_lr"} ^ self.defaults.keys()
            if differing:
                raise ValueError(
                    f"{name}: the state is another optimiser's, it differs in {', '.join(sorted(differing))}"
                )
        state: dict[int, dict[str, Any]] = {}
        for key, entries in state_dict["state"].items():
            p = parameters[int(key)] if 0 <= int(key) < len(parameters) else None
            for entry, value in entries.items():
                shape = getattr(value, "shape", ())
                if p is None or (shape not in ((), p.shape)):
                    raise ValueError(
                        f"{name}: the state's {entry} of parameter {key} {shape} fits no parameter of that shape"
                    )
            state[int(key)] = {k: np.array(v) if hasattr(v, "shape") else v for k, v in entries.items()}
        self.state = state
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update({k: v for k, v in saved.items() if k != "params"})

    def __repr__(self) -> str:
        groups = [", ".join(f"{k}={v}" for k, v in group.items() if k != "params") for group in self.param_groups]
        return f"{type(self).__name__}({'; '.join(groups)})"


def check(name: str, at_least_zero: Mapping[str, float], betas: tuple[float, ...] = ()) -> None:
    """Raise ValueError for an option that makes no sense."""
    for option, value in at_least_zero.items():
        if not value >= 0:
            raise ValueError(f"{name}: {option} must not be negative, got {value}")
    for beta in betas:
        if not 0 <= beta < 1:
            raise ValueError(f"{name}: betas must be at least 0 and below 1, got {beta}")
