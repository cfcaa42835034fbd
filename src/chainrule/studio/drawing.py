"""The Python side of the view Draw: the prediction for a drawing or a photo, and each step of its preparation."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data import mnist
from chainrule.errors import PictureError
from chainrule.images.raster import resize
from chainrule.images.steps import BlankPictureError
from chainrule.reading import DigitReader, Guess
from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from chainrule.reading import Reading
    from chainrule.studio.shelf import Shelf
    from chainrule.training.run import Run


@contextmanager
def picture_file(picture: bytes) -> Iterator[Path]:
    """Write a picture from the page into a temporary file, which exists while the block runs."""
    handle, name = tempfile.mkstemp()
    file = Path(name)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(picture)
        yield file
    finally:
        file.unlink()


BRIGHT_PAPER = ("as opened", "background")
"""The stages whose values are brightness; those of the others are ink."""
MEANINGS = {
    "as opened": "your picture, at most 256 pixels long",
    "background": "how bright the paper would be without ink",
    "background removed": "what is darker than the paper: light and shadow are gone",
    "noise removed": "strokes only, each as dark as the darkest",
    "cropped": "the box around the ink",
    "scaled to 20×20": "the longer side is 20 pixels, as in the images it learned from",
    "centered in 28×28": "what the network sees",
}
"""What the page says about each stage, by its title."""

CODE = """from chainrule.reading import DigitReader
from chainrule.training import run as runs

reading = DigitReader(runs.{run}).read("drawing.png")  # Save writes this file
print(reading.guesses[0], reading.probabilities)
"""
SAMPLES = 200
"""The number of test images to start from."""


class Drawing:
    """Answers the view Draw.

    Args:
        run: the trained network.
        shelf: keeps drawings that are too long for an address.
        samples: pictures to start from, (N, 28, 28), uint8; by default MNIST's first test images.
    """

    def __init__(self, run: Run, shelf: Shelf, samples: NDArray[np.uint8] | None = None) -> None:
        self.run, self.shelf, self._lock = run, shelf, threading.Lock()
        self.samples = mnist().test_images[:SAMPLES] if samples is None else samples
        self._open()

    def _open(self) -> None:
        """Load the network with its current weights."""
        run, stamp = self.run, _stamp(self.run)  # taken before the file is read, so that a later change is noticed
        self.reader = DigitReader(run)
        self._stamp = stamp  # set only after reading: if that fails, the next message tries again
        shipped = run.folder == runs.SHIPPED
        self.about = f"{run.model.name}, {'the network in the package' if shipped else f'from {run.folder}'}"
        if run.result and "test_accuracy" in run.result:
            self.about += f": reads {run.result['test_accuracy']:.2%} of its test images right"
        self.code = CODE.format(run="shipped()" if shipped else f"find({str(run.folder)!r})")

    @classmethod
    def of(cls, shelf: Shelf) -> Drawing:
        """Return the view of the run that the shelf shows first."""
        return cls(shelf.run(shelf.chosen), shelf)

    def close(self) -> None:
        """Do nothing: no work continues after the last page is closed."""

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
        """Answer a message; return None if it is not understood."""
        with self._lock:
            if _stamp(self.run) not in (self._stamp, None):  # the run has been trained further
                self._open()
        match content, buffers:
            case {"ask": "network"}, []:
                return {"tell": "network", "about": self.about, "names": list(self.reader.names), "code": self.code}, []
            case {"ask": "sample", "number": int(number)}, []:
                sample = self.samples[number % len(self.samples)]
                return {"tell": "sample", "side": sample.shape[0]}, [sample.tobytes()]
            case {"ask": "keep", "text": str(text)}, []:
                return {"tell": "kept", "key": self.shelf.keep(text)}, []
            case {"ask": "kept", "key": str(key)}, []:
                return {"tell": "strokes", "text": self.shelf.text(key)}, []
            case {"ask": "read", "number": int(number)}, [picture]:
                content, stages = self.read(picture)
                return {"tell": "reading", "number": number, **content}, stages
        return None

    def read(self, picture: bytes) -> tuple[dict[str, Any], list[bytes]]:
        """Read a digit from a picture's file, by the same steps as `chainrule predict`."""
        with picture_file(picture) as file:
            try:
                reading = self.reader.read(file, "the picture")
            except BlankPictureError:
                return {"blank": True}, []
            except PictureError as error:
                return {"error": str(error)}, []
        stages = [(title, *self._stage(title, values)) for title, values in reading.stages]
        return (
            {
                **asdict(reading.guesses[0]),
                "confidences": reading.probabilities,
                "no_digit": reading.no_digit,
                "second": asdict(reading.second) if reading.second else None,
                "count": reading.count,
                "stages": self._captions(reading, stages),
            },
            [values.tobytes() for _, values, _ in stages],
        )

    def _stage(
        self, title: str, values: NDArray[np.floating | np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return a stage as an image to show, and as an input of the network: scaled to 28×28, with bright ink."""
        gray = np.asarray(values if values.dtype == np.uint8 else np.rint(255 * np.clip(values, 0, 1)), np.uint8)
        side = max(gray.shape)
        paper = 255 if title in BRIGHT_PAPER else 0
        square = np.full((side, side), paper, np.uint8)
        top, left = ((side - length) // 2 for length in gray.shape)
        square[top : top + gray.shape[0], left : left + gray.shape[1]] = gray
        seen = np.rint(resize(square, (28, 28), "BOX" if side >= 28 else "BILINEAR")).astype(np.uint8)
        return gray, 255 - seen if paper else seen

    def _captions(
        self, reading: Reading, stages: list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]
    ) -> list[dict[str, Any]]:
        """Return the name, meaning and size of each stage, and what the network would predict for it."""
        digits, no_digit = self.reader.probabilities(np.stack([seen for *_, seen in stages[:-1]]))
        guesses = []
        for row, no_digit_probability in zip(digits, no_digit, strict=True):
            is_digit = reading.no_digit is None or row.max() >= no_digit_probability
            digit = int(row.argmax()) if is_digit else None
            guesses.append(Guess(digit, float(row.max() if is_digit else no_digit_probability)))
        guesses.append(reading.guesses[0])  # the last stage is the input that the network has read
        return [
            {"title": title, "about": MEANINGS[title], "shape": gray.shape, **asdict(guess)}
            for (title, gray, _), guess in zip(stages, guesses, strict=True)
        ]


def _stamp(run: Run) -> int | None:
    """Return when the run's weights were last written; None if the file does not exist."""
    try:
        return run.weights_file.stat().st_mtime_ns
    except OSError:
        return None
