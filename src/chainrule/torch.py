"""To and from PyTorch: `from_torch(module)` gives the same network in chainrule, `to_torch(module)` goes the other way.

    from chainrule.torch import from_torch, to_torch  # needs PyTorch: pip install 'chainrule[torch]'

As names here are PyTorch's, one rule does nearly all of it: a module becomes one of the other library's class of that
name. It is built with the options that our class takes, each read from the attribute of its name; then it is given
the modules inside, converted in their turn, and copies of the parameters and buffers. The tables below are the
exceptions. Whatever cannot cross is an error that names the module.

Single tensors need no help: `chainrule.tensor(theirs.numpy())` and `torch.from_dlpack(ours)`.
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
    if error.name != "torch":  # PyTorch is there, but broken
        raise
    raise ImportError("chainrule.torch needs PyTorch, which is not installed: pip install 'chainrule[torch]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

__all__ = ["from_torch", "to_torch"]

_KEPT_AS = {  # where modules keep an option that has no attribute of its own name; "Class.option" comes before "option"
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
_OURS_ALONE = {"generator", "dtype"}  # the parameters bring their type with them; draws are not the same anyway
# Options that only PyTorch has, and that may have any value: `inplace` changes no result, and what the others change
# shows in the parameters.
_HARMLESS = {"inplace", "bias", "kdim", "vdim"}
_TYPES = {"float32", "float64", "int64"}


def from_torch(module: torch.nn.Module) -> nn.Module:
    """The same network in chainrule, with copies of the parameters and buffers.

    Types, `requires_grad`, `training` and what is shared between modules stay as they are. Gradients stay behind, as do
    `inplace` and `generator`, which one library has and the other has not.

    Args:
        module: of PyTorch's own classes throughout, on the CPU, in float32 or float64.

    Raises:
        TypeError: not a module of PyTorch.
        ValueError: a class or an option that chainrule does not have, hooks, another type or device, parameters that
            share memory without being the same; the message names the module.
    """
    made: nn.Module = _Crossing("from_torch", _PYTORCH, _CHAINRULE).run(module)
    return made


def to_torch(module: nn.Module) -> torch.nn.Module:
    """The same network in PyTorch, with copies of the parameters and buffers; all else as in `from_torch`.

    Raises:
        TypeError: not a module of chainrule.
        ValueError: as for `from_torch`.
    """
    return _Crossing("to_torch", _CHAINRULE, _PYTORCH).run(module)


@dataclass(frozen=True)
class _Library:
    """What differs between the two.

    Attributes:
        name: for messages.
        nn: where the modules are.
        tensor: makes a tensor around an array.
        children: the modules directly inside a module, by name, also those that it holds twice.
        tensors: a module's own parameters and buffers, by name.
        bare: a context in which building modules draws no random numbers that somebody might miss.
    """

    name: str
    nn: Any
    tensor: Callable[[NDArray[Any]], Any]
    children: Callable[[Any], dict[str, Any]]
    tensors: Callable[[Any], dict[str, Any]]
    bare: Callable[[], AbstractContextManager[Any]]


def _own_tensors(module: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if isinstance(v, nn.Parameter) or k in module._buffers}


@contextmanager
def _same_draws() -> Iterator[None]:
    """Leave the default generator as it was."""
    bits = default_generator().bit_generator
    before = bits.state
    try:
        yield
    finally:
        bits.state = before


_CHAINRULE = _Library("chainrule", nn, from_numpy, lambda m: dict(m._parts()), _own_tensors, _same_draws)
_PYTORCH = _Library(
    "PyTorch",
    torch.nn,
    torch.from_numpy,
    lambda m: m._modules,
    lambda m: {**m._parameters, **m._buffers},
    lambda: torch.device("meta"),  # parameters without memory, until ours take their place
)


class _Crossing:
    """One call: from where to where, and what has crossed already, so that what is shared stays shared."""

    def __init__(self, call: str, source: _Library, target: _Library) -> None:
        self.call, self.source, self.target = call, source, target
        self.modules: dict[int, Any] = {}  # by the id of the original
        self.tensors: dict[int, Any] = {}
        self.memory: list[tuple[str, NDArray[Any]]] = []  # of the originals, with their paths

    def run(self, module: Any) -> Any:
        if not isinstance(module, self.source.nn.Module):
            raise TypeError(f"{self.call}: takes a module of {self.source.name}, not {type(module).__name__}")
        made = self.module(module, "")
        there = made.state_dict()
        for entry in module.state_dict():
            if entry not in there:
                raise self.fault("", type(module).__name__, f"{self.target.name} has no place for its {entry!r}")
        return made

    def fault(self, path: str, kind: str, why: str) -> ValueError:
        return ValueError(f"{self.call}: {f'module {path!r}' if path else 'the module'}, {kind}: {why}")

    def module(self, module: Any, path: str, instead_of: Any = None) -> Any:
        if id(module) in self.modules:
            return self.modules[id(module)]
        kind = self.kind(module, path)
        build = getattr(self.target.nn, kind)
        if isinstance(instead_of, build):  # a module that the one around it made, perhaps of a class of its own
            build = type(instead_of)
        options = self.options(module, path, kind)
        try:
            with self.target.bare():
                made = build(**options)
        except (TypeError, ValueError) as error:
            raise self.fault(path, kind, str(error)) from error
        self.modules[id(module)] = made
        for name, child in self.source.children(module).items():
            inside = f"{path}.{name}" if path else name
            if not self.has_place(made, name):
                raise self.fault(inside, type(child).__name__, f"{self.target.name}'s {kind} has no place for {name!r}")
            setattr(made, name, self.module(child, inside, instead_of=getattr(made, name, None)))
        for name in self.source.tensors(module) | self.target.tensors(made):
            if hasattr(made, name):
                setattr(made, name, self.tensor(getattr(module, name, None), path, kind, name))
        made.training = module.training
        if hasattr(module, "track_running_stats"):  # which may have changed since the buffers were made
            made.track_running_stats = module.track_running_stats
        return made

    def has_place(self, made: Any, name: str) -> bool:
        """Whether a module can stand under a name: in the place of another, or in a holder under a free name."""
        library = self.target.nn
        if isinstance(getattr(made, name, None), library.Module):
            return True
        holder = isinstance(made, (library.Sequential, library.ModuleList, library.ModuleDict))
        return holder and not hasattr(made, name) and "." not in name

    def kind(self, module: Any, path: str) -> str:
        """The name of its class, if both libraries have that and it does what its class says."""
        cls: Any = type(module)
        if cls is torch.nn.modules.linear.NonDynamicallyQuantizableLinear:
            cls = torch.nn.Linear
        kind: str = cls.__name__
        if torch.nn.utils.parametrize.is_parametrized(module):
            names = ", ".join(module.parametrizations)
            remedy = "torch.nn.utils.parametrize.remove_parametrizations makes plain parameters of them"
            raise self.fault(path, kind, f"has parametrisations, of {names}; {remedy}")
        if getattr(self.source.nn, kind, None) is not cls or not hasattr(self.target.nn, kind):
            why = f"{self.target.name} has no such class; weights alone go over with state_dict() and load_state_dict()"
            raise self.fault(path, kind, why)
        given = [name for name, value in vars(module).items() if name == "forward" or (name[-6:] == "_hooks" and value)]
        if given:
            raise self.fault(path, kind, f"functions do not cross, and it was given some: {', '.join(given)}")
        return kind

    def options(self, module: Any, path: str, kind: str) -> dict[str, Any]:
        """What to build its counterpart with."""
        ours, theirs = (inspect.signature(getattr(library, kind)).parameters for library in (nn, torch.nn))
        options = {
            name: self.option(module, path, kind, option)
            for name, option in ours.items()
            if name not in _OURS_ALONE | {"modules"} and option.kind is option.POSITIONAL_OR_KEYWORD
        }
        for name, option in theirs.items():
            value = getattr(module, name, option.default)
            if name not in {*ours, *_HARMLESS} and value != option.default:
                raise self.fault(path, kind, f"{name}={value!r} has no counterpart in chainrule")
        return options

    def option(self, module: Any, path: str, kind: str, option: inspect.Parameter) -> Any:
        name = option.name
        if kind == "ParameterList":
            return [self.tensor(value, path, kind, str(i)) for i, value in enumerate(module)]
        if name == "kernel_size" and not hasattr(module, name):  # our convolutions have it in the weight's shape alone
            return tuple(module.weight.shape[2:])
        where = _KEPT_AS.get(f"{kind}.{name}", _KEPT_AS.get(name, name))
        try:
            value = attrgetter(where)(module)
        except AttributeError:
            raise self.fault(path, kind, f"has no {where}, from which to read {name}") from None
        tensor = isinstance(value, (Tensor, torch.Tensor))
        if isinstance(option.default, bool):
            return value is not None if tensor or value is None else value  # a bias that is there, or not
        if tensor:
            return self.tensor(value, path, kind, name)
        if isinstance(value, self.source.nn.Module):
            return self.module(value, f"{path}.{name}" if path else name)
        if callable(value):
            named = next((n for n in ("relu", "gelu") if value is getattr(self.source.nn.functional, n)), None)
            if named is None:
                raise self.fault(path, kind, f"{name}={value!r} is a function of its own, and functions do not cross")
            return named
        word = "None" if value is None else type(value).__name__
        if word in ("None", "str") and word not in option.annotation:
            raise self.fault(path, kind, f"{name}={value!r} has no counterpart in chainrule")
        return value

    def tensor(self, tensor: Any, path: str, kind: str, name: str) -> Any:
        """A copy on the other side, once for each tensor; None stays None."""
        if tensor is None or id(tensor) in self.tensors:
            return self.tensors.get(id(tensor))
        fault = self.unfit(tensor)
        if fault:
            raise self.fault(path, kind, f"{name} {fault}")
        array, own = tensor.detach().numpy(), f"{path}.{name}" if path else name
        for other, memory in self.memory:
            if np.shares_memory(array, memory):
                raise self.fault(path, kind, f"{own} and {other} share memory; they must be one parameter to stay so")
        self.memory.append((own, array))
        made = self.target.tensor(array.copy())
        if isinstance(tensor, self.source.nn.Parameter):
            made = self.target.nn.Parameter(made, requires_grad=tensor.requires_grad)
        self.tensors[id(tensor)] = made
        return made

    def unfit(self, tensor: Any) -> str | None:
        """Why a tensor cannot cross."""
        if not isinstance(tensor, (Tensor, torch.Tensor)):
            return f"is a {type(tensor).__name__}, not a parameter"
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _TYPES:
            return f"is {dtype}: only float32 and float64 (and int64 buffers) cross"
        if isinstance(tensor, Tensor):
            return "has hooks, and functions do not cross" if tensor._node is not None and tensor._node.hooks else None
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
            return f"is on {tensor.device}, {tensor.layout}: only dense tensors on the CPU cross"
        if tensor._backward_hooks or tensor._post_accumulate_grad_hooks:
            return "has hooks, and functions do not cross"
        return None
