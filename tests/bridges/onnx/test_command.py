"""`chainrule export RUN model.onnx`: the file reads what a user has, and what does not fit is one sentence."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

import chainrule
from chainrule import safetensors_io
from chainrule.cli import main
from chainrule.training import run as runs

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[bridges]'")
onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install 'chainrule[bridges]'"
)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Run the command in an empty folder; return its exit code, output and error output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments)])
        return (end.value.code, *capfd.readouterr())

    return run


def test_the_shipped_network(command, tmp_path):
    code, out, err = command("export", "shipped", "digits.onnx")
    assert (code, err) == (0, "")
    assert "ONNX opset 20, evaluation mode" in out
    assert "input   images         uint8    (batch, 28, 28)" in out
    assert "output  probabilities  float32  (batch, 11)" in out
    images = chainrule.data.mnist().test_images[:50]
    names = {"images": images}
    exec("\n".join(line.strip() for line in out.split("to run it:\n")[1].splitlines()), names)  # noqa: S102  # as printed
    run = runs.shipped()
    expected = run.model.probabilities(run.load_network()(chainrule.models.images_to_inputs(chainrule.tensor(images))))
    np.testing.assert_allclose(names["probabilities"], expected.detach().numpy(), atol=1e-6)
    assert files(tmp_path) == ["digits.onnx"]


def test_logits_and_older_operators(command):
    code, out, _ = command("export", "shipped", "digits.ONNX", "--raw", "--opset", 13)
    assert code == 0
    assert "ONNX opset 13" in out
    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    session = onnxruntime.InferenceSession("digits.ONNX", providers=["CPUExecutionProvider"])
    expected = runs.shipped().load_network()(chainrule.tensor(images)).detach().numpy()
    np.testing.assert_allclose(session.run(["logits"], {"images": images})[0], expected, atol=1e-4)


def test_a_language_model_takes_texts_of_any_length(command, tmp_path):
    (tmp_path / "story.txt").write_text("the cat and the dog. a hat on the mat!\n" * 40)
    sizes = ("--size", "tiny", "--steps-per-epoch", 2, "--epochs", 1, "--batch-size", 4)
    assert command("train", "--data", "story.txt", "--out", "run", *sizes)[0] == 0
    code, out, _ = command("export", "run", "gpt.onnx")
    assert code == 0
    assert "input   tokens         int64    (batch, time)" in out
    network = runs.find("run").load_network()
    session = onnxruntime.InferenceSession("gpt.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1), (2, 9), (3, network.block_size)):
        tokens = np.random.default_rng(1).integers(0, network.vocab_size, shape)
        expected = network(chainrule.tensor(tokens)).softmax(-1).detach().numpy()
        np.testing.assert_allclose(session.run(None, {"tokens": tokens})[0], expected, atol=1e-5)


def test_what_does_not_fit_is_one_sentence(command, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    shutil.copytree(runs.shipped().folder, tmp_path / "copy")
    weights = safetensors_io.load(tmp_path / "copy" / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] * float("nan")
    safetensors_io.save(weights, tmp_path / "copy" / "model.safetensors")
    before = files(tmp_path)
    for arguments, message in {
        ("nothing", "m.onnx"): "nothing: there is no such run",
        ("shipped", "m.pth"): "m.pth: '.pth' is not a supported model format; use ",
        ("shipped", "no/m.onnx"): "no/m.onnx: the folder no does not exist",
        ("shipped", "folder.onnx"): "folder.onnx: Is a directory",
        ("shipped", "m.onnx", "--opset", 12): "export: opset must be 13 to 23, not 12",
        ("copy", "m.onnx"): "holds values that are not finite",
    }.items():
        code, out, err = command("export", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
        assert files(tmp_path) == before


def test_without_the_library(tmp_path):
    """Another process, in which the library cannot be imported."""
    code = "import sys; sys.modules['onnx'] = None; from chainrule.cli import main; main(sys.argv[1:])"
    arguments = [sys.executable, "-c", code, "export", "shipped", "m.onnx"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    message = "chainrule.onnx needs the library onnx, which is not installed: pip install 'chainrule[onnx]'"
    assert done.stderr.strip() == f"chainrule: {message}"
    assert files(tmp_path) == []
