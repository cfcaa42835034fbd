"""A compiled program's loops, run by Python itself: what `kernels.python` renders, called by the compiled driver.

`tests/capture/conftest.py` makes a fixture of it, `interpreted`; `tests/fuzz` runs thousands of random programs that way.
Kernels that are written by hand (products, convolution, pooling) are compiled all the same.
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


def _unwatched(function):
    """The function without a profiler, which watches neither how machine code is made nor what it does."""

    @functools.wraps(function)
    def run(*arguments):
        profiler = sys.getprofile()
        if not callable(profiler):  # one of C costs little, and cannot be set again
            return function(*arguments)
        sys.setprofile(None)
        try:
            return function(*arguments)
        finally:
            sys.setprofile(profiler)

    return run


def address_of(key, build):
    """Instead of `machine.address_of`: loops that come from a formula are functions of Python."""
    if not key.startswith("loops "):
        return _compiled(key, build)
    if key not in _callbacks:
        _callbacks[key] = _CALLBACK(_unwatched(python.executable(build())))
    return ctypes.cast(_callbacks[key], ctypes.c_void_p).value
