"""Time softmax, cross entropy and normalization of large arrays, eager: NumPy, compiled loops, PyTorch; one thread.

python benchmarks/kernels.py prints a table in microseconds, forward / backward: medians over rounds, in which the three
take turns, of the best of a few tries.
"""

from __future__ import annotations

import time
from typing import Any

import chainrule
from chainrule.lower import eager

import numpy as np  # isort: skip  # after chainrule, which configures its BLAS threads
import torch

ROUNDS, TRIES = 12, 4
WAYS = {"lines of NumPy": (chainrule, 2**60), "loops": (chainrule, eager.LARGE), "PyTorch": (torch, 0)}
"""The library, and the size of arrays from which on chainrule compiles operations."""
F = {chainrule: chainrule.nn.functional, torch: torch.nn.functional}


def batch_norm(library: Any, x: Any, weight: Any, bias: Any) -> Any:
    """Batch norm in training mode, with running statistics."""
    return F[library].batch_norm(x, library.zeros(32), library.ones(32), weight, bias, training=True)


def works() -> dict[str, tuple[Any, ...]]:
    """The operations with their arrays, by name."""
    random = np.random.default_rng(0)

    def numbers(*shape: int) -> Any:
        return random.normal(size=shape).astype("f4")

    labels = random.integers(0, 256, 4096)
    rows, pictures = numbers(4096, 256), numbers(64, 32, 28, 28)
    last = np.ascontiguousarray(pictures.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    weights = numbers(32), numbers(32)
    return {
        "softmax (4096, 256)": (lambda lib, x: F[lib].softmax(x, -1), rows),
        "cross entropy (4096, 256)": (lambda lib, *arrays: F[lib].cross_entropy(*arrays), rows, labels),
        "layer norm (4096, 256)": (
            lambda lib, x, w, b: F[lib].layer_norm(x, (256,), w, b), rows, numbers(256), numbers(256),
        ),
        "batch norm (64, 32, 28, 28)": (batch_norm, pictures, *weights),
        "the same, channels last": (batch_norm, last, *weights),
    }  # fmt: skip


def seconds(library: Any, function: Any, arrays: tuple[Any, ...]) -> tuple[float, float]:
    """The seconds of one forward and one backward pass."""
    tensors = [library.from_numpy(array) for array in arrays]
    for array, x in zip(arrays, tensors, strict=True):
        if array.dtype.kind == "f":
            x.requires_grad_()
    start = time.perf_counter()
    out = function(library, *tensors)
    forward = time.perf_counter() - start
    upstream = library.ones_like(out.detach())
    start = time.perf_counter()
    out.backward(upstream)
    return forward, time.perf_counter() - start


def main() -> None:
    """Print the table."""
    chainrule.set_num_threads(1)
    torch.set_num_threads(1)
    print(f"| operation | {' | '.join(WAYS)} |\n|{' --- |' * (1 + len(WAYS))}")
    for name, (function, *arrays) in works().items():
        results: dict[str, list[Any]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, (library, smallest) in WAYS.items():
                eager.LARGE = smallest
                tries = [seconds(library, function, tuple(arrays)) for _ in range(TRIES)]
                results[way].append(np.min(tries, axis=0))
        cells = [" / ".join(f"{value * 1e6:,.0f}" for value in np.median(times, axis=0)) for times in results.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
