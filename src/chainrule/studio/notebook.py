"""A view of the studio as a widget: the same JavaScript and Python, with messages over a notebook's connection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from chainrule.studio.bundle import bundle, style
from chainrule.studio.views import MAX_CONCURRENT_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.studio.views import Views


class StudioWidget(anywidget.AnyWidget):
    """A view of the studio.

    Args:
        name: the view's name.
        views: views that include this one.
        state: the initial state, see the attribute.

    Attributes:
        state: the settings that differ from the view's defaults, as in the studio's addresses: `"data=moons&seed=3"`.
            The view follows when it is set.
    """

    state = traitlets.Unicode("").tag(sync=True)
    _is_open = False  # until the constructor has finished: a widget that is deleted earlier is closed, too

    def __init__(self, name: str, views: Views, state: str = "") -> None:
        self._esm, self._css = bundle(name), style(name)
        super().__init__(state=state)
        self.name, self.views = name, views
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_MESSAGES, thread_name_prefix=f"studio-{name}")
        self.on_msg(self._receive)
        self._is_open = True

    def _receive(self, _: object, content: Any, buffers: Sequence[memoryview]) -> None:
        """Answer a message in a thread, as the studio does: some answers wait for news."""
        self._threads.submit(self._answer, content, [bytes(buffer) for buffer in buffers])

    def _answer(self, content: Any, buffers: list[bytes]) -> None:
        self.send(*self.views.answer(self.name, content, buffers))

    def close(self) -> None:
        """Remove the widget from the page, and close its Python side."""
        if self._is_open:
            self._is_open = False
            self.on_msg(self._receive, remove=True)
            self._threads.shutdown(wait=False, cancel_futures=True)
            self.views.close()
        super().close()
