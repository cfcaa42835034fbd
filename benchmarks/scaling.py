"""Measure training steps and Allreduce with two ranks, and predict the efficiency of more ranks.

    python benchmarks/scaling.py             the table of docs/distributed.md, in about a minute
    python benchmarks/scaling.py --quick     fewer rounds

Needs `chainrule[mpi]`. One process, then two with one thread each take training steps in 8 shards, and sum arrays of
several sizes. The times of the sums determine α, the time of a message, and β, the time per byte that is sent, received
and added, in the model of an Allreduce of R ranks

    T(R) = 2·log₂R·α + 2·(R-1)/R · bytes·β

The time of a step is that of the gradient of a rank's shards, plus T(R), plus that of the update. "Weak" is the
efficiency if each rank has as much work as the single process (the batch grows with R), "strong" the efficiency if one
batch in 8 shards is divided among the ranks. The rows of other networks use α and β that are assumed, not measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZES = [1, 1_000, 10_000, 100_000, 300_000, 1_000_000]
"""Numbers (float32) in the arrays that are summed."""

NETWORKS = {"10 Gbit/s": (30e-6, 0.8e-9), "1 Gbit/s": (60e-6, 8e-9)}
"""Assumed α in seconds and β in seconds per byte of other networks."""

RANKS = [2, 4, 8, 16, 64, 256, 1024]


def workload(name: str) -> tuple[Any, Any, Any, Any, int]:
    """A network, its loss, a batch of inputs and targets, and the batch size."""
    import chainrule
    from chainrule import models, nn

    rng = np.random.default_rng(0)
    if name == "gpt":
        tokens = rng.integers(0, 65, (2, 16, 64))
        network = models.build("gpt", {"size": "shakespeare"}, generator=rng)

        def loss(out: Any, target: Any) -> Any:
            return nn.functional.cross_entropy(out.reshape(-1, 65), target.reshape(-1))

        return network, loss, chainrule.tensor(tokens[0]), chainrule.tensor(tokens[1]), 16
    batch = {"mlp": 128, "cnn": 64}[name]
    network = models.build(name, generator=rng)
    inputs = chainrule.tensor(rng.random((batch, 28, 28)).astype(np.float32))
    return network, nn.functional.cross_entropy, inputs, chainrule.tensor(rng.integers(0, 10, batch)), batch


def measure(rounds: int) -> dict[str, Any]:
    """Measure steps and sums on this rank; returns seconds."""
    from chainrule import optim
    from chainrule.distributed import ShardedStep
    from chainrule.distributed.allreduce import allreduce
    from chainrule.distributed.world import world

    here = world()
    result: dict[str, Any] = {"models": {}, "sums": {}}
    for name in ("mlp", "cnn", "gpt"):
        network, loss, inputs, targets, batch = workload(name)
        optimizer = optim.Adam(network.parameters())
        step = ShardedStep(network, loss, optimizer, batch_size=batch, compiled=True)
        rows = step.own_rows(batch)
        inputs, targets = inputs[rows], targets[rows]
        times: list[tuple[float, float]] = []
        for _ in range(rounds + 3):
            here.gather(None)  # so that all ranks start at the same time
            begin = time.perf_counter()
            step.gradients(inputs, targets, batch)
            middle = time.perf_counter()
            step.update()
            times.append((middle - begin, time.perf_counter() - middle))
        gradient, update = (statistics.median(column) for column in zip(*times[3:], strict=True))
        parameters = sum(p.numel() for p in network.parameters())
        result["models"][name] = {"parameters": parameters, "gradient": gradient, "update": update, "batch": batch}
    for size in [*SIZES, *(model["parameters"] for model in result["models"].values())]:
        array = np.ones(size, np.float32)
        seconds = []
        for _ in range(rounds + 3):
            here.gather(None)
            begin = time.perf_counter()
            allreduce(here, array)
            seconds.append(time.perf_counter() - begin)
            array[...] = 1
        result["sums"][size] = statistics.median(seconds[3:])
    return result


def run(ranks: int, rounds: int) -> dict[str, Any]:
    """Measure with a number of ranks, in separate processes."""
    program = [sys.executable, __file__, "--worker", str(rounds)]
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec) if mpiexec.exists() else "mpiexec", "-n", str(ranks), *program] if ranks > 1 else program
    environment = {**os.environ, "CHAINRULE_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    document: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    )
    return document


def fit(sums: dict[str, float]) -> tuple[float, float]:
    """α and β from the times of sums by two ranks: T = 2α + bytes·β, by least squares of relative errors."""
    size = np.array([4.0 * int(name) for name in sums])
    seconds = np.array([*sums.values()])
    columns = np.stack([np.full_like(size, 2.0), size], axis=1) / seconds[:, None]
    alpha, beta = np.linalg.lstsq(columns, np.ones(len(size)), rcond=None)[0]
    return float(alpha), float(beta)


def allreduce_time(ranks: int, size: int, alpha: float, beta: float) -> float:
    """The α-β model of an Allreduce by recursive halving and doubling."""
    return 2 * math.log2(ranks) * alpha + 2 * (ranks - 1) / ranks * 4 * size * beta


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        result = measure(options.worker)
        from chainrule.distributed import rank

        if rank() == 0:
            print(json.dumps(result))
        return
    rounds = 10 if options.quick else 60
    one, two = run(1, rounds), run(2, rounds)
    alpha, beta = fit(two["sums"])
    links = {"measured": (alpha, beta), **NETWORKS}
    print(f"2 ranks of one thread on this machine: α = {alpha * 1e6:.0f} µs, β = {beta * 1e9:.2f} ns/byte\n")
    print(
        "| model, batch | parameters | gradient | update | Allreduce, 2 ranks | step, 1 rank | 2 ranks | by the model |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, single in one["models"].items():
        pair, size = two["models"][name], single["parameters"]
        whole = single["gradient"] + single["update"]
        predicted = single["gradient"] / 2 + allreduce_time(2, size, alpha, beta) + single["update"]
        measured = pair["gradient"] + pair["update"]
        figures = [single["gradient"], single["update"], two["sums"][str(size)], whole, measured, predicted]
        cells = " | ".join(f"{1e3 * seconds:.2f} ms" for seconds in figures)
        print(f"| {name}, {single['batch']} | {size:,} | {cells} |")
    print(f"\n| efficiency | network | {' | '.join(map(str, RANKS))} |")
    print(f"| --- | --- | {' | '.join(['---'] * len(RANKS))} |")
    for name, single in one["models"].items():
        whole = single["gradient"] + single["update"]
        for title, link in links.items():
            waits = [allreduce_time(ranks, single["parameters"], *link) for ranks in RANKS]
            weak = [whole / (whole + wait) for wait in waits]
            strong = [
                whole / (single["gradient"] + ranks * (wait + single["update"])) if ranks <= 8 else None
                for ranks, wait in zip(RANKS, waits, strict=True)
            ]
            for kind, values in (("weak", weak), ("strong", strong)):
                cells = " | ".join("" if value is None else f"{value:.0%}" for value in values)
                print(f"| {name}, {kind} | {title} | {cells} |")


if __name__ == "__main__":
    main()
