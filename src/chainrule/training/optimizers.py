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
        make: makes the optimizer from a network and a recipe.
        settings: the settings, including "lr", that apply by default when the user chooses this optimizer for a recipe
            that names a different one.
        has_momentum: whether it takes the recipe's `momentum`; an optimizer with betas does not.
        has_weight_decay: whether it takes the recipe's `weight_decay`.
    """

    make: Callable[[Module, Recipe], optim.Optimizer]
    settings: dict[str, float] = field(default_factory=dict)
    has_momentum: bool = False
    has_weight_decay: bool = True


class CombinedOptimizer(optim.Optimizer):
    """Several optimizers that act as one, with one list of parameter groups and one state; each has its own parameters.

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
        """Call `closure`, if given, and update each parameter that has a gradient; return the closure's result."""
        loss = self.optimizers[0].step(closure) if closure is not None else self.optimizers[0].step()
        for optimizer in self.optimizers[1:]:
            optimizer.step()
        return loss

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the initial state of a parameter with this value, which belongs to `group`."""
        (owner,) = (o for o in self.optimizers if any(group is own_group for own_group in o.param_groups))
        return owner.start(value, group)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all optimizers as the state of a single optimizer with all groups.

        The indices of an optimizer's parameters are offset by the number of parameters of the optimizers before it.
        """
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        offset = 0
        for optimizer in self.optimizers:
            own = optimizer.state_dict()
            state |= {offset + index: entries for index, entries in own["state"].items()}
            groups += [{**group, "params": [offset + i for i in group["params"]]} for group in own["param_groups"]]
            offset += sum(len(group["params"]) for group in own["param_groups"])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a result of `state_dict`."""
        groups = list(state_dict["param_groups"])
        state = {int(index): entries for index, entries in state_dict["state"].items()}
        offset = 0
        for optimizer in self.optimizers:
            n_groups = len(optimizer.param_groups)
            end = offset + sum(len(group["params"]) for group in optimizer.param_groups)
            own_state = {index - offset: entries for index, entries in state.items() if offset <= index < end}
            optimizer.load_state_dict({"state": own_state, "param_groups": groups[:n_groups]})
            groups = groups[n_groups:]
            offset = end


def _trainable(network: Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _without_momentum(optimizer_class: Callable[..., optim.Optimizer], **settings: float) -> NamedOptimizer:
    """Return the entry of an optimizer that takes the recipe's weight decay, but not its momentum."""

    def make(network: Module, recipe: Recipe) -> optim.Optimizer:
        return optimizer_class(_trainable(network), recipe.lr, weight_decay=recipe.weight_decay)

    return NamedOptimizer(make, settings)


def _with_momentum(optimizer_class: Callable[..., optim.Optimizer], **settings: float) -> NamedOptimizer:
    """Return the entry of an optimizer that takes the recipe's momentum and weight decay."""

    def make(network: Module, recipe: Recipe) -> optim.Optimizer:
        parameters = _trainable(network)
        return optimizer_class(parameters, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)

    return NamedOptimizer(make, settings, has_momentum=True)


def _muon(network: Module, recipe: Recipe) -> optim.Optimizer:
    """Make Muon for all matrices except embeddings, and AdamW for the other parameters.

    "match_rms_adamw" makes Muon's steps as large as AdamW's, so that the same learning rate suits both.

    Raises:
        RunError: the network has no such matrices.
    """
    embedding_ids = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    matrices, others = [], []
    for parameter in _trainable(network):
        if parameter.ndim == 2 and id(parameter) not in embedding_ids:
            matrices.append(parameter)
        else:
            others.append(parameter)
    if not matrices:
        raise RunError("muon is for networks with matrices, such as the weights of linear layers; this one has none")
    decay, momentum = recipe.weight_decay, recipe.momentum
    optimizers: list[optim.Optimizer] = [
        optim.Muon(matrices, recipe.lr, decay, momentum, adjust_lr_fn="match_rms_adamw")
    ]
    if others:
        optimizers.append(optim.AdamW(others, recipe.lr, weight_decay=decay))
    return CombinedOptimizer(optimizers)


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
        RunError: the optimizer does not suit the network.
    """
    return OPTIMIZERS[recipe.optimizer].make(network, recipe)


def check_optimizer(recipe: Recipe) -> None:
    """Check that a recipe's optimizer exists, and that it takes momentum and weight decay if the recipe sets them.

    Raises:
        RunError: the name is unknown, or the optimizer does not take a value that the recipe sets.
    """
    if recipe.optimizer not in OPTIMIZERS:
        raise RunError(f"unknown optimizer {recipe.optimizer!r}; choose from {', '.join(OPTIMIZERS)}")
    if recipe.momentum:
        check_has_momentum(recipe)
    if recipe.weight_decay and not OPTIMIZERS[recipe.optimizer].has_weight_decay:
        raise RunError(f"{recipe.optimizer} has no weight decay: set weight_decay to 0")


def check_has_momentum(recipe: Recipe) -> None:
    """Check that a recipe's optimizer takes the recipe's momentum.

    Raises:
        RunError: the optimizer does not take it.
    """
    if not OPTIMIZERS[recipe.optimizer].has_momentum:
        names = join_names([name for name, entry in OPTIMIZERS.items() if entry.has_momentum])
        raise RunError(f"momentum is a setting of {names}, and this run's optimizer is {recipe.optimizer}")


def with_defaults(recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return new settings of a recipe, completed if they name a different optimizer.

    The recipe's learning rate, momentum and weight decay are meant for its own optimizer, so those that are not among
    the settings become the defaults of the new optimizer. An unknown optimizer has no defaults.
    """
    optimizer = settings.get("optimizer", recipe.optimizer)
    if optimizer == recipe.optimizer or optimizer not in OPTIMIZERS:
        return dict(settings)
    return {"momentum": 0.0, "weight_decay": 0.0, **OPTIMIZERS[optimizer].settings, **settings}
