"""chainrule: a neural-network library on NumPy that you can read in an afternoon and then go on using.

    import chainrule
    from chainrule import nn, optim

    x = chainrule.tensor([1.0, 2.0], requires_grad=True)
    (x**2).sum().backward()
    x.grad  # tensor([2., 4.], shape=(2,))

Names are PyTorch's. Where to read on: `ops` holds the mathematics, `autograd` the chain rule, `tensor` the Tensor,
`nn` and `optim` networks and how they learn, `training` the loop, `data` the digits.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if not getattr(sys, "_is_gil_enabled", lambda: True)():  # exists since Python 3.13; chainrule relies on the GIL
    raise ImportError(
        "chainrule needs Python's global lock, which this free-threaded Python runs without: set PYTHON_GIL=1"
    )

# OpenBLAS's threads spin for 25 ms after each product, and compete with chainrule's own (kernels.team) for the cores:
# 2²⁰ clock ticks, 0.4 ms, are enough. Takes effect only if NumPy has not been imported before.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")

# `import A as A` tells type checkers that a name is re-exported; names imported by `*` are re-exported, too
from chainrule import safetensors_io as weights
from chainrule.habits import PACKAGE_HINTS, no_attribute
from chainrule.kernels.memory import keep_freed_memory
from chainrule.ops import *

from chainrule import (  # isort: skip
    autograd as autograd, cuda as cuda, func as func, nn as nn, ops as ops, optim as optim,
)  # fmt: skip
from chainrule.autograd import (  # isort: skip
    enable_grad as enable_grad, grad as grad, is_grad_enabled as is_grad_enabled, no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
)  # fmt: skip
from chainrule.creation import (  # isort: skip
    arange as arange, eye as eye, full as full, linspace as linspace, ones as ones, ones_like as ones_like,
    rand as rand, randint as randint, randn as randn, zeros as zeros, zeros_like as zeros_like,
)  # fmt: skip
from chainrule.devices import device as device  # isort: skip
from chainrule.kernels.team import set_num_threads as set_num_threads  # isort: skip
from chainrule.plots.graph_text import draw as draw  # isort: skip
from chainrule.random import default_generator as default_generator, manual_seed as manual_seed  # isort: skip
from chainrule.safetensors_io import load as load, save as save  # isort: skip
from chainrule.tensor import (  # isort: skip
    Tensor as Tensor, as_tensor as as_tensor, from_numpy as from_numpy, tensor as tensor,
)  # fmt: skip

if TYPE_CHECKING:
    from chainrule import data as data, distributed as distributed, images as images, models as models  # isort: skip
    from chainrule import plots as plots, text as text, training as training  # isort: skip
    from chainrule.capture import jit as jit  # isort: skip
    from chainrule.models.summary import summary as summary  # isort: skip

keep_freed_memory()
sys.modules["chainrule.weights"] = weights  # the old name, which warning filters for its ChecksumWarning may hold
vars(autograd)["draw"] = draw  # where it was in version 0.1
put, replace, NUMPY = ops.put, ops.replace, ops.NUMPY  # former names of parts of `ops`

__version__ = "0.2.0"

_LATER = (
    "data",
    "distributed",
    "images",
    "models",
    "plots",
    "text",
    "training",
)  # imported at their first use, to keep `import chainrule` fast
_FUNCTIONS = {"jit": "chainrule.capture", "summary": "chainrule.models.summary"}  # likewise


if not TYPE_CHECKING:  # with `__getattr__`, type checkers would accept any misspelled name

    def __getattr__(name: str) -> Any:
        if name in _LATER:
            return importlib.import_module(f"chainrule.{name}")
        if name in _FUNCTIONS:
            globals()[name] = getattr(importlib.import_module(_FUNCTIONS[name]), name)
            return globals()[name]
        modules = ("nn", "nn.functional", "optim")
        owner = next((path for path in modules if hasattr(sys.modules[f"chainrule.{path}"], name)), None)
        hint = PACKAGE_HINTS.get(name, owner and f"use chainrule.{owner}.{name}")
        raise no_attribute("module 'chainrule'", name, sys.modules[__name__], hint)

    __all__ = [
        "Tensor", "arange", "as_tensor", "autograd", "cuda", "data", "default_generator", "device", "distributed",
        "draw", "enable_grad", "eye", "from_numpy", "full", "func", "grad", "images", "is_grad_enabled", "jit",
        "linspace", "load", "manual_seed", "models", "nn", "no_grad", "ones", "ones_like", "ops", "optim", "plots",
        "rand", "randint", "randn", "save", "set_grad_enabled", "set_num_threads", "summary", "tensor", "text",
        "training", "zeros", "zeros_like",
    ]  # fmt: skip
    __all__ += ops.__all__
