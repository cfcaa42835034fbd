"""Saves and restores whether each module of a network is in training or eval mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.nn import Module


@contextmanager
def restore_modes(network: Module) -> Iterator[None]:
    """Restore the mode of each module of a network at the end of the block, also after an error.

    Calling `network.train()` instead would also switch the modules that the user has put in eval mode.
    """
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training
