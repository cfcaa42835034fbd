"""Training and evaluation mode, module by module: what looks at a network leaves every module in the mode it was in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.nn import Module


@contextmanager
def restore_modes(network: Module) -> Iterator[None]:
    """Put every module of a network back into the mode it was in before, also after an error.

    `network.train()` would not do: it puts all modules into training mode, those too that the user has frozen.
    """
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
