"""Runs the loops of compiled programs in Python: the compiled driver calls the code that `kernels.python` renders.

`conftest.py` provides it as the fixture `interpreted`; `tests/fuzz` runs thousands of random programs this way.
Hand-written kernels (products, convolution, pooling) are still compiled.
"""

from __future__ import annotations

import ctypes
import functools
import sys

from chainrule.kernels import machine, python
from chainrule.kernels.calling import ARGUMENTS

_CALLBACK = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(ARGUMENTS))
_compiled = machine.address_of
_callbacks: dict[str, object] = {}


def _unprofiled(function):
    """Wrap a function to run without a profiler, as the compilation of machine code and its execution do."""

    @functools.wraps(function)
    def run(*arguments):
        profiler = sys.getprofile()
        if not callable(profiler):  # a profiler in C is cheap and cannot be restored
            return function(*arguments)
        sys.setprofile(None)
        try:
            return function(*arguments)
        finally:
            sys.setprofile(profiler)

    return run


def address_of(key, build):
    """Replace `machine.address_of`: loops generated from a formula become Python functions."""
    if not key.startswith("loops "):
        return _compiled(key, build)
    if key not in _callbacks:
        # never replace a callback: another thread may have built it meanwhile, and its program calls it by its address
        _callbacks.setdefault(key, _CALLBACK(_unprofiled(python.executable(build()))))
    return ctypes.cast(_callbacks[key], ctypes.c_void_p).value
