"""A trained network as a reader of pictures of one digit: what `chainrule predict` does, for programs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.autograd import no_grad
from chainrule.errors import RunError
from chainrule.images.digits import digit_names, split_probabilities
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training.evaluation import nan_message
from chainrule.training.image_task import IMAGES
from chainrule.training.table_task import TableTask

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images import Stages
    from chainrule.images.judging import Classifier
    from chainrule.training.run import Run

NEAR = 0.1
"""A second guess with at least this confidence is reported."""


def classifier(run: Run) -> Classifier:
    """The run's network as a function from images (N, 28, 28) to class probabilities (N, classes).

    Raises:
        RunError: the network takes images of a different size, or (when called) its outputs are not finite.
    """
    if isinstance(run.task, TableTask):
        raise RunError(
            f"{run.folder}: {run.model.name} reads {run.task.name} and no pictures; for a table: chainrule predict "
            f"TABLE --run {shlex.quote(str(run.folder))}"
        )
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


@dataclass(frozen=True)
class Guess:
    """What a picture may show.

    Attributes:
        digit: the index of the class among the digits; None for no digit.
        confidence: its probability.
    """

    digit: int | None
    confidence: float


@dataclass(frozen=True)
class Reading:
    """A network's reading of a picture of one digit.

    Attributes:
        guesses: all classes, the most probable first.
        probabilities: the probability of each digit, in the order of the classes.
        no_digit: the probability of no digit; None if the network has no such class.
        count: the number of digits in the picture.
        stages: the steps from the picture to the network's input.
    """

    guesses: list[Guess]
    probabilities: list[float]
    no_digit: float | None
    count: int
    stages: Stages

    @property
    def digit(self) -> int | None:
        """The index of the most probable digit; None for no digit."""
        return self.guesses[0].digit

    @property
    def second(self) -> Guess | None:
        """The second guess, if it is near."""
        near = [guess for guess in self.guesses[1:2] if guess.confidence >= NEAR]
        return near[0] if near else None


class DigitReader:
    """Reads pictures of one digit with the network of a run.

        import numpy as np
        from PIL import Image

        from chainrule.reading import DigitReader
        from chainrule.training import run as runs

        ink = np.zeros((120, 14), np.uint8)
        Image.fromarray(np.pad(ink, ((40, 40), (90, 96)), constant_values=230)).save("one.png")
        DigitReader(runs.shipped()).read("one.png").digit  # 1

    Args:
        run: a run trained on images of 28×28.

    Raises:
        RunError: the network does not take such images.

    Attributes:
        classify: from images (N, 28, 28) to class probabilities (N, classes).
        classes: the names of all classes.
        names: the names of the digits.
    """

    def __init__(self, run: Run) -> None:
        self.classify = classifier(run)
        self.classes: Sequence[str] = run.config["data"]["classes"]
        self.names = digit_names(self.classes)

    def probabilities(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The probabilities of the digits, (N, digits), and of no digit, (N,), which sum to 1 in float64, too."""
        rows = self.classify(images).astype(np.float64)  # (N, classes)
        digits, none = split_probabilities(rows / rows.sum(axis=1, keepdims=True), self.classes)
        return np.asarray(digits, np.float64), np.asarray(none, np.float64)

    def read(
        self, picture: str | os.PathLike[str] | NDArray[np.floating | np.uint8], name: str | None = None
    ) -> Reading:
        """Read the digit in a picture.

        Args:
            picture: the path of its file, or gray values (height, width) as `images.prepare` takes them.
            name: what error messages call it, by default its path.

        Raises:
            BlankPictureError: nothing in it looks like a digit's ink.
            PictureError: it cannot be opened.
        """
        from chainrule.images import prepare  # these import Pillow
        from chainrule.images.count import count_digits

        stages = prepare(picture, name)
        (row,), (none,) = self.probabilities(stages.result[None])
        has_none = len(row) < len(self.classes)
        guesses = [Guess(digit, confidence) for digit, confidence in enumerate(row.tolist())]
        guesses += [Guess(None, float(none))] if has_none else []
        guesses.sort(key=lambda guess: -guess.confidence)
        count = count_digits(stages.clean, float(row.max()), lambda images: self.probabilities(images)[0])
        return Reading(guesses, row.tolist(), float(none) if has_none else None, count, stages)
