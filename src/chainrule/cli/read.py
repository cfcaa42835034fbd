"""`chainrule read`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.autograd import no_grad
from chainrule.cli.arguments import PathName, check_output
from chainrule.cli.output import class_names, print_json, print_lines
from chainrule.errors import RunError
from chainrule.models import images_to_inputs, load_detector
from chainrule.tensor import from_numpy
from chainrule.training import run as runs
from chainrule.training.evaluation import nan_message
from chainrule.training.image_task import IMAGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.images.page import Classifier, Digit
    from chainrule.training.run import Run


@click.command(
    epilog="""\b
Examples:
  chainrule read page.jpg
  chainrule read page.jpg --out what-it-read.jpg
  chainrule read page.jpg --json --min-confidence 0.9"""
)
@click.argument("photo", type=PathName())
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
def read(photo: str, run_path: str | None, min_confidence: float, as_json: bool, out: str | None) -> None:
    """Read every handwritten digit in a photo of a page or a board, line by line."""
    from chainrule.images import open_photo  # these import Pillow and SciPy
    from chainrule.images.drawing import FORMATS, draw_page, save_photo
    from chainrule.images.page import read_page

    if min_confidence != min_confidence:  # NaN passes FloatRange
        raise click.BadParameter("nan is not a number from 0 to 1", param_hint="'--min-confidence'")
    check_output(out, "photo", FORMATS, photo=photo)
    gray, scale = _gray(photo)
    run = runs.shipped() if run_path is None else runs.find(run_path)
    lines = read_page(gray, classifier(run), load_detector())
    names = class_names(run)
    if out is not None:
        save_photo(draw_page(open_photo(photo).image, lines, names, min_confidence), out)
    if as_json:
        entries = [[_entry(digit, min_confidence, scale) for digit in line] for line in lines]
        print_json({"file": photo, "lines": entries})
        return
    separator = "" if all(len(name) == 1 for name in names) else " "
    for line in lines:
        print_lines(separator.join(names[digit.digit] if digit.confidence >= min_confidence else "?" for digit in line))
    if not lines:
        print_lines(f"{photo}: no digits found", err=True)
    if out is not None:
        print_lines(f"photo: {out}", err=True)


def _gray(photo: str) -> tuple[NDArray[np.uint8], float]:
    """A photo's gray values and its scale. Drops the colors, which take four times the memory, before reading."""
    from chainrule.images import open_photo  # imports Pillow
    from chainrule.images.colors import gray_converter
    from chainrule.images.memory import in_bands

    image, scale = open_photo(photo)
    convert = gray_converter(image)  # None if luminance tells ink from paper
    return np.asarray(image.convert("L") if convert is None else in_bands(image, 1, "L", convert)), scale


def classifier(run: Run) -> Classifier:
    """The run's network as a function from images (N, 28, 28) to class probabilities (N, classes).

    Raises:
        RunError: the network takes images of a different size, or (when called) its outputs are not finite.
    """
    if run.task is not IMAGES:
        raise RunError(
            f"{run.folder}: {run.model.name} is a language model and reads no pictures; for text: chainrule generate "
            f"{shlex.quote(str(run.folder))}"
        )
    if run.config["data"]["image_shape"] != [28, 28]:
        raise RunError(f"{run.folder}: reading digits needs a network trained on 28×28 images")
    network = run.load_network()

    def probabilities(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with no_grad():
            rows = run.model.probabilities(network(images_to_inputs(from_numpy(images)))).numpy()
        invalid = int((~np.isfinite(rows).all(axis=1)).sum())
        if invalid:
            raise RunError(f"{run.weights_file}: {nan_message(invalid, len(rows))}")
        return rows

    return probabilities


def _entry(digit: Digit, min_confidence: float, scale: float) -> dict[str, Any]:
    """A digit as JSON. Its box is in pixels of the file: the pixels of the resized photo times `scale`."""
    return {
        "digit": digit.digit if digit.confidence >= min_confidence else None,
        "confidence": digit.confidence,
        "box": [round(scale * side) for side in digit.box],
    }
