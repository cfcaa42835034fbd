"""Runs of strangers: whatever their files promise, they take little memory, and what is said of them is short."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chainrule import data as datasets
from chainrule import errors, models, nn, safetensors_io
from chainrule.data import idx
from chainrule.data.image_data import FILES
from chainrule.errors import RunError, join_names, shorten
from chainrule.training import checkpoint, experiment, run

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """The shipped run, to be changed."""
    return Path(shutil.copytree(run.shipped().folder, tmp_path / "stranger"))


@pytest.fixture
def change(stranger: Path) -> Callable[..., None]:
    """Changes its config: the model's and the data's entries by their names."""

    def change(**entries: Any) -> None:
        file = stranger / "config.json"
        config = json.loads(file.read_text())
        for name, value in entries.items():
            config["model" if name in config["model"] else "data"][name] = value
        file.write_text(json.dumps(config))

    return change


@pytest.mark.slow
@pytest.mark.parametrize(("model", "side"), [("cnn", 400), ("best", 704)])
def test_large_images_are_judged_within_memory(
    tmp_path: Path, make_digits: Callable[..., Any], measure_command: Callable[..., Any], model: str, side: int
) -> None:
    """The largest that the models take, of which a small gzip can hold many."""
    data = make_digits(train=20, test=6, side=side)
    (tmp_path / "data").mkdir()
    arrays = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    for name, array in zip(FILES, arrays, strict=True):
        idx.write(tmp_path / "data" / name, array)
    config = experiment.configure(model, datasets.load(tmp_path / "data"))
    this_run = run.create(config, tmp_path / "run")
    safetensors_io.save(this_run.build_network().state_dict(), this_run.weights_file)
    done = measure_command("evaluate", this_run.folder, "--mistakes", "mistakes.png", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.megabytes < 400


def tensors(count: int, name: str = "{}") -> bytes:
    """A safetensors file of so many tensors that hold nothing."""
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    names = {name.format(i): entry for i in range(count)}
    header = json.dumps({"__metadata__": {"format": "np"}, **names}, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "many neurons": (
        {"name": "mlp", "options": {"hidden": 10**6}},
        r"config.json: model 'mlp' would have more than 10,000,000 parameters with hidden 1,000,000",
    ),
    "many neurons of the classic network": (
        {"name": "sigmoid_mlp", "options": {"hidden": 10**6}},
        "with hidden 1,000,000",
    ),
    "more neurons than there is memory": ({"name": "mlp", "options": {"hidden": 10**12}}, "hidden 1,000,000,000,000"),
    "more neurons than there are numbers": ({"name": "mlp", "options": {"hidden": 10**300}}, "hidden far too large"),
    "many pixels": ({"name": "mlp", "options": {"inputs": 10**9}}, "inputs 1,000,000,000"),
    "larger images than a convolution is for": ({"name": "quick", "options": {"inputs": 800**2}}, "inputs, 640,000"),
    "many classes": ({"options": {"classes": 10**7}}, "classes 10,000,000"),
    "large images": (
        {"image_shape": [30_000, 30_000]},
        r"image_shape must be .*, of at most 10,000,000 values, not \[30000, 30000\]",
    ),
    "far too large images": ({"image_shape": [2**62, 2**62]}, r"image_shape must be \(H, W\) or \(C, H, W\)"),
    "images without sides": ({"image_shape": []}, r"image_shape must be \(H, W\) or \(C, H, W\), .* not \[\]"),
    "images of many sides": ({"image_shape": [1] * 100_000}, r"image_shape must be \(H, W\) or \(C, H, W\)"),
    "images of no size": ({"image_shape": [28, 0]}, r"image_shape must be \(H, W\) or \(C, H, W\)"),
    "images of a negative size": ({"image_shape": [-28, -28]}, r"image_shape must be \(H, W\) or \(C, H, W\)"),
    "too many classes' names": ({"classes": [""] * 3_000_000}, "config.json: is larger than 8,000,000 bytes"),
    "many classes' names": ({"classes": [""] * 500_000}, "has 500000 classes, but its model has 11 outputs"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config(stranger: Path, change: Callable[..., None], measure_command: Callable[..., Any], name: str) -> None:
    entries, sentence = CONFIGS[name]
    change(**entries)
    done = measure_command("evaluate", stranger, cwd=stranger.parent)
    assert done.code == 2
    with pytest.raises(RunError, match=sentence):
        run.Run(stranger).load_network()
    assert done.err.count("\n") == 1
    assert len(done.err) < 1_000
    assert done.megabytes < 200
    assert done.seconds < 20


WEIGHTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "many tensors": (lambda: tensors(200_000), r"does not fit model 'reader': .* and 200,\d\d\d more"),
    "too many tensors": (lambda: tensors(250_000), r"its header has 14,\d{3},\d{3} bytes, more than the limit of 12,000,000"),
    "a long name": (lambda: tensors(1, "x" * 10_000_000 + "{}"), "unknown: x{100}|missing: .* more"),
    "another file": (lambda: b"this is a text, and no safetensors file at all", "is not a complete safetensors file"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(stranger: Path, measure_command: Callable[..., Any], name: str) -> None:
    make, sentence = WEIGHTS[name]
    (stranger / "model.safetensors").write_bytes(make())
    done = measure_command("evaluate", stranger, cwd=stranger.parent)
    assert done.code == 2
    with pytest.raises(RunError, match=sentence) as caught:
        run.Run(stranger).load_network()
    assert len(str(caught.value)) < 3_000
    assert done.err.count("\n") == 1
    assert len(done.err) < 3_000
    assert done.megabytes < 400
    assert done.seconds < 20


@pytest.mark.parametrize("file", ["config.json", "result.json", "metrics.jsonl"])
def test_texts(stranger: Path, file: str) -> None:
    this_run = run.Run(stranger)
    (stranger / file).write_text("[" * 8_000_001)
    with pytest.raises(RunError, match=f"{file}: is larger than 8,000,000 bytes, the limit for a file of a run"):
        run.Run(stranger) if file == "config.json" else this_run.result if file == "result.json" else this_run.history


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("plant", ["pipe", "link to /dev/zero"])
def test_what_is_no_regular_file_is_refused_at_once(stranger: Path, plant: str) -> None:
    files = []
    for number, name in enumerate(
        ["config.json", "metrics.jsonl", "result.json", "model.safetensors", f"checkpoint/{checkpoint.FILE_NAME}"]
    ):
        files.append(shutil.copytree(stranger, stranger.with_name(str(number))) / name)
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].unlink(missing_ok=True)
        if plant == "pipe":
            os.mkfifo(files[-1])
        else:
            files[-1].symlink_to("/dev/zero")
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2)
from chainrule.errors import RunError
from chainrule.training import checkpoint, run
for folder in sys.argv[1:]:
    try:
        found = run.Run(folder)
        found.history, found.result, found.load_network(), checkpoint.load(found.checkpoint_file)
    except RunError as error:
        print(error)
"""
    arguments = [sys.executable, "-c", program, *(stranger.with_name(str(number)) for number in range(len(files)))]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [f"{file}: cannot be read (not a regular file)" for file in files]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_the_runs_stops_no_list(stranger: Path) -> None:
    other = stranger.with_name("other")
    other.mkdir()
    os.mkfifo(other / "config.json")
    program = f"""
from chainrule.training import run
faults = []
print([found.folder.name for found in run.all_runs({str(stranger.parent)!r}, faults)], *faults)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == f"['stranger'] {other / 'config.json'}: cannot be read (not a regular file)\n"


def test_unknown_keys(stranger: Path, change: Callable[..., None]) -> None:
    change(**{f"key {i}": 0 for i in range(100_000)})
    with pytest.raises(RunError, match=r"has unknown data.key 0, data.key 1, .* and 99,992 more$"):
        run.Run(stranger)


def test_names_for_a_message() -> None:
    assert join_names([]) == ""
    assert join_names(["a", "b"]) == "a, b"
    assert join_names(list("abcdefgh")) == "a, b, c, d, e, f, g, h"
    assert join_names(list("abcdefghi")) == "a, b, c, d, e, f, g, h and 1 more"
    assert join_names(["a"] * 2000, "; ", 2) == "a; a and 1,998 more"
    assert join_names(["x" * 1000]) == "x" * 199 + "…"
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"


@pytest.mark.parametrize("count", [3, 4, 1_000_000])
def test_no_escape_is_cut_in_two(count: int) -> None:
    text = "\0" * count
    assert shorten(text, 12) == (r"\x00\x00\x00" if count == 3 else r"\x00\x00…")
    assert shorten(text, 11) == shorten(text, 9) == r"\x00\x00…"
    assert shorten(text, 8) == r"\x00…"
    assert shorten(text, 4) == "…"


def test_what_is_left_out_of_a_long_text_is_not_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    escape = errors._escape
    monkeypatch.setattr(errors, "_escape", lambda character: seen.append(character) or escape(character))
    assert shorten("ä" * 1_000_000) == "ä" * 199 + "…"
    assert len(seen) < 1000


# Built without memory


def test_skip_init_draws_nothing() -> None:
    generator = np.random.default_rng(0)
    with nn.init.skip_init():
        module = nn.Sequential(nn.Linear(3, 4, generator=generator), nn.Embedding(5, 6, generator=generator))
        for fill in (nn.init.uniform_, nn.init.normal_, nn.init.trunc_normal_, nn.init.orthogonal_):
            fill(module[0].weight, generator=generator)
        nn.init.xavier_normal_(module[0].weight, generator=generator)
        nn.init.kaiming_uniform_(module[0].weight, generator=generator)
        nn.init.ones_(module[0].bias)
    assert generator.random() == np.random.default_rng(0).random()
    assert all(not parameter.numpy().any() for parameter in module.parameters())
    assert module[0].weight.shape == (4, 3)
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert nn.Linear(3, 4, generator=generator).weight.numpy().all()  # as ever, outside


def test_skip_init_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), nn.init.skip_init():
        raise ZeroDivisionError
    assert nn.Linear(3, 4).weight.numpy().any()


@pytest.mark.parametrize("name", [n for n, model in models.REGISTRY.items() if model.task == "images"])
def test_what_is_built_is_what_was_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(network: nn.Module) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    options = {"inputs": 144, "classes": 7}
    exact = count(models.build(name, options))
    monkeypatch.setattr("chainrule.models.registry.MAX_PARAMETERS", exact)
    models.build(name, options)
    monkeypatch.setattr("chainrule.models.registry.MAX_PARAMETERS", exact - 1)
    with pytest.raises(
        RunError, match=rf"model '{name}' would have more than {exact - 1:,} parameters with inputs 144"
    ):
        models.build(name, options)


def test_the_same_weights_come_out_as_without_counting() -> None:
    built = models.build("mlp", generator=np.random.default_rng(3)).state_dict()
    direct = models.mlp(generator=np.random.default_rng(3)).state_dict()
    for key, tensor in direct.items():
        np.testing.assert_array_equal(built[key].numpy(), tensor.numpy())
    assert math.prod(built["1.weight"].shape) == 784 * 128


def test_a_file_with_many_tensors_is_read(tmp_path: Path) -> None:
    """Some networks have thousands of them."""
    state = {f"layers.{i}.weight": np.full((2, 3), i, np.float32) for i in range(5_000)}
    safetensors_io.save(state, tmp_path / "a.safetensors")
    read = safetensors_io.load(tmp_path / "a.safetensors")
    assert len(read) == 5_000
    np.testing.assert_array_equal(read["layers.4711.weight"].numpy(), state["layers.4711.weight"])
