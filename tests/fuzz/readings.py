"""Run a program eagerly and compiled, observe the state after each call, and compare.

`check` runs a program in both ways and in PyTorch (see `torch_reading`), and raises a `Failure` at the first
difference. An error that chainrule documents is not a failure; such refusals are counted by kind. If the compiled
function raises `CaptureError`, nothing may have changed.
"""

from __future__ import annotations

import re
import signal
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim, random
from chainrule.errors import CaptureError
from chainrule.kernels import machine, team
from chainrule.lower import eager, kernel_call, schedule
from chainrule.lower import program as lowered
from chainrule.optim import lr_scheduler
from chainrule.tensor import Tensor

from .. import poison
from ..capture import interpreter
from .program import PREAMBLE, Program, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .program import Line

FILE = "<program>"
TOLERANCE = {"float64": 1e-8, "float32": 2e-4}
"""Tolerance, relative to the largest number in a tensor, or to 1 if that is larger."""
LOST = 10
"""The error of a float32 result, against float64, may be this many times the largest error of the other backend."""
SECONDS = 60
"""CPU seconds after which a program counts as hanging."""
REPEATS = 2
"""How often the last call is repeated without changes; the last repetition should not compile again."""
PATIENCE = 10
"""If it does, the call must stop compiling, or a warning appear, within this many further repetitions."""
AS_LARGE: list[tuple[Any, str, int]] = [
    (schedule, "MIN_SPLIT_WORK", 1), (schedule, "MIN_CACHED_BYTES", 1), (schedule, "MIN_RECOMPUTED_SIZE", 1),
    (schedule, "CACHE_BYTES", 256), (schedule, "N_PARTS", 2), (eager, "LARGE", 1), (eager, "MAX_NUMPY_UPDATE", 0),
    (lowered, "WORK_PER_THREAD", 1), (kernel_call, "MIN_PARALLEL_WORK", 0), (team, "_threads", 2),
]  # fmt: skip
"""Constants of the compiler, as modules and names, with which it treats small arrays as large ones."""


class Failure(AssertionError):  # noqa: N818  # a disagreement, unlike the exceptions of the backends
    """A program that fails."""


class CompiledDiffers(Failure):
    """The compiled function and the eager one disagree."""


class TorchDiffers(Failure):
    """Eager chainrule and PyTorch disagree."""


class RefusalChanges(Failure):
    """A refused call changed something."""


class UnexpectedError(Failure):
    """An undocumented exception, or one that the other backend does not raise."""


class CompiledAgain(Failure):
    """The same call is compiled each time although nothing changed, without a warning."""


class HangError(Failure):
    """A program does not end."""


@dataclass
class Counts:
    """The numbers of programs run and of refusals.

    Attributes:
        programs, statements, calls: run by eager chainrule.
        runs: calls that the compiled function did not refuse.
        torch: programs also run by PyTorch.
        kinds: number of programs with each kind of statement.
        refusals: number of refusals by kind.
    """

    programs: int = 0
    statements: int = 0
    calls: int = 0
    runs: int = 0
    torch: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Add other counts."""
        self.programs += other.programs
        self.statements += other.statements
        self.calls += other.calls
        self.runs += other.runs
        self.torch += other.torch
        self.kinds.update(other.kinds)
        self.refusals.update(other.refusals)


@dataclass
class Observation:
    """The observable state after a call.

    Attributes:
        outputs: the outputs by name.
        state: all variables outside, by name.
        refusal: the kind of the error that was raised instead, or "".
    """

    outputs: dict[str, Any]
    state: dict[str, Any]
    refusal: str = ""


class Eager:
    """A program in eager chainrule."""

    library = "eager"
    refusals: tuple[type[Exception], ...] = (ValueError, TypeError, IndexError, RuntimeError)

    def __init__(self, program: Program, counts: Counts) -> None:
        self.program, self.counts = program, counts
        self.namespace = self.names()
        exec(_code(program.helpers()), self.namespace)  # noqa: S102
        self.predefined = set(self.namespace)

    def run(self) -> list[Observation]:
        """Run all calls, and repeat the last one, up to the first error (also of a statement before a call)."""
        self.begin()
        observations = []
        for number in range(len(self.program.calls) + REPEATS):
            try:
                observations.append(self.call(number))
            except Failure:
                raise
            except self.refusals as error:
                observations.append(Observation({}, {}, self.kind(error)))
                break
        return observations

    def begin(self) -> None:
        """Seed the default generator, run the setup, and define the function."""
        random.manual_seed(0)
        self.execute_beginning()

    def call(self, number: int) -> Observation:
        """Run one call."""
        outputs = self.evaluate(self.function, self.prepare(number))
        return Observation(self.flat(outputs), self.state())

    # The steps of a run

    def names(self) -> dict[str, Any]:
        """The namespace of programs."""
        namespace: dict[str, Any] = {}
        exec(_code(PREAMBLE), namespace)  # noqa: S102
        return namespace

    def execute_beginning(self) -> None:
        """Run the setup, and define the function."""
        exec(_code(self.program.beginning(self.library == "torch") or ""), self.namespace)  # noqa: S102
        self.function = self.namespace.pop("step")

    def prepare(self, number: int) -> tuple[Any, ...]:
        """Run the statements before a call; returns its arguments."""
        call = self.program.calls[min(number, len(self.program.calls) - 1)]
        self.no_grad = call.no_grad
        if number < len(self.program.calls):
            exec(_code(self.text(call.before)), self.namespace)  # noqa: S102
        return tuple(eval(argument, self.namespace) for argument in call.arguments)  # noqa: S307

    def text(self, lines: Sequence[Line]) -> str:
        """Lines as text for this library."""
        return text_of(lines, self.library == "torch") or ""

    def evaluate(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Call a function."""
        with self.namespace["cr"].set_grad_enabled(not self.no_grad):
            return function(*arguments)

    def kind(self, error: Exception) -> str:
        """The kind of a refusal: the first line of its message without numbers, shapes and places in the source."""
        text = re.sub(r"\(<program>:\d+\)|\([^()]*\.py:\d+\)", "", str(error).partition("\n")[0])
        text = re.sub(r"\((\d+,? ?)*\)", "(…)", text)
        text = re.sub(r"-?\b\d+(\.\d+)?\b", "#", text)
        return f"{self.library}: {type(error).__name__}: {text.strip()[:110]}"

    # What can be observed

    def state(self) -> dict[str, Any]:
        """The state of all variables outside."""
        state = {"default generator": self.default_generator().bit_generator.state["state"]}
        for name, value in self.namespace.items():
            if name not in self.predefined:
                state.update(self.describe(name, value))
        return state

    def default_generator(self) -> np.random.Generator:
        """The default generator."""
        return random.default_generator()

    def flat(self, value: Any, name: str = "output") -> dict[str, Any]:
        """Flatten nested outputs to copies of arrays, by name."""
        if isinstance(value, (tuple, list)):
            return {key: array for i, part in enumerate(value) for key, array in self.flat(part, f"{name} {i}").items()}
        return {name: self.array(value)}

    def array(self, value: Any) -> Any:
        """A copy of a tensor's values."""
        return value._data.copy() if isinstance(value, Tensor) else value

    def describe(self, name: str, value: Any) -> dict[str, Any]:
        """The observable state of one variable."""
        if isinstance(value, Tensor):
            return self.describe_tensor(name, value)
        if isinstance(value, np.ndarray):
            return {name: value.copy()}
        if isinstance(value, np.random.Generator):
            return {name: value.bit_generator.state["state"]}
        if isinstance(value, nn.Module):
            return self.describe_module(name, value)
        if isinstance(value, optim.Optimizer):
            return self.describe_optimizer(name, value.state, value.param_groups)
        if isinstance(value, lr_scheduler.LRScheduler):
            return self.describe_schedule(name, value)
        return {}

    def describe_tensor(self, name: str, tensor: Any) -> dict[str, Any]:
        """Values and gradient."""
        grad = tensor.grad if tensor.is_leaf else None
        return {
            name: self.array(tensor),
            f"{name}.requires_grad": tensor.requires_grad,
            f"{name}.grad": None if grad is None else self.array(grad),
        }

    def describe_module(self, name: str, module: Any) -> dict[str, Any]:
        """Modes, buffers and parameters."""
        state = {f"{name}.{path}.training": part.training for path, part in module.named_modules()}
        for path, tensor in (*module.named_buffers(), *module.named_parameters()):
            state |= self.describe_tensor(f"{name}.{path}", tensor)
        return state

    def describe_optimizer(self, name: str, state: dict[int, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
        """The state of each parameter, and the options of groups."""
        entries = {
            f"{name}.state[{position}].{key}": self.array(np.asarray(entry) if np.isscalar(entry) else entry).copy()
            for position, remembered in state.items()
            for key, entry in remembered.items()
            if entry is not None
        }
        for i, group in enumerate(groups):
            entries |= {f"{name}.group {i}.{key}": option for key, option in group.items() if key != "params"}
        return entries

    def describe_schedule(self, name: str, schedule: Any) -> dict[str, Any]:
        """The state of a schedule."""
        return {f"{name}.rates": np.array(schedule.get_last_lr()), f"{name}.last_epoch": schedule.last_epoch}


class Compiled(Eager):
    """A program whose function is compiled by `chainrule.jit`."""

    library = "jit"

    def begin(self) -> None:
        super().begin()
        self.function = chainrule.jit(self.function)
        self.earlier: list[tuple[Any, dict[str, Any]]] = []  # outputs of earlier calls, with their original values
        self.traces, trace = 0, self.function._trace_and_run

        def counted(*arguments: Any) -> Any:
            self.traces += 1
            return trace(*arguments)

        self.function._trace_and_run = counted

    def call(self, number: int) -> Observation:
        """Run one call. If it is refused, check that nothing changed, and run the eager function instead."""
        arguments = self.prepare(number)
        before, traces = self.state(), self.traces
        try:
            outputs = self.evaluate(self.function, arguments)
        except CaptureError as error:
            kind = self.kind(error)
            self.counts.refusals[kind] += 1
            compare(before, self.state(), f"call {number + 1} was refused ({kind}), but", RefusalChanges)
            outputs = self.evaluate(self.function.function, arguments)
            return Observation(self.flat(outputs), self.state())
        self.counts.runs += 1
        for earlier, values in self.earlier:
            where = f"call {number + 1} changes what an earlier call returned:"
            compare(values, self.flat(earlier), where, CompiledDiffers)
        observation = Observation(self.flat(outputs), self.state())
        self.earlier.append((outputs, observation.outputs))
        if self.traces > traces and number == len(self.program.calls) + REPEATS - 1:
            self.repeat(arguments)
        return observation

    def repeat(self, arguments: tuple[Any, ...]) -> None:
        """Repeat a call until it is not compiled again, or a warning says that it always will be."""
        for _ in range(PATIENCE):
            traces = self.traces
            try:
                self.evaluate(self.function, arguments)
            except RuntimeWarning:  # warnings are errors here
                return
            if self.traces == traces:
                return
        raise CompiledAgain(f"the same call, repeated {PATIENCE} times with nothing changed, is compiled each time")


# The comparison


def check(program: Program, counts: Counts, torch: bool = True) -> None:
    """Run a program in all backends, and compare.

    Raises:
        Failure: a difference, an unexpected exception, or a hang.
    """
    counts.programs += 1
    counts.statements += program.statements
    counts.kinds.update({line.kind for line in program.lines()})
    tolerance = TOLERANCE[program.dtype]
    with time_limit(SECONDS), _errors_are_failures():
        eager = Eager(program, counts).run()
        compiled = Compiled(program, counts).run()
    counts.calls += len(eager)
    if eager[-1].refusal:
        counts.refusals[eager[-1].refusal] += 1
    try:
        _compare_compiled(eager, compiled, tolerance)
    except CompiledDiffers:
        if program.dtype == "float64":
            raise
        with time_limit(SECONDS), _errors_are_failures():
            exact = Eager(replace(program, dtype="float64"), Counts()).run()
        if not no_worse(exact, eager, compiled, lambda name, x, values: same(x, values.get(name), tolerance)):
            raise
    if torch:
        from . import torch_reading  # PyTorch is optional

        with time_limit(SECONDS):
            torch_reading.check(program, eager, counts, tolerance)


def _compare_compiled(eager: list[Observation], compiled: list[Observation], tolerance: float) -> None:
    for number, (expected, actual) in enumerate(zip(eager, compiled, strict=False), 1):
        where = f"compiled, after call {number}:"
        if expected.refusal:  # an eager function has changed state before the error; a compiled one has not
            if not actual.refusal:
                raise CompiledDiffers(f"{where} no error, but eager: {expected.refusal}")
            if _error_type(actual) != _error_type(expected):
                raise UnexpectedError(f"{where} {actual.refusal}, but eager: {expected.refusal}")
            break
        if actual.refusal:
            raise UnexpectedError(f"{where} {actual.refusal}")
        compare(expected.outputs, actual.outputs, where, CompiledDiffers, tolerance)
        compare(expected.state, actual.state, where, CompiledDiffers, tolerance)


def no_worse(
    exact: list[Observation], theirs: list[Observation], ours: list[Observation],
    agrees: Callable[[str, Any, dict[str, Any]], bool],
) -> bool:  # fmt: skip
    """Whether float32 rounding explains a difference: our errors relative to float64 are about as small as theirs.

    Args:
        exact: the observations in float64.
        theirs: those of another backend, in float32.
        ours: our observations.
        agrees: called with a name, their value and our values by name; whether their value agrees with ours.
    """
    for exact_one, their_one, our_one in zip(exact, theirs, ours, strict=False):
        if exact_one.refusal or their_one.refusal or our_one.refusal:
            break
        our_values = {**our_one.outputs, **our_one.state}
        exact_values = {**exact_one.outputs, **exact_one.state}
        for name, value in {**their_one.outputs, **their_one.state}.items():
            if agrees(name, value, our_values):
                continue
            three = value, our_values.get(name), exact_values.get(name)
            if not all(isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in three):
                return False
            if not three[0].shape == three[1].shape == three[2].shape or three[0].dtype != three[1].dtype:
                return False
            if not _as_near(*(x.astype(np.float64) for x in three)):
                return False
    return True


def _as_near(theirs: np.ndarray, ours: np.ndarray, exact: np.ndarray) -> bool:
    """Whether each of our numbers equals theirs, is nearly exact, or has at most LOST times their largest error."""
    with np.errstate(invalid="ignore", over="ignore"):
        our_error, their_error = np.abs(ours - exact), np.abs(theirs - exact)
        finite = np.isfinite(theirs) & np.isfinite(ours) & np.isfinite(exact)
        largest = max(1.0, np.abs(exact[np.isfinite(exact)]).max(initial=0.0))
        near = our_error <= TOLERANCE["float32"] * largest
        near |= finite & (our_error <= LOST * their_error[finite].max(initial=0.0))
        for right in (theirs, exact):
            near |= (ours == right) | (np.isnan(ours) & np.isnan(right))
    return bool(near.all())


def _error_type(observation: Observation) -> str:
    return observation.refusal.split(": ")[1]


def compare(
    expected: dict[str, Any], actual: dict[str, Any], where: str, failure: type[Failure], tolerance: float = 0
) -> None:
    """Raise `failure` at the first difference."""
    for name in (*expected, *actual):
        if name not in actual:
            raise failure(f"{where} {name} is missing")
        if name not in expected:
            raise failure(f"{where} {name} is unexpected: {shown(actual[name])}")
        if not same(expected[name], actual[name], tolerance):
            raise failure(f"{where} {name} is {shown(actual[name])}, not {shown(expected[name])}")


def same(expected: Any, actual: Any, tolerance: float) -> bool:
    """Whether two values have the same shape and type, and equal numbers within the tolerance."""
    if not isinstance(expected, np.ndarray):
        return type(expected) is type(actual) and (expected == actual or (expected != expected and actual != actual))
    if not isinstance(actual, np.ndarray) or (expected.shape, expected.dtype) != (actual.shape, actual.dtype):
        return False
    if expected.dtype.names:
        return all(same(expected[name], actual[name], tolerance) for name in expected.dtype.names)
    if expected.dtype.kind != "f" or not tolerance:
        return bool(np.array_equal(expected, actual, equal_nan=expected.dtype.kind == "f"))
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], actual[~finite], equal_nan=True) or not np.isfinite(actual[finite]).all():
        return False
    if expected.dtype == np.float32:  # also occurs in float64 programs
        tolerance = TOLERANCE["float32"]
    largest = max(1.0, np.abs(expected[finite]).max(initial=0.0))
    return bool((np.abs(expected[finite] - actual[finite]) <= tolerance * largest).all())


def shown(value: Any) -> str:
    """Format a value on one line."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    text = np.array2string(value, precision=4, separator=", ", threshold=20).replace("\n", "")
    return f"{value.dtype} {value.shape} {text}"


# What surrounds a run


@contextmanager
def environment(compiled: bool = False, as_large: bool = False) -> Iterator[None]:
    """Poison memory; unless `compiled`, run loops in Python instead of machine code.

    If `as_large`, the scheduler treats small arrays as it treats large ones: loops run block by block, sums are divided
    into parts, cheap results are recomputed, and two threads divide the rows.
    """
    with pytest.MonkeyPatch.context() as patch:
        poison.install(patch)
        for module, name, number in AS_LARGE if as_large else ():
            patch.setattr(module, name, number)
        if not compiled:
            patch.setattr(machine, "address_of", interpreter.address_of)
        yield


@contextmanager
def _errors_are_failures() -> Iterator[None]:
    """Turn warnings and unexpected errors into failures."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except (Failure, NameError):  # NameError: a bug of the generator
        raise
    except Exception as error:
        raise UnexpectedError(f"{type(error).__name__}: {error}") from error


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise HangError after a number of CPU seconds; pytest limits the wall time."""

    def stop(*_: Any) -> None:
        raise HangError(f"not finished after {seconds} seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _code(text: str) -> Any:
    return compile(text, FILE, "exec")
