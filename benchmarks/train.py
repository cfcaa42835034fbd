"""`chainrule train` beside PyTorch: the same network, recipe and images, whole processes, in turn.

    python benchmarks/train.py [--repeats 3]

PyTorch trains on tensors in memory with batches by index, the fastest plain way, and judges itself by the same
validation and test images. OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, which hold NumPy to an old processor's kernels on
some machines, are unset for the measured processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TORCH = """
import json, sys, time
started = time.perf_counter()
import numpy as np, torch
from chainrule import data, models
recipe = models.get("mlp").recipe
seed = int(sys.argv[1])
torch.manual_seed(seed)
split = data.mnist().split()
parts = [(torch.tensor(np.asarray(i)).float() / 255, torch.tensor(np.asarray(l)).long()) for i, l in split]
(images, labels), validation, test = parts
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
optimizer = torch.optim.AdamW(net.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
steps = recipe.epochs * -(-len(images) // recipe.batch_size)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps + 1)
def accuracy(part):
    with torch.no_grad():
        return (net(part[0]).argmax(1) == part[1]).float().mean().item()
for epoch in range(recipe.epochs):
    order = torch.randperm(len(images))
    for chosen in order.split(recipe.batch_size):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    accuracy(validation)
print(json.dumps({"test_accuracy": accuracy(test), "seconds": time.perf_counter() - started}))
"""


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """The wall time of a process, in seconds, and the test accuracy that it printed."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, json.loads(done.stdout)["test_accuracy"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "chainrule": lambda seed: [
                sys.executable,
                "-m",
                "chainrule",
                "train",
                "--json",
                "--seed",
                str(seed),
                "--out",
                str(Path(folder) / f"run-{seed}"),
            ],
            "PyTorch": lambda seed: [sys.executable, "-W", "ignore", "-c", TORCH, str(seed)],
        }
        try:
            import torch  # noqa: F401  # is it here?
        except ImportError:
            print("PyTorch is not installed: skipped (pip install 'chainrule[torch]')")
            del commands["PyTorch"]
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for name, command in commands.items():
            measure(command(1000), environment)  # warm-up: caches, files in memory
            print(f"{name}: warmed up", file=sys.stderr)
        for seed in range(repeats):
            for name, command in commands.items():
                measured[name].append(measure(command(seed), environment))
    print(f"MNIST, mlp by its default recipe, seeds 0 to {repeats - 1}, whole processes, {os.cpu_count()} cores")
    for name, results in measured.items():
        seconds, accuracies = zip(*results, strict=True)
        print(
            f"{name:<10} median {statistics.median(seconds):6.2f} s (from {min(seconds):.2f} to {max(seconds):.2f})   "
            f"test accuracy {statistics.mean(accuracies):.4f} (mean)"
        )
    if "PyTorch" in measured:
        ratios = [p[0] / c[0] for p, c in zip(measured["PyTorch"], measured["chainrule"], strict=True)]
        print(f"PyTorch's time / ours: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
