"""Time single pieces of work beside PyTorch, eager, in one process, in turn; prints medians and ratios.

    python benchmarks/steps.py

OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, which hold NumPy to an old processor's kernels on some machines, are unset
first.
"""

import os
import sys

if {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & os.environ.keys():  # NumPy reads them as it loads, so start over without
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import platform
import statistics
import subprocess
import time
from collections.abc import Callable

import numpy as np

import chainrule
from chainrule import models, nn, optim

Work = Callable[[], object]


def mlp(batch: int) -> Work:
    """One training step of 784-128-10, ReLU, cross entropy, Adam."""
    rng = np.random.default_rng(0)
    images = chainrule.from_numpy(rng.random((batch, 784), np.float32))
    labels = chainrule.from_numpy(rng.integers(0, 10, batch))
    net = models.build("mlp", generator=rng)
    optimizer = optim.Adam(net.parameters())

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


def network() -> Work:
    """One training step of 784-30-10, sigmoid, squared error, batch 10, SGD."""
    rng = np.random.default_rng(0)
    images = chainrule.from_numpy(rng.random((10, 784), np.float32))
    labels = chainrule.from_numpy(rng.integers(0, 10, 10))
    model = models.get("network")
    net = model.build(generator=rng)
    optimizer = optim.SGD(net.parameters(), lr=3.0)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(net(images), labels).backward()
        optimizer.step()

    return step


def chain() -> Work:
    """1,000 multiplications of single numbers, forward and backward."""

    def run() -> None:
        x = chainrule.tensor(1.0001, requires_grad=True)
        y = x
        for _ in range(1000):
            y = y * x
        y.backward()

    return run


def peers() -> dict[str, Work]:
    """The same work in PyTorch."""
    import torch
    from torch.nn import Flatten, Linear, ReLU, Sequential, Sigmoid
    from torch.nn.functional import cross_entropy, mse_loss, one_hot

    def torch_mlp(batch: int) -> Work:
        images, labels = torch.rand(batch, 784), torch.randint(0, 10, (batch,))
        net = Sequential(Flatten(), Linear(784, 128), ReLU(), Linear(128, 10))
        optimizer = torch.optim.Adam(net.parameters())

        def step() -> None:
            optimizer.zero_grad()
            cross_entropy(net(images), labels).backward()
            optimizer.step()

        return step

    def torch_network() -> Work:
        images, labels = torch.rand(10, 784), torch.randint(0, 10, (10,))
        net = Sequential(Flatten(), Linear(784, 30), Sigmoid(), Linear(30, 10), Sigmoid())
        optimizer = torch.optim.SGD(net.parameters(), lr=3.0)

        def step() -> None:
            optimizer.zero_grad()
            (mse_loss(net(images), one_hot(labels, 10).float(), reduction="sum") / 20).backward()
            optimizer.step()

        return step

    def torch_chain() -> None:
        x = torch.tensor(1.0001, requires_grad=True)
        y = x
        for _ in range(1000):
            y = y * x
        y.backward()

    return {
        "mlp step, batch 64": torch_mlp(64),
        "mlp step, batch 128": torch_mlp(128),
        "network step, batch 10": torch_network(),
        "chain of 1,000": torch_chain,
    }


def timed(works: list[Work], repeats: int) -> list[list[float]]:
    """The times of each work, taken in turn."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(repeats + repeats // 5):
        for work, taken in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            if number >= repeats // 5:  # the first fifth is a warm-up
                taken.append(time.perf_counter() - started)
    return times


def import_ratio(repeats: int = 11) -> float:
    """How long `import chainrule` takes, in imports of NumPy: whole processes, in turn, less an empty one."""
    times: dict[str, list[float]] = {"pass": [], "import numpy": [], "import chainrule": []}
    for _ in range(repeats):
        for code, taken in times.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            taken.append(time.perf_counter() - started)
    empty, numpy, ours = (statistics.median(taken) for taken in times.values())
    return (ours - empty) / (numpy - empty)


def main() -> None:
    """Measure and print a table."""
    ours = {
        "mlp step, batch 64": mlp(64),
        "mlp step, batch 128": mlp(128),
        "network step, batch 10": network(),
        "chain of 1,000": chain(),
    }
    versions = f"chainrule {chainrule.__version__}, NumPy {np.__version__}, Python {platform.python_version()}"
    try:
        import torch

        theirs = peers()
        versions += f", PyTorch {torch.__version__} ({torch.get_num_threads()} threads)"
    except ImportError:
        theirs = {}
        print("PyTorch is not installed: skipped (pip install 'chainrule[torch]')")
    print(f"{versions}; {os.cpu_count()} cores, OPENBLAS_CORETYPE unset")
    print(f"{'eager':<26}{'chainrule':>12}{'PyTorch':>12}{'ratio':>8}")
    for name, work in ours.items():
        works = [work, theirs[name]] if theirs else [work]
        taken = timed(works, 50 if name.startswith("chain") else 500)
        medians = [statistics.median(t) * 1e6 for t in taken]
        rest = f"{medians[1]:>9.0f} µs{medians[1] / medians[0]:>8.2f}" if theirs else f"{'-':>12}{'-':>8}"
        print(f"{name:<26}{medians[0]:>9.0f} µs{rest}")
    print(f"{'import, in imports of NumPy':<28}{import_ratio():>8.2f}")


if __name__ == "__main__":
    main()
