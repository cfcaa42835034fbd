"""The four equations with a network's numbers, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import models, nn, optim
from chainrule.autograd.tape import history
from chainrule.data import mnist
from chainrule.explain import backpropagation as module
from chainrule.explain.backpropagation import Backpropagation

from . import reference
from .saved import random_network

LABEL, WEIGHTS = 3, 50
LOSSES = {"sigmoid_mlp": reference.squared_error}


def described(network):
    """The network's layers for the plain forward and backward pass, their parameters in float64."""
    layers = []
    for layer in network:
        values = {name: p.detach().numpy().astype(np.float64) for name, p in layer.named_parameters()}
        values |= {name: b.numpy().astype(np.float64) for name, b in layer.named_buffers()}
        match layer:
            case nn.Linear():
                layers.append(("linear", values["weight"], values["bias"]))
            case nn.Conv2d():
                layers.append(("conv", values["weight"], values.get("bias"), layer.stride, layer.padding))
            case nn.BatchNorm2d():
                statistics = values["running_mean"], values["running_var"], layer.eps
                layers.append(("norm", values["weight"], values["bias"], *statistics))
            case nn.ReLU():
                layers.append(("relu",))
            case nn.Sigmoid():
                layers.append(("sigmoid",))
            case nn.MaxPool2d():
                layers.append(("pool", layer.kernel_size))
            case nn.Flatten():
                layers.append(("flatten",))
            case nn.Unflatten():
                layers.append(("channel",))
            case nn.Dropout():
                layers.append(("dropout",))
    assert len(layers) == len(network)
    return layers


def example(number=11):
    """A test image, and a little of all gray values: in trained networks no value lies exactly at a corner."""
    noise = np.random.default_rng(number).uniform(0, 0.05, (28, 28))
    return np.minimum(mnist().test_images[number] / 255 + noise, 1)


@pytest.fixture(scope="module", params=["mlp", "sigmoid_mlp", "cnn", "best"])
def case(request):
    """A network's numbers, and the same in plain NumPy."""
    name, image = request.param, example()
    network = random_network(name)
    passed = Backpropagation(network, image, LABEL, models.get(name).loss)
    layers = described(network)
    values = reference.forward(layers, image)
    cost, gradient = LOSSES.get(name, reference.cross_entropy)(values[-1], LABEL)
    slopes, weights = reference.backward(layers, values, gradient)
    return passed, layers, values, cost, slopes, weights


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-12)


def chosen(passed, count, random):
    """Random weights and biases, as many of each layer."""
    names = list(passed.parameters)
    for number in range(count):
        name = names[number % len(names)]
        yield name, tuple(int(random.integers(size)) for size in passed.parameters[name].shape)


def place(passed, name):
    """The position of a layer."""
    return [layer.name for layer in passed.layers].index(name)


def test_all_values_and_their_gradients(case):
    passed, _, values, cost, slopes, weights = case
    close(passed.cost, cost)
    close(passed.output, values[-1])
    close(passed.example_gradient, slopes[0])
    for position, layer in enumerate(passed.layers):
        close(layer.input, values[position])
        close(layer.output, values[position + 1])
        close(layer.input_gradient, slopes[position])
        close(layer.output_gradient, slopes[position + 1])
        for key, gradient in zip(("weight", "bias"), weights[position] or (), strict=False):
            if f"{layer.name}.{key}" in passed.gradients:
                close(passed.gradients[f"{layer.name}.{key}"], gradient)


def test_the_gradient_of_a_weight_is_the_sum_of_delta_times_activation(case):
    passed, layers, values, _, slopes, weights = case
    last = max(i for i, layer in enumerate(layers) if layer[0] == "linear")
    for name, index in chosen(passed, WEIGHTS, np.random.default_rng(1)):
        gradient = passed.weight(name, index)
        position, key = place(passed, gradient.layer), name.rpartition(".")[2]
        expected = weights[position][0 if key == "weight" else 1][index]
        close(gradient.gradient, expected)
        close(gradient.sum, expected)
        assert gradient.is_output == (position == last)
        close(gradient.value, layers[position][1 if key == "weight" else 2][index])
        for value, at in zip(gradient.deltas.values, gradient.deltas.indices, strict=True):
            close(value, slopes[position + 1][tuple(at)])
        if key == "bias":
            assert (gradient.activations.values == 1).all()
        elif layers[position][0] == "norm":
            _, _, _, mean, var, eps = layers[position]
            c = index[0]
            seen = values[position][tuple(gradient.activations.indices.T)]
            close(gradient.activations.values, (seen - mean[c]) / np.sqrt(var[c] + eps))
        else:
            close(gradient.activations.values, values[position][tuple(gradient.activations.indices.T)])


def test_the_error_of_a_layer_comes_from_the_next_one(case):
    passed, layers, values, _, slopes, _ = case
    random = np.random.default_rng(2)
    output = slopes[-1]
    for name, index in chosen(passed, WEIGHTS, random):
        gradient = passed.weight(name, index)
        if not len(gradient.deltas.indices):
            continue
        at = tuple(map(int, random.choice(gradient.deltas.indices)))
        error = passed.error(gradient.layer, at)
        position = place(passed, gradient.layer)
        close(error.delta, slopes[position + 1][at])
        close(error.sum, slopes[position + 1][at])
        close(error.z, values[position + 1][at])
        for path in error.paths:
            close(path.factor, np.prod([step.factor for step in path.steps]))
            for step in path.steps:
                close(step.output, values[place(passed, step.layer) + 1][step.index] if step.factor else step.output)
            if path.weights is not None:
                following = place(passed, error.next_layer)
                assert not error.is_output
                close(path.weights.values, layers[following][1][tuple(path.weights.indices.T)])
                close(path.deltas.values, slopes[following + 1][tuple(path.deltas.indices.T)])
                close(path.arriving, np.sum(path.weights.values * path.deltas.values))
            elif path.factor:
                end = path.steps[-1].index if path.steps else at
                assert error.is_output
                close(path.prediction - path.target, output[end])
                close(path.arriving, output[end])


def test_a_finite_difference_is_two_more_costs(case):
    passed, layers, values, cost, *_ = case
    loss = reference.squared_error if passed.layers[-1].module.__class__ is nn.Sigmoid else reference.cross_entropy
    for name, index in chosen(passed, 6, np.random.default_rng(3)):
        difference = passed.finite_difference(name, index, h=1e-4)
        position, key = place(passed, name.rpartition(".")[0]), 1 if name.endswith("weight") else 2
        costs = []
        for change in (1e-4, -1e-4):
            changed = list(layers[position])
            changed[key] = changed[key].copy()
            changed[key][index] += change
            rest = [tuple(changed), *layers[position + 1 :]]
            costs.append(loss(reference.forward(rest, values[position])[-1], LABEL)[0])
        np.testing.assert_allclose([difference.above, difference.below], costs, rtol=1e-12)
        slope = (costs[0] - costs[1]) / 2e-4
        np.testing.assert_allclose(difference.slope, slope, rtol=1e-6, atol=1e-9)
        sides = [(cost - costs[1]) / 1e-4, (costs[0] - cost) / 1e-4]
        np.testing.assert_allclose(difference.one_sided, sides, rtol=1e-6, atol=1e-9)
        assert difference.difference == difference.slope - difference.gradient


@pytest.mark.parametrize("name", ["mlp", "sigmoid_mlp"])
def test_the_default_step_finds_the_gradient(name):
    passed = Backpropagation(random_network(name), example(), LABEL, models.get(name).loss)
    for key, index in chosen(passed, 12, np.random.default_rng(4)):
        difference = passed.finite_difference(key, index)
        assert abs(difference.difference) <= 1e-7 * abs(difference.gradient) + 1e-9


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 2), "bias": False},
        {"kernel_size": 3, "dilation": 2, "padding": "same"},
        {"kernel_size": (4, 2), "padding": "same"},
        {"kernel_size": 3, "groups": 2, "padding": "valid"},
        {"kernel_size": 2, "stride": 3, "dilation": (1, 2), "padding": 3, "groups": 2},
    ],
)
def test_convolutions_of_every_kind_by_seven_loops(options):
    """Each output by its definition; a gradient is then a sum over all places and taps."""
    random = np.random.default_rng(9)
    first = nn.Conv2d(4, 6, generator=random, **options)
    network = nn.Sequential(first, nn.Tanh(), nn.Flatten(), nn.Linear(1, 3)).double()
    image = random.normal(size=(4, 6, 7))
    shape = first(chainrule.tensor(image[None])).shape[1:]
    network[3] = nn.Linear(int(np.prod(shape)), 3, generator=random, dtype=np.float64)
    passed = Backpropagation(network, image, 1)
    delta, weight = passed.layers[0].output_gradient, passed.parameters["0.weight"]
    stride, dilation = (np.broadcast_to(getattr(first, key), 2) for key in ("stride", "dilation"))
    spans = dilation * (np.array(weight.shape[2:]) - 1)
    padding = {"same": spans // 2, "valid": (0, 0)}.get(first.padding) if isinstance(first.padding, str) else None
    padding = np.broadcast_to(first.padding, 2) if padding is None else padding
    by_weight, by_input = np.zeros_like(weight), np.zeros_like(image)
    for o, y, x in np.ndindex(*delta.shape):
        for c, i, j in np.ndindex(*weight.shape[1:]):
            row, column = y * stride[0] - padding[0] + i * dilation[0], x * stride[1] - padding[1] + j * dilation[1]
            channel = o // (6 // first.groups) * weight.shape[1] + c
            if 0 <= row < 6 and 0 <= column < 7:
                by_weight[o, c, i, j] += delta[o, y, x] * image[channel, row, column]
                by_input[channel, row, column] += delta[o, y, x] * weight[o, c, i, j]
    terms = passed.layers[0].terms
    for index in np.ndindex(*weight.shape):
        np.testing.assert_allclose(passed.weight("0.weight", index).sum, by_weight[index], rtol=1e-12, atol=1e-15)
    for index in np.ndindex(*image.shape):
        weights, deltas = terms.error(index, delta)
        np.testing.assert_allclose(weights.values @ deltas.values, by_input[index], rtol=1e-12, atol=1e-15)
    if first.bias is not None:
        np.testing.assert_allclose(passed.weight("0.bias", (5,)).sum, delta[5].sum(), rtol=1e-12)


def test_overlapping_windows_give_several_ways():
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(4, 2))
    network[0].weight.detach().copy_([[[[1.0]]]])
    network[3].weight.detach().copy_([[1.0, 2, 3, 4], [0, 0, 0, 0]])
    network[3].bias.detach().zero_()
    image = np.arange(9.0).reshape(1, 3, 3)
    image[0, 1, 1] = 20
    error = Backpropagation(network, image, 0).error("0", (0, 1, 1))
    assert len(error.paths) == 4  # it is the largest of all four windows
    assert [path.steps[0].index for path in error.paths] == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    p = 1 / (1 + np.exp(-(20 * 10.0)))  # z = 20 · (1 + 2 + 3 + 4) and 0
    np.testing.assert_allclose(error.sum, 10 * (p - 1), rtol=1e-12, atol=1e-300)
    dark = Backpropagation(network, image, 1).error("0", (0, 0, 0))
    assert [(step.kind, step.factor) for step in dark.paths[0].steps] == [("MaxPool2d", 0.0)]
    assert dark.sum == dark.delta == 0


def test_a_relu_that_is_off_passes_nothing():
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    network[0].weight.detach().copy_([[1.0], [-1.0]])
    network[0].bias.detach().zero_()
    passed = Backpropagation(network, [2.0], 0)
    assert [passed.error("0", (i,)).paths[0].steps[0].factor for i in (0, 1)] == [1.0, 0.0]
    assert passed.error("0", (1,)).paths[0].weights is None
    np.testing.assert_array_equal(passed.layer("0").output, [2.0, -2.0])  # before the ReLU, which writes in place


def test_where_an_activation_comes_from():
    passed = Backpropagation(random_network("cnn"), example(), LABEL)
    inside = passed.layer("1").output[5]  # before ReLU and pooling
    assert passed.origin("1", (0, 3, 4)) is None
    for row, column in ((0, 0), (6, 7), (13, 13)):
        window = inside[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        k, m = np.unravel_index(np.argmax(np.maximum(window, 0)), (2, 2))
        assert passed.origin("4", (5, row, column)) == ("1", (5, 2 * row + k, 2 * column + m))
    assert passed.origin("8", (3135,))[0] == "4"
    assert passed.origin("8", (3135,))[1][0] == 63
    plain = Backpropagation(random_network("mlp"), example(), LABEL)
    assert plain.origin("1", (30,)) is None
    assert plain.origin("3", (127,)) == ("1", (127,))


def test_the_step_of_an_optimizer():
    passed = Backpropagation(random_network("sigmoid_mlp"), example(), LABEL, models.get("sigmoid_mlp").loss)
    name, index = "1.weight", (4, 400)
    w, g = passed.parameters[name][index], passed.gradients[name][index]
    close(passed.updated(name, index, lambda n: optim.SGD(n.parameters(), lr=3.0)), w - 3.0 * g)
    adamw = passed.updated(name, index, lambda n: optim.AdamW(n.parameters(), lr=0.02, weight_decay=0.1))
    close(adamw, w * (1 - 0.02 * 0.1) - 0.02 * g / (abs(g) + 1e-8))  # its first step
    close(passed.weight(name, index).value, w)  # nothing has changed


@pytest.mark.parametrize(
    ("name", "classes"), [*((n, 10) for n, m in models.REGISTRY.items() if m.task == "images"), ("reader", 11)]
)
def test_every_operation_of_every_network_of_images_is_recorded(name, classes):
    network = models.build(name, {"classes": classes}, generator=np.random.default_rng(3)).eval()
    loss = models.get(name).loss
    passed = Backpropagation(network, example(), LABEL, loss)
    image = chainrule.tensor(example()[None].astype(np.float32), requires_grad=True)
    cost = loss(network(image), chainrule.tensor([LABEL]))
    tape = history([cost._node])
    assert [operation.name for operation in passed.operations] == [node.operation.name for node in tape]
    assert [operation.value.shape for operation in passed.operations] == [node.shape for node in tape]
    for operation in passed.operations:
        assert operation.value.shape == operation.gradient.shape
        assert operation.value.dtype == operation.gradient.dtype == np.float64
    assert passed.operations[-1].layer == ""
    assert passed.operations[-1].value == passed.cost
    assert passed.operations[-1].gradient == 1


def test_operations_have_values_and_gradients(case):
    passed, _, values, _, slopes, _ = case
    last = {operation.layer: operation for operation in passed.operations}  # a layer's result
    for position, layer in enumerate(passed.layers):
        if layer.name in last:
            close(last[layer.name].value[0], values[position + 1])
            close(last[layer.name].gradient[0], slopes[position + 1])
    for number, operation in enumerate(passed.operations):
        for source in operation.inputs:
            assert source < number if isinstance(source, int) else source in {"example", *passed.parameters}


def test_the_network_is_left_alone():
    network = models.build("mlp")
    before = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    passed = Backpropagation(network, example(), LABEL)
    passed.finite_difference("1.weight", (0, 300), h=0.5)
    passed.updated("1.weight", (0, 300), lambda n: optim.SGD(n.parameters(), lr=1.0))
    assert network.training
    assert all(p.grad is None and p.dtype == np.float32 for p in network.parameters())
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


def test_operations_that_are_not_recorded_are_refused():
    def foreign(output, target):
        return chainrule.where(chainrule.tensor([[True, False, True]]), output, 0.0).sum()

    passed = Backpropagation(nn.Sequential(nn.Linear(2, 3)), [1.0, 2.0], 0, foreign)
    np.testing.assert_array_equal(passed.layers[0].output_gradient, [1, 0, 1])
    with pytest.raises(ValueError, match="the where of Tensors made elsewhere was not recorded: pass arrays to it"):
        _ = passed.operations


def test_losses_of_other_forms_have_no_difference():
    def absolute(output, target):
        return (output - target).abs().sum()

    network, target = nn.Sequential(nn.Linear(2, 3)), np.array([5.0, 5.0, -5.0])
    passed = Backpropagation(network, [1.0, 2.0], target, absolute)
    assert passed.predictions is passed.targets is None
    error = passed.error("0", (2,))
    assert error.paths[0].prediction is None
    assert error.sum == error.delta == 1
    squared = Backpropagation(network, [1.0, 2.0], target, lambda o, t: 0.5 * ((o - t) ** 2).sum())
    np.testing.assert_array_equal(squared.predictions, squared.output)


class _Tied(nn.Sequential):
    def forward(self, input):
        return super().forward(input) + 1


def _shared():
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, nn.ReLU(), layer)


def _broken():
    network = nn.Sequential(nn.Linear(2, 2))
    network[0].weight.detach().fill_(np.nan)
    return network


@pytest.mark.parametrize(
    ("network", "example", "target", "kind", "message"),
    [
        (models.gpt, [1.0], 0, TypeError, "Backpropagation: takes a Sequential, which runs its modules .*, not .*GPT"),
        (lambda: 3, [1.0], 0, TypeError, "takes a Sequential, .*, not int"),
        (lambda: _Tied(nn.Linear(1, 1)), [1.0], 0, TypeError, r"_Tied has a forward\(\) of its own"),
        (
            lambda: nn.Sequential(nn.Sequential(nn.LayerNorm(2))), [1.0, 2], 0, TypeError,
            "layer '0.0' is a LayerNorm, whose weights have other equations; Linear, Conv2d, BatchNorm1d, BatchNorm2d fit",
        ),
        (_shared, [1.0, 2], 0, ValueError, "layers '0' and '2' share weights"),
        (
            lambda: nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), [1.0, 2], 0, ValueError,
            "layer '0', BatchNorm1d, keeps no running statistics",
        ),
        (lambda: nn.Sequential(nn.Linear(2, 2)), [1.0, np.nan], 0, ValueError, "the example holds values that are not"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), [1.0, 2.0, 3.0], 0, ValueError, r"linear: input \(1, 3\) does not fit"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), [1.0, 2.0], 2, IndexError, "2"),
        (_broken, [1.0, 2.0], 0, ValueError, "the cost is nan: some weight or output is not finite"),
    ],
)  # fmt: skip
def test_what_it_cannot_be_done_for_is_refused(network, example, target, kind, message):
    with pytest.raises(kind, match=message):
        Backpropagation(network(), example, target)


def test_names_and_indices_that_do_not_exist(monkeypatch):
    passed = Backpropagation(nn.Sequential(nn.Linear(2, 3)), [1.0, 2.0], 0)
    for call in (passed.weight, passed.finite_difference):
        with pytest.raises(ValueError, match=r"there is no parameter '0.mass'; there are 0.weight, 0.bias"):
            call("0.mass", (0, 0))
        for index in ((3, 0), (-1, 0), (0,), (0, 0, 0)):
            with pytest.raises(IndexError, match=r"0.weight has shape \(3, 2\), and no index \("):
                call("0.weight", index)
        for index in ((0.0, 0), "01", 5):
            with pytest.raises(TypeError, match=r"0.weight: an index must be integers, not "):
                call("0.weight", index)
    with pytest.raises(ValueError, match=r"there is no layer '1'; there are 0"):
        passed.error("1", (0,))
    with pytest.raises(IndexError, match=r"the output of layer '0' has shape \(3,\), and no index \(3,\)"):
        passed.error("0", (3,))
    for h in (0, -1e-3, np.nan, np.inf):
        with pytest.raises(ValueError, match="h must be above 0, not"):
            passed.finite_difference("0.weight", (0, 0), h)
    for h in ("0.1", [1e-3], 1j):
        with pytest.raises(TypeError, match="finite_difference: h must be a number, not"):
            passed.finite_difference("0.weight", (0, 0), h)
    mixed = Backpropagation(nn.Sequential(nn.Linear(2, 5), nn.Softmax(-1), nn.Linear(5, 2)), [1.0, 2.0], 0)
    np.testing.assert_allclose(mixed.error("0", (3,)).sum, mixed.error("0", (3,)).delta, rtol=1e-12)
    monkeypatch.setattr(module, "MAX_PATHS", 4)
    with pytest.raises(ValueError, match="one value reaches 5 others through layer '1', Softmax: too many to list"):
        mixed.error("0", (3,))


def test_a_step_that_changes_nothing_is_refused():
    network = nn.Sequential(nn.Linear(1, 2))
    network[0].weight.detach().copy_([[4.0], [0.0]])
    passed = Backpropagation(network, [0.5], 0)
    with pytest.raises(ValueError, match=r"h = 1e-30 is too small to change 4.0 in float64; take one of about 2.4e-05"):
        passed.finite_difference("0.weight", (0, 0), 1e-30)
    between = 2.0**-51  # half of the distance from 4 to the next number above: only the one below is moved to
    with pytest.raises(ValueError, match="too small to change 4.0"):
        passed.finite_difference("0.weight", (0, 0), between)
    assert passed.finite_difference("0.weight", (1, 0), 1e-30).h == 1e-30  # from 0 it is a step


def test_what_comes_from_padding_has_no_origin():
    network = nn.Sequential(nn.Conv2d(1, 1, 2), nn.ZeroPad2d(1), nn.Conv2d(1, 1, 3))
    passed = Backpropagation(network, np.ones((1, 4, 4)), np.zeros((1, 3, 3)), lambda o, t: ((o - t) ** 2).sum())
    assert passed.layer("2").input.shape == (1, 5, 5)
    for row in range(5):
        for column in range(5):
            inside = 1 <= row <= 3 and 1 <= column <= 3
            expected = ("0", (0, row - 1, column - 1)) if inside else None
            assert passed.origin("2", (0, row, column)) == expected
