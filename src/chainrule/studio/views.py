"""The views' Python sides, by name: made when the page first asks for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.studio.shelf import Shelf


class View(Protocol):
    """What answers a view of the page. Several threads may ask at the same time."""

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
        """Answer a message with another; None if it is not understood.

        A `UserError` that it raises is told on the page. An answer may wait up to a second for something new.
        """

    def close(self) -> None:
        """The last page has gone."""


def _draw(shelf: Shelf) -> View:
    from chainrule.studio.drawing import Drawing

    return Drawing.of(shelf)


VIEWS: dict[str, Callable[[Shelf], View]] = {
    "draw": _draw,
}


class Views:
    """Views by name, each made at its first use.

    Args:
        makers: what makes a view, by its name.
    """

    def __init__(self, makers: Mapping[str, Callable[[], View]]) -> None:
        self._makers = dict(makers)
        self._views: dict[str, View] = {}
        self._locks = {name: threading.Lock() for name in makers}

    @classmethod
    def of(cls, shelf: Shelf) -> Views:
        """All views of the studio, over a shelf."""
        return cls({name: lambda make=make: make(shelf) for name, make in VIEWS.items()})  # type: ignore[misc]

    def get(self, name: object) -> View | None:
        """The view of a name; None if there is none."""
        if not isinstance(name, str) or name not in self._makers:
            return None
        with self._locks[name]:  # others can be made meanwhile
            if name not in self._views:
                self._views[name] = self._makers[name]()
            return self._views[name]

    def close(self) -> None:
        """Tell all views that the last page has gone."""
        for view in list(self._views.values()):
            view.close()
