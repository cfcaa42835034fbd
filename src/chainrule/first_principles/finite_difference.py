"""Finite differences: the gradient without calculus.

Change one number by a small step, and divide the change of the result by the step:

    forward    ∂f/∂xⱼ ≈ (f(x + h eⱼ) - f(x)) / h               error about h/2 · |f″|
    central    ∂f/∂xⱼ ≈ (f(x + h eⱼ) - f(x - h eⱼ)) / 2h       error about h²/6 · |f‴|

Each number is changed separately: N numbers cost N + 1 evaluations of f (forward) or 2N (central). Backpropagation
computes all N for the cost of about three. So networks are trained by backpropagation, and finite differences check it.

A smaller step h is better only up to a point. f itself is rounded, by about ε |f| with ε = 2.2e-16 for doubles; the
division by h turns this into ε |f| / h. On log-log axes the total error over h is a V, with its minimum where the two
errors are equal: near √ε forward and near ∛ε central.

Source: Griewank and Walther, Evaluating Derivatives (2008), chapter 1, on the two errors and on the cost.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from chainrule.first_principles import backprop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike

    from chainrule.first_principles import Array

EPSILON = float(np.finfo(float).eps)  # the gap between 1 and the next double
FORWARD_STEP = EPSILON ** (1 / 2)  # 1.5e-8
CENTRAL_STEP = EPSILON ** (1 / 3)  # 6.1e-6


class CallCounter:
    """A function that counts its calls in `calls`."""

    def __init__(self, function: Callable[[Array], float]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, x: Array) -> float:
        """The function's value at x."""
        self.calls += 1
        return self.function(x)


def forward_difference(function: Callable[[Array], float], x: ArrayLike, step: float = FORWARD_STEP) -> Array:
    """The gradient of a function of one array: x of any shape to the same shape, in x.size + 1 evaluations."""
    point = np.array(x, float)
    value = function(point)
    shifted = np.array([function(nudged) for nudged in _nudges(point, step)], float)  # (N,)
    return ((shifted - value) / step).reshape(point.shape)


def central_difference(function: Callable[[Array], float], x: ArrayLike, step: float = CENTRAL_STEP) -> Array:
    """The gradient from both sides: x of any shape to the same shape, in 2 · x.size evaluations; far more accurate."""
    point = np.array(x, float)
    forward = np.array([function(nudged) for nudged in _nudges(point, step)], float)  # (N,)
    backward = np.array([function(nudged) for nudged in _nudges(point, -step)], float)
    slopes: Array = (forward - backward) / (2 * step)
    return slopes.reshape(point.shape)


def _nudges(point: Array, step: float) -> Iterator[Array]:
    """Yield x + h eⱼ for each j: x.size arrays of the shape of x."""
    if not step:
        raise ValueError("finite differences need a step other than 0, because they divide by it")
    for j in range(point.size):
        nudged = point.copy()
        nudged.flat[j] += step
        yield nudged


def error_curve(
    function: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
    points: ArrayLike,
    steps: ArrayLike,
    *,
    central: bool = False,
) -> Array:
    """The error of a finite difference for different step sizes: a V of truncation and rounding errors.

    Args:
        function: f of one variable, elementwise.
        derivative: f′, elementwise, to compare with.
        points: (P,), where to measure; several, because rounding errors may cancel at a single point.
        steps: (S,), the values of h.
        central: use central differences instead of forward differences.

    Returns:
        The mean of |difference - f′| over the points, (S,).
    """
    x, h = np.asarray(points, float), np.asarray(steps, float)[:, None]  # (P,) and (S, 1)
    behind, width = (x - h, 2 * h) if central else (x, h)
    error = np.abs((function(x + h) - function(behind)) / width - derivative(x))  # (S, P)
    return np.array(error.mean(axis=1))


def race(hidden: Sequence[int], inputs: int = 20, outputs: int = 2) -> list[tuple[int, int, float, float]]:
    """Time both methods on one example, in networks inputs-h-outputs for each h in `hidden`.

    Returns:
        For each h: the number of weights and biases, the number of cost evaluations by finite differences, their time
        in seconds, and the time of backpropagation (the median of nine times ten runs).
    """
    rows, random = [], np.random.default_rng(0)
    x, target = random.random((inputs, 1)), random.random((outputs, 1))
    for h in hidden:
        layers = backprop.start(inputs, h, outputs, random)
        cost = CallCounter(lambda numbers, template=layers: _cost(numbers, template, x, target))  # type: ignore[misc]
        numbers = np.concatenate([part.ravel() for part in layers])  # (N,)
        started = time.perf_counter()
        forward_difference(cost, numbers)
        clock = [time.perf_counter()]
        for _ in range(9):
            for _ in range(10):  # a browser's clock ticks only each tenth of a millisecond
                backprop.backpropagate(layers, x, target)
            clock.append(time.perf_counter())
        rows.append((numbers.size, cost.calls, clock[0] - started, float(np.median(np.diff(clock))) / 10))
    return rows


def _cost(numbers: Array, template: backprop.Layers, x: Array, target: Array) -> float:
    """The cost of a network whose weights and biases are flattened into `numbers`, (N,)."""
    ends = np.cumsum([part.size for part in template])[:-1]
    parts = [row.reshape(part.shape) for row, part in zip(np.split(numbers, ends), template, strict=True)]
    return backprop.cost(backprop.forward(backprop.Layers(*parts), x).prediction, target)


def main() -> None:
    """Print the error for different steps, and the times beside backpropagation."""
    points, steps = np.linspace(0.5, 1.5, 101), 10.0 ** -np.arange(1, 15)
    print("f(x) = eˣ, mean error of its derivative around x = 1\n   step     forward   central")
    errors = [error_curve(np.exp, np.exp, points, steps, central=central) for central in (False, True)]
    for step, forward_error, central_error in zip(steps, *errors, strict=True):
        print(f"{step:7.0e}   {forward_error:9.1e} {central_error:9.1e}")
    print("\nThe gradient of a network, one example\n  numbers   evaluations   differences   backpropagation   ratio")
    race([10])  # warm up
    rows = race([10, 30, 100, 300])
    for numbers, calls, difference_seconds, backprop_seconds in rows:
        ratio = difference_seconds / backprop_seconds
        print(f"{numbers:9,}   {calls:11,}   {difference_seconds:9.4f} s   {backprop_seconds:13.6f} s   {ratio:5.0f}")
    print("784-30-10 has 23,860 numbers: 23,861 forward passes for each example, or one forward and one backward pass.")


if __name__ == "__main__":
    main()
