"""NumPy's BLAS: the addresses of its gemm functions, which compiled programs call, and its number of threads."""

from __future__ import annotations

import ctypes
import functools
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from chainrule.kernels.processor import CannotCompileError

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoBlasError(CannotCompileError):
    """NumPy's BLAS exports no function under a known name."""


@functools.cache
def gemm_addresses() -> tuple[int, int]:
    """The addresses of `cblas_sgemm` and `cblas_dgemm` with 64-bit sizes.

    Raises:
        NoBlasError: NumPy's BLAS does not export them.
    """
    return _gemm_address("cblas_sgemm"), _gemm_address("cblas_dgemm")


@functools.cache
def thread_count_addresses() -> tuple[int, int]:
    """The addresses of OpenBLAS's functions that get and set its number of threads; 0 for any other BLAS."""
    functions = _thread_count_functions()
    return (0, 0) if functions is None else (_address(functions[0]), _address(functions[1]))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _gemm_address(name: str) -> int:
    for symbol_name in (f"scipy_{name}64_", f"{name}64_", f"{name}$NEWLAPACK$ILP64"):
        with suppress(AttributeError):
            return _address(getattr(_library(), symbol_name))
    raise NoBlasError(f"NumPy's BLAS library has no {name} with 64-bit sizes")


def set_threads(number: int) -> None:
    """Set the number of threads of NumPy's BLAS, if it is OpenBLAS; otherwise do nothing."""
    functions = _thread_count_functions()
    if functions is not None:
        functions[1](number)


@contextmanager
def one_thread() -> Iterator[None]:
    """Context manager: limit BLAS to the calling thread, because the team's threads call it at the same time."""
    get_count, set_count = _thread_count_functions() or (lambda: 1, lambda number: None)
    previous_count = get_count()
    if previous_count == 1:  # perhaps because of another thread's `one_thread`, which will restore the number
        yield
        return
    try:
        set_count(1)
        yield
    finally:
        set_count(previous_count)


@functools.cache
def _thread_count_functions() -> tuple[Any, Any] | None:
    """OpenBLAS's functions that get and set its number of threads; None for any other BLAS."""
    for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("", "")):
        with suppress(AttributeError):
            get_count = getattr(_library(), f"{prefix}openblas_get_num_threads{suffix}")
            return get_count, getattr(_library(), f"{prefix}openblas_set_num_threads{suffix}")
    return None


@functools.cache
def _library() -> ctypes.CDLL:
    """The module of NumPy that is linked with BLAS; symbols of its dependencies can be looked up in it too."""
    # A private module, but no public one is linked with BLAS
    return ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
