"""Recurrent networks: RNN, LSTM and GRU over sequences, step by step.

Source: Hochreiter and Schmidhuber, Long short-term memory (1997); Cho et al., Learning phrase representations using RNN
encoder-decoder (2014).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import ops
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.onnx.operators.call import Call, Operator, integers

if TYPE_CHECKING:
    from collections.abc import Callable

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"sigmoid": ops.sigmoid, "tanh": ops.tanh, "relu": ops.relu}


class _Direction:
    """The weights of one direction.

    Attributes:
        input_weight: (gates hidden, features).
        state_weight: (gates hidden, hidden).
        input_bias: (gates hidden,) or None.
        state_bias: (gates hidden,) or None.
        peephole: (3 hidden,) or None, for LSTM.
        activations: the activation functions.
    """

    def __init__(self, weights: Any, recurrent: Any, bias: Any, peephole: Any, index: int, activations: Any) -> None:
        self.input_weight, self.state_weight, self.activations = weights[index], recurrent[index], activations
        n_rows = self.input_weight.shape[0]
        self.input_bias = None if bias is None else bias[index, :n_rows]
        self.state_bias = None if bias is None else bias[index, n_rows:]
        self.peephole = None if peephole is None else peephole[index]

    def linear_maps(self, x: Any, state: Any) -> tuple[Any, Any]:
        """Return the linear maps of the input and of the state, (N, gates hidden) each."""
        from_input = F.linear(x, self.input_weight, self.input_bias)
        return from_input, F.linear(state, self.state_weight, self.state_bias)


def _recurrent(gates: int, defaults: tuple[str, ...], step: Callable[..., Any]) -> Operator:
    """Return the operator of a cell.

    Args:
        gates: the number of its gates.
        defaults: the names of its default activations.
        step: maps a call, a `_Direction`, the input (N, features) and the state, a list of (N, hidden), to a new state.
    """

    def run(
        call: Call, x: Any, weights: Any, recurrent: Any, bias: Any = None, lengths: Any = None, hidden: Any = None,
        cell: Any = None, peephole: Any = None,
    ) -> Any:  # fmt: skip
        layout, direction = call.get("layout", 0), call.choose("direction", "forward", "reverse", "bidirectional")
        size, n_directions = recurrent.shape[2], 2 if direction == "bidirectional" else 1
        if call.get("hidden_size", size) != size or weights.shape[:2] != (n_directions, gates * size):
            raise ValueError(f"{call.label}: hidden_size and the weights {weights.shape}, {recurrent.shape} do not fit")
        activations = [_activation(call, name) for name in call.get("activations", list(defaults) * n_directions)]
        x = ops.transpose(x, 0, 1) if layout else x  # (L, N, features)
        if lengths is not None and {*integers(lengths)} - {x.shape[0]}:
            call.refuse("sequences of different lengths are not supported")
        states = [hidden, cell] if len(defaults) == 3 else [hidden]
        outputs, finals = [], []
        for index in range(n_directions):
            own_activations = activations[index * len(defaults) : (index + 1) * len(defaults)]
            side = _Direction(weights, recurrent, bias, peephole, index, own_activations)
            state = [_initial(s, index, layout, (x.shape[1], size), x.dtype) for s in states]
            order = -1 if direction == "reverse" or index == 1 else 1
            results = []
            for t in range(x.shape[0])[::order]:
                state = step(call, side, x[t], state)
                results.append(state[0])
            outputs.append(ops.stack(results[::order]))  # (L, N, hidden)
            finals.append(state)
        out = ops.stack(outputs, 2 if layout else 1)  # (L, directions, N, hidden), or (L, N, directions, hidden)
        out = ops.transpose(out, 0, 1) if layout else out
        last = [ops.stack([state[i] for state in finals], 1 if layout else 0) for i in range(len(states))]
        return (out, *last) if len(call.outputs) > 1 else out

    return run


def _activation(call: Call, name: Any) -> Callable[[Any], Any]:
    word = name.decode() if isinstance(name, bytes) else str(name)
    if word.lower() not in _ACTIVATIONS:
        call.refuse(f"the activation {word} is not supported")
    return _ACTIVATIONS[word.lower()]


def _initial(state: Any, index: int, layout: int, shape: tuple[int, int], dtype: Any) -> Any:
    """Return the initial state (N, hidden) of a direction; zeros if the node has no such input."""
    if state is None:
        return np.zeros(shape, dtype)
    return state[:, index] if layout else state[index]


def _rnn_step(call: Call, side: _Direction, x: Any, state: list[Any]) -> list[Any]:
    return [side.activations[0](ops.add(*side.linear_maps(x, state[0])))]


def _lstm_step(call: Call, side: _Direction, x: Any, state: list[Any]) -> list[Any]:
    """Compute one step of an LSTM; the weights have the gates in the order input, output, forget, cell."""
    hidden, cell = state
    total = ops.add(*side.linear_maps(x, hidden))
    size = cell.shape[1]
    parts = [total[:, i * size : (i + 1) * size] for i in range(4)]
    if call.get("input_forget", 0):
        call.refuse("input_forget is not supported")
    gate, cell_activation, output_activation = side.activations
    peepholes = [None] * 3 if side.peephole is None else [side.peephole[i * size : (i + 1) * size] for i in range(3)]
    input_gate = gate(_add_peephole(parts[0], peepholes[0], cell))
    forget_gate = gate(_add_peephole(parts[2], peepholes[2], cell))
    cell = ops.add(ops.mul(forget_gate, cell), ops.mul(input_gate, cell_activation(parts[3])))
    output_gate = gate(_add_peephole(parts[1], peepholes[1], cell))
    return [ops.mul(output_gate, output_activation(cell)), cell]


def _add_peephole(part: Any, weight: Any, cell: Any) -> Any:
    return part if weight is None else ops.add(part, ops.mul(weight, cell))


def _gru_step(call: Call, side: _Direction, x: Any, state: list[Any]) -> list[Any]:
    """Compute one step of a GRU; the weights have the gates in the order update, reset, hidden."""
    (hidden,) = state
    size, (gate, activation) = hidden.shape[1], side.activations
    from_input, from_state = side.linear_maps(x, hidden)
    update, reset = (
        gate(ops.add(from_input[:, part], from_state[:, part])) for part in (slice(size), slice(size, 2 * size))
    )
    last = slice(2 * size, None)
    if call.get("linear_before_reset", 0):
        candidate = ops.mul(reset, from_state[:, last])
    else:
        bias = None if side.state_bias is None else side.state_bias[last]
        candidate = F.linear(ops.mul(reset, hidden), side.state_weight[last], bias)
    candidate = activation(ops.add(from_input[:, last], candidate))
    return [ops.add(ops.mul(ops.sub(1, update), candidate), ops.mul(update, hidden))]


OPERATORS: dict[str, Operator] = {
    "RNN": _recurrent(1, ("Tanh",), _rnn_step),
    "LSTM": _recurrent(4, ("Sigmoid", "Tanh", "Tanh"), _lstm_step),
    "GRU": _recurrent(3, ("Sigmoid", "Tanh"), _gru_step),
}
