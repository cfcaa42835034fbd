"""Prepares the next batches of a pass in a background thread: gathers them from disk, scales and augments them.

A single thread prepares batches in order and does not share the work of a kernel with other threads: these would
compete with the training step for the processors. A batch depends only on its position, so it is the same in any
thread. The thread prepares only a few batches beyond the current one, which bounds the memory.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING

from chainrule.autograd.mode import is_grad_enabled, set_grad_enabled
from chainrule.kernels.team import background

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from chainrule.tensor import Tensor

    Batch = tuple[Tensor, ...]


class Prefetcher:
    """Prepares batches ahead of the one that is requested. The thread ends when this object is no longer used.

    Args:
        prepare: returns the batch at a position. It must not refer to this object, which would keep the thread alive.
        count: the number of batches of the pass.
        ahead: how many batches to prepare in advance.
    """

    def __init__(self, prepare: Callable[[int], Batch], count: int, ahead: int) -> None:
        from concurrent.futures import ThreadPoolExecutor  # rarely needed

        self._prepare, self._count, self._ahead = prepare, count, ahead
        self._pending: deque[tuple[int, Future[Batch]]] = deque()  # consecutive positions
        self._executor = ThreadPoolExecutor(1, "chainrule-prefetch")
        weakref.finalize(self, self._executor.shutdown, wait=False, cancel_futures=True)
        self._process = os.getpid()

    def take(self, position: int) -> Batch:
        """Return the batch at a position, and continue to prepare the following ones.

        If preparing it failed, the exception is raised here, with the traceback from the thread, and the next call
        tries again. An interrupt (Ctrl-C) while waiting loses nothing.
        """
        pending = self._pending
        if pending and pending[0][0] != position:
            self._discard()
        for index in range(position + len(pending), min(position + self._ahead + 1, self._count)):
            run = copy_context().run  # carries context variables into the thread: NumPy's error handling, for example
            pending.append((index, self._executor.submit(run, _prepare, self._prepare, index, is_grad_enabled())))
        future = pending[0][1]
        try:
            batch = future.result()
        except BaseException:
            if future.done():
                self._discard()
            raise
        finally:
            del future  # it would form a cycle with the exception, whose traceback has this frame
        pending.popleft()
        return batch

    def fits(self, prepare: Callable[[int], Batch]) -> bool:
        """Return whether this prepares the same batches, in this process: a forked one has no threads."""
        return self._prepare is prepare and self._process == os.getpid()

    def _discard(self) -> None:
        while self._pending:
            self._pending.popleft()[1].cancel()


def _prepare(prepare: Callable[[int], Batch], position: int, is_recording: bool) -> Batch:
    background.active = True  # in this thread, which then runs kernels alone
    with set_grad_enabled(is_recording):
        return prepare(position)
