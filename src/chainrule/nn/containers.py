"""Containers: Sequential, ModuleList, ModuleDict, ParameterList; and Identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, overload

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


class _ListOfModules(_Container):
    """A container of modules in order; modules that are added without a name are named by position."""

    def append(self, module: Module) -> Self:
        """Append a module."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Self:
        """Append several modules, such as those of another container."""
        return self._insert(len(self), modules)

    def insert(self, index: int, module: Module) -> Self:
        """Insert a module before an index; the modules after it are renumbered."""
        if not -len(self) <= index <= len(self):
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {len(self)} modules")
        return self._insert(index % len(self) if index < 0 else index, [module])

    def pop(self, index: int = -1) -> Any:
        """Remove a module, and return it; the modules after it are renumbered."""
        module = list(self)[index]
        del self[index]
        return module

    def __setitem__(self, index: int, module: Module) -> None:
        self._check_modules([module], index)
        setattr(self, list(self._all_children())[index][0], module)

    def __delitem__(self, index: int | slice) -> None:
        children = list(self._all_children())
        removed = children[index] if isinstance(index, slice) else [children[index]]
        names = {name for name, _ in removed}
        self._set_children([pair for pair in children if pair[0] not in names])

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def _insert(self, index: int, modules: Iterable[Module]) -> Self:
        new_modules = list(modules)
        self._check_modules(new_modules, index)
        children = list(self._all_children())
        # "" stands for a name that `_set_children` assigns
        self._set_children([*children[:index], *(("", module) for module in new_modules), *children[index:]])
        return self

    def _check_modules(self, modules: list[Any], index: int) -> None:
        for position, module in enumerate(modules, index):
            kind, is_module = type(module).__name__, isinstance(module, Module)
            check(self, is_module, f"'{position}' is a {kind}, not a Module", TypeError)

    def _set_children(self, children: list[tuple[str, Module]]) -> None:
        """Replace all modules by these, in order; a name that is a number or "" becomes the module's position."""
        lasting_names = {name for name, _ in children if not name.isdecimal()} - {""}
        for name, _ in list(self._all_children()):
            delattr(self, name)
        for position, (name, module) in enumerate(children):
            setattr(self, name if name in lasting_names else str(position), module)


class Sequential(_ListOfModules):
    """A chain of modules: each gets the output of the previous one. `model[0]` is the first module.

    Args:
        modules: the modules, or a dict of modules by name.

    Raises:
        TypeError: one of them is not a Module.
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

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *other) if isinstance(other, Sequential) else NotImplemented


class ModuleList(_ListOfModules):
    """A list of modules, named by position; it has no `forward`."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...

    def __getitem__(self, index: int | slice) -> Module:
        item = list(self)[index]
        return ModuleList(item) if isinstance(item, list) else item

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])


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
        """Append a parameter; any other value is wrapped in a Parameter."""
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
    """Returns its input. It can replace any layer, since its constructor accepts and ignores all arguments."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        """Return the input."""
        return input
