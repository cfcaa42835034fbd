"""Randomness that can be repeated: every draw comes from a `numpy.random.Generator` that somebody named.

Whatever draws takes `generator=`. Left out, it is the default generator, which `manual_seed` starts anew.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd.mode import mode, refuse_compiled
from chainrule.errors import check_whole, type_name

if TYPE_CHECKING:
    from collections.abc import Callable


@cache  # made when first asked for: numpy.random takes a while to load
def default_generator() -> np.random.Generator:
    """The generator used where none is given."""
    return np.random.default_rng()


def draw(name: str, shape: Any, generator: np.random.Generator | None = None, **options: Any) -> Any:
    """An array of draws: `generator.<name>(size=shape, **options)`; what `jit` compiles draws anew in each call.

    Raises:
        TypeError: `generator` is no numpy.random.Generator.
    """
    return draw_by(lambda rng: getattr(rng, name)(size=shape, **options), name, generator)


def draw_by(function: Callable[[np.random.Generator], Any], name: str, generator: np.random.Generator | None) -> Any:
    """An array that a function makes of a generator's draws; what `jit` compiles calls it anew in each call.

    Raises:
        TypeError: `generator` is no numpy.random.Generator.
    """
    rng = default_generator() if generator is None else generator
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{name}: the generator must be a numpy.random.Generator, not {type_name(rng)}")
    return function(rng) if mode.trace is None else mode.trace.random_draw(name, rng, lambda: function(rng))


def manual_seed(seed: int) -> np.random.Generator:
    """Start the default generator anew: the same seed gives the same draws, bit by bit. Returns the generator.

    Raises:
        TypeError, ValueError: the seed is no whole number, or negative.
    """
    check_whole("manual_seed", "the seed", seed, least=0)
    refuse_compiled("manual_seed()")
    generator = default_generator()
    generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    return generator
