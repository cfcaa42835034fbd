"""Reproducible randomness: all random numbers come from an explicit `numpy.random.Generator`.

Every function that draws random numbers takes `generator=`. The default generator is seeded by `manual_seed`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd.mode import mode, refuse_while_tracing
from chainrule.errors import check_integer, type_name

if TYPE_CHECKING:
    from collections.abc import Callable


_generators: dict[str, np.random.Generator] = {}
"""Holds the default generator: with `cache` alone, two threads could create two."""


@cache  # created on first use: numpy.random is slow to load
def default_generator() -> np.random.Generator:
    """Return the generator that is used if none is passed."""
    return _generators.setdefault("default", np.random.default_rng())


def draw(name: str, shape: Any, generator: np.random.Generator | None = None, **options: Any) -> Any:
    """Return `generator.<name>(size=shape, **options)`, an array; `name` also begins error messages.

    A compiled function draws again each time it runs.

    Raises:
        TypeError: `generator` is not a numpy.random.Generator.
    """
    return draw_with(lambda rng: getattr(rng, name)(size=shape, **options), name, generator)


def draw_with(function: Callable[[np.random.Generator], Any], name: str, generator: np.random.Generator | None) -> Any:
    """Return `function(generator)`, an array of random numbers; `name` begins error messages.

    A compiled function calls `function` again each time it runs.

    Raises:
        TypeError: `generator` is not a numpy.random.Generator.
    """
    rng = default_generator() if generator is None else generator
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{name}: the generator must be a numpy.random.Generator, not {type_name(rng)}")
    return function(rng) if mode.trace is None else mode.trace.random_draw(name, rng, lambda: function(rng))


def manual_seed(seed: int) -> np.random.Generator:
    """Seed the default generator, and return it. The same seed gives bitwise identical random numbers.

    Raises:
        TypeError: the seed is not an integer.
        ValueError: the seed is negative.
    """
    check_integer("manual_seed", "the seed", seed, minimum=0)
    refuse_while_tracing("manual_seed()")
    generator = default_generator()
    generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    return generator
