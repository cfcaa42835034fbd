"""Networks: modules, layers, activations, losses, and how weights start. Names are PyTorch's."""

from chainrule.nn import functional, init, utils
from chainrule.nn.activations import LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from chainrule.nn.layers import Dropout, Flatten, Linear, Sequential
from chainrule.nn.losses import CrossEntropyLoss, MSELoss
from chainrule.nn.module import Module, Parameter

__all__ = [
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "functional",
    "init",
    "utils",
]
