"""The from-scratch network: gradients, the article's interface, the loader, accuracy and speed."""

from __future__ import annotations

import time

import numpy as np
import pytest

import chainrule
from chainrule import models
from chainrule.first_principles.finite_difference import central_difference
from chainrule.first_principles.network import Network, load_data_wrapper

RANDOM = np.random.default_rng(0)
SIZES = [5, 4, 6, 3]
X, Y = RANDOM.normal(size=(5, 7)), np.eye(3)[:, RANDOM.integers(0, 3, 7)]
EXAMPLES = [(X[:, [i]], Y[:, [i]]) for i in range(7)]


def quiet(_: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def mnist() -> tuple[list, list, list]:
    return load_data_wrapper()


def cost(network: Network, x: np.ndarray, y: np.ndarray) -> float:
    return float(0.5 * ((network.forward(x) - y) ** 2).sum())


def test_backprop_agrees_with_the_engine() -> None:
    network = Network(SIZES, seed=1)
    network.biases = [RANDOM.normal(size=b.shape) for b in network.biases]
    weights = [chainrule.tensor(w, requires_grad=True) for w in network.weights]
    biases = [chainrule.tensor(b, requires_grad=True) for b in network.biases]
    a = chainrule.tensor(X)
    for w, b in zip(weights, biases, strict=True):
        a = chainrule.sigmoid(w @ a + b)
    np.testing.assert_allclose(network.forward(X), np.asarray(a.detach()), rtol=0, atol=1e-12)
    (0.5 * ((a - chainrule.tensor(Y)) ** 2).sum()).backward()
    slopes_b, slopes_w = network.backprop(X, Y)
    for ours, theirs in zip(slopes_b + slopes_w, biases + weights, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, np.asarray(theirs.grad), rtol=0, atol=1e-12)


def test_a_step_agrees_with_the_engine_s_own_network() -> None:
    """`models.sigmoid_mlp` with the same weights and mini-batch: its loss and gradients are the means of ours."""
    model = models.get("sigmoid_mlp")
    theirs = model.build(inputs=5, hidden=4, classes=3).double()
    ours = Network([5, 4, 3], seed=2)
    parameters = dict(theirs.named_parameters())
    for name, value in zip(parameters, (ours.weights[0], ours.biases[0], ours.weights[1], ours.biases[1]), strict=True):
        with chainrule.no_grad():
            parameters[name].copy_(chainrule.tensor(value.reshape(parameters[name].shape)))
    loss = model.loss(theirs(chainrule.tensor(X.T.copy())), chainrule.tensor(Y.argmax(axis=0)))
    loss.backward()
    assert loss.item() == pytest.approx(cost(ours, X, Y) / 7, abs=1e-12)
    slopes_b, slopes_w = ours.backprop(X, Y)
    for slope, parameter in zip((slopes_w[0], slopes_b[0], slopes_w[1], slopes_b[1]), parameters.values(), strict=True):
        np.testing.assert_allclose(slope.reshape(parameter.shape) / 7, np.asarray(parameter.grad), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("kind", ["biases", "weights"])
def test_backprop_agrees_with_finite_differences(kind: str, layer: int) -> None:
    network = Network(SIZES, seed=1)

    def at(values: np.ndarray) -> float:
        changed = Network(SIZES, seed=1)
        getattr(changed, kind)[layer] = values
        return cost(changed, X, Y)

    expected = central_difference(at, getattr(network, kind)[layer])
    slopes = network.backprop(X, Y)[kind == "weights"][layer]
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=1e-8)


def test_a_mini_batch_is_the_mean_of_its_examples() -> None:
    network, start = Network(SIZES, seed=3), Network(SIZES, seed=3)
    each = [start.backprop(x, y) for x, y in EXAMPLES]
    network.update_mini_batch(EXAMPLES, 0.7)
    for layer in range(3):
        for kind, (after, before) in enumerate(((network.biases, start.biases), (network.weights, start.weights))):
            mean = np.mean([slopes[kind][layer] for slopes in each], axis=0)
            assert np.abs(mean).max() > 0
            np.testing.assert_allclose(after[layer], before[layer] - 0.7 * mean, rtol=0, atol=1e-12)


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    network = Network([5, 8, 3], seed=0)
    digits = [(x, int(y.argmax())) for x, y in EXAMPLES]
    correct = network.SGD(EXAMPLES, 300, 2, 3.0, digits)
    said = capsys.readouterr().out.splitlines()
    assert said[:300] == [f"Epoch {epoch}: {right} / 7" for epoch, right in enumerate(correct)]
    assert correct[-1] == 7
    assert said[300:] == ["Accuracy: 100.00%"]
    assert network.SGD(EXAMPLES, 2, 2, 3.0) == []
    assert capsys.readouterr().out.splitlines() == ["Epoch 0 complete", "Epoch 1 complete"]


def test_the_same_seed_the_same_bits() -> None:
    first, second, other = Network(SIZES, seed=4), Network(SIZES, seed=4), Network(SIZES, seed=5)
    for network in (first, second, other):
        network.SGD(EXAMPLES, 3, 2, 1.0, progress=quiet)
    assert all(
        (a == b).all() for a, b in zip(first.weights + first.biases, second.weights + second.biases, strict=True)
    )
    assert (first.weights[0] != other.weights[0]).any()
    chainrule.manual_seed(6)
    default = Network(SIZES).weights[0]
    chainrule.manual_seed(6)
    assert (default == Network(SIZES).weights[0]).all()


def test_examples_may_come_from_a_generator_and_stay_in_order() -> None:
    listed, drawn = Network(SIZES, seed=4), Network(SIZES, seed=4)
    examples = list(EXAMPLES)
    assert listed.SGD(examples, 2, 3, 1.0, examples, progress=quiet) == drawn.SGD(
        (e for e in EXAMPLES), 2, 3, 1.0, zip(X.T[:, :, None], Y.argmax(axis=0), strict=True), progress=quiet
    )
    assert all(a is b for a, b in zip(examples, EXAMPLES, strict=True))
    assert (listed.weights[0] == drawn.weights[0]).all()


def test_evaluate_and_cost_derivative() -> None:
    network = Network([3, 3], seed=0)
    network.weights, network.biases = [np.eye(3)], [np.zeros((3, 1))]
    columns = list(np.eye(3)[:, :, None])
    assert network.evaluate(zip(columns, [0, 1, 1], strict=True)) == 2
    assert network.evaluate(zip(columns, columns, strict=True)) == 3
    np.testing.assert_array_equal(network.cost_derivative(columns[0], columns[1]), [[1], [-1], [0]])
    assert network.evaluate([]) == 0
    assert (network.num_layers, network.sizes) == (2, [3, 3])


def test_what_is_refused() -> None:
    network = Network([5, 3], seed=0)
    with pytest.raises(ValueError, match=r"at least two layers of at least one neuron, got sizes \[5\]"):
        Network([5])
    with pytest.raises(ValueError, match=r"input \(5,\) does not fit sizes \[5, 3\]; expected \(5, 1\)"):
        network.forward(X[:, 0])
    with pytest.raises(ValueError, match=r"target \(2, 7\) does not fit the output, \(3, 7\)"):
        network.backprop(X, Y[:2])
    with pytest.raises(ValueError, match=r"must be columns \(n, 1\), got 2 of shape \(\)"):  # labels instead of columns
        network.update_mini_batch([(X[:, [0]], 1), (X[:, [1]], 2)], 1.0)
    with pytest.raises(ValueError, match=r"must be columns \(n, 1\), got 1 of shape \(5,\)"):
        network.update_mini_batch([(X[:, 0], Y[:, 0])], 1.0)
    with pytest.raises(ValueError, match="got 0 and 10"):
        network.SGD([], 1, 10, 3.0)
    with pytest.raises(ValueError, match="got 7 and 0"):
        network.SGD(EXAMPLES, 1, 0, 3.0)


def test_the_loader(mnist: tuple[list, list, list]) -> None:
    assert [len(part) for part in mnist] == [50_000, 10_000, 10_000]
    for part, first in zip(mnist, (5, 3, 7), strict=True):
        x, y = part[0]
        assert (x.shape, x.dtype, x.min(), x.max()) == ((784, 1), np.float32, 0, 1)
        assert (int(y.argmax()) if part is mnist[0] else y) == first
        assert sum(1 for _ in part) == sum(1 for _ in part) == len(part)  # can be iterated repeatedly
    assert mnist[0][0][1].tolist() == [[0.0]] * 5 + [[1.0]] + [[0.0]] * 4
    data = chainrule.data.mnist()
    np.testing.assert_array_equal(mnist[1][7][0].reshape(28, 28), data.train_images[50_007] / np.float32(255))
    assert [y for _, y in mnist[2]] == data.test_labels.tolist()


@pytest.mark.slow
def test_the_classic_settings(mnist: tuple[list, list, list]) -> None:
    """One seed and the first six of thirty epochs; benchmarks/first_principles.py has three seeds and all epochs."""
    training, _, test = mnist
    correct = Network([784, 30, 10], seed=0).SGD(training, 6, 10, 3.0, test, progress=quiet)
    assert correct[1] > 9300
    assert correct[-1] >= 9500


def loop(network: Network, examples: list, rate: float) -> None:
    """An epoch without shuffling, in mini-batches of 10, one example at a time."""
    for first in range(0, len(examples), 10):
        batch = examples[first : first + 10]
        total = None
        for x, y in batch:
            slopes_b, slopes_w = network.backprop(x, y)
            slopes = slopes_b + slopes_w
            total = slopes if total is None else [a + b for a, b in zip(total, slopes, strict=True)]
        layers = len(network.biases)
        network.biases = [b - rate / len(batch) * s for b, s in zip(network.biases, total[:layers], strict=True)]
        network.weights = [w - rate / len(batch) * s for w, s in zip(network.weights, total[layers:], strict=True)]


@pytest.mark.slow
def test_faster_than_a_loop_over_examples(mnist: tuple[list, list, list]) -> None:
    examples, ratios = mnist[0][:2000], []
    for _ in range(5):
        matrices, single = Network([784, 30, 10], seed=0), Network([784, 30, 10], seed=0)
        started = time.perf_counter()
        matrices.SGD(examples, 1, 10, 3.0, progress=quiet)
        between = time.perf_counter()
        loop(single, examples, 3.0)
        ratios.append((time.perf_counter() - between) / (between - started))
    print(f"{np.median(ratios):.1f} times as fast")
    assert np.median(ratios) >= 5


def test_a_network_that_diverged_is_not_judged() -> None:
    """argmax of NaN outputs is 0: every 0 would count as correct."""
    network = Network([2, 3, 2], seed=0)
    network.weights[0][:] = np.nan
    examples = [(np.ones((2, 1)), 0), (np.ones((2, 1)), 1)]
    with pytest.raises(ValueError, match="evaluate: the outputs are not finite"):
        network.evaluate(examples)
