"""Gradient descent: to find the bottom of a valley, repeatedly take a step downhill.

The derivative of f at x says how steeply f rises there. A step against it goes down:

    x ← x - learning_rate · f′(x)

With many variables x is a vector, and the gradient, the vector of all partial derivatives, points straight uphill; the
rule is the same. A learning rate that is too small makes slow progress; one that is too large jumps over the valley and
lands higher than it started. For f(x) = x² one step multiplies x by 1 - 2 · learning_rate, so any rate between 0 and 1
converges, and any rate above 1 diverges.

Momentum keeps some of the speed: v ← momentum · v + f′(x), x ← x - learning_rate · v. The ball rolls along a narrow
valley where plain steps would bounce from side to side.

Source: Cauchy, Méthode générale pour la résolution des systèmes d'équations simultanées (1847); momentum: Polyak, Some
methods of speeding up the convergence of iteration methods (1964).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from chainrule.first_principles import Array


class Path(NamedTuple):
    """The path of gradient descent, including the start.

    Attributes:
        points: (steps + 1, *shape of x).
        values: f at these points, (steps + 1,).
        gradients: the gradient used by each step, (steps, *shape of x).
    """

    points: Array
    values: Array
    gradients: Array


def parabola(x: Array) -> Array:
    """f(x) = x², of one variable."""
    return x**2


def parabola_gradient(x: Array) -> Array:
    """f′(x) = 2x."""
    return 2 * x


def bowl(x: Array, widths: ArrayLike = (1.0, 1.0)) -> Array:
    """f(x) = Σ (xᵢ/aᵢ)², x (..., n) to (...): a round bowl, or a narrow valley if the widths a (n,) differ."""
    height: Array = np.sum((x / np.asarray(widths, float)) ** 2, axis=-1)
    return height


def bowl_gradient(x: Array, widths: ArrayLike = (1.0, 1.0)) -> Array:
    """∂f/∂xᵢ = 2 xᵢ / aᵢ², (..., n) to the same."""
    return 2 * x / np.square(widths)


def descend(
    function: Callable[[Array], ArrayLike],
    gradient: Callable[[Array], Array],
    start: ArrayLike,
    learning_rate: float = 0.1,
    steps: int = 100,
    momentum: float = 0.0,
) -> Path:
    """Run gradient descent and record the path; stop early if a value is not finite.

    Args:
        function: f, takes x and returns a number.
        gradient: takes x and returns the gradient, of the shape of x.
        start: a number, or an array of any shape.
        learning_rate: the length of a step for a slope of 1.
        steps: number of steps.
        momentum: the fraction of the velocity kept from step to step, 0 for none.

    Raises:
        ValueError: the gradient does not have the shape of x.
    """
    x = np.array(start, float)
    velocity = np.zeros_like(x)
    points, values = [x], [function(x)]
    gradients: list[Array] = []
    with np.errstate(over="ignore", invalid="ignore"):
        while len(gradients) < steps and np.isfinite(values[-1]):
            slope = np.asarray(gradient(x), float)
            if slope.shape != x.shape:
                raise ValueError(f"descend: a gradient of shape {slope.shape} does not fit x of shape {x.shape}")
            velocity = momentum * velocity + slope
            x = x - learning_rate * velocity
            points.append(x)
            values.append(function(x))
            gradients.append(slope)
    return Path(np.array(points), np.array(values), np.array(gradients))


def table(path: Path, every: int = 10) -> str:
    """Format the start, the first and every `every`-th step: x and f(x) after the step, and the gradient it used."""
    rows = [f"Starting x: {path.points[0]}, f(x): {path.values[0]:.4f}"]
    for step, gradient in enumerate(path.gradients, start=1):
        if step == 1 or step % every == 0:
            x, value = path.points[step], path.values[step]
            rows.append(f"Iteration {step}: x = {x:.4f}, f(x) = {value:.4f}, Gradient = {gradient:.4f}")
    return "\n".join(rows)


def main() -> None:
    """Minimize f(x) = x² from x = 10; then try other learning rates, and momentum in a narrow valley."""
    path = descend(parabola, parabola_gradient, 10.0, learning_rate=0.1, steps=100)
    print(table(path))
    print(f"The lowest place found: x = {path.points[-1]:.4f}, f(x) = {path.values[-1]:.4f}")
    print("\nThe same with other learning rates, after 20 steps:")
    for rate in (0.001, 0.1, 0.5, 0.99, 1.05):
        path = descend(parabola, parabola_gradient, 10.0, rate, steps=20)
        print(f"    rate {rate:<6g} x = {path.points[-1]:9.4f}, f(x) = {path.values[-1]:9.4f}")
    print("\nA valley ten times as long as wide, from (10, 1), rate 0.9, height after 100 steps:")
    for momentum in (0.0, 0.8):
        path = descend(
            lambda x: bowl(x, (10.0, 1.0)), lambda x: bowl_gradient(x, (10.0, 1.0)), (10.0, 1.0), 0.9, 100, momentum
        )
        print(f"    momentum {momentum:<4g} {path.values[-1]:.2e}")


if __name__ == "__main__":
    main()
