"""Image preprocessing: from a photo of a digit to a 28×28 image in MNIST's format.

`files` opens an image file as gray values within the memory limits of `memory`; `colors` chooses gray values with much
contrast. `documents` renders a page of a PDF document. `steps` converts gray values to MNIST's format and returns every
intermediate stage: `frames` finds what surrounds the digit, `foreground` separates its ink, and `rules` removes ruled
lines. `count` tells several digits from one digit in pieces, `digits` separates digits from the class "no digit", and
`raster` has array helpers.

For a page of digits, `pyramid` makes the levels that a detector sees, `detection` finds the digits in its maps,
`cutting` cuts them out, `evidence` says how likely each is a digit, `judging` combines both with the classifier, `page`
reads them, `lines` groups them into lines, and `drawing` annotates the photo. Import these by name, since SciPy is slow
to import:
`from chainrule.images.page import read_page`.
"""

from __future__ import annotations

from pathlib import Path

from chainrule.images.files import open_gray, open_photo, open_picture
from chainrule.images.steps import Stages, prepare, to_mnist

SAMPLE = Path(__file__).with_name("sample.jpg")
"""A picture of a digit that comes with the package."""

__all__ = ["SAMPLE", "Stages", "open_gray", "open_photo", "open_picture", "prepare", "to_mnist"]
