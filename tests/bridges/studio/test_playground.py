"""The playground trains as a plain NumPy loop does; its frames, its stop conditions and its script tell the same numbers."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chainrule import lessons, nn, optim
from chainrule.data import toys
from chainrule.errors import UserError
from chainrule.studio import playground as playground_package
from chainrule.studio.playground import Playground
from chainrule.studio.playground.choices import TRIES
from chainrule.studio.playground.frame import frame, grid
from chainrule.studio.playground.points import decode_points, encode_points, read_points
from chainrule.studio.playground.run import PlaygroundRun
from chainrule.studio.playground.setup import ACTIVATIONS as ACTIVATION_CLASSES
from chainrule.studio.playground.setup import DATA, FEATURES, MAX_STEPS, OPTIMIZERS, Setup, read_setup
from chainrule.studio.playground.stop import KINDS, read_stop

# A plain loop in float64, with its own derivatives

ACTIVATIONS = {
    "tanh": (np.tanh, lambda z, a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda z, a: (z > 0) * 1.0),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z, a: a * (1 - a)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z, a: np.where(z > 0, 1, 0.01)),
    "linear": (lambda z: z, lambda z, a: np.ones_like(z)),
}


def sgd(weight, gradient, state, rate, decay, momentum):
    gradient = gradient + decay * weight
    state["v"] = momentum * state["v"] + gradient if "v" in state else gradient
    return weight - rate * state["v"]


def adam(weight, gradient, state, rate, decay, _):
    gradient = gradient + decay * weight
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * gradient
    state["s"] = 0.999 * state.get("s", 0) + 0.001 * gradient**2
    return weight - rate * (state["m"] / (1 - 0.9**t)) / (np.sqrt(state["s"] / (1 - 0.999**t)) + 1e-8)


def plain_features(points, names):
    x, y = np.asarray(points, np.float64).T
    table = {
        "x1": x,
        "x2": y,
        "x1x1": x**2,
        "x2x2": y**2,
        "x1x2": x * y,
        "sin1": np.sin(np.pi * x),
        "sin2": np.sin(np.pi * y),
    }
    return np.stack([table[name] for name in names], axis=1)


class PlainLoop:
    """The same network, data order and steps, in plain NumPy."""

    def __init__(self, points, targets, setup):
        self.setup, self.targets = setup, targets
        self.x = plain_features(points, setup.features)
        order = toys_order(setup, len(points))
        self.train = order[: len(points) * setup.train // 100]
        self.validation = order[len(points) * setup.train // 100 :]
        self.rng = np.random.default_rng(setup.start)
        outputs = setup.classes if setup.classes > 2 else 1
        widths = [len(setup.features), *setup.layers, outputs]
        self.weights, self.states = [], []
        for fan_in, fan_out in itertools.pairwise(widths):
            bound = fan_in**-0.5
            self.weights.append(bound * (2 * self.rng.random((fan_out, fan_in)) - 1))
            self.weights.append(bound * (2 * self.rng.random(fan_out) - 1))
            self.states += [{}, {}]

    def forward(self, x):
        function, _ = ACTIVATIONS[self.setup.activation]
        values = [(x, x)]
        for number in range(0, len(self.weights), 2):
            z = values[-1][1] @ self.weights[number].T + self.weights[number + 1]
            is_last = number == len(self.weights) - 2
            values.append((z, z if is_last else function(z)))
        return values

    def loss(self, indices):
        """The mean loss, and its gradient by the outputs."""
        logits, targets = self.forward(self.x[indices])[-1][0], self.targets[indices]
        if self.setup.classes == 0:
            error = logits[:, 0] - targets
            return np.mean(error**2), 2 * error[:, None] / len(indices)
        if self.setup.classes == 2:
            sign = np.where(targets == 1, 1, -1)
            losses = np.log1p(np.exp(-sign * logits[:, 0]))
            return losses.mean(), ((1 / (1 + np.exp(-logits[:, 0])) - targets) / len(indices))[:, None]
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        hits = np.eye(self.setup.classes)[targets]
        return -np.log((shares * hits).sum(axis=1)).mean(), (shares - hits) / len(indices)

    def accuracy(self, indices):
        logits = self.forward(self.x[indices])[-1][0]
        guesses = logits.argmax(axis=1) if self.setup.classes > 2 else logits[:, 0] > 0
        return np.mean(guesses == self.targets[indices])

    def train_epochs(self, epochs, rule, momentum=0.0):
        _, slope = ACTIVATIONS[self.setup.activation]
        for _ in range(epochs):
            order = self.rng.permutation(self.train)
            for start in range(0, len(order), self.setup.batch):
                batch = order[start : start + self.setup.batch]
                values = self.forward(self.x[batch])
                delta = self.loss(batch)[1]
                gradients = [None] * len(self.weights)
                for number in reversed(range(0, len(self.weights), 2)):
                    below = values[number // 2]
                    gradients[number], gradients[number + 1] = delta.T @ below[1], delta.sum(axis=0)
                    if number:
                        delta = (delta @ self.weights[number]) * slope(*below)
                self.weights = [
                    rule(weight, gradient, state, self.setup.rate, self.setup.decay, momentum)
                    for weight, gradient, state in zip(self.weights, gradients, self.states, strict=True)
                ]


def toys_order(setup, count):
    """The order of the points for the split: what the generator gives after the data."""
    generator = np.random.default_rng(setup.seed)
    if setup.data not in ("points", "values"):
        classes = {"classes": setup.classes} if setup.data in ("circles", "spirals", "blobs") else {}
        getattr(toys, setup.data)(setup.count, **classes, noise=setup.noise, generator=generator)
    return generator.permutation(count)


SETUPS = {
    "circles, tanh, Adam": (Setup(decay=1e-3), adam, 0.0),
    "spirals of three, relu, momentum": (
        Setup(data="spirals", classes=3, count=90, layers=(8, 5), activation="relu", optimizer="momentum", seed=4, start=7),
        sgd, 0.9,
    ),
    "xor, sigmoid, SGD, a batch that is smaller": (
        Setup(data="xor", count=55, layers=(3,), activation="sigmoid", optimizer="sgd", rate=0.5, batch=10, decay=0.01),
        sgd, 0.0,
    ),
    "moons, all inputs, no hidden layer": (
        Setup(data="moons", count=60, layers=(), features=tuple(FEATURES), optimizer="sgd", rate=0.3), sgd, 0.0,
    ),
    "hills, leaky relu": (Setup(data="hills", classes=0, layers=(6, 6), activation="leaky_relu", batch=32), adam, 0.0),
    "blobs of four, linear": (Setup(data="blobs", classes=4, layers=(2,), activation="linear", noise=0.1), adam, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SETUPS)
def test_training_is_that_of_a_plain_loop(name):
    setup, rule, momentum = SETUPS[name]
    run = PlaygroundRun(setup)
    plain = PlainLoop(run.points, run.targets, setup)
    assert np.array_equal(run.train_indices, plain.train)
    losses = [(0, plain.loss(plain.train)[0], plain.loss(plain.validation)[0])]
    for epoch in range(1, 9):
        plain.train_epochs(1, rule, momentum)
        losses.append((epoch, plain.loss(plain.train)[0], plain.loss(plain.validation)[0]))
    run.train(8 * run.steps_per_epoch)
    assert np.array(run.history) == pytest.approx(np.array(losses), rel=2e-4)
    assert losses[-1][1] < losses[0][1]  # it learns at all
    ours = [parameter.numpy() for linear in run.linears for parameter in (linear.weight, linear.bias)]
    for own, expected in zip(ours, plain.weights, strict=True):
        assert own == pytest.approx(expected, rel=2e-3, abs=2e-5)
    evaluation = run.evaluate()
    if setup.classes:
        assert evaluation.train_accuracy == pytest.approx(plain.accuracy(plain.train), abs=1e-9)
        assert evaluation.validation_accuracy == pytest.approx(plain.accuracy(plain.validation), abs=1e-9)
    else:
        assert np.isnan(evaluation.train_accuracy)


# The page's messages


@pytest.fixture(scope="module")
def playground():
    return Playground()


def ask(playground, state=None, step=0, scene=False, page=1, **more):
    content = {"ask": "frame", "page": page, "state": state or {}, "step": step, "scene": scene, **more}
    return playground.answer(content, [])


def reach(playground, state, step, **more):
    """The frame at a step; each answer takes some steps."""
    for _ in range(2000):
        content, arrays = ask(playground, state, step, **more)
        if content.get("step") == step or content.get("stopped") or content.get("fault") or "error" in content:
            return content, arrays
    raise AssertionError(f"step {step} is not reached")


def test_the_same_start_gives_the_same_bits(playground):
    state = {"data": "spirals", "layers": "5-4", "activation": "gelu"}
    first = reach(playground, state, 137)
    assert first[0]["step"] == 137
    assert first[0]["epoch"] == 13
    for _ in range(3):
        assert ask(playground, state, 137) == first
    ask(playground, state, 3)  # back: it begins again
    assert reach(playground, state, 137) == first
    content, arrays = reach(Playground(), {**state, "noise": "0.05", "seed": 0}, 137, page=9)  # defaults, and text
    assert ({**content, "page": 1}, arrays) == first
    for other in ({"seed": 1}, {"start": 1}, {"rate": 0.02}, {"train": 70}, {"activation": "elu"}):
        assert reach(playground, {**state, **other}, 137)[1] != first[1]


def test_a_frame_is_what_the_network_says(playground):
    state = {"data": "moons", "layers": "3-2", "features": "x1-x2-x1x2"}
    content, arrays = reach(playground, state, 200, scene=True)
    weights, answer, neurons, peaks, curves, points, is_training, inputs = arrays
    run = PlaygroundRun(read_setup(state))
    run.train(200)
    plain = PlainLoop(run.points, run.targets, run.setup)
    plain.weights = [p.numpy().astype(np.float64) for linear in run.linears for p in (linear.weight, linear.bias)]
    assert np.array_equal(np.frombuffer(weights, np.float32), np.concatenate([w.ravel() for w in plain.weights]))
    # The pixel in row r and column c: from the top left corner, (-1.2, 1.2)
    rows, columns = np.divmod(np.arange(64 * 64), 64)
    at = np.stack([-1.2 + 2.4 * (columns + 0.5) / 64, 1.2 - 2.4 * (rows + 0.5) / 64], axis=1)
    values = plain.forward(plain_features(at, run.setup.features))
    shares = 255 / (1 + np.exp(-values[-1][1][:, 0]))
    assert np.frombuffer(answer, np.uint8) == pytest.approx(shares, abs=0.51)
    expected = np.concatenate([values[1][1].T, values[2][1].T, values[3][1].T])
    assert np.frombuffer(peaks, np.float32) == pytest.approx(np.abs(expected).max(axis=1), rel=1e-4)
    small = expected.reshape(6, 64, 64)[:, 1::2, 1::2] / np.abs(expected).max(axis=1)[:, None, None]
    assert np.frombuffer(neurons, np.uint8).reshape(6, 32, 32) == pytest.approx(128 + 127 * small, abs=0.52)
    assert np.frombuffer(curves, np.float32).reshape(-1, 3) == pytest.approx(np.array(run.history), rel=1e-6)
    shown = np.frombuffer(points, np.float32).reshape(-1, 3)
    assert np.array_equal(shown[:, :2], run.points)
    assert np.array_equal(shown[:, 2], run.targets)
    assert np.flatnonzero(np.frombuffer(is_training, np.uint8)).tolist() == sorted(run.train_indices.tolist())
    product = at[:, 0] * at[:, 1]
    scaled = product.reshape(64, 64)[1::2, 1::2] / np.abs(product).max()
    assert np.frombuffer(inputs, np.uint8).reshape(7, 32, 32)[4] == pytest.approx(128 + 127 * scaled, abs=0.51)
    assert content["train_loss"] == run.evaluate().train_loss
    assert content["scene"]["weights"] == 3 * 3 + 3 + 3 * 2 + 2 + 2 + 1


def test_classes_and_values_have_planes_of_their_own(playground):
    _, (_, planes, *_) = reach(playground, {"data": "blobs", "classes": 4}, 300)
    shares = np.frombuffer(planes, np.uint8).reshape(4, -1).astype(int)
    assert np.abs(shares.sum(axis=0) - 255).max() <= 2
    assert (shares.max(axis=1) > 250).all()
    content, (_, plane, *_) = reach(playground, {"data": "plane"}, 1000)
    assert content["train_accuracy"] is None
    corner = np.frombuffer(plane, np.uint8).reshape(64, 64)
    assert corner[0, -1] > 230  # x₁ and x₂ are large
    assert corner[-1, 0] < 25


def test_frames_are_small_and_fast():
    playground = Playground()
    largest = {
        "data": "spirals", "classes": 4, "count": 1000, "layers": "8-8-8-8-8-8", "features": "-".join(FEATURES),
    }  # fmt: skip
    ask(playground, largest, 1, scene=True)  # compiles
    _, arrays = ask(playground, largest, 10**6, scene=True, play=True)
    assert sum(map(len, arrays)) <= 100_000
    times = []
    for _ in range(15):
        start = time.process_time()  # others may be busy, too
        _, arrays = ask(playground, largest, 10**6, play=True)
        times.append(time.process_time() - start)
    assert sum(map(len, arrays)) <= 100_000
    assert min(times) < 0.05  # 20 frames a second


def test_a_long_curve_is_thinned():
    playground, state = Playground(), {"count": 4, "batch": 0, "layers": "1"}
    content, arrays = reach(playground, state, 1700)
    curve = np.frombuffer(arrays[4], np.float32).reshape(-1, 3)
    assert content["epoch"] == 1700
    assert curve[:, 0].tolist() == [*range(0, 1697, 8), 1700]


# Stopping


@pytest.mark.parametrize(
    ("stop", "sentence"),
    [
        ("epochs-7", r"Stopped after epoch 7\."),
        ("loss-0.3", r"Stopped after epoch \d+: the training loss is 0\.\d{4}\."),
        ("accuracy-90", r"Stopped after epoch \d+: the validation accuracy is \d+\.\d%\."),
    ],
)
def test_a_run_stops_at_the_first_epoch_that_fulfills_its_condition(playground, stop, sentence):
    state = {"data": "moons", "stop": stop, "rate": 0.01}
    content, _ = reach(playground, state, 100_000, play=True)
    assert re.fullmatch(sentence, content["stopped"])
    run = PlaygroundRun(read_setup({"data": "moons", "rate": 0.01}))
    run.train(content["step"] - 1)
    value = float(stop.split("-")[1])
    fulfilled = []
    for _ in range(2):
        evaluation = run.evaluate()
        fulfilled.append(
            {
                "epochs": run.steps / 10 >= value,
                "loss": run.steps % 10 == 0 and evaluation.train_loss <= value,
                "accuracy": run.steps % 10 == 0 and 100 * evaluation.validation_accuracy >= value,
            }[stop.split("-")[0]]
        )
        run.train(run.steps + 1)
    assert fulfilled == [False, True]
    kind = {"epochs": 0, "loss": 1}.get(stop.split("-")[0])
    if kind:  # no earlier epoch fulfilled it
        assert min(row[kind] for row in run.history[:-1]) > value
    assert ask(playground, state, 100_000, play=True)[0]["step"] == content["step"]  # it stays stopped
    further, _ = ask(playground, state, content["step"] + 1)  # but one step can be taken
    assert further["step"] == content["step"] + 1
    assert further["stopped"] is None


def test_without_validation_the_training_accuracy_counts(playground):
    content, _ = reach(playground, {"data": "blobs", "train": 100, "stop": "accuracy-100"}, 10**5, play=True)
    assert re.fullmatch(r"Stopped after epoch \d+: the training accuracy is 100\.0%\.", content["stopped"])
    assert content["validation_loss"] is None
    assert content["validation_accuracy"] is None


# Numbers that break


def test_nan_names_the_step_and_the_layer_and_leaves_the_step_before(playground):
    state = {"data": "hills", "activation": "linear", "layers": "4-4", "optimizer": "sgd", "rate": 20, "batch": 0}
    content, arrays = reach(playground, state, 10_000, play=True)
    step = content["step"] + 1
    assert content["fault"].startswith(f"In step {step} ")
    layers = ["layer 1", "layer 2", "the output layer"]
    assert f" of {layers[content['fault_layer'] - 1]} " in content["fault"]
    assert content["fault"].endswith("Try a smaller learning rate than 20, such as 2.")
    assert np.isfinite(np.frombuffer(arrays[0], np.float32)).all()
    assert content["train_loss"] is None or np.isfinite(content["train_loss"])
    # A plain loop in float32 breaks there, too
    setup = read_setup(state)
    run = PlaygroundRun(setup)
    plain = PlainLoop(run.points, run.targets, setup)
    plain.setup = Setup(**{**vars(setup), "batch": 1000})
    plain.x, plain.targets = plain.x.astype(np.float32), run.targets.astype(np.float32)
    plain.weights = [weight.astype(np.float32) for weight in plain.weights]
    broken = 0
    with np.errstate(all="ignore"):
        while np.isfinite(plain.loss(plain.train)[0]):
            plain.train_epochs(1, lambda w, g, *_: w - np.float32(20) * g)
            broken += 1
    assert abs(broken - step) <= 1
    again, _ = ask(playground, state, 10_000, play=True)
    assert (again["step"], again["fault"]) == (content["step"], content["fault"])
    before, _ = reach(playground, state, content["step"] - 1)  # the steps before can still be seen
    assert before["fault"] is None
    assert reach(playground, state, content["step"])[0]["train_loss"] == content["train_loss"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("state", [{}, {"classes": 3}, {"data": "hills"}], ids=["two classes", "three", "values"])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_a_frame_shows_answers_that_are_no_numbers(state, activation):
    run = PlaygroundRun(read_setup({**state, "activation": activation, "layers": "3"}))
    for weight, sign in ((run.linears[0].weight, 1), (run.linears[1].weight, -1)):
        nn.init.constant_(weight, sign * 3e38)  # the sum of two is infinite, and with the other sign NaN
    _, arrays = frame(run)
    outputs = run.outputs(grid())
    assert np.isinf(outputs[0]).any()
    peaks = np.frombuffer(arrays[3], np.float32)
    assert np.isfinite(peaks).all()
    first = np.frombuffer(arrays[2], np.uint8)[: 32 * 32].reshape(32, 32)
    assert first[0, -1] == 255  # x₁ and x₂ are large
    assert len(arrays[1]) == 64 * 64 * run.setup.outputs


def test_silent_neurons_are_named(playground):
    content, _ = reach(
        playground, {"activation": "relu", "layers": "8-8", "rate": 5, "optimizer": "sgd"}, 300, play=True
    )
    run = PlaygroundRun(read_setup({"activation": "relu", "layers": "8-8", "rate": 5, "optimizer": "sgd"}))
    run.train(content["step"])
    plain = PlainLoop(run.points, run.targets, run.setup)
    plain.weights = [p.numpy().astype(np.float64) for linear in run.linears for p in (linear.weight, linear.bias)]
    values = plain.forward(plain.x[plain.train])
    hidden = np.concatenate([values[1][1], values[2][1]], axis=1)
    assert content["silent"] == np.flatnonzero((hidden == 0).all(axis=0)).tolist()
    assert content["silent"], "choose settings with which some neurons die"


# Own points


def test_own_points_survive_the_address():
    points = np.array([[-1.2, 1.2], [0.12344, -0.00004], [1.0, 0.5]])
    text = encode_points(points, np.array([0, 2, 1]), 3)
    assert len(text) == 21
    back, labels = decode_points(text, 3)
    assert back == pytest.approx(points, abs=5.1e-5)
    assert labels.tolist() == [0, 2, 1]
    back, values = decode_points(encode_points(points, np.array([-1.0, 0.25, 1.2]), 0), 0)
    assert back == pytest.approx(points, abs=5.1e-5)
    assert values == pytest.approx([-1, 0.25, 1.2], abs=5.1e-5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "click into the picture to set points: the network needs two at least"),
        ("9hc9hc0", "click into the picture to set points: the network needs two at least"),
        ("9hc9hc09hc9hc", "the points in this address are damaged"),
        ("9hc9hc09hc9hc!", "the points in this address are damaged"),
        ("9hc9hc09hc9hcZ", "the points in this address are damaged"),
        ("9hc9hc09hc9hc٣", "the points in this address are damaged"),
        ("9hc9hc09hc9hc2", "a point is of class 3, but there are 2 classes"),
        ("9hc9hc0zzz9hc1", "a point is outside of the picture, which goes from -1.2 to 1.2"),
        ("9hc9hc0" * 801, "801 points are too many: 800 at most"),
    ],
)
def test_points_that_are_none(playground, text, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        decode_points(text, 2)
    content, arrays = ask(playground, {"data": "points", "own": text})
    assert content["error"].startswith(sentence)
    assert arrays == []


CSV = b"name,width,height,kind\na,10,200,oak\nb,20,100,elm\nc,15,125,oak\n"


def test_a_csv_file_becomes_points(playground):
    content, _ = playground.answer({"ask": "csv", "name": "trees.csv"}, [CSV])
    assert content["classes"] == 2
    assert content["about"] == (
        "3 points from trees.csv: x₁ is width, x₂ is height; elm is class 1, oak is class 2. "
        "width from 10 to 20 is scaled to -1 to 1. height from 100 to 200 is scaled to -1 to 1."
    )
    points, labels = decode_points(content["own"], 2)
    assert points == pytest.approx(np.array([[-1, 1], [1, -1], [0, -0.5]]), abs=1e-6)
    assert labels.tolist() == [1, 0, 1]
    shown, _ = reach(playground, {"data": "points", "own": content["own"], "train": 100}, 5)
    assert shown["step"] == 5


def test_other_tables():
    text, classes, about = read_points("t", b"0.5;-1;7\r\n0,25;1;9\r\n", 4)  # decimal commas, no names
    assert (classes, about) == (2, "2 points from t: x₁ is column 1, x₂ is column 2; 7 is class 1, 9 is class 2.")
    assert decode_points(text, 2)[0] == pytest.approx(np.array([[0.5, -1], [0.25, 1]]))
    rows = b"".join(b"%d,%g,%g,%g\n" % (i, i / 10, -i / 10, i * 3) for i in range(9))
    text, classes, about = read_points("t", b"id,a,b,y\n" + rows, 4)
    assert classes == 0
    assert about == "9 points from t: x₁ is a, x₂ is b; the value is y. y from 0 to 24 is scaled to -1 to 1."
    points, values = decode_points(text, 0)
    assert values == pytest.approx(np.arange(9) / 4 - 1, abs=1e-4)
    assert points[:, 1] == pytest.approx(-np.arange(9) / 10, abs=1e-4)
    text, _, about = read_points("t", b"a,b,c\n5,2,x\n5,5,y\n", 4)
    assert "a is 5 everywhere, and is shown as 0. b from 2 to 5 is scaled to -1 to 1." in about
    assert decode_points(text, 2)[0] == pytest.approx(np.array([[0, -1], [0, 1]]), abs=1e-4)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "t.csv is empty"),
        (b"a,b\n1,2\n", "t.csv needs two columns of numbers, and a last column with the class or the value; its columns are a, b"),
        (b"a,b,c\nx,y,1\nz,1,2\n", "t.csv needs two columns of numbers"),
        (b"a,b,c\n1,2,3\n", "t.csv has one row; the network needs two points at least"),
        (b"a,b,c\n1,,3\n1,2,4\n", "t.csv, line 2: b is missing; leave out rows with gaps"),
        (b"a,b,c\n1,2,\n1,2,4\n", "t.csv, line 2: c is missing; leave out rows with gaps"),
        (b"a,b,c\n1,inf,3\n1,2,4\n", "t.csv, line 2: b is inf, which is infinite"),
        (b"a,b,c\n1,2\n", "t.csv, line 2: has 2 fields, but the first line names 3 columns"),
        (b"a,b,c\n" + b"".join(b"1,2,%c\n" % c for c in b"pqrst"), "t.csv: the last column, c, has 5 classes: p, q, r, s, t"),
        (b"a,b,c\n" + b"1,2,3\n" * 801, "t.csv has 801 rows; the playground takes 800 at most"),
        (b"\xff\xfe\0", "t.csv"),
        (b"\x89PNG\r\n\x1a\n\0\0", "t.csv is not text"),
        ("é,b,c\n1,2,3\n".encode("latin-1"), "t.csv, line 1: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"1,2,3\n1,,3\n", "t.csv, line 2: column 2 is missing; leave out rows with gaps"),
        (b"1,2,3\n1,2\n", "t.csv, line 2: has 2 fields"),
        (b"1" * 1_000_001, "1,000,001 bytes are too many for the playground: 1,000,000 at most"),
    ],
)  # fmt: skip
def test_tables_that_are_none(playground, content, sentence):
    answer, arrays = playground.answer({"ask": "csv", "name": "t.csv"}, [content])
    assert answer["error"].startswith(sentence), answer
    assert arrays == []


# The script


@pytest.mark.parametrize(
    ("state", "step"),
    [
        ({"data": "spirals", "classes": 3, "layers": "5", "features": "x1-x2-sin1", "activation": "leaky_relu"}, 43),
        ({"data": "values", "own": "9hc9hc9hc006006006fffaaabbb", "layers": "", "optimizer": "momentum", "train": 70}, 9),
        ({"data": "moons", "train": 100, "batch": 0, "activation": "linear", "decay": 0.01, "optimizer": "adamw"}, 20),
    ],
)  # fmt: skip
def test_the_script_prints_the_same_numbers(playground, tmp_path, state, step):
    code = playground.answer({"ask": "code", "page": 1, "state": state, "step": step}, [])[0]["code"]
    (tmp_path / "play.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "play.py"], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    content, arrays = reach(playground, state, step)
    lines = dict(line.split(": ") if ": " in line else line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert lines["training loss"] == f"{content['train_loss']:.4f}"
    if content["validation_loss"] is not None:
        assert lines["validation loss"] == f"{content['validation_loss']:.4f}"
    if content["train_accuracy"] is not None:
        assert lines["training accuracy"] == f"{content['train_accuracy']:.1%}"
    first = np.array(eval(lines["weights of the first layer"])).ravel()  # noqa: S307  # our own script's numbers
    assert first == pytest.approx(np.frombuffer(arrays[0], np.float32)[: first.size], abs=5.1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_scripts_optimizer_is_the_pages(playground, optimizer):
    """No weight decay, too: AdamW's own default is another one."""
    state = {"optimizer": optimizer, "decay": 0}
    code = playground.answer({"ask": "code", "page": 1, "state": state, "step": 0}, [])[0]["code"]
    (line,) = re.findall("^optimizer = .*$", code, re.MULTILINE)
    run = PlaygroundRun(read_setup(state))
    names = {"optim": optim, "model": run.model}
    exec(line, names)  # noqa: S102  # our own script's line
    theirs, ours = (dict(each.param_groups[0], params=None) for each in (names["optimizer"], run.optimizer))
    assert theirs == ours
    assert type(names["optimizer"]) is type(run.optimizer)


def test_a_feature_is_the_same_in_the_script():
    x1, x2 = np.random.default_rng(0).uniform(-1, 1, (2, 20)).astype(np.float32)
    for feature in FEATURES.values():
        assert np.array_equal(eval(feature.code), feature.function(x1, x2))  # noqa: S307  # the table's own code


# What is forged


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"data": "digits"}, "data is 'digits'; choose from circles, spirals, xor, moons, blobs, points, plane"),
        ({"data": 3}, "data is 3; choose from circles"),
        ({"data": ["circles"]}, "data is ['circles']; choose from circles"),
        ({"data": "moons", "classes": 3}, "moons has two classes, not 3"),
        ({"classes": 5}, "classes must be a whole number from 2 to 4, not 5"),
        ({"count": 1}, "count must be a whole number from 2 to 1,000, not 1"),
        ({"count": 2.5}, "count must be a whole number from 2 to 1,000, not 2.5"),
        ({"count": True}, "count must be a whole number from 2 to 1,000, not True"),
        ({"noise": float("nan")}, "noise must be a number from 0 to 1, not nan"),
        ({"noise": -0.1}, "noise must be a number from 0 to 1, not -0.1"),
        ({"noise": "much"}, "noise must be a number from 0 to 1, not 'much'"),
        ({"seed": 10**400}, "seed must be a whole number from 0 to 2,147,483,648, not 1000"),
        ({"start": -1}, "start must be a whole number from 0"),
        ({"train": 0}, "train must be a whole number from 1 to 100, not 0"),
        ({"features": ""}, "the network has no inputs; choose from x1, x2, x1x1"),
        ({"features": "x1-x3"}, "there is no input 'x3'; choose from x1, x2"),
        ({"features": 7}, "the network has no inputs"),
        ({"features": [["x1"]]}, "there is no input ['x1']; choose from x1, x2"),
        ({"layers": [[1]]}, "the number of neurons in a layer must be a whole number from 1 to 8, not [1]"),
        ({"layers": "4-0"}, "the number of neurons in a layer must be a whole number from 1 to 8, not '0'"),
        ({"layers": "4--2"}, "the number of neurons in a layer must be a whole number from 1 to 8, not ''"),
        ({"layers": "1-1-1-1-1-1-1"}, "a network has at most 6 hidden layers here, not 7"),
        ({"layers": {}}, "the number of neurons in a layer must be a whole number from 1 to 8, not {}"),
        ({"activation": "step"}, "activation is 'step'; choose from tanh, relu, sigmoid"),
        ({"optimizer": "__class__"}, "optimizer is '__class__'; choose from adam, sgd"),
        ({"rate": float("inf")}, "rate must be a number from 0 to 1,000,000, not inf"),
        ({"rate": None}, "rate must be a number from 0 to 1,000,000, not None"),
        ({"batch": -1}, "batch must be a whole number from 0 to 1,000, not -1"),
        ({"stop": "tomorrow"}, "stop is 'tomorrow', which is no condition; examples are epochs-300"),
        ({"stop": "epochs-nan"}, "stop is 'epochs-nan', which is no condition"),
        ({"stop": 7}, "stop is 7, which is no condition"),
        ({"stop": "accuracy-101"}, "an accuracy of 101% cannot be reached: 100 at most"),
        ({"data": "hills", "stop": "accuracy-9"}, "hills has values, not classes, so there is no accuracy to stop at"),
        ({"own": 5}, "own must be text, not 5"),
        ({"folder": "/etc"}, "the playground has no setting 'folder'"),
    ],
)
def test_a_forged_state_gets_a_sentence(playground, state, sentence):
    content, arrays = ask(playground, state)
    assert content["error"].startswith(sentence)
    assert arrays == []


def test_forged_messages(playground):
    good = {"ask": "frame", "page": 1, "state": {}, "step": 0, "scene": False}
    assert playground.answer(good, [])[0]["tell"] == "frame"
    for name, value in (("page", "1"), ("state", []), ("step", 0.5), ("scene", 1), ("ask", "frames"), ("ask", None)):
        assert playground.answer({**good, name: value}, []) is None
    assert playground.answer(good, [b""]) is None
    for step in (-1, MAX_STEPS + 1, 10**30):
        content, _ = playground.answer({**good, "step": step}, [])
        assert content["error"].startswith("step must be a whole number from 0 to 1,000,000, not ")


def test_runs_are_few_and_pages_do_not_share_them():
    playground = Playground()
    first = reach(playground, {}, 50, page=1)
    assert ask(playground, {}, 0, page=2)[0]["step"] == 0
    assert ask(playground, {}, 50, page=1) == first
    for seed in range(20):
        ask(playground, {"seed": seed}, 0, page=3)
    assert len(playground._runs) <= 8
    assert reach(playground, {}, 50, page=1) == first  # repeated from its start
    playground.close()
    assert not playground._runs


def test_read_stop_of_nothing():
    assert read_stop("", Setup()) is None


# What the page repeats


def test_the_page_offers_what_there_is():
    told, _ = Playground().answer({"ask": "choices"}, [])
    assert list(told["data"]) == list(DATA)
    assert told["data"]["circles"] == "Circles"
    assert told["features"] == {name: feature.symbol for name, feature in FEATURES.items()}
    assert told["activations"] == list(ACTIVATION_CLASSES)
    assert told["optimizers"] == list(OPTIMIZERS)
    assert list(told["stops"]) == list(KINDS)
    for kind, (_, number) in told["stops"].items():
        assert read_stop(f"{kind}-{number}", Setup())
    assert json.loads(json.dumps(told))["tries"] == [list(each) for each in TRIES]
    folder = Path(playground_package.__file__).parent.parent / "static" / "views"
    text, page = ((folder / name).read_text("utf-8") for name in ("playground_choices.js", "playground_page.js"))
    keys = {lesson for _, lesson, _ in TRIES} | set(re.findall(r'\[[A-Z]+, "([a-z-]+)"\]', page))
    assert len(keys) >= 7
    assert keys <= {lesson.key for lesson in lessons.available()}
    defaults = re.search(r"export const defaults = {(.*?)};", text, re.DOTALL)[1]
    values = {key: json.loads(value) for key, value in re.findall(r'(\w+): ("[^"]*"|[\d.]+)', defaults)}
    assert (
        read_setup({key: value for key, value in values.items() if key not in ("stop", "step", "speed", "large")})
        == Setup()
    )


def test_what_the_page_proposes_to_try_is_as_it_says():
    runs = [PlaygroundRun(read_setup(settings)) for *_, settings in TRIES]
    for run in runs:
        run.train(100 * run.steps_per_epoch)
    squares, no_layer, spirals, three, sigmoids, dead, large_rate, few_points = runs
    assert squares.evaluate().validation_accuracy > 0.95
    assert no_layer.evaluate().train_accuracy < 0.75
    assert spirals.evaluate().train_accuracy > 0.95
    assert three.evaluate().train_accuracy > 0.9
    assert sigmoids.evaluate().train_loss > 0.69  # ln 2 is what guessing costs
    assert any((answer == 0).all(axis=0).any() for answer in dead.outputs(dead.points)[:-1])
    assert large_rate.fault
    assert all(run.fault is None for run in runs if run is not large_rate)
    assert few_points.evaluate().train_accuracy == 1
    assert few_points.evaluate().validation_loss > 3 * few_points.evaluate().train_loss
