"""Conversion between PyTorch and chainrule modules: `from_torch(module)` and `to_torch(module)`.

    from chainrule.torch import from_torch, to_torch  # needs PyTorch: pip install 'chainrule[torch]'

Both libraries use the same names, so one rule covers nearly everything: a module is converted to the class of the same
name. It is built with the options of chainrule's class, each read from the attribute of that name; then its submodules
are converted recursively, and its parameters and buffers copied. The tables below list the exceptions. Anything else is
an error that names the module.

Single tensors need no conversion function: `chainrule.tensor(torch_tensor.numpy())` and
`torch.from_dlpack(chainrule_tensor)` suffice.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn
from chainrule.random import default_generator
from chainrule.tensor import Tensor, from_numpy

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":  # PyTorch is installed, but broken
        raise
    raise ImportError("chainrule.torch needs PyTorch, which is not installed: pip install 'chainrule[torch]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

__all__ = ["from_torch", "to_torch"]

_ATTRIBUTES = {  # options stored in an attribute of another name; "Class.option" takes precedence over "option"
    "affine": "weight",
    "elementwise_affine": "weight",
    "track_running_stats": "running_mean",
    "MultiheadAttention.bias": "in_proj_bias",
    "TransformerEncoderLayer.d_model": "self_attn.embed_dim",
    "TransformerEncoderLayer.nhead": "self_attn.num_heads",
    "TransformerEncoderLayer.batch_first": "self_attn.batch_first",
    "TransformerEncoderLayer.dim_feedforward": "linear1.out_features",
    "TransformerEncoderLayer.dropout": "dropout.p",
    "TransformerEncoderLayer.layer_norm_eps": "norm1.eps",
    "TransformerEncoderLayer.bias": "linear1.bias",
}
# Options that only chainrule has. They are not passed on: the dtype is that of the copied parameters, and the libraries
# draw different random numbers in any case.
_CHAINRULE_ONLY = {"generator", "dtype"}
# Options of PyTorch whose values do not matter: `inplace` does not change the result, and the others follow from the
# parameters.
_IGNORED = {"inplace", "bias", "kdim", "vdim"}
_TYPES = {"float32", "float64", "int64"}


def from_torch(module: torch.nn.Module) -> nn.Module:
    """Convert a PyTorch module to chainrule, with copies of the parameters and buffers.

    Dtypes, `requires_grad`, `training` and sharing between modules are preserved. Gradients are not copied, nor are
    `inplace` and `generator`, which only one of the libraries has.

    Args:
        module: a module of PyTorch's own classes, on the CPU, in float32 or float64.

    Raises:
        TypeError: not a PyTorch module.
        ValueError: a class or option that chainrule does not have, hooks, another dtype or device, or different
            parameters that share memory; the message names the module.
    """
    converted: nn.Module = _Conversion("from_torch", _PYTORCH, _CHAINRULE).run(module)
    return converted


def to_torch(module: nn.Module) -> torch.nn.Module:
    """Convert a chainrule module to PyTorch, with copies of the parameters and buffers.

    The rules and limits of `from_torch` apply.

    Raises:
        TypeError: not a chainrule module.
        ValueError: as for `from_torch`.
    """
    return _Conversion("to_torch", _CHAINRULE, _PYTORCH).run(module)


@dataclass(frozen=True)
class _Library:
    """One of the two libraries, with the functions in which they differ.

    Attributes:
        name: for messages.
        nn: the module that defines the layers.
        tensor: creates a tensor from an array.
        children: the direct submodules of a module, by name, including duplicates.
        tensors: the direct parameters and buffers of a module, by name.
        no_draws: returns a context in which the construction of modules leaves the random state unchanged.
    """

    name: str
    nn: Any
    tensor: Callable[[NDArray[Any]], Any]
    children: Callable[[Any], dict[str, Any]]
    tensors: Callable[[Any], dict[str, Any]]
    no_draws: Callable[[], AbstractContextManager[Any]]


def _own_tensors(module: nn.Module) -> dict[str, Any]:
    """Return the direct parameters and buffers of a module, by name."""
    return {k: v for k, v in vars(module).items() if isinstance(v, nn.Parameter) or k in module._buffers}


@contextmanager
def _restore_generator() -> Iterator[None]:
    """Restore the default generator's state afterwards."""
    bits = default_generator().bit_generator
    initial_state = bits.state
    try:
        yield
    finally:
        bits.state = initial_state


_CHAINRULE = _Library("chainrule", nn, from_numpy, lambda m: dict(m._all_children()), _own_tensors, _restore_generator)
_PYTORCH = _Library(
    "PyTorch",
    torch.nn,
    torch.from_numpy,
    lambda m: m._modules,
    lambda m: {**m._parameters, **m._buffers},
    lambda: torch.device("meta"),  # parameters without memory, until they are replaced
)


class _Conversion:
    """One conversion, with the modules and tensors converted so far, so that sharing is preserved."""

    def __init__(self, call: str, source: _Library, target: _Library) -> None:
        self.call, self.source, self.target = call, source, target
        self.modules: dict[int, Any] = {}  # by id of the original
        self.tensors: dict[int, Any] = {}
        self.memory: list[tuple[str, NDArray[Any]]] = []  # arrays of the originals, with their paths

    def run(self, module: Any) -> Any:
        """Convert the outermost module."""
        if not isinstance(module, self.source.nn.Module):
            raise TypeError(f"{self.call}: takes a {self.source.name} module, not {type(module).__name__}")
        converted = self.convert_module(module, "")
        state = converted.state_dict()
        for entry in module.state_dict():
            if entry not in state:
                raise self.fault("", type(module).__name__, f"{self.target.name}'s module has no {entry!r}")
        return converted

    def fault(self, path: str, kind: str, why: str) -> ValueError:
        """Return the error for a module that cannot be converted: `kind` is its class name, `why` the reason."""
        return ValueError(f"{self.call}: {f'module {path!r}' if path else 'the module'}, {kind}: {why}")

    def convert_module(self, module: Any, path: str, replaces: Any = None) -> Any:
        """Convert a module, once. `replaces` is what the enclosing module has created under this name, or None."""
        if id(module) in self.modules:
            return self.modules[id(module)]
        kind = self.class_name(module, path)
        build = getattr(self.target.nn, kind)
        if isinstance(replaces, build):  # the enclosing module may have created a subclass
            build = type(replaces)
        options = self.read_options(module, path, kind)
        try:
            with self.target.no_draws():
                converted = build(**options)
        except (TypeError, ValueError) as error:
            raise self.fault(path, kind, str(error)) from error
        self.modules[id(module)] = converted
        for name, child in self.source.children(module).items():
            child_path = f"{path}.{name}" if path else name
            if not self.can_hold(converted, name):
                raise self.fault(child_path, type(child).__name__, f"{self.target.name}'s {kind} cannot hold {name!r}")
            setattr(converted, name, self.convert_module(child, child_path, replaces=getattr(converted, name, None)))
        for name in self.source.tensors(module) | self.target.tensors(converted):
            if hasattr(converted, name):
                setattr(converted, name, self.convert_tensor(getattr(module, name, None), path, kind, name))
        converted.training = module.training
        if hasattr(module, "track_running_stats"):  # may have changed since construction
            converted.track_running_stats = module.track_running_stats
        return converted

    def can_hold(self, module: Any, name: str) -> bool:
        """Return whether a submodule can have this name: it replaces a submodule, or is added to a container."""
        library = self.target.nn
        if isinstance(getattr(module, name, None), library.Module):
            return True
        is_container = isinstance(module, (library.Sequential, library.ModuleList, library.ModuleDict))
        return is_container and not hasattr(module, name) and "." not in name

    def class_name(self, module: Any, path: str) -> str:
        """Return the name of the module's class, if both libraries have it and nothing overrides its behavior."""
        cls: Any = type(module)
        if cls is torch.nn.modules.linear.NonDynamicallyQuantizableLinear:
            cls = torch.nn.Linear
        kind: str = cls.__name__
        if torch.nn.utils.parametrize.is_parametrized(module):
            names = ", ".join(module.parametrizations)
            remedy = "call torch.nn.utils.parametrize.remove_parametrizations first"
            raise self.fault(path, kind, f"has parametrizations, of {names}; {remedy}")
        if getattr(self.source.nn, kind, None) is not cls or not hasattr(self.target.nn, kind):
            why = f"{self.target.name} has no such class; copy weights alone with state_dict() and load_state_dict()"
            raise self.fault(path, kind, why)
        functions = [n for n, value in vars(module).items() if n == "forward" or (n[-6:] == "_hooks" and value)]
        if functions:
            raise self.fault(path, kind, f"has functions, which cannot be converted: {', '.join(functions)}")
        return kind

    def read_options(self, module: Any, path: str, kind: str) -> dict[str, Any]:
        """Return the options with which to build the module's counterpart."""
        own_options, torch_options = (
            inspect.signature(getattr(library, kind)).parameters for library in (nn, torch.nn)
        )
        options = {
            name: self.read_option(module, path, kind, option)
            for name, option in own_options.items()
            if name not in _CHAINRULE_ONLY | {"modules"} and option.kind is option.POSITIONAL_OR_KEYWORD
        }
        for name, option in torch_options.items():
            value = getattr(module, name, option.default)
            if name not in {*own_options, *_IGNORED} and value != option.default:
                raise self.fault(path, kind, f"{name}={value!r} has no counterpart in chainrule")
        return options

    def read_option(self, module: Any, path: str, kind: str, option: inspect.Parameter) -> Any:
        """Read one option from the module, converted if it is a tensor, a module or an activation function."""
        name = option.name
        if kind == "ParameterList":
            return [self.convert_tensor(value, path, kind, str(i)) for i, value in enumerate(module)]
        if name == "kernel_size" and not hasattr(module, name):  # chainrule's convolutions
            return tuple(module.weight.shape[2:])
        attribute = _ATTRIBUTES.get(f"{kind}.{name}", _ATTRIBUTES.get(name, name))
        try:
            value = attrgetter(attribute)(module)
        except AttributeError:
            raise self.fault(path, kind, f"has no {attribute}, from which to read {name}") from None
        is_tensor = isinstance(value, (Tensor, torch.Tensor))
        if isinstance(option.default, bool):
            # the attribute is the flag itself, or a tensor such as the bias, which is None without the option
            return value is not None if is_tensor or value is None else value
        if is_tensor:
            return self.convert_tensor(value, path, kind, name)
        if isinstance(value, self.source.nn.Module):
            return self.convert_module(value, f"{path}.{name}" if path else name)
        if callable(value):
            function = next((n for n in ("relu", "gelu") if value is getattr(self.source.nn.functional, n)), None)
            if function is None:
                raise self.fault(path, kind, f"{name}={value!r} is a function, which cannot be converted")
            return function
        type_name = "None" if value is None else type(value).__name__
        # `option.annotation` is a string, such as "float | None"
        if type_name in ("None", "str") and type_name not in option.annotation:
            raise self.fault(path, kind, f"{name}={value!r} has no counterpart in chainrule")
        return value

    def convert_tensor(self, tensor: Any, path: str, kind: str, name: str) -> Any:
        """Convert the tensor `name` of a module, once; None stays None."""
        if tensor is None or id(tensor) in self.tensors:
            return self.tensors.get(id(tensor))
        reason = self.refusal_reason(tensor)
        if reason:
            raise self.fault(path, kind, f"{name} {reason}")
        array, tensor_path = tensor.detach().numpy(), f"{path}.{name}" if path else name
        for other, memory in self.memory:
            if np.shares_memory(array, memory):
                raise self.fault(path, kind, f"{tensor_path} and {other} share memory without being the same parameter")
        self.memory.append((tensor_path, array))
        converted = self.target.tensor(array.copy())
        if isinstance(tensor, self.source.nn.Parameter):
            converted = self.target.nn.Parameter(converted, requires_grad=tensor.requires_grad)
        self.tensors[id(tensor)] = converted
        return converted

    def refusal_reason(self, tensor: Any) -> str | None:
        """Return why a tensor cannot be converted, or None."""
        if not isinstance(tensor, (Tensor, torch.Tensor)):
            return f"is a {type(tensor).__name__}, not a parameter"
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _TYPES:
            return f"is {dtype}: only float32 and float64 (and int64 buffers) can be converted"
        if isinstance(tensor, Tensor):
            return "has hooks, which cannot be converted" if tensor._node is not None and tensor._node.hooks else None
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
            return f"is on {tensor.device}, {tensor.layout}: only dense tensors on the CPU can be converted"
        if tensor._backward_hooks or tensor._post_accumulate_grad_hooks:
            return "has hooks, which cannot be converted"
        return None
