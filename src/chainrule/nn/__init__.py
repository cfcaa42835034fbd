"""Networks: modules, layers, activations, losses, and how weights start. Names are PyTorch's."""

from chainrule.nn import functional, init, utils
from chainrule.nn.activations import (
    ELU,
    GELU,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from chainrule.nn.attention import Embedding, MultiheadAttention, TransformerEncoderLayer
from chainrule.nn.containers import Identity, ModuleDict, ModuleList, ParameterList, Sequential
from chainrule.nn.convolution import Conv1d, Conv2d, ConvTranspose2d
from chainrule.nn.layers import Dropout, Dropout2d, Flatten, Linear, Unflatten
from chainrule.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from chainrule.nn.module import Module, Parameter
from chainrule.nn.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from chainrule.nn.pooling import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    CircularPad2d,
    MaxPool2d,
    ReflectionPad2d,
    ReplicationPad2d,
    ZeroPad2d,
)

__all__ = [
    "ELU", "GELU", "AdaptiveAvgPool2d", "AvgPool2d", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d",
    "BatchNorm2d", "CircularPad2d", "Conv1d", "Conv2d", "ConvTranspose2d", "CrossEntropyLoss", "Dropout",
    "Dropout2d", "Embedding", "Flatten", "GroupNorm", "Hardtanh", "HuberLoss", "Identity", "KLDivLoss",
    "L1Loss", "LayerNorm", "LeakyReLU", "Linear", "LogSigmoid", "LogSoftmax", "MSELoss", "MaxPool2d", "Module",
    "ModuleDict", "ModuleList", "MultiheadAttention", "NLLLoss", "Parameter", "ParameterList", "RMSNorm",
    "ReLU", "ReflectionPad2d", "ReplicationPad2d", "Sequential", "SiLU", "Sigmoid", "SmoothL1Loss", "Softmax",
    "Softplus", "Tanh", "TransformerEncoderLayer", "Unflatten", "ZeroPad2d", "functional", "init", "utils",
]  # fmt: skip
