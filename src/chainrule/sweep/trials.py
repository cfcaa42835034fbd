"""The loop of a sweep: worker processes train the trials that the study proposes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from chainrule.errors import RunError
from chainrule.kernels.team import threads
from chainrule.training import experiment, tasks
from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from chainrule.sweep.config import SweepConfig
    from chainrule.sweep.search import Search, Trial
    from chainrule.training.task import Data

_THREAD_VARIABLES = ("CHAINRULE_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_POLL_SECONDS = 0.2  # how long to wait for a message before `interrupt` is checked


class Worker:
    """A worker process and the trial that it trains.

    Args:
        messages: a queue for the worker's messages.
        thread_count: how many threads the worker may use.
    """

    def __init__(self, messages: SimpleQueue[tuple[Worker, dict[str, Any]]], thread_count: int) -> None:
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(thread_count))}
        command = [sys.executable, "-m", "chainrule.sweep.worker"]
        self.process = subprocess.Popen(  # noqa: S603  # this Python, this package
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8"
        )
        self._input: Any = self.process.stdin
        self._output: Any = self.process.stdout
        self.trial: Trial | None = None
        self._messages = messages
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._output:
            for line in self._output:
                self._messages.put((self, json.loads(line)))
        self._messages.put((self, {"ended": self.process.wait()}))

    def send(self, **message: Any) -> None:
        """Send a message; a process that has ended gets none."""
        with suppress(OSError):
            self._input.write(json.dumps(message) + "\n")
            self._input.flush()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        with suppress(OSError):
            self._input.close()


class Sweep:
    """Trains the trials of a search.

    Args:
        search: the study.
        data: the data set.
        folder: the sweep's folder, which gets a run's folder for each trial.
        jobs: how many worker processes train side by side. Each uses an equal part of the threads.
        on_trial: called with each trial that has ended.

    Attributes:
        interrupt: set to True, e.g. in a signal handler, to stop after the current steps.
    """

    def __init__(
        self,
        search: Search,
        data: Data,
        folder: Path,
        jobs: int = 1,
        on_trial: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        self.interrupt = False
        self._search, self._data, self._folder, self._on_trial = search, data, folder, on_trial
        self._messages: SimpleQueue[tuple[Worker, dict[str, Any]]] = SimpleQueue()
        self._jobs, self._thread_count = jobs, max(1, threads() // jobs)
        self._workers: list[Worker] = []
        self._is_stopping = False

    def run(self) -> None:
        """Train until the sweep has all its trials, or `interrupt` is set.

        Trials that were stopped earlier are continued from their checkpoints, before any new trial.

        Raises:
            RunError: the study or a run's folder cannot be written.
        """
        try:
            while True:
                while not self._is_stopping and self._start_trial():
                    pass
                if not any(worker.trial for worker in self._workers):
                    return
                self._wait()
        finally:
            for worker in self._workers:
                worker.kill()

    def _wait(self) -> None:
        """Handle the next message, if there is one soon."""
        if self.interrupt and not self._is_stopping:
            self._is_stopping = True
            for worker in self._workers:
                worker.send(stop=True)
        with suppress(Empty):
            worker, message = self._messages.get(timeout=_POLL_SECONDS)
            if worker.trial is not None:
                self._handle(worker, worker.trial, message)

    def _start_trial(self) -> bool:
        """Give a worker the next trial; return whether there is one, and a worker for it."""
        idle = [worker for worker in self._workers if worker.trial is None]
        if not idle and len(self._workers) == self._jobs:
            return False
        trial = self._search.next({worker.trial.number for worker in self._workers if worker.trial is not None})
        if trial is None:
            return False
        folder = self._folder / trial.folder
        if not (folder / "config.json").exists():
            try:
                config = configure(self._search.config, self._data, trial.settings)
            except RunError as error:  # these settings do not go together
                self._search.fail(trial, str(error))
                self._on_trial(self._search.trials[trial.number])
                return True
            write_files = partial(tasks.find(config["model"]["name"]).write_files, self._data)
            runs.create(config, folder, write_files)
        if not idle:
            idle = [Worker(self._messages, self._thread_count)]
            self._workers += idle
        idle[0].trial = trial
        idle[0].send(train=str(folder))
        return True

    def _handle(self, worker: Worker, trial: Trial, message: dict[str, Any]) -> None:
        """Handle a message of a worker about its trial."""
        search = self._search
        if "epoch" in message:
            record = message["epoch"]
            worker.send(prune=search.report(trial, record["epoch"], record[search.metric.name]))
            return
        worker.trial = None
        (end,) = message
        if end == "stopped":
            return
        if end == "done":
            search.complete(trial)
        elif end in ("pruned", "diverged"):
            search.prune(trial, message[end])
        elif end == "failed":
            search.fail(trial, message[end])
        else:
            self._workers.remove(worker)
            worker.kill()  # closes the pipe
            search.fail(trial, f"its process ended with code {message[end]}")
        self._on_trial(search.trials[trial.number])


def configure(config: SweepConfig, data: Data, proposed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a trial's run.

    Args:
        config: the sweep's.
        data: the data set.
        proposed: the trial's settings by path.

    Raises:
        DataError: the text is too short for the model.
        RunError: the settings do not go together.
    """
    training, options = config.settings(proposed)
    return experiment.configure(config.model, data, seed=config.seed, limit=config.limit, options=options, **training)


def check(config: SweepConfig, data: Data) -> None:
    """Check the settings of a sweep before the first trial: each choice and both ends of each range, one at a time.

    Raises:
        DataError: the text is too short for the model.
        RunError: a value is invalid; the message names the file and, if it is searched, the value.
    """
    try:
        configure(config, data, {})
    except RunError as error:
        raise RunError(f"{config.file}: {error}") from None
    first = {path: space.samples[0] for path, space in config.searched.items()}
    for path, space in config.searched.items():
        for value in space.samples:
            try:
                configure(config, data, config.applicable({**first, path: value}))
            except RunError as error:
                raise RunError(f"{config.file}: with {path} = {value!r}: {error}") from None
