"""The view Microscope tells numbers that plain NumPy finds from the run's files, and prints them as a program."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the studio's libraries are not installed: pip install '.[studio]'")

from tests.explain import reference
from tests.explain.saved import plain_layers, read_weights, save_run

from chainrule.data import mnist
from chainrule.errors import UserError
from chainrule.studio.microscope.view import Microscope
from chainrule.studio.shelf import Shelf
from chainrule.studio.wire import pack
from chainrule.training import run as runs

from .test_drawing import drawn, png

IMAGE = 6
NAMES = ["mlp", "sigmoid_mlp", "cnn"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio") / "runs"
    for name in NAMES:
        save_run(folder / name, name)
    return folder


@pytest.fixture(scope="module")
def microscope(folder):
    return Microscope(Shelf(folder))


def question(**changes):
    usual = {"ask": "look", "run": "mlp", "image": IMAGE, "label": -1, "number": 3}
    return usual | {"weight": "", "at": [], "layer": "", "unit": []} | changes


def look(microscope, picture=None, **changes):
    told, buffers = microscope.answer(question(**changes), [] if picture is None else [picture])
    pack(told, buffers)  # it can be sent
    assert (told["tell"], told["number"]) == ("look", 3)
    arrays = iter(buffers)

    def factors():
        values = np.frombuffer(next(arrays))
        return values, np.frombuffer(next(arrays), np.int32).reshape(len(values), -1)

    told["pixels"], told["weights"] = np.frombuffer(next(arrays)), np.frombuffer(next(arrays))
    told["deltas"], told["activations"] = factors(), factors()
    for way in (told["unit"] or {"ways": []})["ways"]:
        if way["count"]:
            way["weights"], way["deltas"] = factors(), factors()
    assert next(arrays, None) is None
    return told


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_told_is_what_plain_numpy_finds(microscope, folder, name):
    weights = read_weights(folder / name / "model.safetensors")
    layers = plain_layers(name, weights)
    pixels, label = mnist().test_images[IMAGE] / 255, int(mnist().test_labels[IMAGE])
    values = reference.forward(layers, pixels)
    loss = reference.squared_error if name == "sigmoid_mlp" else reference.cross_entropy
    cost, gradient = loss(values[-1], label)
    slopes, gradients = reference.backward(layers, values, gradient)
    random = np.random.default_rng(len(name))
    names = list(weights)
    for number in range(12):
        key = names[number % len(names)]
        at = [int(random.integers(size)) for size in weights[key].shape]
        told = look(microscope, run=name, weight=key, at=at)
        position = int(key.partition(".")[0])
        expected = gradients[position][key.endswith("bias")][tuple(at)]
        close(told["cost"], cost)
        close(told["weight"]["value"], weights[key][tuple(at)])
        close([told["weight"]["gradient"], told["weight"]["sum"]], [expected] * 2)
        close(told["deltas"][0] @ told["activations"][0], expected)
        close(told["deltas"][0], slopes[position + 1][tuple(told["deltas"][1].T)])
        unit = told["unit"]
        if unit is None:
            assert not len(told["deltas"][0])
            continue
        close(unit["delta"], slopes[position + 1][tuple(unit["index"])])
        close(unit["z"], values[position + 1][tuple(unit["index"])])
        close(unit["sum"], unit["delta"])
        for way in unit["ways"]:
            if way["count"]:
                following = int(unit["next"])
                close(way["weights"][0], layers[following][1][tuple(way["weights"][1].T)])
                close(way["deltas"][0], slopes[following + 1][tuple(way["deltas"][1].T)])
        np.testing.assert_allclose(told["weight"]["difference"]["slope"], expected, rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(told["pixels"].reshape(28, 28), mnist().test_images[IMAGE])
    assert told["says"] == np.argmax(values[-1])


def test_it_begins_with_the_right_class_and_the_largest_activation(microscope, folder):
    told = look(microscope)
    hidden = reference.forward(plain_layers("mlp", read_weights(folder / "mlp" / "model.safetensors"))[:3],
                               mnist().test_images[IMAGE] / 255)[-1]  # fmt: skip
    label = int(mnist().test_labels[IMAGE])
    assert (told["weight"]["name"], told["weight"]["index"]) == ("3.weight", (label, int(hidden.argmax())))
    assert (told["unit"]["layer"], told["unit"]["index"], told["unit"]["equation"]) == ("3", (label,), 1)
    assert told["weight"]["origin"] == {"layer": "1", "index": (int(hidden.argmax()),)}
    assert told["image"] == {"shape": (28, 28), "number": IMAGE, "count": 10_000, "target": label, "isAssumed": False}


def test_another_answer_may_be_the_right_one(microscope):
    one, other = look(microscope), look(microscope, label=2)
    assert other["image"]["target"] == 2
    assert other["cost"] != one["cost"]


def test_operations_have_pictures(microscope):
    told = look(microscope, run="cnn")
    for number, each in enumerate(told["operations"]):
        asked = question(ask="operation", run="cnn", operation=number)
        answer, (value, gradient) = microscope.answer(asked, [])
        assert (answer["tell"], answer["operation"]) == ("operation", number)
        count = min(int(np.prod(each["shape"])), int(np.prod(answer["shape"])))
        assert len(value) == len(gradient) == 4 * count
        values = np.frombuffer(value, np.float32)
        assert values.min() >= np.float32(each["value"][0])
        assert values.max() <= np.float32(each["value"][1])
    assert told["operations"][1]["name"] == "convolution"
    assert told["operations"][1]["inputs"] == (0, "1.weight")


def test_a_drawing_is_read_as_predict_reads_it(microscope):
    picture = png(drawn(105))
    told = look(microscope, picture, image=-1)
    assert told["image"]["target"] == told["says"]  # until a class is chosen
    assert told["image"]["isAssumed"]
    chosen = look(microscope, picture, image=-1, label=4)["image"]
    assert (chosen["target"], chosen["isAssumed"]) == (4, False)
    assert (told["pixels"] > 0).any()
    for buffers, message in (([], "nothing is drawn yet"), ([b"no picture"], "the drawing")):
        with pytest.raises(UserError, match=message):
            microscope.answer(question(image=-1), buffers)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight": "1.weight", "at": [3, 402]}, []),
        ({"run": "cnn", "weight": "4.weight", "at": [60, 3, 1, 4], "layer": "1", "unit": [3, 10, 11]}, []),
        ({"run": "untrained/sigmoid_mlp", "image": 12, "weight": "1.bias", "at": [7], "label": 2}, ["models.build"]),
    ],
)
def test_copied_as_code_it_prints_the_same_numbers(microscope, tmp_path, changes, words):
    told = look(microscope, **changes)
    assert all(word in told["code"] for word in words)
    done = subprocess.run(
        [sys.executable, "-c", told["code"]], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    weight, unit = told["weight"], told["unit"]
    lines = done.stdout.splitlines()
    terms = [[float(part) for part in line[7:].split(" * ")] for line in lines if line.startswith("  term")]
    np.testing.assert_array_equal(np.array(terms).T, [told["deltas"][0], told["activations"][0]])
    assert [line for line in lines if not line.startswith("  ")] == [
        f"cost {told['cost']}",
        f"weight {weight['value']}",
        f"gradient {weight['gradient']} by the equation {weight['sum']}",
        f"delta {unit['delta']} by the equation {unit['sum']}",
        f"finite difference {weight['difference']['slope']} off by {weight['difference']['off']}",
        f"after one step {weight['update']['after']}",
    ]


def test_a_copied_program_for_a_drawing_reads_the_saved_picture(microscope, tmp_path):
    picture = png(drawn(105))
    told = look(microscope, picture, image=-1)
    (tmp_path / "drawing.png").write_bytes(picture)
    done = subprocess.run(
        [sys.executable, "-c", told["code"]], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.stdout.splitlines()[0] == f"cost {told['cost']}", done.stderr


def test_the_update_is_that_of_the_runs_optimizer(microscope):
    told = look(microscope, run="sigmoid_mlp", weight="1.weight", at=[4, 400])
    weight = told["weight"]
    assert (weight["update"]["optimizer"], weight["update"]["rate"]) == ("SGD", 3.0)
    close(weight["update"]["after"], weight["value"] - 3.0 * weight["gradient"])
    assert "←" in weight["update"]["rule"]


def test_muon_has_two_rules(microscope, folder):
    run = save_run(folder / "muon", "mlp")
    run.config["training"] |= {"optimizer": "muon", "momentum": 0.95}
    run.config_file.write_text(json.dumps(run.config))
    for weight, at, name in (("3.weight", [1, 2], "Muon"), ("3.bias", [1], "AdamW")):
        update = look(microscope, run="muon", weight=weight, at=at)["weight"]["update"]
        assert update["optimizer"] == name
        assert "←" in update["rule"]


def test_changed_weights_are_seen(folder):
    run = save_run(folder / "changing", "mlp")
    microscope = Microscope(Shelf(folder))
    first = look(microscope, run="changing", weight="3.bias", at=[0])["weight"]["value"]
    weights = dict(run.load_network().state_dict())
    weights["3.bias"].add_(1.0)
    runs.safetensors_io.save(weights, run.weights_file)
    close(look(microscope, run="changing", weight="3.bias", at=[0])["weight"]["value"], first + 1)


def test_networks(microscope, folder):
    told, _ = microscope.answer({"ask": "networks"}, [])
    assert {*NAMES, "shipped", "untrained/mlp", "untrained/cnn"} <= set(told["names"])
    assert not {"untrained/gpt", "untrained/digit_detector"} & set(told["names"])
    assert told["chosen"] == "shipped"
    assert look(microscope, run="")["network"]["name"] == "shipped"
    assert look(microscope, run="")["network"]["classes"][-1] == "none"


def test_texts_are_kept(microscope):
    told, _ = microscope.answer({"ask": "keep", "text": "1.2.3"}, [])
    assert microscope.answer({"ask": "kept", "key": told["key"]}, []) == ({"tell": "strokes", "text": "1.2.3"}, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": "nobody"}, "there is no run of this name"),
        ({"run": "../mlp"}, "there is no run of this name"),
        ({"run": "untrained/gpt"}, "there is no image model of this name; choose from mlp, "),
        ({"run": "words"}, "words: gpt reads text; the microscope is for networks of images"),
        ({"run": "empty"}, "the first epoch is not complete"),
        ({"run": "broken"}, "holds values that are not finite"),
        ({"image": 10_000}, "there is no image 10,000: they are numbered from 0 to 9,999"),
        ({"image": -2}, "there is no image -2"),
        ({"image": 10**40}, "there is no image 10,000,"),
        ({"label": 10}, "there is no class 10: they are numbered from 0 to 9"),
        ({"label": -2}, "there is no class -2"),
        ({"weight": "3.mass", "at": [0]}, "there is no parameter '3.mass'"),
        ({"weight": "3.weight", "at": [0]}, r"3.weight has shape \(10, 128\), and no index \(0,\)"),
        ({"weight": "3.weight", "at": [0, 128]}, r"and no index \(0, 128\)"),
        ({"weight": "3.weight", "at": [0, True]}, "an index is a list of integers"),
        ({"weight": "3.weight", "at": [0, "1"]}, "an index is a list of integers"),
        ({"weight": "3.weight", "at": [0, 1.0]}, "an index is a list of integers"),
        ({"weight": "3.weight", "at": [0, None]}, "an index is a list of integers"),
        ({"weight": "3.weight", "at": [0, 10**30]}, "and no index"),
        ({"layer": "9", "unit": [0]}, "there is no layer '9'"),
        ({"layer": "1", "unit": [128]}, "the output of layer '1' has shape"),
        ({"ask": "operation", "operation": 5}, "there is no operation 5: they are numbered from 0 to 4"),
        ({"ask": "operation", "operation": -1}, "there is no operation -1"),
    ],
)
def test_what_does_not_exist_gets_a_sentence(microscope, folder, changes, message):
    if changes.get("run") in ("words", "empty", "broken") and not (folder / changes["run"]).exists():
        run = save_run(folder / changes["run"], "mlp")
        if changes["run"] == "words":
            config = run.config | {"model": {"name": "gpt", "options": {}}}
            config["data"] = {"name": "text", "limit": None, "crc32": 1, "validation_crc32": 2}
            run.config_file.write_text(json.dumps(config))
        elif changes["run"] == "empty":
            run.weights_file.unlink()
        else:
            state = dict(run.load_network().state_dict())
            state["1.weight"].fill_(np.inf)
            runs.safetensors_io.save(state, run.weights_file)
    with pytest.raises(UserError, match=message):
        microscope.answer(question(**changes), [])


def test_forged_messages_are_not_understood(microscope):
    for changes in (
        {"ask": "delete"}, {"run": None}, {"run": 3}, {"image": "1"}, {"image": 1.5}, {"image": None}, {"label": "x"},
        {"number": []}, {"weight": 1}, {"at": "0,0"}, {"layer": None}, {"unit": {}}, {"ask": "operation"},
        {"ask": "operation", "operation": 1.5}, {"ask": ["look"]},
    ):  # fmt: skip
        assert microscope.answer(question(**changes), []) is None, changes
    assert microscope.answer(question(), [b"a picture that nobody wanted"]) is None
    assert microscope.answer(question(image=-1), [b"one", b"two"]) is None
    assert microscope.answer({}, []) is None
    assert microscope.answer({"ask": "networks"}, [b""]) is None
