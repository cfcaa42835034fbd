"""Fine-tuning: a run that starts from another run's weights, some of them frozen.

The new run keeps a copy of the weights in `start.safetensors`, and so does not need the other run any more. Where the
number of classes differs, the last layer is initialized anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule import safetensors_io
from chainrule.errors import RunError, join_names
from chainrule.training.run import START_FILE, Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chainrule.nn import Module


def describe_start(source: Run, network: Module, freeze: Sequence[str]) -> dict[str, Any]:
    """Return the part of a new run's config that says where it starts, after checking that it can.

    Args:
        source: the run whose best weights are taken.
        network: the new run's network.
        freeze: prefixes of the names of the parameters to freeze (see `_has_prefix`).

    Raises:
        RunError: weights other than those of the last layer do not fit, no name has one of the prefixes, or nothing is
            left to train.
    """
    state = safetensors_io.load(_weights_file(source), from_chainrule=True)
    own = network.state_dict()
    differing = sorted(state.keys() ^ own.keys())
    if differing:
        raise RunError(
            f"{source.folder}: its weights do not fit the model: only one of them has {join_names(differing)}; leave "
            f"out --model to use the run's own"
        )
    last_layer = list(network.named_parameters())[-1][0].rpartition(".")[0]
    replaced = [name for name, tensor in own.items() if state[name].shape != tensor.shape]
    others = [f"{name} is {state[name].shape}, must be {own[name].shape}" for name in replaced
              if name.rpartition(".")[0] != last_layer]  # fmt: skip
    if others:
        raise RunError(f"{source.folder}: only the last layer can be replaced, but {join_names(others, '; ')}")
    names = [name for name, _ in network.named_parameters()]
    for prefix in freeze:
        if not any(_has_prefix(name, prefix) for name in names):
            raise RunError(f"--freeze {prefix}: no parameter's name begins with it; the names are {join_names(names)}")
    if all(any(_has_prefix(name, prefix) for prefix in freeze) for name in names):
        raise RunError("--freeze leaves no parameter to train")
    frozen_anew = [name for name in replaced if any(_has_prefix(name, prefix) for prefix in freeze)]
    if frozen_anew:
        raise RunError(f"{join_names(frozen_anew)} must be learned anew and cannot be frozen: its shape differs")
    return {"run": str(source.folder), "replaced": replaced, "freeze": list(freeze)}


def write_start(source: Run, folder: Path) -> None:
    """Copy a run's best weights into the folder of a new one."""
    safetensors_io.save(safetensors_io.load(_weights_file(source), from_chainrule=True), folder / START_FILE)


def start_from(run: Run, network: Module) -> None:
    """Give a new run's network the weights that it starts from, and freeze the parameters that its config names.

    Frozen modules are in evaluation mode, so that a frozen batch normalization keeps its statistics.

    Raises:
        RunError: the weights are missing or do not fit.
    """
    start = run.config.get("start")
    if start is None:
        return
    file = run.folder / START_FILE
    if not file.exists():
        raise RunError(f"{file}: is missing: the run starts from these weights")
    state = safetensors_io.load(file, from_chainrule=True)
    own = network.state_dict()
    try:
        network.load_state_dict({name: own[name] if name in start["replaced"] else state[name] for name in own})
    except (KeyError, ValueError) as error:
        raise RunError(f"{file}: does not fit model {run.model.name!r}: {error}") from None
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not any(_has_prefix(name, prefix) for prefix in start["freeze"]))
    for module in network.modules():
        parameters = [*module.parameters()]
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _has_prefix(name: str, prefix: str) -> bool:
    """Whether a path begins with another path: 1 and 1.weight are prefixes of 1.weight, but not of 10.weight."""
    return name == prefix or name.startswith(prefix.rstrip(".") + ".")


def _weights_file(source: Run) -> Path:
    if not source.weights_file.exists():
        raise RunError(f"{source.weights_file}: does not exist: the run has no complete epoch to start from")
    return source.weights_file
