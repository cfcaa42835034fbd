"""Gradient checks: compare gradients from the tape with finite differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd.mode import enable_grad, no_grad
from chainrule.autograd.tape import as_list, grad, unit_gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.tensor import Tensor


def gradcheck(
    function: Callable[..., Tensor | Sequence[Tensor]], inputs: Tensor | Sequence[Tensor], *, eps: float = 1e-6,
    atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True,
) -> bool:  # fmt: skip
    """Compare gradients from the tape with finite differences, for each output element and each input element.

    The finite difference is (f(x + eps) - f(x - eps)) / (2 eps), whose error is of the order of eps².

    Args:
        function: takes the inputs and returns one or several Tensors.
        inputs: a Tensor or several; those that require gradients must be float64, because rounding errors of float32
            are too large.
        eps: the change of the input element.
        atol: the absolute tolerance, added to `rtol` times the finite difference.
        rtol: the relative tolerance.
        raise_exception: raise an error instead of returning False.

    Returns:
        True if all derivatives agree.

    Raises:
        ValueError: no input requires gradients, one that does is not float64, or no output is floating.
        AssertionError: the gradients differ from the finite differences; the message says where, and by how much.
    """
    inputs = as_list(inputs)
    positions = [i for i, x in enumerate(inputs) if getattr(x, "requires_grad", False)]
    grad_inputs = [inputs[i] for i in positions]
    if not grad_inputs or any(x.dtype != np.float64 for x in grad_inputs):
        raise ValueError("gradcheck: at least one input must require gradients, and each that does must be float64")

    outputs = as_list(function(*inputs))
    columns = [(k, j) for k, out in enumerate(outputs) if out.dtype.kind == "f" for j in range(out.numel())]
    analytic = [_jacobian_blocks(out, grad_inputs) for out in outputs if out.dtype.kind == "f"]
    if not analytic:
        raise ValueError("gradcheck: at least one output must be a float, to have derivatives to compare")

    def values() -> NDArray[Any]:
        with no_grad():
            floats = [out._data for out in as_list(function(*inputs)) if out.dtype.kind == "f"]
        return np.concatenate(floats, axis=None, dtype=np.float64)

    for number, (position, x) in enumerate(zip(positions, grad_inputs, strict=True)):
        tape_block = np.concatenate([blocks[number] for blocks in analytic], axis=1)
        numeric_block = np.empty_like(tape_block)
        for element, index in enumerate(np.ndindex(x.shape)):
            center = x._data[index]
            try:
                x._data[index] = center + eps
                values_above = values()
                x._data[index] = center - eps
                numeric_block[element] = (values_above - values()) / (2 * eps)
            finally:
                x._data[index] = center
        is_wrong = ~np.isclose(tape_block, numeric_block, rtol, atol, equal_nan=True)
        if is_wrong.any():
            if not raise_exception:
                return False
            i, column = (int(n) for n in np.argwhere(is_wrong)[0])
            k, j = columns[column]
            derivative = f"d(output {k})[{j}] / d(input {position})[{i}]"
            both = f"{tape_block[i, column]:.6g} by the tape, {numeric_block[i, column]:.6g} by finite differences"
            count = f"{int(is_wrong.sum())} of {is_wrong.size} derivatives differ"
            raise AssertionError(f"gradcheck: {derivative} is {both}; {count}")
    return True


def _jacobian_blocks(out: Tensor, inputs: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Return the derivatives by the tape: for each input, an array (elements of the input, elements of the output)."""
    blocks = [np.zeros((x._data.size, out._data.size)) for x in inputs]
    for column, seed in enumerate(unit_gradients(out) if out.requires_grad else ()):
        grads = grad(out, inputs, seed, retain_graph=True, allow_unused=True)
        for block, part in zip(blocks, grads, strict=True):
            if part is not None:
                block[:, column] = part._data.reshape(-1)
    return blocks


def gradgradcheck(
    function: Callable[..., Tensor | Sequence[Tensor]], inputs: Tensor | Sequence[Tensor], *, eps: float = 1e-6,
    atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True, seed: int = 0,
) -> bool:  # fmt: skip
    """Check second derivatives: `gradcheck` of the gradients, for random upstream gradients drawn with `seed`.

    The other arguments and the errors are those of `gradcheck`.
    """
    inputs = as_list(inputs)
    grad_inputs = [x for x in inputs if getattr(x, "requires_grad", False)]

    def gradients(*values: Tensor) -> list[Tensor]:
        with enable_grad():
            outputs = [out for out in as_list(function(*values)) if out.requires_grad]
            rng = np.random.default_rng(seed)
            upstream = [out._wrap(rng.standard_normal(out.shape).astype(out.dtype)) for out in outputs]
            grads = grad(outputs, grad_inputs, upstream, create_graph=True, allow_unused=True)
        return [part for part in grads if part is not None]

    return gradcheck(gradients, inputs, eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)
