"""Recurrent layers and cells; the formulas are in `chainrule.ops.recurrent`."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from chainrule.creation import zeros
from chainrule.errors import check, check_integer, type_name
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn import init
from chainrule.nn.module import Module, Parameter
from chainrule.ops import cat, recurrent, stack
from chainrule.ops.dtypes import DEFAULT
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import DTypeLike

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

_NONLINEARITIES = {"tanh": recurrent.RNN_TANH, "relu": recurrent.RNN_RELU}


class _Recurrent(Module):
    """Base of recurrent layers and cells: creates their parameters, uniform in ±1 / √hidden_size, and checks inputs."""

    cell: recurrent.Cell

    def __init__(self, input_size: int, hidden_size: int, bias: bool) -> None:
        check_integer(self, "input_size", input_size, minimum=1)
        check_integer(self, "hidden_size", hidden_size, minimum=1)
        _check_flags(self, bias=bias)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias

    def _add_parameters(self, suffix: str, inputs: int, generator: Generator | None, dtype: DTypeLike) -> None:
        """Add the weights and biases of one cell, under PyTorch's names."""
        rows, bound = self.cell.num_gates * self.hidden_size, 1 / math.sqrt(self.hidden_size)
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs), "weight_hh": (rows, self.hidden_size)}
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
        for name, shape in shapes.items():
            parameter = init.uniform_(Parameter(zeros(shape, dtype=dtype)), -bound, bound, generator)
            setattr(self, name + suffix, parameter)
        if not self.bias:
            vars(self).update({f"bias_ih{suffix}": None, f"bias_hh{suffix}": None})

    def _parameters(self, suffix: str) -> list[Any]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, name + suffix) for name in names]

    def _scan(self, x: Tensor, state: Tensor, suffix: str) -> Tensor:
        """Run all steps of one cell: x (T, B, inputs), state (S, B, H) to the states after each step, (T, S, B, H)."""
        weight_ih, weight_hh, bias_ih, bias_hh = self._parameters(suffix)
        if bias_ih is not None and not self.cell.has_separate_projection_grads:  # one bias for both projections
            bias_ih, bias_hh = bias_ih + bias_hh, None
        return recurrent.recurrent_scan(F.linear(x, weight_ih, bias_ih), state, weight_hh, bias_hh, cell=self.cell)

    def _check_input(self, input: Any, ndims: tuple[int, int], layout: str) -> None:
        hint = "pad the sequences to one length and stack them (packed sequences are not supported)"
        if not isinstance(input, Tensor):
            raise TypeError(f"{type(self).__name__}: takes a Tensor {layout}, not {type_name(input)}: {hint}")
        fits = input.ndim in ndims and input.shape[-1] == self.input_size
        check(self, fits, f"takes {layout} with {self.input_size} features, not {input.shape}")

    def _first_state(self, hx: Any, shape: tuple[int, ...], like: Tensor) -> list[Tensor]:
        """Check the first states and return them as a list; if `hx` is None, return zeros."""
        if hx is None:
            return [zeros(shape, dtype=like.dtype) for _ in range(self.cell.num_states)]
        states = hx if isinstance(hx, (tuple, list)) else (hx,)
        names = ("h_0", "c_0")[: self.cell.num_states]
        pair = "a Tensor h_0" if len(names) == 1 else "a pair (h_0, c_0)"
        are_tensors = len(states) == len(names) and all(isinstance(state, Tensor) for state in states)
        fits = are_tensors and (isinstance(hx, Tensor) or len(names) > 1)
        check(self, fits, f"the first state must be {pair}", TypeError)
        for name, state in zip(names, states, strict=True):
            check(self, state.shape == shape, f"{name} must be {shape}, not {state.shape}")
            message = f"{name} must be {like.dtype}, like the input, not {state.dtype}"
            check(self, state.dtype == like.dtype, message, TypeError)
        return list(states)


class _RecurrentLayer(_Recurrent):
    """Base of RNN, LSTM and GRU: layers of cells, each in one or two directions."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool, dropout: float,
        bidirectional: bool, generator: Generator | None, dtype: DTypeLike,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias)
        check_integer(self, "num_layers", num_layers, minimum=1)
        F.check_probability(self, dropout)
        _check_flags(self, batch_first=batch_first, bidirectional=bidirectional)
        if dropout and num_layers == 1:
            message = "dropout acts between layers, so it does nothing with num_layers=1"
            warnings.warn(f"{type(self).__name__}: {message}", stacklevel=3)
        self.num_layers, self.batch_first, self.dropout = num_layers, batch_first, dropout
        self.bidirectional, self.generator = bidirectional, generator
        for layer in range(num_layers):
            inputs = hidden_size * (1 + bidirectional) if layer else input_size
            for suffix in self._suffixes(layer):
                self._add_parameters(suffix, inputs, generator, dtype)

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}{direction}" for direction in ("", "_reverse")[: 1 + self.bidirectional]]

    def _run(self, input: Tensor, hx: Any) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs of the last layer, and the final states of all layers and directions."""
        layout = f"{'(B, T, features)' if self.batch_first else '(T, B, features)'} or (T, features)"
        self._check_input(input, (2, 3), layout)
        is_batched = input.ndim == 3
        x = input.transpose(0, 1) if is_batched and self.batch_first else input
        count = self.num_layers * (1 + self.bidirectional)
        shape = (count, x.shape[1], self.hidden_size) if is_batched else (count, self.hidden_size)
        check(self, len(x) > 0, f"a sequence must have at least one step, not shape {input.shape}")
        states = stack(self._first_state(hx, shape, x), 1)  # (layers and directions, S, B, H)
        if not is_batched:
            x, states = x.unsqueeze(1), states.unsqueeze(-2)
        final_states: list[Tensor] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training, generator=self.generator)
            outputs = []
            for suffix in self._suffixes(layer):
                is_reversed = suffix.endswith("_reverse")
                result = self._scan(x.flip(0) if is_reversed else x, states[len(final_states)], suffix)
                final_states.append(result[-1])  # result: (T, S, B, H)
                outputs.append(result[:, 0].flip(0) if is_reversed else result[:, 0])
            x = cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        stacked_states = stack(final_states, 1)  # (S, layers and directions, B, H)
        if not is_batched:
            return x.squeeze(1), [state.squeeze(1) for state in stacked_states]
        return x.transpose(0, 1) if self.batch_first else x, list(stacked_states)

    def flatten_parameters(self) -> None:
        """Do nothing; PyTorch's method rearranges memory for GPUs."""

    def extra_repr(self) -> str:
        """Return the sizes, and the options that differ from their defaults."""
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        changed = {n: getattr(self, n) for n, default in defaults.items() if getattr(self, n) != default}
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *(f"{n}={v}" for n, v in changed.items())])


class LSTM(_RecurrentLayer):
    """Long short-term memory: gates decide what a memory cell forgets, stores and outputs.

    i, f, o = σ(W x + b + W′ h + b′), g = tanh(...); c ← f c + i g; h ← o tanh(c), at each step of a sequence.

    Args:
        input_size: the number of features of one step.
        hidden_size: H, the size of the hidden state.
        num_layers: the number of layers; each reads the hidden states of the previous one.
        bias: whether there are biases, two for each layer and direction.
        batch_first: whether sequences are (B, T, features) instead of (T, B, features).
        dropout: the probability of dropout between layers.
        bidirectional: whether to run from the last step to the first as well; outputs then have 2 H features.
        proj_size: must be 0.
        generator: source of the initial values and of dropout.
        dtype: the type of the parameters.

    Shapes: input (T, B, features) or (T, features); states (num_layers · directions, B, H), or the same without B.
    Parameters have PyTorch's names, `weight_ih_l0` (4 H, features) and so on, with the gates in the order i, f, g, o.

    Raises:
        ValueError: a size below 1, or a proj_size other than 0.
        TypeError: a size that is not an integer, or an option that must be True or False and is not.

    Source: Hochreiter and Schmidhuber, Long short-term memory (1997), with the forget gate of Gers, Schmidhuber and
    Cummins, Learning to forget (2000).

        import chainrule
        from chainrule import nn

        lstm = nn.LSTM(3, 5, num_layers=2)
        output, (h_n, c_n) = lstm(chainrule.zeros(7, 2, 3))
        output.shape  # (7, 2, 5)
        c_n.shape  # (2, 2, 5)
    """

    cell = recurrent.LSTM

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, *, generator: Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        check(self, proj_size == 0, f"proj_size must be 0, not {proj_size}: put a Linear after the LSTM instead")
        self.proj_size = 0
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, generator, dtype
        )

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run over sequences, from the states (h_0, c_0) or zeros.

        Returns:
            The hidden states of the last layer at all steps, and the pair (h_n, c_n) of the final states of all layers.
        """
        output, (h_n, c_n) = self._run(input, hx)
        return output, (h_n, c_n)


class GRU(_RecurrentLayer):
    """Gated recurrent unit: a reset gate and an update gate decide what the hidden state keeps.

    r, z = σ(W x + b + W′ h + b′); n = tanh(W x + b + r (W′ h + b′)); h ← (1 - z) n + z h, at each step of a sequence.

    Arguments, shapes and errors are those of LSTM, without proj_size; there is one state, and the gates are in the
    order r, z, n.

    Source: Cho et al., Learning phrase representations using RNN encoder-decoder for statistical machine translation
    (2014); with the reset gate after the product, as in cuDNN and PyTorch.
    """

    cell = recurrent.GRU

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, *, generator: Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, generator, dtype
        )

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run over sequences, from the states h_0 or zeros.

        Returns:
            The hidden states of the last layer at all steps, and h_n, the last ones of all layers.
        """
        output, (h_n,) = self._run(input, hx)
        return output, h_n


class RNN(_RecurrentLayer):
    """The simple recurrent layer: h ← tanh(W x + b + W′ h + b′) at each step of a sequence, or relu in place of tanh.

    Arguments, shapes and errors are those of LSTM, without proj_size; there is one state.

    Args:
        nonlinearity: "tanh" or "relu".

    Source: Elman, Finding structure in time (1990).
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *,
        generator: Generator | None = None, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        self.nonlinearity, self.cell = nonlinearity, _cell(self, nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, generator, dtype
        )

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run over sequences, from the states h_0 or zeros.

        Returns:
            The hidden states of the last layer at all steps, and h_n, the last ones of all layers.
        """
        output, (h_n,) = self._run(input, hx)
        return output, h_n


class _RecurrentCell(_Recurrent):
    """Base of the cells, each call of which takes one step."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, generator: Generator | None, dtype: DTypeLike
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        self._add_parameters("", input_size, generator, dtype)

    def _run(self, input: Tensor, hx: Any) -> list[Tensor]:
        """Return the new states."""
        self._check_input(input, (1, 2), "(B, features) or (features,)")
        states = stack(self._first_state(hx, (*input.shape[:-1], self.hidden_size), input))
        if input.ndim == 1:
            return list(self._scan(input.reshape(1, 1, -1), states.unsqueeze(1), "")[0, :, 0])
        return list(self._scan(input.unsqueeze(0), states, "")[0])

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class LSTMCell(_RecurrentCell):
    """One step of an LSTM: maps (B, features) and the states (h, c), each (B, H), to the new (h, c).

    Without `hx`, the states are zeros.

    Args:
        input_size: the number of features.
        hidden_size: H.
        bias: whether there are biases.
        generator: source of the initial values.
        dtype: the type of the parameters.
    """

    cell = recurrent.LSTM

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, generator: Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, generator, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Take one step."""
        hidden, cell = self._run(input, hx)
        return hidden, cell


class GRUCell(_RecurrentCell):
    """One step of a GRU: maps (B, features) and the state h, (B, H), to the new h.

    Without `hx`, the state is zeros. The arguments are those of LSTMCell.
    """

    cell = recurrent.GRU

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, generator: Generator | None = None,
        dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, generator, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Take one step."""
        return self._run(input, hx)[0]


class RNNCell(_RecurrentCell):
    """One step of an RNN: maps (B, features) and the state h, (B, H), to the new h.

    Without `hx`, the state is zeros. The arguments are those of LSTMCell, and `nonlinearity`, "tanh" or "relu".
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *,
        generator: Generator | None = None, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        self.nonlinearity, self.cell = nonlinearity, _cell(self, nonlinearity)
        super().__init__(input_size, hidden_size, bias, generator, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Take one step."""
        return self._run(input, hx)[0]


def _check_flags(owner: Module, **flags: Any) -> None:
    """Raise a TypeError unless all are True or False: a number would be an argument in the wrong position."""
    for name, value in flags.items():
        check(owner, isinstance(value, bool), f"{name} must be True or False, not {value!r}", TypeError)


def _cell(owner: Module, nonlinearity: str) -> recurrent.Cell:
    """Return the cell of an RNN or RNNCell with this nonlinearity."""
    check(owner, nonlinearity in _NONLINEARITIES, f'nonlinearity must be "tanh" or "relu", not {nonlinearity!r}')
    return _NONLINEARITIES[nonlinearity]
