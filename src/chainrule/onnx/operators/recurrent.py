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
        input: (gates hidden, features), the weight of the input.
        state: (gates hidden, hidden), the weight of the state.
        input_bias: (gates hidden,) or None.
        state_bias: (gates hidden,) or None.
        peephole: (3 hidden,) or None, for LSTM.
        functions: the activations.
    """

    def __init__(self, weights: Any, recurrent: Any, bias: Any, peephole: Any, number: int, functions: Any) -> None:
        self.input, self.state, self.functions = weights[number], recurrent[number], functions
        count = self.input.shape[0]
        self.input_bias = None if bias is None else bias[number, :count]
        self.state_bias = None if bias is None else bias[number, count:]
        self.peephole = None if peephole is None else peephole[number]


def _recurrent(gates: int, defaults: tuple[str, ...], step: Callable[..., Any]) -> Operator:
    """Return the operator of a cell.

    Args:
        gates: the number of its gates.
        defaults: its activations.
        step: maps a call, a `_Direction`, the input (N, features) and the state, a list of (N, hidden), to a new state.
    """

    def run(
        call: Call, x: Any, weights: Any, recurrent: Any, bias: Any = None, lengths: Any = None, hidden: Any = None,
        cell: Any = None, peephole: Any = None,
    ) -> Any:  # fmt: skip
        layout, direction = call.get("layout", 0), call.choose("direction", "forward", "reverse", "bidirectional")
        size, count = recurrent.shape[2], 2 if direction == "bidirectional" else 1
        if call.get("hidden_size", size) != size or weights.shape[:2] != (count, gates * size):
            raise ValueError(f"{call.label}: hidden_size and the weights {weights.shape}, {recurrent.shape} do not fit")
        functions = [_activation(call, name) for name in call.get("activations", list(defaults) * count)]
        x = ops.transpose(x, 0, 1) if layout else x  # (L, N, features)
        if lengths is not None and {*integers(lengths)} - {x.shape[0]}:
            call.refuse("sequences of different lengths are not supported")
        states = [hidden, cell] if len(defaults) == 3 else [hidden]
        outputs, finals = [], []
        for number in range(count):
            side = _Direction(
                weights,
                recurrent,
                bias,
                peephole,
                number,
                functions[number * len(defaults) : (number + 1) * len(defaults)],
            )
            state = [_initial(s, number, layout, (x.shape[1], size), x.dtype) for s in states]
            is_reversed = direction == "reverse" or number == 1
            results = []
            for t in range(x.shape[0])[:: -1 if is_reversed else 1]:
                state = step(call, side, x[t], state)
                results.append(state[0])
            outputs.append(ops.stack(results[:: -1 if is_reversed else 1]))  # (L, N, hidden)
            finals.append(state)
        out = ops.stack(outputs, 2 if layout else 1)  # (L, dirs, N, hidden), or (L, N, dirs, hidden)
        out = ops.transpose(out, 0, 1) if layout else out
        last = [ops.stack([state[i] for state in finals], 1 if layout else 0) for i in range(len(states))]
        return (out, *last) if len(call.outputs) > 1 else out

    return run


def _activation(call: Call, name: Any) -> Callable[[Any], Any]:
    word = name.decode() if isinstance(name, bytes) else str(name)
    if word.lower() not in _ACTIVATIONS:
        call.refuse(f"the activation {word} is not supported")
    return _ACTIVATIONS[word.lower()]


def _initial(state: Any, number: int, layout: int, shape: tuple[int, int], dtype: Any) -> Any:
    """Return the initial state (N, hidden) of a direction; zeros if there is none."""
    if state is None:
        return np.zeros(shape, dtype)
    return state[:, number] if layout else state[number]


def _rnn_step(call: Call, side: _Direction, x: Any, state: list[Any]) -> list[Any]:
    total = ops.add(F.linear(x, side.input, side.input_bias), F.linear(state[0], side.state, side.state_bias))
    return [side.functions[0](total)]


def _lstm_step(call: Call, side: _Direction, x: Any, state: list[Any]) -> list[Any]:
    """Gates in the order input, output, forget, cell."""
    hidden, cell = state
    total = ops.add(F.linear(x, side.input, side.input_bias), F.linear(hidden, side.state, side.state_bias))
    size = cell.shape[1]
    parts = [total[:, i * size : (i + 1) * size] for i in range(4)]
    if call.get("input_forget", 0):
        call.refuse("input_forget is not supported")
    gate, inner, outer = side.functions
    seen = [None] * 3 if side.peephole is None else [side.peephole[i * size : (i + 1) * size] for i in range(3)]
    into = gate(_with_cell(parts[0], seen[0], cell))
    retained = gate(_with_cell(parts[2], seen[2], cell))
    cell = ops.add(ops.mul(retained, cell), ops.mul(into, inner(parts[3])))
    out = gate(_with_cell(parts[1], seen[1], cell))
    return [ops.mul(out, outer(cell)), cell]


def _with_cell(part: Any, weight: Any, cell: Any) -> Any:
    return part if weight is None else ops.add(part, ops.mul(weight, cell))


def _gru_step(call: Call, side: _Direction, x: Any, state: list[Any]) -> list[Any]:
    """Gates in the order update, reset, hidden."""
    (hidden,) = state
    size, (gate, inner) = hidden.shape[1], side.functions
    from_input = F.linear(x, side.input, side.input_bias)
    from_state = F.linear(hidden, side.state, side.state_bias)
    update, reset = (
        gate(ops.add(from_input[:, part], from_state[:, part])) for part in (slice(size), slice(size, 2 * size))
    )
    last = slice(2 * size, None)
    if call.get("linear_before_reset", 0):
        candidate = ops.mul(reset, from_state[:, last])
    else:
        bias = None if side.state_bias is None else side.state_bias[last]
        candidate = F.linear(ops.mul(reset, hidden), side.state[last], bias)
    candidate = inner(ops.add(from_input[:, last], candidate))
    return [ops.add(ops.mul(ops.sub(1, update), candidate), ops.mul(update, hidden))]


OPERATORS: dict[str, Operator] = {
    "RNN": _recurrent(1, ("Tanh",), _rnn_step),
    "LSTM": _recurrent(4, ("Sigmoid", "Tanh", "Tanh"), _lstm_step),
    "GRU": _recurrent(3, ("Sigmoid", "Tanh"), _gru_step),
}
