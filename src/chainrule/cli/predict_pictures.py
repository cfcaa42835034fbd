"""`chainrule predict` with a run on a folder of pictures: the class of each picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.autograd import no_grad
from chainrule.cli.output import ascii_only, class_names, print_json, print_lines, terminal_width
from chainrule.data.pictures import read_square
from chainrule.errors import PictureError, RunError
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training.evaluation import nan_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.training.run import Run


def predict_pictures(run: Run, files: Sequence[str], as_json: bool, explain: str | None) -> int:
    """Print the class of each picture, read as the run's training pictures were; return the exit code.

    Raises:
        RunError: the weights do not fit, or the network's outputs are not finite.
    """
    if explain is not None:
        raise click.UsageError("--explain shows how a digit is prepared, and this run is on pictures")
    names, shape, network = class_names(run), run.config["data"]["image_shape"], run.load_network()
    results: list[dict[str, Any]] = []
    for file in files:
        try:
            picture = read_square(file, shape[-1])  # (3, size, size)
        except PictureError as error:
            results.append({"file": file, "error": str(error)})
            continue
        image = picture if len(shape) == 3 else luminance(picture)
        with no_grad():
            row = run.model.probabilities(network(images_to_inputs(from_numpy(image[None])))).numpy()[0]
        if not np.isfinite(row).all():
            raise RunError(f"{run.weights_file}: {nan_message(1, 1)}")
        probabilities = row.astype(np.float64) / row.sum(dtype=np.float64)
        best = int(probabilities.argmax())
        entry = {"file": file, "class": names[best], "confidence": probabilities[best].item()}
        results.append({**entry, "confidences": dict(zip(names, probabilities.tolist(), strict=True))})
    if as_json:
        print_json(results)
    else:
        for entry in results:
            _print(entry)
    return 2 if any("error" in entry for entry in results) else 0


def luminance(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the gray values (size, size) of a picture (3, size, size), for a network trained on gray pictures."""
    red, green, blue = picture.astype(np.float64)
    gray: NDArray[np.uint8] = np.rint(0.299 * red + 0.587 * green + 0.114 * blue).astype(np.uint8)
    return gray


def _print(entry: dict[str, Any]) -> None:
    if "error" in entry:
        print_lines(f"chainrule: {entry['error']}", err=True)
        return
    from chainrule.plots import text

    names, probabilities = list(entry["confidences"]), list(entry["confidences"].values())
    print_lines(f"{entry['file']}: {entry['class']}  ({entry['confidence']:.1%})")
    bars = text.bars(probabilities, names, width=terminal_width(62) - 2, ascii=ascii_only())
    print_lines(*["  " + line for line in bars])
