"""Exports run in onnxruntime and give what the network gives, for any batch; what cannot be written is refused."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
import torch

import chainrule
from chainrule import models, nn
from chainrule.nn import functional as F  # noqa: N812

from .networks import Apply, network, settle

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[bridges]'")
onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install 'chainrule[bridges]'"
)

from chainrule.onnx import OnnxError, UnsupportedError, export  # noqa: E402  # needs onnx


def run(path, *arrays):
    """What onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)})


def rows(array, count):
    """An example with another batch."""
    return np.take(array, np.arange(count) % len(array), 0)


def check(module, path, *example, batches=(1, 2, 7), tolerance=1e-5, **options):
    """Export, and compare onnxruntime with the network; the file passes ONNX's full check."""
    assert export(module, path, *example, **options) == path
    onnx.checker.check_model(os.fspath(path), full_check=True)
    module.eval()
    for count in batches:
        arrays = [rows(array, count) for array in example]
        expected = module(*map(chainrule.tensor, arrays))
        expected = expected if isinstance(expected, tuple) else (expected,)
        for one, other in zip(run(path, *arrays), [x.detach().numpy() for x in expected if x is not None], strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            one, other = one.astype(np.float64), other.astype(np.float64)
            assert np.abs(one - other).max(initial=0) <= tolerance * max(1, np.abs(other).max(initial=0))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node if node.op_type != "Constant"]


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_random_networks(tmp_path, first):
    for seed in range(first, first + 20):
        module, example = network(seed)
        check(module, tmp_path / "network.onnx", example, opset=13 + seed % 11)


def test_random_networks_differ():
    kinds = {type(layer) for seed in range(200) for layer in network(seed)[0].modules()}
    assert {
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.ConvTranspose2d,
        nn.MaxPool2d,
        nn.AvgPool2d,
        nn.AdaptiveAvgPool2d,
    } < kinds
    assert {nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.Embedding} < kinds
    assert {nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.Unflatten, nn.Softmax, nn.GELU, nn.Hardtanh} < kinds


@pytest.mark.parametrize("name", [name for name, model in models.REGISTRY.items() if model.task == "images"])
def test_models_of_images(tmp_path, name):
    rng = np.random.default_rng(5)
    check(models.build(name, generator=rng), tmp_path / "m.onnx", rng.random((2, 28, 28), np.float32))


@pytest.mark.parametrize("variant", ["gpt2", "llama"])
@pytest.mark.parametrize("size", ["tiny", "shakespeare"])
def test_language_models_take_texts_of_any_length(tmp_path, variant, size):
    rng = np.random.default_rng(6)
    module = models.build("gpt", {"size": size, "variant": variant}, generator=rng).eval()
    path = export(
        module, tmp_path / "gpt.onnx", np.zeros((1, module.block_size), np.int64), dynamic={"batch": 0, "time": 1}
    )
    onnx.checker.check_model(os.fspath(path), full_check=True)
    for shape in ((1, 1), (3, 5), (2, module.block_size)):
        tokens = rng.integers(0, 65, shape)
        np.testing.assert_allclose(run(path, tokens)[0], module(chainrule.tensor(tokens)).detach().numpy(), atol=1e-5)


ONES = np.ones((2, 3, 4), np.float32)
RANDOM = np.random.default_rng(7).normal(size=(2, 3, 4)).astype(np.float32)
IMAGES = np.random.default_rng(8).normal(size=(2, 4, 7, 6)).astype(np.float32)
FUNCTIONS = {
    "arithmetic": lambda x: (x + 1) * 2 - x / 3 + x**2 - 3**x + (-x).abs(),
    "integers": lambda x: (x * 10).long() // 3 + (x * 10).long() // -4,
    "divisions": lambda x: x.div(0.3, rounding_mode="floor") + x.div(0.3, rounding_mode="trunc"),
    "steps": lambda x: x.floor() + x.ceil() * 2 + x.round() * 3 + x.trunc() * 4 + x.sign(),
    "comparisons": lambda x: (x > 0) & (x <= 1) | ~(x != x) & (x == 0.5),
    "functions": lambda x: x.exp() + x.sin() * x.cos() + x.tan() + x.atan() + x.sinh() + x.cosh() + x.tanh(),
    "logarithms": lambda x: (x.abs() + 1).log() + x.expm1() + x.abs().log1p() + (x.abs() + 1).log2() + (x * x + 1).rsqrt(),
    "where": lambda x: chainrule.where(x > 0, x, 0.5) + x.masked_fill(x < 0, -1.0) + x.clamp(-0.5, 0.5),
    "sums": lambda x: x.sum() + x.sum(1) + x.sum((0, 2), keepdim=True)[0].sum() + x.mean((1, 2), keepdim=True).sum(),
    "extremes": lambda x: x.amax(1) + x.amin(1) + x.max(1)[0] + x.min(2, keepdim=True)[0].sum(1),
    "positions": lambda x: x.argmax(1) + x.argmin(1) + x.max(1)[1],
    "any": lambda x: (x > 1).any(1) & (x > -2).all(1),
    "deviations": lambda x: x.var(1) + x.std(1, unbiased=False) + x.norm(dim=1) + x.norm(1, dim=1) + x.norm(3, dim=1),
    "norms": lambda x: x.norm(float("inf"), dim=1) + x.norm(0, dim=1),
    "prod": lambda x: x.prod(1) + x.logsumexp((1, 2), keepdim=True)[:, 0],
    "slices": lambda x: x[:, 1:, ::2] + x[:, :-1, 1::2] + x[:, 0, 0, None, None] + x[:, -2:, :2],
    "flips": lambda x: x.flip(1, 2),
    "indices": lambda x: x[:, [0, 2, 2]] + x[:, :, [3, 1, 0, 2]] + x[..., chainrule.tensor(1), None],
    "pairs": lambda x: x[:, [0, 2], [1, 3]],
    "ellipsis": lambda x: x[..., 1:3].unsqueeze(1).squeeze(1),
    "gather": lambda x: x.gather(1, (x > 0).long()) + x.take_along_dim((x > 0).long(), 1) + x.index_select(1, chainrule.tensor([2, 1, 0])),
    "triangles": lambda x: x.tril() + x.triu(1) + x[:, :, :3].diagonal(0, 1, 2).sum(),
    "joined": lambda x: chainrule.cat([x, x * 2], 2).split(3, 2)[1] + chainrule.stack([x, x], 1).unbind(1)[0][:, :, :3],
    "chunks": lambda x: x.chunk(2, 2)[1] + x.tile(1, 1, 2)[:, :, 4:6],
    "repeated": lambda x: x.repeat(2, 1, 1)[: x.shape[0]] + x.mean(1, keepdim=True).expand(-1, 3, -1),
    "reshaped": lambda x: x.reshape(-1, 4).reshape(x.shape[0], 3, 4) + x.reshape(x.shape[0] * 3, 2, 2).reshape(x.shape),
    "sizes": lambda x: x.reshape(x.shape[0], 2, -1, 2).transpose(0, 1).reshape(2, x.shape[0] * 3, 2).sum((0, 2)),
    "einsum": lambda x: chainrule.einsum("nij,nkj->nik", x, x),
    "products": lambda x: x @ x.mT + x.matmul(chainrule.ones(4)).unsqueeze(1),
    "softmaxes": lambda x: x.softmax(1) + x.log_softmax(-1) + F.logsigmoid(x),
    "padded": lambda x: F.pad(x, (1, 0, 0, 2)) * F.pad(x, (0, 1, 2, 0), value=3.0),
    "cropped": lambda x: F.pad(x, (-1, 1)),
    "sequences": lambda x: F.conv1d(x, chainrule.ones(2, 3, 2), chainrule.tensor([1.0, 2.0]), padding="same"),
    "lerp": lambda x: x.lerp(x * 2, 0.3) + chainrule.maximum(x, x * x) + chainrule.minimum(x, -x),
    "finite": lambda x: (x / (x - x)).isfinite(),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, chainrule.ones(3, 3).tril().bool()),
    "losses": lambda x: F.mse_loss(x, x * 2, reduction="none") + F.huber_loss(x, x * 3, reduction="none"),
    "detached": lambda x: x.detach() * x,
    "types": lambda x: x.double().float() + x.bool().long(),
    "booleans": lambda x: ((x > 0) + (x < 1)).float() + ((x > 0) * (x < 1)).float() * 2 + chainrule.maximum(x > 0, x > 1) * 4 + ((x > 0) >= (x > 1)) * 8,
    "booleans beside numbers": lambda x: chainrule.cat([x, x > 0], 1)[:, 1:4] + (x > 0).argmax(1, keepdim=True),
    "steps of integers": lambda x: (x * 10).long().floor() + (x * 10).to("int32").ceil() * 2 + (x * 10).long().isnan() + (x * 10).long().isfinite(),
    "tens": lambda x: (x * 100).round(decimals=-1) + x.round(decimals=2),
}  # fmt: skip


@pytest.mark.parametrize("opset", [13, 23])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations(tmp_path, name, opset):
    check(Apply(FUNCTIONS[name]), tmp_path / "m.onnx", RANDOM, opset=opset)


EDGES = {
    "floor division": (lambda x: x // 0.1, lambda x: x // 0.1),
    "floor division by a negative number": (lambda x: x // -0.1, lambda x: x // -0.1),
    "floor division by infinity": (lambda x: x // float("inf"), lambda x: x // float("inf")),
    "floor division by 0": (lambda x: x // (x * 0), lambda x: x // (x * 0)),
    "remainder": (lambda x: x % 0.1, lambda x: x % 0.1),
    "remainder of a negative number": (lambda x: x % -3, lambda x: x % -3),
    "remainder of infinity": (lambda x: x % float("inf"), lambda x: x % float("inf")),
    "expm1 near 0": (lambda x: (x * 1e-6).expm1(), lambda x: torch.expm1(x * 1e-6)),
    "expm1": (lambda x: x.expm1(), torch.expm1),
    "log1p near 0": (lambda x: (x * 1e-6).log1p(), lambda x: torch.log1p(x * 1e-6)),
    "log1p": (lambda x: x.log1p(), torch.log1p),
    "logaddexp": (lambda x: chainrule.logaddexp(x, x.abs()), lambda x: torch.logaddexp(x, x.abs())),
    "exp2": (lambda x: chainrule.exp2(x), torch.exp2),
}


@pytest.mark.filterwarnings("ignore:.*encountered in")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EDGES)
def test_functions_where_their_formulas_lose_digits(tmp_path, name, dtype):
    function, in_torch = EDGES[name]
    x = np.array([1, 6, -1, 0.6, -0.6, 0.3, -0.5, 1e5, 100, -7, 0, np.inf, -np.inf, np.nan, 2, 88], dtype)
    expected = in_torch(torch.from_numpy(x)).numpy()
    path = export(Apply(function), tmp_path / "m.onnx", x)
    np.testing.assert_allclose(run(path, x)[0], expected, rtol=3e-6, atol=1e-12)
    np.testing.assert_allclose(chainrule.onnx.load(path)(chainrule.tensor(x)).numpy(), expected, rtol=3e-6, atol=1e-12)


def test_types_that_an_operator_does_not_take_are_refused(tmp_path):
    with pytest.raises(OnnxError, match=r"the network cannot be written as ONNX: .*Neg.*uint8"):
        export(Apply(lambda x: -x.to("uint8")), tmp_path / "m.onnx", ONES)
    assert not list(tmp_path.iterdir())


IMAGE_FUNCTIONS = {
    "max_pool, ceil": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "max_pool, dilated": lambda x: F.max_pool2d(x, 2, 1, 1, dilation=2),
    "max_pool, indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[1],
    "avg_pool, ceil": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool, ceil, without padding": lambda x: F.avg_pool2d(x, (2, 3), 2, 1, ceil_mode=True, count_include_pad=False),
    "avg_pool, divisor": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "transposed": lambda x: F.conv_transpose2d(x, chainrule.tensor(IMAGES[:, :2, :3, :2].reshape(4, 1, 3, 2)), stride=3, padding=1, output_padding=2, groups=2),
    "transposed, dilated": lambda x: F.conv_transpose2d(x, chainrule.tensor(IMAGES[:, :, :2, :3].reshape(4, 2, 2, 3)), dilation=2, output_padding=1),
    "one image": lambda x: F.conv2d(x[0], chainrule.ones(1, 4, 2, 2)) + x.sum() * 0,
    "dropout2d": lambda x: F.dropout2d(x, 0.3, training=False),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGE_FUNCTIONS)
def test_operations_on_images(tmp_path, name):
    check(Apply(IMAGE_FUNCTIONS[name]), tmp_path / "m.onnx", IMAGES)


@pytest.mark.parametrize("layer", [
    lambda rng: nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True, generator=rng),
    lambda rng: nn.GRU(4, 3, batch_first=True, generator=rng),
    lambda rng: nn.RNN(4, 3, nonlinearity="relu", bias=False, batch_first=True, generator=rng),
])  # fmt: skip
def test_recurrent_layers(tmp_path, layer):
    module = nn.Sequential(layer(np.random.default_rng(4)), Apply(lambda out: out[0][:, -1] + out[0].mean(1)))
    check(module, tmp_path / "m.onnx", RANDOM)


def test_new_tensors_of_one_value_follow_the_batch(tmp_path):
    check(
        Apply(lambda x: chainrule.cat([chainrule.zeros(x.shape[0], 1, 4), x + chainrule.ones(x.shape[0], 1, 1)], 1)),
        tmp_path / "m.onnx",
        RANDOM,
    )


# What a file says


def test_names_types_and_shapes(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(3, 4, bias=False)
            self.unused = nn.Linear(2, 2)

        def forward(self, left, right):
            return {"sum": self.first(left) + self.second(right), "left": left, "nothing": None}

    path = export(Two(), tmp_path / "two.onnx", np.zeros((5, 3), np.float32), chainrule.zeros(5, 3), opset=18)
    model = onnx.load(path)
    assert [initializer.name for initializer in model.graph.initializer] == [
        "first.weight",
        "first.bias",
        "second.weight",
    ]
    assert chainrule.onnx.describe(path) == [
        ("input", "left", "float32", "(batch, 3)"),
        ("input", "right", "float32", "(batch, 3)"),
        ("output", "sum", "float32", "(batch, 4)"),
        ("output", "left_1", "float32", "(batch, 3)"),
    ]
    assert (model.opset_import[0].version, model.producer_name, model.producer_version) == (
        18,
        "chainrule",
        chainrule.__version__,
    )
    assert {prop.key: prop.value for prop in model.metadata_props}["mode"] == "evaluation"
    assert files(tmp_path) == ["two.onnx"]


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (15, 8), (19, 9), (20, 9), (21, 10), (23, 11)])
def test_the_format_is_as_old_as_the_operators(tmp_path, opset, ir_version):
    path = export(nn.Linear(2, 2), tmp_path / "m.onnx", np.zeros((1, 2), np.float32), opset=opset)
    assert onnx.load(path).ir_version == ir_version


def test_usual_layers_become_their_nodes(tmp_path):
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2), nn.Softmax())
    path = export(module, tmp_path / "m.onnx", np.zeros((1, 1, 8, 8), np.float32))
    assert operators(path) == ["Conv", "Relu", "MaxPool", "Reshape", "Gemm", "Softmax"]
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ConvTranspose2d(2, 2, 2), nn.AvgPool2d(2))
    path = export(module, tmp_path / "m.onnx", np.zeros((1, 1, 8, 8), np.float32))
    assert operators(path) == ["Conv", "BatchNormalization", "ConvTranspose", "AveragePool"]
    module = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2))
    path = export(module, tmp_path / "m.onnx", np.zeros((1, 3), np.int64))
    assert operators(path) == ["Gather", "LayerNormalization", "Gelu", "Transpose", "MatMul", "Add"]


def test_modes_of_modules_are_restored_and_dropout_is_off(tmp_path):
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9), settle(nn.BatchNorm1d(3), np.random.default_rng(1)))
    module[2].eval()
    running = module[2].running_mean.numpy().copy()
    path = export(module, tmp_path / "m.onnx", RANDOM[0, :, :3])
    assert [m.training for m in module.modules()] == [True, True, True, False]
    np.testing.assert_array_equal(module[2].running_mean.numpy(), running)
    expected = module.eval()(chainrule.tensor(RANDOM[0, :, :3])).detach().numpy()
    np.testing.assert_allclose(run(path, RANDOM[0, :, :3])[0], expected, atol=1e-6)


def test_a_tied_weight_is_written_once(tmp_path):
    module = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
    module[1].weight = module[0].weight
    path = export(module, tmp_path / "m.onnx", np.zeros((1, 3), np.int64))
    assert [initializer.name for initializer in onnx.load(path).graph.initializer] == ["0.weight"]


def test_preprocessing_and_softmax_inside(tmp_path):
    module = models.build("mlp", generator=np.random.default_rng(2))
    images = np.random.default_rng(3).integers(0, 256, (4, 28, 28), np.uint8)
    path = export(
        module,
        tmp_path / "m.onnx",
        images[:1],
        preprocess=models.images_to_inputs,
        postprocess=F.softmax,
        output_names=["p"],
    )
    expected = module(chainrule.tensor(images.astype(np.float32) / 255)).softmax(-1).detach().numpy()
    np.testing.assert_allclose(run(path, images)[0], expected, atol=1e-6)
    assert [row[1] for row in chainrule.onnx.describe(path)] == ["images", "p"]


def test_control_flow_is_traced_and_constants_are_folded(tmp_path):
    table = chainrule.arange(4).float()

    class Steps(nn.Module):
        def __init__(self, count):
            super().__init__()
            self.count = count

        def forward(self, x):
            offset = (table * 2 + 1).exp().sum()  # no node: nothing here depends on the input
            for i in range(self.count):
                x = x * (i + 1.5) + offset if i % 2 else x.relu()
            return x

    path = tmp_path / "m.onnx"
    check(Steps(3), path, RANDOM, tolerance=1e-4)
    assert operators(path) == ["Relu", "Mul", "Add", "Relu"]


def test_fixed_sizes(tmp_path):
    path = export(nn.Linear(3, 2), tmp_path / "m.onnx", np.zeros((4, 3), np.float32), dynamic=None)
    assert chainrule.onnx.describe(path)[0][3] == "(4, 3)"
    path = export(Apply(lambda x: x * x.shape[0]), tmp_path / "m.onnx", np.ones((4, 3), np.float32), dynamic={})
    assert run(path, np.ones((4, 3), np.float32))[0].max() == 4


def test_another_dimension_is_dynamic(tmp_path):
    module = nn.Sequential(
        nn.Conv1d(2, 3, 3, padding=1), Apply(lambda x: x.transpose(1, 2).reshape(-1, 3)), nn.Linear(3, 1)
    )
    path = export(
        module, tmp_path / "m.onnx", np.zeros((1, 2, 9), np.float32), dynamic={"batch": {"input": 0}, "length": -1}
    )
    for shape in ((1, 2, 3), (4, 2, 11)):
        x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(run(path, x)[0], module(chainrule.tensor(x)).detach().numpy(), atol=1e-5)


def test_large_weights_go_into_a_second_file(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.onnx.exporter.MAX_FILE_BYTES", 100)
    module = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 2))
    check(module, tmp_path / "m.onnx", np.ones((1, 5), np.float32))
    assert files(tmp_path) == ["m.onnx", "m.onnx.data"]


# What is refused


def refused(tmp_path, function, match, *example, kind=OnnxError, **options):
    module = function if isinstance(function, nn.Module) else Apply(function)
    with pytest.raises(kind, match=match) as error:
        export(module, tmp_path / "m.onnx", *(example or (RANDOM,)), **options)
    assert files(tmp_path) == []
    assert "\n" not in str(error.value)
    return str(error.value)


def test_values_are_refused_with_the_line(tmp_path):
    for function in (
        lambda x: x * x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * float(x.max()),
        lambda x: chainrule.tensor(x.numpy() * 2),
        lambda x: chainrule.tensor(x.tolist()),
        lambda x: x * np.asarray(x),
    ):
        message = refused(tmp_path, function, r"is needed .*test_export\.py:\d+\), but differs from input to input")
        assert str(function.__code__.co_firstlineno) in message


def test_in_place_changes_and_random_numbers_are_refused(tmp_path):
    counter = chainrule.zeros(1)

    def count(x):
        counter.add_(1)
        return x * counter

    def change(x):
        x[0] = 0
        return x

    refused(tmp_path, count, r"changed in place .*test_export\.py:\d+\)")
    assert counter.item() == 0
    refused(tmp_path, lambda x: x.add_(1), "changed in place")
    refused(tmp_path, change, "in place")
    refused(tmp_path, lambda x: x + chainrule.randn(4), "random numbers .*cannot be written as ONNX")
    refused(tmp_path, lambda x: F.dropout(x, 0.5), "random numbers")


def test_what_has_no_node_is_refused_by_name(tmp_path):
    message = refused(tmp_path, lambda x: x[x > 0], "getitem", kind=UnsupportedError)
    assert "booleans" in message
    refused(tmp_path, lambda x: x.cumprod(1), "the operation cumprod .*has no ONNX node", kind=UnsupportedError)


def test_what_depends_on_the_batch_is_refused(tmp_path):
    for function in (
        lambda x: x / x.shape[0],
        lambda x: x if x.shape[0] < 3 else x * 2,
        lambda x: x + chainrule.arange(x.shape[0]).reshape(-1, 1, 1),
        lambda x: sum((x[i] for i in range(x.shape[0])), start=x),
        lambda x: x * np.arange(x.shape[0]).sum(),
    ):
        refused(tmp_path, function, "depends on the size of the dynamic dimension batch")
        export(Apply(function), tmp_path / "m.onnx", RANDOM, dynamic=None)
        (tmp_path / "m.onnx").unlink()


def test_arguments(tmp_path):
    linear, x = nn.Linear(4, 2), RANDOM[0]
    refused(tmp_path, linear, "opset must be 13 to 23, not 12", x, opset=12, kind=ValueError)
    refused(tmp_path, linear, "opset must be 13 to 23, not 24", x, opset=24, kind=ValueError)
    refused(tmp_path, linear, "opset must be an integer", x, opset="20", kind=TypeError)
    refused(tmp_path, linear, "an example must be a Tensor, not list", [1.0], kind=TypeError)
    refused(tmp_path, linear, "complex64 has no type", x.astype(np.complex64), kind=TypeError)
    refused(tmp_path, linear, "there is no input 'y'; there are input", x, dynamic={"n": {"y": 0}}, kind=ValueError)
    refused(tmp_path, linear, r"dimension 2 of input, whose shape is \(3, 4\)", x, dynamic={"n": 2}, kind=ValueError)
    refused(tmp_path, linear, "the same dimension of input", x, dynamic={"n": 0, "m": -2}, kind=ValueError)
    refused(tmp_path, linear, "is 0, which shows no shapes", x[:0], kind=ValueError)
    refused(tmp_path, linear, "has 2 names for 1 values", x, input_names=["a", "b"], kind=ValueError)
    refused(tmp_path, linear, "must be different names", x, output_names=[""], kind=ValueError)
    refused(tmp_path, linear, "has the name of a parameter", x, input_names=["weight"], kind=ValueError)
    refused(tmp_path, linear, "has the name of an input", x, output_names=["input"], kind=ValueError)
    refused(tmp_path, linear, r"\(2, 5\) does not fit", np.zeros((3, 5), np.float32), kind=ValueError)
    with pytest.raises(ValueError, match="needs an example"):
        export(linear, tmp_path / "m.onnx")
    with pytest.raises(TypeError, match="takes a module, not function"):
        export(lambda x: x, tmp_path / "m.onnx", x)
    with pytest.raises(ValueError, match="sizes of n differ"):
        export(Apply(lambda a, b: a), tmp_path / "m.onnx", x, RANDOM, dynamic={"n": 0}, input_names=["a", "b"])
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "no" / "m.onnx"))):
        export(linear, tmp_path / "no" / "m.onnx", x)


def test_a_failed_export_leaves_the_old_file(tmp_path, monkeypatch):
    path = export(nn.Linear(4, 2), tmp_path / "m.onnx", RANDOM[0])
    before = path.read_bytes()
    with pytest.raises(OnnxError):
        export(Apply(lambda x: x[x > 0]), path, RANDOM)
    assert path.read_bytes() == before

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export(nn.Linear(4, 3), path, RANDOM[0])
    assert path.read_bytes() == before
    assert files(tmp_path) == ["m.onnx"]
