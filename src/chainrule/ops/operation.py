"""What an operation is: a formula, written once in NumPy, and the rule for its derivative.

    @operation
    def tanh(x):
        return np.tanh(x)

    @tanh.derivative
    def _(grad, out):
        return grad * (1 - out * out)

**The formula.** Its positional parameters are the inputs, arrays that can be differentiated; its keyword-only
parameters are options, such as `dim`. An input with a default, such as `bias=None`, may be left out.

**The derivative.** Its first parameter, `grad`, is dL/d(out) for some final number L, and it returns dL/d(input). The
others say by name what it needs to know: `out` (the result), an input (`x`), the shape alone of an input (`x_shape`),
or an option; of a formula that takes any number of inputs, `shapes`. What it does not name is not kept. With several
inputs it returns one entry for each, in their order: a gradient, or a function without arguments that computes it and
is called only if somebody wants that gradient. A gradient of the broadcast shape will do: the tape sums it back to the
input's own shape.

**Three readings.** Given arrays, an operation runs its formula. An input whose type has a method `__operation__` takes
over: a Tensor records the call on the tape. And since rules are written with operators and NumPy functions, which
Tensors take too, a rule that is run on Tensors is recorded in its turn: that is all that gradients of gradients
need.

**Your own.** This is all that the library's own operations do: `from chainrule.ops import operation`, write the two
functions in NumPy with no change in place, and call the result on Tensors. `chainrule.autograd.gradcheck(tanh, x)` and
`gradgradcheck` (x in float64, requiring gradients) tell whether formula and derivative agree.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.tensor import Tensor  # a name for type checkers; operations know nothing of Tensors

Array: TypeAlias = Any
"""What operations take and give: an array, a number, or a Tensor; the formula is the same for all."""

_NUMBERS = (bool, int, float)  # Python's own

NUMPY: dict[Any, Callable[..., Any]] = {
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.zeros_like: lambda x: np.zeros(x.shape, x.dtype),
    np.ones_like: lambda x: np.ones(x.shape, x.dtype),
}
"""Which operation stands for which NumPy function when a Tensor is handed to it: `np.tanh(tensor)`."""


class Operation:
    """A formula with its derivative; call it like the formula.

    Attributes:
        name: the formula's name.
        formula: arrays in, array out.
        rule: the derivative, or None where the result does not vary smoothly (comparisons, argmax).
        needs: what the rule wants to know besides `grad`, in the order of its parameters: a pair of a kind
            ("out", "input", "shape" or "option") and the input's position or the option's name.
        promote: how inputs of several types meet: "common" type, a "floating" type, or None for as they are.
        tensors: which inputs, by position, must not be Python numbers when the operation is called by its name, as
            PyTorch has it (operators and NumPy's functions take numbers on either side).
        view: whether the result may share its input's memory.
        extra: by which name the rule asks for what the formula gives besides its result, if it does.
    """

    def __init__(
        self, formula: Callable[..., Any], promote: str | None, tensors: tuple[int, ...], view: bool, extra: str | None
    ) -> None:
        code = formula.__code__
        self.formula = formula
        self.name = formula.__name__
        self.__name__, self.__doc__, self.__wrapped__ = formula.__name__, formula.__doc__, formula
        self.inputs = code.co_varnames[: code.co_argcount]
        self.options = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        self.defaults: dict[str, Any] = formula.__kwdefaults__ or {}
        self.absent = formula.__defaults__ or ()  # what stands for inputs that may be left out
        self.variadic = bool(code.co_flags & 0x04)  # the formula takes *inputs
        self.promote = promote
        self.tensors = tensors
        self.view = view
        self.extra = extra
        self.rule: Callable[..., Any] | None = None
        self.needs: tuple[tuple[str, Any], ...] = ()

    def derivative(self, rule: Callable[..., Any]) -> Operation:
        """Decorator: `rule(grad, ...)` is this operation's derivative."""
        names = rule.__code__.co_varnames[: rule.__code__.co_argcount]
        if names[:1] != ("grad",):
            raise TypeError(f"{self.name}: the first parameter of its derivative must be `grad`")
        self.rule, self.needs = rule, tuple(self._need(name) for name in names[1:])
        return self

    def _need(self, name: str) -> tuple[str, Any]:
        if name == "out" or (name == "shapes" and self.variadic):
            return name, None
        if name == self.extra:
            return "extra", None
        if name in self.inputs:
            return "input", self.inputs.index(name)
        if name.endswith("_shape") and name.removesuffix("_shape") in self.inputs:
            return "shape", self.inputs.index(name.removesuffix("_shape"))
        if name in self.options:
            return "option", name
        raise TypeError(
            f"{self.name}: its derivative asks for `{name}`, which is neither `out`, an input nor an option"
        )

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        """Run the formula; what comes back is a Tensor if one goes in, and an array otherwise."""
        if len(inputs) > len(self.inputs) and not self.variadic:  # x.sum(0): options may be given by position
            given = dict(zip(self.options, inputs[len(self.inputs) :], strict=False))
            if len(inputs) - len(self.inputs) > len(self.options) or given.keys() & options.keys():
                raise TypeError(f"{self.name}: takes {', '.join(self.inputs + self.options)}, once each")
            inputs, options = inputs[: len(self.inputs)], {**given, **options}
        if options and not options.keys().isdisjoint(self.inputs):  # linear(x, weight=w)
            inputs, options = self._by_position(inputs, options)
        for position in self.tensors:
            if type(inputs[position]) in _NUMBERS:
                raise TypeError(
                    f"{self.name}: {self.inputs[position]} must be a tensor, not the number {inputs[position]}"
                )
        for x in inputs:
            record = getattr(type(x), "__operation__", None)
            if record is not None:
                return record(self, inputs, options)  # type: ignore[no-any-return]  # whatever the type makes of it
        if inputs and all(type(x) in _NUMBERS for x in inputs):
            raise TypeError(f"{self.name}: takes tensors or arrays, not numbers alone: {', '.join(map(str, inputs))}")
        out = self.formula(*inputs, **options)
        return out if self.extra is None else out[0]  # type: ignore[no-any-return]

    def _by_position(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs that were given by name, put in their places."""
        named = {name: value for name, value in options.items() if name in self.inputs}
        optional = dict(zip(reversed(self.inputs), reversed(self.absent), strict=False))
        given = {**optional, **dict(zip(self.inputs, inputs, strict=False)), **named}
        twice = [name for name in self.inputs[: len(inputs)] if name in named]
        missing = [name for name in self.inputs if name not in given]
        if twice or missing:
            what = f"{twice[0]} is given twice" if twice else f"{missing[0]} is missing"
            raise TypeError(f"{self.name}: takes {', '.join(self.inputs + self.options)}, once each: {what}")
        rest = {name: value for name, value in options.items() if name not in named}
        return tuple(given[name] for name in self.inputs), rest

    def __get__(self, instance: Any, owner: Any = None) -> Callable[..., Tensor]:
        """As a class attribute an operation is a method: `tensor.sum()`."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


def constant(x: Any) -> Any:
    """The same values, for which no gradient is wanted: a Tensor's `detach()`, an array as it is."""
    return x.detach() if hasattr(x, "detach") else x


@overload
def operation(formula: Callable[..., Any]) -> Operation: ...


@overload
def operation(
    *,
    numpy: Any = None,
    promote: str | None = None,
    tensors: tuple[int, ...] = (),
    view: bool = False,
    extra: str | None = None,
) -> Callable[[Callable[..., Any]], Operation]: ...


def operation(
    formula: Callable[..., Any] | None = None,
    *,
    numpy: Any = None,
    promote: str | None = None,
    tensors: tuple[int, ...] = (),
    view: bool = False,
    extra: str | None = None,
) -> Operation | Callable[[Callable[..., Any]], Operation]:
    """Decorator: make an `Operation` of a formula.

    Args:
        formula: the function; given directly when the decorator stands without arguments.
        numpy: the NumPy function that does the same, so that it takes Tensors too.
        promote: "common" or "floating" to bring inputs of several types to one as PyTorch does (see `ops.dtypes`).
        tensors: which inputs, by position, must not be Python numbers.
        view: the result may share its input's memory, as a reshaped array does.
        extra: the formula returns a pair: the result, and something constant, such as places, that its rule asks for
            by this name.
    """

    def make(formula: Callable[..., Any]) -> Operation:
        made = Operation(formula, promote, tensors, view, extra)
        if numpy is not None:
            NUMPY[numpy] = made
        return made

    return make if formula is None else make(formula)
