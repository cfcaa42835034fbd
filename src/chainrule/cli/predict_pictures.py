"""`chainrule predict` with a run on a folder of pictures: print the class of each picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.autograd import no_grad
from chainrule.cli.inputs import MissingPicture
from chainrule.cli.output import ascii_only, class_names, print_json, print_lines, terminal_width
from chainrule.data.pictures import read_square
from chainrule.errors import PictureError, RunError
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training.evaluation import nan_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.cli.inputs import Picture
    from chainrule.training.run import Run


def predict_pictures(run: Run, pictures: Sequence[Picture | MissingPicture], as_json: bool, explain: str | None) -> int:
    """Print the class of each picture, which is prepared as the training pictures were; return the exit code.

    Args:
        run: a run on a folder of pictures.
        pictures: the pictures; the error of each that is missing is reported in its place.
        as_json: print JSON instead.
        explain: the value of `--explain`, which this kind of run does not support.

    Raises:
        RunError: the weights do not fit the model, or the network's outputs are not finite.
        UsageError: `explain` is given.
    """
    if explain is not None:
        raise click.UsageError(
            f"--explain shows how a digit is prepared, but {run.folder} was trained on a folder of pictures"
        )
    names, shape, network = class_names(run), run.config["data"]["image_shape"], run.load_network()
    entries: list[dict[str, Any]] = []
    for picture in pictures:
        if isinstance(picture, MissingPicture):
            entries.append({"file": picture.name, "error": picture.error})
            continue
        try:
            colors = read_square(picture.path, shape[-1], picture.name)  # (3, size, size)
        except PictureError as error:
            entries.append({"file": picture.name, "error": str(error)})
            continue
        image = colors if len(shape) == 3 else luminance(colors)
        with no_grad():
            outputs = network(images_to_inputs(from_numpy(image[None])))  # (1, classes)
            probabilities = run.model.probabilities(outputs).numpy()[0].astype(np.float64)  # (classes,)
        if not np.isfinite(probabilities).all():
            raise RunError(f"{run.weights_file}: {nan_message(1, 1)}")
        probabilities /= probabilities.sum()  # their sum is 1 in float64, too
        best_index = int(probabilities.argmax())
        entries.append(
            {
                "file": picture.name,
                "class": names[best_index],
                "confidence": probabilities[best_index].item(),
                "confidences": dict(zip(names, probabilities.tolist(), strict=True)),
            }
        )
    if as_json:
        print_json(entries)
    else:
        for entry in entries:
            _print_entry(entry)
    return 2 if any("error" in entry for entry in entries) else 0


def luminance(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the gray values (size, size) of a picture (3, size, size), with the weights of ITU-R BT.601."""
    red, green, blue = picture.astype(np.float64)
    gray: NDArray[np.uint8] = np.rint(0.299 * red + 0.587 * green + 0.114 * blue).astype(np.uint8)
    return gray


def _print_entry(entry: dict[str, Any]) -> None:
    if "error" in entry:
        print_lines(f"chainrule: {entry['error']}", err=True)
        return
    from chainrule.plots import text

    names, probabilities = list(entry["confidences"]), list(entry["confidences"].values())
    print_lines(f"{entry['file']}: {entry['class']}  ({entry['confidence']:.1%})")
    bars = text.bars(probabilities, names, width=terminal_width(62) - 2, ascii=ascii_only())
    print_lines(*["  " + line for line in bars])
