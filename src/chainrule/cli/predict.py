"""`chainrule predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.cli.arguments import PathName, check_output
from chainrule.cli.output import ascii_only, class_names, print_json, say, terminal_width
from chainrule.cli.read import reader
from chainrule.errors import PictureError
from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.images import Stages
    from chainrule.training.run import Run


@click.command(
    epilog="""\b
Examples:
  chainrule predict photo.jpg
  chainrule predict *.png --json
  chainrule predict photo.jpg --run runs
  chainrule predict photo.jpg --run runs/first-try --explain steps.png"""
)
@click.argument("images", nargs=-1, required=True, type=PathName(), metavar="IMAGE...")
@click.option(
    "--run",
    "place",
    type=PathName(),
    metavar="RUN",
    help="Which trained model; runs for the newest in runs/.  [default: the one that comes with chainrule]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--explain",
    type=PathName(),
    metavar="FILE",
    help="Draw every step from photo to 28×28 (one IMAGE; .png, .svg, .pdf).",
)
def predict(images: Sequence[str], place: str | None, as_json: bool, explain: str | None) -> int:
    """Read the digit in each picture: PNG, JPEG, BMP, GIF, WebP or TIFF, dark on light or light on dark."""
    if explain is not None and len(images) != 1:
        raise click.UsageError("--explain draws the steps of one picture: give one IMAGE")
    if explain is not None:
        from chainrule.plots import style  # loads matplotlib

        check_output(explain, "figure", style.FORMATS, photo=images[0])
    run = runs.shipped() if place is None else runs.find(place)
    read_images = reader(run)
    read: list[dict[str, Any]] = []
    from chainrule.images import prepare  # loads Pillow

    for file in images:
        try:
            stages = prepare(file)
        except PictureError as error:
            read.append({"file": file, "error": str(error)})
            continue
        confidences = read_images(stages.result[None])[0].astype(np.float64)  # (1, 28, 28) to (10,)
        confidences /= confidences.sum()  # exactly 1, not only to float32's rounding
        digit = int(confidences.argmax())
        read.append(
            {"file": file, "digit": digit, "confidence": confidences[digit].item(), "confidences": confidences.tolist()}
        )
        if explain is not None:
            _explain(stages, digit, confidences, explain)
    if as_json:
        print_json(read)
    else:
        for entry in read:
            _say(entry, run)
        if any("digit" in entry for entry in read):
            say(f"read by {_name(run, place)}")
        if explain is not None and "digit" in read[0]:
            say(f"drawn: {explain}")
    return 2 if any("error" in entry for entry in read) else 0


def _say(entry: dict[str, Any], run: Run) -> None:
    if "error" in entry:
        say(f"chainrule: {entry['error']}", err=True)
        return
    from chainrule.plots import text

    names = class_names(run)
    say(f"{entry['file']}: {names[entry['digit']]}  ({entry['confidence']:.1%} sure)")
    say(
        *[
            "  " + line
            for line in text.bars(entry["confidences"], names, width=terminal_width(62) - 2, ascii=ascii_only())
        ]
    )


def _name(run: Run, place: str | None) -> str:
    if place is not None:
        return f"{run.model.name} of {run.folder}"
    result = run.result
    known = f", {result['test_accuracy']:.2%} of MNIST's test images right" if result else ""
    return f"{run.model.name}, the network that comes with chainrule{known}; --run chooses another"


def _explain(stages: Stages, digit: int, confidences: Any, file: str) -> None:
    from chainrule.plots import pictures, style  # loads matplotlib

    style.save(pictures.stages(list(stages), digit, confidences), file)
