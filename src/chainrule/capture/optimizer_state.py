"""Stand-ins for an optimizer's options and state during the trace, so that their numbers do not become constants.

`group["lr"]` returns an `OptimizerScalar`, which records the arithmetic done with it as Python code;
`state["step"] += 1` records a value to store after each run. So the same program works for any learning rate and any
step count. `Trace` creates these objects; the code that they record goes to `Glue`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule.capture.frames import callers, is_chainrule, is_stdlib_or_numpy
from chainrule.capture.guards import is_plain
from chainrule.lower.tracer import Scalar, Tracer, Untraceable
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chainrule.capture.trace import Trace

_NUMBERS = (bool, int, float, np.generic)
"""Types of the operands in an `OptimizerScalar`'s arithmetic. `isinstance(scalar, _NUMBERS)` is also true for an
`OptimizerScalar`, because of its `__class__`."""


class UncompilableStateError(BaseException):  # so that the user's `except Exception` does not catch it
    """Raised if the traced call creates optimizer state that a program could not create again.

    This is the state of an optimizer that the call itself creates, or an entry that the optimizer's `start` has not
    created. `jit` runs this call eagerly.
    """


class OptimizerScalar(Scalar):
    """A scalar that Python computes before each run, such as a learning rate or a step count.

    Attributes:
        code: the Python expression that computes it; it may use values that the call has assigned.
        source: the same expression in terms of values from before the call, for guards, which are checked before the
            run.
        trace: the trace that it belongs to.
        value: its value in the traced call.
    """

    __slots__ = ("code", "source", "trace")

    def __init__(self, trace: Trace, code: str, value: Any, source: str | None = None) -> None:
        super().__init__(value)
        self.trace, self.code = trace, code
        self.source = code if source is None else source

    @property  # type: ignore[misc]  # mypy expects an assignable attribute
    def __class__(self) -> Any:
        """The class of the value, because user code may ask `isinstance(scalar, float)`."""
        return type(self.value)

    def __bool__(self) -> bool:
        truth = bool(self.value)
        subject = f"bool({self.trace.describe_code(self.source)})"
        self.trace.glue.guards.add(f"bool({self.source}) is {truth}", subject, f"is {truth}")
        return truth

    # Conversions that would turn the scalar into a constant

    def _refuse(self, conversion: str) -> NoReturn:
        """Refuse a conversion by the user's code; inside chainrule's code, raise `Untraceable`."""
        reason = f"{conversion} with an optimizer's number"
        caller = next(frame for frame in callers() if not is_stdlib_or_numpy(frame.f_code.co_filename))
        if is_chainrule(caller.f_code.co_filename):
            raise Untraceable(reason)  # the operation can be recorded as a Python call instead
        raise self.trace.capture_error(
            f"{reason} would be a constant, but the number changes from call to call: use operators, comparisons or "
            f"NumPy functions"
        )

    def __float__(self) -> NoReturn:
        self._refuse("float()")

    def __int__(self) -> NoReturn:
        self._refuse("int()")

    def __index__(self) -> NoReturn:
        self._refuse("an index or range()")

    def __complex__(self) -> NoReturn:
        self._refuse("complex()")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("an array")

    def __hash__(self) -> NoReturn:
        self._refuse("a key")

    def __str__(self) -> NoReturn:
        self._refuse("text")

    def __format__(self, _: str) -> NoReturn:
        self._refuse("text")

    __repr__ = __str__

    def __getattr__(self, name: str) -> NoReturn:
        if hasattr(self.value, name):
            self._refuse(f".{name}")
        raise AttributeError(f"{type(self.value).__name__!r} object has no attribute {name!r}")

    # Arithmetic

    def _apply(self, template: str, function: Callable[..., Any], *operands: Any) -> OptimizerScalar:
        """Apply a function to scalars and numbers; `template`, filled with the operands' code, is the result's code."""
        return OptimizerScalar(
            self.trace,
            template.format(*(x.code if type(x) is OptimizerScalar else self._literal(x) for x in operands)),
            function(*(x.value if type(x) is OptimizerScalar else x for x in operands)),
            template.format(*(x.source if type(x) is OptimizerScalar else self._literal(x) for x in operands)),
        )

    def _literal(self, x: Any) -> str:
        """Return code that evaluates to x: a literal or a generated name."""
        is_literal = type(x) in (bool, int) or (type(x) is float and math.isfinite(x))
        return repr(x) if is_literal else self.trace.glue.names[x]

    def __neg__(self) -> OptimizerScalar:
        return self._apply("(-{})", operator.neg, self)

    def __pos__(self) -> OptimizerScalar:
        return self

    def __invert__(self) -> OptimizerScalar:
        return self._apply("(~{})", operator.invert, self)

    def __abs__(self) -> OptimizerScalar:
        return self._apply("abs({})", abs, self)

    def __round__(self, digits: int | None = None) -> OptimizerScalar:
        return self._apply("round({}, {})", round, self, digits)

    def __floor__(self) -> OptimizerScalar:
        return self._call(math.floor, self)

    def __ceil__(self) -> OptimizerScalar:
        return self._call(math.ceil, self)

    def __trunc__(self) -> OptimizerScalar:
        return self._call(math.trunc, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def _call(self, function: Callable[..., Any], *operands: Any) -> OptimizerScalar:
        """Apply a function that the generated code calls by a generated name."""
        return self._apply(
            f"{self.trace.glue.names[function]}({', '.join(['{}'] * len(operands))})", function, *operands
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Record a ufunc of scalars and arrays, as in `np.sqrt(scalar)` or `array * scalar`."""
        if any(not isinstance(x, (*_NUMBERS, np.ndarray)) for x in inputs):
            return NotImplemented  # NumPy then calls the `__array_ufunc__` of the Tensor or Tracer
        if method != "__call__" or options or ufunc.nout != 1:
            self._refuse(f"np.{ufunc.__name__}{'' if method == '__call__' else f'.{method}'}")
        if any(isinstance(x, np.ndarray) for x in inputs):
            return ufunc(*(self.trace.capture_array(x) if isinstance(x, np.ndarray) else x for x in inputs))
        return self._call(ufunc, *inputs)


def _operator(symbol: str, compute: Callable[[Any, Any], Any], swapped: bool) -> Any:
    """Return the special method for a binary operator; with `swapped`, for the reflected one, such as `__radd__`."""

    def apply(self: OptimizerScalar, other: Any) -> Any:
        if not isinstance(other, _NUMBERS):
            return NotImplemented
        return self._apply(f"({{}} {symbol} {{}})", compute, *((other, self) if swapped else (self, other)))

    return apply


_ARITHMETIC = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow",
    "&": "and", "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift",
}  # fmt: skip
"""Maps the symbols of operators to the names of their special methods, without underscores."""

for _symbol, _name in _ARITHMETIC.items():
    setattr(OptimizerScalar, f"__{_name}__", _operator(_symbol, getattr(operator, f"__{_name}__"), swapped=False))
    setattr(OptimizerScalar, f"__r{_name}__", _operator(_symbol, getattr(operator, f"__{_name}__"), swapped=True))
for _symbol, _name in {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}.items():
    setattr(OptimizerScalar, f"__{_name}__", _operator(_symbol, getattr(operator, _name), swapped=False))


class TracedMapping(MutableMapping[str, Any]):
    """Stands for a group of an optimizer's options, or for its state.

    Numbers in it are read as OptimizerScalars, arrays as Tracers.

    Args:
        trace: the trace.
        mapping: the optimizer's own dict.
        label: the name of the dict in messages.
    """

    def __init__(self, trace: Trace, mapping: dict[str, Any], label: str) -> None:
        self.trace, self.mapping, self.label = trace, mapping, label
        self.name = trace.glue.names[mapping]  # in generated code
        self.assigned: dict[str, Any] = {}  # entries that the traced call has assigned

    def __getitem__(self, key: str) -> Any:
        if key in self.assigned:
            return self.assigned[key]
        if key not in self.mapping:
            self._guard_presence(key)
            raise KeyError(key)
        value = self.mapping[key]
        if isinstance(value, np.ndarray):
            self.trace.state_arrays[id(self.mapping), key] = self.mapping, key, value
        return self._trace_value(f"{self.name}[{key!r}]", f"{self.label}[{key!r}]", value)

    # `get` and `setdefault` accept a missing entry; the test with `in` adds the guard that they need

    def get(self, key: str, default: Any = None) -> Any:
        """Return the entry, or the default if it is missing."""
        return self[key] if key in self else default  # noqa: SIM401  # this defines get()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the entry, after setting it to the default if it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def _trace_value(self, code: str, label: str, value: Any) -> Any:
        """Return what stands for a value in the trace: a Tracer, an OptimizerScalar, or the value itself, guarded."""
        if isinstance(value, np.ndarray):
            return self.trace.capture_array(value)
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            return OptimizerScalar(self.trace, code, value)
        guards = self.trace.glue.guards
        if isinstance(value, list) and any(isinstance(part, Tensor) for part in value):
            self.trace.observer.guard_value(code, label, value)  # the parameters of a group
            return value
        if isinstance(value, (tuple, list)):
            condition = f"type({code}) is {type(value).__name__} and len({code}) == {len(value)}"
            guards.add(condition, label, "has the same type and length")
            parts = (self._trace_value(f"{code}[{i}]", f"{label}[{i}]", part) for i, part in enumerate(value))
            return type(value)(parts)
        guards.add_value(code, label, value)
        return self.trace.traced_mapping(value, label) if isinstance(value, dict) else value

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.mapping and key not in self.assigned:
            raise UncompilableStateError
        if type(value) is Tracer:
            self._set_array(key, value)
        elif type(value) is OptimizerScalar:
            code = self.trace.glue.assign(f"{self.name}[{key!r}]", value.code)
            self.assigned[key] = OptimizerScalar(self.trace, code, value.value, value.source)
        elif is_plain(value):
            self.trace.glue.assign(f"{self.name}[{key!r}]", self.trace.glue.names[value])
            self.assigned[key] = value
        else:
            kind = f"a {type(value).__name__}"
            kind = "a NumPy array (np.zeros_like() can be traced)" if isinstance(value, np.ndarray) else kind
            problem = f"{self.label}[{key!r}] is set to {kind}"
            raise self.trace.capture_error(f"{problem}: set it to a number, a string or a computed array")

    def _set_array(self, key: str, value: Tracer) -> None:
        """Assign an array to an entry: each run writes its elements into the memory that the entry has now."""
        array, label, captures = self.mapping.get(key), f"{self.label}[{key!r}]", self.trace.captures
        if id(array) in captures and value is captures[id(array)][0]:
            return  # `state[key] += ...` has already changed it in place
        if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (value.shape, value.dtype):
            old_value = f"{array.shape}, {array.dtype}" if isinstance(array, np.ndarray) else f"{array!r}"
            raise self.trace.capture_error(
                f"{label} ({old_value}) is set to an array of shape {value.shape} and type {value.dtype}: an entry "
                f"must keep its shape and type"
            )
        memory = value if value.base is None else value.base
        if id(memory) in self.trace.arguments or any(memory is capture for capture, _, _ in captures.values()):
            problem = f"{label} is set to an array that is also used elsewhere"
            raise self.trace.capture_error(f"{problem}: set it to a copy()")
        self.trace.state_arrays[id(self.mapping), key] = self.mapping, key, array
        self.trace.capture_array(array)
        _, before, _ = captures[id(array)]
        captures[id(array)] = value, before, array

    def __delitem__(self, key: str) -> None:
        self.trace.refuse(f"removing {self.label}[{key!r}]")

    def __iter__(self) -> Iterator[str]:
        keys = [*self.mapping]
        code = f"[*{self.name}] == {self.trace.glue.names[keys]}"
        self.trace.glue.guards.add(code, self.label, f"has the entries {', '.join(map(str, keys))}")
        return iter(keys)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return key in self.assigned or self._guard_presence(key)

    def _guard_presence(self, key: object) -> bool:
        is_present = key in self.mapping
        code = f"{self.trace.glue.names[key]} {'in' if is_present else 'not in'} {self.name}"
        self.trace.glue.guards.add(code, self.label, f"has {'an' if is_present else 'no'} entry {key!r}")
        return is_present

    def __repr__(self) -> str:
        return repr(dict(self))
