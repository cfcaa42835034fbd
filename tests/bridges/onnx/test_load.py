"""A file becomes a module that computes and trains as the original; damaged and hostile files are refused."""

from __future__ import annotations

import copy
import json
import os

import numpy as np
import pytest

import chainrule
from chainrule import models, nn, optim
from chainrule.nn import functional as F  # noqa: N812

from .networks import network

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[bridges]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # needs onnx

from chainrule.onnx import OnnxError, UnsupportedError, describe, export, load  # noqa: E402


def step(module, example, frozen=()):
    """One training step on a squared error: the loss, and the state after it."""
    optimizer = optim.SGD([p for n, p in module.named_parameters() if n not in frozen and p.requires_grad], 0.05)
    out = module(chainrule.tensor(example))
    weights = chainrule.from_numpy(np.random.default_rng(9).normal(size=out.shape).astype(np.float32))
    loss = ((out - weights) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss.item(), {name: value.numpy().copy() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_a_training_step_after_a_round_trip_is_that_of_the_original(tmp_path, first):
    for seed in range(first, first + 20):
        module, example = network(seed)
        loaded = load(export(module, tmp_path / "m.onnx", example, opset=13 + seed % 11))
        trained = {name for name, p in module.named_parameters() if p.requires_grad}
        assert {name for name, p in loaded.named_parameters() if p.requires_grad} == trained
        assert {name for name, _ in loaded.named_buffers()} <= {name for name, _ in module.named_buffers()}
        loss, state = step(module, example)
        loaded_loss, loaded_state = step(loaded, example)
        assert loaded_loss == pytest.approx(loss, rel=1e-5)
        for name, value in loaded_state.items():
            np.testing.assert_allclose(value, state[name], rtol=1e-4, atol=2e-5, err_msg=f"{seed}: {name}")


def test_a_language_model_trains_after_a_round_trip(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 65, (2, 32))
    module = models.build("gpt", {"size": "tiny"}, generator=np.random.default_rng(1))
    loaded = load(export(module, tmp_path / "m.onnx", tokens, dynamic={"batch": 0, "time": 1}))
    assert list(loaded.state_dict()) == [name for name in module.state_dict() if name in loaded.state_dict()]
    loss, state = step(module, tokens)
    loaded_loss, loaded_state = step(loaded, tokens)
    assert loaded_loss == pytest.approx(loss, rel=1e-6)
    for name, value in loaded_state.items():
        np.testing.assert_allclose(value, state[name], atol=1e-6, err_msg=name)
    shorter = tokens[:1, :5]
    np.testing.assert_allclose(
        loaded(chainrule.tensor(shorter)).detach(), module(chainrule.tensor(shorter)).detach(), atol=1e-5
    )


def test_frozen_parameters_buffers_and_scalars(tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.linear.bias.requires_grad_(False)
            self.temperature = nn.Parameter(2.0)
            self.register_buffer("shift", chainrule.ones(3))

        def forward(self, x):
            return self.linear(x) * self.temperature + self.shift * 0.25

    loaded = load(export(Scaled(), tmp_path / "m.onnx", np.ones((2, 3), np.float32)))
    assert {n: p.requires_grad for n, p in loaded.named_parameters()} == {
        "linear.weight": True, "linear.bias": False, "temperature": True,
    }  # fmt: skip
    assert [n for n, _ in loaded.named_buffers()] == ["shift"]


def test_a_loaded_network_is_a_module(tmp_path):
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    x = np.random.default_rng(0).normal(size=(4, 1, 6, 6)).astype(np.float32)
    loaded = load(export(module, tmp_path / "m.onnx", x))
    assert (loaded.input_names, loaded.output_names) == (["input"], ["output"])
    assert "GraphModule(input -> output" in repr(loaded)
    expected = module.eval()(chainrule.tensor(x))
    np.testing.assert_allclose(loaded(chainrule.tensor(x)).detach(), expected.detach(), atol=1e-6)
    np.testing.assert_allclose(loaded(x).detach(), expected.detach(), atol=1e-6)
    twin = copy.deepcopy(loaded)
    twin.load_state_dict({name: value * 0 for name, value in loaded.state_dict().items()})
    assert twin(x).detach().numpy().any() == False  # noqa: E712
    with chainrule.no_grad():
        np.testing.assert_allclose(chainrule.jit(loaded)(chainrule.tensor(x)), expected.detach(), atol=1e-6)
    again = load(export(loaded, tmp_path / "again.onnx", x))
    np.testing.assert_allclose(again(x).detach(), expected.detach(), atol=1e-6)
    with pytest.raises(TypeError, match="takes 1 inputs: input; got 2"):
        loaded(x, x)


def test_a_compiled_step_of_a_loaded_network(tmp_path):
    x = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)
    classes = chainrule.tensor(np.arange(8) % 3)
    module = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Linear(16, 3))
    loaded = load(export(module, tmp_path / "m.onnx", x))
    states = []
    for net, compiled in ((module, False), (loaded, True)):
        optimizer = optim.Adam(net.parameters(), 0.01)

        def train(inputs, targets, net=net, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(inputs), targets)
            loss.backward()
            optimizer.step()
            return loss

        function = chainrule.jit(train) if compiled else train
        for _ in range(5):
            function(chainrule.tensor(x), classes)
        states.append(net.state_dict())
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, atol=1e-5)


# Files by others


def model_of(nodes, inputs, outputs, initializers=(), opset=20, **options):
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    results = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
    tensors = [numpy_helper.from_array(array, name) for name, array in dict(initializers).items()]
    graph = helper.make_graph(nodes, "graph", values, results, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **options)


X = [("x", TensorProto.FLOAT, ["n", 3])]
Y = [("y", TensorProto.FLOAT)]


def saved(model, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_names_of_every_kind(tmp_path):
    names = ["fc.weight", "/layer/1", "onnx::MatMul_3", "training", "forward", "weights with spaces", "ünï", "_buffers"]
    arrays = {name: np.full(3, i + 1, np.float32) for i, name in enumerate(names)}
    nodes, last = [], "x"
    for i, name in enumerate(names):
        nodes.append(helper.make_node("Mul", [last, name], [f"h{i}" if i + 1 < len(names) else "y"]))
        last = f"h{i}"
    loaded = load(saved(model_of(nodes, X, Y, arrays), tmp_path))
    assert len(list(loaded.named_parameters())) == len(names)
    assert {"fc.weight", "/layer/1", "onnx::MatMul_3", "ünï"} <= {name for name, _ in loaded.named_parameters()}
    assert loaded(np.ones((1, 3), np.float32)).detach().numpy()[0, 0] == np.prod(np.arange(1, 9))
    loaded.load_state_dict(loaded.state_dict())


def test_constants_are_not_trained(tmp_path):
    value = numpy_helper.from_array(np.float32([1, 2, 3]))
    nodes = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Mul", ["x", "c"], ["h"])]
    nodes.append(helper.make_node("Add", ["h", "scalar"], ["y"]))
    loaded = load(saved(model_of(nodes, X, Y, {"scalar": np.float32(20)}), tmp_path))
    assert list(loaded.parameters()) == []
    assert [name for name, _ in loaded.named_buffers()] == ["scalar"]


def test_functions_of_the_file_are_inlined(tmp_path):
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    function = helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    model = model_of([helper.make_node("Twice", ["x"], ["y"], domain="own")], X, Y)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    assert load(saved(model, tmp_path))(np.ones((1, 3), np.float32)).numpy().tolist() == [[2, 2, 2]]


def refused(model, match, tmp_path, kind=OnnxError, call=False):
    path = saved(model, tmp_path) if not isinstance(model, os.PathLike) else model
    loaded = load(path) if call else None
    with pytest.raises(kind, match=match) as error:
        loaded(np.ones((1, 3), np.float32)) if call else load(path)
    assert "\n" not in str(error.value)


def test_what_is_not_supported_is_named(tmp_path):
    node = helper.make_node
    plain = [node("Relu", ["x"], ["y"])]
    refused(
        model_of([node("StringNormalizer", ["x"], ["y"])], X, Y),
        "the operator StringNormalizer is not",
        tmp_path,
        UnsupportedError,
    )
    refused(
        model_of([node("Scaler", ["x"], ["y"], domain="ai.onnx.ml")], X, Y),
        "ai.onnx.ml:Scaler",
        tmp_path,
        UnsupportedError,
    )
    refused(model_of(plain, [("x", TensorProto.BFLOAT16, [1])], Y), "x: the type bfloat16", tmp_path, UnsupportedError)
    refused(model_of(plain, [("x", TensorProto.STRING, [1])], Y), "x: the type string", tmp_path, UnsupportedError)
    refused(model_of(plain, X, Y, opset=999), "version 999 of the operators", tmp_path, UnsupportedError)
    refused(
        model_of([node("Relu", ["x"], ["y"], alpha=0.5)], X, Y),
        "Relu: the attribute alpha",
        tmp_path,
        UnsupportedError,
        call=True,
    )
    refused(
        model_of([node("Relu", ["x"], ["y"], name="r", alpha=0.5)], X, Y),
        "Relu 'r'",
        tmp_path,
        UnsupportedError,
        call=True,
    )
    refused(
        model_of([node("Conv", ["x", "x"], ["y"], auto_pad="MAYBE")], X, Y),
        "auto_pad='MAYBE'",
        tmp_path,
        UnsupportedError,
        call=True,
    )
    sparse = model_of(plain, X, Y)
    sparse.graph.sparse_initializer.add()
    refused(sparse, "sparse initializers", tmp_path, UnsupportedError)
    optional = model_of(plain, X, Y)
    optional.graph.input[0].type.Clear()
    optional.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1
    refused(optional, "x: the type sequence", tmp_path, UnsupportedError)


def test_damaged_files_are_refused(tmp_path):
    node = helper.make_node
    for content in (
        b"",
        b"hello",
        b"\x08" * 100,
        os.urandom(1000),
        saved(model_of([node("Relu", ["x"], ["y"])], X, Y), tmp_path).read_bytes()[:40],
    ):
        (tmp_path / "bad.onnx").write_bytes(content)
        refused(tmp_path / "bad.onnx", r"bad\.onnx: ", tmp_path)
    with pytest.raises(OnnxError, match=r"bad\.onnx: is not an ONNX model"):
        describe(tmp_path / "bad.onnx")
    refused(model_of([node("Add", ["x", "z"], ["y"])], X, Y), "the input z is not defined before it", tmp_path)
    refused(model_of([node("Add", ["x", "y"], ["y"])], X, Y), "the input y is not defined", tmp_path)
    refused(model_of([node("Relu", ["x"], ["x"])], X, Y), "the value x is defined twice", tmp_path)
    refused(model_of([node("Relu", ["x"], ["h"])], X, Y), "the output y is not defined", tmp_path)
    for change in ({"dims": [10**12]}, {"dims": [-3]}, {"raw_data": b"123"}, {"data_type": 77}):
        model = model_of([node("Add", ["x", "w"], ["y"])], X, Y, {"w": np.ones(3, np.float32)})
        tensor = model.graph.initializer[0]
        for name, value in change.items():
            if name == "dims":
                del tensor.dims[:]
                tensor.dims.extend(value)
            else:
                setattr(tensor, name, value)
        refused(model, r"'w'|damaged", tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.onnx")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


def test_every_truncation_and_many_changes_of_a_file_are_refused_or_loaded(tmp_path):
    """No damage ends in anything but the package's own errors, or a module."""
    content = export(
        nn.Sequential(nn.Linear(3, 2), nn.Tanh()), tmp_path / "m.onnx", np.ones((1, 3), np.float32)
    ).read_bytes()
    rng, path, refusals = np.random.default_rng(0), tmp_path / "bad.onnx", 0
    damaged = [content[:n] for n in range(0, len(content), 7)]
    for _ in range(200):
        changed = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            changed[position] = rng.integers(256)
        damaged.append(bytes(changed))
    for bad in damaged:
        path.write_bytes(bad)
        try:
            load(path)(np.ones((1, 3), np.float32))
        except (OnnxError, ValueError, TypeError, IndexError, MemoryError):
            refusals += 1
    assert refusals > len(damaged) // 3


def external(tmp_path, **entries):
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], X, Y, {"w": np.ones(3, np.float32)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


def test_weights_beside_the_file(tmp_path, monkeypatch):
    (tmp_path / "w.bin").write_bytes(np.arange(5, dtype="<f4").tobytes())
    loaded = load(saved(external(tmp_path, location="w.bin", offset=4, length=12), tmp_path))
    assert dict(loaded.named_parameters())["w"].tolist() == [1, 2, 3]
    monkeypatch.setattr("chainrule.onnx.exporter.MAX_FILE_BYTES", 10)
    module = nn.Linear(3, 2)
    again = load(export(module, tmp_path / "large.onnx", np.ones((1, 3), np.float32)))
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)


def test_no_path_leads_out_of_the_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(100))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner").mkdir()
    for location in (
        "../secret",
        str(tmp_path / "secret"),
        "inner/../../secret",
        "",
        ".",
        "..",
        "..\\secret",
        "inner/x",
    ):
        refused(external(tmp_path, location=location), "may only be in a file beside the model", folder)
    refused(external(tmp_path, location="link"), "cannot be read from link", folder)
    refused(external(tmp_path, location="inner"), "cannot be read from inner", folder)
    refused(external(tmp_path, location="none"), "cannot be read from none", folder)
    (folder / "short").write_bytes(bytes(8))
    refused(external(tmp_path, location="short"), "short is too short", folder)
    for entries in ({"offset": -1}, {"length": 8}, {"offset": "x"}, {"length": 10**30}):
        refused(external(tmp_path, location="short", **entries), "cannot be read from short", folder)


def test_small_files_cannot_ask_for_all_memory(tmp_path):
    huge = np.array([10**6, 10**6], np.int64)
    for node, initializers in (
        (helper.make_node("ConstantOfShape", ["s"], ["y"]), {"s": huge}),
        (helper.make_node("Expand", ["x", "s"], ["y"]), {"s": np.array([10**9, 3])}),
        (helper.make_node("Tile", ["x", "s"], ["y"]), {"s": huge}),
        (helper.make_node("Pad", ["x", "s"], ["y"]), {"s": np.array([10**9, 10**9, 0, 0])}),
        (
            helper.make_node("Range", ["a", "b", "c"], ["y"]),
            {"a": np.int64(0), "b": np.int64(10**15), "c": np.int64(1)},
        ),
    ):
        loaded = load(saved(model_of([node], X, Y, initializers), tmp_path))
        with pytest.raises(ValueError, match=f"{node.op_type}: cannot make an array of shape"):
            loaded(np.ones((1, 3), np.float32))


def test_metadata_of_others_does_no_harm(tmp_path):
    for text in ("{", "[" * 100_000, json.dumps({"w": 1}), json.dumps([1, None, "w"])):
        model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], X, Y, {"w": np.ones(3, np.float32)})
        helper.set_model_props(model, {"chainrule.buffers": text})
        assert load(saved(model, tmp_path))(np.ones((1, 3), np.float32)).detach().numpy().tolist() == [[2, 2, 2]]
