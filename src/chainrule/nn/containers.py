"""Containers: Sequential, ModuleList, ModuleDict, ParameterList; and Identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

from chainrule.errors import check
from chainrule.nn.module import Module, Parameter

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView

    from chainrule.tensor import Tensor

__all__ = ["Identity", "ModuleDict", "ModuleList", "ParameterList", "Sequential"]


class _Container(Module):
    """A module whose submodules are attributes; it supports `len` and iteration."""

    def _add(self, modules: Iterable[tuple[str, Any]]) -> None:
        """Add modules by name: all of them, or none if one is refused."""
        modules = list(modules)
        for name, module in modules:
            kind, is_free = type(module).__name__, isinstance(getattr(self, name, module), Module)
            check(self, isinstance(module, Module), f"{name!r} is a {kind}, not a Module", TypeError)
            check(self, "." not in name and is_free, f"the name {name!r} is in use or contains a dot")
        vars(self).update(modules)

    def __len__(self) -> int:
        return len(list(self._all_children()))

    def __iter__(self) -> Iterator[Any]:
        return (module for _, module in self._all_children())


class Sequential(_Container):
    """A chain of modules: each gets the output of the one before. `model[0]` is the first.

    Args:
        modules: the modules, or a dict of modules by name.

    Raises:
        TypeError: an argument is not a Module.
    """

    def __init__(self, *modules: Module | dict[str, Module]) -> None:
        for position, module in enumerate(modules):
            self._add((module if isinstance(module, dict) else {str(position): module}).items())

    def forward(self, input: Tensor) -> Tensor:
        """Run the modules in order."""
        for module in self:
            input = module(input)
        return input

    @overload
    def __getitem__(self, index: int) -> Any: ...  # Any: the type of model[0] is not known statically

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        children = list(self._all_children())
        return Sequential(dict(children[index])) if isinstance(index, slice) else children[index][1]


class ModuleList(_Container):
    """A list of modules, named by position; it has no `forward`."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Append a module."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Append several modules."""
        self._add((str(position), module) for position, module in enumerate(modules, len(self)))
        return self

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...

    def __getitem__(self, index: int | slice) -> Module:
        item = list(self)[index]
        return ModuleList(item) if isinstance(item, list) else item


class ModuleDict(_Container):
    """Modules by name; it has no `forward`."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self._add((modules or {}).items())

    def __setitem__(self, name: str, module: Module) -> None:
        self._add([(name, module)])

    def __getitem__(self, name: str) -> Any:
        return dict(self._all_children())[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._all_children())

    # The mapping methods follow from __getitem__, __iter__ and __len__
    if TYPE_CHECKING:

        def __contains__(self, name: object) -> bool: ...
        def keys(self) -> KeysView[str]:
            """The names."""

        def values(self) -> ValuesView[Module]:
            """The modules."""

        def items(self) -> ItemsView[str, Module]:
            """The names and their modules."""
    else:
        __contains__, keys, values, items = Mapping.__contains__, Mapping.keys, Mapping.values, Mapping.items


class ParameterList(Module):
    """A list of parameters, named by position."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        for value in values:
            self.append(value)

    def append(self, value: Any) -> ParameterList:
        """Append a parameter; another value is wrapped in a Parameter."""
        setattr(self, str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Parameter]:
        return (value for value in vars(self).values() if isinstance(value, Parameter))

    def __getitem__(self, index: int) -> Parameter:
        return list(self)[index]

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, str(range(len(self))[index]), value if isinstance(value, Parameter) else Parameter(value))


class Identity(Module):
    """Returns its input. Constructor arguments are ignored, so that it can replace any layer."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        """Return the input."""
        return input
