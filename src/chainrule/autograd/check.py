"""Is a derivative right? Compare the tape with slopes measured by finite differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd.mode import enable_grad, no_grad
from chainrule.autograd.tape import each_alone, grad, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.tensor import Tensor


def gradcheck(
    function: Callable[..., Tensor | Sequence[Tensor]], inputs: Tensor | Sequence[Tensor], *, eps: float = 1e-6,
    atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True,
) -> bool:  # fmt: skip
    """Compare the gradients from the tape with finite differences, each output element by each input element.

    The slope at x is measured as (f(x + eps) - f(x - eps)) / (2 eps), whose error is of the order of eps².

    Args:
        function: takes the inputs, returns a Tensor or several.
        inputs: Tensors; those that require gradients must be float64, for float32 is too coarse to measure slopes.
        eps: the step.
        atol: how far the two may differ, added to `rtol` times the measured slope.
        rtol: see `atol`.
        raise_exception: raise instead of returning False.

    Raises:
        ValueError: no input requires gradients, or one that does is not float64; or no output is a float.
        AssertionError: the two differ; the message says where and by how much.
    """
    inputs = listed(inputs)
    checked = [x for x in inputs if getattr(x, "requires_grad", False)]
    if not checked or any(x.dtype != np.float64 for x in checked):
        raise ValueError("gradcheck: at least one input must require gradients, and each that does must be float64")

    outputs = listed(function(*inputs))
    columns = [(number, j) for number, out in enumerate(outputs) if out.dtype.kind == "f" for j in range(out.numel())]
    analytic = [_rows(out, checked) for out in outputs if out.dtype.kind == "f"]
    if not analytic:
        raise ValueError("gradcheck: at least one output must be a float, to have slopes to compare")

    def values() -> NDArray[Any]:
        with no_grad():
            floats = [out._data for out in listed(function(*inputs)) if out.dtype.kind == "f"]
        return np.concatenate(floats, axis=None, dtype=np.float64)

    for position, x in enumerate(checked):
        by_tape = np.concatenate([rows[position] for rows in analytic], axis=1)
        measured = np.empty_like(by_tape)
        for element, at in enumerate(np.ndindex(x.shape)):
            center = x._data[at]
            try:
                x._data[at] = center + eps
                above = values()
                x._data[at] = center - eps
                measured[element] = (above - values()) / (2 * eps)
            finally:
                x._data[at] = center
        wrong = ~np.isclose(by_tape, measured, rtol, atol, equal_nan=True)
        if wrong.any():
            if not raise_exception:
                return False
            i, column = (int(k) for k in np.argwhere(wrong)[0])
            number, j = columns[column]
            slope = f"d(output {number})[{j}] / d(input {position})[{i}] is {by_tape[i, column]:.6g} by the tape"
            among = f"{int(wrong.sum())} of {wrong.size} slopes differ"
            raise AssertionError(f"gradcheck: {slope}, {measured[i, column]:.6g} by finite differences; {among}")
    return True


def _rows(out: Tensor, inputs: Sequence[Tensor]) -> list[NDArray[Any]]:
    """For each input the slopes (its elements, elements of the output), by the tape; 0 if it recorded nothing."""
    slopes = [np.zeros((x._data.size, out._data.size)) for x in inputs]
    for column, seed in enumerate(each_alone(out) if out.requires_grad else ()):
        found = grad(out, inputs, seed, retain_graph=True, allow_unused=True)
        for slope, part in zip(slopes, found, strict=True):
            if part is not None:
                slope[:, column] = part._data.reshape(-1)
    return slopes


def gradgradcheck(
    function: Callable[..., Tensor | Sequence[Tensor]], inputs: Tensor | Sequence[Tensor], *, eps: float = 1e-6,
    atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True, seed: int = 0,
) -> bool:  # fmt: skip
    """`gradcheck` of the gradients themselves: the second derivatives, for upstream gradients drawn from `seed`.

    Args and errors are those of `gradcheck`.
    """
    inputs = listed(inputs)
    checked = [x for x in inputs if getattr(x, "requires_grad", False)]

    def first(*values: Tensor) -> list[Tensor]:
        with enable_grad():
            outputs = [out for out in listed(function(*values)) if out.requires_grad]
            rng = np.random.default_rng(seed)
            upstream = [out._wrap(rng.standard_normal(out.shape).astype(out.dtype)) for out in outputs]
            found = grad(outputs, checked, upstream, create_graph=True, allow_unused=True)
        return [part for part in found if part is not None]

    return gradcheck(first, inputs, eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)
