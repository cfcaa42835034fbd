"""Names of other libraries that are missing here, and what to write instead, for the message of an error.

PyTorch's own names that are absent, and those of NumPy, Keras, tinygrad and scikit-learn that users type by habit.
"""

from __future__ import annotations

_ONLY_CPU = "leave it out: tensors are always on the CPU"

PACKAGE = {
    **dict.fromkeys(
        ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"),
        "types are NumPy's: use numpy.{name}",
    ),
    **{
        name: f"types are NumPy's: use numpy.{numpy_name}"
        for name, numpy_name in {"float": "float32", "double": "float64", "long": "int64", "half": "float16"}.items()
    },
    "Generator": "use numpy.random.default_rng(seed)",
    "seed": "use chainrule.manual_seed(seed)",
    "utils": "use chainrule.data for data sets and loaders, chainrule.nn.utils for clipping gradients",
    "compile": "use chainrule.jit(function)",
    "backends": _ONLY_CPU,
    "mps": _ONLY_CPU,
    **{
        name: f"use chainrule.{ours}"
        for name, ours in {
            "absolute": "abs", "concat": "cat", "concatenate": "cat", "divide": "div", "multiply": "mul",
            "subtract": "sub", "negative": "neg", "clip": "clamp", "array": "tensor", "Parameter": "nn.Parameter",
            "functional": "nn.functional", "DataLoader": "data.DataLoader", "TensorDataset": "data.TensorDataset",
            "Trainer": "training.Trainer",
        }.items()
    },
}  # fmt: skip
"""What is no attribute of the package `chainrule`."""

TENSOR_CLASS = {
    **dict.fromkeys(
        ("arange", "as_tensor", "cat", "eye", "full", "from_numpy", "linspace", "ones", "rand", "randint", "randn"),
        "use chainrule.{name}(...)",
    ),
    **dict.fromkeys(("stack", "zeros"), "use chainrule.{name}(...)"),
    "uniform": "use chainrule.rand(...)",
    "normal": "use chainrule.randn(...)",
    "manual_seed": "use chainrule.manual_seed(seed)",
}
"""What is no attribute of the class `Tensor`."""

TENSOR = {
    "astype": "use to(dtype)",
    "type": "use to(dtype)",
    "cast": "use to(dtype)",
    "half": "use to(numpy.float16)",
    "int": "use to(numpy.int32)",
    "copy": "use clone()",
    "assign": "use copy_(values)",
    "array": "use numpy()",
    "values": "use numpy()",
    "realize": "leave it out: every operation runs at once",
    "zero_grad": "use optimizer.zero_grad(), or tensor.grad = None",
    "ndimension": "use ndim",
    "nelement": "use numel()",
    "clip": "use clamp(min, max)",
    "concat": "use chainrule.cat([...])",
}
"""What is no attribute of a Tensor."""

MODULE = {
    "save": 'use chainrule.save(model.state_dict(), "model.safetensors")',
    "load": 'use model.load_state_dict(chainrule.load("model.safetensors"))',
    "fit": "use chainrule.training.Trainer, or a loop over a DataLoader",
    "predict": "call the module: model(inputs)",
    "compile": "use chainrule.jit(function)",
    "add": "use append(module)",
    "add_module": "assign it: model.name = module",
    "register_module": "assign it: model.name = module",
    "register_parameter": "assign it: model.name = nn.Parameter(...)",
    "half": "use to(numpy.float16)",
    "get_parameters": "use parameters()",
    "weights": "use parameters() or state_dict()",
}
"""What is no attribute of a Module."""


def no_attribute(owner: str, name: str, obj: object, instead: str | None) -> AttributeError:
    """Return the error for a missing attribute, with what to use instead if that is known.

    Args:
        owner: what has no such attribute, as Python says it.
        name: the attribute.
        obj: the object, in which Python looks for a similar name.
        instead: what to use instead.
    """
    hint = f": {instead.format(name=name)}" if instead else ""
    message = f"{owner} has no attribute {name!r}{hint}"
    return AttributeError(message) if instead else AttributeError(message, name=name, obj=obj)
