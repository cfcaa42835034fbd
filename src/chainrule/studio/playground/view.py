"""The Python side of the view Playground: it takes steps and returns what the page shows of them."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

from chainrule.errors import UserError, shorten
from chainrule.studio.playground.choices import choices
from chainrule.studio.playground.frame import frame, scene
from chainrule.studio.playground.points import read_points
from chainrule.studio.playground.run import PlaygroundRun
from chainrule.studio.playground.script import script
from chainrule.studio.playground.setup import MAX_CLASSES, MAX_STEPS, Setup, read_setup
from chainrule.studio.playground.stop import read_stop

MAX_CSV = 1_000_000
"""The most bytes of a CSV file."""
SECONDS_PER_FRAME = 0.03
"""How long steps are taken before a frame while the run plays."""
SECONDS_PER_STILL = 0.2
"""How long steps are taken before a frame while a paused run is repeated up to a step."""
_MAX_RUNS = 8

Answer = tuple[dict[str, Any], list[bytes]]


class Playground:
    """Answers the view Playground. A page asks for each frame, so a closed page leaves nothing running.

    A run is identified by the page's number and its settings; a run that was dropped is repeated from its start.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._runs: OrderedDict[tuple[int, Setup], PlaygroundRun] = OrderedDict()

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> Answer | None:
        """Answer a message; return None if it is not understood."""
        try:
            with self._lock:
                return self._answer(content, buffers)
        except UserError as error:
            return {"tell": "mistake", "ask": content.get("ask"), "error": str(error)}, []

    def close(self) -> None:
        """Forget all runs, as the last page was closed."""
        with self._lock:
            self._runs.clear()

    def _answer(self, content: dict[str, Any], buffers: list[bytes]) -> Answer | None:
        match content, buffers:
            case {"ask": "choices"}, []:
                return {"tell": "choices", **choices()}, []
            case {"ask": "frame", "page": int(page), "state": dict(state), "step": int(step), "scene": bool()}, []:
                play, is_new = content.get("play") is True, content["scene"]
                return self._frame(page, dict(state), step, play=play, is_new=is_new)
            case {"ask": "code", "page": int(page), "state": dict(state), "step": int(step)}, []:
                return self._code(page, dict(state), step)
            case {"ask": "csv", "name": str(name)}, [file]:
                return _csv(name, file)
        return None

    def _frame(self, page: int, state: dict[str, Any], step: int, *, play: bool, is_new: bool) -> Answer:
        """Take steps until `step`, or until time is up, and return what the page shows.

        Args:
            page: the page's number.
            state: the page's settings.
            step: the step to reach.
            play: whether the run plays, and so stops at its condition.
            is_new: whether the answer includes the scene.
        """
        stop_text = state.pop("stop", "")
        setup = read_setup(state)
        stop = read_stop(stop_text, setup)
        _check_step(step)
        run = self._run(page, setup, step)
        reason = run.train(step, seconds=SECONDS_PER_FRAME if play else SECONDS_PER_STILL, stop=stop if play else None)
        if play and not reason and run.steps >= MAX_STEPS:
            reason = f"Stopped after {MAX_STEPS:,} steps, the most of a run here."
        numbers, arrays = frame(run)
        content = {
            "tell": "frame",
            "page": page,
            **numbers,
            "stopped": reason,
            "fault": run.fault.sentence if run.fault else None,
            "fault_layer": run.fault.layer if run.fault else None,
        }
        if is_new:
            static, pictures = scene(run)
            content["scene"] = static
            arrays += pictures
        return content, arrays

    def _run(self, page: int, setup: Setup, step: int) -> PlaygroundRun:
        """Return the page's run; a run that is beyond `step` is begun again."""
        key = (page, setup)
        run = self._runs.get(key)
        if run is None or run.steps > step:
            run = self._runs[key] = PlaygroundRun(setup)
        self._runs.move_to_end(key)
        while len(self._runs) > _MAX_RUNS:
            self._runs.popitem(last=False)
        return run

    def _code(self, page: int, state: dict[str, Any], step: int) -> Answer:
        state.pop("stop", None)
        setup = read_setup(state)
        _check_step(step)
        run = self._run(page, setup, step)
        return {"tell": "code", "code": script(run, step)}, []


def _check_step(step: int) -> None:
    if not 0 <= step <= MAX_STEPS:
        raise UserError(f"step must be a whole number from 0 to {MAX_STEPS:,}, not {step}")


def _csv(name: str, file: bytes) -> Answer:
    if len(file) > MAX_CSV:
        raise UserError(f"{len(file):,} bytes are too many for the playground: {MAX_CSV:,} at most")
    own, classes, about = read_points(shorten(name, 100) or "the table", file, MAX_CLASSES)
    return {"tell": "points", "own": own, "classes": classes, "about": about}, []
