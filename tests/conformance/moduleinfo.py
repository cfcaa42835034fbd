"""PyTorch's own sample inputs for its modules, run through ours.

PyTorch ships the samples that its modules are tested with (`module_db`, a list of ModuleInfo). For each module of chainrule,
all of them go through PyTorch and through chainrule, built with the same arguments and in the same state: results,
types, shapes, gradients of inputs and parameters for a random upstream gradient, and the state afterwards must agree, and
PyTorch must load that state. What PyTorch refuses (`module_error_inputs`) must be refused here too.
"""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import torch

from chainrule import nn

from . import opinfo
from .reports import Outcome, refused, show

if TYPE_CHECKING:
    from collections.abc import Iterator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's test module warns about optional parts of its own
    from torch.testing._internal.common_modules import ModuleErrorEnum, module_db
    from torch.testing._internal.common_utils import set_rng_seed

ENTRIES = [entry for entry in module_db if hasattr(nn, entry.module_cls.__name__)]
NOT_LISTED = """
    Dropout Dropout2d Flatten Hardsigmoid Identity Module ModuleDict ModuleList Parameter ParameterList Sequential Unflatten Upsample
""".split()
"""Classes of chainrule.nn for which PyTorch has no samples: tests/nn and test_modules.py cover them."""


def run(entry: Any) -> Outcome:
    """Run all samples of an entry, in both types and, where they differ, in both modes."""
    outcome = Outcome(entry.name)
    for dtype, training, number, sample in _samples(entry):
        outcome.total += 1
        try:
            fault = difference(entry, sample, dtype, training)
        except Exception as error:
            absent = _absent(entry, sample)
            refused_here = sample.constructor_input.kwargs.get("proj_size") and "proj_size must be 0" in str(error)
            if refused_here or (
                absent and isinstance(error, TypeError) and any(repr(name) in str(error) for name in absent)
            ):
                outcome.unsupported.append(str(error))
                continue
            fault = f"raised {type(error).__name__}: {error}"
        if fault:
            given = sample.constructor_input
            mode = "train" if training else "eval"
            outcome.wrong.append(
                f"{entry.name}(*{given.args}, **{given.kwargs}), {dtype}, {mode}, sample {number} {sample.desc}: {fault}"
            )
        else:
            outcome.passed += 1
    return outcome


def _samples(entry: Any) -> Iterator[tuple[torch.dtype, bool, int, Any]]:
    """Each sample with its type, its mode and its number."""
    for dtype in (torch.float64, torch.float32):
        for training in (True, False) if entry.train_and_eval_differ else (True,):
            set_rng_seed(0)
            samples = entry.module_inputs_func(entry, device="cpu", dtype=dtype, requires_grad=True, training=training)
            for number, sample in enumerate(samples):
                yield dtype, training, number, sample


def difference(entry: Any, sample: Any, dtype: torch.dtype, training: bool) -> str | None:
    """The first difference in one sample, if any."""
    theirs = _theirs(entry, sample).to(dtype).train(training)
    ours = _ours(entry, sample).to(opinfo.TYPES[dtype]).train(training)
    if fault := _different_initial_states(theirs, ours):
        return fault
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(-1, 1, generator=generator)
        for buffer in theirs.buffers():
            _ = buffer.uniform_(0.5, 1.5, generator=generator) if buffer.is_floating_point() else buffer.fill_(3)
    ours.load_state_dict(theirs.state_dict())
    if fault := _different_states(theirs, ours, rtol=0, atol=0):
        return f"state as loaded: {fault}"
    inputs: list[Any] = []
    forward = sample.forward_input
    actual = ours(*opinfo.converted(forward.args, inputs), **opinfo.converted(forward.kwargs, inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns about some of its own modules
        expected = theirs(*forward.args, **forward.kwargs)
    inputs += zip(theirs.parameters(), ours.parameters(), strict=True)
    if fault := opinfo.compare(expected, actual, inputs, dtype):
        return fault
    if fault := _different_states(theirs, ours, *opinfo.TOLERANCES[dtype]):
        return f"state afterwards: {fault}"
    reloaded = _theirs(entry, sample).to(dtype)
    reloaded.load_state_dict({name: torch.from_numpy(t.numpy()) for name, t in ours.state_dict().items()})
    fault = _different_states(reloaded, ours, rtol=0, atol=0)
    return fault and f"state as PyTorch loads it: {fault}"


def _theirs(entry: Any, sample: Any) -> Any:
    """PyTorch's module with a sample's arguments."""
    given = sample.constructor_input
    return entry.module_cls(*given.args, **given.kwargs)


def _ours(entry: Any, sample: Any) -> Any:
    """chainrule's module with a sample's arguments, except unknown ones that have PyTorch's default value."""
    given, kind = sample.constructor_input, _class(entry)
    their_parameters = inspect.signature(entry.module_cls).parameters
    our_parameters = inspect.signature(kind).parameters
    hidden = inspect.Parameter("hidden", inspect.Parameter.KEYWORD_ONLY, default=None)  # RNN's are behind `*args`
    left_out = {
        name
        for name, value in given.kwargs.items()
        if name not in our_parameters and (name == "device" or value is their_parameters.get(name, hidden).default)
    }
    options = {name: _converted(value) for name, value in given.kwargs.items() if name not in left_out}
    return kind(*map(_converted, given.args), **options)


def _class(entry: Any) -> Any:
    return getattr(nn, entry.module_cls.__name__)


def _converted(value: Any) -> Any:
    """An argument with chainrule's Tensors and functions in place of PyTorch's."""
    if inspect.isroutine(value):
        return getattr(nn.functional, value.__name__)
    return opinfo.converted(value, [])


def _absent(entry: Any, sample: Any) -> list[str]:
    """The names of a sample's arguments that chainrule's module does not have."""
    ours = _class(entry)
    known = {*inspect.signature(ours).parameters, *inspect.signature(ours.forward).parameters}
    calls = (sample.constructor_input, sample.forward_input)
    return [name for call in calls if call for name in call.kwargs if name not in known]


def _different_initial_states(theirs: torch.nn.Module, ours: nn.Module) -> str | None:
    """The first difference in names, shapes, types or those initial values that are not random, if any."""
    if [n for n, _ in ours.named_parameters()] != [n for n, _ in theirs.named_parameters()]:
        return "the names of the parameters differ"
    mine, other = ours.state_dict(), theirs.state_dict()
    if list(mine) != list(other):
        return f"state {list(mine)}, not {list(other)}"
    learned = dict(theirs.named_parameters())
    for name, w in other.items():
        random = name in learned and w.numel() > 0 and w.min() != w.max()
        if fault := opinfo.different(w, mine[name], rtol=0, atol=opinfo.ANY_VALUE if random else 0):
            return f"initial {name}: {fault}"
    return None


def _different_states(theirs: torch.nn.Module, ours: nn.Module, rtol: float, atol: float) -> str | None:
    """The first difference between the values in the modules' states, if any."""
    mine = ours.state_dict()
    for name, w in theirs.state_dict().items():
        if fault := opinfo.different(w, mine[name], rtol, atol):
            return f"{name}: {fault}"
    return None


def refusals(entry: Any) -> tuple[int, list[str]]:
    """The number of calls that PyTorch refuses, and a line for each that chainrule does not refuse properly."""
    if entry.module_error_inputs_func is None:
        return 0, []
    set_rng_seed(0)
    how = {"device": "cpu", "dtype": torch.float32, "requires_grad": False, "training": True}
    cases, faults = list(entry.module_error_inputs_func(entry, **how)), []
    for number, case in enumerate(cases):
        sample = case.module_error_input
        with refused(f"{entry.name}, error input {number}", case.error_regex, faults, _absent(entry, sample)):
            module = _ours(entry, sample)
            if case.error_on == ModuleErrorEnum.FORWARD_ERROR:
                module(*map(_converted, sample.forward_input.args), **_converted(sample.forward_input.kwargs))
    return len(cases), faults


def report(chosen: str = "") -> int:
    """Print, for each module, the samples passed, in total and unsupported; returns the number of faults."""
    return show("ModuleInfo", ((run(entry), refusals(entry)) for entry in ENTRIES if chosen in entry.name))
