"""Randomness that can be repeated: every draw comes from a `numpy.random.Generator` that somebody named.

Whatever draws takes `generator=`. Left out, it is the default generator, which `manual_seed` starts anew.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from chainrule.autograd.mode import mode


@cache  # made when first asked for: numpy.random takes a while to load
def default_generator() -> np.random.Generator:
    """The generator used where none is given."""
    return np.random.default_rng()


def draw(name: str, shape: Any, generator: np.random.Generator | None = None, **options: Any) -> Any:
    """An array of draws: `generator.<name>(size=shape, **options)`; what `jit` compiles draws anew in each call.

    Raises:
        TypeError: the generator is none.
    """
    rng = default_generator() if generator is None else generator
    if not isinstance(rng, np.random.Generator):
        wanted = "the generator must be a numpy.random.Generator, such as numpy.random.default_rng(0)"
        raise TypeError(f"{wanted}, not {type(rng).__name__}")
    if mode.trace is not None:
        return mode.trace.drawn(name, rng, lambda: getattr(rng, name)(size=shape, **options))
    return getattr(rng, name)(size=shape, **options)


def manual_seed(seed: int) -> np.random.Generator:
    """Start the default generator anew: the same seed gives the same draws, bit by bit. Returns the generator.

    Raises:
        TypeError, ValueError: the seed is no whole number, or negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"manual_seed: the seed must be a whole number, not {seed!r}")
    if seed < 0:
        raise ValueError(f"manual_seed: the seed must be at least 0, not {seed}")
    if mode.trace is not None:
        mode.trace.refuse("manual_seed()")
    generator = default_generator()
    generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    return generator
