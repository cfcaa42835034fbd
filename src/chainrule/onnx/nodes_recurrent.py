"""How the loop of recurrent layers is written: unrolled, for the example's number of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.ops import recurrent

if TYPE_CHECKING:
    from chainrule.onnx.symbol import Symbol, Writer


def _recurrent_scan(
    writer: Writer, x: Any, state: Any, weight: Any, bias: Any = None, *, cell: recurrent.Cell
) -> Symbol:
    """Apply the cell's formula to symbols, once for each step; see `recurrent.recurrent_scan` for the shapes."""
    transposed, size = writer.transpose(weight), weight.shape[1]
    states = [state[i] for i in range(cell.num_states)]
    rows: list[Symbol] = []
    for t in range(x.shape[0]):
        projected = np.matmul(states[0], transposed)
        projected = projected if bias is None else projected + bias
        parts = [part[:, i * size : (i + 1) * size] for part in (x[t], projected) for i in range(cell.num_gates)]
        results = cell.step(*[None] * (cell.num_states + cell.num_saved), *parts, *states)
        states = [*results[: cell.num_states]]
        rows += [writer.reshape(new, (1, *new.shape)) for new in states]  # (1, B, H)
    example = np.concatenate([row.example for row in rows])
    joined = writer.node("Concat", *rows, example=example, axis=0)  # (T S, B, H)
    return writer.reshape(joined, (x.shape[0], cell.num_states, *rows[0].shape[1:]))


OPERATIONS: dict[Any, Any] = {recurrent.recurrent_scan: _recurrent_scan}
