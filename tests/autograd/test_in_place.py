"""In-place changes: the correct gradient or an error, never a wrong gradient."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, nn, no_grad, optim

from ..naming import naming

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
    def test_of_an_input_that_is_needed(self, change):
        for function in NEED_INPUT:
            with naming(function):
                x = leaf(1.0, 2.0)
                out = NEED_INPUT[function](x).sum()
                with no_grad():
                    CHANGES[change](x)
                with pytest.raises(RuntimeError, match=CHANGED):
                    out.backward()
                assert x.grad is None

    def test_of_a_result_that_is_needed(self, change):
        for function in NEED_RESULT:
            with naming(function):
                x = leaf(1.0, 2.0)
                out = NEED_RESULT[function](x)
                total = out.sum()
                with no_grad():
                    CHANGES[change](out)
                with pytest.raises(RuntimeError, match=f"the result of {function} .*{CHANGED}"):
                    total.backward()

    def test_of_a_value_that_is_not_needed(self, change):
        for function in NEED_NEITHER:
            with naming(function):
                x, y = leaf(1.0, 2.0), leaf(1.0, 2.0)
                out = NEED_NEITHER[function](x)
                upstream = np.arange(1.0, 1 + out.numel()).reshape(out.shape)
                NEED_NEITHER[function](y).backward(upstream)
                with no_grad():
                    CHANGES[change](x)
                out.backward(upstream)
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

    @pytest.mark.parametrize("wrap", [lambda function: function, chainrule.jit], ids=["eager", "compiled"])
    @pytest.mark.parametrize(
        ("name", "dtype", "other", "message"),
        [
            ("add_", "int64", 1.5, "add: an in-place change cannot turn int64 into float32: convert"),
            ("sub_", "int32", chainrule.ones(2), "sub: an in-place change cannot turn int32 into float32: convert"),
            ("mul_", "uint8", np.ones(2), "mul: an in-place change cannot turn uint8 into float64: convert"),
            ("div_", "int64", 2, "true_divide: an in-place change cannot turn int64 into float32: convert"),
            ("add_", "bool", 1, "add: an in-place change cannot turn bool into int64: convert"),
            ("mul_", "uint8", 300, "mul: (2,) and 300 do not fit: Python integer 300 out of bounds for uint8"),
            ("sub_", "float32", chainrule.ones(3), "sub: (2,) and (3,) do not fit: the sizes must be equal"),
            ("add_", "float32", chainrule.ones(3, 2), "add: an in-place change cannot turn shape (2,) into (3, 2)"),
        ],
    )
    def test_what_does_not_fit_is_said_in_the_operations_name(self, wrap, name, dtype, other, message):
        x = chainrule.from_numpy(np.ones(2, dtype))
        step = wrap(lambda: getattr(x, name)(other))
        with pytest.raises((TypeError, ValueError, OverflowError), match=f"^{re.escape(message)}") as caught:
            step()
        assert "\n" not in str(caught.value)
        assert x.tolist() == [1, 1]

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


# A view, and how NumPy writes into the same elements of an array (2, 3)
VIEWS = {
    "a row": (lambda h: h[0], lambda a: a[0]),
    "an element": (lambda h: h[1, 2], lambda a: a[1, 2, ...]),
    "a slice": (lambda h: h[:, 1:], lambda a: a[:, 1:]),
    "every second": (lambda h: h[:, ::2], lambda a: a[:, ::2]),
    "reversed": (lambda h: h[::-1], lambda a: a[::-1]),
    "a new dimension": (lambda h: h[:, None], lambda a: a[:, None]),
    "all": (lambda h: h[...], lambda a: a),
    "T": (lambda h: h.T, lambda a: a.T),
    "mT": (lambda h: h.mT, lambda a: a.T),
    "reshape": (lambda h: h.reshape(3, 2), lambda a: a.reshape(3, 2)),
    "view": (lambda h: h.view(-1), lambda a: a.reshape(-1)),
    "flatten": (lambda h: h.flatten(), lambda a: a.reshape(-1)),
    "unflatten": (lambda h: h.unflatten(1, (1, 3)), lambda a: a.reshape(2, 1, 3)),
    "unsqueeze": (lambda h: h.unsqueeze(1), lambda a: a[:, None]),
    "squeeze": (lambda h: h.unsqueeze(0).squeeze(), lambda a: a),
    "permute": (lambda h: h.permute(1, 0), lambda a: a.T),
    "transpose": (lambda h: h.transpose(0, 1), lambda a: a.T),
    "movedim": (lambda h: h.movedim(0, 1), lambda a: a.T),
    "chunk": (lambda h: h.chunk(2)[1], lambda a: a[1:]),
    "split": (lambda h: h.split(2, 1)[1], lambda a: a[:, 2:]),
    "unbind": (lambda h: h.unbind(1)[2], lambda a: a[:, 2]),
    "diagonal": (lambda h: h.diagonal(), lambda a: np.einsum("ii->i", a[:, :2])),
    "another diagonal": (lambda h: h.diagonal(1), lambda a: np.einsum("ii->i", a[:, 1:])),
    "iteration": (lambda h: list(h)[1], lambda a: a[1]),
    "expand of nothing": (lambda h: h[0].expand(1, 3), lambda a: a[:1]),
    "a view of a view": (lambda h: h.T[1:].reshape(2, 2, 1)[0], lambda a: a.T[1:, :, None][0]),
}
METHODS = {
    "add_": lambda v: v.add_(10),
    "sub_": lambda v: v.sub_(1, alpha=3),
    "mul_": lambda v: v.mul_(3),
    "div_": lambda v: v.div_(4),
    "copy_": lambda v: v.copy_(7.0),
    "fill_": lambda v: v.fill_(2.0),
    "zero_": lambda v: v.zero_(),
    "+=": lambda v: v.__iadd__(1.5),
    "*= itself": lambda v: v.__imul__(v * 1),
    "x[...] =": lambda v: v.__setitem__(..., 5.0),
}
ARRAYS = {  # the same in NumPy
    "add_": lambda v: np.add(v, 10, out=v),
    "sub_": lambda v: np.subtract(v, 3, out=v),
    "mul_": lambda v: np.multiply(v, 3, out=v),
    "div_": lambda v: np.divide(v, 4, out=v),
    "copy_": lambda v: np.copyto(v, 7),
    "fill_": lambda v: np.copyto(v, 2),
    "zero_": lambda v: np.copyto(v, 0),
    "+=": lambda v: np.add(v, 1.5, out=v),
    "*= itself": lambda v: np.multiply(v, v.copy(), out=v),
    "x[...] =": lambda v: np.copyto(v, 5),
}


def points(*shapes):
    random = np.random.default_rng(0)
    return [chainrule.tensor(random.uniform(0.5, 2, shape), requires_grad=True) for shape in shapes]


def check_a_change_of_the_whole(view, method):
    x, w = points((2, 3), (2, 3))
    take, take_array = VIEWS[view]

    def result(x, w):
        h = x * w
        shown = take(h)
        before = shown.exp()
        METHODS[method](h)
        return (before.sum() + shown.square().sum()) * h

    h, expected = x * w, (x * w).detach().numpy().copy()
    shown = take(h)
    METHODS[method](h)
    ARRAYS[method](expected)
    np.testing.assert_array_equal(shown.detach().numpy(), take_array(expected))
    assert chainrule.autograd.gradcheck(result, (x, w))


def check_a_change_of_a_view(view, method):
    x, w = points((2, 3), (2, 3))
    take, take_array = VIEWS[view]

    def result(x, w):
        h = x * w
        changed = take(h)
        before = h * 2
        METHODS[method](changed)
        return before.exp() + h * h + (changed.sum() * 3)

    h, expected = x * w, (x * w).detach().numpy().copy()
    changed = take(h)
    METHODS[method](changed)
    ARRAYS[method](take_array(expected))
    np.testing.assert_array_equal(h.detach().numpy(), expected)
    np.testing.assert_array_equal(changed.detach().numpy(), take_array(expected))
    assert np.shares_memory(changed._data, h._data)
    assert chainrule.autograd.gradcheck(result, (x, w))


class TestViewsWhileRecording:
    @pytest.mark.parametrize("view", VIEWS)
    def test_a_change_of_a_view_is_one_of_what_it_shows(self, view):
        for method in METHODS:
            with naming(method):
                check_a_change_of_a_view(view, method)

    @pytest.mark.parametrize("view", VIEWS)
    def test_a_change_of_the_whole_is_one_of_its_views(self, view):
        for method in METHODS:
            with naming(method):
                check_a_change_of_the_whole(view, method)

    def test_one_view_sees_the_change_of_another(self):
        x, w = points((4,), (4,))

        def result(x, w):
            h = x * w
            first, last, pairs = h[:3], h[1:], h.reshape(2, 2)
            first.mul_(w[1])
            last += 1
            pairs[1] = first[:2] * 2
            return h * first.sum() + last.sum() * pairs.T.reshape(4)

        assert chainrule.autograd.gradcheck(result, (x, w))
        h = x * w
        first, last = h[:3], h[1:]
        last += 1
        assert first.tolist() == h[:3].tolist()

    def test_rows_in_a_loop(self):
        x, w = points((3, 2), (3, 2))
        h = x * w
        for row in h:
            row += row.sum()
        values = (x * w).detach().numpy()
        np.testing.assert_allclose(h.detach().numpy(), values + values.sum(1, keepdims=True))
        h.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), 3 * w.detach().numpy())

    def test_training_and_evaluation_agree(self):
        def model(x, w):
            h = x * w
            h[0].add_(10)
            for column in h.unbind(1):
                column *= 2
            return h

        x, w = points((2, 3), (2, 3))
        recorded = model(x, w)
        with no_grad():
            assert recorded.tolist() == model(x, w).tolist()

    def test_it_keeps_gradients_that_are_to_be_retained(self):
        (w,) = points((3,))
        h = w * 2
        h.retain_grad()
        part = h[:2]
        part.retain_grad()
        h[0].add_(10)
        (h * h).sum().backward(retain_graph=True)
        assert h.grad.tolist() == (2 * h).tolist()
        (part * 3).sum().backward()
        assert part.grad.tolist() == [3, 3]

    def test_a_table_gets_its_history_through_rows(self):
        (w,) = points((3,))
        table = chainrule.zeros(2, 3, dtype=np.float64)
        rows = list(table)
        rows[1].copy_(w)
        assert table.requires_grad
        assert rows[0].requires_grad  # as in PyTorch: it belongs to the table
        (table * 2).sum().backward()
        assert w.grad.tolist() == [2, 2, 2]

    def test_copies_stay_as_they_are(self):
        (w,) = points((2, 3))
        h = w * 1
        copies = [h.clone(), h[[0, 1]], h + 0, h.T.reshape(6), chainrule.cat([h]), h.flip(0).flip(0), h.roll(2)]
        copies += [h.roll(0, 0), h.tile(1), h.repeat(1, 1), h.repeat(1, 1, 1)]
        copies += [nn.functional.pad(h, (0, 0), mode=mode) for mode in ("constant", "circular", "replicate", "reflect")]
        copies += [nn.functional.pad(h, (0, -1), mode="circular")]
        before = [copy.tolist() for copy in copies]
        h.zero_()
        assert [copy.tolist() for copy in copies] == before
        for copy in copies:
            copy.zero_()
        assert (h.tolist(), h.grad_fn.operation.name) == ([[0] * 3] * 2, "index_put")

    def test_what_shares_memory_without_the_history(self):
        (w,) = points((3,))
        h = w * 2
        part, held = h.detach()[:2], chainrule.nn.Parameter(h.detach())
        h[0] = w[1] * 5
        assert (part.tolist(), held.tolist()) == (h[:2].tolist(), h.tolist())
        assert not part.requires_grad
        part.add_(1)  # not recorded: it writes into memory
        assert h[:2].tolist() == part.tolist()
        part.mul_(w[0])  # recorded, but not in the history of h
        assert h[:2].tolist() == part.tolist()
        assert part.requires_grad
        h.sum().backward()
        assert w.grad.tolist() == [0, 2 + 5, 2]

    def test_what_a_derivative_needs_may_not_change_behind_its_back(self):
        x, w = points((3,), (3,))
        h = x.exp()
        h.detach().mul_(w)
        with pytest.raises(RuntimeError, match=CHANGED):
            h.sum().backward()

    def test_a_view_of_a_leaf_cannot_be_changed(self):
        x = leaf(1.0, 2.0)
        for change in (lambda: x[0].add_(1), lambda: x.reshape(2, 1).zero_(), lambda: x[:1].copy_(x[1:])):
            with pytest.raises(RuntimeError, match=r"a view of a tensor that requires .* do it under no_grad\(\)"):
                change()
        assert x.tolist() == [1, 2]
        x[:1].detach().fill_(5)  # as in PyTorch
        assert x.tolist() == [5, 2]
        with pytest.raises(RuntimeError, match="a view of a tensor that requires gradients"):
            x[0] += 1

    @pytest.mark.parametrize(
        "part", [lambda w: w[2:], lambda w: w[2:].T, lambda w: w[:, 3:].reshape(-1), lambda w: w[0][3:]]
    )
    def test_a_view_without_elements_is_a_view(self, part):
        w = chainrule.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
        assert part(w).numel() == 0
        with pytest.raises(RuntimeError, match="a view of a tensor that requires gradients cannot be changed in place"):
            part(w).add_(1)
        w[[]].add_(1)  # no view: an array picks nothing
        h = w * 2
        part(h).mul_(3)
        h.sum().backward()
        assert w.grad.tolist() == [[2.0] * 3] * 2

    def test_a_view_that_was_taken_under_no_grad(self):
        x = leaf(1.0, 2.0)
        h = x * 2
        with no_grad():
            part = h[:1]
        h += 1
        assert (part.tolist(), part.requires_grad) == ([3], False)
        with pytest.raises(RuntimeError, match=r"taken under no_grad\(\) of a result with a history cannot be changed"):
            part.mul_(2)
        with no_grad():
            part.mul_(2)
        assert h.tolist() == [6, 5]

    def test_a_view_without_history_is_assigned(self):
        x = leaf(1.0, 2.0)
        h = x * 2
        with no_grad():
            part = h[:1]
        h[:1] = part  # as in PyTorch, these elements have no history from now on
        h.sum().backward()
        assert x.grad.tolist() == [0, 2]

    def test_an_element_that_is_shown_several_times(self):
        h = leaf(1.0, 2.0) * 2
        with pytest.raises(RuntimeError, match=r"repeats an element cannot be changed .*clone\(\)"):
            h.expand(3, 2).add_(1)
        with no_grad(), pytest.raises(ValueError, match=r"read-only, like that of an expanded .*clone\(\)"):
            h.expand(3, 2).add_(1)
        wide = h.expand(3, 2)
        h += 1
        assert wide.tolist() == [[3, 5]] * 3

    def test_an_error_changes_nothing(self):
        x = leaf(1.0, 2.0)
        h = x.exp()
        part = h[:1]
        with pytest.raises(ValueError, match="cannot turn shape"):
            part += chainrule.ones(3, 1)
        with no_grad():
            h.zero_()
        assert part.tolist() == [0]
        with pytest.raises(RuntimeError, match=CHANGED):
            h.sum().backward()

    def test_new_data_leaves_the_views_behind(self):
        h = leaf(1.0, 2.0) * 2
        part, other = h[:1], h[0]
        h.data = np.array([7.0, 8.0])
        part += 1
        assert (part.tolist(), other.tolist(), h.tolist()) == ([3], 3, [7, 8])

    def test_custom_views_are_not_guessed_at(self):
        @chainrule.ops.operation(view=True)
        def middle(input):
            return input[1:-1]

        @middle.derivative
        def _(grad, input_shape):
            return chainrule.ops.indexing.add_at(grad, index=slice(1, -1), shape=input_shape)

        h = leaf(1.0, 2.0, 3.0) * 2
        with pytest.raises(
            RuntimeError, match=r"a view by middle cannot be changed in place: change a copy \(clone\(\)\)"
        ):
            middle(h).add_(1)
        shown = middle(h)
        h += 1
        assert shown.tolist() == [5]

    def test_hooks_of_modules(self):
        heard = []
        module = nn.Identity()
        module.register_full_backward_hook(lambda m, i, o: heard.append(o[0].tolist()))
        x = leaf(1.0, 2.0)
        h = module(x * 2)
        h += 1
        (h * h).sum().backward()
        assert (x.grad.tolist(), heard) == ([12, 20], [[6, 10]])

    def test_views_that_are_gone_are_forgotten(self):
        h = leaf(1.0, 2.0) * 2
        for _ in range(1000):
            h[0], h[:1].T
        assert len(h._aliases.references) < 100


# Changes that read the memory they write; the expected result has copies of what overlaps, as PyTorch requires
OVERLAPPING = {
    "a part, moved on": lambda x, copy: x[1:].add_(copy(x[:-1])),
    "a part, moved back": lambda x, copy: x[:-1].mul_(copy(x[1:])),
    "copy_ of a part": lambda x, copy: x[1:].copy_(copy(x[:-1])),
    "assignment of a part": lambda x, copy: x.__setitem__(slice(1, None), copy(x[:-1])),
    "copy_ of the transpose": lambda x, copy: x.copy_(copy(x.T)),
    "copy_ into the transpose": lambda x, copy: x.T.copy_(copy(x)),
    "the transpose": lambda x, copy: x.sub_(copy(x.T)),
    "a row of its own": lambda x, copy: x.mul_(copy(x[0])),
    "a column of its own": lambda x, copy: x.div_(copy(x[:, 1:2])),
}


@pytest.mark.parametrize("way", ["memory", "recorded", "compiled"])
@pytest.mark.parametrize("size", [3, 300])
@pytest.mark.parametrize("name", OVERLAPPING)
def test_memory_that_a_change_reads_and_writes(name, size, way):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
    change = OVERLAPPING[name]
    array, upstream = np.random.default_rng(8).normal(size=(2, size, size))
    x, expected = (library.tensor(array, requires_grad=way == "recorded") for library in (chainrule, torch))
    a, b = (x * 1, expected * 1) if way == "recorded" else (x, expected)
    if way == "compiled":
        chainrule.jit(lambda: (change(x, lambda part: part), x.sum())[1])()
    else:
        change(a, lambda part: part)
    change(b, lambda part: part.clone())
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12)
    if way == "recorded":
        (a * upstream).sum().backward()
        (b * torch.from_numpy(upstream)).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), expected.grad.numpy(), rtol=1e-12)


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
        with pytest.raises(TypeError, match="^add: an in-place change cannot turn int64 into float32: convert"):
            x += 1.5
        with pytest.raises(TypeError, match="^true_divide: an in-place change cannot turn int64 into float32: convert"):
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
        with no_grad():
            arrays = [np.asarray(x), (x * 2).numpy(), x.numpy()]
        for array in (x.numpy(), (x * 2).numpy(), *arrays[::2]):
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
