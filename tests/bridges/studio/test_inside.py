"""The view Inside shows what the library computes, and says in a sentence what it cannot show."""

from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("starlette", reason="the studio's libraries are not installed: pip install '.[studio]'")

from chainrule import explain, from_numpy, models, safetensors_io
from chainrule.cli import cli
from chainrule.data import mnist
from chainrule.errors import UserError
from chainrule.images import prepare
from chainrule.studio.inside import Inside
from chainrule.studio.shelf import Shelf
from chainrule.studio.views import Views
from chainrule.training import run as runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of each kind, trained for a moment."""
    folder = tmp_path_factory.mktemp("studio") / "runs"
    table = folder.parent / "table.csv"
    table.write_text("x,y,class\n" + "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(60)))
    few = ["--limit", "1000", "--epochs", "1", "--batch-size", "32"]
    text = ["--data", "names", "--size", "tiny", "--epochs", "1", "--steps-per-epoch", "2"]
    for name, options in {
        "mlp": few,
        "lenet5": few,
        "gpt": text,
        "mlp_classifier": ["--data", str(table), "--target", "class", "--epochs", "1"],
    }.items():
        result = CliRunner().invoke(cli, ["train", "--model", name, "--out", str(folder / name), *options])
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def inside(folder):
    return Inside(Shelf(folder))


def ask(inside, ask, picture=None, **content):
    told, buffers = inside.answer({"ask": ask, "number": 7, **content}, [] if picture is None else [picture])
    json.dumps(told, allow_nan=False)  # as it goes to the page
    assert (told["tell"], told["number"]) == (ask, 7)
    return told, buffers


def floats(buffer, shape):
    return np.frombuffer(buffer, "<f4").reshape(shape)


@pytest.mark.parametrize("name", ["mlp", "lenet5"])
def test_a_look_is_what_the_network_puts_out(inside, folder, name):
    run, picture = runs.find(folder / name), mnist().test_images[5]
    network = run.load_network()
    told, (seen, *buffers) = ask(inside, "look", run=name, image=5, layer=0, neuron=1)
    assert np.array_equal(np.frombuffer(seen, np.uint8).reshape(28, 28), picture)
    assert told["label"] == mnist().test_labels[5]
    outputs = explain.activations(network, picture[None] / np.float32(255))
    assert len(outputs) == len(buffers) == len(told["shapes"])
    for buffer, shape, expected in zip(buffers, told["shapes"], outputs, strict=True):
        np.testing.assert_array_equal(floats(buffer, shape), expected[0])
    expected = network(from_numpy(picture[None] / np.float32(255))).softmax(1).detach().numpy()[0]
    np.testing.assert_allclose(told["probabilities"], expected, rtol=1e-5)
    assert told["answer"] == expected.argmax()


def test_wires_are_the_largest_products_of_weight_and_output(inside, folder):
    network = runs.find(folder / "mlp").load_network()
    told, buffers = ask(inside, "look", run="mlp", image=2, layer=0, neuron=0)
    hidden, weight = floats(buffers[1], -1), network[3].weight.detach().numpy()
    products = [(abs(weight[o, i] * hidden[i]), i, o, weight[o, i] * hidden[i]) for o in range(10) for i in range(128)]
    expected = sorted(products, reverse=True)[:24]
    assert told["wires"][0] == []
    assert {(i, o) for i, o, _ in told["wires"][1]} == {(i, o) for _, i, o, _ in expected}
    np.testing.assert_allclose([w for *_, w in told["wires"][1]], [w for *_, w in expected], rtol=1e-5)


def test_a_drawing_is_prepared_as_predict_does(inside, tmp_path):
    page = Image.new("L", (200, 200), 255)
    page.paste(Image.fromarray(255 - mnist().test_images[1]).resize((140, 140)), (30, 30))
    page.save(tmp_path / "drawing.png")
    told, buffers = ask(inside, "look", (tmp_path / "drawing.png").read_bytes(), run="mlp", layer=0, neuron=0)
    assert buffers[0] == prepare(tmp_path / "drawing.png").result.tobytes()
    assert told["label"] is None
    blank = io.BytesIO()
    Image.new("L", (99, 99), 255).save(blank, "PNG")
    for picture in (blank.getvalue(), b"", b"no picture"):
        told, buffers = ask(inside, "look", picture, run="mlp", layer=0, neuron=0)
        assert told["error"].startswith("the drawing")
        assert buffers == []


@pytest.mark.parametrize("name", ["gradient", "integrated", "occlusion"])
def test_maps_are_the_librarys(inside, folder, name):
    network, image = runs.find(folder / "lenet5").load_network(), mnist().test_images[3] / np.float32(255)
    function = {
        "gradient": explain.gradient_map,
        "integrated": explain.integrated_gradients,
        "occlusion": explain.occlusion_map,
    }[name]
    for neuron in (None, 4):
        content = {} if neuron is None else {"layer": 4, "neuron": neuron}
        told, (pixels,) = ask(inside, "map", run="lenet5", image=3, map=name, **content)
        expected = function(network, image, neuron)
        np.testing.assert_allclose(floats(pixels, (28, 28)), expected, rtol=1e-5, atol=1e-7)
        assert told["largest"] == pytest.approx(abs(expected).max())
    _, (pixels,) = ask(inside, "map", run="lenet5", image=3, map=name, layer=1, neuron=2)
    expected = explain.gradient_map(explain.layers(network)[1].prefix, image, 2)
    np.testing.assert_allclose(floats(pixels, (28, 28)), expected, rtol=1e-5, atol=1e-7)


def test_a_neuron_with_its_weights_and_partners(inside, folder):
    state = {name: value.numpy() for name, value in runs.find(folder / "mlp").load_network().state_dict().items()}
    told, (weights,) = ask(inside, "neuron", run="mlp", layer=0, neuron=9)
    np.testing.assert_array_equal(floats(weights, told["shape"])[0], state["1.weight"][9].reshape(28, 28))
    strongest = sorted(range(10), key=lambda i: -abs(state["3.weight"][i, 9]))[:6]
    assert (told["in"], told["out"]) == ([], [(i, float(state["3.weight"][i, 9])) for i in strongest])
    told, (weights,) = ask(inside, "neuron", run="mlp", layer=1, neuron=3)
    assert (told["shape"][0], weights, told["out"]) == (0, b"", [])
    strongest = sorted(range(128), key=lambda i: -abs(state["3.weight"][3, i]))[:6]
    assert [index for index, _ in told["in"]] == strongest


def test_a_filter_with_its_strongest_taps(inside, folder):
    state = {name: value.numpy() for name, value in runs.find(folder / "lenet5").load_network().state_dict().items()}
    told, (weights,) = ask(inside, "neuron", run="lenet5", layer=1, neuron=9)
    taps = state["4.weight"][9]
    lengths = [float(np.sqrt((tap**2).sum())) for tap in taps]
    order = sorted(range(6), key=lambda i: -lengths[i])
    assert [index for index, _ in told["in"]] == order
    np.testing.assert_allclose([length for _, length in told["in"]], [lengths[i] for i in order], rtol=1e-5)
    np.testing.assert_array_equal(floats(weights, told["shape"]), taps[order])


def test_top_images_of_the_training_data(inside, folder):
    network = runs.find(folder / "mlp").load_network()
    told, buffers = ask(inside, "top", run="mlp", layer=0, neuron=9)
    while told.get("waiting"):
        told, buffers = ask(inside, "top", run="mlp", layer=0, neuron=9)
    images, labels = mnist().train_images[:5000], mnist().train_labels[:5000]
    outputs = np.concatenate(
        [explain.activations(network, images[i : i + 1000] / np.float32(255))[0][:, 9] for i in range(0, 5000, 1000)]
    )
    expected = np.argsort(-outputs, kind="stable")[:9]
    np.testing.assert_allclose(told["values"], outputs[expected], rtol=1e-4)
    assert told["indices"] == expected.tolist()
    assert told["labels"] == labels[expected].tolist()
    assert told["among"] == "5,000 training images"
    assert buffers[0] == images[expected].tobytes()
    np.testing.assert_allclose(floats(buffers[1], (28, 28)), images[expected].mean(0) / 255, rtol=1e-5)


@pytest.mark.parametrize(("name", "silent"), [("mlp", "0.5-0.17-0.30"), ("lenet5", "1.2-0.1")])
def test_surgery_equals_evaluate_with_the_weights_zeroed_in_the_file(inside, folder, tmp_path, name, silent):
    told, _ = ask(inside, "surgery", run=name, silent=silent)
    shutil.copytree(folder / name, tmp_path / "zeroed")
    file = tmp_path / "zeroed" / "model.safetensors"
    state = {key: np.array(value.numpy()) for key, value in safetensors_io.load(file).items()}
    if name == "mlp":
        state["3.weight"][:, [5, 17, 30]] = 0
    else:
        state["8.weight"].reshape(120, 16, 25)[:, 2] = 0
        state["4.weight"][:, 1] = 0
    safetensors_io.save(state, file)
    for accuracy, run in (("before", folder / name), ("after", tmp_path / "zeroed")):
        result = CliRunner().invoke(cli, ["evaluate", str(run), "--json"])
        assert told[accuracy] == json.loads(result.output)["accuracy"]
    assert told["count"] == 10_000
    look, _ = ask(inside, "look", run=name, image=5, silent=silent, layer=0, neuron=0)
    expected = runs.find(tmp_path / "zeroed").load_network()(from_numpy(mnist().test_images[5:6] / np.float32(255)))
    np.testing.assert_allclose(look["probabilities"], expected.softmax(1).detach().numpy()[0], rtol=1e-4, atol=1e-7)


def test_the_code_prints_the_same_numbers(inside, folder, tmp_path):
    question = {"run": "mlp", "silent": "0.5-0.17", "layer": 0, "neuron": 40}
    look, buffers = ask(inside, "look", image=12, **question)
    surgery, _ = ask(inside, "surgery", **question)
    top, _ = ask(inside, "top", **question)
    while top.get("waiting"):
        top, _ = ask(inside, "top", **question)
    done = subprocess.run(
        [sys.executable, "-c", look["code"]], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    printed = {
        words: ast.literal_eval(line.removeprefix(words))
        for line in done.stdout.splitlines()
        for words in ("probabilities", "the neuron puts out", "accuracy", "without", "top images")
        if line.startswith(words)
    }
    assert printed == {
        "probabilities": look["probabilities"],
        "the neuron puts out": float(floats(buffers[1], -1)[40]),
        "accuracy": surgery["before"],
        "without": surgery["after"],
        "top images": top["indices"],
    }


def test_attention_of_a_language_model(inside, folder):
    told, _ = ask(inside, "open", run="gpt")
    assert (told["kind"], told["example"]) == ("text", "emma")
    told, (patterns,) = ask(inside, "attention", run="gpt", text="isabella")
    assert told["tokens"] == list("isabella")
    run = runs.find(folder / "gpt")
    tokens = run.task.load_tokenizer(run).encode("isabella")
    expected = explain.attention_patterns(run.load_network(), np.asarray(tokens, np.int64))
    np.testing.assert_array_equal(floats(patterns, told["shape"]), expected)
    told, _ = ask(inside, "attention", run="gpt", text="a" * 300)
    assert len(told["tokens"]) == run.load_network().block_size
    assert ask(inside, "open", run="shipped_words")[0]["kind"] == "text"
    for text, sentence in (
        ("", "there is no text"),
        ("😀", "😀"),
        (5, "a text is needed"),
        ("a" * 9999, "2,000 characters"),
    ):
        assert sentence in ask(inside, "attention", run="gpt", text=text)[0]["error"]


def test_what_cannot_be_shown_is_a_sentence(inside, folder):
    for name, sentence in {
        "mlp_classifier": "mlp_classifier reads the rows of a table; Inside shows networks of images and of text",
        "nothing": "there is no run of this name",
        "../mlp": "there is no run of this name",
    }.items():
        told, _ = ask(inside, "open", run=name)
        assert told["kind"] == "none"
        assert sentence in told["sentence"]
    assert "is a language model and sees no images" in ask(inside, "look", run="gpt", image=0)[0]["error"]
    assert "is not a language model" in ask(inside, "attention", run="mlp", text="a")[0]["error"]


def test_a_deleted_or_damaged_run_is_a_sentence_and_a_retrained_one_is_read_anew(folder, tmp_path):
    shutil.copytree(folder / "mlp", tmp_path / "copy")
    inside = Inside(Shelf(tmp_path))
    question = {"run": "copy", "image": 0, "layer": 0, "neuron": 0}
    before, _ = ask(inside, "look", **question)
    network = models.build("mlp", generator=np.random.default_rng(5))
    safetensors_io.save(network.state_dict(), file_of(tmp_path / "copy"))
    assert ask(inside, "look", **question)[0]["probabilities"] != before["probabilities"]
    file_of(tmp_path / "copy").write_bytes(b"damaged")
    assert "model.safetensors" in ask(inside, "look", **question)[0]["error"]
    shutil.rmtree(tmp_path / "copy")
    assert "may have been deleted" in ask(inside, "look", **question)[0]["error"]


def file_of(folder):
    return folder / "model.safetensors"


FORGED = [
    ({"image": -1}, "a test image has a number from 0 to 9,999"),
    ({"image": 10_000}, "a test image has a number"),
    ({"image": 1.5}, "a test image has a number"),
    ({"image": True}, "a test image has a number"),
    ({"image": None}, "a test image has a number"),
    ({"layer": 2}, "a layer has a number from 0 to 1"),
    ({"layer": "0"}, "a layer has a number"),
    ({"neuron": 128}, "a neuron of layer 0 has a number from 0 to 127"),
    ({"neuron": 10**30}, "a neuron of layer 0 has a number"),
    ({"silent": "0.128"}, "a neuron of layer 0 has a number"),
    ({"silent": "1.0"}, "only neurons of the layers before the answer"),
    ({"silent": "0.5-"}, "silent neurons are written as"),
    ({"silent": "0.٣"}, "silent neurons are written as"),
    ({"silent": ["0.5"]}, "silent neurons are written as"),
    ({"silent": "-".join(["0.5"] * 5000)}, "silent neurons are written as"),
    ({"run": 7}, "there is no run of this name"),
    ({"run": ["mlp"]}, "there is no run of this name"),
    ({"run": None}, "there is no run of this name"),
]


@pytest.mark.parametrize(("content", "sentence"), FORGED)
def test_forged_messages_get_a_sentence(inside, content, sentence):
    told, buffers = ask(inside, "look", **{"run": "mlp", "image": 0, "layer": 0, "neuron": 0, **content})
    assert sentence in told["error"]
    assert buffers == []


def test_long_drawings_are_kept_under_a_key(inside):
    told, _ = inside.answer({"ask": "keep", "text": "5.6-" * 3000}, [])
    assert told["tell"] == "kept"
    assert inside.answer({"ask": "kept", "key": told["key"]}, []) == ({"tell": "strokes", "text": "5.6-" * 3000}, [])
    with pytest.raises(UserError, match="not kept here"):
        inside.answer({"ask": "kept", "key": "../secret"}, [])


def test_what_is_not_understood(inside):
    for content in (
        {},
        {"ask": "eval"},
        {"ask": ["look"]},
        {"ask": "look", "number": "1"},
        {"ask": "look", "number": 1.0},
    ):
        assert inside.answer(content, []) is None
    assert inside.answer({"ask": "look", "run": "mlp"}, [b"", b""]) is None
    assert "no such map" in ask(inside, "map", run="mlp", image=0, map="__class__")[0]["error"]


def test_messages_are_answered_beside_each_other(folder):
    """Eight at a time, as of one page: each gets the answer that it gets alone."""
    inside = Inside(Shelf(folder))
    questions = [
        {"ask": "look", "run": "mlp", "image": 1, "layer": 0, "neuron": 0, "silent": "0.1"},
        {"ask": "look", "run": "lenet5", "image": 2, "layer": 0, "neuron": 0},
        {"ask": "map", "run": "lenet5", "image": 2, "map": "gradient"},
        {"ask": "map", "run": "mlp", "image": 2, "map": "occlusion"},
        {"ask": "surgery", "run": "mlp", "silent": "0.9-0.10"},
        {"ask": "surgery", "run": "mlp", "silent": "0.11"},
        {"ask": "neuron", "run": "lenet5", "layer": 1, "neuron": 4},
        {"ask": "attention", "run": "gpt", "text": "emma"},
    ]
    alone = [inside.answer(question, []) for question in questions]
    together = [None] * len(questions)

    def put(i):
        together[i] = inside.answer(questions[i], [])

    threads = [threading.Thread(target=put, args=(i,)) for i in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == alone
    inside.close()
    assert inside.answer(questions[0], []) == alone[0]  # a page that comes back


def test_the_studio_has_the_view(folder):
    assert Views.of(Shelf(Path(folder))).get("inside") is not None
