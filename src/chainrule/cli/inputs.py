"""The pictures that `predict` and `read` are given: files, folders, standard input, the clipboard, pages of PDFs."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from chainrule.cli.output import print_lines
from chainrule.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
"""File extensions of the pictures in a folder. Those that cannot be opened are reported, not left out."""

MAX_INPUT = 200_000_000  # bytes of standard input
SAMPLE = Path(__file__).parent.parent / "images" / "sample.jpg"


class Picture(NamedTuple):
    """A picture to read."""

    name: str  # for messages and JSON
    path: Path  # a file with the picture
    argument: str  # the argument that names it on a command line: a shell-quoted file, "-" or an option


class MissingPicture(NamedTuple):
    """A picture that is missing or cannot be read."""

    name: str
    error: str  # one sentence


def input_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for pictures that are not files."""
    for option in (
        click.option("--sample", is_flag=True, help="Read a picture that comes with the package."),
        click.option("--page", type=click.IntRange(1), metavar="N", help="The page of a PDF document.  [default: 1]"),
        click.option("--clipboard", is_flag=True, help="Read the picture in the clipboard."),
    ):
        command = option(command)
    return command


@contextmanager
def open_inputs(
    arguments: Sequence[str], *, clipboard: bool, sample: bool, page: int | None
) -> Iterator[list[Picture | MissingPicture]]:
    """Yield the pictures, or what is wrong with one that is missing; temporary files exist within the block.

    Args:
        arguments: files and folders, and "-" for standard input.
        clipboard: whether to read the clipboard as well.
        sample: whether to read the package's own picture as well.
        page: the page of each PDF document, from 1; None for the first.

    Raises:
        UsageError: nothing is to be read.
    """
    if not arguments and not clipboard and not sample:
        raise click.UsageError("name a picture, a folder, or - for standard input; or use --clipboard or --sample")
    if list(arguments).count("-") > 1:
        raise click.UsageError("standard input can be read only once")
    with tempfile.TemporaryDirectory(prefix="chainrule-") as folder:
        pictures: list[Picture | MissingPicture] = []
        for argument in arguments:
            try:
                pictures += _expand(argument, Path(folder), page)
            except PictureError as error:
                pictures.append(MissingPicture(_name_in_messages(argument), str(error)))
        if clipboard:
            try:
                pictures.append(_from_clipboard(Path(folder)))
            except PictureError as error:
                pictures.append(MissingPicture("clipboard", str(error)))
        if sample:
            pictures.append(Picture(SAMPLE.name, SAMPLE, "--sample"))
        yield pictures


def _expand(argument: str, folder: Path, page: int | None) -> list[Picture]:
    """The pictures of one argument."""
    from chainrule.images.documents import is_pdf

    if argument == "-":
        path = folder / "standard input"
        path.write_bytes(_standard_input())
        name = _name_in_messages(argument)
    elif Path(argument).is_dir():
        return _pictures_in(argument)
    else:
        path, name = Path(argument), argument
    if path.is_file() and is_pdf(path):
        image, count = _render(path, name, page or 1)
        if count > 1:
            name = f"{name}, page {page or 1} of {count}"
        rendered = folder / f"page {len(list(folder.iterdir()))}.png"
        image.save(rendered, compress_level=1)
        return [Picture(name, rendered, f"{_quoted(argument)}{f' --page {page}' if page else ''}")]
    return [Picture(name, path, _quoted(argument))]


def _render(path: Path, name: str, page: int) -> Any:
    """Render a page of a PDF document, with the picture's name in error messages."""
    from chainrule.images.documents import render_page

    try:
        return render_page(path, page)
    except PictureError as error:
        raise PictureError(str(error).replace(str(path), name, 1)) from error


def _name_in_messages(argument: str) -> str:
    """Return the name of an argument in messages."""
    return "standard input" if argument == "-" else argument


def _quoted(argument: str) -> str:
    return argument if argument == "-" else shlex.quote(argument)


def _pictures_in(folder: str) -> list[Picture]:
    """The pictures in a folder, sorted by name."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise PictureError(f"{folder}: the folder cannot be read ({error.strerror or error})") from error
    paths = [Path(folder) / name for name in names if Path(name).suffix.lower() in PICTURES]
    if not paths:
        raise PictureError(f"{folder}: there are no pictures in this folder")
    others = len(names) - len(paths)
    if others:
        print_lines(f"{folder}: {others} other file{'s' * (others > 1)} left out", err=True)
    return [Picture(str(path), path, shlex.quote(str(path))) for path in paths]


def _standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise PictureError("standard input: there is no picture; pipe one in, as in chainrule predict - < photo.jpg")
    data = sys.stdin.buffer.read(MAX_INPUT + 1)
    if len(data) > MAX_INPUT:
        raise PictureError(f"standard input: the picture is too large; the limit is {MAX_INPUT // 1_000_000} MB")
    return data


def _from_clipboard(folder: Path) -> Picture:
    from PIL import Image, ImageGrab

    try:
        content = ImageGrab.grabclipboard()
    except (NotImplementedError, OSError, ValueError) as error:  # Linux without a program that reads the clipboard
        raise PictureError(
            "clipboard: it cannot be read; on Linux, this needs wl-paste (package wl-clipboard) or xclip"
        ) from error
    if isinstance(content, list) and content:  # copied files
        return Picture(str(content[0]), Path(content[0]), shlex.quote(str(content[0])))
    if not isinstance(content, Image.Image):
        raise PictureError("clipboard: there is no picture in it")
    path = folder / "clipboard.png"
    content.save(path, compress_level=1)
    return Picture("clipboard", path, "--clipboard")
