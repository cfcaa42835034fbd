"""A view of the studio as a widget: the same module, the same Python side, messages over a notebook's connection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from chainrule.studio.bundle import bundle, style
from chainrule.studio.views import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.studio.views import Views


class StudioWidget(anywidget.AnyWidget):
    """A view of the studio.

    Args:
        name: the view's name.
        views: its Python side, among others or alone.
        state: see the attribute.

    Attributes:
        state: what differs from the view's defaults, as the studio's address has it: `"data=moons&seed=3"`. When it is
            set, the view shows that.
    """

    state = traitlets.Unicode("").tag(sync=True)
    _is_open = False  # not before all is there: a widget is closed when it is deleted, too

    def __init__(self, name: str, views: Views, state: str = "") -> None:
        self._esm, self._css = bundle(name), style(name)
        super().__init__(state=state)
        self.name, self.views = name, views
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"studio-{name}")
        self.on_msg(self._receive)
        self._is_open = True

    def _receive(self, _: object, content: Any, buffers: Sequence[memoryview]) -> None:
        """Answer a message in a thread, as the studio does: some answers wait for something new."""
        self._threads.submit(self._answer, content, [bytes(buffer) for buffer in buffers])

    def _answer(self, content: Any, buffers: list[bytes]) -> None:
        self.send(*self.views.answer(self.name, content, buffers))

    def close(self) -> None:
        """Take the widget off the page, and tell its Python side."""
        if self._is_open:
            self._is_open = False
            self.on_msg(self._receive, remove=True)
            self._threads.shutdown(wait=False, cancel_futures=True)
            self.views.close()
        super().close()
