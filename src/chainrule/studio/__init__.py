"""The studio: a page in the browser, served to this machine alone, that shows what a network computes.

- `guard`: which requests are answered; it wraps the whole application.
- `wire`: messages over the socket: a JSON object and arrays of bytes.
- `server`: the application: the page's files, and one socket that passes messages to the views.
- `shelf`: the runs and data that a page may open, by their names.
- `views`: the table of the views' Python sides, which are modules such as `drawing` and packages such as `playground`.
- `process`: a training in a separate process, in which `worker` runs; `frames`: what the page shows of it; `program`: a
  run as a Python program.
- `bundle`: the modules of a view as one, for hosts that load a single text; `notebook`: a view as a widget.
- `static/`: the page: ES modules, without a build step; `static/views/` has the modules of each view, `static/parts/`
  what they share. `types/` declares the messages' types for TypeScript's checker, and is neither served nor installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.errors import MissingLibraryError, UserError

if TYPE_CHECKING:
    import os

    from chainrule.training.run import Run

__all__ = ["widget"]


def widget(model: Run | str | os.PathLike[str] | None = None, view: str | None = None, state: str = "") -> Any:
    """Return a view of the studio as a widget, for Jupyter, VS Code and marimo: as a cell's last line it is shown.

    Args:
        model: a run, its folder, or a folder of runs, of which the newest is taken; by default the network in the
            package. The view also offers the other runs in the same folder.
        view: the view's name, as in the studio's addresses; by default "words" for a language model, else "draw".
        state: what the view shows at first, as written after the question mark of the studio's addresses.

    Returns:
        An `anywidget.AnyWidget`; its `state` is what the view shows now, and may be set.

    Raises:
        MissingLibraryError: anywidget is not installed.
        RunError: there is no such run.
        UserError: there is no view of this name.
    """
    from chainrule.studio.shelf import Shelf
    from chainrule.studio.views import VIEWS, Views
    from chainrule.training import run as runs
    from chainrule.training.text_task import TEXT

    try:
        from chainrule.studio.notebook import StudioWidget
    except ModuleNotFoundError as error:
        if error.name not in ("anywidget", "traitlets"):
            raise
        raise MissingLibraryError(
            f"a widget needs the library {error.name}, which is not installed: pip install 'chainrule[widget]'"
        ) from None
    if model is None:
        run, shelf = None, Shelf()
    else:
        run = model if isinstance(model, runs.Run) else runs.find(model)
        shelf = Shelf(run.folder.parent, run)
    if view is None:
        view = "words" if run is not None and run.task is TEXT else "draw"
    if view not in VIEWS:
        raise UserError(f"there is no view {view!r}; the views are {', '.join(VIEWS)}")
    make = VIEWS[view]
    return StudioWidget(view, Views({view: lambda: make(shelf)}), state)
