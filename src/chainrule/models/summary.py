"""A table of a network: each module's output, parameters, memory, and multiply-adds in a forward pass."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn
from chainrule.autograd import no_grad
from chainrule.errors import check, check_integer, type_name
from chainrule.ops.dtypes import DEFAULT, storable_dtype
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import DTypeLike

__all__ = ["Row", "Summary", "summary"]


@dataclass
class Row:
    """One module of a `Summary`.

    Attributes:
        path: its path in the network; "" for the network itself.
        kind: the name of its class.
        depth: number of modules that contain it, 0 for the network itself.
        shapes: the shapes of its outputs in its last call, in order.
        parameters: number of elements of its parameters and its submodules', each counted once.
        parameter_bytes: their memory, with that of buffers.
        output_bytes: the memory of the outputs of all calls.
        multiply_adds: number of multiply-adds of its products and convolutions in all calls, its submodules' included;
            None if one of them has matrices but is of a class whose formula is not known.
        calls: number of calls.
    """

    path: str
    kind: str
    depth: int
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    parameters: int = 0
    parameter_bytes: int = 0
    output_bytes: int = 0
    multiply_adds: int | None = 0
    calls: int = 0


@dataclass
class Summary:
    """The rows of a network's modules in the order of their first calls; `str()` is the table.

    Attributes:
        rows: the rows; the first is the network's.
        parameters: number of elements of its parameters.
        trainable: number of those that require gradients.
        multiply_adds: number of multiply-adds of a forward pass; None if a module's is not known.
        parameter_bytes: the memory of parameters and buffers.
        output_bytes: the memory of the outputs of all modules without submodules, which training keeps.
    """

    rows: list[Row]
    parameters: int
    trainable: int
    multiply_adds: int | None
    parameter_bytes: int
    output_bytes: int

    def __str__(self) -> str:
        table = [("module", "output", "parameters", "memory", "multiply-adds")]
        for row in self.rows:
            outer = max((r.path for r in self.rows if _is_inside(row.path, r.path)), key=len, default="")
            name = f"{row.path[len(outer) :].lstrip('.')}: {row.kind}" if row.path else row.kind
            name += f" ×{row.calls}" if row.calls > 1 else ""
            shapes = ", ".join("×".join(map(str, shape)) or "a number" for shape in row.shapes)
            memory = _bytes(row.parameter_bytes + row.output_bytes)
            counts = f"{row.parameters:,}", memory, "?" if row.multiply_adds is None else f"{row.multiply_adds:,}"
            table.append(("  " * row.depth + name, shapes, *counts))
        widths = [max(len(line[column]) for line in table) for column in range(5)]
        lines = [
            "  ".join(
                cell.ljust(w) if c < 2 else cell.rjust(w) for c, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in table
        ]
        lines.insert(1, "-" * len(lines[0]))
        unknown = " (at least; ?: a module whose formula is not known)" if self.multiply_adds is None else ""
        counted = sum(row.multiply_adds or 0 for row in self.rows if _is_leaf(row, self.rows))
        total = counted if self.multiply_adds is None else self.multiply_adds
        weights, outputs = _bytes(self.parameter_bytes), _bytes(self.output_bytes)
        return "\n".join([
            *lines,
            lines[1],
            f"parameters     {self.parameters:,}, of which {self.trainable:,} are trained",
            f"memory         {weights} of parameters and buffers, {outputs} of outputs",
            f"multiply-adds  {total:,} of layers, forward; about three times as many in a training step{unknown}",
        ])  # fmt: skip

    __repr__ = __str__


def summary(model: nn.Module, *inputs: Sequence[int] | Tensor, dtype: DTypeLike = DEFAULT) -> Summary:
    """Describe a network module by module, for inputs of some shapes.

    The network runs once in evaluation mode, on zeros; modes are restored and nothing is trained. Products that
    the `forward` of your own modules computes without a submodule are not counted.

    Args:
        model: the network.
        *inputs: for each input of its `forward` a shape, with the batch, such as (64, 1, 28, 28), or a Tensor.
        dtype: the type of the zeros; an integer type for tokens.

    Returns:
        The `Summary`, which prints as a table.

    Raises:
        TypeError: not a module, no inputs, or an input that is neither a shape nor a Tensor.
        ValueError: the input does not fit the network.

        import chainrule
        from chainrule import nn

        network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        table = chainrule.summary(network, (5, 3))
        table.parameters  # 26
        table.multiply_adds  # 100
    """
    check("summary", isinstance(model, nn.Module), f"takes a module, not {type_name(model)}", TypeError)
    check("summary", inputs, "needs the shape of the input, with the batch, such as (64, 1, 28, 28)", TypeError)
    tensors = [x if isinstance(x, Tensor) else _zeros(x, dtype) for x in inputs]
    rows: dict[int, Row] = {}
    paths = {id(module): path for path, module in model.named_modules()}
    depths = {id(module): depth for module, depth in _with_depths(model)}

    def before(module: nn.Module, _: Any) -> None:
        key = id(module)
        if key not in rows:
            rows[key] = _row(module, paths[key], depths[key])

    def after(module: nn.Module, arguments: tuple[Any, ...], out: Any) -> None:
        row, results = rows[id(module)], [*_tensors(out)]
        row.calls += 1
        row.shapes = [result.shape for result in results]
        row.output_bytes += sum(result._data.nbytes for result in results)
        own = _multiply_adds(module, [*_tensors(arguments)], results)
        row.multiply_adds = None if own is None or row.multiply_adds is None else row.multiply_adds + own

    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack, no_grad():
        for module in model.modules():
            for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after)):
                stack.callback(handle.remove)
        try:
            model.eval()(*tensors)
        finally:
            for module, training in modes:
                module.training = training
    return _summarize(model, list(rows.values()))


def _summarize(model: nn.Module, rows: list[Row]) -> Summary:
    """Add the submodules' multiply-adds to each module's, and total the rows."""
    own = {row.path: row.multiply_adds for row in rows}
    for row in rows:
        inner = [count for path, count in own.items() if path == row.path or _is_inside(path, row.path)]
        counts = [count for count in inner if count is not None]
        row.multiply_adds = sum(counts) if len(counts) == len(inner) else None
    parameters = [*model.parameters()]
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    outputs = sum(row.output_bytes for row in rows if _is_leaf(row, rows))
    total, memory = sum(p.numel() for p in parameters), _memory(model)
    return Summary(rows, total, trainable, rows[0].multiply_adds, memory, outputs)


def _row(module: nn.Module, path: str, depth: int) -> Row:
    parameters = sum(p.numel() for p in module.parameters())
    return Row(path, type(module).__name__, depth, parameters=parameters, parameter_bytes=_memory(module))


def _memory(module: nn.Module) -> int:
    return sum(t._data.nbytes for t in (*module.parameters(), *module.buffers()))


def _is_inside(path: str, outer: str) -> bool:
    return path != outer and (not outer or path.startswith(f"{outer}."))


def _is_leaf(row: Row, rows: list[Row]) -> bool:
    """Return whether a row's module has called no submodule."""
    return not any(_is_inside(other.path, row.path) for other in rows)


def _with_depths(module: nn.Module, depth: int = 0) -> Iterator[tuple[nn.Module, int]]:
    yield module, depth
    for child in module.children():
        yield from _with_depths(child, depth + 1)


def _zeros(shape: Any, dtype: DTypeLike) -> Tensor:
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"summary: an input is a shape such as (64, 1, 28, 28) or a Tensor, not {shape!r}")
    for size in shape:
        check_integer("summary", "a size", size, minimum=0)
    return from_numpy(np.zeros(tuple(shape), storable_dtype(dtype)))


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the Tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _bytes(count: int) -> str:
    """Format a number of bytes in a suitable unit."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB"):
        count /= 1000  # type: ignore[assignment]  # a float from here on
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"


# Multiply-adds


def _multiply_adds(module: nn.Module, inputs: list[Tensor], outputs: list[Tensor]) -> int | None:
    """Return the multiply-adds of a call, without its submodules'; None if their number is not known."""
    for kind, formula in _FORMULAS.items():
        if isinstance(module, kind):
            return formula(module, inputs, outputs)
    own = [value for value in vars(module).values() if isinstance(value, nn.Parameter)]
    return None if any(parameter.ndim > 1 for parameter in own) else 0


def _recurrent(module: nn.Module, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    rows = math.prod(inputs[0].shape[:-1])  # of all sequences and steps
    return rows * sum(parameter.numel() for parameter in module.parameters() if parameter.ndim == 2)


def _attention(module: nn.MultiheadAttention, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    """Return those of the projections, the scores, and the means of the values."""
    query, key, value = inputs[:3]
    width = query.shape[-1]
    batch = query.shape[0 if module.batch_first else 1] if query.ndim == 3 else 1
    products = 2 * query.numel() * key.numel() // (width * max(batch, 1))
    return (query.numel() + key.numel() + value.numel()) * width + products


_FORMULAS: dict[type, Callable[[Any, list[Tensor], list[Tensor]], int]] = {
    nn.Linear: lambda m, inputs, outputs: outputs[0].numel() * m.in_features,
    nn.Conv1d: lambda m, inputs, outputs: outputs[0].numel() * math.prod(m.weight.shape[1:]),
    nn.Conv2d: lambda m, inputs, outputs: outputs[0].numel() * math.prod(m.weight.shape[1:]),
    nn.ConvTranspose2d: lambda m, inputs, outputs: inputs[0].numel() * math.prod(m.weight.shape[1:]),
    nn.Embedding: lambda m, inputs, outputs: 0,
    nn.MultiheadAttention: _attention,
    nn.LSTM: _recurrent, nn.GRU: _recurrent, nn.RNN: _recurrent,
    nn.LSTMCell: _recurrent, nn.GRUCell: _recurrent, nn.RNNCell: _recurrent,
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm, nn.GroupNorm), lambda m, inputs, outputs: 0),
}  # fmt: skip
"""By class: the multiply-adds of a call, from its inputs and outputs."""
