"""SGD and Adam in the form that scikit-learn gives them.

`optim.SGD` and `optim.Adam` have PyTorch's form. SGD with momentum differs in its results when the learning rate
changes, Adam by the term that epsilon is added to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.lower.eager import update
from chainrule.optim import Adam, Optimizer

if TYPE_CHECKING:
    from chainrule.optim.optimizer import Array, Parameters


class VelocitySGD(Optimizer):
    """v ← momentum v - lr g; then w ← w + v or, with Nesterov, w ← w + momentum v - lr g.

    In `optim.SGD` the velocity is a sum of gradients, scaled by the current learning rate. Here each gradient is
    scaled by the learning rate of its own step.

    Args:
        params: the parameters.
        lr: the learning rate.
        momentum: decay factor of the velocity, from 0 to 1.
        nesterov: add the gradient's step to the decayed new velocity.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning (2013), equations 1
    to 4.
    """

    not_negative = ("lr", "momentum")

    def __init__(self, params: Parameters, lr: float = 1e-3, momentum: float = 0.9, nesterov: bool = True) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov})

    def start(self, value: Array, group: dict[str, Any]) -> dict[str, Any]:
        """Return the initial velocity, 0."""
        return {"velocity": np.zeros_like(value)}

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        lookahead = group["momentum"] if group["nesterov"] else None
        update(_velocity_sgd, [value, state["velocity"]], [gradient], group["momentum"], lookahead, group["lr"])


def _velocity_sgd(weight: Any, velocity: Any, gradient: Any, momentum: Any, lookahead: Any, rate: Any) -> Any:
    """Return the new weight and velocity; `lookahead` is the momentum with Nesterov, else None."""
    velocity = momentum * velocity - rate * gradient
    change = velocity if lookahead is None else lookahead * velocity - rate * gradient
    return weight + change, velocity


class EpsilonHatAdam(Adam):
    """Adam with epsilon added to √v before its bias is corrected, not after.

    Source: Kingma and Ba, Adam: a method for stochastic optimization (2015), the last paragraph of section 2, where
    this epsilon is written ε̂.
    """

    def update(self, value: Array, gradient: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter."""
        bias_correction = (1 - group["betas"][1] ** (state["step"] + 1)) ** -0.5
        super().update(value, gradient, state, {**group, "eps": group["eps"] * bias_correction})


KINDS: dict[str, type[VelocitySGD | EpsilonHatAdam]] = {
    "adam": EpsilonHatAdam,
    "sgd": VelocitySGD,
    "lbfgs": VelocitySGD,  # not used: SciPy changes the parameters
}
"""The optimizer of each solver."""
