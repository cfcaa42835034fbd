"""The recording mode of each thread: whether operations are recorded, and whether their lines of code are stored.

`no_grad` is for evaluation and for parameter updates; `detect_anomaly` finds the source of a NaN.
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

_FRAMES = 5  # the number of user frames that a node stores, the innermost ones


class Anomaly:
    """The state of anomaly detection; finds the user's line behind an operation.

    Attributes:
        check_nan: whether NaN from a derivative is an error.
        frames: the frames of the operation whose derivative is running; operations that it records get the same frames.
    """

    def __init__(self, check_nan: bool, frames: tuple[FrameSummary, ...] | None = None) -> None:
        self.check_nan, self.frames = check_nan, frames

    def user_frames(self) -> tuple[FrameSummary, ...]:
        """Return the innermost frames outside of chainrule, the outermost of them first."""
        if self.frames is not None:
            return self.frames
        calls = ((frame.f_code, line) for frame, line in walk_stack(sys._getframe(1)))
        user_calls = islice(
            ((code, line) for code, line in calls if not code.co_filename.startswith(PACKAGE_FOLDER)), _FRAMES
        )
        frames = [FrameSummary(code.co_filename, line, code.co_name, lookup_line=False) for code, line in user_calls]
        return tuple(frames[::-1])


def error_suffix(frames: tuple[FrameSummary, ...]) -> str:
    """Return the end of an error message: where the operation was recorded, if that is known."""
    return "; it was recorded here:\n" + "".join(format_list(list(frames))).rstrip() if frames else ""


class Tracing(Protocol):
    """The methods of a trace (`chainrule.capture.trace.Trace`) that Tensors, the tape and optimizers call.

    While a function is traced, Tensors hold tracers instead of arrays. "Outside" means: created before the trace.
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
        """Record a random draw; each run of the program draws again, from the generator's present state."""

    def add_array(self, array: Any) -> Any:
        """Return the tracer of a new array, which is the same in all runs."""

    def from_data(self, data: Any, array: NDArray[Any]) -> Any:
        """Return the tracer of a new Tensor whose array was made from the user's data."""

    def lift(self, x: Any, detached: bool = False) -> Any:
        """Return the tracer of a Tensor or an array, and a number unchanged.

        A Tensor with a graph from outside is refused, because no gradient could reach that graph. With `detached` it is
        accepted: the caller passes no gradient to it.
        """

    def as_tracer(self, x: Any) -> Any:
        """Return the tracer of an array, and a tracer unchanged."""

    def match_layout(self, x: Any, like: Any) -> Any:
        """Return a new tracer of the same value, which later operations treat as laid out in memory like another."""

    def index(self, index: Any) -> Any:
        """Return the tracer of an array that is used as an index."""

    def example_at(self, array: Any, index: Any) -> Any:
        """Return the elements at an index for the arguments of the traced call; only their shape may be used."""

    def before_grad_read(self, leaf: Leaf, outside: bool) -> None:
        """Called before a leaf's gradient is read, to add a guard or refuse; `outside`: its Tensor is from outside."""

    def before_grad_assigned(self, node: Leaf | Node, grad: Tensor | None) -> Tensor | None:
        """Called before a gradient is assigned, to record that; returns the value to assign."""

    # Refusing what cannot be compiled

    def check_gradient(self, node: Any) -> None:
        """Refuse to add to a gradient from before the trace."""

    def check_hook(self, owner: Any) -> None:
        """Refuse to register a hook on an object from outside."""

    def check_group(self, optimizer: Optimizer) -> None:
        """Refuse to add a group to an optimizer from outside."""

    def refuse(self, what: str) -> NoReturn:
        """Refuse an action that a program would not repeat in each run."""

    def refuse_value(self, what: str) -> NoReturn:
        """Refuse to return values, which are not known during tracing; `what` names them, such as "its .data"."""


class _Mode(threading.local):
    recording: bool | Anomaly = True  # an Anomaly: operations are recorded with the user's frames
    anomaly: Anomaly | None = None
    trace: Tracing | None = None  # set while a function is traced


mode = _Mode()
"""The recording mode of the current thread."""


def refuse_while_tracing(what: str) -> None:
    """While a function is traced, refuse an action that its program would not repeat in each run.

    Call it before anything changes.
    """
    if mode.trace is not None:
        mode.trace.refuse(what)


Function = TypeVar("Function", bound="Callable[..., Any]")


class _Recording(ContextDecorator):
    """Sets whether operations are recorded in a block. It must be fast: small networks predict in microseconds."""

    def __init__(self, setting: Any) -> None:
        self._setting = setting  # the constructor's argument: here, whether to record; subclasses take others

    def __enter__(self) -> None:
        self._previous = mode.recording, mode.anomaly
        mode.recording = self._setting and (mode.anomaly or True)

    def __exit__(self, *_: object) -> None:
        mode.recording, mode.anomaly = self._previous

    def _recreate_cm(self) -> Self:  # a decorated function enters a new one at each call
        return type(self)(self._setting)

    def __call__(self, func: Function) -> Function:
        """Decorate a function. A generator's body runs in the mode; the loop that iterates over it does not.

        Raises:
            TypeError: the function is asynchronous: while it waits, other code in its thread would run in the mode.
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
    """Sets the mode immediately, to the result of `setting()`; restores it after a `with` block or a decorated call."""

    def __init__(self, setting: Callable[[], tuple[bool, Anomaly | None]]) -> None:
        self._setting, self._previous = setting, (mode.recording, mode.anomaly)
        recording, mode.anomaly = setting()
        mode.recording = recording and (mode.anomaly or True)

    def __enter__(self) -> None:
        pass

    def __call__(self, func: Function) -> Function:
        """Decorate a function."""
        self.__exit__()  # restore the mode that __init__ has changed: decorating alone must not change it
        return super().__call__(func)


def set_grad_enabled(enabled: bool) -> _Switch:
    """Turn recording on or off from now on, or only in a `with` block or a decorated function."""
    return _Switch(lambda: (bool(enabled), mode.anomaly))


@overload
def no_grad() -> _Recording: ...


@overload
def no_grad(orig_func: Function) -> Function: ...


def no_grad(orig_func: Any = None) -> Any:  # PyTorch's name for the argument
    """Turn recording off inside a `with` block or a decorated function, for evaluation and parameter updates.

    As a decorator it is written with or without brackets: `@no_grad()` or `@no_grad`.
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
    """Return the context manager; or the function, decorated with it."""
    recording = _Recording(setting)
    if function is None:
        return recording
    if not callable(function):
        raise TypeError(f"{name}: takes no argument, or the function that it decorates, not {function!r}")
    return recording(function)


def is_grad_enabled() -> bool:
    """Whether operations are currently recorded."""
    return bool(mode.recording)


def set_detect_anomaly(mode: bool, check_nan: bool = True) -> _Switch:  # PyTorch's name for the argument
    """Turn anomaly detection on or off from now on, or only in a `with` block or a decorated function."""
    return _Switch(lambda: (is_grad_enabled(), Anomaly(check_nan) if mode else None))


class _DetectAnomaly(_Recording):
    """Turns anomaly detection on in its `with` block."""

    def __enter__(self) -> None:
        self._previous = mode.recording, mode.anomaly
        mode.anomaly = Anomaly(check_nan=self._setting)
        mode.recording = bool(mode.recording) and mode.anomaly


def detect_anomaly(check_nan: bool = True) -> _DetectAnomaly:
    """Find the line of code behind a NaN or an error in `backward()`; run both passes in its `with` block.

    Each operation that is recorded in the block stores the lines of your code that called it. If its derivative raises
    an error or gives NaN, the message shows them. It is slow, so use it for debugging only. It affects the current
    thread only.

    Args:
        check_nan: whether NaN in a gradient is an error.
    """
    return _DetectAnomaly(check_nan)
