"""Surgery gives what `chainrule evaluate` gives for a copy of the run whose weights are 0 there."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from chainrule import explain, from_numpy, models, nn, safetensors_io
from chainrule.cli import cli
from chainrule.data import mnist
from chainrule.explain import surgery as surgeries
from chainrule.training import run as runs
from chainrule.training.evaluation import evaluate, evaluate_rows

NAMES = ["sigmoid_mlp", "mlp", "lenet5"]
SILENCED = {
    "sigmoid_mlp": {0: [3, 17]},
    "mlp": {0: [0, 5, 64, 127, *range(20, 50)]},
    "lenet5": {0: [1], 1: [2, 9], 3: range(40)},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of each model, trained for a moment."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: train(name, folder / name) for name in NAMES}


def train(name, folder):
    arguments = [
        "train",
        "--model",
        name,
        "--limit",
        "1500",
        "--epochs",
        "1",
        "--batch-size",
        "32",
        "--out",
        str(folder),
    ]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return runs.find(folder)


def zero(run, folder, neurons, outgoing=True):
    """Copy a run, and set weights to 0 in its file: those out of neurons, by the shapes of the arrays alone."""
    shutil.copytree(run.folder, folder)
    file = folder / "model.safetensors"
    state = {name: np.array(value.numpy()) for name, value in safetensors_io.load(file).items()}
    matrices = [name for name, value in state.items() if name.endswith("weight") and value.ndim > 1]
    matrices.sort(key=lambda name: int(name.partition(".")[0]))  # the file's order is that of the alphabet
    for layer, chosen in neurons.items():
        for neuron in chosen:
            if outgoing:
                following = state[matrices[layer + 1]]
                each = following.shape[1] // len(state[matrices[layer]])
                following[:, neuron * each : (neuron + 1) * each] = 0
            else:
                state[matrices[layer]][neuron] = 0
                state[matrices[layer].replace("weight", "bias")][neuron] = 0
    safetensors_io.save(state, file)
    return folder


def command(folder):
    result = CliRunner().invoke(cli, ["evaluate", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.mark.parametrize("name", NAMES)
def test_it_equals_evaluate_with_the_weights_zeroed_in_the_file(trained, tmp_path, name):
    run, test = trained[name], mnist().split().test
    surgery = explain.Surgery(run.load_network(), run.model, *test)
    before = command(run.folder)
    assert surgery.evaluate({}).accuracy == before["accuracy"]
    after = command(zero(run, tmp_path / "outgoing", SILENCED[name]))
    found = surgery.evaluate(SILENCED[name])
    assert found.accuracy == after["accuracy"] != before["accuracy"]
    assert found.loss == after["loss"]
    assert surgery.evaluate({}).accuracy == before["accuracy"]  # undone


def test_of_relu_neurons_the_weights_that_lead_in_may_be_zeroed_as_well(trained, tmp_path):
    run, test = trained["mlp"], mnist().split().test
    folder = zero(run, tmp_path / "incoming", SILENCED["mlp"], outgoing=False)
    assert (
        explain.Surgery(run.load_network(), run.model, *test).evaluate(SILENCED["mlp"]).accuracy
        == (command(folder)["accuracy"])
    )


def test_the_silenced_copy_has_the_weights_of_the_file(trained, tmp_path):
    run = trained["lenet5"]
    network = run.load_network()
    before = {name: np.array(value.numpy()) for name, value in network.state_dict().items()}
    copy = explain.silence(network, SILENCED["lenet5"])
    file = zero(run, tmp_path / "copy", SILENCED["lenet5"]) / "model.safetensors"
    for name, value in safetensors_io.load(file).items():
        np.testing.assert_array_equal(copy.state_dict()[name].numpy(), value.numpy())
        np.testing.assert_array_equal(network.state_dict()[name].numpy(), before[name])  # which is not changed
    outputs = explain.activations(copy, mnist().test_images[:3] / np.float32(255))[1]
    assert outputs[:, 9].max() > 0  # the neuron itself still answers; nothing hears it


@pytest.mark.parametrize("most", [0, 5_000_000, 60_000_000])
def test_whatever_is_kept_the_answer_is_the_same(trained, monkeypatch, most):
    monkeypatch.setattr(surgeries, "MAX_BYTES", most)
    run = trained["lenet5"]
    images, labels = mnist().test_images[:1500], mnist().test_labels[:1500]
    network = run.load_network()
    surgery = explain.Surgery(network, run.model, images, labels)
    for neurons in ({0: [2]}, {1: [3]}, {2: [5], 3: [1]}, {0: [2]}, {}, {1: [], 2: [7]}):
        expected = evaluate(explain.silence(network, neurons), run.model, images, labels)
        found = surgery.evaluate(neurons)
        assert np.array_equal(found.probabilities, expected.probabilities)
        assert sum(array.nbytes for array in surgery._outputs.values()) <= most


def test_a_network_of_one_layer_has_nothing_to_silence():
    network, model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), models.get("mlp")
    images, labels = np.random.default_rng(0).integers(0, 256, (9, 2, 2), np.uint8), np.arange(9) % 3
    surgery = explain.Surgery(network, model, images, labels)
    assert surgery.evaluate({}).accuracy == evaluate(network, model, images, labels).accuracy
    with pytest.raises(ValueError, match="no weights lead out of the network's outputs"):
        surgery.evaluate({0: [1]})


@pytest.mark.parametrize(
    ("neurons", "error", "sentence"),
    [
        ({1: [0]}, ValueError, "no weights lead out of the network's outputs"),
        ({2: [0]}, IndexError, "no layer 2: the network has 2"),
        ({-1: [0]}, IndexError, "no layer -1"),
        ({"0": [0]}, TypeError, "a layer must be an integer, not '0'"),
        ({0: [128]}, IndexError, "no neuron 128 in layer '1', which has 128"),
        ({0: [-1]}, IndexError, "no neuron -1"),
        ({0: [1.5]}, TypeError, "a neuron must be an integer, not 1.5"),
        ({0: [True]}, TypeError, "a neuron must be an integer, not True"),
        ({0: ["a", 1]}, TypeError, "a neuron must be an integer, not 'a'"),
        ({0: [[1], [2]]}, TypeError, r"a neuron must be an integer, not \[1\]"),
        ({0: np.array([[1, 2]])}, TypeError, r"a neuron must be an integer, not \[1, 2\]"),
        ([5], TypeError, r"silence: takes a dict of neurons by layer, such as \{0: \[5, 7\]\}, not \[5\]"),
        ({0: 5}, TypeError, "silence: the neurons of layer '1' must be a list of integers, not 5"),
    ],
)
def test_there_is_no_such_neuron(neurons, error, sentence):
    with pytest.raises(error, match=sentence):
        explain.silence(models.build("mlp"), neurons)


def test_batch_normalization_and_pooling_are_compiled_to_the_same_bits():
    images, labels = mnist().test_images[:1200], mnist().test_labels[:1200]
    network, model = models.build("quick", generator=np.random.default_rng(3)), models.get("quick")
    network(from_numpy(images[:100] / np.float32(255)))  # moves the running statistics away from 0 and 1
    surgery = explain.Surgery(network, model, images, labels)
    for neurons in ({0: [3]}, {2: range(30)}, {0: [1], 1: [2]}, {}):
        expected = evaluate(explain.silence(network, neurons), model, images, labels)
        assert np.array_equal(surgery.evaluate(neurons).probabilities, expected.probabilities)
    assert all(module.training for module in network.modules())


def test_images_of_another_size_are_evaluated_in_the_same_batches():
    random = np.random.default_rng(4)
    images, labels = random.integers(0, 256, (700, 36, 36), np.uint8), random.integers(0, 3, 700)
    network = nn.Sequential(
        nn.Unflatten(1, (1, 36)), nn.Conv2d(1, 2, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(128, 6),
        nn.Tanh(), nn.Linear(6, 3),
    )  # fmt: skip
    model = models.get("mlp")
    surgery = explain.Surgery(network, model, images, labels)
    for neurons in ({0: [1]}, {0: [0], 1: [2, 5]}, {1: [3]}, {}):
        found, expected = surgery.evaluate(neurons), evaluate(explain.silence(network, neurons), model, images, labels)
        assert found.loss == expected.loss
        assert np.array_equal(found.probabilities, expected.probabilities)


def test_rows_are_evaluated_in_batches_of_the_size_asked_for():
    sizes = []

    class Noted(nn.Identity):
        def forward(self, x):
            sizes.append(len(x))
            return x

    rows, labels = np.random.default_rng(5).random((7, 3), np.float32), np.arange(7) % 3
    result = evaluate_rows(Noted(), models.get("mlp"), rows, labels, 3)
    assert sizes == [3, 3, 1]
    assert result.predictions.tolist() == rows.argmax(1).tolist()


def test_labels_may_be_a_list_and_images_are_uint8():
    images, network, model = np.zeros((4, 28, 28), np.uint8), models.build("mlp"), models.get("mlp")
    expected = evaluate(network, model, images, np.array([0, 1, 2, 3])).loss
    assert explain.Surgery(network, model, images, [0, 1, 2, 3]).evaluate({}).loss == expected
    for wrong in (images / 255, images.astype(np.float32)):
        with pytest.raises(TypeError, match=f"Surgery: takes images as an array of uint8, not {wrong.dtype}"):
            explain.Surgery(network, model, wrong, [0, 1, 2, 3])
    with pytest.raises(TypeError, match="Surgery: takes images as an array of uint8, not list"):
        explain.Surgery(network, model, images.tolist(), [0, 1, 2, 3])
    with pytest.raises(ValueError, match="Surgery: there are no images"):
        explain.Surgery(network, model, images[:0], [])
    with pytest.raises(ValueError, match=r"Surgery: takes a label for each of 4 images, not \(3,\)"):
        explain.Surgery(network, model, images, [0, 1, 2])
    with pytest.raises(TypeError, match="Surgery: takes labels that are integers, not float64"):
        explain.Surgery(network, model, images, [0.0, 1.0, 2.0, 3.0])
