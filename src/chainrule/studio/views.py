"""The Python sides of the views, by name; each is created at its first message."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any, Protocol

from chainrule.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.studio.shelf import Shelf

MAX_CONCURRENT_MESSAGES = 8
"""The most messages of one page that are answered at the same time."""


class View(Protocol):
    """The Python side of a view. It may be called by several threads at the same time."""

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
        """Return the answer to a message; None if it is not understood.

        The page shows the message of a `UserError`. An answer may wait up to a second for news.
        """

    def close(self) -> None:
        """Stop what runs: the last page was closed."""


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
    """Views by name, each created at its first use.

    Args:
        makers: functions that create the views, by name.
    """

    def __init__(self, makers: Mapping[str, Callable[[], View]]) -> None:
        self._makers = dict(makers)
        self._views: dict[str, View] = {}
        self._locks = {name: threading.Lock() for name in makers}

    @classmethod
    def of(cls, shelf: Shelf) -> Views:
        """Return all views of the studio, for the runs and data of a shelf."""
        return cls({name: lambda make=make: make(shelf) for name, make in VIEWS.items()})  # type: ignore[misc]

    def get(self, name: object) -> View | None:
        """Return the view of this name; None if there is none."""
        if not isinstance(name, str) or name not in self._makers:
            return None
        with self._locks[name]:  # a lock for each: other views can be created meanwhile
            if name not in self._views:
                self._views[name] = self._makers[name]()
            return self._views[name]

    def answer(self, name: object, content: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Answer a message to a view; errors, and messages that are not understood, are answered with a sentence."""
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
        """Close all views: the last page was closed."""
        for view in list(self._views.values()):
            view.close()
