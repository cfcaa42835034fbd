"""The optimizers that a run can name, with the settings of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chainrule import nn, optim
from chainrule.errors import RunError, join_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chainrule.models import Recipe
    from chainrule.nn import Module
    from chainrule.optim.optimizer import Array


@dataclass(frozen=True)
class NamedOptimizer:
    """An optimizer that a run can name.

    Attributes:
        make: makes it from a network and a recipe.
        settings: the defaults, with "lr", of a recipe that uses this optimizer instead of its model's.
        has_momentum: whether the recipe's momentum is an option of it.
        has_weight_decay: whether the recipe's weight decay is an option of it.
    """

    make: Callable[[Module, Recipe], optim.Optimizer]
    settings: dict[str, float] = field(default_factory=dict)
    has_momentum: bool = False
    has_weight_decay: bool = True


class CombinedOptimizer(optim.Optimizer):
    """Several optimizers, each with its own parameters, that act as one, with one list of groups and one state.

    Args:
        optimizers: the optimizers.
    """

    def __init__(self, optimizers: Sequence[optim.Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self.defaults = {name: value for optimizer in optimizers for name, value in optimizer.defaults.items()}
        self.param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to None, or to zeros."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update each parameter that has a gradient, after a call of `closure`, whose result is returned."""
        loss = self.optimizers[0].step(closure) if closure is not None else self.optimizers[0].step()
        for optimizer in self.optimizers[1:]:
            optimizer.step()
        return loss

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the initial state of a parameter of one of the groups."""
        (owner,) = (o for o in self.optimizers if any(group is other for other in o.param_groups))
        return owner.start(value, group)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all optimizers, as if one had all groups."""
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        start = 0
        for optimizer in self.optimizers:
            part = optimizer.state_dict()
            state |= {start + position: entries for position, entries in part["state"].items()}
            groups += [{**g, "params": [start + position for position in g["params"]]} for g in part["param_groups"]]
            start += sum(len(group["params"]) for group in part["param_groups"])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load such a state."""
        groups, positions = list(state_dict["param_groups"]), 0
        for optimizer in self.optimizers:
            count = sum(len(group["params"]) for group in optimizer.param_groups)
            entries = {int(key): value for key, value in state_dict["state"].items()}
            own = {key - positions: entries[key] for key in entries if positions <= key < positions + count}
            optimizer.load_state_dict({"state": own, "param_groups": groups[: len(optimizer.param_groups)]})
            positions, groups = positions + count, groups[len(optimizer.param_groups) :]


def _trainable(network: Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _without_momentum(kind: Callable[..., optim.Optimizer], **settings: float) -> NamedOptimizer:
    return NamedOptimizer(
        lambda network, recipe: kind(_trainable(network), recipe.lr, weight_decay=recipe.weight_decay), settings
    )


def _with_momentum(kind: Callable[..., optim.Optimizer], **settings: float) -> NamedOptimizer:
    def make(network: Module, recipe: Recipe) -> optim.Optimizer:
        return kind(_trainable(network), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)

    return NamedOptimizer(make, settings, has_momentum=True)


def _muon(network: Module, recipe: Recipe) -> optim.Optimizer:
    """Muon for all matrices but embeddings, AdamW for the other parameters; both take steps of the same size."""
    embeddings = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    parameters = _trainable(network)
    matrices = [p for p in parameters if p.ndim == 2 and id(p) not in embeddings]
    if not matrices:
        raise RunError("muon is for networks with matrices, such as the weights of linear layers, and this has none")
    others = [p for p in parameters if not any(p is matrix for matrix in matrices)]
    decay, momentum = recipe.weight_decay, recipe.momentum
    muon = optim.Muon(matrices, recipe.lr, decay, momentum, adjust_lr_fn="match_rms_adamw")
    return CombinedOptimizer([muon, *([optim.AdamW(others, recipe.lr, weight_decay=decay)] if others else [])])


OPTIMIZERS = {
    "sgd": _with_momentum(optim.SGD, lr=0.1, momentum=0.9),
    "adam": _without_momentum(optim.Adam, lr=0.002),
    "adamw": _without_momentum(optim.AdamW, lr=0.002, weight_decay=0.01),
    "nadam": _without_momentum(optim.NAdam, lr=0.002),
    "radam": _without_momentum(optim.RAdam, lr=0.005),
    "adamax": _without_momentum(optim.Adamax, lr=0.005),
    "adagrad": _without_momentum(optim.Adagrad, lr=0.05),
    "adadelta": _without_momentum(optim.Adadelta, lr=1.0),
    "rmsprop": _with_momentum(optim.RMSprop, lr=0.002),
    "rprop": NamedOptimizer(
        lambda network, recipe: optim.Rprop(_trainable(network), recipe.lr), {"lr": 0.001}, has_weight_decay=False
    ),
    "lion": _without_momentum(optim.Lion, lr=0.001, weight_decay=0.01),
    "muon": NamedOptimizer(_muon, {"lr": 0.01, "momentum": 0.95, "weight_decay": 0.01}, has_momentum=True),
}
"""The optimizers by name."""


def make_optimizer(network: Module, recipe: Recipe) -> optim.Optimizer:
    """Make the optimizer that a recipe names.

    Raises:
        RunError: it does not fit the network.
    """
    return OPTIMIZERS[recipe.optimizer].make(network, recipe)


def check_optimizer(recipe: Recipe) -> None:
    """Check a recipe's optimizer, and that its options exist.

    Raises:
        RunError: an unknown name, or a momentum or a weight decay that the optimizer does not have.
    """
    if recipe.optimizer not in OPTIMIZERS:
        raise RunError(f"unknown optimizer {recipe.optimizer!r}; choose from {', '.join(OPTIMIZERS)}")
    if recipe.momentum:
        check_has_momentum(recipe)
    if recipe.weight_decay and not OPTIMIZERS[recipe.optimizer].has_weight_decay:
        raise RunError(f"{recipe.optimizer} has no weight decay: set weight_decay to 0")


def check_has_momentum(recipe: Recipe) -> None:
    """Check that a recipe's optimizer has a momentum.

    Raises:
        RunError: it has none.
    """
    if not OPTIMIZERS[recipe.optimizer].has_momentum:
        names = join_names([name for name, entry in OPTIMIZERS.items() if entry.has_momentum])
        raise RunError(f"momentum is a setting of {names}, and this run's optimizer is {recipe.optimizer}")
