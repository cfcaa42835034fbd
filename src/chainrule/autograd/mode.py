"""How a thread records: whether operations leave a trace on the tape, and whether each remembers its line of code.

`no_grad` is for measuring and for changing parameters; `detect_anomaly` is for finding where a NaN comes from.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from contextlib import ContextDecorator
from itertools import islice
from traceback import FrameSummary, format_list, walk_stack
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self, TypeVar

from chainrule.errors import PACKAGE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from chainrule.autograd.tape import Leaf, Node
    from chainrule.ops.operation import Operation
    from chainrule.optim import Optimizer
    from chainrule.tensor import Tensor

_FRAMES = 5  # how many of the user's frames a node remembers, the innermost ones


class Anomaly:
    """Care taken while anomalies are looked for: finds the user's line behind an operation.

    Attributes:
        check_nan: whether a derivative that gives NaN is an error.
        within: the frames of the operation whose derivative is running; what that records belongs to them.
    """

    def __init__(self, check_nan: bool, within: tuple[FrameSummary, ...] | None = None) -> None:
        self.check_nan, self.within = check_nan, within

    def user_frames(self) -> tuple[FrameSummary, ...]:
        """The innermost frames of the running code that are not chainrule's own, the outermost of them first."""
        if self.within is not None:
            return self.within
        calls = ((frame.f_code, line) for frame, line in walk_stack(sys._getframe(1)))
        users = islice(
            ((code, line) for code, line in calls if not code.co_filename.startswith(PACKAGE_FOLDER)), _FRAMES
        )
        frames = [FrameSummary(code.co_filename, line, code.co_name, lookup_line=False) for code, line in users]
        return tuple(frames[::-1])


def error_suffix(frames: tuple[FrameSummary, ...]) -> str:
    """The end of an error's message: where the operation was recorded, if that was remembered."""
    return "; it was recorded here:\n" + "".join(format_list(list(frames))).rstrip() if frames else ""


class Tracing(Protocol):
    """What Tensors, the tape and optimizers ask of the trace of a compiled function, `chainrule.capture.trace.Trace`.

    While one runs, its tracers stand for arrays.
    """

    # What becomes part of the program

    def run(
        self, operation: Operation[...], inputs: Sequence[Any], options: dict[str, Any]
    ) -> tuple[list[Any], Any, Any]:
        """Record an operation: its inputs and its result as tracers, and what else its formula gives."""

    def pull(self, node: Node, grad: Any) -> Any:
        """Record an operation's derivative: the gradients of a node's inputs."""

    def update(self, optimizer: Optimizer, position: int, parameter: Tensor, group: Any) -> None:
        """Record the step of an optimizer for one parameter."""

    def random_draw(self, name: str, generator: np.random.Generator, function: Callable[[], NDArray[Any]]) -> Any:
        """Record a random draw, which each run makes anew."""

    def add_constant(self, array: Any) -> Any:
        """The tracer of an array that is the same in all runs."""

    def from_data(self, data: Any, array: NDArray[Any]) -> Any:
        """The tracer of a new Tensor, whose array was made of the user's data."""

    def lift(self, x: Any, detached: bool = False) -> Any:
        """The tracer of a Tensor or an array; numbers stay what they are."""

    def as_tracer(self, x: Any) -> Any:
        """The tracer of an array, or the tracer itself."""

    def match_layout(self, x: Any, like: Any) -> Any:
        """The same elements in memory that is laid out as another's."""

    def index(self, index: Any) -> Any:
        """The tracer of an array that is used as an index."""

    def example_at(self, array: Any, index: Any) -> Any:
        """What lies at an index at this moment."""

    def read_grad(self, leaf: Leaf, outside: bool) -> None:
        """The gradient of a leaf is read."""

    def set_grad(self, node: Leaf | Node, grad: Tensor | None) -> Tensor | None:
        """A gradient is assigned; returns what it is to be."""

    # What cannot be part of it

    def check_gradient(self, node: Any) -> None:
        """Refuse to add to a gradient that was there before."""

    def check_hook(self, owner: Any) -> None:
        """Refuse to register a hook on something from outside."""

    def check_group(self, optimizer: Optimizer) -> None:
        """Refuse to add a group to an optimizer from outside."""

    def refuse(self, what: str) -> NoReturn:
        """Refuse what a program would do once and never again."""

    def refuse_value(self, what: str) -> NoReturn:
        """Refuse a question whose answer depends on values."""


class _Mode(threading.local):
    recording: bool | Anomaly = True  # with an Anomaly, operations are recorded together with the user's frames
    anomaly: Anomaly | None = None
    trace: Tracing | None = None  # while a function is traced


mode = _Mode()
"""Whether and how operations are recorded, thread by thread."""


def refuse_compiled(what: str) -> None:
    """Refuse, before anything has changed, what a compiled function would do once and never again."""
    if mode.trace is not None:
        mode.trace.refuse(what)


Function = TypeVar("Function", bound="Callable[..., Any]")


class _Recording(ContextDecorator):
    """Whether operations are recorded inside. Small networks predict in microseconds, so it does nothing else."""

    def __init__(self, how: Any) -> None:
        self._how = how

    def __enter__(self) -> None:
        self._before = mode.recording, mode.anomaly
        mode.recording = self._how and (mode.anomaly or True)

    def __exit__(self, *_: object) -> None:
        mode.recording, mode.anomaly = self._before

    def _recreate_cm(self) -> Self:  # what a decorated function enters at each call
        return type(self)(self._how)

    def __call__(self, func: Function) -> Function:
        """Decorate a function; a generator's own code runs in the mode, what it is iterated by does not.

        Raises:
            TypeError: an asynchronous function, which shares its thread with others while it waits.
        """
        if inspect.iscoroutinefunction(func) or inspect.isasyncgenfunction(func):
            instead = "use the `with` block inside, with no await in it"
            raise TypeError(f"an asynchronous function ({func.__name__}) cannot be decorated with this: {instead}")
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
                    except BaseException as error:  # thrown into the generator
                        resume = functools.partial(generator.throw, error)
            except StopIteration as end:
                return end.value

        return generate


class _Switch(_Recording):
    """Changes the mode at once, to what `how()` says; as a `with` block or a decorator only for its length."""

    def __init__(self, how: Callable[[], tuple[bool, Anomaly | None]]) -> None:
        self._how, self._before = how, (mode.recording, mode.anomaly)
        recording, mode.anomaly = how()
        mode.recording = recording and (mode.anomaly or True)

    def __enter__(self) -> None:
        pass

    def __call__(self, func: Function) -> Function:
        """Decorate a function."""
        self.__exit__()  # a decorator changes nothing until the function is called
        return super().__call__(func)


def set_grad_enabled(enabled: bool) -> _Switch:
    """Record, or do not, from now on; as `with set_grad_enabled(...)` or as a decorator only inside."""
    return _Switch(lambda: (bool(enabled), mode.anomaly))


def no_grad() -> _Recording:
    """Record nothing inside: `with no_grad(): ...` or as a decorator. For measuring and for changing parameters."""
    return _Recording(False)


def enable_grad() -> _Recording:
    """Record again inside a `no_grad`."""
    return _Recording(True)


def is_grad_enabled() -> bool:
    """Whether operations are recorded now."""
    return bool(mode.recording)


def set_detect_anomaly(mode: bool, check_nan: bool = True) -> _Switch:  # PyTorch's name of the argument
    """`detect_anomaly` from now on, or no longer; as a `with` block or a decorator only inside."""
    return _Switch(lambda: (is_grad_enabled(), Anomaly(check_nan) if mode else None))


class _Looking(_Recording):
    """Looks for anomalies inside."""

    def __enter__(self) -> None:
        self._before = mode.recording, mode.anomaly
        mode.anomaly = Anomaly(self._how)
        mode.recording = bool(mode.recording) and mode.anomaly


def detect_anomaly(check_nan: bool = True) -> _Looking:
    """Find the line of code behind a NaN or another error in `backward()`: run both passes inside.

    Each operation that is recorded inside remembers which of your lines called it, and errors of its derivative point
    there; a derivative that gives NaN is such an error too. Slower, for looking only; in this thread only.

    Args:
        check_nan: whether NaN in a gradient is an error.
    """
    return _Looking(check_nan)
