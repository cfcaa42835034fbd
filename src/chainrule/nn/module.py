"""Module, the base of all layers and models, and Parameter.

Nothing needs to be registered: a module finds its parameters and submodules in its attributes, in order of assignment.
An attribute may also be a list, tuple or dict of them. Their paths are PyTorch's: `0.weight`, `layers.2.bias`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, ParamSpec, Protocol, Self, TypeVar, dataclass_transform

import numpy as np

from chainrule.autograd import views
from chainrule.autograd.hooks import Handle, backward_barrier, check_replacement, copy_for_tape, gradient_as_tensor
from chainrule.autograd.mode import no_grad, refuse_while_tracing
from chainrule.devices import target_dtype
from chainrule.errors import check, join_names, type_name
from chainrule.habits import MODULE_HINTS, no_attribute
from chainrule.nn.nesting import explain_nesting, name_layer, raise_nesting_error
from chainrule.ops.dtypes import storable_dtype
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["Module", "Parameter"]


class Parameter(Tensor):
    """A Tensor to be trained: it requires gradients and is listed by `Module.parameters()`.

    Args:
        data: the values; if it is a Tensor, its memory is shared.
        requires_grad: False for a frozen parameter.
    """

    __slots__ = ()

    def __init__(self, data: ArrayLike | Tensor, requires_grad: bool = True) -> None:
        if isinstance(data, Tensor):
            self._data, self._node, self._view, self._aliases = data._data, None, None, None
            views.share_detached(self, data)
        else:
            super().__init__(data)
        self.requires_grad_(requires_grad)


class IncompatibleKeys(NamedTuple):
    """The paths in which a state and a module differ: what `load_state_dict` returns."""

    missing_keys: list[str]
    unexpected_keys: list[str]


P = ParamSpec("P")
Out = TypeVar("Out", covariant=True)


class HasForward(Protocol[P, Out]):
    """For type checkers: a callable module, whose call has the signature of `forward`."""

    def forward(self, *inputs: P.args, **options: P.kwargs) -> Out:
        """Compute the output."""


class Module:
    """The base class of layers and models.

    Subclasses assign parameters and submodules in `__init__` and define `forward`; calling the module runs it.

    Attributes:
        training: True in training mode, in which layers such as Dropout behave differently.
    """

    training: bool = True
    _buffers: tuple[str, ...] = ()  # names of attributes that hold a buffer or None
    _parameter_names: tuple[str, ...] = ()  # names of attributes that hold a parameter or None
    _pre_hooks: dict[int, Callable[..., Any]] | None = None
    _hooks: dict[int, Callable[..., Any]] | None = None
    _backward_hooks: dict[int, Callable[..., Any]] | None = None

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output; subclasses define this."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def _call(self, *inputs: Any, **options: Any) -> Any:
        """Run the hooks and `forward`; the message of an error names the layer that raised it."""
        try:
            for hook in list(self._pre_hooks.values()) if self._pre_hooks else ():
                result = hook(self, inputs)
                if result is not None:
                    inputs = result if isinstance(result, tuple) else (result,)
            backward = _Backward(self, inputs) if self._backward_hooks else None
            inputs = backward.inputs if backward else inputs
            out = self.forward(*inputs, **options)
            for hook in list(self._hooks.values()) if self._hooks else ():
                result = hook(self, inputs, out)
                out = out if result is None else result
            return backward.wrap_outputs(out) if backward else out
        except (ValueError, IndexError, TypeError, OverflowError, RecursionError) as error:
            raise_nesting_error(self, error)
            name_layer(self, error)
            raise

    if TYPE_CHECKING:

        def __call__(self: HasForward[P, Out], *inputs: P.args, **options: P.kwargs) -> Out:
            """Run the hooks and `forward`."""
    else:
        __call__ = _call

    def register_forward_pre_hook(self, hook: Callable[[Module, tuple[Any, ...]], Any]) -> Handle:
        """Call `hook(module, inputs)` before each `forward`; a result other than None replaces the inputs."""
        return Handle(self, "_pre_hooks", hook)

    def register_forward_hook(self, hook: Callable[[Module, tuple[Any, ...], Any], Any]) -> Handle:
        """Call `hook(module, inputs, output)` after each `forward`; a result other than None replaces the output."""
        return Handle(self, "_hooks", hook)

    def register_full_backward_hook(self, hook: Callable[[Module, Any, Any], Any]) -> Handle:
        """Call `hook(module, grad_input, grad_output)` once the gradients with respect to the inputs are computed.

        Both arguments are tuples, with one entry for each positional input or each output; an entry is None if that is
        not a Tensor or has no gradient. A tuple returned by the hook replaces `grad_input`. If no input requires
        gradients, the hook is called once the gradients of the outputs are computed.
        """
        return Handle(self, "_backward_hooks", hook)

    # Parameters, buffers and submodules

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign an attribute, and keep track of parameters and buffers.

        Raises:
            TypeError: the assignment would silently drop a parameter, buffer or module from the state.
        """
        old_value = vars(self).get(name)
        if value is not None and name in self._parameter_names and not isinstance(value, Parameter):
            self._refuse(name, value, "parameter", "an nn.Parameter", f"change its values with {name}.copy_(...)")
        if isinstance(value, Parameter) and name not in self._parameter_names:
            vars(self)["_parameter_names"] = (*self._parameter_names, name)
        if isinstance(value, (Parameter, Module)):
            self._remove_name("_buffers", name)
        elif value is not None:
            if name in self._buffers and not isinstance(value, Tensor):
                self._refuse(name, value, "buffer", "a Tensor", "delete it first")
            if isinstance(old_value, Module):
                self._refuse(name, value, "module", "an nn.Module", "delete it first")
            if isinstance(old_value, (list, tuple, dict)):
                self._check_collection(name, old_value, value)
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # otherwise type checkers would accept any misspelled name

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property raised an AttributeError: raise it again
                return object.__getattribute__(self, name)
            raise no_attribute(f"{type(self).__name__!r} object", name, self, MODULE_HINTS.get(name))

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._remove_name("_buffers", name)
        self._remove_name("_parameter_names", name)

    def _remove_name(self, attribute: str, name: str) -> None:
        """Remove a name from `_buffers` or `_parameter_names`."""
        if name in getattr(self, attribute):
            vars(self)[attribute] = tuple(other for other in getattr(self, attribute) if other != name)

    def _check_collection(self, name: str, old_value: Any, value: Any) -> None:
        """Raise an error if a collection is replaced by a value that drops its modules or parameters from the state."""
        is_collection = isinstance(value, (list, tuple, dict))
        if [*_find("", old_value, Module)] and not (is_collection or [*_find("", value, Module)]):
            self._refuse(name, value, "list of modules", "a list, tuple or dict of them", "delete it first")
        if [*_find("", old_value, Parameter)]:
            for path, tensor in _find("", value, Tensor) if is_collection else [("", value)]:
                if not isinstance(tensor, Parameter):
                    full_path = f"{name}.{path}".rstrip(".")
                    self._refuse(full_path, tensor, "parameter", "an nn.Parameter", "delete it first")

    def _refuse(self, name: str, value: Any, role: str, expected: str, remedy: str) -> NoReturn:
        """Raise the error for an assignment; `role` is what the attribute holds, `expected` what may be assigned."""
        attempt = f"cannot assign a {type(value).__name__} as {role} {name!r}"
        raise TypeError(f"{type(self).__name__}: {attempt}: it must be {expected}, or None ({remedy})")

    def register_buffer(self, name: str, tensor: Tensor) -> None:
        """Add a Tensor that is part of the state but not trained, such as a running mean."""
        owner, kind = "register_buffer", type(tensor).__name__
        check(owner, isinstance(tensor, Tensor), f"{name!r} must be a Tensor, not {kind}", TypeError)
        is_free = "." not in name and not hasattr(self, name)
        check(owner, is_free, f"the name {name!r} is in use or contains a dot")
        setattr(self, name, tensor)
        self._buffers = (*self._buffers, name)

    def _all_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the direct submodules with their names; a submodule with several names is yielded under each."""
        return _find("", vars(self), Module)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the direct submodules with their names, each once."""
        return _unique(self._all_children())

    def children(self) -> Iterator[Module]:
        """Yield the direct submodules, each once."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """Yield this module, at path `prefix`, and all submodules with their paths.

        A module with several paths is yielded once, at the first, or at each path if `remove_duplicate` is False.
        """
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) not in seen or not remove_duplicate:
                seen.add(id(module))
                yield path, module
                stack += reversed([*_find(path, vars(module), Module)])

    def modules(self) -> Iterator[Module]:
        """Yield this module and all submodules, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield all parameters with their paths, in order; a shared parameter once, at its first path."""
        return _unique(pair for path, module in self.named_modules() for pair in _find(path, vars(module), Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """Yield all parameters, in order."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all buffers with their paths, in order."""
        buffers = ((path, {name: getattr(m, name) for name in m._buffers}) for path, m in self.named_modules())
        return _unique(pair for path, named in buffers for pair in _find(path, named, Tensor))

    def buffers(self) -> Iterator[Tensor]:
        """Yield all buffers, in order."""
        return (buffer for _, buffer in self.named_buffers())

    # Mode, gradients and dtype of all submodules

    def train(self, mode: bool = True) -> Self:
        """Set training mode (or, with False, eval mode) in this module and all submodules.

        Raises:
            ValueError: the mode is neither True nor False.
        """
        check("train", isinstance(mode, bool), f"the mode must be True or False, not {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set eval mode."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` of all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call `function` with each submodule, then with this module.

        Raises:
            TypeError: `function` is not callable.
        """
        check("apply", callable(function), f"takes a function, not {type_name(function)}", TypeError)
        with explain_nesting(self):
            for child in self.children():
                child.apply(function)
        function(self)
        return self

    def to(self, *target: Any, device: Any = None, dtype: DTypeLike | None = None) -> Self:
        """Convert all floating-point parameters and buffers to another floating dtype.

        Args:
            target: a dtype, a device, a device and a dtype, or a Tensor, whose dtype is used.
            device: the device, as a keyword argument.
            dtype: the dtype, as a keyword argument.

        Raises:
            ValueError: a device other than the CPU.
            TypeError: a dtype that is not floating.
        """
        dtype = target_dtype("to", target, device, dtype)
        if dtype is None:
            return self
        new_dtype = storable_dtype(dtype)
        refuse_while_tracing("changing the type of parameters")
        check(self, new_dtype.kind == "f", f"parameters are floats and cannot become {new_dtype}", TypeError)
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.dtype.kind == "f":
                old_node, tensor._node = tensor._node, None
                tensor.data = tensor._data.astype(dtype)
                if old_node is not None:
                    tensor.requires_grad_()._node.hooks = old_node.hooks  # type: ignore[union-attr]  # not None after requires_grad_
        return self

    def cpu(self) -> Self:
        """Return this module, which is on the CPU already."""
        return self

    def cuda(self, device: Any = None) -> Self:
        """Raise a ValueError: chainrule computes on the CPU only."""
        return self.to("cuda")

    def double(self) -> Self:
        """Convert to float64."""
        return self.to(np.float64)

    def float(self) -> Self:
        """Convert to float32."""
        return self.to(np.float32)

    # State

    def state_dict(self) -> dict[str, Tensor]:
        """Return all parameters and buffers by path, as Tensors that share their memory.

        A shared parameter is listed under each of its paths.
        """
        state: dict[str, Tensor] = {}
        for path, module in self.named_modules(remove_duplicate=False):
            for name, value in vars(module).items():
                pairs = _find(path, {name: value}, Tensor if name in module._buffers else Parameter)
                state.update((key, tensor.detach()) for key, tensor in pairs)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Tensor | NDArray[Any]], strict: bool = True) -> IncompatibleKeys:
        """Copy the values of a state into the module; nothing is changed if any entry does not fit.

        Args:
            state_dict: Tensors or arrays by path.
            strict: whether missing and unknown entries are an error; otherwise their paths are returned, and all other
                entries are copied.

        Returns:
            The paths that the state lacks, and those that the module does not have; both lists are empty if `strict`.

        Raises:
            ValueError: entries of the wrong shape or not numeric and, if `strict`, missing or unknown ones; the message
                lists them.
        """
        owner, kind = "load_state_dict", type(state_dict).__name__
        check(owner, isinstance(state_dict, Mapping), f"takes a dict of tensors by path, not a {kind}", TypeError)
        with no_grad():
            own_state, arrays = self.state_dict(), {name: np.asarray(value) for name, value in state_dict.items()}
        missing, unknown = [n for n in own_state if n not in arrays], [n for n in arrays if n not in own_state]
        faults = []
        if strict:
            faults += [f"missing: {n} {own_state[n].shape}" for n in missing]
            faults += [f"unknown: {n} {arrays[n].shape}" for n in unknown]
        common = [(n, tensor, arrays[n]) for n, tensor in own_state.items() if n in arrays]
        faults += [f"wrong shape: {n} is {a.shape}, must be {t.shape}" for n, t, a in common if a.shape != t.shape]
        faults += [
            f"wrong type: {n} is {a.dtype}, must be {t.dtype}" for n, t, a in common if a.dtype.kind not in "biuf"
        ]
        check(owner, not faults, f"the state does not fit {type(self).__name__}: {join_names(faults, '; ')}")
        for _, tensor, array in common:
            tensor.copy_(array)
        return IncompatibleKeys(missing, unknown)

    # Copying and printing

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Copy the module for `copy.deepcopy`; raise a `NestingError` if modules are nested too deeply."""
        with explain_nesting(self):
            return copy._reconstruct(self, memo, *self.__reduce_ex__(4))  # type: ignore[attr-defined]

    def extra_repr(self) -> str:
        """Return the text in the parentheses of the repr: the options, unless a subclass overrides it."""
        options: list[tuple[str, Any]] = (
            [(f.name, getattr(self, f.name)) for f in fields(self)] if is_dataclass(self) else []
        )
        return ", ".join(f"{name}={value!r}" for name, value in options if name != "inplace" or value)

    def __repr__(self) -> str:
        with explain_nesting(self):
            children = [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self._all_children()]
        name, extra = type(self).__name__, self.extra_repr()
        return "\n  ".join([f"{name}(", *filter(None, [extra]), *children]) + "\n)" if children else f"{name}({extra})"


class _Backward:
    """One call of a module with backward hooks.

    A `backward_barrier` at the outputs collects their gradients; another one, at the inputs, runs the hooks.
    """

    def __init__(self, module: Module, inputs: tuple[Any, ...]) -> None:
        self.module, self.hooks = module, list((module._backward_hooks or {}).values())
        self.inputs_need_grad = any(getattr(value, "requires_grad", False) for value in inputs)
        self.inputs = backward_barrier(inputs, self.at_inputs)
        self.grad_output: tuple[Any, ...] | None = None

    def wrap_outputs(self, out: Any) -> Any:
        outputs = backward_barrier(out if isinstance(out, tuple) else (out,), self.at_outputs)
        return outputs if isinstance(out, tuple) else outputs[0]

    def at_outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        self.grad_output = grads
        if not self.inputs_need_grad:
            self.at_inputs((None,) * len(self.inputs))
        return grads

    def at_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_output is None:  # a second derivative that did not pass through the outputs
            return grads
        name = f"register_full_backward_hook of {type(self.module).__name__}"
        grad_input, grad_output = _hook_gradients(grads), _hook_gradients(self.grad_output)
        self.grad_output = None
        for hook in self.hooks:
            result = hook(self.module, grad_input, grad_output)
            if result is not None:
                message = f"a hook must return None or a tuple with a gradient for each of {len(grads)} inputs"
                check(name, isinstance(result, tuple) and len(result) == len(grads), message, TypeError)
                grad_input = tuple(
                    check_replacement(name, old, new) for old, new in zip(grad_input, result, strict=True)
                )
        return tuple(None if grad is None else copy_for_tape(grad) for grad in grad_input)


def _hook_gradients(grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the gradients for a hook: copies as Tensors, which the hook may keep or change in place."""
    return tuple(None if grad is None else gradient_as_tensor(grad, Tensor._wrap).clone() for grad in grads)


if TYPE_CHECKING:

    class Layer(Module):
        """For type checkers: a module to which `applies` gives a `forward` from Tensor to Tensor."""

        def forward(self, input: Tensor) -> Tensor: ...
else:
    Layer = Module

AnyModule = TypeVar("AnyModule", bound=Module)


@dataclass_transform(eq_default=False)
def with_options(kind: type[AnyModule]) -> type[AnyModule]:
    """Class decorator: annotated attributes become options, which the constructor takes and the repr shows."""
    return dataclass(eq=False, repr=False)(kind)


@dataclass_transform(eq_default=False)
def applies(function: Callable[..., Any]) -> Callable[[type[AnyModule]], type[AnyModule]]:
    """Class decorator: adds options (see `with_options`); `forward` passes them to the function by keyword."""

    def decorate(kind: type[AnyModule]) -> type[AnyModule]:
        names = [field.name for field in fields(with_options(kind))]  # type: ignore[arg-type]  # `with_options` makes it a dataclass

        if "inplace" in names:
            names.remove("inplace")  # `forward` passes it only if it is True: a call with fewer arguments is faster

        def forward(self: Module, *inputs: Any, **keywords: Any) -> Any:
            if in_place := getattr(self, "inplace", False):
                keywords["inplace"] = in_place
            return function(*inputs, **keywords, **{name: getattr(self, name) for name in names})

        forward.__doc__ = function.__doc__
        kind.forward = forward  # type: ignore[method-assign]
        return kind

    return decorate


def _find(path: str, value: Any, kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the objects of a type with their paths: the value itself, or those in nested lists, tuples and dicts."""
    if isinstance(value, kind):
        yield path, value
    elif isinstance(value, (dict, list, tuple)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _find(f"{path}.{key}" if path else str(key), part, kind)


def _unique(pairs: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield each object once, at its first path."""
    seen: set[int] = set()
    for path, item in pairs:
        if id(item) not in seen:
            seen.add(id(item))
            yield path, item
