"""Hints for names that users of other libraries type by habit: what to write instead, for an error message.

The names are those of PyTorch that chainrule does not have, and some of NumPy, Keras, tinygrad and scikit-learn. In a
hint, {name} stands for the missing name.
"""

from __future__ import annotations

_ONLY_CPU = "leave it out: tensors are always on the CPU"

PACKAGE_HINTS = {
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
"""Hints for attributes that the package `chainrule` does not have."""

TENSOR_CLASS_HINTS = {
    **dict.fromkeys(
        (
            "arange", "as_tensor", "cat", "eye", "full", "from_numpy", "linspace", "ones", "rand", "randint", "randn",
            "stack", "zeros",
        ),
        "use chainrule.{name}(...)",
    ),
    "uniform": "use chainrule.rand(...)",
    "normal": "use chainrule.randn(...)",
    "manual_seed": "use chainrule.manual_seed(seed)",
}  # fmt: skip
"""Hints for attributes that the class `Tensor` does not have."""

TENSOR_HINTS = {
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
"""Hints for attributes that a Tensor does not have."""

MODULE_HINTS = {
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
"""Hints for attributes that a Module does not have."""


def no_attribute(owner: str, name: str, obj: object, hint: str | None) -> AttributeError:
    """Return the error for a missing attribute, with a hint what to use instead.

    Args:
        owner: the description of the object in Python's own message, such as "module 'chainrule'".
        name: the attribute.
        obj: the object; without a hint, Python looks in it for a similar name.
        hint: what to use instead, or None.
    """
    if hint:
        return AttributeError(f"{owner} has no attribute {name!r}: {hint.format(name=name)}")
    return AttributeError(f"{owner} has no attribute {name!r}", name=name, obj=obj)
