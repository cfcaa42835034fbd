"""The input pictures of `predict` and `read`: files, folders, standard input, the clipboard, pages of PDFs."""

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

PICTURE_EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
"""File extensions of pictures: other files in a folder are skipped. Pictures that cannot be opened are reported."""

MAX_INPUT_BYTES = 200_000_000
"""The limit for standard input."""

SAMPLE = Path(__file__).parent.parent / "images" / "sample.jpg"
"""The picture of `--sample`."""


class Picture(NamedTuple):
    """A picture to read."""

    name: str  # for messages and JSON
    path: Path  # a file with the picture
    argument: str  # how to name it on a command line: a shell-quoted file (and page), "-" or an option


class MissingPicture(NamedTuple):
    """Stands for the pictures of an argument that cannot be read, such as a folder without pictures."""

    name: str  # for messages and JSON
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
    """Yield the pictures, in order, with a `MissingPicture` in place of those that cannot be read.

    Some pictures are temporary files, which are deleted at the end of the block.

    Args:
        arguments: files and folders, and "-" for standard input.
        clipboard: whether to read the clipboard as well.
        sample: whether to read the picture that comes with the package as well.
        page: the page of each PDF document, from 1; None for the first.

    Raises:
        UsageError: no picture is given, or standard input is given twice.
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
    """Return the pictures that an argument names; files made from them are written to `folder`."""
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
        rendered_file = folder / f"page {len(list(folder.iterdir()))}.png"
        image.save(rendered_file, compress_level=1)
        return [Picture(name, rendered_file, f"{_quoted(argument)}{f' --page {page}' if page else ''}")]
    return [Picture(name, path, _quoted(argument))]


def _render(path: Path, name: str, page: int) -> Any:
    """Render a page of a PDF document, and return it with the number of pages; error messages begin with `name`."""
    from chainrule.images.documents import render_page

    try:
        return render_page(path, page)
    except PictureError as error:
        raise PictureError(str(error).replace(str(path), name, 1)) from error


def _name_in_messages(argument: str) -> str:
    """Return what messages call an argument."""
    return "standard input" if argument == "-" else argument


def _quoted(argument: str) -> str:
    return argument if argument == "-" else shlex.quote(argument)


def _pictures_in(folder: str) -> list[Picture]:
    """Return the pictures in a folder, sorted by name, and print how many other files are skipped."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise PictureError(f"{folder}: the folder cannot be read ({error.strerror or error})") from error
    paths = [Path(folder) / name for name in names if Path(name).suffix.lower() in PICTURE_EXTENSIONS]
    if not paths:
        raise PictureError(f"{folder}: this folder contains no pictures")
    skipped_count = len(names) - len(paths)
    if skipped_count:
        files = "file that is not a picture" if skipped_count == 1 else "files that are not pictures"
        print_lines(f"{folder}: skipped {skipped_count} {files}", err=True)
    return [Picture(str(path), path, shlex.quote(str(path))) for path in paths]


def _standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise PictureError("standard input: there is no picture; pipe one in, as in chainrule predict - < photo.jpg")
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise PictureError(f"standard input: the picture is too large; the limit is {MAX_INPUT_BYTES // 1_000_000} MB")
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
        raise PictureError("clipboard: it contains no picture")
    path = folder / "clipboard.png"
    content.save(path, compress_level=1)
    return Picture("clipboard", path, "--clipboard")
