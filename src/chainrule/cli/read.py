"""`chainrule read`: read every digit in a photo of a page."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from chainrule.cli.arguments import PathName, check_output
from chainrule.cli.inputs import MissingPicture, Picture, input_options, open_inputs
from chainrule.cli.output import class_names, print_json, print_lines
from chainrule.errors import PictureError
from chainrule.images.digits import digit_names
from chainrule.models import load_detector
from chainrule.reading import MIN_SECOND_CONFIDENCE, classifier
from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.images.classification import Classifier
    from chainrule.images.detection import Detector
    from chainrule.images.page import Digit
    from chainrule.training.run import Run


@click.command(
    epilog="""\b
Examples:
  chainrule read page.jpg
  chainrule read page.jpg --out what-it-read.jpg
  chainrule read page.jpg --json --min-confidence 0.9
  chainrule read pages
  chainrule read - < page.jpg"""
)
@click.argument("photos", nargs=-1, type=PathName(allow_dash=True), metavar="[PHOTO]...")
@input_options
@click.option(
    "--run",
    "run_path",
    type=PathName(),
    metavar="RUN",
    help="The trained model: a run's folder, or a folder of runs (the newest).  [default: the pretrained network]",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Print ? for digits with a lower confidence.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--out", type=PathName(), metavar="FILE", help="Write the photo annotated with boxes and digits.")
def read(
    photos: Sequence[str],
    run_path: str | None,
    min_confidence: float,
    as_json: bool,
    out: str | None,
    clipboard: bool,
    page: int | None,
    sample: bool,
) -> int:
    """Read every handwritten digit in a photo of a page or a board, line by line.

    PHOTO is a file, a folder of pictures, a PDF document, or - for standard input. With several photos, the digits of
    each follow its name.
    """
    from chainrule.images.drawing import FORMATS  # imports Pillow

    if min_confidence != min_confidence:  # NaN passes FloatRange
        raise click.BadParameter("nan is not a number from 0 to 1", param_hint="'--min-confidence'")
    if out is not None and len(photos) + clipboard + sample != 1:
        raise click.UsageError("--out takes a single PHOTO")
    check_output(out, "photo", FORMATS, photo=next(iter(photos), None))
    with open_inputs(photos, clipboard=clipboard, sample=sample, page=page) as pictures:
        if out is not None and len(pictures) != 1:
            raise click.UsageError("--out takes a single PHOTO")
        reader = _Reader(run_path, min_confidence)
        if len(pictures) == 1:
            entry = reader.read(pictures[0], out)
            if "error" in entry:
                raise PictureError(entry["error"])
            entries = [entry]
        else:
            entries = [reader.read(picture, None) for picture in pictures]
    if as_json:
        print_json(entries if len(entries) > 1 else entries[0])
    else:
        for entry in entries:
            reader.print(entry, with_name=len(entries) > 1)
        if out is not None:
            print_lines(f"photo: {out}", err=True)
    return 2 if any("error" in entry for entry in entries) else 0


class _Reader:
    """Reads photos with a run's network, which is loaded for the first readable photo."""

    def __init__(self, run_path: str | None, min_confidence: float) -> None:
        self.run_path, self.min_confidence = run_path, min_confidence

    @cached_property
    def run(self) -> Run:
        return runs.shipped() if self.run_path is None else runs.find(self.run_path)

    @cached_property
    def classify(self) -> Classifier:
        return classifier(self.run)

    @cached_property
    def detect(self) -> Detector:
        return load_detector()

    def read(self, picture: Picture | MissingPicture, out: str | None) -> dict[str, Any]:
        """Read a photo, and return its entry of the JSON document; write the annotated photo, if `out` is given."""
        from chainrule.images import open_gray_photo, open_photo  # these import Pillow and SciPy
        from chainrule.images.drawing import draw_page, save_photo
        from chainrule.images.page import read_page

        if isinstance(picture, MissingPicture):
            return {"file": picture.name, "error": picture.error}
        try:
            gray, scale = open_gray_photo(picture.path, picture.name)
        except PictureError as error:
            return {"file": picture.name, "error": str(error)}
        # Decoded first: `read_page` leaves memory allocated, which would add to the peak of decoding
        photo = None if out is None else open_photo(picture.path, picture.name).image
        lines = read_page(gray, self.classify, self.detect)
        if out is not None and photo is not None:
            names = class_names(self.run)
            save_photo(
                draw_page(
                    photo, lines, names, self.min_confidence, min_second_confidence=MIN_SECOND_CONFIDENCE, in_place=True
                ),
                out,
            )
        return {
            "file": picture.name,
            "lines": [[_entry(digit, self.min_confidence, scale) for digit in line] for line in lines],
        }

    def print(self, entry: dict[str, Any], with_name: bool) -> None:
        """Print a photo's digits, line by line, or the error."""
        if "error" in entry:
            print_lines(f"chainrule: {entry['error']}", err=True)
            return
        names = class_names(self.run)
        separator = "" if all(len(name) == 1 for name in digit_names(names)) else " "
        if not entry["lines"]:
            print_lines(f"{entry['file']}: no digits found", err=True)
        elif with_name:
            print_lines(f"{entry['file']}:")
        for line in entry["lines"]:
            print_lines(separator.join("?" if digit["digit"] is None else names[digit["digit"]] for digit in line))


def _entry(digit: Digit, min_confidence: float, scale: float) -> dict[str, Any]:
    """Return a digit's JSON entry. Its box is in pixels of the file: those of the downsampled photo times `scale`."""
    entry: dict[str, Any] = {
        "digit": digit.digit if digit.confidence >= min_confidence else None,
        "confidence": digit.confidence,
        "box": [round(scale * side) for side in digit.box],
    }
    if digit.second_confidence >= MIN_SECOND_CONFIDENCE:
        entry["second"] = {"digit": digit.second_digit, "confidence": digit.second_confidence}
    return entry
