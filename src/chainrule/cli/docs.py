"""`chainrule docs`: open the website that comes with the package."""

from __future__ import annotations

import shutil
import webbrowser
import zipfile
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp

import click

import chainrule
from chainrule.cli.output import print_lines
from chainrule.errors import UserError
from chainrule.files import cache_folder

SITE_ARCHIVE = Path(chainrule.__file__).with_name("site.zip")
"""The site in the package: `scripts/pack_site.py` puts it there when a wheel is built."""

CHECKOUT = SITE_ARCHIVE.parent.parent.parent
"""The root of the checkout, if the package is imported from one (from `src/chainrule`)."""

NO_BROWSER = "No browser was found; open this address yourself."
"""Printed below an address that could not be opened."""

STOP_HINT = "Press Ctrl-C to stop the server."
"""Printed below the address of a server."""


@click.command(
    epilog="""\b
Examples:
  chainrule docs                 open the site in the browser
  chainrule docs --serve         open it from a server on this machine, so that the lessons' code runs in the page
  chainrule docs --print         print the address of its first page"""
)
@click.option("--serve", is_flag=True, help="Serve the site until Ctrl-C: browsers run its code only from a server.")
@click.option("--port", type=click.IntRange(0, 65535), help="With --serve: the port.  [default: any free one]")
@click.option("--print", "only_print", is_flag=True, help="Print the address instead of opening a browser.")
def docs(serve: bool, port: int | None, only_print: bool) -> None:
    """Open the website: lessons, guides and the reference. It works offline."""
    if port is not None and not serve:
        raise click.UsageError("--port requires --serve")
    folder = find_site()
    if not serve:
        open_page(folder / "index.html", only_print=only_print)
        return
    with site_server(folder, port or 0) as server:
        _show(f"http://127.0.0.1:{server.server_port}/index.html", only_print)
        print_lines(STOP_HINT)
        server.serve_forever()


def site_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Create a server of the site, for browsers on this machine only. It handles no requests until `serve_forever`.

    Args:
        folder: the site.
        port: 0 for any free port.

    Raises:
        UserError: the port cannot be used.
    """
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_SiteHandler, directory=str(folder)))
    except OSError as error:
        raise UserError(f"port {port} cannot be used: {error.strerror or error}; try another --port") from error


def open_page(page: Path, *, only_print: bool = False) -> None:
    """Open a page of the site in the browser, and print its address.

    Raises:
        UserError: the site has no such page.
    """
    if not page.is_file():
        raise UserError(f"{page}: the site has no such page; it may be older than the package")
    _show(page.as_uri(), only_print)


def _show(address: str, only_print: bool) -> None:
    print_lines(address)
    if not (only_print or webbrowser.open(address)):
        print_lines(NO_BROWSER)


def find_site() -> Path:
    """Find the site's folder: in a checkout, the output of `make docs`, else the package's archive, unpacked.

    Raises:
        UserError: the site was not built or is not in the package, or the archive is damaged.
    """
    built_site = CHECKOUT / "build" / "site"
    if (CHECKOUT / "docs" / "site" / "conf.py").is_file():
        if not (built_site / "index.html").is_file():
            raise UserError("the site has not been built in this checkout; build it with: make docs")
        return built_site
    if not SITE_ARCHIVE.is_file():
        raise UserError("this installation does not contain the site; in a checkout, build it with: make docs")
    return _unpack()


def _unpack() -> Path:
    """Unpack the package's site into the cache, unless it is there already, and remove the sites of other versions."""
    folder = cache_folder() / "site"
    target = folder / f"{zlib.crc32(SITE_ARCHIVE.read_bytes()):08x}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(dir=folder))
    try:
        with zipfile.ZipFile(SITE_ARCHIVE) as archive:
            archive.extractall(temporary)
        for other in folder.iterdir():
            if other not in (temporary, target):
                shutil.rmtree(other, ignore_errors=True)
        if not target.is_dir():  # another process may have been faster
            temporary.rename(target)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{SITE_ARCHIVE}: the site is damaged ({error}); reinstall chainrule") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


class _SiteHandler(SimpleHTTPRequestHandler):
    """Serves the site's files to browsers on this machine, without printing anything."""

    def parse_request(self) -> bool:
        """Refuse requests whose Host header is not this server's (DNS rebinding by other sites)."""
        if not super().parse_request():
            return False
        hosts = {f"{name}:{self.connection.getsockname()[1]}" for name in ("127.0.0.1", "localhost")}
        if self.headers.get("Host") in hosts:
            return True
        self.send_error(421, "Misdirected Request")
        return False

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the base class's name
        """Log nothing."""
