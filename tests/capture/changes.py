"""A helper for tests of guards: compare a compiled function with the eager one before and after a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import chainrule
from chainrule.capture import jit

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled_through_changes(function: Callable[[Any], Any], change: Callable[[], object]) -> Any:
    """Compile a function, and compare it with eager calls, with new numbers in each, before and after the first two
    changes.

    The first change must change the function's result. `change` is called three times.

    Returns:
        The compiled function.
    """
    compiled, results, first = jit(function), [], chainrule.arange(3.0) + 1
    for _ in range(3):
        for factor in (1.0, 1.5):
            x = first * factor
            np.testing.assert_allclose(compiled(x), np.array(function(x)), rtol=1e-6)
        results.append(np.array(function(first)))
        change()
    assert not np.array_equal(results[0], results[1])
    return compiled
