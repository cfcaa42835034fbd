"""The views' Python sides, by name: made when the page first asks for them."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any, Protocol

from chainrule.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.studio.shelf import Shelf

AT_ONCE = 8
"""Messages of one page that are answered at the same time."""


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


def _inside(shelf: Shelf) -> View:
    from chainrule.studio.inside import Inside

    return Inside(shelf)


def _microscope(shelf: Shelf) -> View:
    from chainrule.studio.microscope.view import Microscope

    return Microscope(shelf)


def _playground(_: Shelf) -> View:
    from chainrule.studio.playground import Playground

    return Playground()


def _words(shelf: Shelf) -> View:
    from chainrule.studio.words import Words

    return Words(shelf)


def _time(shelf: Shelf) -> View:
    from chainrule.studio.time_machine import TimeMachine

    return TimeMachine(shelf)


def _train(shelf: Shelf) -> View:
    from chainrule.studio.training import Training

    return Training(shelf)


VIEWS: dict[str, Callable[[Shelf], View]] = {
    "draw": _draw,
    "inside": _inside,
    "train": _train,
    "microscope": _microscope,
    "playground": _playground,
    "words": _words,
    "time": _time,
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

    def answer(self, name: object, content: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Answer a message to a view; one that is not understood gets a sentence, and so does what goes wrong."""
        try:
            view = self.get(name)
            reply = view.answer(content, buffers) if view else None
        except UserError as error:
            return {"error": str(error)}, []
        except Exception as error:
            traceback.print_exc()  # on the terminal
            return {"error": f"a fault in the studio ({error!r}); its terminal says where"}, []
        return reply or ({"error": "the studio does not understand this message; is the page of another version?"}, [])

    def close(self) -> None:
        """Tell all views that the last page has gone."""
        for view in list(self._views.values()):
            view.close()
