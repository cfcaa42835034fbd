"""Fixtures for all tests: poisoned memory, a small data set, a full disk, measured processes; and the tests' order."""

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
"""The test files that take the most CPU time, the slowest first."""
SLOW_TEST_WEIGHT = 300
"""How many ordinary tests a test that is marked as slow counts for, where other files are put in order."""


os.environ.pop("PYTHONUNBUFFERED", None)  # the commands that tests start buffer their output, as a user's do


def pytest_configure(config: pytest.Config) -> None:
    """With CHAINRULE_ORACLE=1 (`make test`), refuse to run without PyTorch, whose tests would be skipped."""
    missing = [name for name in ("torch", "expecttest", "transformers") if importlib.util.find_spec(name) is None]
    if os.environ.get("CHAINRULE_ORACLE") == "1" and missing:
        raise pytest.UsageError(f"{', '.join(missing)} cannot be imported; make test TORCH=0 runs without")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exempt all objects that exist after the collection of tests from garbage collection.

    They are tens of thousands of tests, and PyTorch. None is freed before the session ends, and each full garbage
    collection, also one that a test calls for, would visit them all.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before fixtures, which may turn compiled kernels off
def pytest_runtest_setup() -> None:
    """Turn compiled kernels on again after a test that turned them off: later tests would compare NumPy with NumPy."""
    machine = sys.modules.get("chainrule.kernels.machine")
    if machine is not None:
        machine._available = True  # type: ignore[attr-defined]


@pytest.hookimpl(trylast=True)  # when fixtures have ended
def pytest_runtest_teardown() -> None:
    """Close the figures that a test or an example has left open: other tests count the open figures."""
    if plots := sys.modules.get("matplotlib.pyplot"):
        plots.close("all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a parallel run, start with the slowest files, so that none of them runs alone at the end.

    xdist gives each file to one process (`--dist loadfile`), in the order of this list (`--no-loadscope-reorder`). Its
    own order is by the number of tests, which would start files with a few slow tests last.
    """
    if not hasattr(config, "workerinput"):  # not a parallel run
        return
    folder = Path(__file__).parent
    weights: Counter[Path] = Counter({folder / name: 10**6 * (len(LONGEST) - i) for i, name in enumerate(LONGEST)})
    for item in items:
        weights[item.path] += SLOW_TEST_WEIGHT if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: (-weights[item.path], item.path))  # a stable sort: the order within a file stays


@pytest.fixture(scope="session", autouse=True)
def machine_code_folder() -> None:
    """Choose the folder of machine code before any test changes CHAINRULE_CACHE, so that all tests share the folder."""
    from chainrule.kernels import machine

    machine._folder()


@pytest.fixture(scope="session", autouse=True)
def poisoned() -> Iterator[None]:
    """Poison memory before results are written into it (see `tests.poison`)."""
    with pytest.MonkeyPatch.context() as patch:
        poison.install(patch)
        yield


@pytest.fixture(scope="session")
def make_digits() -> Callable[..., ImageData]:
    """Make `ImageData` of noisy pictures of random shapes, one shape per class, which a network learns in a moment."""
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
    """A function after whose call the disk is full: each `os.fsync` fails."""

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "fsync", fail)


@pytest.fixture(scope="session")
def digits(make_digits: Callable[..., ImageData]) -> ImageData:
    """300 + 60 pictures of 12×12 in ten classes."""
    return make_digits()


class Measured(NamedTuple):
    """How a process ended, its output, its memory and its time."""

    code: int
    out: str
    err: str
    megabytes: float  # peak resident memory, above that of a process that only imports chainrule
    seconds: float  # wall time with `measure`, CPU time with `measure_command`


LAUNCH = """
import json, os, resource, subprocess, sys, time
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (90, 90))
start = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024 / 1e6, seconds], file)
"""
"""Run the command in `argv[2:]` with limits, and write its exit code, memory and seconds to the file `argv[1]`."""


@pytest.fixture(scope="session")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Measured]:
    """Run Python with some arguments in a separate process, and measure it.

    A small process starts it, because a new process's peak memory on Linux begins with that of the process that forked
    it.
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
    """Run `chainrule` with some arguments in a folder, and measure it.

    Each command runs in a fork of one process (`tests.measured`), with warnings as errors.
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
