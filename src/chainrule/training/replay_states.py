"""States that a run saves during training, so that `replay` can compute any step again from one shortly before it.

They are few and cost little: one a second at most, fewer where saving is slow, and never more than `MAX_STATES` or
`MAX_BYTES`. When there are too many, the one whose neighbors are closest together is removed, so that the others stay
spread over the run.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chainrule.training import checkpoint
from chainrule.training.trainer import Callback

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from chainrule.training.trainer import Trainer

MAX_STATES, MAX_BYTES = 16, 64_000_000
"""Limits for one run's folder."""
MIN_STATES = 4
"""A run saves no states if fewer than this fit into `MAX_BYTES`."""
MIN_SECONDS, MIN_STEPS = 1.0, 50
"""Minimum time and number of steps between two states."""
MAX_SHARE = 0.01
"""Maximum fraction of the training time that saving may take."""


class ReplayStates(Callback):
    """Saves the complete state now and then within epochs.

    Args:
        folder: the folder to write the states to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last_time: float | None = None  # None before the first step, which may have to be compiled
        self._last_step, self._pause = 0, MIN_SECONDS
        self._fits = True

    def on_step(self, trainer: Trainer) -> None:
        """Save if enough time and steps have passed."""
        now, step = time.perf_counter(), trainer.total_steps
        if self._last_time is None:
            self._last_time, self._last_step = now, step
        is_due = now - self._last_time >= self._pause and step - self._last_step >= MIN_STEPS
        if is_due and self._fits and trainer.step < len(trainer.loader):
            # Not after an epoch's last step, when the epoch is not complete yet: a replay cannot start there
            self._save(trainer, step)
            self._last_time, self._last_step = time.perf_counter(), step
            self._pause = max(MIN_SECONDS, (self._last_time - now) / MAX_SHARE)

    def _save(self, trainer: Trainer, step: int) -> None:
        self.folder.mkdir(exist_ok=True)  # without parents: a run that was deleted is not created again
        file = self.folder / checkpoint.replay_name(step)
        checkpoint.save(trainer.state_dict(), file)
        max_states = min(MAX_STATES, MAX_BYTES // file.stat().st_size)
        if max_states < MIN_STATES:
            self._fits = False
            file.unlink()
            return
        states = checkpoint.replay_states(self.folder)
        while len(states) > max_states:
            states.pop(least_needed(states)).unlink()


def least_needed(steps: Iterable[int]) -> int:
    """Return the step whose neighbors are closest together: removing it leaves the smallest gap.

    Args:
        steps: two or more. Step 0, from which a run can always start, counts as a neighbor; the last step is never
            returned.

        from chainrule.training.replay_states import least_needed

        least_needed([10, 20, 25, 40])  # 20
    """
    ordered = [0, *sorted(steps)]
    gaps = [(after - before, step) for before, step, after in zip(ordered, ordered[1:], ordered[2:], strict=False)]
    return min(gaps)[1]
