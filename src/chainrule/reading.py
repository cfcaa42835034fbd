"""Reading pictures of one digit with a trained network: `chainrule predict` for Python programs."""

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
    from chainrule.images.classification import Classifier
    from chainrule.training.run import Run

MIN_SECOND_CONFIDENCE = 0.1
"""The confidence from which on a second guess is reported."""
NEAR = MIN_SECOND_CONFIDENCE  # former name


def classifier(run: Run) -> Classifier:
    """Return the run's network as a function from images (N, 28, 28) to class probabilities (N, classes).

    Raises:
        RunError: the network does not classify images of 28×28. The returned function raises a RunError if outputs of
            the network are not finite.
    """
    if isinstance(run.task, TableTask):
        raise RunError(
            f"{run.folder}: {run.model.name} reads {run.task.name}, not pictures; for a table: chainrule predict "
            f"TABLE --run {shlex.quote(str(run.folder))}"
        )
    if run.task is not IMAGES:
        raise RunError(
            f"{run.folder}: {run.model.name} is a language model and does not read pictures; for text: chainrule "
            f"generate {shlex.quote(str(run.folder))}"
        )
    if run.config["data"]["image_shape"] != [28, 28]:
        raise RunError(f"{run.folder}: reading digits needs a network trained on 28×28 images")
    network = run.load_network()

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with no_grad():
            probabilities = run.model.probabilities(network(images_to_inputs(from_numpy(images)))).numpy()
        n_invalid = int((~np.isfinite(probabilities).all(axis=1)).sum())
        if n_invalid:
            raise RunError(f"{run.weights_file}: {nan_message(n_invalid, len(probabilities))}")
        return probabilities

    return classify


@dataclass(frozen=True)
class Guess:
    """One possible content of a picture: a digit, or "no digit".

    Attributes:
        digit: the index of the class among the digits; None for "no digit".
        confidence: its probability.
    """

    digit: int | None
    confidence: float


@dataclass(frozen=True)
class Reading:
    """A network's reading of a picture of one digit.

    Attributes:
        guesses: a guess for each class, the most probable first.
        probabilities: the probability of each digit, in the order of the classes.
        no_digit: the probability of "no digit"; None if the network has no such class.
        count: the number of digits in the picture; if there are several, the guesses are for all of them read as one.
        stages: the stages of the conversion from the picture to the network's input.
    """

    guesses: list[Guess]
    probabilities: list[float]
    no_digit: float | None
    count: int
    stages: Stages

    @property
    def digit(self) -> int | None:
        """The index of the digit that the picture most likely shows; None for "no digit"."""
        return self.guesses[0].digit

    @property
    def second(self) -> Guess | None:
        """The second guess; None if its confidence is below `MIN_SECOND_CONFIDENCE`."""
        if len(self.guesses) < 2 or self.guesses[1].confidence < MIN_SECOND_CONFIDENCE:
            return None
        return self.guesses[1]


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
        RunError: the network does not classify such images.

    Attributes:
        classify: the network, a function from images (N, 28, 28) to class probabilities (N, classes).
        classes: the names of all classes.
        names: the names of the digits, without "no digit".
    """

    def __init__(self, run: Run) -> None:
        self.classify = classifier(run)
        self.classes: Sequence[str] = run.config["data"]["classes"]
        self.names = digit_names(self.classes)

    def probabilities(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the probabilities of the digits, (N, digits), and of "no digit", (N,).

        The network's float32 probabilities are normalized again in float64, so these sum to 1 in that precision.
        """
        class_probabilities = self.classify(images).astype(np.float64)  # (N, classes)
        normalized = class_probabilities / class_probabilities.sum(axis=1, keepdims=True)
        digits, no_digit = split_probabilities(normalized, self.classes)
        return np.asarray(digits, np.float64), np.asarray(no_digit, np.float64)

    def read(
        self, picture: str | os.PathLike[str] | NDArray[np.floating | np.uint8], name: str | None = None
    ) -> Reading:
        """Read the digit in a picture.

        Args:
            picture: the path of an image file, or gray values (height, width), as in `images.prepare`.
            name: the picture's name in error messages; by default, its path.

        Raises:
            BlankPictureError: nothing in the picture looks like the ink of a digit.
            PictureError: the picture cannot be opened, or is not an array of gray values.
            RunError: outputs of the network are not finite.
        """
        from chainrule.images import prepare  # these import Pillow
        from chainrule.images.count import count_digits

        stages = prepare(picture, name)
        digits, no_digits = self.probabilities(stages.result[None])
        probabilities: list[float] = digits[0].tolist()
        no_digit = float(no_digits[0]) if len(self.names) < len(self.classes) else None
        guesses = [Guess(digit, probability) for digit, probability in enumerate(probabilities)]
        if no_digit is not None:
            guesses.append(Guess(None, no_digit))
        guesses.sort(key=lambda guess: -guess.confidence)
        count = count_digits(stages.clean, max(probabilities), lambda images: self.probabilities(images)[0])
        return Reading(guesses, probabilities, no_digit, count, stages)
