"""An optimizer's options and state while a step is traced: mappings whose numbers are computed anew by each call.

`group["lr"]` gives a `Number`, which records what is done with it, and `state["step"] += 1` what is to be stored
after each run. So one program serves every learning rate and every step.
"""

from __future__ import annotations

import math
import operator
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule.capture.frames import callers, is_chainrule, is_library
from chainrule.capture.guards import is_plain
from chainrule.lower.tracer import Scalar, Tracer, Untraceable
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chainrule.capture.trace import Trace

_SCALARS = (bool, int, float, np.generic)


class UnsettledError(BaseException):  # no `except Exception` of the user's is to catch it
    """An optimizer creates its state as it goes: this step runs eagerly, and the next can be compiled."""


class Number(Scalar):
    """A number that every call computes anew, outside the program: a learning rate, a count of steps.

    Attributes:
        code: how, as Python; it may refer to numbers that the call has assigned already.
        source: the same in terms of what was there before the call, for conditions, which are checked first.
        value: what it is now.
    """

    __slots__ = ("code", "source", "trace")

    def __init__(self, trace: Trace, code: str, value: Any, source: str | None = None) -> None:
        super().__init__(value)
        self.trace, self.code = trace, code
        self.source = code if source is None else source

    @property  # type: ignore[misc]  # of a class that mypy takes for one that can be assigned
    def __class__(self) -> Any:
        """`isinstance(number, float)` answers as it would for the value."""
        return type(self.value)

    def __bool__(self) -> bool:
        truth = bool(self.value)
        subject = f"bool({self.trace.describe_code(self.source)})"
        self.trace.glue.guards.add(f"bool({self.source}) is {truth}", subject, f"is {truth}")
        return truth

    # What Python turns into a number of its own at once, or into text

    def _refuse(self, what: str) -> NoReturn:
        reason = f"{what} of a number of the optimizer"
        caller = next(frame for frame in callers() if not is_library(frame.f_code.co_filename))
        if is_chainrule(caller.f_code.co_filename):
            raise Untraceable(reason)  # the operation may go on as a call of Python
        raise self.trace.capture_error(
            f"{reason}, which changes from call to call, cannot be compiled: use operators, comparisons, np. functions"
        )

    def __float__(self) -> NoReturn:
        self._refuse("float()")

    def __int__(self) -> NoReturn:
        self._refuse("int()")

    def __index__(self) -> NoReturn:
        self._refuse("an index or a range() made")

    def __complex__(self) -> NoReturn:
        self._refuse("complex()")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("an array made")

    def __hash__(self) -> NoReturn:
        self._refuse("a key made")

    def __str__(self) -> NoReturn:
        self._refuse("a text made")

    def __format__(self, _: str) -> NoReturn:
        self._refuse("a text made")

    __repr__ = __str__

    def __getattr__(self, name: str) -> NoReturn:
        if hasattr(self.value, name):
            self._refuse(f".{name}")
        raise AttributeError(f"{type(self.value).__name__!r} object has no attribute {name!r}")

    # Arithmetic

    def _applied(self, template: str, function: Callable[..., Any], *operands: Any) -> Number:
        """A function of numbers; the template has a place for each."""
        return Number(
            self.trace,
            template.format(*(x.code if type(x) is Number else self._literal(x) for x in operands)),
            function(*(x.value if type(x) is Number else x for x in operands)),
            template.format(*(x.source if type(x) is Number else self._literal(x) for x in operands)),
        )

    def _literal(self, x: Any) -> str:
        plain = type(x) in (bool, int) or (type(x) is float and math.isfinite(x))
        return repr(x) if plain else self.trace.glue.names[x]

    def __neg__(self) -> Number:
        return self._applied("(-{})", operator.neg, self)

    def __pos__(self) -> Number:
        return self

    def __invert__(self) -> Number:
        return self._applied("(~{})", operator.invert, self)

    def __abs__(self) -> Number:
        return self._applied("abs({})", abs, self)

    def __round__(self, digits: int | None = None) -> Number:
        return self._applied("round({}, {})", round, self, digits)

    def __floor__(self) -> Number:
        return self._called(math.floor, self)

    def __ceil__(self) -> Number:
        return self._called(math.ceil, self)

    def __trunc__(self) -> Number:
        return self._called(math.trunc, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def _called(self, function: Callable[..., Any], *operands: Any) -> Number:
        return self._applied(
            f"{self.trace.glue.names[function]}({', '.join(['{}'] * len(operands))})", function, *operands
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """`np.sqrt(number)`, `array * number`."""
        if any(not isinstance(x, (*_SCALARS, np.ndarray)) for x in inputs):
            return NotImplemented  # a Tensor or a Tracer, which takes over
        if method != "__call__" or options or ufunc.nout != 1:
            self._refuse(f"np.{ufunc.__name__}{'' if method == '__call__' else f'.{method}'}")
        if any(isinstance(x, np.ndarray) for x in inputs):
            return ufunc(*(self.trace.capture_array(x) if isinstance(x, np.ndarray) else x for x in inputs))
        return self._called(ufunc, *inputs)


def _operator(symbol: str, compute: Callable[[Any, Any], Any], swapped: bool) -> Any:
    def apply(self: Number, other: Any) -> Any:
        if not isinstance(other, _SCALARS):
            return NotImplemented
        operands = (other, self) if swapped else (self, other)
        return self._applied(f"({{}} {symbol} {{}})", compute, *operands)

    return apply


_ARITHMETIC = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow",
    "&": "and", "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift",
}  # fmt: skip
for _symbol, _name in _ARITHMETIC.items():
    setattr(Number, f"__{_name}__", _operator(_symbol, getattr(operator, f"__{_name}__"), swapped=False))
    setattr(Number, f"__r{_name}__", _operator(_symbol, getattr(operator, f"__{_name}__"), swapped=True))
for _symbol, _name in {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}.items():
    setattr(Number, f"__{_name}__", _operator(_symbol, getattr(operator, _name), swapped=False))


class Settings(MutableMapping[str, Any]):
    """An optimizer's options, or its state of one parameter, with Numbers and Tracers in the place of values.

    Args:
        trace: the trace.
        real: the mapping itself.
        label: what to call it in messages.
    """

    def __init__(self, trace: Trace, real: dict[str, Any], label: str) -> None:
        self.trace, self.real, self.label = trace, real, label
        self.name = trace.glue.names[real]
        self.assigned: dict[str, Any] = {}  # by this call

    def __getitem__(self, key: str) -> Any:
        if key in self.assigned:
            return self.assigned[key]
        if key not in self.real:
            self._guard_presence(key)
            raise KeyError(key)
        value = self.real[key]
        if isinstance(value, np.ndarray):
            self.trace.state_arrays[id(self.real), key] = self.real, key, value
        return self._trace_value(f"{self.name}[{key!r}]", f"{self.label}[{key!r}]", value)

    # An entry that is there may be gone at another call, which only these two do not take for an error

    def get(self, key: str, default: Any = None) -> Any:
        """The entry, or the default if there is none."""
        return self[key] if key in self else default  # noqa: SIM401  # that is what is defined here

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The entry, which is set to the default if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def _trace_value(self, code: str, label: str, value: Any) -> Any:
        """A value as the trace has it."""
        if isinstance(value, np.ndarray):
            return self.trace.capture_array(value)
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            return Number(self.trace, code, value)
        guards = self.trace.glue.guards
        if isinstance(value, list) and any(isinstance(part, Tensor) for part in value):
            self.trace.observer.depend_on(code, label, value)  # a group's parameters
            return value
        if isinstance(value, (tuple, list)):
            form = f"type({code}) is {type(value).__name__} and len({code}) == {len(value)}"
            guards.add(form, label, "has its length")
            parts = (self._trace_value(f"{code}[{i}]", f"{label}[{i}]", part) for i, part in enumerate(value))
            return type(value)(parts)
        guards.same(code, label, value)
        return self.trace.settings(value, label) if isinstance(value, dict) else value

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.real and key not in self.assigned:
            raise UnsettledError
        if type(value) is Tracer:
            self._set_array(key, value)
        elif type(value) is Number:
            code = self.trace.glue.assign(f"{self.name}[{key!r}]", value.code)
            self.assigned[key] = Number(self.trace, code, value.value, value.source)
        elif is_plain(value):
            self.trace.glue.assign(f"{self.name}[{key!r}]", self.trace.glue.names[value])
            self.assigned[key] = value
        else:
            kind = f"a {type(value).__name__}"
            what = "an array that NumPy made (np.zeros_like can be compiled)" if isinstance(value, np.ndarray) else kind
            raise self.trace.capture_error(
                f"{self.label}[{key!r}] is set to {what}, not to a number, a text or a result"
            )

    def _set_array(self, key: str, value: Tracer) -> None:
        """Let an entry be another array: its values are written into the memory that is there."""
        array, label = self.real.get(key), f"{self.label}[{key!r}]"
        cells = self.trace.captures
        if value is cells.get(id(array), (None,))[0]:
            return  # `state[key] += ...`, which has changed it in place
        if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (value.shape, value.dtype):
            was = f"shape {array.shape} and {array.dtype}" if isinstance(array, np.ndarray) else f"{array!r}"
            raise self.trace.capture_error(
                f"{label}, which was of {was}, becomes an array of {value.shape} and {value.dtype}"
            )
        memory = value if value.base is None else value.base
        if id(memory) in self.trace.arguments or any(memory is cell for cell, _, _ in cells.values()):
            raise self.trace.capture_error(
                f"{label} is set to an array that belongs to something else, too: set it to a copy()"
            )
        self.trace.state_arrays[id(self.real), key] = self.real, key, array
        self.trace.capture_array(array)
        cells[id(array)] = (value, *cells[id(array)][1:])

    def __delitem__(self, key: str) -> None:
        self.trace.refuse(f"removing {self.label}[{key!r}]")

    def __iter__(self) -> Iterator[str]:
        keys = [*self.real]
        code = f"[*{self.name}] == {self.trace.glue.names[keys]}"
        self.trace.glue.guards.add(code, self.label, f"has the entries {', '.join(map(str, keys))}")
        return iter(keys)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return key in self.assigned or self._guard_presence(key)

    def _guard_presence(self, key: object) -> bool:
        present = key in self.real
        code = f"{self.trace.glue.names[key]} {'in' if present else 'not in'} {self.name}"
        self.trace.glue.guards.add(code, self.label, f"has {'an' if present else 'no'} entry {key!r}")
        return present

    def __repr__(self) -> str:
        return repr(dict(self))
