"""Recurrent layers: the loop over the time steps of sequences.

One operation, `recurrent_scan`, runs all steps, so that a compiled program does not grow with the sequence. The loop
contains only what needs the previous step: the product of the hidden state and a weight, and the formula of the cell,
which runs as one fused loop (`eager.update`). The projection of the inputs, one product for all steps, comes before it.

Its derivative runs the steps backwards. The loop computes the gradients of the projections of each step, from the saved
gates. The gradient of the weight, one product for all steps, comes after the loop.

T is the number of steps, B the number of sequences, H the size of the hidden state, and K the number of gates.
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
    """A kind of recurrent cell: the formula of one step, and its derivative.

    Both are elementwise functions for `eager.update`, which passes first the arrays that it overwrites with the
    results, then the other arrays. The name of a parameter that is only overwritten begins with an underscore. All
    arrays are (B, H).

    `step` has these parameters, in this order. It returns the new states and the values to save.

        _hidden, ...        to be overwritten: the new states, and the values to save for the derivative
        x_r, x_z, x_n       the K parts of the projected input (in these examples, of the GRU)
        h_r, h_z, h_n       the K parts of the projected hidden state
        hidden, ...         the states

    In the formulas of the steps below, x and h are a gate's parts of these projections, and a prime marks a new state.

    `gradient` has the following parameters. It returns the gradients of the projections and the new carries. A carry is
    the part of a state's gradient that does not go through the projection; each step passes it to the step before.

        _r, _z, _n, _h_n    to be overwritten: the gradients of the projections
        cell_carry or       the carries, first those of the states other than the hidden state (LSTM), then that of the
        direct_carry        hidden state (GRU): the call for step t + 1 has returned them (zeros for the last step), and
                            they are overwritten with the new ones
        hidden_grad, ...    the gradients of the new states
        recurrent_grad      the gradient of the new hidden state through the projection of step t + 1
        r, z, n, h_n        the saved values
        new_hidden, ...     the new states
        hidden, ...         the states

    Attributes:
        step: the formula.
        gradient: its derivative.
        hidden_projection_grad_indices: the indices of the gradients of the projected hidden state in the results of
            `gradient`, which begin with the K gradients of the projected input.
        num_gates: K.
        num_states: the number of states; the first is the hidden state.
        num_saved: the number of values that `step` saves for the derivative.
        has_direct_carry: whether the hidden state has a carry (GRU); it is the last carry. Each of the other states has
            one in any case, because it is not projected (LSTM).
    """

    step: Callable[..., Any]
    gradient: Callable[..., Any]
    hidden_projection_grad_indices: tuple[int, ...]
    num_gates: int
    num_states: int
    num_saved: int
    has_direct_carry: bool

    @property
    def num_projection_grads(self) -> int:
        """The number of gradients of both projections that `gradient` returns."""
        return max(self.hidden_projection_grad_indices) + 1

    @property
    def has_separate_projection_grads(self) -> bool:
        """Whether the gradients of the projected hidden state differ from those of the projected input.

        They do if a gate scales the projected hidden state (GRU). Then the two projections need separate biases.
        """
        return self.num_projection_grads > self.num_gates


def _lstm_step(
    _hidden: Any, _cell: Any, _i: Any, _f: Any, _g: Any, _o: Any,
    x_i: Any, x_f: Any, x_g: Any, x_o: Any, h_i: Any, h_f: Any, h_g: Any, h_o: Any, hidden: Any, cell: Any,
) -> Any:  # fmt: skip
    """i, f, o = σ(x + h); g = tanh(x + h); cell′ = f · cell + i g; hidden′ = o tanh(cell′)."""
    i, f, g, o = sigmoid(x_i + h_i), sigmoid(x_f + h_f), tanh(x_g + h_g), sigmoid(x_o + h_o)
    new_cell = f * cell + i * g
    return o * tanh(new_cell), new_cell, i, f, g, o


def _lstm_gradient(
    _i: Any, _f: Any, _g: Any, _o: Any, cell_carry: Any, hidden_grad: Any, cell_grad: Any, recurrent_grad: Any,
    i: Any, f: Any, g: Any, o: Any, new_hidden: Any, new_cell: Any, hidden: Any, cell: Any,
) -> Any:  # fmt: skip
    hidden_grad = hidden_grad + recurrent_grad
    activated = tanh(new_cell)
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
    """r, z = σ(x + h); n = tanh(x + r h); hidden′ = (1 - z) n + z · hidden."""
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = tanh(x_n + r * h_n)
    return (1 - z) * n + z * hidden, r, z, n, h_n


def _gru_gradient(
    _r: Any, _z: Any, _n: Any, _h_n: Any, direct_carry: Any, hidden_grad: Any, recurrent_grad: Any,
    r: Any, z: Any, n: Any, h_n: Any, new_hidden: Any, hidden: Any,
) -> Any:  # fmt: skip
    grad = hidden_grad + recurrent_grad + direct_carry
    n_grad = grad * (1 - z) * (1 - n * n)
    return n_grad * h_n * (r * (1 - r)), grad * (hidden - n) * (z * (1 - z)), n_grad, n_grad * r, grad * z


def _tanh_step(_hidden: Any, x: Any, h: Any, hidden: Any) -> Any:
    """hidden′ = tanh(x + h)."""
    return (tanh(x + h),)


def _tanh_gradient(_x: Any, hidden_grad: Any, recurrent_grad: Any, new_hidden: Any, hidden: Any) -> Any:
    return ((hidden_grad + recurrent_grad) * (1 - new_hidden * new_hidden),)


def _relu_step(_hidden: Any, x: Any, h: Any, hidden: Any) -> Any:
    """hidden′ = relu(x + h)."""
    return (relu(x + h),)


def _relu_gradient(_x: Any, hidden_grad: Any, recurrent_grad: Any, new_hidden: Any, hidden: Any) -> Any:
    return (where(new_hidden > 0, hidden_grad + recurrent_grad, 0),)


LSTM = Cell(_lstm_step, _lstm_gradient, (0, 1, 2, 3), num_gates=4, num_states=2, num_saved=4, has_direct_carry=False)
GRU = Cell(_gru_step, _gru_gradient, (0, 1, 3), num_gates=3, num_states=1, num_saved=4, has_direct_carry=True)
RNN_TANH = Cell(_tanh_step, _tanh_gradient, (0,), num_gates=1, num_states=1, num_saved=0, has_direct_carry=False)
RNN_RELU = Cell(_relu_step, _relu_gradient, (0,), num_gates=1, num_states=1, num_saved=0, has_direct_carry=False)


@operation(extra="saved")
def recurrent_scan(input: Array, state: Array, weight: Array, bias: Array = None, *, cell: Cell) -> Any:
    """The states of a recurrent layer after each step: (T, S, B, H) for a cell with S states.

    `input` (T, B, K·H) is projected already; `state` (S, B, H) holds the initial states; `weight` (K·H, H) and `bias`
    (K·H,) project the hidden state. `saved` (T, `cell.num_saved`, B, H) holds the values that `cell.step` saves.
    """
    steps, (_, batch, size) = len(input), state.shape
    out = np.empty((steps, cell.num_states, batch, size), input.dtype)
    saved = np.empty((steps, cell.num_saved, batch, size), input.dtype)
    projected = np.empty((batch, cell.num_gates * size), input.dtype)
    projected_parts = _split(projected, cell.num_gates)
    transposed_weight = np.transpose(weight)
    for t in range(steps):
        np.matmul(state[0], transposed_weight, out=projected)
        if bias is not None:
            projected += bias
        update(cell.step, [*out[t], *saved[t]], [*_split(input[t], cell.num_gates), *projected_parts, *state])
        state = out[t]
    return out, saved


@recurrent_scan.derivative
def _(grad: Array, input: Array, state: Array, weight: Array, bias: Array, out: Array, saved: Any, cell: Cell) -> Any:
    """Backpropagation through time.

    The gradients of the projections, computed from the last step back to the first, give all the others.
    """
    has_bias = bias is not None
    if not is_tensor(grad):
        results = recurrent_scan_gradients(grad, state, weight, out, saved, cell=cell, has_bias=has_bias)
        return results if has_bias else (*results, None)
    # `create_graph`: use operations that have derivatives; compute the gates again, for all steps at once
    previous = concatenate(reshape(state, (1, *state.shape)), out[:-1])
    projected = matmul(previous[:, 0], transpose(weight, 0, 1))
    projected = projected if bias is None else projected + bias
    inputs = (*_split(input, cell.num_gates), *_split(projected, cell.num_gates), *_unbind(previous, 1))
    overwritten = [None] * (cell.num_states + cell.num_saved)  # the formula does not read them
    gates = cell.step(*overwritten, *inputs)[cell.num_states :]
    results = _gradients(grad, state, weight, out, gates, cell, has_bias, None)
    return results if has_bias else (*results, None)


@operation
def recurrent_scan_gradients(
    grad: Array, state: Array, weight: Array, out: Array, saved: Array, *, cell: Cell, has_bias: bool
) -> Any:
    """The gradients of the inputs of `recurrent_scan`: input, state, weight and, if there is one, bias.

    Called on arrays and tracers only: the result is a tuple.
    """
    steps, _, batch, size = out.shape
    projection_grads = np.empty((steps, cell.num_projection_grads, batch, size), out.dtype)
    return _gradients(np.asarray(grad), state, weight, out, _unbind(saved, 1), cell, has_bias, projection_grads)


def _gradients(
    grad: Array, state: Array, weight: Array, out: Array, saved: Sequence[Array], cell: Cell, has_bias: bool,
    projection_grads: Any,
) -> Any:  # fmt: skip
    """Return the gradients of input, state, weight and, if there is one, bias.

    `saved` holds the saved values, (T, B, H) each. On arrays, the gradients of the projections are written into
    `projection_grads` (T, `cell.num_projection_grads`, B, H). On Tensors, it must be None.
    """
    steps, _, batch, size = out.shape
    weights = reshape(weight, (cell.num_gates, size, size))
    previous = concatenate(reshape(state, (1, *state.shape)), out[:-1])
    values = [*saved, *_unbind(out, 1), *_unbind(previous, 1)]  # (T, B, H) each
    recurrent_grad: Array = np.zeros((batch, size), out.dtype)
    carries = [np.zeros((batch, size), out.dtype) for _ in range(cell.num_states - 1 + cell.has_direct_carry)]
    grads_by_step = []  # from the last step to the first
    for t in range(steps - 1, -1, -1):
        inputs = [*_unbind(grad[t], 0), recurrent_grad, *(value[t] for value in values)]
        if projection_grads is None:
            results = cell.gradient(*[None] * cell.num_projection_grads, *carries, *inputs)
            carries = list(results[cell.num_projection_grads :])
            grads_by_step.append(stack(results[: cell.num_projection_grads]))
        else:
            update(cell.gradient, [*projection_grads[t], *carries], inputs)
            grads_by_step.append(projection_grads[t])
        hidden_projection_grads = grads_by_step[-1]
        if cell.has_separate_projection_grads:
            hidden_projection_grads = stack([hidden_projection_grads[i] for i in cell.hidden_projection_grad_indices])
        recurrent_grad = sum(matmul(hidden_projection_grads, weights), 0)
    if projection_grads is None:
        projection_grads = stack(grads_by_step[::-1])
    input_grad = hidden_projection_grad = _join(projection_grads[:, : cell.num_gates])
    if cell.has_separate_projection_grads:
        hidden_projection_grad = _join(stack([projection_grads[:, i] for i in cell.hidden_projection_grad_indices], 1))
    hidden_projection_grad = reshape(hidden_projection_grad, (steps * batch, cell.num_gates * size))
    weight_grad = matmul(transpose(hidden_projection_grad, 0, 1), reshape(previous[:, 0], (steps * batch, size)))
    if cell.has_direct_carry:
        recurrent_grad = recurrent_grad + carries.pop()
    results = input_grad, stack([recurrent_grad, *carries]), weight_grad
    return (*results, sum(hidden_projection_grad, 0)) if has_bias else results


def _split(array: Array, num_gates: int) -> list[Array]:
    """Return the parts of an array (..., K·H), one for each gate, (..., H)."""
    size = array.shape[-1] // num_gates
    return [array[..., gate * size : (gate + 1) * size] for gate in range(num_gates)]


def _join(parts: Array) -> Array:
    """Return (T, K, B, H) as (T, B, K·H)."""
    steps, num_gates, batch, size = parts.shape
    return reshape(transpose(parts, 1, 2), (steps, batch, num_gates * size))


def _unbind(array: Array, dim: int) -> list[Array]:
    """Return the slices along dimension 0 or 1, without that dimension."""
    return [array[i] if dim == 0 else array[:, i] for i in range(array.shape[dim])]
