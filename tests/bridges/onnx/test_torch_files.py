"""Files that PyTorch writes, by both of its exporters, load to the same outputs, and the modules' weights to parameters."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import numpy as np
import pytest

import chainrule
from chainrule import nn as own
from chainrule import optim

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[bridges]'")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'chainrule[bridges]'")

from chainrule.onnx import load  # noqa: E402  # needs onnx

nn = torch.nn
GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=GENERATOR)


ROWS, IMAGES, SEQUENCE, TOKENS = normal(3, 6), normal(2, 4, 9, 8), normal(2, 4, 11), normal(2, 5, 6)
CLASSES, CHANCES = torch.tensor([1, 0, 5]), torch.rand(3, 6, generator=GENERATOR)


class Attention(nn.Module):
    """Self-attention: PyTorch's module takes the same tensor three times."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)


MODULES = {
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((3, 4)), IMAGES),
    "AvgPool2d": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGES),
    "BatchNorm1d": (nn.BatchNorm1d(6), ROWS),
    "BatchNorm2d": (nn.BatchNorm2d(4), IMAGES),
    "Conv1d": (nn.Conv1d(4, 6, 3, 2, 1, 2), SEQUENCE),
    "Conv2d": (nn.Conv2d(4, 6, 3, 2, 1, groups=2), IMAGES),
    "ConvTranspose2d": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), IMAGES),
    "ELU": (nn.ELU(0.7), ROWS),
    "L1Loss": (nn.L1Loss(), ROWS, CHANCES),
    "SmoothL1Loss": (nn.SmoothL1Loss(beta=0.5), ROWS, CHANCES),
    "Linear": (nn.Linear(6, 4), ROWS),
    "MaxPool2d": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGES),
    "KLDivLoss": (nn.KLDivLoss(reduction="sum"), ROWS, CHANCES),
    "MSELoss": (nn.MSELoss(), ROWS, CHANCES),
    "NLLLoss": (nn.NLLLoss(), ROWS, CLASSES),
    "HuberLoss": (nn.HuberLoss(delta=0.3), ROWS, CHANCES),
    "BCELoss": (nn.BCELoss(), CHANCES, 1 - CHANCES),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(), ROWS, CHANCES),
    "CrossEntropyLoss": (nn.CrossEntropyLoss(), ROWS, CLASSES),
    "GELU": (nn.GELU("tanh"), ROWS),
    "GroupNorm": (nn.GroupNorm(2, 4), IMAGES),
    "Hardtanh": (nn.Hardtanh(-0.5, 0.7), ROWS),
    "LayerNorm": (nn.LayerNorm((5, 6)), TOKENS),
    "RMSNorm": (nn.RMSNorm(6), ROWS),
    "TransformerEncoderLayer": (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), TOKENS),
    "MultiheadAttention": (Attention(), TOKENS),
    "Embedding": (nn.Embedding(7, 4, padding_idx=1), torch.tensor([[1, 2], [6, 0]])),
    "ReLU": (nn.ReLU(), ROWS),
    "LeakyReLU": (nn.LeakyReLU(0.3), ROWS),
    "Sigmoid": (nn.Sigmoid(), ROWS),
    "LogSigmoid": (nn.LogSigmoid(), ROWS),
    "SiLU": (nn.SiLU(), ROWS),
    "Softmax": (nn.Softmax(1), IMAGES),
    "LogSoftmax": (nn.LogSoftmax(-1), ROWS),
    "Softplus": (nn.Softplus(2.0), ROWS),
    "Tanh": (nn.Tanh(), ROWS),
    "ReflectionPad2d": (nn.ReflectionPad2d((1, 2, 3, 0)), IMAGES),
    "ReplicationPad2d": (nn.ReplicationPad2d((1, 2, 3, 0)), IMAGES),
    "ZeroPad2d": (nn.ZeroPad2d((1, -2, 3, 0)), IMAGES),
    "CircularPad2d": (nn.CircularPad2d((1, 2, 3, 0)), IMAGES),
}
MORE = {
    "LSTM": (nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True), TOKENS),
    "GRU": (nn.GRU(6, 5, bidirectional=True), TOKENS),
    "RNN": (nn.RNN(6, 5, nonlinearity="relu"), TOKENS),
    "nearest": (nn.Upsample(scale_factor=2), IMAGES),
    "bilinear": (nn.Upsample(size=(5, 13), mode="bilinear", align_corners=False), IMAGES),
    "bicubic": (nn.Upsample(size=(12, 5), mode="bicubic", align_corners=True), IMAGES),
    "InstanceNorm2d": (nn.InstanceNorm2d(4, affine=True), IMAGES),
    "PReLU": (nn.PReLU(4), IMAGES),
    "PixelShuffle": (nn.PixelShuffle(2), IMAGES),
    "Conv3d": (nn.Conv3d(2, 3, 2, 2, 1, groups=1), normal(2, 2, 4, 5, 3)),
    "MaxPool3d": (nn.MaxPool3d(2, 2, 1), normal(2, 2, 4, 5, 3)),
    "Hardswish": (nn.Hardswish(), ROWS),
    "Mish": (nn.Mish(), ROWS),
}
"""Modules beyond those."""
ONLY_NEW = {"RMSNorm", "TransformerEncoderLayer", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss"}
"""Modules that PyTorch's older exporter cannot write."""


def written(module, inputs, path, dynamo):
    """Let PyTorch write a file, quietly."""
    module.eval()
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")  # of parts of PyTorch that are to go
            options = {"verbose": False, "external_data": False} if dynamo else {}
            torch.onnx.export(module, inputs, str(path), dynamo=dynamo, **options)
    finally:
        logging.disable(logging.NOTSET)
    return path


def flat(out):
    """The tensors of nested tuples, as in the outputs of an LSTM."""
    return [x for part in out for x in flat(part)] if isinstance(out, tuple) else [out]


def check(module, inputs, path, tolerance=2e-6):
    loaded = load(path)
    expected = module(*inputs)
    expected = [x for x in flat(expected) if x is not None]
    out = loaded(*(chainrule.tensor(x.numpy()) for x in inputs))
    for one, other in zip(out if isinstance(out, tuple) else (out,), expected, strict=True):
        wanted = other.detach().numpy()
        np.testing.assert_allclose(one.detach().numpy(), wanted, atol=tolerance * max(1, np.abs(wanted).max()))
    return loaded


def test_all_modules_of_the_conformance_tests_are_there():
    assert len(MODULES) == 40
    assert all(hasattr(own, name) for name in MODULES)


@pytest.mark.parametrize("name", [name for name in MODULES | MORE if name not in ONLY_NEW])
def test_the_older_exporter(tmp_path, name):
    module, *inputs = (MODULES | MORE)[name]
    check(module, tuple(inputs), written(module, tuple(inputs), tmp_path / "m.onnx", dynamo=False))


class Everything(nn.Module):
    """The modules of images and of tokens in one network: the newer exporter takes seconds for each file."""

    def __init__(self):
        super().__init__()
        names = ("BatchNorm2d", "ReflectionPad2d", "Conv2d", "LeakyReLU", "MaxPool2d")
        self.image = nn.Sequential(*[MODULES[name][0] for name in names], nn.Conv2d(6, 4, 1), nn.Softplus(2.0))
        self.rest = nn.Sequential(
            MODULES["GroupNorm"][0], nn.Conv2d(4, 2, 1), nn.SiLU(), MODULES["AdaptiveAvgPool2d"][0]
        )
        self.tokens = nn.Sequential(nn.Embedding(7, 6), MODULES["TransformerEncoderLayer"][0], MODULES["RMSNorm"][0])
        self.attention = MODULES["MultiheadAttention"][0]
        self.head = nn.Linear(6, 2)

    def forward(self, images, tokens):
        tokens = self.attention(self.tokens(tokens))[0].mean(1)
        image, rest = self.image(images).mean((2, 3)), self.rest(images).flatten(1)
        losses = [
            MODULES[name][0](image, image.sigmoid())
            for name in sorted(ONLY_NEW)
            if name.endswith("Loss") and name != "BCELoss"
        ]
        return (
            image,
            rest,
            self.head(tokens).log_softmax(-1),
            *losses,
            MODULES["BCELoss"][0](image.sigmoid(), rest[:, :4].sigmoid()),
        )


def test_the_newer_exporter(tmp_path):
    module, inputs = Everything(), (IMAGES, torch.tensor([[1, 2, 0], [6, 0, 5]]))
    path = written(module, inputs, tmp_path / "m.onnx", dynamo=True)
    loaded = check(module, inputs, path, tolerance=1e-5)
    trained = {name for name, _ in loaded.named_parameters()}
    assert {"head.weight", "image.2.weight", "tokens.0.weight", "rest.1.bias"} <= trained
    assert not any("running" in name for name in trained)


def test_a_training_step_equals_pytorchs(tmp_path):
    module = nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(126, 5), nn.Tanh(), nn.Linear(5, 2))
    loaded = load(written(module, (IMAGES,), tmp_path / "m.onnx", dynamo=False))
    theirs, ours = torch.optim.SGD(module.parameters(), 0.1), optim.SGD(loaded.parameters(), 0.1)
    for _ in range(3):
        theirs.zero_grad()
        ours.zero_grad()
        wanted = module(IMAGES).square().mean()
        loss = (loaded(chainrule.tensor(IMAGES.numpy())) ** 2).mean()
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
        wanted.backward()
        loss.backward()
        theirs.step()
        ours.step()
    for name, value in module.state_dict().items():
        np.testing.assert_allclose(loaded.state_dict()[name], value.numpy(), atol=1e-6)
