"""Backpropagation in four equations: each layer's share of the error, from the last layer to the first.

The network has one hidden layer. An example is a column x; several examples are the columns of a matrix.

    forward     z¹ = W¹ x + b¹,  h = σ(z¹)        the hidden layer
                z² = W² h + b²,  ŷ = σ(z²)        the output
                C  = ½ Σ (ŷ - y)²                 the cost, summed over outputs and examples

    backward    1.  δ² = (ŷ - y) ⊙ σ′(z²)         the error at the output: ∂C/∂z²
                2.  ∂C/∂W² = δ² hᵀ, ∂C/∂b² = δ²   the gradients of the output layer's weights and biases
                3.  δ¹ = (W²)ᵀ δ² ⊙ σ′(z¹)        the error propagated back to the hidden layer: ∂C/∂z¹
                4.  ∂C/∂W¹ = δ¹ xᵀ, ∂C/∂b¹ = δ¹   the gradients of the first layer's weights and biases

⊙ multiplies element by element. Each equation applies the chain rule once. Together they cost about as much as two
forward passes, independent of the number of weights.

Source: Rumelhart, Hinton and Williams, Learning representations by back-propagating errors (Nature, 1986); in this
form: Nielsen, Neural Networks and Deep Learning (2015), chapter 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.first_principles.activations import sigmoid, sigmoid_derivative

if TYPE_CHECKING:
    from chainrule.first_principles import Array


class Layers(NamedTuple):
    """Weights and biases of both layers, or their gradients: n inputs, h hidden neurons, o outputs."""

    w1: Array  # (h, n)
    b1: Array  # (h, 1)
    w2: Array  # (o, h)
    b2: Array  # (o, 1)


class Pass(NamedTuple):
    """The results of a forward pass, for m examples."""

    z1: Array  # (h, m)
    hidden: Array  # (h, m)
    z2: Array  # (o, m)
    prediction: Array  # (o, m)


def start(inputs: int, hidden: int, outputs: int, random: np.random.Generator) -> Layers:
    """Initialize normal weights, scaled by 1/√(inputs of the layer) so that no neuron starts saturated; biases 0."""
    return Layers(
        random.normal(0, inputs**-0.5, (hidden, inputs)),
        np.zeros((hidden, 1)),
        random.normal(0, hidden**-0.5, (outputs, hidden)),
        np.zeros((outputs, 1)),
    )


def forward(layers: Layers, x: Array) -> Pass:
    """Compute the forward pass of x (n, m); returns all intermediate results.

    Raises:
        ValueError: x does not have n rows.
    """
    if x.ndim != 2 or x.shape[0] != layers.w1.shape[1]:
        raise ValueError(
            f"forward: x {x.shape} does not fit weights {layers.w1.shape}; expected ({layers.w1.shape[1]}, m)"
        )
    z1 = layers.w1 @ x + layers.b1  # (h, n) @ (n, m) + (h, 1) = (h, m)
    hidden = sigmoid(z1)
    z2 = layers.w2 @ hidden + layers.b2  # (o, h) @ (h, m) + (o, 1) = (o, m)
    return Pass(z1, hidden, z2, sigmoid(z2))


def cost(prediction: Array, target: Array) -> float:
    """C = ½ Σ (ŷ - y)², both (o, m)."""
    return float(0.5 * np.sum((prediction - target) ** 2))


def output_error(prediction: Array, target: Array, z2: Array) -> Array:
    """Equation 1: δ² = (ŷ - y) ⊙ σ′(z²), (o, m)."""
    return (prediction - target) * sigmoid_derivative(z2)


def output_gradients(delta2: Array, hidden: Array) -> tuple[Array, Array]:
    """Equation 2: ∂C/∂W² = δ² hᵀ, (o, h), and ∂C/∂b² = δ² summed over the examples, (o, 1)."""
    return delta2 @ hidden.T, delta2.sum(axis=1, keepdims=True)  # (o, m) @ (m, h) sums over the m examples


def hidden_error(w2: Array, delta2: Array, z1: Array) -> Array:
    """Equation 3: δ¹ = (W²)ᵀ δ² ⊙ σ′(z¹), (h, m)."""
    return (w2.T @ delta2) * sigmoid_derivative(z1)


def hidden_gradients(delta1: Array, x: Array) -> tuple[Array, Array]:
    """Equation 4: ∂C/∂W¹ = δ¹ xᵀ, (h, n), and ∂C/∂b¹ = δ¹ summed over the examples, (h, 1)."""
    return delta1 @ x.T, delta1.sum(axis=1, keepdims=True)


def backpropagate(layers: Layers, x: Array, target: Array) -> Layers:
    """The gradients of the cost for all weights and biases, by the four equations, for x (n, m) and target (o, m).

    Raises:
        ValueError: x or target does not fit the network.
    """
    z1, hidden, z2, prediction = forward(layers, x)
    if target.shape != prediction.shape:
        raise ValueError(f"backpropagate: target {target.shape} does not fit the prediction, {prediction.shape}")
    delta2 = output_error(prediction, target, z2)
    grad_w2, grad_b2 = output_gradients(delta2, hidden)
    delta1 = hidden_error(layers.w2, delta2, z1)
    grad_w1, grad_b1 = hidden_gradients(delta1, x)
    return Layers(grad_w1, grad_b1, grad_w2, grad_b2)


def train(layers: Layers, x: Array, target: Array, learning_rate: float, epochs: int) -> tuple[Layers, list[float]]:
    """Full-batch gradient descent; returns the trained layers, and the cost before each step."""
    costs = []
    for _ in range(epochs):
        costs.append(cost(forward(layers, x).prediction, target))
        gradients = backpropagate(layers, x, target)
        layers = Layers(*(value - learning_rate * gradient for value, gradient in zip(layers, gradients, strict=True)))
    return layers, costs


def main() -> None:
    """Print every number of one example in a 2-3-1 network; then train the network on XOR."""
    layers = start(2, 3, 1, np.random.default_rng(1))
    x, target = np.array([[1.0], [0.5]]), np.array([[1.0]])
    results = forward(layers, x)
    delta2 = output_error(results.prediction, target, results.z2)
    delta1 = hidden_error(layers.w2, delta2, results.z1)
    gradients = Layers(*hidden_gradients(delta1, x), *output_gradients(delta2, results.hidden))
    with np.printoptions(precision=4, suppress=True):
        print(f"forward     x {_row(x)}, z¹ {_row(results.z1)}, h {_row(results.hidden)}")
        print(
            f"            z² {_row(results.z2)}, ŷ {_row(results.prediction)}, C {cost(results.prediction, target):.4f}"
        )
        print(f"equation 1  δ² {_row(delta2)}")
        print(f"equation 2  ∂C/∂W² {_row(gradients.w2)}, ∂C/∂b² {_row(gradients.b2)}")
        print(f"equation 3  δ¹ {_row(delta1)}")
        print(f"equation 4  ∂C/∂W¹ {_row(gradients.w1)}, ∂C/∂b¹ {_row(gradients.b1)}")
        pairs, xor = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 1.0, 0.0]])
        layers, costs = train(layers, pairs, xor, learning_rate=2.0, epochs=5000)
        print(f"XOR         cost {costs[0]:.4f} before, {costs[-1]:.4f} after {len(costs)} epochs; wanted {_row(xor)}")
        print(f"            the network says {_row(forward(layers, pairs).prediction)}")


def _row(numbers: Array) -> str:
    """Format a matrix on one line; a column is printed as a row."""
    return str(numbers.T[0] if numbers.shape[1] == 1 else numbers).replace("\n", "")


if __name__ == "__main__":
    main()
