"""`chainrule predict`: recognize a digit in each picture, or predict the rows of a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.cli.arguments import PathName, check_output
from chainrule.cli.inputs import MissingPicture, Picture, input_options, open_inputs
from chainrule.cli.output import ascii_only, class_names, print_json, print_lines, terminal_width
from chainrule.cli.predict_pictures import predict_pictures
from chainrule.cli.predict_table import check_arguments, predict_table
from chainrule.data.tables import SUFFIXES
from chainrule.errors import PictureError
from chainrule.images.digits import digit_names
from chainrule.models import load_detector
from chainrule.reading import DigitReader
from chainrule.training import run as runs
from chainrule.training.image_task import IMAGES
from chainrule.training.table_task import TableTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.reading import Reading
    from chainrule.training.run import Run


@click.command(
    epilog="""\b
Examples:
  chainrule predict photo.jpg
  chainrule predict --sample
  chainrule predict photos --json
  chainrule predict - < photo.jpg
  chainrule predict photo.jpg --run runs
  chainrule predict photo.jpg --run runs/first-try --explain steps.png
  chainrule predict table.csv --run runs/prices --out predictions.csv"""
)
@click.argument("images", nargs=-1, type=PathName(allow_dash=True), metavar="[IMAGE]...")
@input_options
@click.option(
    "--run",
    "run_path",
    type=PathName(),
    metavar="RUN",
    help="The trained model: a run's folder, or a folder of runs (the newest).  [default: the pretrained network]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--explain",
    type=PathName(),
    metavar="FILE",
    help="Write a figure of the preprocessing, from photo to 28×28 (one IMAGE; .png, .svg, .pdf).",
)
@click.option(
    "--out",
    type=PathName(),
    metavar="FILE",
    help="For a table: write its rows with the predictions to a file.  [default: print them]",
)
def predict(
    images: Sequence[str],
    run_path: str | None,
    as_json: bool,
    explain: str | None,
    out: str | None,
    clipboard: bool,
    page: int | None,
    sample: bool,
) -> int:
    """Recognize the digit in each image: PNG, JPEG, BMP, GIF, WebP or TIFF, dark on light or light on dark.

    IMAGE is a file, a folder of pictures, a PDF document, or - for standard input. With a run that was trained on a
    folder of pictures, the class of each image is printed. With a run that was trained on a table, IMAGE is a CSV file:
    its rows are printed, each with a prediction and, for classes, its confidence.
    """
    run = runs.shipped() if run_path is None else runs.find(run_path)
    if isinstance(run.task, TableTask):
        table = check_arguments(images, run, explain, clipboard or sample or page is not None)
        predict_table(run, run.task, table, as_json, out)
        return 0
    tables = [name for name in images if name.lower().endswith(SUFFIXES)]
    if tables:
        raise click.UsageError(f"{tables[0]} is a table: name a run on a table with --run RUN")
    if out is not None:
        raise click.UsageError("--out is for the predictions of a run on a table")
    if explain is not None and len(images) + clipboard + sample != 1:
        raise click.UsageError("--explain takes a single IMAGE")
    if explain is not None:
        from chainrule.plots import style  # imports matplotlib

        check_output(explain, "figure", style.FORMATS, photo=next(iter(images), None))
    with open_inputs(images, clipboard=clipboard, sample=sample, page=page) as pictures:
        if explain is not None and len(pictures) != 1:
            raise click.UsageError("--explain takes a single IMAGE")
        if run.task is IMAGES and run.config["data"].get("photos"):
            return predict_pictures(run, pictures, as_json, explain)
        reader = DigitReader(run)
        entries = [_read_digit(picture, reader, explain) for picture in pictures]
    if as_json:
        print_json(entries)
    else:
        for entry in entries:
            _print_entry(entry, digit_names(class_names(run)))
        if any("digit" in entry for entry in entries):
            print_lines(f"model: {_describe_model(run, run_path)}")
        if explain is not None and "digit" in entries[0]:
            print_lines(f"figure: {explain}")
    return 2 if any("error" in entry for entry in entries) else 0


def _read_digit(picture: Picture | MissingPicture, reader: DigitReader, explain: str | None) -> dict[str, Any]:
    """Read the digit in a picture, write the figure if `explain` is given, and return the picture's JSON entry."""
    from chainrule.images.steps import BlankPictureError  # imports Pillow

    file = picture.name
    if isinstance(picture, MissingPicture):
        return {"file": file, "error": picture.error}
    try:
        reading = reader.read(picture.path, file)
    except BlankPictureError as error:
        count = _count_on_page(picture, reader)
        return {"file": file, **(_several_digits(picture, count) if count > 1 else {"error": str(error)})}
    except PictureError as error:
        return {"file": file, "error": str(error)}
    best = reading.guesses[0]
    entry: dict[str, Any] = {"file": file, **asdict(best), "confidences": reading.probabilities}
    if reading.no_digit is not None:
        entry["no_digit"] = reading.no_digit
    if reading.second:
        entry["second"] = asdict(reading.second)
    count = reading.count if reading.count > 1 or best.digit is not None else _count_on_page(picture, reader)
    if count > 1:
        entry |= _several_digits(picture, count)
    if explain is not None:
        _draw_stages(reading, explain)
    return entry


def _several_digits(picture: Picture, count: int) -> dict[str, Any]:
    """Return the fields of a picture's JSON entry that report several digits."""
    return {
        "digits": count,
        "error": f"{picture.name}: there are {count} digits in this picture, but predict reads only one; to read them "
        f"all: chainrule read {picture.argument}",
    }


def _count_on_page(picture: Picture, reader: DigitReader) -> int:
    """Return how many digits `read` finds: the picture may show a page of digits, or digits that touch each other."""
    from chainrule.images import open_gray_photo  # these import Pillow and SciPy
    from chainrule.images.page import read_page

    try:
        gray, _ = open_gray_photo(picture.path, picture.name)
    except PictureError:  # too large for `read`, which decodes at a higher resolution than `predict`
        return 0
    return sum(len(line) for line in read_page(gray, reader.classify, load_detector()))


def _print_entry(entry: dict[str, Any], names: Sequence[str]) -> None:
    from chainrule.plots import text

    if "digit" in entry:
        line = f"{entry['file']}: {_name(entry['digit'], names)}  ({entry['confidence']:.1%})"
        if "second" in entry:
            line += f", or {_name(entry['second']['digit'], names)} ({entry['second']['confidence']:.1%})"
        print_lines(line)
        bars = text.bars(entry["confidences"], names, width=terminal_width(62) - 2, ascii=ascii_only())
        print_lines(*["  " + line for line in bars])
    if "error" in entry:
        print_lines(f"chainrule: {entry['error']}", err=True)


def _name(digit: int | None, names: Sequence[str]) -> str:
    return "no digit" if digit is None else names[digit]


def _describe_model(run: Run, run_path: str | None) -> str:
    if run_path is not None:
        return f"{run.model.name} from {run.folder}"
    result = run.result
    accuracy = f", {result['test_accuracy']:.2%} accurate on MNIST's test images" if result else ""
    return f"{run.model.name}, the pretrained network{accuracy}; choose another with --run"


def _draw_stages(reading: Reading, file: str) -> None:
    from chainrule.plots import pictures, style  # imports matplotlib

    figure = pictures.stages(list(reading.stages), reading.digit, np.array(reading.probabilities))
    style.save(figure, file)
