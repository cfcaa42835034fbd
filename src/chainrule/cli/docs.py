"""`chainrule docs`: open the web site that comes with the package."""

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

PACKED = Path(chainrule.__file__).with_name("site.zip")
"""The site in the package: `scripts/pack_site.py` puts it there when a wheel is built."""

CHECKOUT = PACKED.parent.parent.parent


@click.command(
    epilog="""\b
Examples:
  chainrule docs                 open the site in the browser
  chainrule docs --serve         the same from a server on this machine, so that the lessons' code runs in the page
  chainrule docs --print         print where its first page is"""
)
@click.option("--serve", is_flag=True, help="Serve it until Ctrl-C: browsers run code only from a server.")
@click.option("--port", type=click.IntRange(0, 65535), help="With --serve: the port.  [default: any free one]")
@click.option("--print", "only_print", is_flag=True, help="Print the address instead of opening a browser.")
def docs(serve: bool, port: int | None, only_print: bool) -> None:
    """Open the web site: lessons, guides and the reference. It needs no network."""
    if port is not None and not serve:
        raise click.UsageError("--port applies to --serve")
    folder = find_site()
    if not serve:
        open_page(folder / "index.html", only_print=only_print)
        return
    with site_server(folder, port or 0) as server:
        _show(f"http://127.0.0.1:{server.server_port}/index.html", only_print)
        print_lines("Ctrl-C ends it.")
        server.serve_forever()


def site_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of the site for this machine, not yet running; port 0 is any free one.

    Raises:
        UserError: the port cannot be used.
    """
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Page, directory=str(folder)))
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
        print_lines("No browser was found: open this address in one.")


def find_site() -> Path:
    """The folder of the site: that of a checkout if it was built there, or the package's, unpacked into the cache.

    Raises:
        UserError: there is none, or the package's is damaged.
    """
    built = CHECKOUT / "build" / "site"
    if (CHECKOUT / "docs" / "site" / "conf.py").is_file():
        if not (built / "index.html").is_file():
            raise UserError("the site has not been built in this checkout; build it with: make docs")
        return built
    if not PACKED.is_file():
        raise UserError("this installation does not contain the site; in a checkout, make docs builds it")
    return _unpack()


def _unpack() -> Path:
    """Unpack the package's site into the cache, unless it is there, and remove those of other versions."""
    folder = cache_folder() / "site"
    target = folder / f"{zlib.crc32(PACKED.read_bytes()):08x}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(dir=folder))
    try:
        with zipfile.ZipFile(PACKED) as archive:
            archive.extractall(temporary)
        for other in folder.iterdir():
            if other not in (temporary, target):
                shutil.rmtree(other, ignore_errors=True)
        if not target.is_dir():  # another process may have been faster
            temporary.rename(target)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{PACKED}: the site is damaged ({error}); reinstall chainrule") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


class _Page(SimpleHTTPRequestHandler):
    """Serves the site's files to browsers on this machine, and prints nothing on the terminal."""

    def parse_request(self) -> bool:
        """Refuse requests whose Host header is not this server's: other sites can make a browser send them."""
        if not super().parse_request():
            return False
        names = {f"{name}:{self.connection.getsockname()[1]}" for name in ("127.0.0.1", "localhost")}
        if self.headers.get("Host") in names:
            return True
        self.send_error(421, "Misdirected Request")
        return False

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the base class's name
        """Log nothing."""
