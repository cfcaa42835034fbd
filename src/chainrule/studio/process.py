"""A training in a separate process, as the studio controls it.

The process trains the run in a folder, from the folder's checkpoint if there is one. So a fork is a folder with a copy
of a checkpoint, and `chainrule train --resume RUN` continues a training that was killed, with bitwise identical
results.
"""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from typing import TYPE_CHECKING, Any

from chainrule.studio import worker
from chainrule.studio.wire import pack, unpack

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

RUNNING = ("starting", "loading", "running", "paused", "searching")
"""The states of a training that is not over. In `finished` and `diverged` its process waits for a change."""


class TrainingProcess:
    """A run that is trained in a separate process, from its last checkpoint or from the beginning.

    `pause`, `step`, `go` and `change` control it, `news` waits for its messages, and `stop` saves and ends it. All may
    be called from any thread.

    Args:
        folder: the run's folder.
        until: pause after this step, counted from the start of training; 0 to begin paused; None to train to the end.

    Attributes:
        folder: the run's folder.
    """

    def __init__(self, folder: Path, *, until: int | None = None) -> None:
        self.folder = folder
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=worker.main, args=(str(folder), other, until), daemon=True)
        self._process.start()
        other.close()  # so that the pipe ends when the process ends
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._number = 0  # counts states and frames
        self._state: dict[str, Any] = {"state": "starting"}
        self._frame: tuple[dict[str, Any], list[bytes]] | None = None
        self._requested = -math.inf  # when frames were last requested
        self._was_killed = False  # whether `stop` had to kill the process
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def state(self) -> dict[str, Any]:
        """The newest state: {"state": S, ...}; S is one of `RUNNING`, or finished, diverged, stopped or failed."""
        return self._state

    @property
    def pid(self) -> int | None:
        """The id of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def go(self, until: int | None = None) -> None:
        """Continue training, up to a step or to the end."""
        self._send({"do": "go", "until": until})

    def pause(self) -> None:
        """Pause before the next step, and save the state."""
        self.go(worker.PAUSED)

    def step(self) -> None:
        """Take one step, and pause."""
        self._send({"do": "step"})

    def change(self, settings: dict[str, Any], *, epoch: int | None = None, step: int | None = None) -> None:
        """Change settings, or go back to a saved state, after the current step (see `training.changes.change_run`)."""
        self._send({"do": "change", "arguments": {"settings": settings, "epoch": epoch, "step": step}})

    def look(self, picture: NDArray[np.uint8] | None) -> None:
        """Show in frames the class probabilities of a picture of the run's shape; None ends that."""
        if picture is None:
            self._send({"do": "look"})
        else:
            self._send({"do": "look", "shape": list(picture.shape)}, [picture.tobytes()])

    def stop(self, timeout: float = 20.0) -> None:
        """Save the state after the current step and end the process; after `timeout` seconds, kill it."""
        self._send({"do": "stop"})
        self._process.join(timeout)
        if self._process.is_alive():  # some work, such as validation, cannot be interrupted
            self._was_killed = True
            self._process.kill()
            self._process.join()

    def news(self, after: int, timeout: float) -> tuple[int, dict[str, Any], tuple[dict[str, Any], list[bytes]] | None]:
        """Wait for a state or a frame that is newer than number `after`.

        Returns:
            The number of the newest message (`after` if none came in time), the newest state, and the newest frame.
        """
        with self._news:
            if (now := time.monotonic()) > self._requested + worker.WATCHED / 2:
                self._requested = now
                self._send({"do": "frame"})
            self._news.wait_for(lambda: self._number > after, timeout)
            return max(self._number, after), self._state, self._frame

    def wait(self, *states: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until the training is in one of these states, or its process has ended; return the state.

        Raises:
            TimeoutError: neither happened in time.
        """
        with self._news:
            if not self._news.wait_for(lambda: self._state["state"] in (*states, "failed", "stopped"), timeout):
                raise TimeoutError(f"the training is {self._state['state']} after {timeout:g} s")
            return self._state

    def _send(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        with self._sending:
            try:
                self._connection.send_bytes(pack(content, buffers or []))
            except OSError:
                return  # the process has ended: the reading thread sets the state

    def _read(self) -> None:
        """Keep the newest state and the newest frame."""
        try:
            while True:
                content, buffers = unpack(self._connection.recv_bytes())
                with self._news:
                    self._take(content.pop("tell"), content, buffers)
        except (EOFError, OSError):
            self._process.join()
        with self._news:
            if self._state["state"] not in ("failed", "stopped"):
                state = "stopped" if self._was_killed else "failed"
                self._take("state", {"state": state, **self._describe_end()}, [])

    def _describe_end(self) -> dict[str, Any]:
        """Return the step and the sentence for a process that ended without a last message."""
        code = self._process.exitcode or 0
        process = "the training's process"
        how = f"{process} was killed (signal {-code})" if code < 0 else f"{process} has ended (exit code {code})"
        if self._was_killed:
            how = "the training did not stop in time, so its process was ended"
        step = self._frame[0]["step"] if self._frame else self._state.get("step", 0)
        saved = "nothing that was saved is lost: go on from there, to the same bits"
        return {"step": step, "sentence": f"{how} at about step {step:,}; {saved}"}

    def _take(self, kind: str, content: dict[str, Any], buffers: list[bytes]) -> None:
        if kind == "frame":
            self._frame = (content, buffers)
        else:
            self._state = content
        self._number += 1
        self._news.notify_all()
