"""What an operation is: a formula, written once in NumPy, and the rule for its derivative.

    @operation
    def tanh(x):
        return np.tanh(x)

    @tanh.derivative
    def _(grad, out):
        return grad * (1 - out * out)

**The formula.** Its positional parameters are the inputs, which can be differentiated; its keyword-only parameters
are options, such as `dim`. An input with a default, such as `bias=None`, is optional. With `@operation(inputs=1)` only
the first parameter is an input, and the options after it can be passed by position: `sum(x, 0)`. The option `inplace`,
if there is one, is not passed on to the formula: if it is True, the result is also written into the input.

**The derivative.** Its first parameter, `grad`, is dL/d(out) for a scalar loss L, and it returns dL/d(input). Its
other parameters name what it needs: `out` (the result), an input (`x`), the shape of an input (`x_shape`) or an option;
for a formula with any number of inputs, `shapes`; for a formula that returns a second result, the name that
`@operation(extra=...)` gives it. Only what it names is saved. With several inputs it returns one entry for each, in
order: a gradient, a function without arguments that computes it and is called only if that gradient is needed, or None
for an input that cannot be differentiated, such as an index. If an input was broadcast, its gradient may have the shape
of the result: the tape sums it over the repeated dimensions.

**Running, recording, tracing.** On arrays, an operation runs its formula. If the type of an input has a method
`__operation__`, that method takes over: a Tensor records the call on the tape. A derivative is written with operators
and NumPy functions, which Tensors support as well, so running it on Tensors records it, too. Gradients of gradients
need nothing else. A tracer of `chainrule.jit` records the NumPy calls of formula and derivative.

**Your own operation.** Import the decorator with `from chainrule.ops import operation`, write the two functions in
NumPy without in-place changes, and call the operation on Tensors; the library's own operations need no more. To check
the derivative, call `gradcheck(tanh, x)` and `gradgradcheck(tanh, x)` of `chainrule.autograd` with a float64 Tensor `x`
that requires gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeAlias, get_args, overload

import numpy as np

from chainrule.errors import check, type_name
from chainrule.lower import eager
from chainrule.ops.argument_aliases import ARGUMENT_ALIASES, rename

Array: TypeAlias = Any
"""What formulas compute with: arrays, numbers, Tensors or tracers. NumPy's type annotations cover only arrays."""

if TYPE_CHECKING:
    from numpy.typing import DTypeLike as DTypeLike
    from numpy.typing import NDArray

    from chainrule.tensor import Tensor as Tensor  # for type checkers only: operations do not depend on it

    Input: TypeAlias = Tensor | NDArray[Any]
    """What an operation takes as input: a Tensor or an array."""

    Operand: TypeAlias = Tensor | NDArray[Any] | np.number[Any] | bool | int | float
    """An input that may be a number."""
else:
    Tensor = DTypeLike = Input = Operand = Any

Ints: TypeAlias = int | Sequence[int]
"""One integer or a sequence of integers."""

Promotion: TypeAlias = Literal["common", "floating", "floating_only"]
"""How to convert inputs of several types to one; see `ops.dtypes`."""

P = ParamSpec("P")
"""The parameters of the formula, and so of the operation, for type checkers and editors."""

MethodP = ParamSpec("MethodP")
"""The parameters after the first: those of the method."""

_PYTHON_NUMBERS = (bool, int, float)

NUMPY: dict[Any, Callable[..., Any]] = {
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.zeros_like: lambda x: np.zeros(x.shape, x.dtype),
    np.ones_like: lambda x: np.ones(x.shape, x.dtype),
}
"""The operation that each NumPy function calls when its argument is a Tensor: `np.tanh(tensor)`."""


class Operation(Generic[P]):
    """A formula with its derivative; call it like the formula.

    Attributes:
        name: the formula's name.
        formula: arrays in, array out.
        inputs: the names of the inputs.
        input_defaults: the inputs that may be left out, which are the last ones, with their defaults.
        input_default_values: these defaults alone.
        options: the names of the options.
        option_defaults: the options that may be left out, with their defaults.
        option_aliases: maps aliases to options (`ops.argument_aliases`): "axis" to "dim", if the formula has a `dim`.
        variadic: whether the formula takes any number of inputs.
        rule: the derivative, or None if there is none (comparisons, argmax).
        needs: what the rule needs besides `grad`, in the order of its parameters: pairs of a kind ("out", "extra",
            "input", "shape", "shapes" or "option") and the input's position or the option's name.
        promote: how to convert inputs to one type: "common", "floating" or "floating_only" (see `ops.dtypes`), or
            None to leave them.
        tensors: the positions of inputs that must not be Python numbers in a call such as `maximum(x, y)`, as in
            PyTorch. Operators and NumPy functions take numbers on either side: `2 < x`, `np.maximum(x, 2)`.
        view: whether the result may share memory with its input.
        fused: whether the formula and the rule run as fused loops on large arrays (`lower.eager`).
        compute: the formula, or the method that runs it as fused loops.
        extra: the name by which the rule asks for the formula's second result, if there is one.
    """

    def __init__(
        self, formula: Callable[P, Any], *, inputs: int | None = None, numpy: Any = None,
        promote: Promotion | None = None, tensors: tuple[int, ...] = (), view: bool = False, extra: str | None = None,
        fused: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.formula = formula.__name__, formula
        self.__name__, self.__doc__, self.__wrapped__ = formula.__name__, formula.__doc__, formula
        accepted = (*get_args(Promotion), None)
        check(self.name, promote in accepted, f"promote must be one of {accepted}, not {promote!r}")
        code = formula.__code__
        count = code.co_argcount if inputs is None else inputs
        self.inputs = code.co_varnames[:count]
        self.options = options = code.co_varnames[count : code.co_argcount + code.co_kwonlyargcount]
        positional = code.co_varnames[: code.co_argcount]
        defaults = dict(zip(positional[::-1], (formula.__defaults__ or ())[::-1], strict=False))
        self.input_defaults: dict[str, Any] = {name: defaults.pop(name) for name in self.inputs if name in defaults}
        self.input_default_values = tuple(self.input_defaults.values())
        self.option_defaults: dict[str, Any] = defaults | (formula.__kwdefaults__ or {})
        aliases = ARGUMENT_ALIASES.items()
        self.option_aliases = {alias: name for alias, name in aliases if name in options and alias not in options}
        # keywords that need `_bind`: inputs by name, aliases of options, `inplace`
        self._bound_keywords = frozenset((*self.inputs, *self.option_aliases, *{"inplace"}.intersection(self.options)))
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
        available: dict[str, tuple[str, Any]] = {name: ("option", name) for name in self.options}
        for position, name in enumerate(self.inputs):
            available |= {f"{name}_shape": ("shape", position), name: ("input", position)}
        available["out"] = ("out", None)
        if self.extra is not None:
            available[self.extra] = ("extra", None)
        if self.variadic:
            available["shapes"] = ("shapes", None)
        for name in names[1:]:
            if name not in available:
                problem = f"asks for `{name}`, but may ask only for {', '.join(sorted(available))}"
                raise TypeError(f"{self.name}: its derivative {problem}")
        self.rule, self.needs = rule, tuple(available[name] for name in names[1:])
        return self

    def __call__(self, *inputs: P.args, **options: P.kwargs) -> Tensor:
        """Run the formula. The result is a Tensor if an input is one, and an array otherwise."""
        has_positional_options = len(inputs) > len(self.inputs) and not self.variadic  # x.sum(0)
        # or linear(x, weight=w)
        if has_positional_options or (options and not options.keys().isdisjoint(self._bound_keywords)):
            inputs, options = self._bind(inputs, options)  # type: ignore[assignment]  # the same, in order
            if options.pop("inplace", False):
                return self._run_in_place(inputs, options)  # type: ignore[no-any-return]  # of the first input's type
        for position in self.tensors:
            if type(inputs[position]) in _PYTHON_NUMBERS:
                requirement = f"{self.inputs[position]} must be a tensor"
                raise TypeError(f"{self.name}: {requirement}, not the number {inputs[position]}")
        for x in inputs:
            record = getattr(type(x), "__operation__", None)
            if record is not None:
                try:
                    return record(self, inputs, options)  # type: ignore[no-any-return]  # the type decides what to return
                except AttributeError:  # an input such as a list has no shape or dtype: say so
                    required_count = len(self.inputs) - len(self.input_defaults)
                    check_tensors(self.name, *inputs[:required_count], optional=inputs[required_count:])
                    raise
        if inputs and all(type(x) in _PYTHON_NUMBERS for x in inputs):
            raise TypeError(f"{self.name}: takes tensors or arrays, not numbers alone: {', '.join(map(str, inputs))}")
        if inputs and type(inputs[0]) is not np.ndarray and not any(map(_is_array, inputs)):
            check_tensors(self.name, *inputs)
        out = self.compute(*inputs, **options)
        return out if self.extra is None else out[0]  # type: ignore[no-any-return]

    def _compute_fused(self, *inputs: Any, **options: Any) -> Any:
        """Run the formula on arrays, as fused loops if they are large."""
        if eager.use_kernel(inputs):
            out = eager.compute(self.formula, inputs, options)
            if out is not NotImplemented:
                return out
        return self.formula(*inputs, **options)

    def fused_vjp(self, grad: Any, saved: Sequence[Any], needs_grad: tuple[bool, ...]) -> Any:
        """Run the rule on arrays; if they are large, as fused loops that compute only the gradients that are needed.

        Args:
            grad: the gradient of the result.
            saved: what else the rule needs, in the order of its parameters.
            needs_grad: for each input, whether its gradient is needed.
        """
        arguments = (grad, *saved)
        if eager.use_kernel(arguments):
            grads = eager.compute(self._rule_for(needs_grad), arguments, {})
            if grads is not NotImplemented:
                return grads
        return self.rule(*arguments)  # type: ignore[misc]  # a node exists only if there is a rule

    @functools.cache  # noqa: B019  # operations live as long as the process
    def _rule_for(self, needs_grad: tuple[bool, ...]) -> Callable[..., Any]:
        """Return the rule as a function that computes the gradients that are needed, and None for the others."""

        def rule(*arguments: Any) -> tuple[Any, ...]:
            grads = self.rule(*arguments)  # type: ignore[misc]  # as above
            grads = grads if type(grads) is tuple else (grads,)
            return tuple([
                None if not needed or grad is None else grad() if callable(grad) else grad
                for grad, needed in zip(grads, needs_grad, strict=True)
            ])  # fmt: skip

        rule.__name__ = f"the derivative of {self.name}"
        return rule

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return inputs and options, for a call with inputs by name or options by position."""
        kwargs = rename(self.name, kwargs, self.option_aliases)
        names = self.inputs + self.options
        values = dict(zip(names, args, strict=False)) | kwargs
        no_repeats, values = len(values) == len(args) + len(kwargs), self.input_defaults | values
        if not no_repeats or (len(args) < len(self.inputs) and not values.keys() >= set(self.inputs)):
            repeated = ", ".join(name for name in names[: len(args)] if name in kwargs)
            missing = ", ".join(name for name in self.inputs if name not in values)
            problem = f"{missing} not given" if missing else f"got {len(args)} arguments by position"
            problem = f"got {repeated} both by position and by name" if repeated else problem
            raise TypeError(f"{self.name}: {problem}; it takes {', '.join(names)}")
        in_place = values.get("inplace", False) if "inplace" in self.options else False
        if not isinstance(in_place, bool):
            raise TypeError(f"{self.name}: inplace must be True or False, not {in_place!r}")
        return tuple([values.pop(name) for name in self.inputs]), values

    def _run_in_place(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Write the result into the first input, and return that."""
        if hasattr(type(inputs[0]), "__in_place__"):
            return inputs[0].__in_place__(self, inputs, options)
        out = self(*inputs, **options)
        inputs[0][...] = out
        return inputs[0]

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: Operation[Concatenate[Any, MethodP]], instance: object, owner: Any = None
    ) -> Callable[MethodP, Tensor]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Make an operation that is an attribute of a class a method: `tensor.sum()`."""
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


def operation(formula: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorator: turn a formula into an `Operation`.

    Args:
        formula: the function, if the decorator is used without arguments.
        **options: any of

            inputs: how many of the positional parameters are inputs, if not all; the others are options.
            numpy: the NumPy function to implement for Tensors.
            promote: "common", "floating" or "floating_only": convert inputs to one type by PyTorch's rules (see
                `ops.dtypes`).
            tensors: the positions of inputs that must not be Python numbers.
            view: the result may share memory with its input, as a reshaped array does.
            fused: on large arrays, formula and rule run as fused loops; `chainrule.jit` must be able to compile both.
            extra: the formula returns a pair: the result and a value that is not differentiated, such as indices; the
                rule asks for it by this name.

    Raises:
        ValueError: `promote` is not one of these.
    """
    return partial(Operation, **options) if formula is None else Operation(formula, **options)


def _is_array(x: Any) -> bool:
    return isinstance(getattr(x, "dtype", None), np.dtype)  # the dtype of a PyTorch tensor is not NumPy's


def is_tensor(x: Any) -> bool:
    """Whether x is a Tensor, rather than an array, a tracer or a number."""
    return hasattr(type(x), "_node")


def check_tensors(name: str, *values: Any, optional: Sequence[Any] = ()) -> None:
    """Raise a TypeError unless all values are Tensors or arrays; those in `optional` may be None."""
    for x in (*values, *(x for x in optional if x is not None)):
        if not _is_array(x):
            raise TypeError(f"{name}: takes tensors or arrays, not {type_name(x)}")


def stop_gradient(x: Any) -> Any:
    """Return the same values without their history: `detach()` of a Tensor, an array unchanged."""
    return x.detach() if hasattr(x, "detach") else x
