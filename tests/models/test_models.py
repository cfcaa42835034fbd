"""The named models: built from checked options, and what they learn by, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import models, no_grad, optim, tensor, zeros
from chainrule.errors import RunError
from chainrule.models.sigmoid_mlp import quadratic_cost, sigmoid_probabilities
from chainrule.tensor import Tensor, from_numpy

NAMES = [name for name, model in models.REGISTRY.items() if model.task == "images"]
DENSE = ["mlp", "sigmoid_mlp"]  # those with one hidden layer
OPTIONS = {"inputs": 12, "hidden": 5, "classes": 4}  # of those
SMALL = {"inputs": 144, "classes": 4}  # of any


def batch(seed=0, count=6):
    random = np.random.default_rng(seed)
    return random.random((count, 3, 4)).astype(np.float32), random.integers(0, 4, count)


def pictures(count):
    """Pictures of 12×12, one quarter of each brighter than the others, and which."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 4
    images = random.random((count, 2, 6, 2, 6)).astype(np.float32) / 2
    images[np.arange(count), labels // 2, :, labels % 2] += 0.5
    return images.reshape(count, 12, 12), labels


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropies(logits, labels):
    """-ln softmax of each label's logit, by the definition."""
    powers = np.exp(logits.astype(np.float64))
    return -np.log(powers[np.arange(len(labels)), labels] / powers.sum(axis=1))


def test_an_image_of_no_digit_counts_a_quarter():
    random = np.random.default_rng(2)
    logits, labels = random.normal(size=(7, 11)).astype(np.float32), np.array([3, 10, 0, 10, 9, 2, 10])
    loss = models.get("reader").loss
    each = cross_entropies(logits, labels) * np.array([1, 0.25, 1, 0.25, 1, 1, 0.25])
    assert loss(from_numpy(logits), from_numpy(labels)).item() == pytest.approx(each.mean(), rel=1e-6)
    parts = [loss(from_numpy(logits[rows]), from_numpy(labels[rows])).item() for rows in (slice(3), slice(3, 7))]
    assert (3 * parts[0] + 4 * parts[1]) / 7 == pytest.approx(each.mean(), rel=1e-6)


def test_with_ten_classes_all_count_alike():
    random = np.random.default_rng(2)
    logits, labels = random.normal(size=(6, 10)).astype(np.float32), np.array([3, 9, 0, 9, 9, 2])
    loss = models.get("reader").loss(from_numpy(logits), from_numpy(labels)).item()
    assert loss == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-6)


# All of them


def test_the_names_are_those_that_are_told():
    assert {name: model.name for name, model in models.REGISTRY.items()} == {
        name: name for name in [*NAMES, "mlp_classifier", "mlp_regressor", "gpt", "digit_detector"]
    }


def test_the_old_name_of_a_model_stands_for_it():
    assert models.get("network") is models.get("sigmoid_mlp")
    built = models.build("network", OPTIONS, generator=np.random.default_rng(0))
    assert len(list(built)) == 5
    assert models.network is models.sigmoid_mlp


@pytest.mark.parametrize("name", NAMES)
def test_a_model_reads_mnist_unless_told_otherwise(name):
    outputs = models.build(name)(tensor(np.zeros((2, 28, 28), np.float32)))
    assert outputs.shape == (2, 10)
    assert models.get(name).probabilities(outputs).shape == (2, 10)


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_decide_the_sizes(name):
    images, _ = pictures(3)
    outputs = models.build(name, SMALL)(tensor(images))
    assert outputs.shape == (3, 4)
    assert outputs.dtype == np.float32


@pytest.mark.parametrize("name", DENSE)
def test_options_decide_the_sizes(name):
    shapes = {n: p.shape for n, p in models.build(name, OPTIONS).named_parameters()}
    assert list(shapes.values()) == [(5, 12), (5,), (4, 5), (4,)]
    outputs = models.build(name, OPTIONS)(tensor(batch()[0]))
    assert outputs.shape == (6, 4)
    assert outputs.dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_gives_the_same_bits(name):
    def bits(seed):
        network = models.build(name, SMALL, generator=np.random.default_rng(seed))
        return [p.numpy().tobytes() for p in network.parameters()]

    assert bits(1) == bits(1)
    assert bits(1)[0] != bits(2)[0]


@pytest.mark.parametrize("name", DENSE)
def test_a_network_keeps_the_names_of_its_weights(name):
    """Files that are out in the world name them."""
    assert list(models.build(name).state_dict()) == ["1.weight", "1.bias", "3.weight", "3.bias"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 3}, "has no option 'layers'; it has inputs, hidden, classes"),
        ({"generator": None}, "has no option 'generator'; it has inputs, hidden, classes"),
        ({"hidden": "5"}, "option hidden must be of type int, like {hidden}, not '5'"),
        ({"hidden": 5.0}, "option hidden must be of type int, like {hidden}, not 5.0"),
        ({"hidden": True}, "option hidden must be of type int, like {hidden}, not True"),
        ({"hidden": None}, "option hidden must be of type int, like {hidden}, not None"),
        ({"classes": 0}, "option classes must be at least 1, not 0"),
        ({"inputs": -784}, "option inputs must be at least 1, not -784"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", DENSE)
def test_options_are_checked(name, options, message):
    hidden = {"mlp": 128, "sigmoid_mlp": 30}[name]
    with pytest.raises(RunError, match=f"model '{name}'.* {message.format(hidden=hidden)}"):
        models.build(name, options)


@pytest.mark.parametrize("name", ["", "MLP", "resnet", "chainrule.models.mlp", "__init__"])
def test_an_unknown_name_is_told_with_those_that_there_are(name):
    for use in (models.get, models.build):
        with pytest.raises(RunError, match=f"unknown model '{name}'; choose from {', '.join(models.REGISTRY)}$"):
            use(name)


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="a model named 'mlp' is already registered"):
        models.register("another", models.get("mlp").recipe)(models.mlp)
    assert models.get("mlp").summary != "another"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_learns(name):
    """A few steps by the model's own loss go downhill."""
    model = models.get(name)
    network = models.build(name, SMALL, generator=np.random.default_rng(0))
    optimizer = optim.Adam(network.parameters(), 0.01)
    images, labels = pictures(20)
    losses = []
    for _ in range(20):
        loss = model.loss(network(tensor(images)), tensor(labels))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_probabilities_that_agree_with_the_outputs(name):
    outputs = models.build(name, SMALL, generator=np.random.default_rng(3))(tensor(pictures(50)[0]))
    probabilities = models.get(name).probabilities(outputs).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (probabilities > 0).all()
    np.testing.assert_array_equal(np.argsort(probabilities, axis=1), np.argsort(outputs.numpy(), axis=1))


def test_images_become_fractions():
    images = np.array([[[0, 51], [102, 255]]], np.uint8)
    inputs = models.images_to_inputs(from_numpy(images))
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs.numpy(), [[[0, 0.2], [0.4, 1]]], rtol=1e-6)


# mlp


def test_mlp_by_hand():
    network = models.build("mlp", OPTIONS, generator=np.random.default_rng(0))
    inputs, labels = batch()
    w1, b1, w2, b2 = (p.numpy().astype(float) for p in network.parameters())
    hidden = np.maximum(inputs.reshape(6, 12) @ w1.T + b1, 0)
    scores = hidden @ w2.T + b2
    np.testing.assert_allclose(network(tensor(inputs)).detach().numpy(), scores, rtol=1e-4, atol=1e-6)
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    loss = models.get("mlp").loss(tensor(scores), tensor(labels)).item()
    assert loss == pytest.approx(-np.log(softmax[np.arange(6), labels]).mean(), rel=1e-6)
    np.testing.assert_allclose(models.get("mlp").probabilities(tensor(scores)).numpy(), softmax, rtol=1e-6)


# network


def test_network_has_the_gradients_of_the_quadratic_cost():
    """C = 1/(2n) Σ ‖a - y‖², whose gradients are the four equations of backpropagation."""
    network = models.build("sigmoid_mlp", OPTIONS, generator=np.random.default_rng(0)).double()
    inputs, labels = batch()
    activations = network(tensor(inputs.astype(np.float64)))
    cost = models.get("sigmoid_mlp").loss(activations, tensor(labels))
    cost.backward()

    w1, b1, w2, b2 = (p.detach().numpy() for p in network.parameters())
    x = inputs.reshape(6, 12).astype(float)
    y = np.eye(4)[labels]
    z1 = x @ w1.T + b1
    z2 = sigmoid(z1) @ w2.T + b2
    a1, a2 = sigmoid(z1), sigmoid(z2)
    delta2 = (a2 - y) * a2 * (1 - a2)  # the error of the output layer
    delta1 = delta2 @ w2 * a1 * (1 - a1)  # carried back to the hidden layer
    by_hand = [delta1.T @ x / 6, delta1.mean(axis=0), delta2.T @ a1 / 6, delta2.mean(axis=0)]

    assert cost.item() == pytest.approx(((a2 - y) ** 2).sum() / (2 * 6), rel=1e-12)
    for parameter, gradient in zip(network.parameters(), by_hand, strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=1e-10, atol=1e-14)


def test_a_perfect_answer_costs_nothing():
    assert quadratic_cost(tensor(np.eye(3)), tensor([0, 1, 2])).item() == 0
    assert quadratic_cost(tensor(np.eye(3)), tensor([1, 1, 2])).item() == pytest.approx((1 + 1) / (2 * 3))


def test_networks_probabilities_are_the_softmax_of_what_went_into_the_sigmoids():
    z = np.random.default_rng(0).uniform(-9, 9, (20, 10))
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sigmoid_probabilities(tensor(sigmoid(z))).numpy(), expected, rtol=1e-7)
    single = sigmoid_probabilities(tensor(sigmoid(z).astype(np.float32)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=2e-3)  # a float32 near 1 no longer tells its z
    np.testing.assert_allclose(single.numpy().sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1e-30, 1 - 1e-9, 0.5]], ids=str)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_saturated_neurons_give_probabilities_too(row, kind):
    probabilities = sigmoid_probabilities(tensor(np.array([row], kind))).numpy()
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1)
    if len(set(row)) > 1:
        assert probabilities.argmax() == np.argmax(row)
        assert probabilities.max() > 0.99
    else:
        np.testing.assert_allclose(probabilities, 1 / 3, rtol=1e-6)


def test_networks_weights_start_scaled_by_the_number_of_inputs():
    network = models.build("sigmoid_mlp", {"inputs": 400, "hidden": 100}, generator=np.random.default_rng(0))
    first, bias, *_ = (p.detach().numpy() for p in network.parameters())
    assert first.std() == pytest.approx(400**-0.5, rel=0.03)
    assert not bias.any()
    with no_grad():
        inputs = tensor(np.random.default_rng(1).random((50, 20, 20)).astype(np.float32))
        hidden = network[2](network[1](network[0](inputs)))
    assert type(hidden) is Tensor
    assert 0.1 < hidden.numpy().min() < hidden.numpy().max() < 0.95  # no neuron starts saturated


# Of tables


@pytest.mark.parametrize(("size", "widths"), [("small", [16]), ("medium", [64, 64]), ("large", [256, 256])])
def test_the_sizes_of_perceptrons_for_tables(size, widths):
    classifier = models.build("mlp_classifier", {"inputs": 7, "classes": 5, "size": size})
    regressor = models.build("mlp_regressor", {"inputs": 7, "size": size})
    for network, outputs in ((classifier, 5), (regressor, 1)):
        shapes = [p.shape for name, p in network.named_parameters() if name.endswith("weight")]
        assert shapes == list(zip([*widths, outputs], [7, *widths], strict=True))
        assert network(tensor(np.zeros((3, 7), np.float32))).shape == (3, outputs)
    with pytest.raises(RunError, match="unknown size 'huge'; choose from small, medium, large"):
        models.build("mlp_regressor", {"size": "huge"})


@pytest.mark.parametrize("name", ["cnn", "lenet5", "quick", "best", "reader"])
@pytest.mark.parametrize(("inputs", "channels"), [(785, 1), (3 * 784 + 1, 3), (784, 3), (1, 1)])
def test_images_that_are_not_square_are_refused(name, inputs, channels):
    with pytest.raises(RunError, match=f"model '{name}' takes square images of .* or more.*, not {inputs} "):
        models.build(name, {"inputs": inputs, "channels": channels})
    colored = models.build(name, {"inputs": 3 * 14 * 14, "channels": 3})
    assert colored(zeros(2, 3, 14, 14)).shape == (2, 10)
