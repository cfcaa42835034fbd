"""Image preprocessing: from a photo of a digit to a 28×28 image in MNIST's format, and from a page to its digits.

One digit: `files` opens an image file as gray values within the memory limits of `memory`, and `colors` converts colors
to gray values with high contrast. `steps` converts the gray values to MNIST's format and returns every intermediate
stage: `frames` finds the sheet, panel or box around the digit, `foreground` separates the ink from the paper, and
`ruled_lines` removes the lines of the paper. `count` tells several digits from one digit in several pieces.

A page of digits: `documents` renders a page of a PDF document, `pyramid` scales the photo to the levels that a detector
sees, `detection` finds the digits in the detector's maps, `cutting` cuts them out, `classification` classifies them,
`evidence` gives the probability that each is a digit, `rescoring` runs the detector again on the doubtful ones, scaled
to about the height that it knows best, `page` combines these steps, `lines` groups the digits into lines, and `drawing`
annotates the photo. Import these modules by name, as in `from chainrule.images.page import read_page`: several of them
need SciPy, which is slow to import.

`digits` separates the probabilities of digits from that of the class "no digit", and `raster` has array functions.
"""

from __future__ import annotations

from pathlib import Path

from chainrule.images.files import open_digit, open_gray_photo, open_photo
from chainrule.images.steps import Stages, prepare, to_mnist

open_picture = open_digit  # former name
open_gray = open_gray_photo  # former name

SAMPLE = Path(__file__).with_name("sample.jpg")
"""A photo of a handwritten digit, included in the package."""

__all__ = [
    "SAMPLE",
    "Stages",
    "open_digit",
    "open_gray",
    "open_gray_photo",
    "open_photo",
    "open_picture",
    "prepare",
    "to_mnist",
]
