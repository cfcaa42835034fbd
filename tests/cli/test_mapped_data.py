"""`train` and `evaluate` on memory-mapped folders, with batches prefetched as from large ones."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chainrule.training import callbacks, image_task
from chainrule.training.trainer import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chainrule.data import ImageData

SETTINGS = ["--epochs", 3, "--batch-size", 50, "--seed", 2, "--quiet"]  # 5 steps an epoch


@pytest.fixture
def npy_folder(tmp_path: Path, digits: ImageData) -> Path:
    """The data set of `images` as `.npy` files."""
    folder = tmp_path / "npy"
    folder.mkdir()
    np.save(folder / "train-images.npy", digits.train_images)
    np.save(folder / "train-labels.npy", digits.train_labels)
    np.save(folder / "test-images.npy", digits.test_images)
    np.save(folder / "test-labels.npy", digits.test_labels)
    return folder


@pytest.fixture
def prefetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches are prefetched, as from a large data set; a list of the prefetch factors of loaders."""
    factors = []

    class Loader(image_task.DataLoader):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            factors.append(self.prefetch_factor)

    monkeypatch.setattr(image_task, "PREFETCH_BYTES", 240 * 12 * 12)
    monkeypatch.setattr(image_task, "DataLoader", Loader)
    return factors


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_another_format_or_prefetching_gives_the_same_bits(command, images, npy_folder, prefetched, monkeypatch, here):
    assert command("train", "--data", images, "--limit", 240, "--out", "idx", *SETTINGS).code == 0
    assert prefetched == [None]  # not more bytes than the limit
    assert command("train", "--data", npy_folder, "--out", "prefetched", *SETTINGS).code == 0
    assert prefetched == [None, 2]
    monkeypatch.setattr(image_task, "PREFETCH_BYTES", 1 << 30)
    assert command("train", "--data", npy_folder, "--out", "npy", *SETTINGS).code == 0
    assert prefetched == [None, 2, None]
    assert weights(here / "prefetched") == weights(here / "npy") != weights(here / "idx")
    assert command("train", "--data", images, "--out", "idx again", *SETTINGS).code == 0
    assert weights(here / "idx again") == weights(here / "npy")
    for run in ("npy", "idx again"):
        done = command("evaluate", run, "--json")
        assert done.code == 0
    assert command("evaluate", "npy", "--json").out.split(",", 1)[1] == done.out.split(",", 1)[1]


@pytest.mark.parametrize("step", [1, 5, 8])
def test_ctrl_c_while_batches_are_prefetched(command, npy_folder, prefetched, monkeypatch, step, here):
    assert command("train", "--data", npy_folder, "--out", "whole", *SETTINGS).code == 0
    take_step = callbacks.StopOnNaN.on_loss

    def interrupt(self: Any, trainer: Any, inputs: Any, loss: float) -> None:
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        take_step(self, trainer, inputs, loss)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StopOnNaN, "on_loss", interrupt)
        done = command("train", "--data", npy_folder, "--out", "stopped", *SETTINGS)
    assert done.code == 130
    assert "resume with: chainrule train --resume stopped" in done.err
    assert command("train", "--resume", "stopped", "--quiet").code == 0
    assert weights(here / "stopped") == weights(here / "whole")
    assert prefetched == [2, 2, 2]


@pytest.mark.parametrize("limit", [1, 1 << 30])
@pytest.mark.parametrize("file", ["train-images.npy", "train-labels.npy"])
def test_a_file_that_shrinks_during_training_ends_it_with_a_sentence(
    command: Callable[..., Any], npy_folder: Path, monkeypatch: pytest.MonkeyPatch, here: Path, file: str, limit: int
) -> None:
    assert command("train", "--data", npy_folder, "--out", "whole", *SETTINGS).code == 0
    path = npy_folder / file
    content = path.read_bytes()
    write_history = callbacks.History.on_epoch

    def truncate(self: Any, trainer: Any, record: dict[str, Any]) -> None:
        write_history(self, trainer, record)
        os.truncate(path, len(content) - 1)

    monkeypatch.setattr(image_task, "PREFETCH_BYTES", limit)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.History, "on_epoch", truncate)
        done = command("train", "--data", npy_folder, "--out", "stopped", *SETTINGS)
    assert done.code == 2
    assert f"{path} has shrunk from {len(content):,} to {len(content) - 1:,} bytes while in use: restore it" in done.err
    assert done.err.count("\n") == 1
    path.write_bytes(content)
    assert command("train", "--resume", "stopped", "--quiet").code == 0
    assert weights(here / "stopped") == weights(here / "whole")


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("train-images.npy", np.zeros((300, 144), np.uint8), "images must be uint8 in 3"),
        ("train-images.npy", np.zeros((300, 12, 12), np.uint8, "F"), "is in Fortran order"),
        ("train-labels.npy", np.zeros(299, np.uint8), "holds 300 images, but"),
        ("train-labels.npy", np.full(300, 1000), "holds labels from 1000 to 1000: they must be from 0 to 999"),
        ("test-labels.npy", np.array([None] * 60), "holds Python objects"),
    ],
)
def test_a_folder_that_does_not_fit(command, npy_folder, here, file, array, message):
    np.save(npy_folder / file, array)
    done = command("train", "--data", npy_folder, *SETTINGS)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_changed_data_cannot_be_resumed(command, npy_folder, monkeypatch):
    def stop(self: Any, trainer: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.History, "on_step", stop)
        assert command("train", "--data", npy_folder, "--out", "run", *SETTINGS).code == 130
    labels = np.load(npy_folder / "train-labels.npy")
    labels[-1] += 1
    np.save(npy_folder / "train-labels.npy", labels)
    done = command("train", "--resume", "run")
    assert done.code == 2
    assert "the images have changed since run was started" in done.err
