"""Fixtures to run the command on a small data set, in the test process (fast) or as a separate process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from chainrule.cli import main
from chainrule.data import idx
from chainrule.data.image_data import FILES
from chainrule.images.detection import detect_digits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.data import ImageData
    from chainrule.images.detection import Detection
    from chainrule.images.pyramid import Level
    from chainrule.models.digit_detector import Detector

DRIVER = Path(__file__).with_name("driver.py")
PYTHON = [sys.executable, "-W", "error"]


@dataclass
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str


def write_folder(folder: Path, data: ImageData) -> Path:
    """Write a data set as a folder of IDX files."""
    folder.mkdir(parents=True)
    arrays = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    for name, array in zip(FILES, arrays, strict=True):
        idx.write(folder / name, array)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, digits: ImageData) -> Path:
    """A folder of IDX files: 300 + 60 images of 12×12."""
    return write_folder(tmp_path_factory.mktemp("data") / "my images", digits)


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[[str, ImageData], Path]:
    """Write a data set to a new folder."""
    return lambda name, data: write_folder(tmp_path / name, data)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in an empty folder with its own cache."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def detections() -> dict[tuple[object, ...], list[Detection]]:
    """The digits detected so far, by page."""
    return {}


@pytest.fixture(autouse=True)
def detect_once(detections: dict[tuple[object, ...], list[Detection]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Detect the digits of a page only once for all commands that read it, because detection takes long."""

    def look_once(levels: Sequence[Level], detect: Detector) -> list[Detection]:
        key = tuple((level.scale, level.gray.shape, level.gray.tobytes()) for level in levels)
        if key not in detections:
            detections[key] = detect_digits(levels, detect)
        return list(detections[key])

    monkeypatch.setattr("chainrule.images.page.detect_digits", look_once)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run `chainrule` in this process, without drawing learning curves, which would take longer than the training."""
    monkeypatch.setattr("chainrule.cli.train._draw", lambda run: None)
    monkeypatch.setattr("sys.unraisablehook", sys.unraisablehook)  # to restore it: a command that quits replaces it

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return Done(end.value.code, *capfd.readouterr())  # type: ignore[arg-type]

    return run


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start `chainrule` as a process, with warnings as errors; `driver` is an event for driver.py."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: object, driver: str | None = None, **options: Any) -> subprocess.Popen[str]:
        program = ["-m", "chainrule"] if driver is None else [str(DRIVER), driver]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8", **options}
        options["env"] = {**os.environ, "PYTHONIOENCODING": "utf-8", **options.get("env", {})}
        process = subprocess.Popen([*PYTHON, *program, *map(str, arguments)], **options)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def process(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Done]:
    """Run `chainrule` as a process and wait for it."""

    def run(*arguments: object, **options: Any) -> Done:
        begun = start(*arguments, **options)
        out, err = begun.communicate(timeout=120)
        return Done(begun.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, images: Path) -> tuple[Path, Done]:
    """A run of two epochs, trained in a separate process, and its result. Do not modify it."""
    folder = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        [*PYTHON, "-m", "chainrule", "train", "--data", images, "--epochs", "2", "--out", "a run", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return folder / "a run", Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def copy(trained: tuple[Path, Done], here: Path) -> Path:
    """A copy of the trained run, which a test may modify."""
    return shutil.copytree(trained[0], here / "copy")


STROKES = {  # strokes on a canvas of 100×100
    "0": [[(50 + 22 * np.sin(a), 50 - 32 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 40)]],
    "1": [[(52, 18), (48, 82)]],
    "4": [[(38, 18), (32, 52), (68, 52)], [(64, 20), (60, 84)]],
    "7": [[(28, 22), (70, 22), (44, 84)]],
}


@pytest.fixture
def write() -> Callable[..., None]:
    """Draw a digit of 100×100 pixels on an image at an offset (across, down)."""

    def write(picture: Image.Image, digit: str, ink: int, across: float = 0, down: float = 0) -> None:
        for stroke in STROKES[digit]:
            line = [(across + x, down + y) for x, y in stroke]
            ImageDraw.Draw(picture).line(line, fill=ink, width=7, joint="curve")

    return write
