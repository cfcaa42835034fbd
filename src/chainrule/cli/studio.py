"""`chainrule studio` and `chainrule play`: serve the studio, and open it in the browser."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from chainrule.cli.arguments import PathName
from chainrule.cli.docs import NO_BROWSER, STOP_HINT, find_site, site_server
from chainrule.cli.output import print_lines
from chainrule.errors import MissingLibraryError, UserError
from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.server import ThreadingHTTPServer

    from chainrule.studio.shelf import Shelf

_port = click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port.  [default: any free one]")
_no_browser = click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")


@click.command(
    epilog="""\b
Examples:
  chainrule studio
  chainrule studio --run runs               the newest network of your own
  chainrule studio --no-browser --port 8765"""
)
@click.option(
    "--run",
    "run_path",
    type=PathName(),
    metavar="RUN",
    help="The trained model: a run's folder, or a folder of runs (the newest).  [default: the pretrained network]",
)
@click.option(
    "--runs",
    "folder",
    type=PathName(file_okay=False),
    metavar="FOLDER",
    default="runs",
    show_default=True,
    help="The folder of runs to choose from.",
)
@click.option(
    "--data",
    multiple=True,
    metavar="DATA",
    help="A data set to offer besides MNIST, as --data of chainrule train takes it (repeatable).",
)
@_port
@_no_browser
def studio(run_path: str | None, folder: str, data: tuple[str, ...], port: int, no_browser: bool) -> None:
    """Open a page where you see networks think: draw a digit, and watch. Only this machine can open it."""
    _require_libraries()
    from chainrule.studio.shelf import Shelf
    from chainrule.training.text_task import TEXT

    chosen = None if run_path is None else runs.find(run_path)
    view = "#words" if chosen is not None and chosen.task is TEXT else ""  # the default view reads digits
    _serve(Shelf(Path(folder), chosen, name_data(data)), port, no_browser, view)


@click.command(
    epilog="""\b
Examples:
  chainrule play
  chainrule play --no-browser --port 8765"""
)
@_port
@_no_browser
def play(port: int, no_browser: bool) -> None:
    """Open a page where you build a small network and watch it learn to tell points apart.

    It is the studio's playground. Only this machine can open it.
    """
    _require_libraries()
    from chainrule.studio.shelf import Shelf

    _serve(Shelf(), port, no_browser, "#playground")


def _require_libraries() -> None:
    """Check that the studio's libraries are installed.

    Raises:
        MissingLibraryError: one is not installed.
    """
    try:
        import chainrule.studio.server  # noqa: F401  # imports the libraries
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "websockets", "anyio"):
            raise
        raise MissingLibraryError(
            f"the studio needs the library {error.name}, which is not installed: pip install 'chainrule[studio]'"
        ) from None


def _serve(shelf: Shelf, port: int, no_browser: bool, view: str = "") -> None:
    """Serve the studio until Ctrl-C, and open it in the browser.

    Args:
        shelf: the runs and data sets that the studio may open.
        port: 0 for any free port.
        no_browser: only print the address.
        view: the view to open, as a fragment of the address, such as "#words"; empty for the default.
    """
    from chainrule.studio.server import serve
    from chainrule.studio.views import Views

    def announce(address: str) -> None:
        print_lines(address + view, STOP_HINT)
        if not (no_browser or webbrowser.open(address + view)):
            print_lines(NO_BROWSER)

    with LessonPages() as pages:
        serve(Views.of(shelf), port, announce, pages.address)


def name_data(arguments: Sequence[str]) -> dict[str, str]:
    """Return the data sets to open, by name; a file or folder becomes an absolute path, named by its last part.

    Args:
        arguments: names of data sets or texts, files, and folders.

    Raises:
        click.UsageError: a data set does not exist, or two have the same name.
    """
    from chainrule import text
    from chainrule.data.catalog import SOURCES

    data_by_name: dict[str, str] = {}
    for argument in arguments:
        path = Path(argument)
        if not (path.exists() or argument in SOURCES or argument in text.CORPORA):
            raise click.UsageError(f"{argument}: there is no such data set, file or folder")
        if path.name in data_by_name:
            raise click.UsageError(f"two data sets are called {path.name}; rename one of them")
        data_by_name[path.name] = str(path.resolve()) if path.exists() else argument
    return data_by_name


class LessonPages:
    """The addresses of the lessons' pages, on a server that starts when the first address is requested."""

    def __init__(self) -> None:
        self.server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()

    def address(self, key: str) -> str | None:
        """Return the address of a lesson's page; None if the site is not installed."""
        if self.server is None:
            try:
                self.server = site_server(find_site(), 0)
            except UserError:
                return None
            threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/lessons/{key}.html"
