"""chainrule: a neural-network library on NumPy that you can read in an afternoon and then go on using.

    import chainrule
    from chainrule import nn, optim

    x = chainrule.tensor([1.0, 2.0], requires_grad=True)
    (x**2).sum().backward()
    x.grad  # tensor([2., 4.])

Names are PyTorch's. Where to read on: `ops` holds the mathematics, `autograd` the chain rule, `tensor` the Tensor,
`nn` and `optim` networks and how they learn, `training` the loop, `data` the digits.
"""

import importlib
from typing import TYPE_CHECKING, Any

from chainrule import autograd, nn, ops, optim
from chainrule.autograd import enable_grad, grad, is_grad_enabled, no_grad, set_grad_enabled
from chainrule.creation import arange, eye, full, linspace, ones, ones_like, rand, randint, randn, zeros, zeros_like
from chainrule.ops import (
    abs,
    add,
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    broadcast_to,
    div,
    eq,
    exp,
    flatten,
    ge,
    gt,
    isfinite,
    le,
    log,
    lt,
    matmul,
    maximum,
    mean,
    minimum,
    mul,
    ne,
    neg,
    permute,
    pow,
    relu,
    reshape,
    sigmoid,
    sign,
    softmax,
    sqrt,
    squeeze,
    sub,
    sum,
    tanh,
    transpose,
    unsqueeze,
    where,
)
from chainrule.random import default_generator, manual_seed
from chainrule.tensor import Tensor, as_tensor, from_numpy, tensor

if TYPE_CHECKING:
    from chainrule import data, images, models, plots, training

__version__ = "0.1.0"

_LATER = (
    "data",
    "images",
    "models",
    "plots",
    "training",
)  # loaded when first asked for, so that the import stays light


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f"chainrule.{name}")
    raise AttributeError(f"module 'chainrule' has no attribute {name!r}")


__all__ = [
    "Tensor",
    "abs",
    "add",
    "all",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "as_tensor",
    "autograd",
    "broadcast_to",
    "data",
    "default_generator",
    "div",
    "enable_grad",
    "eq",
    "exp",
    "eye",
    "flatten",
    "from_numpy",
    "full",
    "ge",
    "grad",
    "gt",
    "images",
    "is_grad_enabled",
    "isfinite",
    "le",
    "linspace",
    "log",
    "lt",
    "manual_seed",
    "matmul",
    "maximum",
    "mean",
    "minimum",
    "models",
    "mul",
    "ne",
    "neg",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "permute",
    "plots",
    "pow",
    "rand",
    "randint",
    "randn",
    "relu",
    "reshape",
    "set_grad_enabled",
    "sigmoid",
    "sign",
    "softmax",
    "sqrt",
    "squeeze",
    "sub",
    "sum",
    "tanh",
    "tensor",
    "training",
    "transpose",
    "unsqueeze",
    "where",
    "zeros",
    "zeros_like",
]
