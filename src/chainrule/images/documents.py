"""Render a page of a PDF document as an image. This needs pypdfium2, which `pip install 'chainrule[pdf]'` installs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import PictureError

if TYPE_CHECKING:
    import os

    from PIL import Image

PAGE_SIDE = 2400  # pixels of the longer side: about A4 at 200 dpi
MAX_SCALE = 10  # pixels per point (1/72 inch): a page of a few points stays small


def is_pdf(path: str | os.PathLike[str]) -> bool:
    """Whether a file starts with the signature of a PDF document; False if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(5) == b"%PDF-"
    except OSError:
        return False


def render_page(path: str | os.PathLike[str], page: int) -> tuple[Image.Image, int]:
    """Render a page and return it (mode RGB) with the number of pages of the document.

    Args:
        path: the PDF document.
        page: the number of the page, from 1.

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
        is_encrypted = "assword" in str(error)  # PDFium: "Incorrect password error"
        reason = "is encrypted; save it without a password" if is_encrypted else "is damaged"
        raise PictureError(f"{path}: the PDF document {reason}") from error
    with document:
        n_pages = len(document)
        if not 1 <= page <= n_pages:
            plural = "" if n_pages == 1 else "s"
            raise PictureError(f"{path}: there is no page {page}; the document has {n_pages} page{plural}")
        try:
            pdf_page = document[page - 1]
            scale = min(MAX_SCALE, PAGE_SIDE / max(1, *pdf_page.get_size()))
            return pdf_page.render(scale=scale).to_pil().convert("RGB"), n_pages
        except pypdfium2.PdfiumError as error:
            raise PictureError(f"{path}: page {page} of the PDF document is damaged") from error
