"""States that a run saves during training: `replay.RunReplay` computes any step from a state shortly before it.

Saving them takes little time and space: at most one state is saved per second, fewer if saving is slow, and at most
`MAX_STATES` or `MAX_BYTES` are kept. If there are too many, the state whose neighbors are closest together is removed.
The others thus stay distributed over the run.
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

MAX_STATES = 16
"""Maximum number of states in a run's folder."""
MAX_BYTES = 64_000_000
"""Maximum size of all states in a run's folder."""
MIN_STATES = 4
"""If fewer states than this fit into `MAX_BYTES`, a run does not save any."""
MIN_SECONDS = 1.0
"""Minimum time between two states."""
MIN_STEPS = 50
"""Minimum number of steps between two states."""
MAX_TIME_FRACTION = 0.01
"""Maximum fraction of the training time that saving may take."""


class ReplayStates(Callback):
    """Saves the complete state at intervals within epochs.

    Args:
        folder: the folder to write the states to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # When the last save ended; before the first save, when the first step ended, since compiling it may take long
        self._last_time: float | None = None
        self._last_step = 0
        self._interval = MIN_SECONDS  # seconds until the next save
        self._is_small_enough = True  # whether at least `MIN_STATES` states fit into `MAX_BYTES`

    def on_step(self, trainer: Trainer) -> None:
        """Save if enough time and steps have passed."""
        now, step = time.perf_counter(), trainer.global_step
        if self._last_time is None:
            self._last_time, self._last_step = now, step
        is_due = now - self._last_time >= self._interval and step - self._last_step >= MIN_STEPS
        # After an epoch's last step, the epoch is not complete yet: a replay cannot start there
        if is_due and self._is_small_enough and trainer.step_in_epoch < len(trainer.loader):
            self._save(trainer, step)
            self._last_time, self._last_step = time.perf_counter(), step
            saving_time = self._last_time - now
            self._interval = max(MIN_SECONDS, saving_time / MAX_TIME_FRACTION)

    def _save(self, trainer: Trainer, step: int) -> None:
        self.folder.mkdir(exist_ok=True)  # without parents, to fail if the run's folder has been deleted
        file = self.folder / checkpoint.replay_name(step)
        checkpoint.save(trainer.state_dict(), file)
        max_states = min(MAX_STATES, MAX_BYTES // file.stat().st_size)
        if max_states < MIN_STATES:
            self._is_small_enough = False
            file.unlink()
            return
        states = checkpoint.replay_states(self.folder)
        while len(states) > max_states:
            states.pop(least_needed_step(states)).unlink()


def least_needed_step(steps: Iterable[int]) -> int:
    """Return the step whose neighbors are closest together: removing it leaves the smallest gap.

    Args:
        steps: the steps of two or more states. Step 0, from which a replay can always start, counts as a neighbor. The
            last step has only one neighbor and is never returned.

        from chainrule.training.replay_states import least_needed_step

        least_needed_step([10, 20, 25, 40])  # 20
    """
    ordered_steps = [0, *sorted(steps)]
    neighbors = zip(ordered_steps, ordered_steps[1:], ordered_steps[2:], strict=False)
    _, step = min((next_step - previous_step, step) for previous_step, step, next_step in neighbors)
    return step
