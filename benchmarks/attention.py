"""Time and peak memory of causal attention, forward and backward, as texts grow: composed, fused, PyTorch; one thread.

python benchmarks/attention.py [LENGTH ...] prints a table for 12 texts, 4 heads of width 32. Times are CPU time:
medians over rounds, in which the variants take turns, of the best of a few tries. Memory is by how much two steps raise
the peak memory of a process, in a separate process for each cell (on Linux).
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chainrule
from chainrule.ops import attention

import numpy as np  # isort: skip  # after chainrule, which configures its BLAS threads
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS, HEADS, WIDTH = 12, 4, 32
LENGTHS = [64, 128, 256, 512, 1024, 2048]
SECONDS = 6.0  # per row of the table, after which no further round starts, except the second
TRIES, ROUNDS = 3, 15  # the largest number of rounds
WAYS = ["composed, eager", "composed, compiled", "fused, eager", "fused, compiled", "PyTorch"]


def step(library: Any, query: Any, key: Any, value: Any, upstream: Any) -> tuple[Any, Any, Any]:
    """The gradients of causal attention."""
    leaves = [x.detach().requires_grad_() for x in (query, key, value)]
    library.nn.functional.scaled_dot_product_attention(*leaves, is_causal=True).backward(upstream)
    return tuple(x.grad for x in leaves)


def build(way: str, length: int) -> Callable[[], object]:
    """A function that runs one step; heads and positions are in the memory order of a projection."""
    random = np.random.default_rng(0)
    shape = TEXTS, length, HEADS, WIDTH
    arrays = [random.standard_normal(shape, np.float32).transpose(0, 2, 1, 3) for _ in range(4)]
    library = torch if way == "PyTorch" else chainrule
    tensors = [library.from_numpy(array) for array in arrays]
    compiled = chainrule.jit(step) if way.endswith("compiled") else step
    smallest = 2**60 if way.startswith("composed") else attention.MIN_SCORES

    def run() -> object:
        attention.MIN_SCORES = smallest
        return compiled(library, *tensors)

    return run


def seconds(length: int) -> list[float]:
    """The seconds of a step, by way."""
    runs = [build(way, length) for way in WAYS]
    times: list[list[float]] = [[] for _ in WAYS]
    for run in runs:
        run()
        run()
    end = time.perf_counter() + SECONDS
    while len(times[0]) < ROUNDS and (len(times[0]) < 2 or time.perf_counter() < end):
        for run, own in zip(runs, times, strict=True):
            tries = []
            for _ in range(TRIES):
                begun = time.process_time()
                run()
                tries.append(time.process_time() - begun)
            own.append(min(tries))
    return [float(np.median(own)) for own in times]


def grown(way: str, length: int) -> int:
    """The number of bytes by which two steps raise this process's peak memory."""
    build(way, 32)()
    run = build(way, length)
    before = peak()
    run()
    run()
    return peak() - before


def peak() -> int:
    """This process's peak memory in bytes."""
    match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(match[1]) * 1024 if match else 0


def main() -> None:
    """Print the table, or the memory of one cell."""
    chainrule.set_num_threads(1)
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--memory"]:
        print(grown(WAYS[int(sys.argv[2])], int(sys.argv[3])))
        return
    print(f"| length | {' | '.join(WAYS)} |\n|{' --- |' * (1 + len(WAYS))}")
    for length in map(int, sys.argv[1:] or LENGTHS):
        cells = []
        for number, value in enumerate(seconds(length)):
            command = [sys.executable, __file__, "--memory", str(number), str(length)]
            memory = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            cells.append(f"{value * 1e3:,.2f} ms, {memory / 1e6:,.0f} MB")
        print(f"| {length:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
