"""Run a program in PyTorch: the same text, with PyTorch's functions under chainrule's names.

Intentional differences are compensated here: random numbers come from NumPy's generators, and arrays that PyTorch
cannot share are copied.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .program import PREAMBLE, Program
from .readings import Counts, Eager, Observation, TorchDiffers, compare, no_worse, same, shown

if TYPE_CHECKING:
    from collections.abc import Callable

torch.set_num_threads(1)

DTYPES = {
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float64): torch.float64,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.bool_): torch.bool,
}


class Library:
    """A module with some names replaced."""

    def __init__(self, library: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced)
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


class Torch(Eager):
    """A program in PyTorch, up to the first error."""

    library = "torch"
    refusals = (Exception,)

    def names(self) -> dict[str, Any]:
        namespace: dict[str, Any] = {}
        exec(PREAMBLE.partition("import chainrule")[0], namespace)  # noqa: S102
        draws = {name: self.drawn(method) for name, method in (("rand", "random"), ("randn", "standard_normal"))}
        creation = {name: typed(getattr(torch, name)) for name in ("zeros", "ones", "full")}
        namespace["cr"] = Library(
            torch, from_numpy=from_numpy, tensor=tensor, grad=torch.autograd.grad, manual_seed=self.manual_seed,
            **draws, **creation,
        )  # fmt: skip
        reading = self

        class Dropout(torch.nn.Module):
            def __init__(self, p: float = 0.5) -> None:
                super().__init__()
                self.p = p

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return reading.dropout(x, self.p, self.training)

        namespace["nn"] = Library(torch.nn, Dropout=Dropout)
        namespace["F"] = Library(torch.nn.functional, dropout=self.dropout)
        namespace["optim"] = torch.optim
        return namespace

    def begin(self) -> None:
        self.manual_seed(0)
        self.execute_beginning()

    # Random numbers

    def manual_seed(self, seed: int) -> None:
        """Reseed the default generator."""
        self.generator = np.random.default_rng(seed)

    def default_generator(self) -> np.random.Generator:
        return self.generator

    def drawn(self, method: str) -> Callable[..., torch.Tensor]:
        """A function that draws with a method of the generator."""

        def draw(*shape: int, generator: Any = None) -> torch.Tensor:
            return torch.from_numpy(np.asarray(getattr(generator or self.generator, method)(size=shape))).float()

        return draw

    def dropout(self, x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
        """Dropout with NumPy's random numbers."""
        if not training or p == 0:
            return x
        mask = self.generator.random(size=tuple(x.shape), dtype=np.float32) >= p
        return x * (torch.from_numpy(np.asarray(mask)).to(x.dtype) / (1 - p if p < 1 else 1))

    # What can be observed

    def array(self, value: Any) -> Any:
        return value.detach().numpy().copy() if isinstance(value, torch.Tensor) else value

    def describe(self, name: str, value: Any) -> dict[str, Any]:
        if isinstance(value, torch.Tensor):
            return self.describe_tensor(name, value)
        if isinstance(value, np.ndarray):
            return {}  # PyTorch may have copied it
        if isinstance(value, torch.nn.Module):
            return self.describe_module(name, value)
        if isinstance(value, torch.optim.Optimizer):
            return self.describe_optimizer(name, value.state_dict()["state"], value.param_groups)
        if isinstance(value, torch.optim.lr_scheduler.LRScheduler):
            return self.describe_schedule(name, value)
        return super().describe(name, value)


def from_numpy(array: np.ndarray) -> torch.Tensor:
    """A tensor on the array's memory, or on a copy if PyTorch cannot share it."""
    shareable = array.flags.writeable and all(stride > 0 and not stride % array.itemsize for stride in array.strides)
    return torch.from_numpy(array if shareable else array.copy())


def tensor(data: Any, requires_grad: bool = False) -> torch.Tensor:
    """A tensor on a copy."""
    return torch.tensor(data, requires_grad=requires_grad)


def typed(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function that accepts NumPy dtypes."""

    def call(*arguments: Any, dtype: Any = None) -> torch.Tensor:
        return function(*arguments, dtype=None if dtype is None else DTYPES[np.dtype(dtype)])

    return call


def check(program: Program, eager: list[Observation], counts: Counts, tolerance: float) -> None:
    """Compare eager chainrule with PyTorch, if PyTorch has an equivalent of each line.

    Raises:
        TorchDiffers: a difference that rounding to float32 does not explain.
    """
    if any(line.text_for(torch=True) is None for line in program.lines()):
        return
    observations = observed(program, counts)
    counts.torch += 1
    try:
        compare_all(observations, eager, counts, tolerance)
    except TorchDiffers:
        if program.dtype == "float64":
            raise
        exact = observed(replace(program, dtype="float64"), counts)
        if not no_worse(exact, observations, eager, lambda *x: _same_state(*x, tolerance)):
            raise


def observed(program: Program, counts: Counts) -> list[Observation]:
    """Run the program in PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Torch(program, counts).run()


def compare_all(expected: list[Observation], actual: list[Observation], counts: Counts, tolerance: float) -> None:
    """Raise TorchDiffers at the first difference."""
    for number, (theirs, ours) in enumerate(zip(expected, actual, strict=False), 1):
        if ours.refusal:
            return
        if theirs.refusal:
            counts.refusals[theirs.refusal] += 1
            return
        where = f"eager, after call {number} (and not as in PyTorch):"
        compare(theirs.outputs, ours.outputs, where, TorchDiffers, tolerance)
        for name, value in theirs.state.items():
            if not _same_state(name, value, ours.state, tolerance):
                raise TorchDiffers(f"{where} {name} is {shown(ours.state.get(name))}, not {shown(value)}")


def _same_state(name: str, expected: Any, state: dict[str, Any], tolerance: float) -> bool:
    """Whether an entry of PyTorch's state is in chainrule's state, with an equal value."""
    if ".group " in name:  # PyTorch has more options, some of them integers where ours are floats
        return name not in state or expected == state[name] or same(expected, state[name], 0)
    if name.endswith(".step"):  # float32 in PyTorch
        return int(expected) == int(state[name])
    return name in state and same(expected, state[name], tolerance)
