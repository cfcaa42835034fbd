"""Changes in place: the right gradient or an error, never a wrong gradient."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, nn, no_grad, optim

CHANGED = r"was changed in place after it was used, and its old value is needed; call backward\(\) before"


def leaf(*values: float) -> Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


CHANGES = {
    "copy_": lambda x: x.copy_(np.zeros(x.shape)),
    "x[0] =": lambda x: x.__setitem__(0, 5.0),
    "x[mask] =": lambda x: x.__setitem__(np.ones(x.shape, bool), 5.0),
    "+=": lambda x: x.__iadd__(1),
    "-=": lambda x: x.__isub__(1),
    "*=": lambda x: x.__imul__(2),
    "/=": lambda x: x.__itruediv__(2),
    "add_": lambda x: x.add_(1, alpha=2),
    "sub_": lambda x: x.sub_(1, alpha=2),
    "mul_": lambda x: x.mul_(3),
    "div_": lambda x: x.div_(3),
    "fill_": lambda x: x.fill_(3),
    "zero_": lambda x: x.zero_(),
    "uniform_": lambda x: nn.init.uniform_(x),
    "data =": lambda x: setattr(x, "data", np.zeros(x.shape)),
    "a view": lambda x: x[:1].zero_(),
    "one element": lambda x: x[0].zero_(),
    "a reshaped view": lambda x: x.reshape(-1, 1).fill_(2),
    "a view of a view": lambda x: x.reshape(1, -1).T[0].zero_(),
    "detach": lambda x: x.detach().zero_(),
    "a view of detach": lambda x: x.detach()[:1].zero_(),
}  # writing through `.detach().numpy()` cannot be seen

# Operations whose derivative needs the input's value, and some that need the result's
NEED_INPUT = {
    "mul": lambda x: x * x,
    "div": lambda x: 1 / x,
    "pow": lambda x: x**2,
    "log": lambda x: x.log(),
    "abs": lambda x: x.abs(),
    "leaky_relu": lambda x: nn.functional.leaky_relu(x),
    "maximum": lambda x: np.maximum(x, 1.0),
    "matmul": lambda x: x @ x,
    "linear": lambda x: nn.functional.linear(x, chainrule.ones(1, 2, dtype=np.float64, requires_grad=True)),
    "amax": lambda x: x.amax(),
    "a part": lambda x: x[:1] * x[:1],
    "a view": lambda x: x.reshape(2, 1).T ** 2,
}
NEED_RESULT = {
    "exp": lambda x: x.exp(),
    "sqrt": lambda x: x.sqrt(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "relu": lambda x: x.relu(),
    "softmax": lambda x: x.softmax(0),
    "log_softmax": lambda x: x.log_softmax(0),
    "amax": lambda x: x.amax(dim=0, keepdim=True),
}
NEED_NEITHER = {
    "add": lambda x: x + 1,
    "sub": lambda x: 2 - x,
    "neg": lambda x: -x,
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(dim=0, keepdim=True),
    "reshape": lambda x: x.reshape(2, 1),
    "getitem": lambda x: x[:1],
    "expand": lambda x: x.expand(3, 2),
    "clone": lambda x: x.clone(),
}


@pytest.mark.parametrize("change", CHANGES)
class TestBetweenForwardAndBackward:
    @pytest.mark.parametrize("function", NEED_INPUT)
    def test_of_an_input_that_is_needed(self, function, change):
        x = leaf(1.0, 2.0)
        out = NEED_INPUT[function](x).sum()
        with no_grad():
            CHANGES[change](x)
        with pytest.raises(RuntimeError, match=CHANGED):
            out.backward()
        assert x.grad is None

    @pytest.mark.parametrize("function", NEED_RESULT)
    def test_of_a_result_that_is_needed(self, function, change):
        x = leaf(1.0, 2.0)
        out = NEED_RESULT[function](x)
        total = out.sum()
        with no_grad():
            CHANGES[change](out)
        with pytest.raises(RuntimeError, match=f"the result of {function} .*{CHANGED}"):
            total.backward()

    @pytest.mark.parametrize("function", NEED_NEITHER)
    def test_of_a_value_that_is_not_needed(self, function, change):
        x, y = leaf(1.0, 2.0), leaf(1.0, 2.0)
        out = NEED_NEITHER[function](x)
        given = np.arange(1.0, 1 + out.numel()).reshape(out.shape)
        NEED_NEITHER[function](y).backward(given)
        with no_grad():
            CHANGES[change](x)
        out.backward(given)
        assert x.grad.tolist() == y.grad.tolist()

    def test_of_data_that_asks_for_no_gradient(self, change):
        x, data = leaf(1.0, 2.0), chainrule.tensor(np.array([3.0, 4.0]))
        out = (x * data).sum()
        CHANGES[change](data)
        with pytest.raises(RuntimeError, match=f"the other of mul .*{CHANGED}"):
            out.backward()

    def test_after_backward_nothing_is_held_against_it(self, change):
        x = leaf(1.0, 2.0)
        (x * x).sum().backward()
        with no_grad():
            CHANGES[change](x)
        x.grad = None
        (x * x).sum().backward()
        assert x.grad.tolist() == (2 * x.detach()).tolist()


class TestBetweenFirstAndSecondDerivative:
    def test_of_a_leaf(self):
        x = leaf(1.0, 2.0)
        (g,) = chainrule.grad((x**3).sum(), x, create_graph=True)
        with no_grad():
            x.zero_()
        with pytest.raises(RuntimeError, match=CHANGED):
            g.sum().backward()

    def test_of_a_result_that_only_the_second_walk_meets(self):
        x, v = leaf(1.0, 2.0), leaf(1.0, 1.0)
        y = x.exp()
        (g,) = chainrule.grad((y * v).sum(), x, create_graph=True)  # v eˣ, by way of y
        with no_grad():
            y.zero_()
        with pytest.raises(RuntimeError, match=CHANGED):
            chainrule.grad(g.sum(), v)  # eˣ: would be 0

    def test_of_an_input_that_only_the_second_walk_meets(self):
        x, v = leaf(1.0, 2.0), leaf(1.0, 1.0)
        y = x + 1
        (g,) = chainrule.grad((y * y * v).sum(), y, create_graph=True)
        with no_grad():
            y.zero_()
        with pytest.raises(RuntimeError, match=CHANGED):
            chainrule.grad(g.sum(), v)


def test_an_optimizers_step():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    loss = network(chainrule.ones(5, 3)).mean()
    loss.backward(retain_graph=True)
    for kind in (optim.SGD, optim.Adam, optim.AdamW):
        versions = [p._version[0] for p in network.parameters()]
        kind(network.parameters()).step()
        assert [p._version[0] for p in network.parameters()] == [v + 1 for v in versions]
    with pytest.raises(RuntimeError, match=f"the weight of linear .*{CHANGED}"):
        loss.backward()


def test_loading_a_state():
    network = nn.Linear(3, 1)
    loss = (network(chainrule.ones(5, 3, requires_grad=True))).mean()
    network.load_state_dict(network.state_dict())
    with pytest.raises(RuntimeError, match=CHANGED):
        loss.backward()


def test_the_message_names_the_operation_the_input_and_the_way_out():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    out = x * y
    with no_grad():
        y.zero_()
    with pytest.raises(
        RuntimeError, match=re.escape("backward: the other of mul (its result has shape (2,)) was changed")
    ):
        out.sum().backward()


class TestWhileRecording:
    @pytest.mark.parametrize(
        "change", [c for c in CHANGES if "view" not in c and c not in ("detach", "one element", "uniform_", "data =")]
    )
    def test_a_leaf_cannot_be_changed(self, change):
        x = leaf(1.0, 2.0)
        with pytest.raises(RuntimeError, match=r"requires gradients cannot be changed in place .* under no_grad\(\)"):
            CHANGES[change](x)
        assert (x.tolist(), x._version) == ([1, 2], [0])

    def test_an_element_that_is_assigned(self):
        x, y = leaf(1.0, 2.0, 3.0), leaf(5.0)
        h = x * 2
        h[1] = y[0] * y[0]
        assert h.tolist() == [2, 25, 6]
        (h * h).sum().backward()
        assert (x.grad.tolist(), y.grad.tolist()) == ([8, 0, 24], [2 * 25 * 2 * 5])

    def test_rows_of_a_buffer_that_asked_for_nothing(self):
        rows = [leaf(1.0, 2.0), leaf(3.0, 4.0)]
        table = chainrule.zeros(2, 2, dtype=np.float64)
        for i, row in enumerate(rows):
            table[i] = row * (i + 1)
        assert table.requires_grad
        (table * table).sum().backward()
        assert [r.grad.tolist() for r in rows] == [[2, 4], [24, 32]]

    @pytest.mark.parametrize(
        ("change", "value", "gradient"),
        [
            (lambda h, y: h.__iadd__(y), 5.0, (2, 1)),
            (lambda h, y: h.__isub__(y), -1.0, (2, -1)),
            (lambda h, y: h.__imul__(y), 6.0, (6, 2)),
            (lambda h, y: h.__itruediv__(y), 2 / 3, (2 / 3, -2 / 9)),
            (lambda h, y: h.add_(y, alpha=2), 8.0, (2, 2)),
            (lambda h, y: h.sub_(y, alpha=2), -4.0, (2, -2)),
            (lambda h, y: h.copy_(y), 3.0, (0, 1)),
            (lambda h, y: h.zero_() or h, 0.0, (0, None)),
            (lambda h, y: h.fill_(4.0), 4.0, (0, None)),
        ],
    )
    def test_results_in_place(self, change, value, gradient):
        x, y = leaf(1.0), leaf(3.0)
        h = x * 2
        same = h
        change(h, y)
        assert same is h
        assert h.item() == pytest.approx(value)
        h.backward()
        assert x.grad.item() == pytest.approx(gradient[0])
        assert (y.grad and y.grad.item()) == pytest.approx(gradient[1])

    def test_what_used_the_old_value_keeps_it(self):
        x = leaf(1.0, 2.0)
        h = x * 2
        squares = (h * h).sum()  # 4 x²
        h += 100
        (recorded,) = chainrule.grad(squares, x, create_graph=True)
        (second,) = chainrule.grad(recorded.sum(), x, retain_graph=True)
        squares.backward()
        assert recorded.tolist() == x.grad.tolist() == [8, 16]
        assert second.tolist() == [8, 8]

    def test_twice_in_place_with_all_that_came_between(self):
        x = leaf(0.5, 0.7)
        h = x.exp()
        total = h.sum()
        h *= h
        total = total + h.sum()
        h[0] = h[1] * 3
        total = total + (h * chainrule.tensor(np.array([2.0, 5.0]))).sum()
        total.backward()
        a, b = np.exp([0.5, 0.7])
        np.testing.assert_allclose(x.grad.numpy(), [a + 2 * a * a, b + 2 * b * b + 2 * 3 * 2 * b * b + 5 * 2 * b * b])

    def test_the_gradient_of_a_value_that_was_broadcast_into_place(self):
        x, y = leaf(1.0, 2.0), leaf(3.0)
        h = (x * 1).reshape(2, 1) * chainrule.ones(2, 3, dtype=np.float64)
        h[:, 1:] = y
        (h * h).sum().backward()
        assert (y.grad.tolist(), x.grad.tolist()) == ([4 * 2 * 3], [2, 4])

    def test_it_cannot_change_shape_or_kind(self):
        h = leaf(1.0, 2.0) * 2
        with pytest.raises(ValueError, match=re.escape("cannot turn shape (2,) into (3, 2)")):
            h += np.ones((3, 2))
        whole = chainrule.tensor([1, 2])
        with pytest.raises(TypeError, match="cannot turn int64 into float64"):
            whole += leaf(1.0, 2.0)
        with pytest.raises(ValueError, match=re.escape("a value of shape (3,) does not fit into shape (2,)")):
            h[:] = np.ones(3)
        assert (h.tolist(), whole.tolist()) == ([2, 4], [1, 2])

    def test_it_keeps_the_type(self):
        x = chainrule.tensor([1.0, 2.0], requires_grad=True)
        h = x * 2
        h += np.ones(2)
        h *= leaf(3.0, 3.0)
        assert h.dtype == np.float32
        h.sum().backward()
        assert (x.grad.dtype, x.grad.tolist()) == (np.float32, [6, 6])

    def test_indexed_augmented_assignment(self):
        x = leaf(1.0, 2.0, 3.0)
        h = x * 1
        h[0] += 10
        h[1:] *= 2
        assert h.tolist() == [11, 4, 6]
        h.sum().backward()
        assert x.grad.tolist() == [1, 2, 2]


class TestWithoutRecording:
    def test_writes_into_the_same_memory(self):
        array = np.zeros((2, 2))
        x = chainrule.from_numpy(array)
        x += 1
        x[0] *= 3
        x[1, 1] = 7
        x[0, 0].add_(1)
        assert array.tolist() == [[4, 3], [1, 7]]

    def test_all_views_see_it(self):
        x = chainrule.zeros(2, 3)
        views = [
            x[0],
            x[0, 0],
            x.T,
            x.reshape(6),
            x[..., None],
            x.detach(),
            x.unsqueeze(0),
            x.expand(4, 2, 3),
            x[:, ::2],
        ]
        before = [v._version for v in views]
        x.fill_(5)
        assert all((v.detach().numpy() == 5).all() for v in views)
        assert all(version is x._version for version in before)
        copies = [x[[0]], x.clone(), x[x > 0], x.T.reshape(6), x + 0]
        assert all(c._version is not x._version for c in copies)

    def test_keeps_the_type(self):
        x = chainrule.tensor([1, 2])
        x *= 3
        x += np.array([1, 1], np.int8)
        assert (x.tolist(), x.dtype) == ([4, 7], np.int64)
        with pytest.raises(TypeError, match="float64"):
            x += 1.5
        with pytest.raises(TypeError, match="float64"):
            x /= 2
        assert x.tolist() == [4, 7]

    def test_shapes_must_fit(self):
        x = chainrule.zeros(2)
        with pytest.raises(ValueError, match=re.escape("a value of shape (3,) does not fit into shape (2,)")):
            x.copy_(np.ones(3))
        with pytest.raises(ValueError, match="shape"):
            x += np.ones((3, 2))

    def test_the_array_of_a_leaf_is_read_only(self):
        x = leaf(1.0, 2.0)
        for array in (x.numpy(), np.asarray(x), np.asarray(x * 2)):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 5

    def test_new_data_must_fit_what_asks_for_gradients(self):
        x = leaf(1.0, 2.0)
        for tensor in (x, x * 2):
            with pytest.raises(ValueError, match=re.escape("must keep shape (2,) and float64, not (3,) and float64")):
                tensor.data = np.zeros(3)
            with pytest.raises(ValueError, match="float32"):
                tensor.data = np.zeros(2, np.float32)
        x.data = np.array([5.0, 6.0])
        assert x.tolist() == [5, 6]
