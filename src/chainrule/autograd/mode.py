"""The modes of each thread: whether operations are recorded, whether anomalies are detected, and the active trace.

`no_grad` is for evaluation and for parameter updates; `detect_anomaly` finds the source of a NaN. The trace belongs to
`chainrule.jit`, or to another module that records a function, such as `chainrule.onnx`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from contextlib import ContextDecorator
from itertools import islice
from traceback import FrameSummary, format_list, walk_stack
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self, TypeVar, overload

from chainrule.errors import PACKAGE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from chainrule.autograd.tape import Leaf, Node
    from chainrule.ops.operation import Operation
    from chainrule.optim import Optimizer
    from chainrule.tensor import Tensor

_MAX_FRAMES = 5  # the largest number of user frames that a node stores; the innermost ones are kept


class Anomaly:
    """The state of anomaly detection; finds the user's line that called an operation.

    Attributes:
        check_nan: whether NaN from a derivative is an error.
        frames: while the derivative of an operation is recorded (`create_graph`), the frames of that operation: the
            operations of the derivative store them instead of their own. Otherwise None, and `user_frames` reads the
            call stack.
    """

    def __init__(self, check_nan: bool, frames: tuple[FrameSummary, ...] | None = None) -> None:
        self.check_nan, self.frames = check_nan, frames

    def user_frames(self) -> tuple[FrameSummary, ...]:
        """Return the innermost frames outside of chainrule, the outermost of them first."""
        if self.frames is not None:
            return self.frames
        calls = ((frame.f_code, line) for frame, line in walk_stack(sys._getframe(1)))
        user_calls = ((code, line) for code, line in calls if not code.co_filename.startswith(PACKAGE_FOLDER))
        innermost = islice(user_calls, _MAX_FRAMES)
        frames = [FrameSummary(code.co_filename, line, code.co_name, lookup_line=False) for code, line in innermost]
        return tuple(frames[::-1])


def error_suffix(frames: tuple[FrameSummary, ...]) -> str:
    """Return the end of an error message: where the operation was recorded; empty if there are no frames."""
    return "; it was recorded here:\n" + "".join(format_list(list(frames))).rstrip() if frames else ""


class Tracing(Protocol):
    """The methods of a trace that Tensors, the tape, optimizers and random numbers call.

    `chainrule.capture.trace.Trace` is the trace of `chainrule.jit`. While a function is traced, Tensors hold tracers
    instead of arrays. An object "from outside" was created before the trace began.
    """

    # Recording the program

    def record_operation(
        self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]
    ) -> tuple[list[Any], Any, Any]:
        """Record an operation; return its inputs and its result as tracers, and its extra result."""

    def vjp(self, node: Node, grad: Any) -> Any:
        """Record the derivative of a node; return the gradients of its inputs."""

    def update(self, optimizer: Optimizer, position: int, parameter: Tensor, group: Any) -> None:
        """Record an optimizer's update of one parameter."""

    def random_draw(self, name: str, generator: np.random.Generator, function: Callable[[], NDArray[Any]]) -> Any:
        """Record a random draw; each run of the program draws again, from the generator's current state."""

    def add_array(self, array: Any) -> Any:
        """Return a tracer of an array that the library creates (`zeros`), whose values are the same in all runs."""

    def from_data(self, data: Any, array: NDArray[Any]) -> Any:
        """Return the tracer for a new Tensor whose array was made from the user's data."""

    def lift(self, x: Any, detached: bool = False) -> Any:
        """Check a Tensor or an array that the user passed in, and return its tracer; make a number a Python number.

        A result of operations that were recorded outside is refused, because no gradient could reach their graph. With
        `detached` it is accepted, because the caller does not need its gradient.
        """

    def as_tracer(self, x: Any) -> Any:
        """Return the tracer of a gradient, an array, without the checks of `lift`; return a tracer unchanged."""

    def match_layout(self, x: Any, like: Any) -> Any:
        """Return a new tracer of the value of `x`, which later operations treat as laid out in memory like `like`."""

    def index(self, index: Any) -> Any:
        """Return a tracer for an array that is used as an index, which later changes of the array do not affect."""

    def example_at(self, array: Any, index: Any) -> Any:
        """Return the elements at an index as they are in the traced call; only their shape may be used."""

    def before_grad_read(self, leaf: Leaf, outside: bool) -> None:
        """Add a guard before a leaf's gradient is read, or refuse; `outside`: whether its Tensor is from outside."""

    def before_grad_assigned(self, node: Leaf | Node, grad: Tensor | None) -> Tensor | None:
        """Record the assignment of a gradient before it happens; return the value to assign."""

    # Refusing what cannot be compiled

    def check_gradient(self, node: Any) -> None:
        """Refuse to add to a gradient from outside."""

    def check_hook(self, owner: Any) -> None:
        """Refuse to register a hook on an object from outside."""

    def check_group(self, optimizer: Optimizer) -> None:
        """Refuse to add a group to an optimizer from outside."""

    def refuse(self, what: str) -> NoReturn:
        """Refuse an action that a program would not repeat in each run."""

    def refuse_value(self, what: str) -> NoReturn:
        """Refuse to return values, which are not known during tracing; `what` names them: "a Tensor's .data"."""


class _Mode(threading.local):
    recording: bool = True
    anomaly: Anomaly | None = None  # set while anomalies are detected: operations are recorded with the user's frames
    trace: Tracing | None = None  # set while a function is traced


mode = _Mode()
"""The modes of the current thread."""


def refuse_while_tracing(what: str) -> None:
    """While a function is traced, refuse an action that its program would not repeat in each run.

    Call this before the action changes anything.
    """
    if mode.trace is not None:
        mode.trace.refuse(what)


Function = TypeVar("Function", bound="Callable[..., Any]")


class _Recording(ContextDecorator):
    """Sets whether operations are recorded in a block; at the end, restores recording and anomaly detection.

    It must be fast: a small network predicts in microseconds.
    """

    def __init__(self, setting: Any) -> None:
        self._setting = setting  # the constructor's argument: here, whether to record; subclasses take others

    def __enter__(self) -> None:
        self._previous = mode.recording, mode.anomaly
        mode.recording = self._setting

    def __exit__(self, *_: object) -> None:
        mode.recording, mode.anomaly = self._previous

    def _recreate_cm(self) -> Self:  # `ContextDecorator` calls this: each call of a decorated function gets its own
        return type(self)(self._setting)

    def __call__(self, func: Function) -> Function:
        """Decorate a function. The body of a generator runs in the mode; the loop that iterates over it does not.

        Raises:
            TypeError: the function is asynchronous: while it waits, other code in its thread would run in its mode.
        """
        if inspect.iscoroutinefunction(func) or inspect.isasyncgenfunction(func):
            problem = "an asynchronous function cannot be decorated with no_grad() or the like"
            raise TypeError(f"{func.__name__}: {problem}: use a `with` block inside it, with no await in the block")
        return self._generator(func) if inspect.isgeneratorfunction(func) else super().__call__(func)

    def _generator(self, func: Callable[..., Any]) -> Any:
        @functools.wraps(func)
        def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            generator = func(*args, **kwargs)
            resume: Callable[[], Any] = functools.partial(generator.send, None)
            try:
                while True:
                    with self._recreate_cm():
                        item = resume()
                    try:
                        resume = functools.partial(generator.send, (yield item))
                    except GeneratorExit:
                        with self._recreate_cm():
                            generator.close()
                        raise
                    except BaseException as error:  # from generator.throw()
                        resume = functools.partial(generator.throw, error)
            except StopIteration as end:
                return end.value

        return generate


class _Switch(_Recording):
    """Sets recording and anomaly detection immediately, to the result of `setting()`.

    Restores them after a `with` block or a decorated call.
    """

    def __init__(self, setting: Callable[[], tuple[bool, Anomaly | None]]) -> None:
        self._setting, self._previous = setting, (mode.recording, mode.anomaly)
        mode.recording, mode.anomaly = setting()

    def __enter__(self) -> None:
        pass

    def __call__(self, func: Function) -> Function:
        """Decorate a function."""
        self.__exit__()  # restore the mode that __init__ has changed: decorating alone must not change it
        return super().__call__(func)


def set_grad_enabled(enabled: bool) -> _Switch:
    """Turn recording on or off from now on, or only in a `with` block or a decorated function.

    At the end of the block or the function, anomaly detection is restored as well.
    """
    return _Switch(lambda: (bool(enabled), mode.anomaly))


@overload
def no_grad() -> _Recording: ...


@overload
def no_grad(orig_func: Function) -> Function: ...


def no_grad(orig_func: Any = None) -> Any:  # PyTorch's name for the argument
    """Turn recording off inside a `with` block or a decorated function, for evaluation and parameter updates.

    A decorator is written with or without parentheses: `@no_grad()` or `@no_grad`.
    """
    return _recording_or_decorated("no_grad", False, orig_func)


@overload
def enable_grad() -> _Recording: ...


@overload
def enable_grad(orig_func: Function) -> Function: ...


def enable_grad(orig_func: Any = None) -> Any:
    """Turn recording on inside a `with` block or a decorated function, e.g. within `no_grad`."""
    return _recording_or_decorated("enable_grad", True, orig_func)


def _recording_or_decorated(name: str, setting: bool, function: Any) -> Any:
    """Return the context manager; if there is a function, return the decorated function."""
    recording = _Recording(setting)
    if function is None:
        return recording
    if not callable(function):
        raise TypeError(f"{name}: takes no argument, or the function that it decorates, not {function!r}")
    return recording(function)


def is_grad_enabled() -> bool:
    """Whether operations are currently recorded."""
    return mode.recording


def set_detect_anomaly(mode: bool, check_nan: bool = True) -> _Switch:  # PyTorch's name for the argument
    """Turn anomaly detection on or off from now on, or only in a `with` block or a decorated function."""
    return _Switch(lambda: (is_grad_enabled(), Anomaly(check_nan) if mode else None))


class _DetectAnomaly(_Recording):
    """Turns anomaly detection on in its `with` block."""

    def __enter__(self) -> None:
        self._previous = mode.recording, mode.anomaly
        mode.anomaly = Anomaly(check_nan=self._setting)


def detect_anomaly(check_nan: bool = True) -> _DetectAnomaly:
    """Find the line of code behind a NaN or an error in `backward()`; run both passes in its `with` block.

    Each operation that is recorded in the block stores the lines of your code that called it. If its derivative gives
    NaN or raises an error, the error shows these lines. This is slow, so use it for debugging only. It affects the
    current thread only.

    Args:
        check_nan: whether NaN in a gradient is an error.
    """
    return _DetectAnomaly(check_nan)
