"""A training in a process of its own, from the studio's side.

The run is an ordinary run's folder: what is trained, and from where, is what the folder says. So a fork is a folder
with a copy of a checkpoint, and a training that is killed goes on, to the same bits, by `chainrule train --resume RUN`.
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
"""The states of a training that is not over; in `finished` and `diverged`, too, its process waits for a change."""


class TrainingProcess:
    """A run that is trained in a process of its own, from its last checkpoint or from the beginning.

    `pause`, `step`, `go` and `change` steer it, `news` waits for what it tells, and `stop` saves and ends it. All may
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
        other.close()  # so that the end of the process is the end of the pipe
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._number = 0  # of the newest state or frame
        self._state: dict[str, Any] = {"state": "starting"}
        self._frame: tuple[dict[str, Any], list[bytes]] | None = None
        self._asked = -math.inf  # when frames were asked for
        self._was_ended = False  # whether `stop` had to kill the process
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def state(self) -> dict[str, Any]:
        """The newest state: {"state": S, ...}; S is one of `RUNNING`, or finished, diverged, stopped or failed."""
        return self._state

    @property
    def pid(self) -> int | None:
        """The number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def go(self, until: int | None = None) -> None:
        """Train on, to a step or to the end."""
        self._send({"do": "go", "until": until})

    def pause(self) -> None:
        """Stop before the next step; the state is saved."""
        self.go(worker.PAUSED)

    def step(self) -> None:
        """Take one step, and pause."""
        self._send({"do": "step"})

    def change(self, settings: dict[str, Any], *, epoch: int | None = None, step: int | None = None) -> None:
        """Change settings, or go back to a kept state, after the present step (see `training.changes.change_run`)."""
        self._send({"do": "change", "arguments": {"settings": settings, "epoch": epoch, "step": step}})

    def look(self, picture: NDArray[np.uint8] | None) -> None:
        """Show, in frames, the probabilities of a picture of the run's shape; None for none."""
        if picture is None:
            self._send({"do": "look"})
        else:
            self._send({"do": "look", "shape": list(picture.shape)}, [picture.tobytes()])

    def stop(self, timeout: float = 20.0) -> None:
        """Save the state after the present step, and end the process; if that takes longer than `timeout`, kill it."""
        self._send({"do": "stop"})
        self._process.join(timeout)
        if self._process.is_alive():  # in what cannot be left halfway, such as validating
            self._was_ended = True
            self._process.kill()
            self._process.join()

    def news(self, after: int, timeout: float) -> tuple[int, dict[str, Any], tuple[dict[str, Any], list[bytes]] | None]:
        """Wait for a state or a frame that is newer than number `after`.

        Returns:
            Its number (`after` if there is none in time), the newest state, and the newest frame.
        """
        with self._news:
            if (now := time.monotonic()) > self._asked + worker.WATCHED / 2:
                self._asked = now
                self._send({"do": "frame"})
            self._news.wait_for(lambda: self._number > after, timeout)
            return max(self._number, after), self._state, self._frame

    def wait(self, *states: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until the training is in one of some states, or its process has ended; return the state.

        Raises:
            TimeoutError: it is not.
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
                return  # the process has ended: the reading thread tells so

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
                state = "stopped" if self._was_ended else "failed"
                self._take("state", {"state": state, **self._obituary()}, [])

    def _obituary(self) -> dict[str, Any]:
        """What is said of a process that has ended without a word."""
        code = self._process.exitcode or 0
        process = "the training's process"
        how = f"{process} was killed (signal {-code})" if code < 0 else f"{process} has ended (exit code {code})"
        if self._was_ended:
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
