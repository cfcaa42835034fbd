"""Recurrent layers: the loop over the time steps of sequences.

One operation, `recurrent_scan`, runs all steps, so that a compiled program does not grow with the sequence. In the loop
is only what needs the previous step: the product of the hidden state and a weight, and the formulas of the cell, which
run as one fused loop (`eager.update`). The projection of the inputs, one product for all steps, comes before it.

Its derivative is the same loop backwards: first the gradients of each step's gates, from the saved gates; then those of
the weights, one product for all steps.

T is the number of steps, B that of sequences, H the size of the hidden state; n the number of gates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.lower.eager import update
from chainrule.ops.activations import relu, sigmoid
from chainrule.ops.arithmetic import where
from chainrule.ops.elementwise import tanh
from chainrule.ops.linalg import matmul
from chainrule.ops.operation import Array, is_tensor, operation
from chainrule.ops.reductions import sum
from chainrule.ops.shape import concatenate, reshape, stack, transpose

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class Cell:
    """A kind of recurrent cell: the formulas of one step and of its derivative.

    Both are elementwise, for `eager.update`, which passes first the arrays that it will overwrite with the results.
    Those that the formula does not read have names with an underscore. All arrays are (B, H).

    `step(outputs..., x parts, h parts, states)`: the n parts of the projected input, the n parts of the projected
    hidden state, and the states. Returns the new states, then the arrays to save for the derivative.

    `gradient(outputs..., carries, state gradients, later, saved, new states, states)`: `carries` are gradients that the
    next step handed over, overwritten with those for the previous step; `later` is the gradient of the hidden state
    through the next step's projection. Returns the gradients of the projections, then the carries.

    Attributes:
        step: the formula.
        gradient: its derivative.
        hidden_parts: the positions of the projected hidden state's gradients among those that `gradient` returns; the
            first n are the projected input's.
        num_gates: n.
        num_states: the number of states; the first is the hidden state.
        num_saved: the number of arrays that `step` saves for the derivative.
        num_carries: the number of carries: one for each state but the hidden state (LSTM), or one for the hidden state,
            besides the gradient through its projection (GRU).
    """

    step: Callable[..., Any]
    gradient: Callable[..., Any]
    hidden_parts: tuple[int, ...]
    num_gates: int
    num_states: int
    num_saved: int
    num_carries: int

    @property
    def num_gradients(self) -> int:
        """The number of gradients of projections that `gradient` returns."""
        return max(self.hidden_parts) + 1

    @property
    def has_separate_hidden_gradients(self) -> bool:
        """Whether the projected hidden state's gradients differ from the projected input's.

        They do if a gate scales the projected hidden state (GRU). Then one bias cannot stand for those of both
        projections.
        """
        return self.num_gradients > self.num_gates


def _lstm_step(
    _hidden: Any, _cell: Any, _i: Any, _f: Any, _g: Any, _o: Any,
    x_i: Any, x_f: Any, x_g: Any, x_o: Any, h_i: Any, h_f: Any, h_g: Any, h_o: Any, hidden: Any, cell: Any,
) -> Any:  # fmt: skip
    """i, f, o = σ(x + h); g = tanh(x + h); c′ = f c + i g; h′ = o tanh(c′)."""
    i, f, g, o = sigmoid(x_i + h_i), sigmoid(x_f + h_f), tanh(x_g + h_g), sigmoid(x_o + h_o)
    new_cell = f * cell + i * g
    return o * tanh(new_cell), new_cell, i, f, g, o


def _lstm_gradient(
    _i: Any, _f: Any, _g: Any, _o: Any, cell_carry: Any, hidden_grad: Any, cell_grad: Any, later_grad: Any,
    i: Any, f: Any, g: Any, o: Any, new_hidden: Any, new_cell: Any, hidden: Any, cell: Any,
) -> Any:  # fmt: skip
    hidden_grad, activated = hidden_grad + later_grad, tanh(new_cell)
    cell_grad = cell_grad + cell_carry + hidden_grad * o * (1 - activated * activated)
    return (
        cell_grad * g * (i * (1 - i)),
        cell_grad * cell * (f * (1 - f)),
        cell_grad * i * (1 - g * g),
        hidden_grad * activated * (o * (1 - o)),
        cell_grad * f,
    )


def _gru_step(
    _hidden: Any, _r: Any, _z: Any, _n: Any, _h_n: Any,
    x_r: Any, x_z: Any, x_n: Any, h_r: Any, h_z: Any, h_n: Any, hidden: Any,
) -> Any:  # fmt: skip
    """r, z = σ(x + h); n = tanh(x + r h); h′ = (1 - z) n + z h."""
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = tanh(x_n + r * h_n)
    return (1 - z) * n + z * hidden, r, z, n, h_n


def _gru_gradient(
    _r: Any, _z: Any, _n: Any, _h_n: Any, direct_carry: Any, hidden_grad: Any, later_grad: Any,
    r: Any, z: Any, n: Any, h_n: Any, new_hidden: Any, hidden: Any,
) -> Any:  # fmt: skip
    grad = hidden_grad + later_grad + direct_carry
    n_grad = grad * (1 - z) * (1 - n * n)
    return n_grad * h_n * (r * (1 - r)), grad * (hidden - n) * (z * (1 - z)), n_grad, n_grad * r, grad * z


def _tanh_step(_hidden: Any, x: Any, h: Any, hidden: Any) -> Any:
    """h′ = tanh(x + h)."""
    return (tanh(x + h),)


def _tanh_gradient(_x: Any, hidden_grad: Any, later_grad: Any, new_hidden: Any, hidden: Any) -> Any:
    return ((hidden_grad + later_grad) * (1 - new_hidden * new_hidden),)


def _relu_step(_hidden: Any, x: Any, h: Any, hidden: Any) -> Any:
    """h′ = relu(x + h)."""
    return (relu(x + h),)


def _relu_gradient(_x: Any, hidden_grad: Any, later_grad: Any, new_hidden: Any, hidden: Any) -> Any:
    return (where(new_hidden > 0, hidden_grad + later_grad, 0),)


LSTM = Cell(_lstm_step, _lstm_gradient, (0, 1, 2, 3), num_gates=4, num_states=2, num_saved=4, num_carries=1)
GRU = Cell(_gru_step, _gru_gradient, (0, 1, 3), num_gates=3, num_states=1, num_saved=4, num_carries=1)
RNN_TANH = Cell(_tanh_step, _tanh_gradient, (0,), num_gates=1, num_states=1, num_saved=0, num_carries=0)
RNN_RELU = Cell(_relu_step, _relu_gradient, (0,), num_gates=1, num_states=1, num_saved=0, num_carries=0)


@operation(extra="saved")
def recurrent_scan(input: Array, state: Array, weight: Array, bias: Array = None, *, cell: Cell) -> Any:
    """All steps of a recurrent layer: its states after each, (T, S, B, H) for the S states of its cell.

    `input` (T, B, n·H) is projected already; `state` (S, B, H) are the first states; `weight` (n·H, H) and `bias`
    (n·H,) project the hidden state. `saved` (T, `cell.num_saved`, B, H) is what the derivative needs of
    the gates.
    """
    steps, (_, batch, size) = len(input), state.shape
    out = np.empty((steps, cell.num_states, batch, size), input.dtype)
    saved = np.empty((steps, cell.num_saved, batch, size), input.dtype)
    projected = np.empty((batch, cell.num_gates * size), input.dtype)
    parts = _split(projected, cell.num_gates)
    transposed = np.transpose(weight)
    for t in range(steps):
        np.matmul(state[0], transposed, out=projected)
        if bias is not None:
            projected += bias
        update(cell.step, [*out[t], *saved[t]], [*_split(input[t], cell.num_gates), *parts, *state])
        state = out[t]
    return out, saved


@recurrent_scan.derivative
def _(grad: Array, input: Array, state: Array, weight: Array, bias: Array, out: Array, saved: Any, cell: Cell) -> Any:
    """Backpropagation through time: the gradients of the projections, step by step from the last, then the others'."""
    has_bias = bias is not None
    if not is_tensor(grad):
        results = recurrent_scan_gradients(grad, state, weight, out, saved, cell=cell, has_bias=has_bias)
        return results if has_bias else (*results, None)
    # With `create_graph`, as operations that have derivatives; the gates are computed again, for all steps at once
    previous = concatenate(reshape(state, (1, *state.shape)), out[:-1])
    projected = matmul(previous[:, 0], transpose(weight, 0, 1))
    projected = projected if bias is None else projected + bias
    inputs = (*_split(input, cell.num_gates), *_split(projected, cell.num_gates), *_states(previous))
    gates = cell.step(*[None] * (cell.num_states + cell.num_saved), *inputs)[cell.num_states :]
    results = _gradients(grad, state, weight, out, gates, cell, has_bias, None)
    return results if has_bias else (*results, None)


@operation
def recurrent_scan_gradients(
    grad: Array, state: Array, weight: Array, out: Array, saved: Array, *, cell: Cell, has_bias: bool
) -> Any:
    """The gradients of `recurrent_scan`: of input, state, weight and, if it has one, bias."""
    steps, _, batch, size = out.shape
    deltas = np.empty((steps, cell.num_gradients, batch, size), out.dtype)
    return _gradients(np.asarray(grad), state, weight, out, _states(saved), cell, has_bias, deltas)


def _gradients(
    grad: Array, state: Array, weight: Array, out: Array, saved: Sequence[Array], cell: Cell, has_bias: bool,
    deltas: Any,
) -> Any:  # fmt: skip
    """Compute the gradients: of arrays into `deltas`, of Tensors with `deltas=None`."""
    steps, _, batch, size = out.shape
    weights = reshape(weight, (cell.num_gates, size, size))
    previous = concatenate(reshape(state, (1, *state.shape)), out[:-1])
    columns = [*saved, *_states(out), *_states(previous)]
    zeros = np.zeros((batch, size), out.dtype)
    later: Array = zeros
    carries, collected = [zeros.copy() for _ in range(cell.num_carries)], []
    for t in range(steps - 1, -1, -1):
        inputs = [*_states(grad[t], dim=0), later, *(column[t] for column in columns)]
        if deltas is None:
            results = cell.gradient(*[None] * cell.num_gradients, *carries, *inputs)
            carries = list(results[cell.num_gradients :])
            collected.append(stack(results[: cell.num_gradients]))
        else:
            update(cell.gradient, [*deltas[t], *carries], inputs)
            collected.append(deltas[t])
        hidden_deltas = collected[-1]
        if cell.has_separate_hidden_gradients:  # one gradient is of the input's projection only
            hidden_deltas = stack([hidden_deltas[part] for part in cell.hidden_parts])
        later = sum(matmul(hidden_deltas, weights), 0)
    gradients = stack(collected[::-1]) if deltas is None else deltas  # (T, cell.num_gradients, B, H)
    input_grad = hidden_grad = _join(gradients[:, : cell.num_gates])
    if cell.has_separate_hidden_gradients:
        hidden_grad = _join(stack([gradients[:, part] for part in cell.hidden_parts], 1))
    hidden_grad = reshape(hidden_grad, (steps * batch, cell.num_gates * size))
    weight_grad = matmul(transpose(hidden_grad, 0, 1), reshape(previous[:, 0], (steps * batch, size)))
    if len(carries) == cell.num_states:  # the last is the hidden state's, besides its projection's gradient (GRU)
        later = later + carries.pop()
    results = input_grad, stack([later, *carries]), weight_grad
    return (*results, sum(hidden_grad, 0)) if has_bias else results


def _split(array: Array, gates: int) -> list[Array]:
    """Return the parts (..., H) of (..., n·H)."""
    size = array.shape[-1] // gates
    return [array[..., gate * size : (gate + 1) * size] for gate in range(gates)]


def _join(parts: Array) -> Array:
    """Return (T, n, B, H) as (T, B, n·H)."""
    steps, gates, batch, size = parts.shape
    return reshape(transpose(parts, 1, 2), (steps, batch, gates * size))


def _states(array: Array, dim: int = 1) -> list[Array]:
    """Return the parts (T, B, H) of (T, S, B, H), or along dimension 0."""
    return [array[i] if dim == 0 else array[:, i] for i in range(array.shape[dim])]
