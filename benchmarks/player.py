"""One library at one work, in a process of its own, which does blocks of steps when it is told to.

Libraries' threads look out for more work for a while after each step, and would slow whatever ran next in their process
or beside it. So each library has its own process; the processes take turns, block by block, and there is a pause
before each block. `Player` is the other end, in the process that measures.

A line of JSON goes in, a line of JSON comes out. After the import, it says what it is; {"make": "jit"} is answered by
about how many seconds a step takes, by variant ("" makes all of them); {"block": "jit", "seconds": 0.1, "least": 3} by
the times in seconds of the steps that were taken in 0.1 seconds, three at the least, after others that are not counted;
{"peak": true} by the most memory that the process has had, in bytes.
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
"""Seconds before each block, for threads of the one before to go to sleep."""

LONG = 0.1
"""Seconds: whether such a step is warm shows after two."""


class PlayerError(RuntimeError):
    """A player's process has ended or failed."""


def environment() -> dict[str, str]:
    """This process's, without the variables that hold NumPy to an old processor's kernels."""
    return {name: value for name, value in os.environ.items() if name not in SLOWS_NUMPY}


def play(peer: str, key: str) -> None:
    """Be a player until standard input ends.

    Args:
        peer: a library, from `PEERS`.
        key: a work, from `works.WORKS`; empty for the machine, which has but one.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(what: dict[str, Any]) -> None:
        answers.write(json.dumps(what) + "\n")

    try:
        module = importlib.import_module(f"peers.{PEERS[peer]}")
    except ImportError as error:
        answer({"missing": str(error)})
        return
    answer({"about": module.about()})
    for line in sys.stdin:
        told = json.loads(line)
        if "make" in told:
            made, failed = make(module.variants(works.WORKS.get(key)), told["make"])
            answer({"variants": {name: cost for name, (_, cost) in made.items()}, "failed": failed})
        elif "peak" in told:
            answer({"peak": peak_memory()})
        else:
            answer({"times": timed(made[told["block"]][0], told["seconds"], told["least"])})


def make(
    variants: Mapping[str, Callable[[], Callable[[], object]]], only: str = ""
) -> tuple[dict[str, tuple[Callable[[], object], float]], dict[str, str]]:
    """Make each variant's step and warm it up; one that cannot be made is named with its reason.

    Returns:
        A step and about how many seconds it takes, by variant; and the reasons.
    """
    made, failed = {}, {}
    for name, maker in variants.items():
        if only and name != only:
            continue
        try:
            step = maker()
            step()  # compiles, allocates
            cost = taken(step, 0, 1)[0]
            made[name] = step, min([cost, *(taken(step, 0, 3) if cost < LONG else ())])
        except Exception as error:  # of another's library: any kind
            failed[name] = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return made, failed


def timed(step: Callable[[], object], seconds: float, least: int) -> list[float]:
    """The seconds of each of the steps that were taken within some time, after a quarter of that to get into step."""
    if least > 1:
        taken(step, seconds / 4, 1)
    return taken(step, seconds, least)


def taken(step: Callable[[], object], seconds: float, least: int) -> list[float]:
    """The seconds of each step until the time is over, and so many have been taken at the least."""
    times: list[float] = []
    now = time.perf_counter()
    end = now + seconds
    while now < end or len(times) < least:
        step()
        before, now = now, time.perf_counter()
        times.append(now - before)
    return times


def peak_memory() -> int:
    """The most memory that this process has had so far, in bytes."""
    import resource  # not on Windows, and not needed but here

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, Linux in kilobytes


class Player:
    """A player as seen from outside; made, it imports its library while others do, and `ready` waits for that.

    Attributes:
        about: the library's version, threads and whatever else is worth knowing.
        variants: about how many seconds a step takes, by variant.
        failed: the reasons of variants that could not be made.
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
        self.variants: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def ready(self, only: str = "") -> str:
        """Wait for the import and make the variants, or one of them; why the library is missing, if it is."""
        said = self._hear()
        if "missing" in said:
            return str(said["missing"])
        self.about = said["about"]
        made = self._ask({"make": only})
        self.variants, self.failed = made["variants"], made["failed"]
        return ""

    def block(self, variant: str, seconds: float, least: int = 3) -> list[float]:
        """The seconds of each step within some time, at least so many, after a pause and steps to get going, if any."""
        time.sleep(PAUSE)
        return list(self._ask({"block": variant, "seconds": seconds, "least": least})["times"])

    def peak(self) -> int:
        """The most memory that the process has had so far, in bytes."""
        return int(self._ask({"peak": True})["peak"])

    def close(self) -> None:
        """Let the process end."""
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
