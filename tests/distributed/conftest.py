"""Fixtures that run several ranks, as threads of the test process or as processes that mpiexec starts."""

from __future__ import annotations

import importlib.util
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chainrule.distributed.world import World

if TYPE_CHECKING:
    from collections.abc import Callable


class ThreadWorld(World):
    """The world of a rank that is a thread; messages are copies of arrays in queues."""

    def __init__(self, rank: int, size: int, queues: dict[tuple[int, int], queue.Queue], barrier: threading.Barrier):
        self.rank, self.size, self.queues, self.barrier = rank, size, queues, barrier
        self.numbers_sent = 0

    def send(self, partner: int, array: Any) -> None:
        self.numbers_sent += array.size
        self.queues[self.rank, partner].put(array.copy())

    def receive(self, partner: int, array: Any) -> None:
        array[...] = self.queues[partner, self.rank].get(timeout=30)

    def exchange(self, partner: int, outgoing: Any, incoming: Any) -> None:
        self.send(partner, outgoing)
        self.receive(partner, incoming)

    def gather(self, value: Any) -> list[Any]:
        for partner in range(self.size):
            self.queues[self.rank, partner].put(value)
        values = [self.queues[partner, self.rank].get(timeout=30) for partner in range(self.size)]
        self.barrier.wait(30)
        return values

    def broadcast(self, value: Any, source: int = 0) -> Any:
        return self.gather(value)[source]


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Call a function in a thread per rank, with the rank's world; return the results, or the exceptions raised."""

    def run(size: int, function: Callable[[World], Any]) -> list[Any]:
        queues = {(a, b): queue.Queue() for a in range(size) for b in range(size)}
        barrier = threading.Barrier(size)
        results: list[Any] = [None] * size

        def call(rank: int) -> None:
            try:
                results[rank] = function(ThreadWorld(rank, size, queues, barrier))
            except Exception as error:
                results[rank] = error

        threads = [threading.Thread(target=call, args=(rank,)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return results

    return run


@pytest.fixture(scope="session")
def mpiexec() -> str:
    """The path of mpiexec, preferably beside this Python."""
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed: pip install 'chainrule[mpi]'")
    beside = Path(sys.executable).with_name("mpiexec")
    path = str(beside) if beside.exists() else shutil.which("mpiexec")
    if path is None:
        pytest.skip("there is no mpiexec")
    return path


class Job:
    """A job of mpiexec, its output in files."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.out_file, self.err_file = folder / "out.txt", folder / "err.txt"
        with self.out_file.open("w") as out, self.err_file.open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder, env=environment)

    def wait(self, seconds: float = 60) -> int:
        return self.process.wait(timeout=seconds)

    @property
    def out(self) -> str:
        return self.out_file.read_text()

    @property
    def sentences(self) -> list[str]:
        """The lines on standard error that are not mpiexec's own."""
        own = ("=", "YOUR APPLICATION", "This typically", "Please see the FAQ", "[mpiexec@")
        return [line for line in self.err_file.read_text().splitlines() if line and not line.startswith(own)]


@pytest.fixture
def start(mpiexec: str, tmp_path: Path) -> Any:
    """Start Python on some ranks: start(4, "-m", "chainrule", "train", ...)."""
    jobs: list[Job] = []

    def run(ranks: int, *arguments: object, machines: Any = None, **environment: str) -> Job:
        program = [sys.executable, *map(str, arguments)]
        variables = {"CHAINRULE_RANK_TIMEOUT": "2", "CHAINRULE_THREADS": "1"}
        folder = tmp_path / f"job-{len(jobs)}"
        folder.mkdir()
        command = [mpiexec, *(machines.launcher if machines else ()), "-n", str(ranks), *program]
        if machines:  # mpiexec itself runs on the first one
            command = ["ip", "netns", "exec", machines.names[0], *command]
        jobs.append(Job(command, folder, {**os.environ, **variables, **environment}))
        return jobs[-1]

    yield run
    for job in jobs:
        if job.process.poll() is None:
            job.process.kill()
            job.process.wait()
