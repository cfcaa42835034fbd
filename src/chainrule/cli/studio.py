"""`chainrule studio`: open the studio in the browser."""

from __future__ import annotations

import webbrowser

import click

from chainrule.cli.arguments import PathName
from chainrule.cli.output import print_lines
from chainrule.errors import MissingLibraryError
from chainrule.training import run as runs


@click.command(
    epilog="""\b
Examples:
  chainrule studio
  chainrule studio --run runs
  chainrule studio --no-browser --port 8765"""
)
@click.option(
    "--run",
    "run_path",
    type=PathName(),
    metavar="RUN",
    help="The trained model: a run's folder, or a folder of runs (the newest).  [default: the pretrained network]",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port.  [default: any free one]")
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")
def studio(run_path: str | None, port: int, no_browser: bool) -> None:
    """Open a page where you draw a digit and watch the network read it. It is served to this machine alone."""
    try:
        from chainrule.studio.server import serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "websockets", "anyio"):
            raise
        raise MissingLibraryError(
            f"the studio needs the library {error.name}, which is not installed: pip install 'chainrule[studio]'"
        ) from None
    from chainrule.data import mnist
    from chainrule.reading import DigitReader
    from chainrule.studio.drawing import Drawing

    run = runs.shipped() if run_path is None else runs.find(run_path)
    about = f"{run.model.name}, {'the network in the package' if run_path is None else f'from {run.folder}'}"
    if run.result and "test_accuracy" in run.result:
        about += f": reads {run.result['test_accuracy']:.2%} of its test images"
    drawing = Drawing(DigitReader(run), about, mnist().test_images[:200])

    def announce(address: str) -> None:
        print_lines(address, "Ctrl-C ends it.")
        if not (no_browser or webbrowser.open(address)):
            print_lines("No browser was found: open this address in one.")

    serve({"draw": drawing}, port, announce)
