"""What an operation is: a formula, written once in NumPy, and the rule for its derivative.

    @operation
    def tanh(x):
        return np.tanh(x)

    @tanh.derivative
    def _(grad, out):
        return grad * (1 - out * out)

**The formula.** The positional parameters of the formula are the inputs, with respect to which the operation can be
differentiated. The keyword-only parameters are options, such as `dim`. An input with a default, such as `bias=None`, is
optional. With `@operation(input_count=1)` only the first parameter is an input, and the options after it can also be
passed by position: `sum(x, 0)`. An option `inplace` never reaches the formula: if it is True, the operation writes the
result into the first input and returns that input.

**The rule.** The derivative of an operation is a function, its rule. The rule's first parameter, `grad`, is dL/d(out)
for a scalar loss L; the rule returns dL/d(input). The names of the other parameters are requests: `out` for the result,
`x` for the input `x`, `x_shape` for the shape of that input, the name of an option for its value. If the formula takes
`*inputs`, the rule may request `shapes`, the list of their shapes. If the formula returns a second result, the rule may
request it by the name in `@operation(extra=...)`. Only requested values are saved.

For several inputs, the rule returns a tuple with one entry per input. An entry is a gradient; or a function without
arguments that returns a gradient, and is called only if that gradient is needed; or None, for an input such as an index
that cannot be differentiated. If an input was broadcast, its gradient may have the shape of the result: the tape sums
it over the repeated dimensions.

**Running, recording, tracing.** On arrays, an operation runs its formula. If the type of an input has a method
`__operation__`, the operation calls that method instead. A Tensor's method runs the formula on the Tensor's array and,
if gradients are required, records the call on the tape. Rules are written with operators and NumPy functions, which
also accept Tensors; a rule that runs on Tensors is recorded as well, so gradients of gradients need no further code.
When `chainrule.jit` traces a function, formulas and rules run on tracers, which record their NumPy calls.

**Your own operation.** Import the decorator with `from chainrule.ops import operation`, write the two functions in
NumPy, and call the operation on Tensors. Neither function may change its arguments. A formula may fill a new array
element by element, but `chainrule.jit` then calls it as Python code instead of compiling it. A rule that fills arrays
cannot be differentiated in turn: for second derivatives, `grad` is a Tensor, and an array cannot hold its history. To
check the rule, call `gradcheck(tanh, x)` and `gradgradcheck(tanh, x)` of `chainrule.autograd` with a float64 Tensor `x`
that requires gradients.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeAlias, get_args, overload

import numpy as np

from chainrule.errors import check, type_name
from chainrule.lower import eager
from chainrule.ops.argument_aliases import ARGUMENT_ALIASES, rename

Array: TypeAlias = Any
"""An array, a number, a Tensor or a tracer. `Any`, because NumPy's functions are annotated for arrays only."""

if TYPE_CHECKING:
    from numpy.typing import DTypeLike as DTypeLike
    from numpy.typing import NDArray

    from chainrule.tensor import Tensor as Tensor  # for type checkers only: operations do not depend on it

    Input: TypeAlias = Tensor | NDArray[Any]
    """An input of an operation: a Tensor or an array."""

    Operand: TypeAlias = Tensor | NDArray[Any] | np.number[Any] | bool | int | float
    """An input that may be a number."""
else:
    Tensor = DTypeLike = Input = Operand = Any

Ints: TypeAlias = int | Sequence[int]
"""One integer or a sequence of integers."""

Promotion: TypeAlias = Literal["common", "floating", "floating_only"]
"""How to convert inputs to one type; see `ops.dtypes.promote`."""

P = ParamSpec("P")
"""The parameters of a formula, which are also those of its operation, for type checkers and editors."""

MethodP = ParamSpec("MethodP")
"""The parameters of an operation that is called as a method: all but the first."""

_PYTHON_NUMBERS = (bool, int, float)

NUMPY_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.zeros_like: lambda x: np.zeros(x.shape, x.dtype),
    np.ones_like: lambda x: np.ones(x.shape, x.dtype),
}
"""Maps a NumPy function to the operation or function that runs instead if an argument is a Tensor, as in
`np.tanh(tensor)`."""


class Operation(Generic[P]):
    """A formula with its derivative; call it like the formula.

    Attributes:
        name: the formula's name.
        formula: takes arrays and returns an array, or a pair (see `extra`). An operation that only rules call may
            return a tuple of arrays; it must not be called with Tensors: the call would make one array of the tuple.
        input_names: the names of the inputs, in order.
        input_defaults: maps each optional input to its default. Optional inputs come last.
        input_default_values: the values of `input_defaults`.
        option_names: the names of the options, in the order of the parameters.
        option_defaults: maps each option that may be left out to its default.
        option_aliases: maps aliases to options (`ops.argument_aliases`): "axis" to "dim", if the formula has a `dim`.
        is_variadic: whether the formula takes any number of inputs, as `*inputs`.
        rule: the derivative; None for an operation without one, such as a comparison or argmax.
        needs: the values that the rule requests besides `grad`, in the order of its parameters: pairs of a kind ("out",
            "extra", "input", "shape", "shapes" or "option") and the input's position, the option's name, or None.
        promote: how to convert inputs to one type (see `ops.dtypes.promote`), or None to leave them unconverted.
        tensor_positions: the positions of inputs that must not be Python numbers in a call such as `maximum(x, y)`, as
            in PyTorch. Operators and NumPy functions take numbers on either side: `2 < x`, `np.maximum(x, 2)`.
        view: whether the result may share memory with the first input.
        fused: whether the formula and the rule run as compiled programs on large arrays (`lower.eager`).
        compute: the formula; if `fused`, the method that runs it as a compiled program where possible.
        extra: the name by which the rule requests the formula's second result, which a call does not return; None if
            the formula has only one result.
    """

    def __init__(
        self, formula: Callable[P, Any], *, input_count: int | None = None, numpy: Any = None,
        promote: Promotion | None = None, tensor_positions: tuple[int, ...] = (), view: bool = False,
        extra: str | None = None, fused: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.formula = formula.__name__, formula
        self.__name__, self.__doc__, self.__wrapped__ = formula.__name__, formula.__doc__, formula
        promotions = (*get_args(Promotion), None)
        check(self.name, promote in promotions, f"promote must be one of {promotions}, not {promote!r}")
        code = formula.__code__
        input_count = code.co_argcount if input_count is None else input_count
        self.input_names = code.co_varnames[:input_count]
        self.option_names = names = code.co_varnames[input_count : code.co_argcount + code.co_kwonlyargcount]
        positional_names = code.co_varnames[: code.co_argcount]
        defaults = dict(zip(positional_names[::-1], (formula.__defaults__ or ())[::-1], strict=False))
        self.input_defaults = {name: defaults.pop(name) for name in self.input_names if name in defaults}
        self.input_default_values = tuple(self.input_defaults.values())
        self.option_defaults: dict[str, Any] = defaults | (formula.__kwdefaults__ or {})
        aliases = ARGUMENT_ALIASES.items()
        self.option_aliases = {alias: name for alias, name in aliases if name in names and alias not in names}
        # keywords that need `_bind`: inputs by name, aliases of options, `inplace`
        self._bound_keywords = frozenset((*self.input_names, *self.option_aliases, *{"inplace"}.intersection(names)))
        self.is_variadic = bool(code.co_flags & inspect.CO_VARARGS)
        self.promote, self.tensor_positions = promote, tensor_positions
        self.view, self.extra, self.fused = view, extra, fused
        self.compute: Callable[..., Any] = self._compute_fused if fused else formula
        self.rule: Callable[..., Any] | None = None
        self.needs: tuple[tuple[str, Any], ...] = ()
        if numpy is not None:
            NUMPY_FUNCTIONS[numpy] = self

    def derivative(self, rule: Callable[..., Any]) -> Self:
        """Decorator: `rule(grad, ...)` is this operation's derivative."""
        names = rule.__code__.co_varnames[: rule.__code__.co_argcount]
        if names[:1] != ("grad",):
            raise TypeError(f"{self.name}: the first parameter of its derivative must be `grad`")
        available: dict[str, tuple[str, Any]] = {name: ("option", name) for name in self.option_names}
        for position, name in enumerate(self.input_names):
            available |= {f"{name}_shape": ("shape", position), name: ("input", position)}
        available["out"] = ("out", None)
        if self.extra is not None:
            available[self.extra] = ("extra", None)
        if self.is_variadic:
            available["shapes"] = ("shapes", None)
        for name in names[1:]:
            if name not in available:
                problem = f"asks for `{name}`, but may ask only for {', '.join(sorted(available))}"
                raise TypeError(f"{self.name}: its derivative {problem}")
        self.rule, self.needs = rule, tuple(available[name] for name in names[1:])
        return self

    def __call__(self, *inputs: P.args, **options: P.kwargs) -> Tensor:
        """Run the formula and return its result: a Tensor if an input is one, and an array otherwise.

        If the formula returns a pair (see `extra`), return only its first element.
        """
        # options by position, as in x.sum(0), or inputs by name, as in linear(x, weight=w)
        has_positional_options = len(inputs) > len(self.input_names) and not self.is_variadic
        if has_positional_options or (options and not options.keys().isdisjoint(self._bound_keywords)):
            inputs, options = self._bind(inputs, options)  # type: ignore[assignment]  # rearranged P.args and P.kwargs
            if options.pop("inplace", False):
                return self._run_in_place(inputs, options)  # type: ignore[no-any-return]  # of the first input's type
        for position in self.tensor_positions:
            if type(inputs[position]) in _PYTHON_NUMBERS:
                requirement = f"{self.input_names[position]} must be a tensor"
                raise TypeError(f"{self.name}: {requirement}, not the number {inputs[position]}")
        for x in inputs:
            method = getattr(type(x), "__operation__", None)
            if method is not None:
                try:
                    return method(self, inputs, options)  # type: ignore[no-any-return]  # the type decides what to return
                except AttributeError:  # perhaps an input is a list, which has no shape: raise a clearer error
                    required_count = len(self.input_names) - len(self.input_defaults)
                    check_tensors(self.name, *inputs[:required_count], optional=inputs[required_count:])
                    raise
        if inputs and all(type(x) in _PYTHON_NUMBERS for x in inputs):
            raise TypeError(f"{self.name}: takes tensors or arrays, not numbers alone: {', '.join(map(str, inputs))}")
        if inputs and type(inputs[0]) is not np.ndarray and not any(map(_is_array, inputs)):
            check_tensors(self.name, *inputs)
        out = self.compute(*inputs, **options)
        return out if self.extra is None else out[0]  # type: ignore[no-any-return]

    def _compute_fused(self, *inputs: Any, **options: Any) -> Any:
        """Run the formula on arrays; if they are large, as a compiled program."""
        out = eager.compute(self.formula, inputs, options) if eager.should_compile(inputs) else NotImplemented
        return self.formula(*inputs, **options) if out is NotImplemented else out

    def fused_vjp(self, grad: Any, saved: Sequence[Any], needs_grad: tuple[bool, ...]) -> Any:
        """Run the rule on arrays; if they are large, as a program that computes only the needed gradients.

        Args:
            grad: the gradient of the result.
            saved: the rule's other arguments, in order.
            needs_grad: for each input, whether its gradient is needed.
        """
        arguments = (grad, *saved)
        rule = self._rule_for(needs_grad) if eager.should_compile(arguments) else None
        grads = NotImplemented if rule is None else eager.compute(rule, arguments, {})
        # type: a node exists only if there is a rule
        return self.rule(*arguments) if grads is NotImplemented else grads  # type: ignore[misc]

    @functools.cache  # noqa: B019  # operations live as long as the process
    def _rule_for(self, needs_grad: tuple[bool, ...]) -> Callable[..., Any]:
        """Return a function that calls the rule and returns a tuple: the needed gradients, and None for the others."""

        def rule(*arguments: Any) -> tuple[Any, ...]:
            grads = self.rule(*arguments)  # type: ignore[misc]  # as in `fused_vjp`
            grads = grads if type(grads) is tuple else (grads,)
            needed_grads = [grad if needed else None for grad, needed in zip(grads, needs_grad, strict=True)]
            return tuple([grad() if callable(grad) else grad for grad in needed_grads])

        rule.__name__ = f"the derivative of {self.name}"
        return rule

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort the arguments of a call into a tuple of all inputs and a dict of options.

        Raises:
            TypeError: an input is missing, an argument is given twice, too many are given, or `inplace` is not boolean.
        """
        kwargs = rename(self.name, kwargs, self.option_aliases)
        names = self.input_names + self.option_names
        values = dict(zip(names, args, strict=False)) | kwargs
        has_surplus = len(values) < len(args) + len(kwargs)
        values = self.input_defaults | values
        if has_surplus or (len(args) < len(self.input_names) and not values.keys() >= set(self.input_names)):
            repeated = ", ".join(name for name in names[: len(args)] if name in kwargs)
            missing = ", ".join(name for name in self.input_names if name not in values)
            problem = f"{missing} not given" if missing else f"got {len(args)} arguments by position"
            problem = f"got {repeated} both by position and by name" if repeated else problem
            raise TypeError(f"{self.name}: {problem}; it takes {', '.join(names)}")
        in_place = values.get("inplace", False) if "inplace" in self.option_names else False
        if not isinstance(in_place, bool):
            raise TypeError(f"{self.name}: inplace must be True or False, not {in_place!r}")
        return tuple([values.pop(name) for name in self.input_names]), values

    def _run_in_place(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Write the result into the first input, and return that input."""
        if hasattr(type(inputs[0]), "__in_place__"):
            return inputs[0].__in_place__(self, inputs, options)
        inputs[0][...] = self(*inputs, **options)
        return inputs[0]

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: Operation[Concatenate[Any, MethodP]], instance: object, owner: Any = None
    ) -> Callable[MethodP, Tensor]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind the operation to an instance, so that it works as a method: `tensor.sum()`."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


@overload
def operation(formula: Callable[P, Any]) -> Operation[P]: ...


@overload
def operation(
    *, input_count: int | None = None, numpy: Any = None, promote: Promotion | None = None,
    tensor_positions: tuple[int, ...] = (), view: bool = False, extra: str | None = None, fused: bool = False,
) -> Callable[[Callable[P, Any]], Operation[P]]: ...  # fmt: skip


def operation(formula: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorator: turn a formula into an `Operation`.

    Args:
        formula: the function, if the decorator is used without arguments.
        **options: any of

            input_count: how many of the positional parameters are inputs, if not all; the others are options.
            numpy: the NumPy function to implement for Tensors.
            promote: "common", "floating" or "floating_only": convert inputs to one type by PyTorch's rules (see
                `ops.dtypes.promote`).
            tensor_positions: the positions of inputs that must not be Python numbers.
            view: the result may share memory with the first input, as a reshaped array does.
            fused: on large arrays, run the formula and the rule as compiled programs if they can be compiled.
            extra: set if the formula returns a pair: the result, and a value that is not differentiated, such as
                indices. The rule requests that value by this name; a call does not return it.

    Raises:
        ValueError: `promote` is none of the three words.
    """
    for former_name, name in (("inputs", "input_count"), ("tensors", "tensor_positions")):
        if former_name in options:
            options[name] = options.pop(former_name)
    return partial(Operation, **options) if formula is None else Operation(formula, **options)


def _is_array(x: Any) -> bool:
    """Whether x is an array, a Tensor or a tracer. A PyTorch tensor is not: its dtype is not an `np.dtype`."""
    return isinstance(getattr(x, "dtype", None), np.dtype)


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
