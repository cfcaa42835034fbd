"""NumPy's own BLAS: where its product of matrices is in memory, for compiled programs to call."""

from __future__ import annotations

import ctypes
import functools
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from chainrule.kernels.processor import CannotCompileError

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoBlasError(CannotCompileError):
    """NumPy's BLAS has no name that we know."""


@functools.cache
def addresses() -> tuple[int, int]:
    """The addresses of `cblas_sgemm` and `cblas_dgemm` with 64-bit sizes.

    Raises:
        NoBlasError: this NumPy was built with another library.
    """
    return _function("cblas_sgemm"), _function("cblas_dgemm")


@functools.cache
def threads_addresses() -> tuple[int, int]:
    """The addresses of OpenBLAS's functions that tell and set how many threads it uses; 0 if it is another library."""
    found = _threads()
    return (0, 0) if found is None else (_address(found[0]), _address(found[1]))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _function(name: str) -> int:
    for full in (f"scipy_{name}64_", f"{name}64_", f"{name}$NEWLAPACK$ILP64"):
        try:
            found = getattr(_library(), full)
        except AttributeError:
            continue
        return _address(found)
    raise NoBlasError(f"NumPy's library of linear algebra has no {name} with 64-bit sizes")


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS to the thread that calls it, inside: other threads of ours call it at the same time."""
    get, change = _threads() or (lambda: 1, lambda number: None)
    before = get()
    if before == 1:  # perhaps because another thread holds it, which lets it go
        yield
        return
    try:
        change(1)
        yield
    finally:
        change(before)


@functools.cache
def _threads() -> tuple[Any, Any] | None:
    """OpenBLAS's functions that tell and set how many threads it uses, if it is OpenBLAS."""
    for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("", "")):
        try:
            get = getattr(_library(), f"{prefix}openblas_get_num_threads{suffix}")
            return get, getattr(_library(), f"{prefix}openblas_set_num_threads{suffix}")
        except AttributeError:
            continue
    return None


@functools.cache
def _library() -> ctypes.CDLL:
    """The module of NumPy that is linked with BLAS; looking into it finds what it is linked with too."""
    core = import_module("numpy._core._multiarray_umath")  # private, but the only one that knows its library
    return ctypes.CDLL(core.__file__)
