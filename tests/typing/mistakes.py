"""Mistakes that type checkers find: a line with an `error` comment must have errors of that kind, other lines none.

`scripts/check_types.py`, which `make lint` calls, compares. This file is never run.
"""
# pyright: standard

import chainrule
import chainrule.nn.functional as F  # noqa: N812
from chainrule import Tensor, data, nn, ops, optim, plots
from chainrule.ops import operation

x = chainrule.rand(2, 3)

# Names that do not exist
chainrule.tahn(x)  # error: reportAttributeAccessIssue
chainrule.losses.mse_loss(x, x)  # error: reportAttributeAccessIssue
ops.softmaxx(x, dim=1)  # error: reportAttributeAccessIssue
F.crossentropy(x, x)  # error: reportAttributeAccessIssue
nn.Liner(2, 3)  # error: reportAttributeAccessIssue
optim.Adams([x])  # error: reportAttributeAccessIssue
plots.curve([])  # error: reportAttributeAccessIssue
data.minst()  # error: reportAttributeAccessIssue
x.sofmax(1)  # error: reportAttributeAccessIssue
x.requires_gradient = True  # error: reportAttributeAccessIssue

# Unknown and missing arguments
chainrule.softmax(x, axis=1)  # error: reportCallIssue
chainrule.tanh(x, 1)  # error: reportCallIssue
chainrule.tanh()  # error: reportCallIssue
ops.logsumexp(x)  # error: reportCallIssue
x.sum(axis=0)  # error: reportCallIssue
x.sum(0, keepdims=True)  # error: reportCallIssue
x.var(ddof=1)  # error: reportCallIssue
x.add_(1, 2, 3)  # error: reportCallIssue
F.cross_entropy(x, x, smoothing=0.1)  # error: reportCallIssue
F.dropout(x, probability=0.5)  # error: reportCallIssue
nn.Linear(2)  # error: reportCallIssue
nn.Linear(2, 3, biass=False)  # error: reportCallIssue
nn.LeakyReLU(slope=0.1)  # error: reportCallIssue
nn.CrossEntropyLoss(smoothing=0.1)  # error: reportCallIssue
nn.Linear(2, 3)(x, x)  # error: reportCallIssue
nn.MSELoss()(x)  # error: reportCallIssue
optim.Adam([x], learning_rate=0.1)  # error: reportCallIssue
data.DataLoader(data.TensorDataset(x), batches=3)  # error: reportCallIssue
chainrule.zeros(2, dtypes=float)  # error: reportCallIssue

# Values of the wrong kind
chainrule.tanh("text")  # error: reportArgumentType
chainrule.softmax(x, dim="rows")  # error: reportArgumentType
chainrule.relu([1.0, 2.0])  # error: reportArgumentType
chainrule.maximum(x, 1.0)  # error: reportArgumentType
chainrule.clamp(x, "low")  # error: reportArgumentType
x.sum(0.5)  # error: reportArgumentType
x.sum(keepdim="yes")  # error: reportArgumentType
x.reshape("2")  # error: reportArgumentType
print(x + "text")  # error: reportOperatorIssue
F.cross_entropy(x, None)  # error: reportArgumentType
F.mse_loss(x, x, reduction=None)  # error: reportArgumentType
nn.Linear("2", 3)  # error: reportArgumentType
nn.Linear(2, 3)("text")  # error: reportArgumentType
nn.Sequential(nn.ReLU, F.relu)  # error: reportArgumentType
optim.SGD([x], lr="fast")  # error: reportArgumentType
chainrule.jit(3)  # error: reportArgumentType
number: float = chainrule.tanh(x)  # error: reportAssignmentType


class Net(nn.Module):
    """A module with a signature of its own."""

    def forward(self, image: Tensor, scale: float = 1.0) -> Tensor:
        """The image, scaled."""
        return image * scale


Net()(x, scales=2.0)  # error: reportCallIssue
Net()(x, scale="big")  # error: reportArgumentType
Net()()  # error: reportCallIssue
Net()(x).sofmax()  # error: reportAttributeAccessIssue


@chainrule.jit
def step(image: Tensor, rate: float) -> Tensor:
    """A step."""
    return image * rate


step(x)  # error: reportCallIssue
step(x, speed=1.0)  # error: reportCallIssue
step(x, "fast")  # error: reportArgumentType
step.explanation()  # error: reportAttributeAccessIssue


@chainrule.no_grad()
def measured(image: Tensor) -> float:
    """A number."""
    return image.mean()  # error: reportReturnType


measured(x, x)  # error: reportCallIssue


@operation
def cube(input: Tensor, *, scale: float = 1.0) -> Tensor:
    """x³."""
    return input**3 * scale


cube(x, factor=2.0)  # error: reportCallIssue
cube(x, scale=None)  # error: reportArgumentType


@operation(promotes="floating")  # error: reportCallIssue
def quartic(input: Tensor) -> Tensor:
    """x⁴."""
    return input**4
