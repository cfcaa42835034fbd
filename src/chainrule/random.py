"""Randomness that can be repeated: every draw comes from a `numpy.random.Generator` that somebody named.

Whatever draws takes `generator=`. Left out, it is the default generator, which `manual_seed` starts anew.
"""

from __future__ import annotations

from functools import cache

import numpy as np


@cache  # made when first asked for: numpy.random takes a while to load
def default_generator() -> np.random.Generator:
    """The generator used where none is given."""
    return np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Start the default generator anew: the same seed gives the same draws, bit by bit. Returns the generator."""
    generator = default_generator()
    generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    return generator
