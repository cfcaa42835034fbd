"""Module: where parts are found, under which names, and what is done with all of them."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

import chainrule
from chainrule import nn


class Block(nn.Module):
    """Parts in every place where they may be put."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.scale = nn.Parameter([1.0])
        self.first = nn.Linear(2, 3, generator=generator)
        self.layers = [
            nn.Linear(3, 3, generator=generator),
            nn.Sequential(nn.Tanh(), nn.Linear(3, 3, generator=generator)),
        ]
        self.by_name = {"left": nn.Linear(3, 1, generator=generator), "right": (nn.Parameter([5.0]), nn.ReLU())}
        self.note, self.number, self.nothing, self.plain = "text", 3, None, chainrule.zeros(2)
        self.register_buffer("mean", chainrule.zeros(3))

    def forward(self, x):
        x = self.first(x) * self.scale + self.mean
        for layer in self.layers:
            x = layer(x)
        return self.by_name["left"](x) + self.by_name["right"][0]


NAMES = [
    "scale",
    "by_name.right.0",
    "first.weight",
    "first.bias",
    "layers.0.weight",
    "layers.0.bias",
    "layers.1.1.weight",
    "layers.1.1.bias",
    "by_name.left.weight",
    "by_name.left.bias",
]


class TestParts:
    def test_are_found_in_attributes_lists_and_dicts_in_order(self):
        block = Block()
        assert [name for name, _ in block.named_parameters()] == NAMES
        assert [p.shape for p in block.parameters()][:3] == [(1,), (1,), (3, 2)]
        assert [name for name, _ in block.named_children()] == [
            "first",
            "layers.0",
            "layers.1",
            "by_name.left",
            "by_name.right.1",
        ]
        assert [name for name, _ in block.named_modules()] == [
            "",
            "first",
            "layers.0",
            "layers.1",
            "layers.1.0",
            "layers.1.1",
            "by_name.left",
            "by_name.right.1",
        ]
        assert next(block.modules()) is block
        assert list(block.children())[1] is block.layers[0]
        assert [name for name, _ in block.named_buffers()] == ["mean"]
        assert next(block.buffers()) is block.mean

    def test_are_found_where_they_are_now(self):
        block = Block()
        block.layers.append(nn.Linear(3, 7))
        block.first = nn.Linear(2, 3, bias=False)
        del block.scale
        names = [name for name, _ in block.named_parameters()]
        assert "layers.2.weight" in names
        assert "first.bias" not in names
        assert "scale" not in names

    def test_that_are_shared_count_once_and_stand_in_the_state_at_each_place(self):
        layer = nn.Linear(2, 2)
        network = nn.Sequential(layer, nn.ReLU(), layer)
        assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias"]
        assert len(list(network.modules())) == 3
        assert len(network) == 3
        state = network.state_dict()
        assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        network.load_state_dict(state)

        tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        tied[1].weight = tied[0].weight
        assert [name for name, _ in tied.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
        assert list(tied.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]

    def test_gradients_of_shared_parameters_add_up(self):
        layer = nn.Linear(1, 1, bias=False)
        layer.weight.detach().fill_(3.0)
        nn.Sequential(layer, layer)(chainrule.ones(1, 1)).backward()
        assert layer.weight.grad.item() == 6

    def test_that_hold_each_other_are_walked_once(self):
        one, two = nn.Module(), nn.Module()
        one.other, two.other = two, one
        assert len(list(one.modules())) == 2
        one.eval()
        assert not two.training

    def test_buffers_have_names_of_their_own(self):
        block = Block()
        for name in ("mean", "first", "forward", "a.b"):
            with pytest.raises(ValueError, match=f"register_buffer: the name '{name}' is in use or contains a dot"):
                block.register_buffer(name, chainrule.zeros(1))

    def test_a_buffer_that_is_none_is_not_part_of_the_state_until_it_is_set(self):
        loss = nn.CrossEntropyLoss()
        assert (list(loss.buffers()), loss.state_dict()) == ([], {})
        loss.weight = chainrule.ones(3)
        assert list(dict(loss.named_buffers())) == list(loss.state_dict()) == ["weight"]
        assert loss.double().weight.dtype == np.float64

    def test_init_need_not_be_called_but_may(self):
        class Late(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = nn.Parameter([1.0])

        assert len(list(Late().parameters())) == 1
        with pytest.raises(NotImplementedError, match=r"Late does not define forward\(\)"):
            Late()(1)


class TestAll:
    def test_train_and_eval_reach_all(self):
        block = Block()
        assert all(m.training for m in block.modules())
        assert block.eval() is block
        assert not any(m.training for m in block.modules())
        assert block.train() is block
        assert all(m.training for m in block.modules())
        block.layers[1].eval()
        assert block.training
        assert not block.layers[1][0].training

    @pytest.mark.parametrize("mode", ["fail", 1, None, 0.0])
    def test_a_mode_is_true_or_false(self, mode):
        block = Block()
        with pytest.raises(ValueError, match=f"train: the mode must be True or False, not {mode!r}"):
            block.train(mode)
        assert all(m.training is True for m in block.modules())

    def test_a_shared_module_is_a_child_once(self):
        shared, visited = nn.Linear(2, 2), []
        network = nn.Sequential(shared, nn.Tanh(), shared)
        network.again = shared
        assert list(network.children()) == [shared, network[1]]
        assert [name for name, _ in network.named_children()] == ["0", "1"]
        network.apply(visited.append)
        assert visited == [shared, network[1], network]
        assert len(network) == 4  # it runs as often as it stands there
        assert list(network)[2] is network[2] is network[3] is shared
        assert repr(network).count("Linear") == 3
        x = chainrule.ones(1, 2)
        once = shared(x).tanh()
        assert network(x).tolist() == shared(shared(once)).tolist()
        assert len(nn.ModuleList([shared, shared])) == len(nn.ModuleDict({"a": shared, "b": shared})) == 2
        assert len(network[1:]) == 3

    def test_zero_grad(self):
        block = Block()
        block(chainrule.ones(4, 2)).sum().backward()
        assert all(p.grad is not None for p in block.parameters())
        block.zero_grad()
        assert all(p.grad is None for p in block.parameters())

    def test_requires_grad(self):
        block = Block()
        block.first.requires_grad_(False)
        block(chainrule.ones(4, 2)).sum().backward()
        assert block.first.weight.grad is None
        assert block.layers[0].weight.grad is not None
        assert len(list(block.parameters())) == len(NAMES)

    def test_apply_reaches_the_inside_first(self):
        block = Block()
        seen = []
        block.apply(lambda m: seen.append(type(m).__name__))
        assert seen == ["Linear", "Linear", "Tanh", "Linear", "Sequential", "Linear", "ReLU", "Block"]

    def test_types(self):
        block = Block()
        with chainrule.no_grad():
            expected = block(chainrule.ones(4, 2)).numpy()
        assert block.double() is block
        assert {t.dtype for t in (*block.parameters(), *block.buffers())} == {np.dtype(np.float64)}
        assert all(p.requires_grad for p in block.parameters())
        out = block(chainrule.ones(4, 2, dtype=np.float64))
        np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-6)
        out.sum().backward()
        assert block.first.weight.grad.dtype == np.float64
        block.first.bias.requires_grad_(False)
        block.float()
        assert block.first.weight.dtype == np.float32
        assert not block.first.bias.requires_grad

    def test_a_type_that_cannot_be_learned_changes_nothing(self):
        layer = nn.Linear(2, 2)
        with pytest.raises(TypeError, match="parameters are floats and cannot become int64"):
            layer.to(np.int64)
        assert all(p.requires_grad and p.dtype == np.float32 for p in layer.parameters())

    def test_deepcopy_shares_nothing_but_keeps_what_is_shared_inside(self):
        layer = nn.Linear(2, 2)
        network = nn.Sequential(layer, layer)
        other = copy.deepcopy(network)
        assert other[0] is other[1]
        other[0].weight.detach().zero_()
        assert layer.weight.detach().any()


class TestState:
    def test_holds_parameters_and_buffers_and_shares_their_memory(self):
        block = Block()
        state = block.state_dict()
        assert set(state) == {*NAMES, "mean"}
        assert not any(t.requires_grad for t in state.values())
        state["mean"].fill_(7.0)
        state["first.bias"].fill_(8.0)
        assert block.mean.tolist() == [7, 7, 7]
        assert block.first.bias.tolist() == [8, 8, 8]

    def test_is_loaded_from_tensors_and_arrays(self):
        one, two = Block(), Block()
        for p in one.parameters():
            nn.init.normal_(p)
        one.mean.fill_(2.0)
        two.load_state_dict({k: v.numpy() if "weight" in k else v for k, v in one.state_dict().items()})
        x = chainrule.randn(5, 2)
        np.testing.assert_array_equal(one(x).detach().numpy(), two(x).detach().numpy())
        one.first.weight.detach().zero_()
        assert two.first.weight.detach().any()

    def test_is_loaded_in_the_modules_own_type(self):
        layer = nn.Linear(1, 1)
        layer.load_state_dict({"weight": np.array([[2.0]]), "bias": np.array([1.0])})
        assert (layer.weight.dtype, layer.weight.tolist()) == (np.float32, [[2]])

    def test_that_does_not_fit_lists_every_fault_and_changes_nothing(self):
        layer = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        before = {k: v.numpy().tobytes() for k, v in layer.state_dict().items()}
        with pytest.raises(ValueError) as caught:  # the whole message is compared
            layer.load_state_dict(
                {
                    "0.weight": np.zeros((3, 2)),
                    "0.bias": np.zeros(4),
                    "1.weight": np.zeros((3, 1)),
                    "extra": np.zeros(2),
                    "other": np.zeros(()),
                }
            )
        assert str(caught.value) == (
            "load_state_dict: the state does not fit Sequential: missing: 1.bias (1,); unknown: extra (2,); unknown: other (); "
            "wrong shape: 0.bias is (4,), must be (3,); wrong shape: 1.weight is (3, 1), must be (1, 3)"
        )
        assert {k: v.numpy().tobytes() for k, v in layer.state_dict().items()} == before


class TestToBeRead:
    def test_repr(self):
        network = nn.Sequential(
            nn.Flatten(),
            nn.Linear(4, 3),
            nn.LeakyReLU(),
            nn.Sequential(nn.Linear(3, 2, bias=False), nn.Dropout(0.2)),
            nn.Softmax(),
        )
        assert repr(network) == (
            "Sequential(\n"
            "  (0): Flatten(start_dim=1, end_dim=-1)\n"
            "  (1): Linear(in_features=4, out_features=3)\n"
            "  (2): LeakyReLU(negative_slope=0.01)\n"
            "  (3): Sequential(\n"
            "    (0): Linear(in_features=3, out_features=2, bias=False)\n"
            "    (1): Dropout(p=0.2)\n"
            "  )\n"
            "  (4): Softmax(dim=-1)\n"
            ")"
        )
        assert repr(nn.ReLU()) == "ReLU()"
        assert repr(nn.CrossEntropyLoss(reduction="sum")) == "CrossEntropyLoss(reduction='sum')"
        assert repr(nn.Hardtanh(max_val=2.0)) == "Hardtanh(min_val=-1.0, max_val=2.0)"
        assert repr(nn.GELU("tanh")) == "GELU(approximate='tanh')"


class TestAWrongShape:
    def check(self, network, x, message):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            network(x)

    FAULT = "linear: input (64, 7) does not fit weight (3, 5): the last dimension must be 5"
    LABEL = "Linear(in_features=5, out_features=3)"

    def test_alone(self):
        self.check(nn.Linear(5, 3), chainrule.zeros(64, 7), self.FAULT)

    def test_in_a_sequential(self):
        self.check(
            nn.Sequential(nn.ReLU(), nn.Linear(5, 3)),
            chainrule.zeros(64, 7),
            f"in layer '1', {self.LABEL}: {self.FAULT}",
        )

    def test_deep_inside(self):
        network = nn.Sequential(nn.ReLU(), nn.Sequential({"body": nn.Sequential(nn.Tanh(), nn.Linear(5, 3))}))
        self.check(network, chainrule.zeros(64, 7), f"in layer '1.body.1', {self.LABEL}: {self.FAULT}")

    def test_in_lists_and_dicts(self):
        class Own(nn.Module):
            def __init__(self) -> None:
                self.parts = {"all": [nn.ReLU(), nn.Linear(5, 3)]}

            def forward(self, x):
                for part in self.parts["all"]:
                    x = part(x)
                return x

        self.check(Own(), chainrule.zeros(64, 7), f"in layer 'parts.all.1', {self.LABEL}: {self.FAULT}")
        self.check(
            nn.Sequential(Own()), chainrule.zeros(64, 7), f"in layer '0.parts.all.1', {self.LABEL}: {self.FAULT}"
        )

    def test_that_is_a_dimension(self):
        with pytest.raises(
            IndexError, match=re.escape("in layer '0', Softmax(dim=5): softmax: dim 5 is out of range for shape (2, 3)")
        ):
            nn.Sequential(nn.Softmax(dim=5))(chainrule.zeros(2, 3))

    def test_the_same_network_again(self):
        network = nn.Sequential(nn.Linear(5, 3))
        for _ in range(2):
            self.check(network, chainrule.zeros(64, 7), f"in layer '0', {self.LABEL}: {self.FAULT}")
        assert network(chainrule.zeros(64, 5)).shape == (64, 3)

    def test_other_errors_pass_as_they_are(self):
        class Broken(nn.Module):
            def forward(self, x):
                raise KeyError("mine")

        with pytest.raises(KeyError, match="^'mine'$"):
            nn.Sequential(Broken())(1)


class TestParameter:
    def test_shares_a_tensors_memory_and_copies_an_array(self):
        tensor, array = chainrule.zeros(2), np.zeros(2)
        shared, copied = nn.Parameter(tensor), nn.Parameter(array)
        tensor.fill_(3.0)
        array[:] = 3
        assert (shared.tolist(), copied.tolist()) == ([3, 3], [0, 0])
        assert (shared.dtype, copied.dtype) == (np.float32, np.float64)

    def test_learns_unless_told_otherwise(self):
        assert nn.Parameter([1.0]).requires_grad
        assert not nn.Parameter([1.0], requires_grad=False).requires_grad
        assert nn.Parameter(chainrule.ones(1, requires_grad=True) * 2).is_leaf
        with pytest.raises(TypeError, match="only floats"):
            nn.Parameter([1])

    def test_what_is_computed_with_it_is_a_plain_tensor(self):
        p = nn.Parameter([1.0])
        for out in (p * 2, p.detach(), p.clone(), p[0], p.reshape(1, 1)):
            assert type(out) is chainrule.Tensor
        p.sum().backward()
        assert type(p.grad) is chainrule.Tensor


class Product(nn.Module):
    """Two Tensors and a number in, three values out."""

    def forward(self, a, k, b):
        return a * b, k, a + 1


def leaf(*values: float) -> chainrule.Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


class TestForwardHooks:
    def test_before_and_after_in_the_order_in_which_they_were_registered(self):
        layer, seen = nn.Tanh(), []
        layer.register_forward_pre_hook(lambda m, inputs: seen.append((m, inputs)) or inputs[0] * 2)
        layer.register_forward_pre_hook(lambda m, inputs: (inputs[0] + 1,))
        layer.register_forward_hook(lambda m, inputs, out: seen.append((m, inputs[0].item(), out.item())))
        layer.register_forward_hook(lambda m, inputs, out: out * 10)
        layer.register_forward_hook(lambda m, inputs, out: out + 1)
        x = leaf(0.0)
        assert layer(x).item() == pytest.approx(10 * np.tanh(1) + 1)
        assert seen[0] == (layer, (x,))
        assert seen[1] == (layer, 1, pytest.approx(np.tanh(1)))

    def test_are_taken_off_one_by_one(self):
        layer = nn.Tanh()
        more = lambda m, inputs, out: out + 1  # noqa: E731
        handles = [layer.register_forward_hook(more), layer.register_forward_hook(more)]
        handles.append(layer.register_forward_hook(lambda m, inputs, out: handles[2].remove()))
        assert layer(leaf(0.0)).item() == 2
        handles[0].remove()
        handles[0].remove()
        assert layer(leaf(0.0)).item() == 1
        assert len(layer._hooks) == 1
        assert nn.Tanh()(leaf(0.0)).item() == 0

    def test_belong_to_one_module_and_to_its_copies(self):
        layer, seen = nn.Tanh(), []
        handle = layer.register_forward_hook(lambda m, inputs, out: seen.append(m))
        other = copy.deepcopy(layer)
        handle.remove()
        layer(leaf(0.0))
        other(leaf(0.0))
        assert seen == [other]

    def test_must_be_functions(self):
        for name in ("register_forward_pre_hook", "register_forward_hook", "register_full_backward_hook"):
            with pytest.raises(TypeError, match="a hook must be a function, not str"):
                getattr(nn.Tanh(), name)("hook")


class TestBackwardHooks:
    @staticmethod
    def heard(seen):
        def hook(module, grad_input, grad_output):
            seen.append([[None if g is None else g.tolist() for g in side] for side in (grad_input, grad_output)])

        return hook

    def test_hears_the_gradients_of_inputs_and_outputs_at_once(self):
        module, seen = Product(), []
        module.register_full_backward_hook(self.heard(seen))
        a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
        product, k, more = module(a, 7, b)
        assert k == 7
        (product.sum() + (more * 10).sum()).backward(retain_graph=True)
        assert seen == [[[[13, 14], None, [1, 2]], [[1, 1], None, [10, 10]]]]
        assert (a.grad.tolist(), b.grad.tolist()) == ([13, 14], [1, 2])
        more.sum().backward()
        assert seen[1] == [[[1, 1], None, None], [None, None, [1, 1]]]

    def test_that_go_by_without_the_outputs_are_not_heard(self):
        layer, seen = nn.Tanh(), []
        layer.register_full_backward_hook(self.heard(seen))
        x = leaf(0.5)
        layer(x)
        (x * 2).sum().backward()
        assert (seen, x.grad.tolist()) == ([], [2])

    def test_of_an_input_or_output_that_is_used_elsewhere_too(self):
        layer, seen = nn.Sequential(), []  # gives its input back
        layer.register_full_backward_hook(self.heard(seen))
        x = leaf(1.0)
        h = x * 2
        (layer(h) * 3 + h * 100).sum().backward()
        assert seen == [[[[3]], [[3]]]]
        assert x.grad.tolist() == [206]

    def test_the_same_tensor_twice(self):
        module, seen = Product(), []
        module.register_full_backward_hook(self.heard(seen))
        x = leaf(3.0)
        module(x, 0, x)[0].backward()
        assert (seen, x.grad.tolist()) == ([[[[3], None, [3]], [[1], None, None]]], [6])

    def test_each_run_has_its_own(self):
        layer, seen = nn.Tanh(), []
        layer.register_full_backward_hook(self.heard(seen))
        layer(layer(leaf(0.0)) * 5).backward()
        assert seen == [[[[1]], [[1]]], [[[5]], [[5]]]]

    def test_without_inputs_that_require_gradients(self):
        layer, seen = nn.Linear(2, 1, bias=False), []
        handle = layer.register_full_backward_hook(self.heard(seen))
        layer(chainrule.ones(3, 2)).sum().backward()
        assert seen == [[[None], [[[1], [1], [1]]]]]
        assert layer.weight.grad.tolist() == [[3, 3]]
        with chainrule.no_grad():
            assert not layer(chainrule.ones(3, 2)).requires_grad
        layer.requires_grad_(False)
        assert not layer(chainrule.ones(3, 2)).requires_grad
        handle.remove()
        layer.requires_grad_(True)
        layer.register_full_backward_hook(lambda m, i, o: (chainrule.ones(1),))
        with pytest.raises(ValueError, match="of Linear: a hook returned a gradient where there was none"):
            layer(chainrule.ones(3, 2)).sum().backward()

    def test_what_they_return_goes_on_in_order(self):
        module, seen = Product(), []
        module.register_full_backward_hook(lambda m, i, o: (i[0] * 2, None, i[2]))
        module.register_full_backward_hook(lambda m, i, o: (i[0] + o[0], None, i[2] * 0))
        module.register_full_backward_hook(self.heard(seen))
        a, b = leaf(1.0), leaf(3.0)
        h = b * 1
        module(a, 7, h)[0].backward()
        assert seen == [[[[7], None, [0]], [[1], None, None]]]
        assert (a.grad.tolist(), b.grad.tolist()) == ([7], [0])

    def test_gradients_may_be_kept_and_changed(self):
        layer, stored = nn.Sequential(), []
        layer.register_full_backward_hook(lambda m, i, o: stored.extend([*i, *o]))
        x = leaf(1.0)
        layer(x).backward()
        for g in stored:
            g.fill_(100)
        assert x.grad.tolist() == [1]

    def test_are_differentiated_where_the_gradient_is(self):
        layer, seen = nn.Tanh(), []
        layer.register_full_backward_hook(lambda m, i, o: seen.append(i[0].requires_grad) or (i[0] ** 2,))
        x = leaf(0.5)
        (g,) = chainrule.grad(layer(x), x, create_graph=True)
        t = np.tanh(0.5)
        assert g.item() == pytest.approx((1 - t * t) ** 2)
        (second,) = chainrule.grad(g, x)
        assert second.item() == pytest.approx(2 * (1 - t * t) * -2 * t * (1 - t * t))
        assert seen == [True]  # the second walk comes by another way than through the output

    @pytest.mark.parametrize(
        ("returned", "error", "message"),
        [
            (lambda g: g, TypeError, "a hook must return None or a tuple with a gradient for each of 1 inputs"),
            (lambda g: (g, None), TypeError, "a tuple with a gradient for each of 1 inputs"),
            (lambda g: (g[:1],), ValueError, "a hook must keep the gradient's shape (2,), not change it to (1,)"),
            (lambda g: (3.0,), TypeError, "a hook must return a Tensor or None, not float"),
        ],
    )
    def test_that_return_something_else(self, returned, error, message):
        layer = nn.Tanh()
        layer.register_full_backward_hook(lambda m, i, o: returned(i[0]))
        x = leaf(0.5, 1.0)
        with pytest.raises(error, match=re.escape(message)):
            layer(x).sum().backward()
        assert x.grad is None

    def test_changes_in_place_are_still_seen(self):
        layer = nn.Tanh()
        layer.register_full_backward_hook(lambda m, i, o: None)
        out = layer(leaf(0.5))
        with chainrule.no_grad():
            out.zero_()
        with pytest.raises(RuntimeError, match="the result of tanh .* was changed in place"):
            out.sum().backward()

    def test_another_type_keeps_the_hooks_of_parameters(self):
        layer, seen = nn.Linear(1, 1), []
        layer.weight.register_hook(lambda g: seen.append(g.dtype))
        layer.double()(chainrule.ones(1, 1, dtype=np.float64)).sum().backward()
        assert seen == [np.float64]


class TestAssigning:
    """What was a part of the state stays one, or the assignment is refused: never dropped without a word."""

    @pytest.mark.parametrize("value", [chainrule.ones(3, 2), np.ones((3, 2)), 1.0, "text", [chainrule.ones(3)]])
    def test_a_parameter_to_something_else(self, value):
        layer, bare = nn.Linear(2, 3), nn.Linear(2, 3, bias=False)
        for module, name in (
            (layer, "weight"),
            (layer, "bias"),
            (bare, "bias"),
            (nn.BatchNorm1d(3, affine=False), "weight"),
        ):
            before = getattr(module, name)
            with pytest.raises(
                TypeError, match=f"cannot assign a .* as parameter '{name}': it must be an nn.Parameter"
            ):
                setattr(module, name, value)
            assert getattr(module, name) is before
        assert list(layer.state_dict()) == ["weight", "bias"]

    def test_the_message(self):
        layer = nn.Linear(2, 3)
        with pytest.raises(TypeError) as caught:
            layer.weight = layer.weight * 2
        assert str(caught.value) == (
            "Linear: cannot assign a Tensor as parameter 'weight': it must be an nn.Parameter, or None (change its values "
            "with weight.copy_(...))"
        )

    def test_a_parameter_of_a_module_of_ones_own(self):
        block = Block()
        with pytest.raises(TypeError, match="as parameter 'scale'"):
            block.scale = chainrule.ones(1)
        block.scale = None
        assert "scale" not in dict(block.named_parameters())
        with pytest.raises(TypeError, match="as parameter 'scale'"):  # as in PyTorch, it is still one
            block.scale = chainrule.ones(1)
        block.scale = nn.Parameter([2.0])
        assert dict(block.named_parameters())["scale"].tolist() == [2]
        del block.scale
        block.scale = chainrule.ones(1)
        assert "scale" not in block.state_dict()

    def test_a_buffer(self):
        block = Block()
        for value in (np.zeros(3), 0.0, [1.0]):
            with pytest.raises(TypeError, match="as buffer 'mean': it must be a Tensor, or None"):
                block.mean = value
        block.mean = chainrule.ones(3)
        assert block.state_dict()["mean"].tolist() == [1, 1, 1]
        block.mean = None
        assert "mean" not in block.state_dict()
        block.mean = chainrule.ones(3)
        assert "mean" in dict(block.named_buffers())
        block.mean = nn.Parameter([1.0])
        assert "mean" in dict(block.named_parameters())
        assert "mean" not in dict(block.named_buffers())

    def test_a_buffer_that_is_deleted(self):
        block = Block()
        del block.mean
        assert (list(block.buffers()), "mean" in block.state_dict()) == ([], False)
        block.register_buffer("mean", chainrule.ones(1))
        assert block.state_dict()["mean"].tolist() == [1]

    def test_a_module(self):
        block = Block()
        for value in (3, chainrule.ones(1), "text", lambda x: x):
            with pytest.raises(TypeError, match="as module 'first': it must be an nn.Module, or None"):
                block.first = value
        network = nn.Sequential(nn.Linear(2, 2))
        with pytest.raises(TypeError, match="as module '0'"):
            setattr(network, "0", chainrule.ones(1))
        block.first = nn.Identity()
        block.first = None
        assert "first.weight" not in block.state_dict()
        block.first = nn.Parameter([1.0])
        assert "first" in block.state_dict()

    def test_lists_of_parts(self):
        block = Block()
        with pytest.raises(TypeError, match="as list of modules 'layers'"):
            block.layers = 3
        with pytest.raises(TypeError, match=re.escape("as parameter 'by_name.right.0': it must be an nn.Parameter")):
            block.by_name = {"right": (chainrule.ones(1), nn.ReLU())}
        block.layers = [nn.Tanh()]
        block.by_name = {"right": (nn.Parameter([1.0]), nn.ReLU())}
        block.layers = []
        block.by_name = None
        assert list(block.named_children()) == [("first", block.first)]

    def test_items_of_a_parameter_list(self):
        parameters = nn.ParameterList([nn.Parameter([1.0]), nn.Parameter([2.0])])
        parameters[-1] = chainrule.tensor([3.0])
        assert isinstance(parameters[1], nn.Parameter)
        assert [p.tolist() for p in parameters.parameters()] == [[1], [3]]
        with pytest.raises(IndexError):
            parameters[2] = chainrule.tensor([3.0])
        with pytest.raises(TypeError, match="as parameter '0'"):
            setattr(parameters, "0", chainrule.tensor([3.0]))

    def test_what_was_no_part_may_be_anything(self):
        block = Block()
        for value in (3, "x", chainrule.ones(1), [1], None):
            block.note = block.nothing = block.plain = value
        assert block.plain is None

    def test_it_survives_a_copy(self):
        layer = copy.deepcopy(nn.Linear(2, 3, bias=False))
        with pytest.raises(TypeError, match="as parameter 'bias'"):
            layer.bias = chainrule.ones(3)


class TestDepth:
    """Modules inside modules, as deep as Python cannot go."""

    @staticmethod
    def nested(levels):
        module = nn.Linear(1, 1)
        for _ in range(levels - 1):
            module = nn.Sequential(module)
        return module

    @pytest.mark.parametrize(
        "use",
        [
            lambda module: module(chainrule.zeros(1, 1)),
            lambda module: chainrule.jit(module)(chainrule.zeros(1, 1)),
            repr,
            lambda module: module.apply(lambda part: None),
            copy.deepcopy,
        ],
        ids=["forward", "jit", "repr", "apply", "deepcopy"],
    )
    def test_too_deep_is_one_sentence(self, use):
        with pytest.raises(
            RecursionError,
            match=r"^Sequential: modules are nested 2,000 deep, and each level takes several calls, but Python's recursion limit is \d,\d{3}; "
            r"put them one after the other, as in one Sequential$",
        ):
            use(self.nested(2000))

    @pytest.mark.parametrize(
        "use",
        [
            lambda module: len(module.state_dict()),
            lambda module: len([*module.parameters()]),
            lambda module: len([*module.eval().double().requires_grad_(False).parameters()]),
            lambda module: len(module.load_state_dict(module.state_dict())),
        ],
        ids=["state_dict", "parameters", "changed", "load_state_dict"],
    )
    def test_what_goes_through_the_modules_goes_to_any_depth(self, use):
        assert use(self.nested(2000)) == 2

    def test_what_is_nested_less_deeply_works(self):
        module = self.nested(100)
        inner = module
        while not isinstance(inner, nn.Linear):
            (inner,) = inner.children()
        x = chainrule.ones(1, 1)
        assert module(x).item() == inner(x).item()
        assert repr(module).count("Sequential(") == 99
        seen = []
        assert module.apply(lambda part: seen.append(type(part).__name__)) is module
        assert seen == ["Linear"] + ["Sequential"] * 99
        again = copy.deepcopy(module)
        assert [p.tolist() for p in again.parameters()] == [p.tolist() for p in module.parameters()]
        assert {*map(id, again.modules())}.isdisjoint(map(id, module.modules()))

    def test_another_recursion_is_told_as_it_is(self):
        class Own(nn.Module):
            def forward(self, x):
                return self.forward(x)

        with pytest.raises(RecursionError, match="^maximum recursion depth exceeded"):
            nn.Sequential(Own())(chainrule.ones(1))

    def test_a_module_with_a_state_of_its_own_is_copied_by_it(self):
        class Own(nn.Module):
            def __init__(self):
                self.weight, self.cache = nn.Parameter([1.0]), [1]

            def __getstate__(self):
                return {"weight": self.weight}

            def __setstate__(self, state):
                vars(self).update(state, cache=[])

        own = Own()
        network = nn.Sequential(own, own)
        other = copy.deepcopy(network)
        first, second = (getattr(other, name) for name in "01")
        assert first is second
        assert (first.weight.tolist(), first.cache) == ([1.0], [])
        assert first.weight is not own.weight


class WithItems(nn.Module, dict):
    pass


class WithElements(nn.Module, list):
    pass


class WithSlots(nn.Module):
    __slots__ = ("extra",)


def test_a_deep_copy_takes_along_what_else_a_class_holds():
    items, elements, slots = WithItems(a=[1]), WithElements([[3]]), WithSlots()
    slots.extra = [5]
    for module in (items, elements, slots):
        module.inner = nn.Linear(2, 2)
        new = copy.deepcopy(module)
        assert type(new) is type(module)
        assert new.inner is not module.inner
        np.testing.assert_array_equal(new.inner.weight.detach().numpy(), module.inner.weight.detach().numpy())
    new = copy.deepcopy(items)
    assert (new, new["a"] is items["a"]) == ({"a": [1]}, False)
    assert copy.deepcopy(elements) == [[3]]
    assert copy.deepcopy(slots).extra == [5]


def test_a_forward_that_calls_itself_keeps_its_own_error():
    class Endless(nn.Module):
        def forward(self, x):
            return self(x)

    net = Endless()
    for _ in range(210):
        net = nn.Sequential(net)
    with pytest.raises(
        RecursionError, match=r"modules are nested 211 deep, and each level takes several calls"
    ) as caught:
        net(chainrule.ones(2))
    error = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert "maximum recursion depth exceeded" in str(error)
