"""What several rooms' tests share: poisoned memory; a small data set of pictures that a network learns in a moment."""

from __future__ import annotations

import errno
import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from . import poison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chainrule.data import ImageData

LONGEST = (
    "lessons/test_lessons.py", "images/test_page.py", "capture/test_every_operation.py", "test_platforms.py",
    "cli/test_interrupted.py", "ops/test_every_operation.py", "fuzz/test_interpreted.py",
    "images/test_digit_pictures.py", "images/test_drawings.py", "cli/test_ends.py",
    "end_to_end/test_mnist.py", "training/test_resume.py", "conformance/test_opinfo.py", "cli/test_train.py",
    "conformance/test_optiminfo.py", "lower/test_eager.py", "test_documents.py", "training/test_changes.py",
    "test_console.py", "test_cache_folder.py", "ops/test_exact_sums.py", "data/handwriting/test_pages.py",
    "capture/test_agreement.py", "images/test_odd_pages.py", "images/test_hard_pages.py",
)  # fmt: skip
"""The files that take longest, from a minute of a processor down to seven seconds."""
SLOW_TEST = 300
"""What a test of another file that is marked as slow weighs, in others."""


def pytest_configure(config: pytest.Config) -> None:
    """Where PyTorch is promised (`make test`), its tests are not left out because it is missing."""
    missing = [name for name in ("torch", "expecttest", "transformers") if importlib.util.find_spec(name) is None]
    if os.environ.get("CHAINRULE_ORACLE") == "1" and missing:
        raise pytest.UsageError(f"{', '.join(missing)} cannot be imported; make test TORCH=0 does without")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep what collecting makes out of the garbage collector's sight: tens of thousands of tests, and PyTorch.

    Nothing of it is freed before the end, and each full collection, also one that a test asks for, would visit it all.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # fixtures may still choose otherwise
def pytest_runtest_setup() -> None:
    """A test in which LLVM was given up leaves no other one in plain NumPy, where it would compare NumPy with itself."""
    machine = sys.modules.get("chainrule.kernels.machine")
    if machine is not None:
        machine._available = True  # type: ignore[attr-defined]


@pytest.hookimpl(trylast=True)  # when fixtures have ended
def pytest_runtest_teardown() -> None:
    """Close what a test or an example has drawn: another one counts the figures that are open."""
    if plots := sys.modules.get("matplotlib.pyplot"):
        plots.close("all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, start with the files that take longest, so that none of them runs alone at the end.

    A file goes to one process as a whole (`--dist loadfile`), in this order (`--no-loadscope-reorder`; xdist's own order
    is by the number of tests, which puts the few slow ones last).
    """
    if not hasattr(config, "workerinput"):  # not side by side
        return
    folder = Path(__file__).parent
    weights: Counter[Path] = Counter({folder / name: 10**6 * (len(LONGEST) - i) for i, name in enumerate(LONGEST)})
    for item in items:
        weights[item.path] += SLOW_TEST if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: (-weights[item.path], item.path))  # within a file as it was


@pytest.fixture(scope="session", autouse=True)
def machine_code_folder() -> None:
    """Choose the folder of machine code before any test changes CHAINRULE_CACHE: all processes of a session share it."""
    from chainrule.kernels import machine

    machine._folder()


@pytest.fixture(scope="session", autouse=True)
def poisoned() -> Iterator[None]:
    """Memory holds nothing useful before results are written into it (see `tests.poison`)."""
    with pytest.MonkeyPatch.context() as patch:
        poison.install(patch)
        yield


@pytest.fixture(scope="session")
def make_digits() -> Callable[..., ImageData]:
    """Makes `ImageData` of noisy pictures of ten shapes, 300 to learn from and 60 for the test unless told otherwise."""
    from chainrule.data import ImageData

    def make(name: str = "toy", train: int = 300, test: int = 60, side: int = 12, classes: int = 10) -> ImageData:
        random = np.random.default_rng(1)
        shapes = random.random((classes, side, side)) < 0.3  # which pixels are ink

        def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
            labels = np.arange(count, dtype=np.uint8) % classes
            ink = 200 * shapes[labels] + random.normal(0, 60, (count, side, side))
            return ink.clip(0, 255).astype(np.uint8), labels

        return ImageData(name, tuple(map(str, range(classes))), *pictures(train), *pictures(test))

    return make


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on nothing more fits on the disk: whatever is flushed to it fails."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "fsync", full)


@pytest.fixture(scope="session")
def digits(make_digits: Callable[..., ImageData]) -> ImageData:
    """300 + 60 pictures of 12×12 in ten classes."""
    return make_digits()


class Measured(NamedTuple):
    """How a process ended, and the memory it took."""

    code: int
    out: str
    err: str
    megabytes: float  # peak resident, above a process that imports chainrule and does nothing
    seconds: float


LAUNCH = """
import json, os, resource, subprocess, sys, time
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (90, 90))
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - begun
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024 / 1e6, seconds], file)
"""


@pytest.fixture(scope="session")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Measured]:
    """Runs Python with some arguments in a process of its own, and measures it; Linux's unit of memory is kB.

    A small process starts it: Linux counts the memory of whoever starts a process as the new one's, until it is more.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is measured on Linux")
    file = tmp_path_factory.mktemp("measured") / "result.json"

    def run(*arguments: object, **options: Any) -> Measured:
        program = [sys.executable, "-S", "-c", LAUNCH, file, sys.executable, *map(str, arguments)]
        done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120, **options)
        code, megabytes, seconds = json.loads(file.read_text())
        return Measured(code, done.stdout, done.stderr, megabytes, seconds)

    idle = run("-c", "import chainrule").megabytes

    def measure(*arguments: object, **options: Any) -> Measured:
        done = run(*arguments, **options)
        return done._replace(megabytes=done.megabytes - idle)

    return measure


@pytest.fixture(scope="session")
def measure_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Measured]]:
    """Runs `chainrule` with some arguments in a folder, and measures it; its seconds are the processor's.

    Each command is a fork of one process (`tests.measured`), with warnings as errors.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is measured on Linux")
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    program = [sys.executable, "-W", "error", "-m", "tests.measured", str(tmp_path_factory.mktemp("idle"))]
    with subprocess.Popen(
        program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def measure(*arguments: object, cwd: Path) -> Measured:
            print(json.dumps([list(map(str, arguments)), str(cwd)]), file=process.stdin, flush=True)
            return Measured(*json.loads(process.stdout.readline()))

        yield measure
        process.stdin.close()
