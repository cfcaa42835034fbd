"""The machine: its processor, NumPy's BLAS, and the speed of large matrix products, which is the limit of all works."""

from __future__ import annotations

import ctypes
import os
import platform
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 2048
FLOPS = 2 * SIDE**3


def about() -> dict[str, object]:
    """The processor, versions and BLAS."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        **blas(),
    }


def variants(_: object) -> dict[str, Callable[[], Callable[[], object]]]:
    """A single variant: a product of float32 matrices of 2048×2048."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, SIDE, SIDE), np.float32)
    out = np.empty_like(a)
    return {"product": lambda: lambda: np.matmul(a, b, out=out)}


def processor() -> str:
    """The model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def blas() -> dict[str, object]:
    """NumPy's BLAS: its name, the processor its kernels are for, its threads."""
    config = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    properties: dict[str, object] = {"blas": f"{config.get('name', '?')} {config.get('version', '')}".strip()}
    library = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
    for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("", "")):
        try:
            core = getattr(library, f"{prefix}openblas_get_corename{suffix}")
            count = getattr(library, f"{prefix}openblas_get_num_threads{suffix}")
        except AttributeError:
            continue
        core.restype = ctypes.c_char_p
        return properties | {"blas kernel": core().decode(), "blas threads": count()}
    return properties | {"blas kernel": "unknown", "blas threads": None}
