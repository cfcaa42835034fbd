"""Render a page of a PDF document as an image; this needs pypdfium2, the extra `chainrule[pdf]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import PictureError

if TYPE_CHECKING:
    import os

    from PIL import Image

PAGE_SIDE = 2400  # pixels of the longer side: A4 in 200 dots per inch
MAX_SCALE = 10  # pixels per point: a page of a few points stays small


def is_pdf(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a PDF document does; False if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(5) == b"%PDF-"
    except OSError:
        return False


def render_page(path: str | os.PathLike[str], page: int) -> tuple[Image.Image, int]:
    """Render a page, counted from 1, and return it (mode RGB) with the number of pages.

    Raises:
        PictureError: pypdfium2 is not installed, the document is encrypted or damaged, or it has no such page.
    """
    try:
        import pypdfium2
    except ImportError:
        raise PictureError(
            f"{path}: this is a PDF document; reading its pages needs pypdfium2: pip install 'chainrule[pdf]'"
        ) from None
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        reason = "is encrypted; save it without a password" if "assword" in str(error) else "is damaged"
        raise PictureError(f"{path}: the PDF document {reason}") from error
    with document:
        count = len(document)
        if not 1 <= page <= count:
            raise PictureError(f"{path}: there is no page {page}; the document has {count} page{'s' * (count != 1)}")
        try:
            sheet = document[page - 1]
            scale = min(MAX_SCALE, PAGE_SIDE / max(1, *sheet.get_size()))
            return sheet.render(scale=scale).to_pil().convert("RGB"), count
        except pypdfium2.PdfiumError as error:
            raise PictureError(f"{path}: page {page} of the PDF document is damaged") from error
