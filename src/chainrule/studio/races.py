"""Forks of a run, each trained in a separate process: one alone, or two that race from the same weights."""

from __future__ import annotations

import math
import secrets
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import RunError
from chainrule.studio.process import RUNNING, TrainingProcess
from chainrule.training.fork import fork
from chainrule.training.replay import CanceledError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.studio.shelf import Shelf
    from chainrule.training.replay import RunReplay

    Answer = tuple[dict[str, Any], list[bytes]]

SETTINGS = ("optimizer", "lr", "batch_size", "epochs")
"""The settings that the page may change."""
SHARED_SETTINGS = ("batch_size", "epochs")
"""The changed settings that both runs of a race get: they see the same batches, for as many epochs."""
MAX_NAME = 60  # characters of the run's name in the names of its forks
WAIT = 1.0  # seconds that an answer waits for news


class Races:
    """Makes forks and trains them. There is one race at a time: the next one stops it.

    Args:
        shelf: where the runs are.

    Attributes:
        closes: how often the last page was closed. A request for a training passes the number from when it was made:
            if it has changed since, no page is left to watch the training, or to stop it.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._processes: dict[str, TrainingProcess] = {}  # by the run's name
        self._lock = threading.Lock()  # protects _processes and closes
        self.closes = 0
        self._changing = threading.Lock()  # held while processes are stopped and started, so that none is overlooked

    def start(
        self, name: str, replay: RunReplay, step: int, settings: dict[str, Any], race: bool, closes: int
    ) -> Answer:
        """Fork a run at a step, and train the fork; in a race, beside one that keeps the run's settings.

        Raises:
            CanceledError: the last page was closed meanwhile; forks that were complete by then remain, untrained.
            RunError: the fork is not possible.
        """
        unknown = sorted(settings.keys() - set(SETTINGS))
        if unknown:
            raise RunError(f"the page can change {', '.join(SETTINGS)}, not {', '.join(unknown)}")
        changes = [settings]
        if race:
            changes.insert(0, {key: settings[key] for key in SHARED_SETTINGS if key in settings})
        names: list[str] = []
        for change in reversed(changes):  # the changed fork first: if it is refused, no other is made
            folder = self.shelf.folder / f"{name[:MAX_NAME]}-step-{step}-{secrets.token_hex(2)}"
            names.insert(0, fork(replay, step, change, folder, is_canceled=lambda: self.closes != closes).folder.name)
        self.go_on(names, closes)
        return {"runs": names}, []

    def go_on(self, names: Sequence[str], closes: int) -> Answer:
        """Continue the training of runs.

        Raises:
            CanceledError: the last page was closed meanwhile.
            RunError: there is no such run.
        """
        folders = {name: self.shelf.run(name).folder for name in names[:2]}
        with self._changing:
            self._stop()
            if self.closes != closes:
                raise CanceledError("the last page has gone, so nothing is trained")
            processes = {name: TrainingProcess(folder) for name, folder in folders.items()}
            with self._lock:
                self._processes = processes
        return {"runs": [*folders]}, []

    def lane(self, name: str, after: int) -> Answer:
        """Wait up to a second for news of a run, and describe its state.

        Raises:
            RunError: the run was deleted.
        """
        with self._lock:
            process = self._processes.get(name)
        run = self.shelf.run(name)
        fork_step = run.config.get("fork", {}).get("step", 0)
        settings = {key: run.config["training"][key] for key in SETTINGS}
        state: dict[str, Any] = {"state": "stopped"}
        frame: dict[str, Any] = {}
        curve = b""
        if process is not None:
            after, state, newest = process.news(after, WAIT if process.is_alive else 0.0)
            if newest is not None:
                frame, curve = newest[0], newest[1][0]
        if state["state"] == "stopped" and run.result is not None:
            state = {**state, "state": "finished"}
        history = run.history
        last = history[-1] if history else {}
        result = state.get("result") or run.result or {}
        return {
            "number": after,
            "state": state["state"],
            "is_running": process is not None and process.is_alive and state["state"] in RUNNING,
            "sentence": state.get("sentence") or state.get("refused"),
            "from": fork_step,
            "step": frame.get("step", state.get("step")),
            "steps": frame.get("steps"),
            "loss": frame.get("loss"),
            "epochs": len(history),
            "validation_accuracy": _finite(last.get("validation_accuracy")),
            "validation_loss": _finite(last.get("validation_loss")),
            "test_accuracy": _finite(result.get("test_accuracy")),
            "settings": settings,
        }, [curve, _epochs(history)]

    def stop(self) -> None:
        """Save and stop the trainings; `lane` still describes them."""
        with self._changing:
            self._stop()

    def close(self) -> None:
        """Save and stop the trainings, and cancel those that were requested and have not begun."""
        with self._lock:
            self.closes += 1
        self.stop()

    def _stop(self) -> None:
        with self._lock:
            alive = [process for process in self._processes.values() if process.is_alive]
        threads = [threading.Thread(target=process.stop) for process in alive]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _epochs(history: Sequence[dict[str, Any]]) -> bytes:
    """Return the epochs and their validation losses, (N, 2) float32, as bytes."""
    rows = [[record["epoch"], record.get("validation_loss", math.nan)] for record in history]
    return np.array(rows, np.float32).reshape(-1, 2).tobytes()
