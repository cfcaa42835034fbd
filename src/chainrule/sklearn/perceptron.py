"""The multi-layer perceptron as scikit-learn keeps it: weights of shape (inputs, outputs), and intercepts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from chainrule import ops
from chainrule.nn import Module, Parameter
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from chainrule.tensor import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "logistic": ops.sigmoid,
    "relu": ops.relu,
    "tanh": ops.tanh,
}
"""The activations of hidden layers by scikit-learn's names."""


class Perceptron(Module):
    """x ← activation(x W + b) for each layer; the last one has no activation.

    Args:
        coefs: the weights of each layer, (inputs, outputs); the parameters share their memory.
        intercepts: the biases of each layer, (outputs,).
        activation: the activation of the hidden layers.
    """

    def __init__(
        self, coefs: Sequence[NDArray[Any]], intercepts: Sequence[NDArray[Any]], activation: Callable[[Tensor], Tensor]
    ) -> None:
        self.activation = activation
        self.coefs = [Parameter(from_numpy(array)) for array in coefs]
        self.intercepts = [Parameter(from_numpy(array)) for array in intercepts]

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, outputs) of examples (N, inputs)."""
        last = len(self.coefs) - 1
        for layer, (weight, bias) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            x = x @ weight + bias
            if layer != last:
                x = self.activation(x)
        return x


def initial_layers(
    units: Sequence[int], activation: str, dtype: Any, random_state: np.random.RandomState
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Draw weights and biases uniformly from ±√(6 / (inputs + outputs)), or ±√(2 / ...) for the logistic activation.

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks (2010).
    """
    coefs, intercepts = [], []
    for inputs, outputs in pairwise(units):
        bound = ((2 if activation == "logistic" else 6) / (inputs + outputs)) ** 0.5
        coefs.append(random_state.uniform(-bound, bound, (inputs, outputs)).astype(dtype))
        intercepts.append(random_state.uniform(-bound, bound, outputs).astype(dtype))
    return coefs, intercepts
