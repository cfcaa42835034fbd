"""Fine-tuning: a run that starts from the weights of an existing run, and may freeze some of them.

The new run keeps a copy of the weights in `start.safetensors`, so it does not need the existing run afterwards. If the
number of classes differs, the last layer keeps its random initial weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule import safetensors_io
from chainrule.errors import RunError, join_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from chainrule.nn import Module
    from chainrule.training.run import Run

START_FILE = "start.safetensors"
"""The file in a run's folder with the weights that it starts from, if it fine-tunes another run's network."""


def describe_start(source: Run, network: Module, freeze: Sequence[str]) -> dict[str, Any]:
    """Return the entry "start" of a new run's config, after checking that the weights fit.

    Args:
        source: the run whose best weights are used.
        network: the new run's network.
        freeze: prefixes of the names of the parameters to freeze (see `_has_prefix`).

    Raises:
        RunError: weights other than those of the last layer do not fit; a prefix matches no parameter, or matches one
            whose shape differs; or no parameter is left to train.
    """
    source_state = safetensors_io.load(_weights_file(source), from_chainrule=True)
    own_state = network.state_dict()
    unmatched_names = sorted(source_state.keys() ^ own_state.keys())
    if unmatched_names:
        raise RunError(
            f"{source.folder}: its weights do not fit the model: only one of the two has "
            f"{join_names(unmatched_names)}; leave out --model to use the run's own"
        )
    parameter_names = [name for name, _ in network.named_parameters()]
    last_layer = parameter_names[-1].rpartition(".")[0]
    replaced_names = [name for name, tensor in own_state.items() if source_state[name].shape != tensor.shape]
    misfits = [
        f"{name} is {source_state[name].shape}, must be {own_state[name].shape}"
        for name in replaced_names
        if name.rpartition(".")[0] != last_layer
    ]
    if misfits:
        raise RunError(f"{source.folder}: only the last layer can be replaced, but {join_names(misfits, '; ')}")
    for prefix in freeze:
        if not any(_has_prefix(name, prefix) for name in parameter_names):
            raise RunError(
                f"--freeze {prefix}: no parameter's name begins with it; the names are {join_names(parameter_names)}"
            )
    if all(any(_has_prefix(name, prefix) for prefix in freeze) for name in parameter_names):
        raise RunError("--freeze leaves no parameter to train")
    frozen_and_replaced = [name for name in replaced_names if any(_has_prefix(name, prefix) for prefix in freeze)]
    if frozen_and_replaced:
        raise RunError(
            f"{join_names(frozen_and_replaced)} cannot be frozen: the shape differs from that of the run's weights, so "
            f"training starts from random values"
        )
    return {"run": str(source.folder), "replaced": replaced_names, "freeze": list(freeze)}


def write_start(source: Run, folder: Path) -> None:
    """Copy a run's best weights into the folder of a new run."""
    safetensors_io.save(safetensors_io.load(_weights_file(source), from_chainrule=True), folder / START_FILE)


def build_initial_network(run: Run, generator: np.random.Generator) -> Module:
    """Build a run's network as it is before the first step.

    Its weights are those of `start_from`, or, for a run that does not start from an existing run, random.

    Args:
        run: the run.
        generator: draws the random weights, and, during training, the dropout masks.

    Raises:
        RunError: there is no such model, its options are invalid, or the weights to start from are missing or do not
            fit.
    """
    network = run.build_network(generator)
    start_from(run, network)
    return network


def start_from(run: Run, network: Module) -> None:
    """Give a run's network the weights that the run starts from, and freeze the parameters that the config names.

    Does nothing for a run that does not start from the weights of an existing run. Modules whose parameters are all
    frozen are put in eval mode, so that a frozen batch normalization keeps its statistics.

    Raises:
        RunError: the weights are missing or do not fit.
    """
    start = run.config.get("start")
    if start is None:
        return
    file = run.folder / START_FILE
    if not file.exists():
        raise RunError(f"{file}: is missing: the run starts from these weights")
    start_state = safetensors_io.load(file, from_chainrule=True)
    own_state = network.state_dict()
    try:
        network.load_state_dict(
            {name: own_state[name] if name in start["replaced"] else start_state[name] for name in own_state}
        )
    except (KeyError, ValueError) as error:
        raise RunError(f"{file}: does not fit model {run.model.name!r}: {error}") from None
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not any(_has_prefix(name, prefix) for prefix in start["freeze"]))
    for module in network.modules():
        parameters = [*module.parameters()]
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _has_prefix(name: str, prefix: str) -> bool:
    """Return whether a path begins with a prefix: 1 and 1.weight are prefixes of 1.weight, but not of 10.weight."""
    return name == prefix or name.startswith(prefix.rstrip(".") + ".")


def _weights_file(source: Run) -> Path:
    if not source.weights_file.exists():
        raise RunError(f"{source.weights_file}: does not exist: the run has no complete epoch to start from")
    return source.weights_file
