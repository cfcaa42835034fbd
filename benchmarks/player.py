"""A worker process that runs blocks of steps of one library at one work, controlled by the measuring process.

The threads of a library spin for a while after each step and would slow down whatever runs next. So each library has
its own process; the processes take turns, block by block, with a pause before each block. `Player` controls a worker.

Requests and answers are lines of JSON. After the import, the worker describes its library. It answers {"make": "jit"}
by the approximate seconds per step of each variant ("" makes all of them); {"block": "jit", "seconds": 0.1, "least": 3}
by the times of the steps run within 0.1 seconds, at least three, after some warm-up steps; {"peak": true} by the peak
memory of the process in bytes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import works

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PEERS = {"chainrule": "ours", "PyTorch": "pytorch", "JAX": "jax_jit", "scikit-learn": "scikit", "machine": "machine"}
SLOWS_NUMPY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PAUSE = 0.1
"""Seconds before each block, so that the threads of the previous block go to sleep."""

LONG = 0.1
"""Seconds: longer steps are not warmed up further."""


class PlayerError(RuntimeError):
    """A worker process has ended or failed."""


def environment() -> dict[str, str]:
    """The environment without the variables that force NumPy to use an old processor's kernels."""
    return {name: value for name, value in os.environ.items() if name not in SLOWS_NUMPY}


def play(peer: str, key: str) -> None:
    """Run as a worker until standard input is closed.

    Args:
        peer: a library, from `PEERS`.
        key: a work, from `works.WORKS`; empty for "machine", which has a single one.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # keeps the output of libraries out of the answers

    def answer(what: dict[str, Any]) -> None:
        answers.write(json.dumps(what) + "\n")

    try:
        module = importlib.import_module(f"peers.{PEERS[peer]}")
    except ImportError as error:
        answer({"missing": str(error)})
        return
    answer({"about": module.about()})
    for line in sys.stdin:
        request = json.loads(line)
        if "make" in request:
            steps, failed = make(module.variants(works.WORKS.get(key)), request["make"])
            answer({"variants": {name: cost for name, (_, cost) in steps.items()}, "failed": failed})
        elif "peak" in request:
            answer({"peak": peak_memory()})
        else:
            answer({"times": timed(steps[request["block"]][0], request["seconds"], request["least"])})


def make(
    variants: Mapping[str, Callable[[], Callable[[], object]]], only: str = ""
) -> tuple[dict[str, tuple[Callable[[], object], float]], dict[str, str]]:
    """Create and warm up the step of each variant.

    Returns:
        The step and its approximate seconds, by variant; and the errors of variants that failed.
    """
    steps, failed = {}, {}
    for name, maker in variants.items():
        if only and name != only:
            continue
        try:
            step = maker()
            step()  # compiles, allocates
            cost = step_times(step, 0, 1)[0]
            steps[name] = step, min([cost, *(step_times(step, 0, 3) if cost < LONG else ())])
        except Exception as error:  # libraries raise all kinds of errors
            failed[name] = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return steps, failed


def timed(step: Callable[[], object], seconds: float, least: int) -> list[float]:
    """The seconds of each step run within some time, after a warm-up of a quarter of that time."""
    if least > 1:
        step_times(step, seconds / 4, 1)
    return step_times(step, seconds, least)


def step_times(step: Callable[[], object], seconds: float, least: int) -> list[float]:
    """The seconds of each step, run until the time is over and at least `least` times."""
    times: list[float] = []
    now = time.perf_counter()
    end = now + seconds
    while now < end or len(times) < least:
        step()
        before, now = now, time.perf_counter()
        times.append(now - before)
    return times


def peak_memory() -> int:
    """The peak memory of this process so far, in bytes."""
    import resource  # not available on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, Linux in kilobytes


class Player:
    """Controls a worker process. The worker imports its library in the background; `ready` waits for it.

    Attributes:
        about: the library's version, threads and other information.
        variants: the approximate seconds per step, by variant.
        failed: the errors of variants that could not be created.
    """

    def __init__(self, peer: str, key: str = "", more: Mapping[str, str] | None = None) -> None:
        script = Path(__file__).with_name("bench.py")
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # `close` does
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), "--player", peer, key],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment() | dict(more or {}),
        )
        self.peer = peer
        self.about: dict[str, Any] = {}
        self._missing = ""
        self.variants: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def imported(self) -> str:
        """Wait for the import; returns why the library is missing, or ""."""
        if not (self.about or self._missing):
            said = self._hear()
            self.about, self._missing = said.get("about", {}), str(said.get("missing", ""))
        return self._missing

    def ready(self, only: str = "") -> str:
        """Wait for the import and create the variants, or only one; returns why the library is missing, or ""."""
        if not self.imported():
            answer = self._ask({"make": only})
            self.variants, self.failed = answer["variants"], answer["failed"]
        return self._missing

    def block(self, variant: str, seconds: float, least: int = 3) -> list[float]:
        """The seconds of each step run within some time, at least `least` steps, after a pause and a warm-up."""
        time.sleep(PAUSE)
        return list(self._ask({"block": variant, "seconds": seconds, "least": least})["times"])

    def peak(self) -> int:
        """The peak memory of the process so far, in bytes."""
        return int(self._ask({"peak": True})["peak"])

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(what) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if line:
            return dict(json.loads(line))
        self._process.wait()
        self._errors.seek(0)
        raise PlayerError(f"{self.peer}'s process ended: {self._errors.read()[-2000:]}")
