"""Time softmax, cross entropy and normalization of large arrays, forward and backward, on one thread.

python benchmarks/kernels.py prints a table in microseconds: lines of NumPy, eager with compiled loops, `chainrule.jit`,
and PyTorch, which take turns. Each number is the median over rounds of the best of a few tries. A compiled function
returns copies of its results, which the others need not make.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import chainrule
from chainrule.lower import eager

import numpy as np  # isort: skip  # after chainrule, which configures its BLAS threads
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, TRIES = 12, 4
WAYS = {
    "lines of NumPy": (chainrule, 2**60),
    "eager": (chainrule, eager.LARGE),
    "compiled": (chainrule, eager.LARGE),
    "PyTorch": (torch, 0),
}
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
        "log-softmax (4096, 256)": (lambda lib, x: F[lib].log_softmax(x, -1), rows),
        "cross entropy (4096, 256)": (lambda lib, *arrays: F[lib].cross_entropy(*arrays), rows, labels),
        "layer norm (4096, 256)": (
            lambda lib, x, w, b: F[lib].layer_norm(x, (256,), w, b), rows, numbers(256), numbers(256),
        ),
        "batch norm (64, 32, 28, 28)": (batch_norm, pictures, *weights),
        "the same, channels last": (batch_norm, last, *weights),
    }  # fmt: skip


def step(library: Any, function: Any, arrays: tuple[Any, ...]) -> Callable[[], Any]:
    """A function that computes an operation and its gradients."""
    tensors = [library.from_numpy(array) for array in arrays]
    inputs = [x for array, x in zip(arrays, tensors, strict=True) if array.dtype.kind == "f"]
    for x in inputs:
        x.requires_grad_()
    upstream = function(library, *tensors).detach() * 0 + 1  # in the memory order of the result

    def run() -> Any:
        for x in inputs:
            x.grad = None
        out = function(library, *tensors)
        out.backward(upstream)
        return out.detach(), [x.grad for x in inputs]

    return run


def seconds(run: Callable[[], Any]) -> float:
    """The seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    chainrule.set_num_threads(1)
    torch.set_num_threads(1)
    print(f"| operation, forward and backward | {' | '.join(WAYS)} |\n|{' --- |' * (1 + len(WAYS))}")
    for name, (function, *arrays) in works().items():
        steps = {way: step(library, function, tuple(arrays)) for way, (library, _) in WAYS.items()}
        steps["compiled"] = chainrule.jit(steps["compiled"])
        results: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(1 + ROUNDS):
            for way, (_, smallest) in WAYS.items():
                eager.LARGE = smallest
                results[way].append(min(seconds(steps[way]) for _ in range(TRIES)))
        cells = [f"{np.median(times[1:]) * 1e6:,.0f}" for times in results.values()]  # the first round compiles
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
