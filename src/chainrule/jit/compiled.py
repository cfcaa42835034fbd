"""`jit`: a function that is traced once for each kind of arguments and from then on replayed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd.mode import mode
from chainrule.errors import CaptureError
from chainrule.jit.graph import Value
from chainrule.jit.program import Program
from chainrule.jit.schedule import plan
from chainrule.jit.trace import Trace, UnsettledError, where
from chainrule.jit.tracer import Tracer, Untraceable
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


PROGRAMS = 4
"""So many programs are kept for the same shapes, for modules that go back and forth between two states, say."""


class Compiled:
    """A compiled function; see `jit`.

    Attributes:
        function: as it was given.
        programs: what has been compiled, by the kinds of arguments.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.programs: dict[Any, list[Replay]] = {}
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the function: traced the first time, replayed from then on."""
        if mode.trace is not None:  # inside another compiled function
            return self.function(*arguments, **options)
        arrays: list[Any] = []
        key = (_key((arguments, options), arrays), bool(mode.recording))
        for replay in self.programs.get(key, ()):
            if replay.applies():
                return replay(arrays)
        return self._traced(key, arguments, options, arrays)

    def _traced(self, key: Any, arguments: Any, options: Any, arrays: list[Any]) -> Any:
        trace = Trace()
        sources: list[Value] = []

        def traced(x: Any) -> Any:
            if isinstance(x, (Tensor, np.ndarray)):
                array = x._data if isinstance(x, Tensor) else x
                value = Value("argument", len(sources), (), array)
                trace.values.append(value)
                sources.append(value)
                return Tensor._wrap(Tracer(trace, value))  # type: ignore[arg-type]
            return x

        given, named = _mapped(arguments, traced), _mapped(options, traced)
        mode.trace = trace
        outputs: list[Value] = []

        def output(x: Any) -> Any:
            if isinstance(x, Tensor):
                value = trace.lift(x).value
                outputs.append(value)
                return _Output(len(outputs) - 1)
            return x

        mode.trace = trace
        try:
            form = _mapped(self.function(*given, **named), output)
            replay = Replay(trace, sources, outputs, form)
        except UnsettledError:
            replay = None
        except Untraceable as error:
            raise CaptureError(f"jit: {error}, which a compiled function cannot know{_line(error)}") from error
        finally:
            mode.trace = None
            trace.restore()
        if replay is None:
            return self.function(*arguments, **options)
        replay.compile()
        known = self.programs.setdefault(key, [])
        known.insert(0, replay)
        del known[PROGRAMS:]
        return replay(arrays)

    def explain(self) -> str:
        """The programs that have been compiled, kernel by kernel, as a table."""
        return "\n\n".join(str(replay) for replays in self.programs.values() for replay in replays)


class _Output(int):
    """Stands for a Tensor in what the function returned."""


class Replay:
    """One program with what belongs to it: outputs to copy, gradients to hang onto leaves, checks that it applies."""

    def __init__(self, trace: Trace, sources: Sequence[Value], outputs: Sequence[Value], form: Any) -> None:
        self.trace, self.sources, self.outputs, self.form = trace, sources, outputs, form
        self.writes, self.gradients = trace.finished()
        self.modules = list(trace.modules.values())
        self.held = [(ref, array) for ref in trace.tensors.values() if (t := ref()) is not None
                     for array in (t._data,) if id(array) in trace.cells]  # fmt: skip

    def compile(self) -> None:
        """Make the program."""
        trace = self.trace
        kept = [*self.outputs, *(value for _, value in self.gradients)]
        schedule = plan(trace.values, kept, self.writes)
        self.program = Program(schedule, trace.host, self.sources, kept)
        self.gradient_tensors = []
        for leaf, value in self.gradients:
            self.gradient_tensors.append((leaf, Tensor._wrap(self.program.array(value))))
        self.must_be_none = [leaf for leaf, _ in self.gradients if id(leaf) not in trace.zeroed]
        for value in trace.values:  # examples have done their duty: only their shapes and strides are asked for
            value.forget()

    def applies(self) -> bool:
        """Whether nothing has changed that the program was made for."""
        for module, training in self.modules:
            if module.training is not training:
                return False
        for ref, array in self.held:
            tensor = ref()
            if tensor is not None and tensor._data is not array:
                return False
        for optimizer, position, state in self.trace.states:
            if optimizer.state.get(position) is not state:  # another state was loaded
                return False
        return bool(self.program.applies())

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> Any:
        """Run the program."""
        for leaf in self.must_be_none:
            if leaf.grad is not None:
                raise CaptureError(
                    f"jit: a gradient of shape {leaf.shape} is there before backward(), and would be added to: call "
                    f"zero_grad() first, inside the compiled function"
                )
        program = self.program
        program.run(arrays)
        for leaf, grad in self.gradient_tensors:
            leaf.grad = grad
        for version in self.trace.versions:
            version[0] += 1
        if type(self.form) is _Output:
            return Tensor._wrap(program.array(self.outputs[self.form]).copy())
        return _mapped(
            self.form, lambda x: Tensor._wrap(program.array(self.outputs[x]).copy()) if isinstance(x, _Output) else x
        )

    def __str__(self) -> str:
        return self.program.code


def jit(function: Callable[..., Any]) -> Compiled:
    """Compile a function of Tensors, such as a step of training.

        step = chainrule.jit(train_step)
        loss = step(images, labels)

    The first call for each combination of shapes and types is written down operation by operation (and has its usual
    effects); later calls replay that, compiled: elementwise steps and reductions fused into single loops, memory
    planned, no Python in between. Parameters, buffers, what optimisers remember and their settings are read and written
    where they are, so `state_dict`, schedules and checkpoints work as ever.

    Args:
        function: takes and returns Tensors, in tuples, lists and dicts if need be, and anything else; arguments that
            are not Tensors or arrays are part of the combination.

    Returns:
        A function that does the same. What it returns carries no graph. Its `explain()` shows the programs.

    Raises:
        CaptureError: on a call, for what cannot be compiled: a Python branch on a value, a shape that depends on values,
            `print` or `item()` of a Tensor, a schedule's step; with the line.
    """
    return Compiled(function)


def _line(error: Untraceable) -> str:
    """The user's innermost line on the error's way."""
    from chainrule.autograd.mode import _HOUSE

    found, step = "", error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if not name.startswith(_HOUSE):
            found = f" ({name}:{step.tb_lineno})"
        step = step.tb_next
    return found


def _key(x: Any, arrays: list[Any]) -> Any:
    """What distinguishes arguments that need another program; arrays are collected on the way."""
    if isinstance(x, Tensor):
        array = x._data
    elif isinstance(x, np.ndarray):
        array = x
    elif isinstance(x, (tuple, list)):
        return type(x), tuple(_key(part, arrays) for part in x)
    elif isinstance(x, dict):
        return tuple((k, _key(v, arrays)) for k, v in x.items())
    else:
        try:
            hash(x)
        except TypeError:
            raise CaptureError(f"jit: an argument of the type {type(x).__name__} cannot be told from others") from None
        return type(x), x
    arrays.append(array)
    return array.shape, array.dtype


def _mapped(x: Any, function: Callable[[Any], Any]) -> Any:
    """The same nest of tuples, lists and dicts with every leaf replaced."""
    if isinstance(x, (tuple, list)) and type(x) in (tuple, list):
        return type(x)(_mapped(part, function) for part in x)
    if isinstance(x, dict):
        return {key: _mapped(value, function) for key, value in x.items()}
    return function(x)


__all__ = ["Compiled", "jit", "where"]
