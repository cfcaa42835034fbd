"""Modules that hold modules: one after the other, in a list, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

from chainrule.errors import check
from chainrule.nn.module import Module, Parameter

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView

    from chainrule.tensor import Tensor

__all__ = ["Identity", "ModuleDict", "ModuleList", "ParameterList", "Sequential"]


class _Holder(Module):
    """A module that knows its parts by name; `len` counts them, `iter` gives one after the other."""

    def _put(self, named: Iterable[tuple[str, Any]]) -> None:
        """Take in modules under their names: all of them, or none if one does not fit."""
        named = list(named)
        for name, module in named:
            kind, free = type(module).__name__, isinstance(getattr(self, name, module), Module)
            check(self, isinstance(module, Module), f"{name!r} is a {kind}, not a Module", TypeError)
            check(self, "." not in name and free, f"{name!r} is taken or has a dot in it")
        vars(self).update(named)

    def __len__(self) -> int:
        return len(list(self._parts()))

    def __iter__(self) -> Iterator[Any]:
        return (module for _, module in self._parts())


class Sequential(_Holder):
    """Modules one after the other: each takes what the one before it gives. `model[0]` is the first.

    Args:
        modules: the modules, or one dict of them by name.

    Raises:
        TypeError: something that is not a Module.
    """

    def __init__(self, *modules: Module | dict[str, Module]) -> None:
        for position, given in enumerate(modules):
            self._put((given if isinstance(given, dict) else {str(position): given}).items())

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Module]: ...

    def forward(self, input: Tensor) -> Tensor:
        """Through all of them."""
        for module in self:
            input = module(input)
        return input

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        named = list(self._parts())
        return Sequential(dict(named[index])) if isinstance(index, slice) else named[index][1]


class ModuleList(_Holder):
    """Modules in a list, under their positions; it computes nothing by itself."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Add one at the end."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add several at the end."""
        self._put((str(position), module) for position, module in enumerate(modules, len(self)))
        return self

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Module]: ...

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...

    def __getitem__(self, index: int | slice) -> Module:
        chosen = list(self)[index]
        return ModuleList(chosen) if isinstance(chosen, list) else chosen


class ModuleDict(_Holder):
    """Modules by name; it computes nothing by itself."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self._put((modules or {}).items())

    def __setitem__(self, name: str, module: Module) -> None:
        self._put([(name, module)])

    def __getitem__(self, name: str) -> Module:
        return dict(self._parts())[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._parts())

    # What a mapping can do, made of the two above and the length
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
    """Parameters in a list, under their positions."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        for value in values:
            self.append(value)

    def append(self, value: Any) -> ParameterList:
        """Add one at the end; what is not a Parameter is made one."""
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
    """Gives back what it gets; arguments are accepted and ignored, so that it can stand in for any layer."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        """The input."""
        return input
