"""What an operation is: a formula, written once in NumPy, and the rule for its derivative.

    @operation
    def tanh(x):
        return np.tanh(x)

    @tanh.derivative
    def _(grad, out):
        return grad * (1 - out * out)

**The formula.** Its positional parameters are the inputs, arrays that can be differentiated; its keyword-only
parameters are options, such as `dim`. An input with a default, such as `bias=None`, may be left out. With
`@operation(inputs=1)` only the first parameter is an input, and an option that follows it may be given by position:
`sum(x, 0)`.

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

import functools
from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeAlias, overload

import numpy as np

from chainrule.errors import type_name
from chainrule.lower import eager

if TYPE_CHECKING:
    from chainrule.tensor import Tensor as Tensor  # a name for type checkers: operations know nothing of Tensors
else:
    Tensor = Any

Array: TypeAlias = Any
"""What operations take and give: an array, a number, or a Tensor; the formula is the same for all."""

Ints: TypeAlias = int | Sequence[int]
"""One whole number, or several."""

Promotion: TypeAlias = Literal["common", "floating", "floats"]
"""How inputs of several types meet; see `ops.dtypes`."""

P = ParamSpec("P")
"""The formula's parameters, which are the operation's: so type checkers and editors know them."""

MethodP = ParamSpec("MethodP")
"""The parameters after the first, which are a method's."""

_NUMBERS = (bool, int, float)  # Python's own

NUMPY: dict[Any, Callable[..., Any]] = {
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.zeros_like: lambda x: np.zeros(x.shape, x.dtype),
    np.ones_like: lambda x: np.ones(x.shape, x.dtype),
}
"""Which operation stands for which NumPy function when a Tensor is handed to it: `np.tanh(tensor)`."""


class Operation(Generic[P]):
    """A formula with its derivative; call it like the formula.

    Attributes:
        name: the formula's name.
        formula: arrays in, array out.
        rule: the derivative, or None where the result does not vary smoothly (comparisons, argmax).
        needs: what the rule wants to know besides `grad`, in the order of its parameters: a pair of a kind
            ("out", "extra", "input", "shape", "shapes" or "option") and the input's position or the option's name.
        promote: how inputs of several types meet: "common" type, a "floating" type, "floats" alone, or None for as
            they are.
        tensors: which inputs, by position, must not be Python numbers when the operation is called by its name, as
            PyTorch has it (operators and NumPy's functions take numbers on either side).
        view: whether the result may share its input's memory.
        fused: whether large arrays run the formula and the rule as fused loops (`lower.eager`).
        compute: the formula, or what runs it as such loops.
        extra: by which name the rule asks for what the formula gives besides its result, if it does.
    """

    def __init__(
        self, formula: Callable[P, Any], *, inputs: int | None = None, numpy: Any = None,
        promote: Promotion | None = None, tensors: tuple[int, ...] = (), view: bool = False, extra: str | None = None,
        fused: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.formula = formula.__name__, formula
        self.__name__, self.__doc__, self.__wrapped__ = formula.__name__, formula.__doc__, formula
        code = formula.__code__
        count = code.co_argcount if inputs is None else inputs
        self.inputs = code.co_varnames[:count]
        self.options = code.co_varnames[count : code.co_argcount + code.co_kwonlyargcount]
        defaults = dict(
            zip(code.co_varnames[: code.co_argcount][::-1], (formula.__defaults__ or ())[::-1], strict=False)
        )
        self.optional = {name: defaults.pop(name) for name in self.inputs if name in defaults}
        self.absent = tuple(self.optional.values())  # what stands for the last inputs where they are left out
        self.defaults: dict[str, Any] = defaults | (formula.__kwdefaults__ or {})
        self.variadic = bool(code.co_flags & 0x04)  # the formula takes *inputs
        self.promote, self.tensors, self.view, self.extra, self.fused = promote, tensors, view, extra, fused
        self.compute: Callable[..., Any] = self._compute_fused if fused else formula
        self.rule: Callable[..., Any] | None = None
        self.needs: tuple[tuple[str, Any], ...] = ()
        if numpy is not None:
            NUMPY[numpy] = self

    def derivative(self, rule: Callable[..., Any]) -> Self:
        """Decorator: `rule(grad, ...)` is this operation's derivative."""
        names = rule.__code__.co_varnames[: rule.__code__.co_argcount]
        if names[:1] != ("grad",):
            raise TypeError(f"{self.name}: the first parameter of its derivative must be `grad`")
        known: dict[str | None, tuple[str, Any]] = {name: ("option", name) for name in self.options}
        for position, name in enumerate(self.inputs):
            known |= {f"{name}_shape": ("shape", position), name: ("input", position)}
        known |= {self.extra: ("extra", None), "out": ("out", None)}
        if self.variadic:
            known["shapes"] = ("shapes", None)
        for name in names[1:]:
            if name not in known:
                what = f"asks for `{name}`, which is neither `out`, an input nor an option"
                raise TypeError(f"{self.name}: its derivative {what}")
        self.rule, self.needs = rule, tuple(known[name] for name in names[1:])
        return self

    def __call__(self, *inputs: P.args, **options: P.kwargs) -> Tensor:
        """Run the formula; what comes back is a Tensor if one goes in, and an array otherwise."""
        more = len(inputs) > len(self.inputs) and not self.variadic  # x.sum(0)
        if more or (options and not options.keys().isdisjoint(self.inputs)):  # linear(x, weight=w)
            inputs, options = self._sorted(inputs, options)  # type: ignore[assignment]  # the same, in order
        for position in self.tensors:
            if type(inputs[position]) in _NUMBERS:
                wanted = f"{self.inputs[position]} must be a tensor"
                raise TypeError(f"{self.name}: {wanted}, not the number {inputs[position]}")
        for x in inputs:
            record = getattr(type(x), "__operation__", None)
            if record is not None:
                try:
                    return record(self, inputs, options)  # type: ignore[no-any-return]  # whatever the type makes of it
                except AttributeError:
                    needed = len(self.inputs) - len(self.absent)
                    only_tensors(self.name, *inputs[:needed], optional=inputs[needed:])
                    raise
        if inputs and all(type(x) in _NUMBERS for x in inputs):
            raise TypeError(f"{self.name}: takes tensors or arrays, not numbers alone: {', '.join(map(str, inputs))}")
        if inputs and type(inputs[0]) is not np.ndarray and not any(map(_is_array, inputs)):
            only_tensors(self.name, *inputs)
        out = self.compute(*inputs, **options)
        return out if self.extra is None else out[0]  # type: ignore[no-any-return]

    def _compute_fused(self, *inputs: Any, **options: Any) -> Any:
        """The formula on arrays; large ones run it as fused loops."""
        if eager.use_kernel(inputs):
            out = eager.compute(self.formula, inputs, options)
            if out is not NotImplemented:
                return out
        return self.formula(*inputs, **options)

    def pull_fused(self, grad: Any, saved: Sequence[Any], wanted: tuple[bool, ...]) -> Any:
        """The rule on arrays, for the gradients that are wanted; large arrays run it as fused loops."""
        given = (grad, *saved)
        if eager.use_kernel(given):
            parts = eager.compute(self._rule_for(wanted), given, {})
            if parts is not NotImplemented:
                return parts
        return self.rule(*given)  # type: ignore[misc]  # a node is made only where there is a rule

    @functools.cache  # noqa: B019  # operations live as long as the process
    def _rule_for(self, wanted: tuple[bool, ...]) -> Callable[..., Any]:
        """The rule, as a function that gives the wanted gradients and None for the others."""

        def rule(*given: Any) -> tuple[Any, ...]:
            parts = self.rule(*given)  # type: ignore[misc]  # as above
            parts = parts if type(parts) is tuple else (parts,)
            return tuple([
                None if not want or part is None else part() if callable(part) else part
                for part, want in zip(parts, wanted, strict=True)
            ])  # fmt: skip

        rule.__name__ = f"the derivative of {self.name}"
        return rule

    def _sorted(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs and the options, where inputs may be given by name and options by position."""
        found = dict(zip(self.inputs + self.options, given, strict=False)) | named
        once, found = len(found) == len(given) + len(named), self.optional | found
        if not once or (len(given) < len(self.inputs) and not found.keys() >= set(self.inputs)):
            told = f"{len(given)} by position and {', '.join(named) or 'none'} by name"
            raise TypeError(f"{self.name}: takes {', '.join(self.inputs + self.options)}, once each, not {told}")
        return tuple([found.pop(name) for name in self.inputs]), found

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: Operation[Concatenate[Any, MethodP]], instance: object, owner: Any = None
    ) -> Callable[MethodP, Tensor]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a class attribute an operation is a method: `tensor.sum()`."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


@overload
def operation(formula: Callable[P, Any]) -> Operation[P]: ...


@overload
def operation(
    *, inputs: int | None = None, numpy: Any = None, promote: Promotion | None = None, tensors: tuple[int, ...] = (),
    view: bool = False, extra: str | None = None, fused: bool = False,
) -> Callable[[Callable[P, Any]], Operation[P]]: ...  # fmt: skip


def operation(formula: Callable[..., Any] | None = None, **how: Any) -> Any:
    """Decorator: make an `Operation` of a formula.

    Args:
        formula: the function; given directly when the decorator stands without arguments.
        **how: any of

            inputs: how many of the positional parameters are inputs, if not all; those that follow are options.
            numpy: the NumPy function that does the same, so that it takes Tensors too.
            promote: "common", "floating" or "floats" to bring inputs of several types to one as PyTorch does (see
                `ops.dtypes`).
            tensors: which inputs, by position, must not be Python numbers.
            view: the result may share its input's memory, as a reshaped array does.
            fused: large arrays run formula and rule as fused loops; both must then be such that `chainrule.jit` can
                compile them.
            extra: the formula returns a pair: the result, and something constant, such as places, that its rule asks
                for by this name.
    """
    return partial(Operation, **how) if formula is None else Operation(formula, **how)


def _is_array(x: Any) -> bool:
    return isinstance(getattr(x, "dtype", None), np.dtype)  # PyTorch's tensors have other types


def only_tensors(name: str, *given: Any, optional: Sequence[Any] = ()) -> None:
    """Raise a TypeError unless all are Tensors or arrays; those that are `optional` may be None."""
    for x in (*given, *(x for x in optional if x is not None)):
        if not _is_array(x):
            raise TypeError(f"{name}: takes tensors or arrays, not {type_name(x)}")


def stop_gradient(x: Any) -> Any:
    """The same values, for which no gradient is wanted: a Tensor's `detach()`, an array as it is."""
    return x.detach() if hasattr(x, "detach") else x
