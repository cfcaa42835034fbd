"""Compare the from-scratch network, which processes mini-batches as matrices, with a loop over examples; then train it.

    python benchmarks/first_principles.py [--seeds 3]

Prints the median times of both for the same mini-batches, taking turns, and their ratio; then the test accuracy of the
classic run (784-30-10, 30 epochs, mini-batches of 10, rate 3.0) for each seed. OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE,
which on some machines force NumPy to use an old processor's kernels, are unset first.
"""

import os
import sys

if {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & os.environ.keys():  # NumPy reads them on import, so restart without them
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import argparse
import platform
import statistics
import time

import numpy as np

from chainrule.first_principles.network import Network, load_data_wrapper


class OneByOne(Network):
    """The same network, but it processes the examples of a mini-batch one by one."""

    def update_mini_batch(self, mini_batch, learning_rate):  # noqa: D102
        sums_b = [np.zeros_like(b) for b in self.biases]
        sums_w = [np.zeros_like(w) for w in self.weights]
        for x, y in mini_batch:
            slopes_b, slopes_w = self.backprop(x, y)
            sums_b = [total + slope for total, slope in zip(sums_b, slopes_b, strict=True)]
            sums_w = [total + slope for total, slope in zip(sums_w, slopes_w, strict=True)]
        rate = learning_rate / len(mini_batch)
        self.biases = [b - rate * total for b, total in zip(self.biases, sums_b, strict=True)]
        self.weights = [w - rate * total for w, total in zip(self.weights, sums_w, strict=True)]


def race(training: list, repeats: int = 5) -> None:
    """Time both networks on the same examples, taking turns, and check that they learn the same weights."""
    networks = {"matrices": Network([784, 30, 10], seed=0), "one by one": OneByOne([784, 30, 10], seed=0)}
    times: dict[str, list[float]] = {kind: [] for kind in networks}
    for number in range(repeats + 1):
        for kind, network in networks.items():
            started = time.perf_counter()
            network.SGD(training, 1, 10, 3.0, progress=lambda _: None)
            if number:  # the first run is a warm-up
                times[kind].append(time.perf_counter() - started)
    for ours, theirs in zip(*(network.weights for network in networks.values()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    for kind, seconds in medians.items():
        print(f"{kind:<12}{seconds:7.3f} s for {len(training):,} examples")
    print(f"{'ratio':<12}{medians['one by one'] / medians['matrices']:7.1f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    print(
        f"NumPy {np.__version__}, Python {platform.python_version()}; {os.cpu_count()} cores, OPENBLAS_CORETYPE unset"
    )
    training, _, test = load_data_wrapper()
    race(training[:10_000])
    accuracies = []
    for seed in range(seeds):
        started = time.perf_counter()
        correct = Network([784, 30, 10], seed=seed).SGD(training, 30, 10, 3.0, test, progress=lambda _: None)
        accuracies.append(correct[-1] / len(test))
        print(f"seed {seed}: {accuracies[-1]:.2%} after 30 epochs, {time.perf_counter() - started:.0f} s", flush=True)
    if accuracies:
        print(f"mean: {statistics.mean(accuracies):.2%}")


if __name__ == "__main__":
    main()
