"""RNN, LSTM and GRU: compiled over any number of steps, what they refuse, odd inputs, and that they learn.

Values, gradients, states and refusals of PyTorch's own samples are in `tests/conformance`, second derivatives of the
loop in `tests/ops`; here second derivatives of whole layers are checked by finite differences.
"""

from __future__ import annotations

import copy
import re
import time

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.autograd import gradcheck, gradgradcheck


def random(seed=0):
    return np.random.default_rng(seed)


def sequences(*shape, seed=0, dtype=np.float64):
    return chainrule.from_numpy(random(seed).standard_normal(shape).astype(dtype))


LAYERS = {
    "LSTM": lambda **options: nn.LSTM(2, 3, generator=random(1), **options),
    "GRU": lambda **options: nn.GRU(2, 3, generator=random(1), **options),
    "RNN": lambda **options: nn.RNN(2, 3, generator=random(1), **options),
    "RNN, relu": lambda **options: nn.RNN(2, 3, nonlinearity="relu", generator=random(1), **options),
}
EVERY_LAYER = pytest.mark.parametrize("name", LAYERS)


def flat(result):
    output, last = result
    return [output, *(last if isinstance(last, tuple) else (last,))]


@EVERY_LAYER
def test_second_derivatives_of_a_whole_layer(name):
    layer = LAYERS[name](num_layers=2, bidirectional=True, dtype=np.float64)
    x = sequences(3, 2, 2).requires_grad_()

    def loss(x):
        return sum(((part + 1) ** 2).mean() for part in flat(layer(x)))

    assert gradcheck(loss, x)
    assert gradgradcheck(loss, x)


@EVERY_LAYER
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_a_compiled_step_is_the_eager_one(name, steps):
    """Three steps of learning from new numbers, with the states of the step before."""
    layers = [LAYERS[name](num_layers=2, bidirectional=True, batch_first=True, dtype=np.float64) for _ in range(2)]
    optimizers = [optim.Adam(layer.parameters(), 0.01) for layer in layers]

    def stepper(layer, optimizer):
        def step(x, *states):
            optimizer.zero_grad()
            result = layer(x, (states if len(states) > 1 else states[0]) if states else None)
            loss = sum(((part + 1) ** 2).mean() for part in flat(result))
            loss.backward()
            optimizer.step()
            return [loss, *flat(result)[1:]]

        return step

    eager, compiled = stepper(layers[0], optimizers[0]), chainrule.jit(stepper(layers[1], optimizers[1]))
    states = [], []
    for call in range(3):
        x = sequences(5, steps, 2, seed=call)
        expected, actual = eager(x, *states[0]), compiled(x, *states[1])
        states = [part.detach() for part in expected[1:]], [part.detach() for part in actual[1:]]
        for one, other in zip(expected, actual, strict=True):
            np.testing.assert_allclose(other.detach().numpy(), one.detach().numpy(), rtol=1e-10)
        for p, q in zip(*(layer.parameters() for layer in layers), strict=True):
            np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-8)


def test_a_compiled_program_does_not_grow_with_the_sequence():
    layer = nn.LSTM(2, 3, generator=random())

    def step(x):
        layer.zero_grad()
        loss = layer(x)[0].square().sum()
        loss.backward()
        return loss

    lines, seconds = [], []
    for steps in (10, 100, 1000):
        compiled, start = chainrule.jit(step), time.process_time()
        compiled(sequences(steps, 2, 2, dtype=np.float32))
        seconds.append(time.process_time() - start)
        lines.append(len(str(compiled.explain()).splitlines()))
    assert max(lines) - min(lines) <= 1  # a sum of many rows takes one stage more
    assert seconds[2] < 3  # of compiling and a call of 1,000 steps; unrolled it would be minutes


class TestInputs:
    def test_one_sequence_is_a_batch_of_one(self):
        for make in LAYERS.values():
            layer, x = make(num_layers=2, bidirectional=True), sequences(4, 2, dtype=np.float32)
            for one, batch in zip(flat(layer(x)), flat(layer(x.unsqueeze(1))), strict=True):
                np.testing.assert_array_equal(one.detach().numpy(), batch.squeeze(1).detach().numpy())

    def test_a_batch_of_none(self):
        output, (h, c) = nn.LSTM(2, 3)(chainrule.zeros(4, 0, 2))
        assert (output.shape, h.shape, c.shape) == ((4, 0, 3), (1, 0, 3), (1, 0, 3))

    def test_odd_memory(self):
        layer = LAYERS["GRU"](dtype=np.float64)
        x = sequences(6, 3, 4)
        strided = x[::2, :, 1::2].transpose(0, 1)  # (3, 3, 2)
        copied = chainrule.from_numpy(np.ascontiguousarray(strided.numpy()))
        np.testing.assert_array_equal(layer(strided)[0].detach().numpy(), layer(copied)[0].detach().numpy())

    def test_a_gradient_that_is_broadcast(self):
        layer = LAYERS["LSTM"](dtype=np.float64)
        x = sequences(4, 300, 2)
        layer(x)[0].sum().backward()
        summed = layer.weight_hh_l0.grad.numpy()
        layer.zero_grad()
        (layer(x)[0] * chainrule.ones(4, 300, 3, dtype=np.float64)).sum().backward()
        np.testing.assert_allclose(layer.weight_hh_l0.grad.numpy(), summed, rtol=1e-12)

    def test_nan_stays_in_its_sequence(self):
        x = np.ones((5, 2, 2), np.float32)
        x[2, 0, 0] = np.nan
        for make in LAYERS.values():
            output = make()(chainrule.from_numpy(x))[0].detach().numpy()
            assert np.isfinite(output[:2]).all()
            assert np.isnan(output[2:, 0]).all()
            assert np.isfinite(output[:, 1]).all()

    def test_large_numbers_saturate_without_a_warning(self):
        for name, make in LAYERS.items():
            layer, x = make(), chainrule.full((3, 2, 2), 1e30, requires_grad=True)
            out, *_ = flat(layer(x))
            out.sum().backward()
            assert np.isfinite(out.detach().numpy()).all(), name
            if name != "RNN, relu":  # which has no bounds
                assert np.abs(out.detach().numpy()).max() <= 1, name
                assert not x.grad.numpy().any(), name  # each gate and state is constant here
            if name == "RNN":
                signs = np.sign(layer.weight_ih_l0.detach().numpy().sum(1))
                np.testing.assert_array_equal(out.detach().numpy(), np.broadcast_to(signs, out.shape))

    def test_float16(self):
        layer = LAYERS["LSTM"](dtype=np.float16)
        double = LAYERS["LSTM"](dtype=np.float64)
        double.load_state_dict(layer.state_dict())
        x = sequences(5, 2, 2, dtype=np.float16)
        output = layer(x)[0]
        assert output.dtype == np.float16
        np.testing.assert_allclose(
            output.detach().numpy().astype("f8"), double(x.double())[0].detach().numpy(), atol=5e-3
        )


def test_steps_of_cells_are_a_layer():
    for cell, layer in [(nn.LSTMCell, nn.LSTM), (nn.GRUCell, nn.GRU), (nn.RNNCell, nn.RNN)]:
        one, all_steps = cell(2, 3, dtype=np.float64), layer(2, 3, dtype=np.float64)
        all_steps.load_state_dict({f"{name}_l0": tensor for name, tensor in one.state_dict().items()})
        x = sequences(4, 5, 2).requires_grad_()
        state = None
        for t in range(4):
            state = one(x[t], state)
        states = state if isinstance(state, tuple) else (state,)
        for mine, other in zip(states, flat(all_steps(x))[1:], strict=True):
            np.testing.assert_allclose(mine.detach().numpy(), other[0].detach().numpy(), rtol=1e-14)
        single = one(x[0, 0])
        first = one(x[0])
        for mine, other in zip(*(s if isinstance(s, tuple) else (s,) for s in (single, first)), strict=True):
            np.testing.assert_allclose(
                mine.detach().numpy(), other[0].detach().numpy(), rtol=1e-14
            )  # another sum order


def test_dropout_acts_between_layers_in_training_only():
    with pytest.warns(UserWarning, match="LSTM: dropout acts between layers, so it does nothing with num_layers=1"):
        nn.LSTM(2, 3, dropout=0.5)
    layer = LAYERS["GRU"](num_layers=2, dropout=0.5)
    x = sequences(6, 4, 2, dtype=np.float32)
    assert not np.array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())
    first = nn.GRU(2, 3)
    first.load_state_dict({name: tensor for name, tensor in layer.state_dict().items() if "_l0" in name})
    np.testing.assert_array_equal(
        layer(x)[1][0].detach().numpy(), first(x)[1][0].detach().numpy()
    )  # not after the last
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())


def test_copies_and_shows_its_options():
    layer = nn.LSTM(2, 3, 2, batch_first=True, generator=random())
    x = sequences(1, 4, 2, dtype=np.float32)
    np.testing.assert_array_equal(copy.deepcopy(layer)(x)[0].detach().numpy(), layer(x)[0].detach().numpy())
    assert repr(layer) == "LSTM(2, 3, num_layers=2, batch_first=True)"
    assert repr(nn.GRUCell(2, 3, bias=False)) == "GRUCell(2, 3, bias=False)"
    assert layer.flatten_parameters() is None


def test_learns_to_tell_which_of_two_marks_came_first():
    """Needs memory: between the marks are steps of noise."""
    rng = random(3)
    net = nn.Sequential(nn.LSTM(3, 16, generator=rng))
    head = nn.Linear(16, 1, generator=rng)
    optimizer = optim.Adam([*net.parameters(), *head.parameters()], 0.02)

    def batch(count):
        labels = rng.integers(0, 2, count)
        x = rng.standard_normal((20, count, 3)).astype(np.float32) * 0.1
        for i, label in enumerate(labels):
            x[3, i, label], x[15, i, 1 - label] = 1, 1
        return chainrule.from_numpy(x), chainrule.from_numpy(labels.astype(np.float32))

    @chainrule.jit
    def step(x, labels):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(head(net(x)[0][-1])[:, 0], labels)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(60):
        step(*batch(32))
    x, labels = batch(200)
    assert ((head(net(x)[0][-1])[:, 0].detach().numpy() > 0) == labels.numpy()).mean() > 0.97


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.LSTM(2, 3, proj_size=1),
            ValueError,
            "LSTM: proj_size must be 0, not 1: put a Linear after the LSTM",
        ),
        (lambda: nn.LSTM(0, 3), ValueError, "LSTM: input_size must be at least 1, not 0"),
        (lambda: nn.GRU(2, 3.5), TypeError, "GRU: hidden_size must be an integer, not 3.5"),
        (lambda: nn.RNN(2, 3, 0), ValueError, "RNN: num_layers must be at least 1, not 0"),
        (lambda: nn.RNN(2, 3, nonlinearity="elu"), ValueError, """nonlinearity must be "tanh" or "relu", not 'elu'"""),
        (lambda: nn.LSTM(2, 3, 2, dropout=2), ValueError, "LSTM: p must be a probability from 0 to 1, not 2"),
        (lambda: nn.LSTM(2, 3, 2, 4), TypeError, "LSTM: bias must be True or False, not 4"),
        (
            lambda: nn.LSTM(2, 3)([chainrule.zeros(4, 2)]),
            TypeError,
            "LSTM: takes a Tensor (T, B, features) or (T, features), not list: pad the sequences to one length and stack "
            "them (packed sequences are not supported)",
        ),
        (
            lambda: nn.LSTM(2, 3, batch_first=True)(chainrule.zeros(4, 2, 3)),
            ValueError,
            "LSTM: takes (B, T, features) or (T, features) with 2 features, not (4, 2, 3)",
        ),
        (lambda: nn.GRU(2, 3)(chainrule.zeros(0, 2, 2)), ValueError, "at least one step, not shape (0, 2, 2)"),
        (
            lambda: nn.GRU(2, 3)(chainrule.zeros(4, 5, 2), chainrule.zeros(1, 4, 3)),
            ValueError,
            "GRU: h_0 must be (1, 5, 3), not (1, 4, 3)",
        ),
        (
            lambda: nn.LSTM(2, 3)(chainrule.zeros(4, 5, 2), chainrule.zeros(1, 5, 3)),
            TypeError,
            "LSTM: the first state must be a pair (h_0, c_0)",
        ),
        (
            lambda: nn.GRU(2, 3)(chainrule.zeros(4, 5, 2), (chainrule.zeros(1, 5, 3), chainrule.zeros(1, 5, 3))),
            TypeError,
            "GRU: the first state must be a Tensor h_0",
        ),
        (
            lambda: nn.GRU(2, 3)(chainrule.zeros(4, 5, 2), chainrule.zeros(1, 5, 3, dtype=np.float64)),
            TypeError,
            "GRU: h_0 must be float32, like the input, not float64",
        ),
        (lambda: nn.GRU(2, 3)(chainrule.zeros(4, 5, 2, dtype=np.float64)), TypeError, "must have the same type"),
        (
            lambda: nn.LSTMCell(2, 3)(chainrule.zeros(4, 5, 2)),
            ValueError,
            "LSTMCell: takes (B, features) or (features,) with 2 features, not (4, 5, 2)",
        ),
    ],
)
def test_what_makes_no_sense(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
