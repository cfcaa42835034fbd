"""Module: a part of a network, with its parameters and the parts inside it.

Parts are found where they were put: any attribute that is a Parameter, a Module, or a list, tuple or dict of them
counts, in the order in which they were assigned, under PyTorch's names: `0.weight`, `layers.2.bias`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, Protocol, Self, TypeVar, dataclass_transform

import numpy as np

from chainrule.autograd import views
from chainrule.autograd.hooks import Handle, as_tensor, gate, replaced, taken
from chainrule.autograd.mode import no_grad, refuse_compiled
from chainrule.errors import check, listed, type_name
from chainrule.nn.nesting import explain_nesting, name_layer, refuse_nesting
from chainrule.ops.dtypes import storable
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["Module", "Parameter"]


class Parameter(Tensor):
    """A Tensor that is learned: it requires gradients and is found by `Module.parameters()`.

    Args:
        data: its values; a Tensor's memory is shared.
        requires_grad: False for a parameter that is kept as it is.
    """

    __slots__ = ()

    def __init__(self, data: ArrayLike | Tensor, requires_grad: bool = True) -> None:
        if isinstance(data, Tensor):
            self._data, self._node, self._view, self._sharers = data._data, None, None, None
            views.share_detached(self, data)
        else:
            super().__init__(data)
        self.requires_grad_(requires_grad)


P = ParamSpec("P")
Out = TypeVar("Out", covariant=True)


class HasForward(Protocol[P, Out]):
    """A module as type checkers see it in a call, which takes and returns what its `forward` does."""

    def forward(self, *inputs: P.args, **options: P.kwargs) -> Out:
        """What the module computes."""


class Module:
    """The base of every layer and model.

    Subclasses assign their parts in `__init__` and say in `forward` what they compute; calling the module runs it.

    Attributes:
        training: True while learning; some layers, such as Dropout, then behave differently.
    """

    training: bool = True
    _buffers: tuple[str, ...] = ()  # the names of attributes that are buffers, or None
    _parameter_names: tuple[str, ...] = ()  # of those that are parameters, or None
    _pre_hooks: dict[int, Callable[..., Any]] | None = None
    _hooks: dict[int, Callable[..., Any]] | None = None
    _backward_hooks: dict[int, Callable[..., Any]] | None = None

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def _call(self, *inputs: Any, **options: Any) -> Any:
        """Run `forward` between the hooks; an input that does not fit is an error that says in which layer."""
        try:
            for hook in list(self._pre_hooks.values()) if self._pre_hooks else ():
                changed = hook(self, inputs)
                if changed is not None:
                    inputs = changed if isinstance(changed, tuple) else (changed,)
            backward = _Backward(self, inputs) if self._backward_hooks else None
            inputs = backward.inputs if backward else inputs
            out = self.forward(*inputs, **options)
            for hook in list(self._hooks.values()) if self._hooks else ():
                changed = hook(self, inputs, out)
                out = out if changed is None else changed
            return backward.leave(out) if backward else out
        except (ValueError, IndexError, TypeError, OverflowError, RecursionError) as error:
            refuse_nesting(self, error)
            name_layer(self, error)
            raise

    if TYPE_CHECKING:

        def __call__(self: HasForward[P, Out], *inputs: P.args, **options: P.kwargs) -> Out:
            """Run `forward` between the hooks."""
    else:
        __call__ = _call

    def register_forward_pre_hook(self, hook: Callable[[Module, tuple[Any, ...]], Any]) -> Handle:
        """Have `hook(module, inputs)` called before each run; unless None, what it returns are the inputs."""
        return Handle(self, "_pre_hooks", hook)

    def register_forward_hook(self, hook: Callable[[Module, tuple[Any, ...], Any], Any]) -> Handle:
        """Have `hook(module, inputs, output)` called after each run; unless None, what it returns is the output."""
        return Handle(self, "_hooks", hook)

    def register_full_backward_hook(self, hook: Callable[[Module, Any, Any], Any]) -> Handle:
        """Have `hook(module, grad_input, grad_output)` called when the gradients of a run's inputs have been computed.

        Both are tuples, one entry for each input given by position and for each output; None for what is not a Tensor
        or got no gradient. Unless None, the hook returns a tuple that takes the place of `grad_input`. If no input
        requires gradients, the hook is called when the gradients of the outputs are there.
        """
        return Handle(self, "_backward_hooks", hook)

    # The parts

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign an attribute; one that is a part of the state stays one.

        Raises:
            TypeError: what would silently drop a parameter, a buffer or a module from the state.
        """
        before = vars(self).get(name)
        if value is not None and name in self._parameter_names and not isinstance(value, Parameter):
            self._refuse(name, value, "parameter", "an nn.Parameter", f"change its values with {name}.copy_(...)")
        if isinstance(value, Parameter) and name not in self._parameter_names:
            vars(self)["_parameter_names"] = (*self._parameter_names, name)
        if isinstance(value, (Parameter, Module)):
            self._forget("_buffers", name)
        elif value is not None:
            if name in self._buffers and not isinstance(value, Tensor):
                self._refuse(name, value, "buffer", "a Tensor", "delete it first")
            if isinstance(before, Module):
                self._refuse(name, value, "module", "an nn.Module", "delete it first")
            if isinstance(before, (list, tuple, dict)):
                self._check_list(name, before, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._forget("_buffers", name)
        self._forget("_parameter_names", name)

    def _forget(self, names: str, name: str) -> None:
        """Take a name off those of buffers or parameters."""
        if name in getattr(self, names):
            vars(self)[names] = tuple(other for other in getattr(self, names) if other != name)

    def _check_list(self, name: str, before: Any, value: Any) -> None:
        """Raise an error if parts in a list, tuple or dict were exchanged for what is none."""
        parts = isinstance(value, (list, tuple, dict))
        if [*_find("", before, Module)] and not (parts or [*_find("", value, Module)]):
            self._refuse(name, value, "list of modules", "a list, tuple or dict of them", "delete it first")
        if [*_find("", before, Parameter)]:
            for path, tensor in _find("", value, Tensor) if parts else [("", value)]:
                if not isinstance(tensor, Parameter):
                    at = f"{name}.{path}".rstrip(".")
                    self._refuse(at, tensor, "parameter", "an nn.Parameter", "delete it first")

    def _refuse(self, name: str, value: Any, role: str, expected: str, instead: str) -> NoReturn:
        given = f"cannot assign a {type(value).__name__} as {role} {name!r}"
        raise TypeError(f"{type(self).__name__}: {given}: it must be {expected}, or None ({instead})")

    def register_buffer(self, name: str, tensor: Tensor) -> None:
        """Keep a Tensor that belongs to the state but is not learned, such as a running mean."""
        what, kind = "register_buffer", type(tensor).__name__
        check(what, isinstance(tensor, Tensor), f"{name!r} must be a Tensor, not {kind}", TypeError)
        check(what, "." not in name and not hasattr(self, name), f"{name!r} is taken or has a dot in it")
        setattr(self, name, tensor)
        self._buffers = (*self._buffers, name)

    def _parts(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside under all of their names."""
        return _find("", vars(self), Module)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, with their names: each once, under the first."""
        return _once(self._parts())

    def children(self) -> Iterator[Module]:
        """The modules directly inside, each once."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all those inside with their paths; its own path is ''. Each once, or at every path it has."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) not in seen or not remove_duplicate:
                seen.add(id(module))
                yield path, module
                stack += reversed([*_find(path, vars(module), Module)])

    def modules(self) -> Iterator[Module]:
        """This module and all those inside, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their paths, in order; a parameter that is used twice counts once, as it first stands."""
        return _once(found for path, module in self.named_modules() for found in _find(path, vars(module), Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, in order."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their paths, in order."""
        inside = ((path, {name: getattr(m, name) for name in m._buffers}) for path, m in self.named_modules())
        return _once(found for path, own in inside for found in _find(path, own, Tensor))

    def buffers(self) -> Iterator[Tensor]:
        """All buffers, in order."""
        return (buffer for _, buffer in self.named_buffers())

    # Changing all of them

    def train(self, mode: bool = True) -> Self:
        """Behave as while learning, in all modules inside too.

        Raises:
            ValueError: the mode is neither True nor False.
        """
        check("train", isinstance(mode, bool), f"the mode must be True or False, not {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as when used."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Learn all parameters, or keep them as they are."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call `function` with every module inside, then with this one.

        Raises:
            TypeError: it cannot be called.
        """
        check("apply", callable(function), f"takes a function of a module, not {type_name(function)}", TypeError)
        with explain_nesting(self):
            for child in self.children():
                child.apply(function)
        function(self)
        return self

    def to(self, dtype: DTypeLike) -> Self:
        """Give all floating parameters and buffers another floating type."""
        kind = storable(dtype)
        refuse_compiled("changing the type of parameters")
        check(self, kind.kind == "f", f"parameters are floats, they cannot become {kind}", TypeError)
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.dtype.kind == "f":
                before, tensor._node = tensor._node, None
                tensor.data = tensor._data.astype(dtype)
                if before is not None:
                    tensor.requires_grad_()._node.hooks = before.hooks  # type: ignore[union-attr]  # it has one now
        return self

    def double(self) -> Self:
        """All in float64."""
        return self.to(np.float64)

    def float(self) -> Self:
        """All in float32."""
        return self.to(np.float32)

    # Its state

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by their paths, module by module; they share memory with the module.

        What is used at several places is there under each of its paths.
        """
        state: dict[str, Tensor] = {}
        for path, module in self.named_modules(remove_duplicate=False):
            for name, value in vars(module).items():
                found = _find(path, {name: value}, Tensor if name in module._buffers else Parameter)
                state.update((place, tensor.detach()) for place, tensor in found)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Tensor | NDArray[Any]]) -> None:
        """Take over the values of a state; nothing is changed unless everything fits.

        Args:
            state_dict: Tensors or arrays by path.

        Raises:
            ValueError: entries that are missing, unknown, of another shape or no numbers; the message lists them.
        """
        what, kind = "load_state_dict", type(state_dict).__name__
        check(what, isinstance(state_dict, Mapping), f"takes tensors by their paths, not a {kind}", TypeError)
        with no_grad():
            own, given = self.state_dict(), {name: np.asarray(value) for name, value in state_dict.items()}
        faults = [f"missing: {n} {tensor.shape}" for n, tensor in own.items() if n not in given]
        faults += [f"unknown: {n} {array.shape}" for n, array in given.items() if n not in own]
        both = [(n, tensor, given[n]) for n, tensor in own.items() if n in given]
        faults += [f"wrong shape: {n} is {a.shape}, must be {t.shape}" for n, t, a in both if a.shape != t.shape]
        faults += [f"wrong type: {n} is {a.dtype}, must be {t.dtype}" for n, t, a in both if a.dtype.kind not in "biuf"]
        check(what, not faults, f"the state does not fit {type(self).__name__}: {listed(faults, '; ')}")
        for _, tensor, array in both:
            tensor.copy_(array)

    # To be copied and read

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy of its own, by the protocol of `copy`."""
        with explain_nesting(self):
            return copy._reconstruct(self, memo, *self.__reduce_ex__(4))  # type: ignore[attr-defined]

    def extra_repr(self) -> str:
        """What to show between the brackets besides the modules inside: the options, unless subclasses define it."""
        return ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)) if is_dataclass(self) else ""

    def __repr__(self) -> str:
        with explain_nesting(self):
            children = [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self._parts()]
        name, extra = type(self).__name__, self.extra_repr()
        return "\n  ".join([f"{name}(", *filter(None, [extra]), *children]) + "\n)" if children else f"{name}({extra})"


class _Backward:
    """One run of a module that has backward hooks: inputs and outputs pass through gates that hear gradients."""

    def __init__(self, module: Module, inputs: tuple[Any, ...]) -> None:
        self.module, self.hooks = module, list((module._backward_hooks or {}).values())
        self.waits = any(getattr(value, "requires_grad", False) for value in inputs)  # for a gradient at the inputs
        self.inputs = gate(inputs, self.at_inputs)
        self.grad_output: tuple[Any, ...] | None = None

    def leave(self, out: Any) -> Any:
        passed = gate(out if isinstance(out, tuple) else (out,), self.at_outputs)
        return passed if isinstance(out, tuple) else passed[0]

    def at_outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        self.grad_output = grads
        if not self.waits:
            self.at_inputs((None,) * len(self.inputs))
        return grads

    def at_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_output is None:  # a second derivative, which came by another way than through the outputs
            return grads
        name = f"register_full_backward_hook of {type(self.module).__name__}"
        grad_input, grad_output = _shown(grads), _shown(self.grad_output)
        self.grad_output = None
        for hook in self.hooks:
            changed = hook(self.module, grad_input, grad_output)
            if changed is not None:
                wanted = f"a hook must return None or a tuple with a gradient for each of {len(grads)} inputs"
                check(name, isinstance(changed, tuple) and len(changed) == len(grads), wanted, TypeError)
                grad_input = tuple(replaced(name, old, new) for old, new in zip(grad_input, changed, strict=True))
        return tuple(None if grad is None else taken(grad) for grad in grad_input)


def _shown(grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """Gradients as a hook gets them: Tensors of their own, which may be kept or changed in place."""
    return tuple(None if grad is None else as_tensor(grad, Tensor._wrap).clone() for grad in grads)


if TYPE_CHECKING:

    class Layer(Module):
        """A module that `applies` gives a `forward` from one Tensor to another."""

        def forward(self, input: Tensor) -> Tensor: ...
else:
    Layer = Module

AnyModule = TypeVar("AnyModule", bound=Module)


@dataclass_transform(eq_default=False)
def options(kind: type[AnyModule]) -> type[AnyModule]:
    """Decorator: the class's annotated attributes are options, which its constructor takes and its repr shows."""
    return dataclass(eq=False, repr=False)(kind)


@dataclass_transform(eq_default=False)
def applies(function: Callable[..., Any]) -> Callable[[type[AnyModule]], type[AnyModule]]:
    """Decorator: `forward` calls the function, with the module's `options` as the arguments of those names."""

    def make(kind: type[AnyModule]) -> type[AnyModule]:
        names = [field.name for field in fields(options(kind))]  # type: ignore[arg-type]  # it is a dataclass now

        def forward(self: Module, *inputs: Any, **named: Any) -> Any:
            return function(*inputs, **named, **{name: getattr(self, name) for name in names})

        forward.__doc__ = function.__doc__
        kind.forward = forward  # type: ignore[method-assign]
        return kind

    return make


def _find(path: str, value: Any, kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """The objects of a kind, with their paths: the value at this path itself, or what is in its entries."""
    if isinstance(value, kind):
        yield path, value
    elif isinstance(value, (dict, list, tuple)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _find(f"{path}.{key}" if path else str(key), part, kind)


def _once(found: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Each object under the first of its paths."""
    seen: set[int] = set()
    for path, thing in found:
        if id(thing) not in seen:
            seen.add(id(thing))
            yield path, thing
