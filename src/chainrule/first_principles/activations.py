"""Activation functions, applied to a neuron's weighted sum z, and their derivatives.

Without them a network of any depth would compute a straight line, y = w x + b: a linear function of linear functions is
linear. An activation bends the line. Its derivative determines how much of an error passes back through the neuron;
where it is almost 0, the neuron hardly learns.

    sigmoid       σ(z) = 1 / (1 + e⁻ᶻ)           σ′(z) = σ(z) (1 - σ(z)), at most 1/4
    tanh          tanh(z)                        1 - tanh²(z), at most 1
    ReLU          max(0, z)                      1 for z > 0, else 0
    leaky ReLU    z for z > 0, else slope · z    1 for z > 0, else slope

Every function takes an array of any shape and returns one of the same shape.

Source: sigmoid and tanh: LeCun et al., Efficient BackProp (1998); ReLU: Nair and Hinton (2010); leaky ReLU: Maas,
Hannun and Ng (2013).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.first_principles import Array


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + e⁻ᶻ), between 0 and 1, for z of any shape."""
    with np.errstate(over="ignore"):  # e⁻ᶻ overflows to infinity for very negative z, and 1 / ∞ is 0, as it should be
        out: Array = 1 / (1 + np.exp(-z))
    return out


def sigmoid_derivative(z: Array) -> Array:
    """σ′(z) = σ(z) (1 - σ(z)): 1/4 at 0, and almost nothing far from it."""
    return sigmoid(z) * sigmoid(-z)  # σ(-z) is 1 - σ(z), without rounding to 0


def tanh(z: Array) -> Array:
    """tanh(z) = (eᶻ - e⁻ᶻ) / (eᶻ + e⁻ᶻ), between -1 and 1."""
    return np.tanh(z)


def tanh_derivative(z: Array) -> Array:
    """1 - tanh²(z)."""
    return 1 - np.tanh(z) ** 2


def relu(z: Array) -> Array:
    """max(0, z): negative values become 0."""
    return np.maximum(z, 0)


def relu_derivative(z: Array) -> Array:
    """1 where z > 0, else 0. The derivative at 0 is undefined; 0 is the usual choice."""
    return np.where(np.greater(z, 0), 1.0, 0.0)


def leaky_relu(z: Array, slope: float = 0.01) -> Array:
    """z where z > 0, else slope · z: an inactive neuron still has a small gradient, so it can recover."""
    return np.where(np.greater(z, 0), z, slope * np.asarray(z))


def leaky_relu_derivative(z: Array, slope: float = 0.01) -> Array:
    """1 where z > 0, else slope."""
    return np.where(np.greater(z, 0), 1.0, slope)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sigmoid": (sigmoid, sigmoid_derivative),
    "tanh": (tanh, tanh_derivative),
    "ReLU": (relu, relu_derivative),
    "leaky ReLU": (leaky_relu, leaky_relu_derivative),
}


def main() -> None:
    """Print each activation and its derivative at a few points."""
    points = np.array([-10.0, -2.0, -0.5, 0.5, 2.0, 10.0])
    print("z".rjust(22) + "".join(f"{z:9.1f}" for z in points))
    for name, (function, derivative) in ACTIVATIONS.items():
        print(f"{name:<22}" + "".join(f"{value:9.4f}" for value in function(points)))
        print(f"{'    its derivative':<22}" + "".join(f"{value:9.4f}" for value in derivative(points)))


if __name__ == "__main__":
    main()
