"""The tape: backward passes, retained and freed graphs, no_grad."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, nn, no_grad, ops
from chainrule.autograd import tape
from chainrule.autograd.mode import mode

from ..entries import interrupted_at_each_entry
from .nodes import count_nodes


def leaf(*values: float) -> Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


class TestLongGraphs:
    LENGTH = 100_000

    def chain(self, x: Tensor) -> Tensor:
        y = x
        for _ in range(self.LENGTH):
            y = y + 1
        return y

    @pytest.mark.slow
    def test_a_chain_of_100_000_operations(self):
        assert sys.getrecursionlimit() < self.LENGTH
        x = leaf(2.0)
        y = self.chain(x)
        y.backward(retain_graph=True)
        (y * y).sum().backward()
        assert x.grad.tolist() == [1 + 2 * (2 + self.LENGTH)]

    @pytest.mark.slow
    def test_is_dropped_at_once_also_without_backward(self):
        gc.collect()
        before = count_nodes()
        y = self.chain(leaf(2.0))
        assert count_nodes() == before + self.LENGTH
        del y  # there are no reference cycles, so no garbage collection is needed
        assert count_nodes() == before

    def test_differentiated_twice(self):
        x = leaf(1.0)
        y = x
        for _ in range(3000):
            y = y * 1.0001
        (g,) = chainrule.grad((y * y).sum(), x, create_graph=True)
        (second,) = chainrule.grad(g.sum(), x)
        assert second.item() == pytest.approx(2 * 1.0001**6000)

    def test_a_wide_and_tangled_graph_visits_each_operation_once(self):
        """Sixty doublings by diamonds: 2^60 paths, sixty nodes."""
        x = leaf(1.0)
        y = x
        for _ in range(60):
            y = y + y
        y.backward()
        assert x.grad.tolist() == [2.0**60]

    def test_backward_lets_go_of_what_was_saved(self):
        x = leaf(1.0, 2.0)
        middle = x.exp()
        node = middle.grad_fn
        loss = (middle * middle).sum()
        assert node.saved is not None
        loss.backward()
        assert (node.saved, node.saved_versions) == (None, ())


class TestBackward:
    def test_adds_up_over_uses_and_over_calls(self):
        x = leaf(1.0, 2.0)
        (x * x + 3 * x).sum().backward()
        assert x.grad.tolist() == [5, 7]
        x.sum().backward()
        assert x.grad.tolist() == [6, 8]
        x.grad = None
        x.sum().backward()
        assert x.grad.tolist() == [1, 1]

    def test_of_a_number_without_dimensions(self):
        x = chainrule.tensor(3.0, requires_grad=True)
        (x * x).backward()
        (x * x).backward()
        assert (x.grad.shape, x.grad.item()) == ((), 12)
        x.grad.zero_()
        assert x.grad.item() == 0

    def test_of_a_leaf_itself(self):
        x = chainrule.tensor(3.0, requires_grad=True)
        x.backward()
        assert x.grad.item() == 1

    def test_wants_a_gradient_for_more_than_one_number(self):
        x = leaf(1.0, 2.0)
        with pytest.raises(
            RuntimeError, match=r"only for a result of one element, but this has shape \(2,\); reduce it"
        ):
            (x * 2).backward()
        upstream = chainrule.tensor([10.0, 20.0])
        (x * 2).backward(upstream)
        assert x.grad.tolist() == [20, 40]
        with pytest.raises(ValueError, match=r"^backward: the gradient's shape \(3,\) must be the result's, \(2,\)"):
            (x * 2).backward(chainrule.ones(3))
        with pytest.raises(ValueError, match=r"^grad: the gradient's shape \(3,\) must be the result's, \(2,\)"):
            chainrule.grad(x * 2, x, chainrule.ones(3))
        with pytest.raises(RuntimeError, match="^grad: the gradient is optional only for a result of one element"):
            chainrule.grad(x * 2, x)

    def test_takes_the_gradient_as_an_array_or_a_number(self):
        x = leaf(1.0, 2.0)
        (x * 2).backward(np.array([1, 0]))
        x[0].backward(3)
        assert x.grad.tolist() == [5, 0]

    def test_of_what_has_no_history(self):
        with pytest.raises(RuntimeError, match=r"backward: this tensor \(shape \(\)\) has no gradient"):
            chainrule.tensor([1.0]).sum().backward()
        with no_grad():
            y = leaf(1.0).sum()
        with pytest.raises(RuntimeError, match="or it was computed under no_grad"):
            y.backward()

    def test_a_second_one_says_retain_graph(self):
        x = leaf(1.0, 2.0)
        y = (x.exp() * x).sum()
        y.backward()
        before = x.grad.tolist()
        with pytest.raises(RuntimeError, match=r"freed by an earlier backward\(\); .* retain_graph=True"):
            y.backward()
        with pytest.raises(RuntimeError, match="retain_graph=True"):
            chainrule.grad(y, x)
        assert x.grad.tolist() == before

    def test_also_where_only_a_part_is_shared(self):
        x = leaf(1.0, 2.0)
        shared = x.exp()
        one, two = shared.sum(), (shared * shared).sum()
        one.backward()
        with pytest.raises(RuntimeError, match=r"graph of this exp was freed .* retain_graph=True"):
            two.backward()

    def test_retain_graph_gives_exactly_the_same_again(self):
        rng = np.random.default_rng(3)
        network = nn.Sequential(nn.Linear(7, 9, generator=rng), nn.Tanh(), nn.Linear(9, 4, generator=rng))
        loss = nn.functional.cross_entropy(network(chainrule.randn(5, 7, generator=rng)), rng.integers(0, 4, 5))
        grads = []
        for keep in (True, True, False):
            network.zero_grad()
            loss.backward(retain_graph=keep)
            grads.append([p.grad.numpy().tobytes() for p in network.parameters()])
        assert grads[0] == grads[1] == grads[2]
        with pytest.raises(RuntimeError, match="retain_graph"):
            loss.backward()

    def test_the_same_program_gives_the_same_bits(self):
        def run() -> list[bytes]:
            rng = np.random.default_rng(8)
            x = chainrule.randn(40, 30, generator=rng, requires_grad=True)
            w = chainrule.randn(30, generator=rng, requires_grad=True)
            parts = [(x * k).tanh() @ w for k in (0.1, 0.7, 1.3, 2.9)]  # gradients meet at x and w in a fixed order
            sum((p * p.sigmoid()).mean() for p in parts).backward()
            return [x.grad.numpy().tobytes(), w.grad.numpy().tobytes()]

        assert run() == run()

    def test_fills_in_only_the_inputs_that_are_named(self):
        x, y = leaf(1.0), leaf(2.0)
        middle = x * y
        (middle * middle).sum().backward(inputs=[y, middle])
        assert x.grad is None
        assert (y.grad.tolist(), middle.grad.tolist()) == ([4], [4])

    @pytest.mark.parametrize(
        "several", [lambda x: x, lambda x: [x], lambda x: (x,), lambda x: iter([x]), lambda x: [x, x]]
    )
    def test_one_input_or_several(self, several):
        x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
        middle = x * y
        middle.sum().backward(inputs=several(y), retain_graph=True)
        assert (x.grad, y.grad.tolist()) == (None, [1, 2])
        (middle * middle).sum().backward(inputs=several(middle), retain_graph=True)
        assert (x.grad, y.grad.tolist(), middle.grad.tolist()) == (None, [1, 2], [6, 16])
        assert chainrule.grad(middle.sum(), several(x), retain_graph=True)[0].tolist() == [3, 4]
        assert chainrule.grad(middle, x, np.array([1.0, 10.0]))[0].tolist() == [3, 40]

    def test_inputs_that_are_none(self):
        x = leaf(1.0)
        out = x * 2
        for nothing in ([], (), {}, iter(())):
            with pytest.raises(RuntimeError, match="backward: inputs must not be empty"):
                out.backward(inputs=nothing)
            with pytest.raises(RuntimeError, match="grad: inputs must not be empty"):
                chainrule.grad(out, nothing)
            with pytest.raises(RuntimeError, match="grad: outputs must not be empty"):
                chainrule.grad(nothing, x)
        for other, kind in ((3, "int"), ([3], "int"), (np.ones(1), "numpy.ndarray"), ("x", "str")):
            with pytest.raises(TypeError, match=f"backward: inputs must be one or more Tensors, not {kind}"):
                out.backward(inputs=other)
            with pytest.raises(TypeError, match=f"grad: outputs must be one or more Tensors, not {kind}"):
                chainrule.grad(other, x)
        assert x.grad is None

    @pytest.mark.parametrize("gradient", ["a", object(), [None, None]], ids=["text", "object", "none"])
    def test_a_gradient_that_is_no_number(self, gradient):
        x = leaf(1.0, 2.0)
        with pytest.raises(TypeError, match="backward: the gradient must be a Tensor or numbers, not "):
            (x * 2).backward(gradient)
        assert x.grad is None

    def test_the_gradient_of_a_result_is_not_kept_unasked(self):
        x = chainrule.tensor([2.0], requires_grad=True)
        middle, retained = x * 3, x * 4
        retained.retain_grad()
        assert retained.grad is None
        (middle + retained).sum().backward()
        with pytest.warns(UserWarning, match=r"is None unless its retain_grad\(\) was called"):
            assert middle.grad is None
        assert (retained.grad.tolist(), x.grad.tolist()) == ([1], [7])
        assert (x * 3).detach().grad is None

    def test_retain_grad(self):
        x = leaf(1.0, 2.0)
        middle = x + 1
        middle.retain_grad()
        x.retain_grad()  # leaves do so anyway
        (middle * middle).sum().backward()
        assert middle.grad.tolist() == [4, 6]
        with pytest.warns(UserWarning, match="is None unless its retain_grad"):
            assert (x * 2).grad is None
        with pytest.raises(RuntimeError, match="does not require gradients"):
            chainrule.tensor([1.0]).retain_grad()

    def test_gradients_do_not_share_memory(self):
        """Users change gradients in place, for instance to clip them."""
        x, y, upstream = leaf(1.0, 2.0), leaf(3.0, 4.0), chainrule.ones(2, dtype=np.float64)
        middle = x + y
        middle.retain_grad()
        out = middle + 0
        out.backward(upstream)
        x.grad.mul_(5)
        assert (y.grad.tolist(), middle.grad.tolist(), upstream.tolist()) == ([1, 1], [1, 1], [1, 1])
        for create_graph in (False, True):
            gx, gy, gm = chainrule.grad((x + y).sum(), [x, y, x], create_graph=create_graph)
            with no_grad():
                gx.mul_(5)
            assert (gy.tolist(), gm.tolist()) == ([1, 1], [1, 1])
        x, y = leaf(1.0), leaf(2.0)
        ((x + y) ** 2).sum().backward(create_graph=True)
        with no_grad():
            x.grad.zero_()
        assert y.grad.tolist() == [6]

    def test_gradients_keep_the_type_of_their_leaf(self):
        x = chainrule.tensor([1.0, 2.0], requires_grad=True)
        y = chainrule.tensor(np.array([3.0, 4.0]), requires_grad=True)
        (x * y).sum().backward()
        assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)
        half = x.to(np.float16)
        (half.double() * y).sum().backward()
        assert (x.grad.dtype, x.grad.tolist()) == (np.float32, [6, 8])

    def test_nothing_flows_through_integers(self):
        x = leaf(1.5, 2.5)
        assert not x.long().requires_grad
        assert not (x > 2).requires_grad
        assert not x.argmax().requires_grad

    def test_grad_can_be_set_and_is_checked(self):
        x = leaf(1.0, 2.0)
        x.grad = chainrule.tensor(np.array([1.0, 1.0]))
        x.sum().backward()
        assert x.grad.tolist() == [2, 2]
        with pytest.raises(ValueError, match=r"grad: must have shape \(2,\) and float64, not \(3,\)"):
            x.grad = chainrule.zeros(3, dtype=np.float64)
        with pytest.raises(ValueError, match="float32"):
            x.grad = chainrule.zeros(2)
        with pytest.raises(RuntimeError, match="does not require gradients"):
            chainrule.tensor([1.0]).grad = chainrule.tensor([1.0])


class TestGrad:
    def test_leaves_grad_alone(self):
        x = leaf(1.0, 2.0)
        (g,) = chainrule.grad((x * x).sum(), x)
        assert (g.tolist(), g.requires_grad, x.grad) == ([2, 4], False, None)

    def test_of_several_outputs_adds_them(self):
        x = leaf(1.0, 2.0)
        upstream = [None, chainrule.tensor(np.array([10.0, 0.0]))]
        (g,) = chainrule.grad([(x * x).sum(), x * 3], [x], upstream)
        assert g.tolist() == [32, 4]
        with pytest.raises(ValueError, match="2 outputs but 1 grad_outputs"):
            chainrule.grad([x.sum(), x.mean()], x, [None])

    def test_with_respect_to_results_in_between(self):
        x = leaf(1.0, 2.0)
        middle = x.exp()
        out = (middle * middle).sum()
        gm, gx = chainrule.grad(out, [middle, x])
        np.testing.assert_allclose(gm.numpy(), 2 * np.exp([1, 2]))
        np.testing.assert_allclose(gx.numpy(), 2 * np.exp([2, 4]))

    def test_what_lies_behind_the_inputs_stays_usable(self):
        x = leaf(1.0, 2.0)
        middle = x.exp()
        (g,) = chainrule.grad((middle * middle).sum(), middle)
        middle.backward(g)
        np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp([2, 4]))

    def test_of_an_output_to_itself(self):
        x = leaf(2.0)
        y = x * 3
        assert chainrule.grad(y, y)[0].tolist() == [1]
        assert chainrule.grad(x, x)[0].tolist() == [1]

    def test_an_input_that_is_not_used(self):
        x, y = leaf(1.0), leaf(2.0)
        with pytest.raises(
            RuntimeError, match=r"do not depend on input 1, of shape \(1,\); use allow_unused=True to get None"
        ):
            chainrule.grad((x * 2).sum(), [x, y])
        gx, gy = chainrule.grad((x * 2).sum(), [x, y], allow_unused=True)
        assert (gx.tolist(), gy) == ([2], None)

    def test_an_input_without_gradients(self):
        with pytest.raises(RuntimeError, match="grad: this tensor"):
            chainrule.grad(leaf(1.0).sum(), chainrule.tensor([1.0]))

    def test_third_derivatives(self):
        x = leaf(0.3, -0.7)
        out = x**5 + (2 * x).exp() + x.tanh()
        for _ in range(3):
            (out,) = chainrule.grad(out.sum(), x, create_graph=True)
        value, t = x.detach().numpy(), np.tanh(x.detach().numpy())
        s = 1 - t * t
        np.testing.assert_allclose(
            out.detach().numpy(), 60 * value**2 + 8 * np.exp(2 * value) + s * (4 * t * t - 2 * s)
        )

    def test_the_penalty_of_a_gradient(self):
        """d/dw of |d/dx (w x²)|² = 8 w x²."""
        x, w = leaf(3.0), leaf(2.0)
        (g,) = chainrule.grad((w * x * x).sum(), x, create_graph=True)
        (g * g).sum().backward()
        assert w.grad.tolist() == [8 * 2 * 9]
        assert x.grad.tolist() == [8 * 4 * 3]

    def test_second_derivatives_with_an_upstream_gradient_that_has_a_history(self):
        x, v = leaf(2.0), leaf(5.0)
        (g,) = chainrule.grad(x**3, x, v, create_graph=True)  # 3 x² v
        gx, gv = chainrule.grad(g, [x, v])
        assert (gx.tolist(), gv.tolist()) == ([60], [12])

    def test_backward_with_create_graph(self):
        x = leaf(2.0)
        (x**3).sum().backward(create_graph=True)
        first = x.grad
        assert first.requires_grad
        x.grad = None
        first.sum().backward()
        assert x.grad.tolist() == [12]

    def test_retain_graph_follows_create_graph(self):
        x = leaf(2.0)
        y = (x * x).sum()
        chainrule.grad(y, x, create_graph=True)
        chainrule.grad(y, x)
        with pytest.raises(RuntimeError, match="retain_graph=True"):
            chainrule.grad(y, x)


def test_threads_that_add_to_the_same_gradient_at_once(monkeypatch):
    """Both have read the old gradient before either assigns its sum."""
    w, both, seen = chainrule.ones(3, requires_grad=True), threading.Barrier(2), set()
    w.sum().backward()
    add = Tensor.__add__

    def meet(a, b):
        if threading.get_ident() not in seen:  # not the thread that has to add again
            seen.add(threading.get_ident())
            both.wait(30)
        return add(a, b)

    monkeypatch.setattr(Tensor, "__add__", meet)
    threads = [threading.Thread(target=(w * factor).sum().backward) for factor in (10.0, 100.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 2
    assert w.grad.tolist() == [111.0] * 3


class TestNoGrad:
    @pytest.fixture
    def created_nodes(self, monkeypatch):
        """Counts the nodes that are created."""
        nodes: list[tape.Node] = []
        original = tape.Node.__init__

        def counting(self, *args):
            nodes.append(self)
            original(self, *args)

        monkeypatch.setattr(tape.Node, "__init__", counting)
        return nodes

    def test_records_nothing_at_all(self, created_nodes):
        x = leaf(1.0, 2.0)
        network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Softmax())
        with no_grad():
            y = (x * x).exp().sum() + nn.functional.cross_entropy(network(x.float()), np.array(1))
        assert not created_nodes
        assert (y.requires_grad, y.grad_fn, y.is_leaf) == (False, None, True)

    def test_without_leaves_nothing_is_recorded_either(self, created_nodes):
        x = chainrule.tensor([1.0, 2.0])
        (x * x).exp().sum()
        x.argmax()
        assert not created_nodes
        leaf(1.0).argmax()
        assert not created_nodes
        (leaf(1.0) * 2).sum()
        assert len(created_nodes) == 2

    def test_as_a_decorator(self):
        @no_grad()
        def f(x):
            """What it says."""
            assert not chainrule.is_grad_enabled()
            return x * 2

        x = leaf(1.0)
        for _ in range(2):
            assert not f(x).requires_grad
            assert chainrule.is_grad_enabled()
        assert (f.__name__, f.__doc__) == ("f", "What it says.")

    @pytest.mark.parametrize(
        ("make", "inside"),
        [
            (no_grad, False),
            (lambda: chainrule.enable_grad(), True),
            (lambda: chainrule.set_grad_enabled(False), False),
        ],
    )
    def test_as_a_decorator_of_a_generator(self, make, inside):
        seen, x = [], leaf(1.0)

        @make()
        def numbers(count):
            """What it says."""
            try:
                for i in range(count):
                    seen.append((chainrule.is_grad_enabled(), (x * 2).requires_grad))
                    try:
                        seen.append((yield i))
                    except KeyError:
                        seen.append("KeyError")
                return "end"
            finally:
                seen.append(chainrule.is_grad_enabled())

        assert numbers.__doc__ == "What it says."
        with chainrule.set_grad_enabled(not inside):
            generator = numbers(3)
            assert next(generator) == 0
            assert chainrule.is_grad_enabled() is not inside
            assert generator.send("sent") == 1
            assert generator.throw(KeyError) == 2
            assert chainrule.is_grad_enabled() is not inside
            with pytest.raises(StopIteration) as end:
                next(generator)
            assert end.value.value == "end"
            state = (inside, inside)
            assert seen == [state, "sent", state, "KeyError", state, None, inside]
            generator = numbers(3)
            next(generator)
            generator.close()
            assert seen[-1] is inside
            assert chainrule.is_grad_enabled() is not inside
            assert list(numbers(2)) == [0, 1]

    def test_an_error_in_a_decorated_generator(self):
        @no_grad()
        def fails():
            yield 1
            raise ValueError("mine")

        generator = fails()
        assert next(generator) == 1
        with pytest.raises(ValueError, match="mine"):
            next(generator)
        assert chainrule.is_grad_enabled()

    def test_asynchronous_functions_are_refused(self):
        async def wait():
            pass

        async def several():
            yield 1

        for function in (wait, several):
            with pytest.raises(TypeError, match=f"{function.__name__}: an asynchronous function cannot be decorated"):
                no_grad()(function)

    def test_nested_and_left_by_an_error(self):
        x = leaf(1.0)
        with no_grad():
            with chainrule.enable_grad():
                assert (x * 2).requires_grad
                with chainrule.set_grad_enabled(False):
                    assert not (x * 2).requires_grad
            assert not chainrule.is_grad_enabled()
            with chainrule.set_grad_enabled(True):
                assert chainrule.is_grad_enabled()
        with pytest.raises(KeyError), no_grad():
            raise KeyError
        assert chainrule.is_grad_enabled()

    def test_each_thread_has_its_own_mode(self):
        inside, leave, seen = threading.Event(), threading.Event(), {}

        def other():
            seen["at the start"] = chainrule.is_grad_enabled()
            with no_grad():
                inside.set()
                leave.wait(10)
                seen["inside"] = (leaf(1.0) * 2).requires_grad

        thread = threading.Thread(target=other)
        with no_grad():
            thread.start()
            assert inside.wait(10)
        assert (leaf(1.0) * 2).requires_grad
        leave.set()
        thread.join()
        assert seen == {"at the start": True, "inside": False}

    def test_threads_run_and_differentiate_at_the_same_time(self):
        def work(seed: int, results: dict[int, bytes]) -> None:
            rng = np.random.default_rng(seed)
            network = nn.Sequential(nn.Linear(20, 30, generator=rng), nn.ReLU(), nn.Linear(30, 5, generator=rng))
            for _ in range(10):
                x = chainrule.randn(16, 20, generator=rng)
                (
                    nn.functional.cross_entropy(network(x), rng.integers(0, 5, 16)) + (0 * x.log()).exp().mean() * 0
                ).backward()
            results[seed] = b"".join(p.grad.numpy().tobytes() for p in network.parameters())

        concurrent: dict[int, bytes] = {}
        threads = [threading.Thread(target=work, args=(seed, concurrent)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sequential: dict[int, bytes] = {}
        for seed in range(6):
            work(seed, sequential)
        assert concurrent == sequential

    def test_numpys_own_error_state_is_left_alone(self):
        with np.errstate(divide="raise"):
            x = leaf(0.0)
            (1 / x).backward()
            assert np.geterr()["divide"] == "raise"
            with pytest.raises(FloatingPointError):
                np.array([1.0]) / 0


class TestDetachAndRequiresGrad:
    def test_detach_shares_memory_and_forgets(self):
        x = leaf(1.0, 2.0)
        y = (x * 3).detach()
        assert (y.requires_grad, y.is_leaf) == (False, True)
        assert not (y * 2).requires_grad
        (x * y).sum().backward()
        assert x.grad.tolist() == [3, 6]
        with no_grad():
            x.detach()[0] = 7
        assert x.tolist() == [7, 2]

    def test_clone_copies_and_remembers(self):
        x = leaf(1.0, 2.0)
        y = x.clone()
        y += 1
        y.sum().backward()
        assert (x.tolist(), y.tolist(), x.grad.tolist()) == ([1, 2], [2, 3], [1, 1])

    def test_only_floats_can_require_gradients(self):
        for data in ([1, 2], [True]):
            with pytest.raises(TypeError, match="only floats can require gradients"):
                chainrule.tensor(data, requires_grad=True)

    def test_can_be_turned_off_and_on_for_leaves(self):
        x = leaf(1.0)
        x.sum().backward()
        x.requires_grad = False
        assert (x.grad, x.requires_grad) == (None, False)
        x.requires_grad_()
        (x * 2).sum().backward()
        assert x.grad.tolist() == [2]

    def test_not_for_results(self):
        y = leaf(1.0) * 2
        y.requires_grad_()
        assert not y.is_leaf
        with pytest.raises(RuntimeError, match="use detach"):
            y.requires_grad = False

    def test_grad_fn_names_the_operation(self):
        x = leaf(1.0)
        assert x.grad_fn is None
        assert (x * 2).grad_fn.operation is ops.mul


def test_a_freed_part_of_a_graph_is_an_error_not_a_missing_gradient():
    w = leaf(1.0, 2.0)
    t = chainrule.cumsum(w, 0)
    (t * t).sum().backward()
    for inputs, other in (([w], 0.0), ([w], w.sum())):
        with pytest.raises(RuntimeError, match="the graph of this cumsum was freed"):
            chainrule.grad((t * t).sum() + other, inputs, allow_unused=True)
    (gradient,) = chainrule.grad((t * t).sum(), [t])  # needs nothing before it
    assert gradient.tolist() == [2.0, 6.0]


@pytest.mark.parametrize("through", ["grad", "backward"])
def test_a_freed_part_that_does_not_lead_to_an_input_is_in_nobodys_way(through):
    torch = pytest.importorskip("torch")
    gradients = []
    for lib in (chainrule, torch):
        w, v = lib.tensor([1.0, 2.0], requires_grad=True), lib.tensor([0.5, -1.0], requires_grad=True)
        y = w.exp()
        y.sum().backward()
        loss = y.sum() + (v * v * 3).sum()
        if through == "grad":
            (gradient,) = (chainrule.grad if lib is chainrule else torch.autograd.grad)(loss, [v])
        else:
            loss.backward(inputs=[v])
            gradient = v.grad
        gradients.append(gradient.tolist())
    assert gradients[0] == gradients[1] == [3.0, -6.0]


def test_a_gradient_that_comes_while_an_older_one_is_fetched_stays():
    w = leaf(1.0)
    node = w._node

    def older():
        node.deferred_grad = lambda: chainrule.tensor([7.0])  # a compiled step in another thread
        return chainrule.tensor([1.0])

    node.deferred_grad = older
    assert node.grad.tolist() == [1.0]
    assert w.grad.tolist() == [7.0]
    assert w.grad is w.grad


def test_operations_are_recorded_after_a_backward_pass_was_interrupted():
    w = chainrule.ones(2, requires_grad=True)

    def differentiate():
        w.grad = None
        (w * w).sum().backward()
        chainrule.autograd.grad((w * w).sum(), w, create_graph=True)

    number = 0
    for number in interrupted_at_each_entry(differentiate):
        assert mode.recording, number
        assert mode.anomaly is None, number
    assert number > 20
    np.testing.assert_array_equal(w.grad.numpy(), [2, 2])
